//! How every command ends: its exit code and what it prints when it does not succeed.

use std::io::Write;

/// Why a command did not succeed. The variant decides the exit code that scripts rely on.
#[derive(Debug)]
pub(crate) enum Failure {
    /// 1: the thing asked for did not succeed.
    Unsuccessful(String),
    /// 1: the answer itself says so, as that of `diff` does when something differs.
    Told,
    /// 2: bad input; every problem is one line.
    BadInput(Vec<String>),
    /// 3: a server, device or runtime that is needed could not be reached.
    Unreachable(String),
    /// 4: not permitted.
    NotPermitted(String),
}

/// What a command returns.
pub(crate) type Outcome = Result<(), Failure>;

impl Failure {
    /// One problem with the input.
    pub(crate) fn input(problem: impl Into<String>) -> Self {
        Self::BadInput(vec![problem.into()])
    }

    /// The thing asked for did not succeed.
    pub(crate) fn unsuccessful(problem: impl std::fmt::Display) -> Self {
        Self::Unsuccessful(problem.to_string())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Unsuccessful(_) | Self::Told => 1,
            Self::BadInput(_) => 2,
            Self::Unreachable(_) => 3,
            Self::NotPermitted(_) => 4,
        }
    }

    fn lines(&self) -> &[String] {
        match self {
            Self::BadInput(lines) => lines,
            Self::Told => &[],
            Self::Unsuccessful(line) | Self::Unreachable(line) | Self::NotPermitted(line) => {
                std::slice::from_ref(line)
            }
        }
    }
}

/// An error with all its causes, in one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Prints what went wrong to stderr and ends with the exit code.
#[expect(clippy::print_stderr, reason = "the one place where failures are printed")]
pub(crate) fn exit(outcome: Outcome) -> ! {
    let Err(failure) = outcome else { leave(0) };
    let lines = failure.lines();
    for line in lines {
        eprintln!("error: {line}");
    }
    if lines.len() > 1 {
        eprintln!("{} problems found", lines.len());
    }
    leave(failure.code())
}

/// Ends the process without the work that libraries do on the way out: a search that was left because its time was over still
/// runs, and what the solver takes down at exit is what that search works on.
#[expect(unsafe_code, reason = "there is no safe way to end a process without its exit handlers")]
fn leave(code: u8) -> ! {
    // Nothing can be told of a stdout that is gone.
    let _ = std::io::stdout().flush();
    // SAFETY: `_exit` takes any number, touches no memory of this process and does not return.
    unsafe { nix::libc::_exit(code.into()) }
}
