//! How every command ends: its exit code and what it prints when it does not succeed.

use std::process::ExitCode;

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

/// Prints what went wrong to stderr and turns the outcome into the exit code.
#[expect(clippy::print_stderr, reason = "the one place where failures are printed")]
pub(crate) fn exit(outcome: Outcome) -> ExitCode {
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    let lines = failure.lines();
    for line in lines {
        eprintln!("error: {line}");
    }
    if lines.len() > 1 {
        eprintln!("{} problems found", lines.len());
    }
    ExitCode::from(failure.code())
}
