//! The project's own checks, data tools and benchmarks: `cargo xtask help` lists them.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool: its output is its purpose"
)]

mod bench;
mod deny;
mod fontana;
mod island;
mod tally;
mod tidy;
mod tree;
mod workspace;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

  tidy                        check the rules that the compiler does not know (layers, words, docs, …)
  licences                    check licences and banned crates of every dependency against deny.toml
  decisions                   rewrite the index in docs/decisions/README.md
  tally LOG…                  sum the results of cargo test, vitest, node --test and pytest logs
  bench NAME                  run a benchmark; `bench` alone lists them
  fontana-data --from FOLDER  make examples/fontana/data again from the original data set
  island-data --from FOLDER   make examples/island/data again from RTS-GMLC";

/// How a command ended: `Failed` says that a check found a problem which has been printed already.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Failed,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::from(1),
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[&str]) -> Result<Outcome, String> {
    let root = repository_root();
    match arguments {
        ["tidy"] => tidy::run(&root),
        ["licences"] => deny::run(&root),
        ["decisions"] => tidy::decisions::rewrite_index(&root),
        ["tally", logs @ ..] => tally::run(logs),
        ["bench", rest @ ..] => bench::run(&root, rest),
        ["fontana-data", "--from", folder] => fontana::run(Path::new(folder), &root),
        ["island-data", "--from", folder] => island::run(Path::new(folder), &root),
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(Outcome::Done)
        }
        other => Err(format!("unknown command `{}`\n{USAGE}", other.join(" "))),
    }
}

/// The folder above this crate: every command works from any current directory.
fn repository_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_command_is_named_together_with_the_known_ones() {
        let message = run(&["tidi"]).unwrap_err();
        assert!(message.contains("`tidi`") && message.contains("fontana-data"), "{message}");
    }

    #[test]
    fn the_repository_root_holds_the_workspace_manifest() {
        assert!(repository_root().join("Cargo.lock").is_file());
    }
}
