//! Why a call did not give its answer.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

/// Why a call did not give its answer. Names service, operation and place; never holds a secret.
#[derive(Clone, Debug, PartialEq)]
pub struct CallError {
    /// Name of the declared service; empty where none is known, as in a reader of documents.
    pub service: String,
    /// Name of the operation; empty where none is known.
    pub operation: String,
    /// What went wrong, for programs.
    pub kind: ErrorKind,
    /// Where: a JSON pointer such as `/body/items/3`, `line 4, column 7`, `header x-key`, an address without its path.
    /// Empty where there is no place.
    pub place: String,
    /// For people: what was found and what was expected, a lower-case fragment.
    pub message: String,
    /// What the service said itself, of a fault.
    pub fault: Option<Box<Fault>>,
    /// How long the service wants to be left alone.
    pub retry_after: Option<Duration>,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// The contract's document cannot be used.
    BadDocument,
    /// There is no such operation, or the input does not fit it; nothing was sent.
    BadInput,
    /// The operator does not allow the address; nothing was sent there.
    NotAllowed,
    /// Credentials are missing or cannot be had; nothing was sent.
    NoCredentials,
    /// A limit of ours was reached: concurrency, rate, an open circuit, no endpoint; nothing was sent.
    Overloaded,
    /// No connection: name, TCP, TLS, proxy. Nothing was answered and the request was not sent.
    Unreachable,
    /// The connection broke after the request was sent; whether it took effect is not known.
    Broken,
    /// The time was over; whether the request took effect is not known.
    TimedOut,
    /// The answer is longer or deeper than may be read.
    TooLarge,
    /// The answer is not what the contract says, or cannot be read at all.
    BadAnswer,
    /// The service refused or failed and said so: an HTTP status of 400 or more, a gRPC status, a SOAP fault.
    Fault,
}

impl ErrorKind {
    /// One word for metrics and programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::BadDocument => "bad_document",
            Self::BadInput => "bad_input",
            Self::NotAllowed => "not_allowed",
            Self::NoCredentials => "no_credentials",
            Self::Overloaded => "overloaded",
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::TimedOut => "timed_out",
            Self::TooLarge => "too_large",
            Self::BadAnswer => "bad_answer",
            Self::Fault => "fault",
        }
    }
}

/// What a service said when it refused or failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// `404`, `NOT_FOUND`, `soap:Server`: as the protocol writes it.
    pub code: String,
    /// The HTTP status, also that which a gRPC status or a SOAP fault stands for; 400 … 599.
    pub status: u16,
    /// Whether the service says, or its status means, that the same request may succeed later.
    pub temporary: bool,
    /// The body, the details or the `detail` element, as JSON; `Null` where nothing was said.
    pub detail: Value,
}

impl CallError {
    /// An error at a place.
    pub fn new(kind: ErrorKind, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            service: String::new(),
            operation: String::new(),
            kind,
            place: place.into(),
            message: message.into(),
            fault: None,
            retry_after: None,
        }
    }

    /// The same error, told of this service and operation.
    #[must_use]
    pub fn of(mut self, service: &str, operation: &str) -> Self {
        service.clone_into(&mut self.service);
        operation.clone_into(&mut self.operation);
        self
    }

    /// The same error with what the service said.
    #[must_use]
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.fault = Some(Box::new(fault));
        self
    }
}

/// `SERVICE OPERATION: MESSAGE (at PLACE)`
impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in [&self.service, &self.operation] {
            if !name.is_empty() {
                write!(f, "{name} ")?;
            }
        }
        if !self.service.is_empty() || !self.operation.is_empty() {
            f.write_str("· ")?;
        }
        f.write_str(&self.message)?;
        if self.place.is_empty() { Ok(()) } else { write!(f, " (at {})", self.place) }
    }
}

impl std::error::Error for CallError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_service_operation_and_place() {
        let error = CallError::new(ErrorKind::BadAnswer, "/body/price", "expected a number, found \"x\"");
        assert_eq!(error.to_string(), "expected a number, found \"x\" (at /body/price)");
        let error = error.of("market", "getOffer");
        assert_eq!(error.to_string(), "market getOffer · expected a number, found \"x\" (at /body/price)");
    }
}
