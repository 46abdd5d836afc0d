//! The client of any protocol.

use crate::call::{Answer, Call};
use crate::caller::Speak;
use crate::contract::Contract;
use crate::error::CallError;
use crate::http::Transport;
use crate::{grpc, rest, soap};

/// The client of a service, whatever it speaks.
#[derive(Clone, Debug)]
pub enum Speaker {
    /// REST by OpenAPI.
    Rest(rest::Client),
    /// gRPC.
    Grpc(grpc::Client),
    /// SOAP by WSDL.
    Soap(soap::Client),
}

impl Speak for Speaker {
    fn contract(&self) -> &Contract {
        match self {
            Self::Rest(client) => client.contract(),
            Self::Grpc(client) => client.contract(),
            Self::Soap(client) => client.contract(),
        }
    }

    async fn call<'a>(&'a self, transport: &'a Transport, call: &'a Call<'a>) -> Result<Answer, CallError> {
        match self {
            Self::Rest(client) => client.call(transport, call).await,
            Self::Grpc(client) => client.call(transport, call).await,
            Self::Soap(client) => client.call(transport, call).await,
        }
    }
}
