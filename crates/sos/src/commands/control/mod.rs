//! `sos control`: co-simulation on stdin and stdout, one JSON object a line.

mod line;

use std::io::{BufRead, Read};
use std::path::PathBuf;

use sos_engine::site::case;
use sos_engine::site::control::Control;

use self::line::Written;
use crate::outcome::{Failure, Outcome};
use crate::output::{self, note};

/// The longest line that is read, bytes.
const MAX_LINE: u64 = 16 << 20;

/// Arguments of `sos control`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Manifests of one site with its assets and signals: a file of several documents, or a folder
    file: PathBuf,
}

/// Answers each line, until there is none.
pub(crate) fn run(args: &Args) -> Outcome {
    let bad = |problems: Vec<sos_model::Problem>| {
        Failure::BadInput(problems.iter().map(ToString::to_string).collect())
    };
    let read = case::read(std::slice::from_ref(&args.file)).map_err(bad)?;
    let mut control = Control::new(&read).map_err(bad)?;
    let (mut input, mut text) = (std::io::stdin().lock(), Vec::new());
    for number in 1_u64.. {
        text.clear();
        let length = input.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut text);
        let length =
            length.map_err(|error| Failure::input(format!("line {number}: cannot be read: {error}")))?;
        if length == 0 {
            break;
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let answer = answer(&mut control, &text)
            .map_err(|problem| Failure::input(format!("line {number}: {problem}")))?;
        output::text(&answer)?;
    }
    Ok(())
}

/// The answer to one line, as a line.
fn answer(control: &mut Control, text: &[u8]) -> Result<String, String> {
    if text.len() as u64 > MAX_LINE {
        return Err(format!("longer than {MAX_LINE} bytes"));
    }
    let (time, line) = line::read(text)?;
    let answer = control.answer(&line)?;
    answer.notes.iter().for_each(|text| note(format!("{time}: {text}")));
    Written::new(&time, &answer).line()
}
