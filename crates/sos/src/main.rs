//! `sos`: service orchestration for energy. One file per command in `commands/`.

mod client;
mod commands;
mod logging;
mod outcome;
mod output;
mod platform;
mod terminal;
mod words;
mod yaml;

use std::process::ExitCode;

use clap::Parser;

/// Service orchestration for energy: one loop runs software and power.
#[derive(Debug, Parser)]
#[command(name = "sos", version, propagate_version = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    outcome::exit(commands::run(cli.command))
}
