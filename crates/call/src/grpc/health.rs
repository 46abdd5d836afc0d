//! Health as servers of gRPC tell it: `grpc.health.v1.Health/Check`.

use std::time::Duration;

use hyper::http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::DescriptorPool;

use super::attempt::{self, Deadline, Target};
use super::codec::Typed;
use super::response;
use crate::error::CallError;
use crate::http::{Address, Transport};
use crate::secret::Secret;

const PATH: &str = "/grpc.health.v1.Health/Check";
/// Bytes of an answer; a healthy one has two.
const MESSAGE: usize = 4096;

/// Whether a service takes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Serving {
    /// It does.
    Serving,
    /// It does not, or not yet.
    NotServing,
    /// The server does not know.
    Unknown,
    /// The server has no service of that name.
    NoSuchService,
}

impl Serving {
    /// As the protocol writes it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Serving => "SERVING",
            Self::NotServing => "NOT_SERVING",
            Self::Unknown => "UNKNOWN",
            Self::NoSuchService => "SERVICE_UNKNOWN",
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Question {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct Reply {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Asks a server about one of its services, by full name; about itself with an empty name.
///
/// # Errors
/// Those of a call; `Fault` with `UNIMPLEMENTED` where the server does not tell its health.
pub async fn health(
    transport: &Transport,
    endpoint: &Address,
    headers: &[(String, Secret)],
    service: &str,
    timeout: Duration,
) -> Result<Serving, CallError> {
    let target =
        Target { transport, endpoint, path: &PathAndQuery::from_static(PATH), headers, timeout, gzip: false };
    match Deadline::after(timeout).hold(ask(target, service)).await {
        Err(error) if error.fault.as_ref().is_some_and(|fault| fault.code == "NOT_FOUND") => {
            Ok(Serving::NoSuchService)
        }
        other => other.map_err(|error| error.of("", "health")),
    }
}

async fn ask(target: Target<'_>, service: &str) -> Result<Serving, CallError> {
    let body = attempt::ready(vec![Question { service: service.to_owned() }.encode_to_vec()], false)?;
    let response = target.send(target.request(body)?).await?;
    let answered = response::answered(response, Typed::<Reply>::new(), MESSAGE, &DescriptorPool::new()).await;
    let mut answered = answered.map_err(|refused| refused.error)?;
    let reply = answered.next().await.ok_or_else(|| response::not_one("none"))??;
    // The status of the call counts too.
    answered.next().await.transpose()?;
    Ok(match reply.status {
        1 => Serving::Serving,
        2 => Serving::NotServing,
        3 => Serving::NoSuchService,
        _ => Serving::Unknown,
    })
}
