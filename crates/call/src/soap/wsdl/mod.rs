//! WSDL 1.1: services, ports, bindings and messages.

mod bind;
mod load;
mod operations;

pub use bind::Choice;
pub(crate) use bind::choose;
pub(crate) use load::Wsdl;
pub(crate) use operations::{Described, DescribedMessage, Part, PartType, describe};

/// The version of SOAP that a binding speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V11,
    V12,
}

impl Version {
    pub(crate) const fn envelope(self) -> &'static str {
        match self {
            Self::V11 => super::names::ENVELOPE11,
            Self::V12 => super::names::ENVELOPE12,
        }
    }

    /// The namespace of its elements in WSDL.
    pub(crate) const fn wsdl(self) -> &'static str {
        match self {
            Self::V11 => super::names::WSDL_SOAP11,
            Self::V12 => super::names::WSDL_SOAP12,
        }
    }
}
