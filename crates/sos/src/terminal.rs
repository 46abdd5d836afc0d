//! What `sos up` shows while it runs: a live table on a terminal, else a plain line now and then. All of it goes to
//! stderr, since stdout carries only the answer.

mod picture;

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use sos_engine::live::SiteState;
use sos_engine::services::board::Board;
use sos_store::EventRecord;

pub(crate) use picture::{line, render};

/// A table is redrawn at most this often.
const TABLE_PACE: Duration = Duration::from_millis(250);
/// A plain line is printed at most this often.
const LINE_PACE: Duration = Duration::from_secs(5);
/// The size of a terminal that does not tell its own.
const USUAL: (usize, usize) = (80, 24);

/// Begins and ends a redraw that the terminal shows at once (it ignores what it does not know).
const BEGIN: &str = "\x1b[?2026h";
const END: &str = "\x1b[?2026l";
/// No cursor, no wrapping of lines; and back.
const TAKE: &str = "\x1b[?25l\x1b[?7l";
const GIVE_BACK: &str = "\x1b[?7h\x1b[?25h";

/// The live view. Dropping it gives the terminal back.
#[derive(Debug)]
pub(crate) struct Terminal {
    live: bool,
    colour: bool,
    /// Lines of the table that is on the screen.
    drawn: usize,
    last: Option<Instant>,
}

impl Terminal {
    /// A live table when people look at stdout and stderr, else plain lines. Logs would tear the table: while
    /// [`Terminal::is_live`] the caller sends them elsewhere or shows errors only.
    pub(crate) fn new() -> Self {
        let env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let smart = env("TERM").is_some_and(|term| term != "dumb");
        let live = smart && std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        Self { live, colour: live && env("NO_COLOR").is_none(), drawn: 0, last: None }
    }

    /// Whether a table is drawn.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// Whether a draw now would show anything: callers need not gather a picture that is not drawn.
    pub(crate) fn is_due(&self) -> bool {
        let pace = if self.live { TABLE_PACE } else { LINE_PACE };
        self.last.is_none_or(|last| last.elapsed() >= pace)
    }

    /// Shows a site, its services and the latest events (the last one is the newest), when it is due.
    pub(crate) fn draw(&mut self, state: &SiteState, board: &Board, events: &[EventRecord]) {
        if !self.is_due() {
            return;
        }
        self.last = Some(Instant::now());
        if !self.live {
            return put(&format!("{}\n", line(state, board)));
        }
        let (width, height) = size();
        let mut lines = render(state, board, events, width, self.colour);
        // The line below the table belongs to the cursor; more lines would scroll away and could not be redrawn.
        lines.truncate(height.saturating_sub(1).max(1));
        put(&self.frame(&lines));
        self.drawn = lines.len();
    }

    /// What replaces the table that is drawn by these lines.
    fn frame(&self, lines: &[String]) -> String {
        let up = if self.drawn > 0 { format!("\x1b[{}F", self.drawn) } else { TAKE.to_owned() };
        let lines: String = lines.iter().map(|line| format!("{line}\x1b[K\n")).collect();
        format!("{BEGIN}{up}{lines}\x1b[J{END}")
    }

    /// Leaves the last table where it is and gives the terminal back.
    pub(crate) fn finish(&mut self) {
        if self.drawn > 0 {
            put(GIVE_BACK);
            self.drawn = 0;
        }
        self.live = false;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.finish();
    }
}

fn size() -> (usize, usize) {
    let size = terminal_size::terminal_size_of(std::io::stderr());
    size.map_or(USUAL, |(width, height)| (usize::from(width.0), usize::from(height.0)))
}

/// A terminal that has gone away is no reason to stop.
fn put(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redraw_goes_back_over_the_lines_that_are_there() {
        let mut terminal = Terminal { live: false, colour: false, drawn: 0, last: None };
        let lines = ["one".to_owned(), "two".to_owned()];
        let first = terminal.frame(&lines);
        assert!(first.starts_with(&format!("{BEGIN}{TAKE}one\x1b[K\ntwo")), "{first:?}");
        terminal.drawn = 2;
        let second = terminal.frame(&lines[..1]);
        assert_eq!(second, format!("{BEGIN}\x1b[2Fone\x1b[K\n\x1b[J{END}"), "what was below is cleared");
        terminal.drawn = 0;
    }

    #[test]
    fn without_a_terminal_a_line_is_due_every_few_seconds_only() {
        let mut terminal = Terminal { live: false, colour: false, drawn: 0, last: None };
        assert!(terminal.is_due());
        terminal.last = Some(Instant::now());
        assert!(!terminal.is_due());
    }
}
