//! Reads and commands SunSpec devices over Modbus TCP for the engine (`docs/adapter-protocol.md`).
//!
//! Found are models 701, 702, 704 and 713, and the older 101-103, 120, 123, 124, 802, 201-204 and 211-214. A device
//! is walked once; after that, a poll reads only what changes, in as few requests as the map allows.

mod command;
mod field;
mod fleet;
mod layout;
mod unit;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use self::fleet::Fleet;
use crate::DeviceError;
use crate::lines::JsonLines;
use crate::protocol::{Answer, Call, Failure, FailureCode, HelloReply, Request, Response, Token, VERSION};

/// More clients than this wait until one leaves.
const MAX_CLIENTS: usize = 32;

/// Arguments of `sos adapter sunspec`.
#[derive(Clone, Debug, clap::Args)]
pub struct AdapterArgs {
    /// Address to listen on for the engine; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// What clients must show; taken from the environment so that no list of processes tells it.
    #[arg(skip = token_from_environment())]
    pub token: Option<Token>,
}

fn token_from_environment() -> Option<Token> {
    std::env::var("SOS_ADAPTER_TOKEN").ok().map(Token::new).filter(|token| !token.is_empty())
}

/// An adapter that listens but does not answer yet.
#[derive(Debug)]
pub struct BoundAdapter {
    listener: TcpListener,
    token: Token,
}

/// Runs an adapter until the process is ended.
///
/// # Errors
/// Without `SOS_ADAPTER_TOKEN`, or when the address cannot be listened on.
pub async fn run(args: AdapterArgs) -> Result<(), DeviceError> {
    let adapter = bind(args).await?;
    tracing::info!(address = %adapter.addr()?, "listening");
    adapter.serve().await;
    Ok(())
}

/// Takes the address.
///
/// # Errors
/// As [`run`].
pub async fn bind(args: AdapterArgs) -> Result<BoundAdapter, DeviceError> {
    let Some(token) = args.token.filter(|token| !token.is_empty()) else {
        return Err(DeviceError::BadInput(
            "SOS_ADAPTER_TOKEN is not set; clients must show it in hello".to_owned(),
        ));
    };
    let listening = TcpListener::bind(args.listen).await;
    let listener = listening.map_err(DeviceError::io(format!("listen on {}", args.listen)))?;
    Ok(BoundAdapter { listener, token })
}

impl BoundAdapter {
    /// Where clients connect.
    ///
    /// # Errors
    /// When the operating system does not tell.
    pub fn addr(&self) -> Result<SocketAddr, DeviceError> {
        self.listener.local_addr().map_err(DeviceError::io("read the own address"))
    }

    /// Answers clients for ever.
    pub async fn serve(self) {
        let session = Arc::new(Session { fleet: Fleet::default(), token: self.token });
        let room = Arc::new(Semaphore::new(MAX_CLIENTS));
        loop {
            let Ok(place) = room.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let session = session.clone();
                    tokio::spawn(async move {
                        if let Err(error) = session.converse(stream).await {
                            tracing::debug!(%peer, %error, "client");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client, trying again");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

struct Session {
    fleet: Fleet,
    token: Token,
}

impl Session {
    async fn converse(&self, stream: TcpStream) -> io::Result<()> {
        let mut lines = JsonLines::new(stream)?;
        let mut known = false;
        loop {
            let request = match lines.next_line().await {
                Ok(Some(line)) => serde_json::from_slice::<Request>(line),
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    lines.send(&failed(None, FailureCode::Malformed, error.to_string())).await?;
                    return Err(error);
                }
                Err(error) => return Err(error),
            };
            let request = match request {
                Ok(request) => request,
                Err(error) => {
                    lines
                        .send(&failed(None, FailureCode::Malformed, format!("not a request: {error}")))
                        .await?;
                    continue;
                }
            };
            let id = Some(request.id);
            let answer = match request.call {
                Call::Hello(hello) if hello.version != VERSION => {
                    let message = format!("version {} is not spoken here, {VERSION} is", hello.version);
                    Err(Failure { code: FailureCode::Version, message })
                }
                Call::Hello(hello) if hello.token.matches(&self.token) => {
                    known = true;
                    Ok(Answer::Hello(HelloReply { version: VERSION, adapter: "sunspec".to_owned() }))
                }
                Call::Hello(_) => Err(unauthorized("the token is wrong")),
                _ if !known => Err(unauthorized("say hello with the token first")),
                call => self.answer(call).await,
            };
            let refused = matches!(&answer, Err(failure) if failure.code == FailureCode::Unauthorized);
            lines.send(&respond(id, answer)).await?;
            if refused {
                return Ok(());
            }
        }
    }

    async fn answer(&self, call: Call) -> Result<Answer, Failure> {
        Ok(match call {
            Call::Configure(new) => Answer::Configure(self.fleet.configure(new).await?),
            Call::Read(read) => Answer::Read(self.fleet.read(read).await),
            Call::Write(write) => Answer::Write(self.fleet.write(write).await?),
            Call::Ratings(_) => Answer::Ratings(self.fleet.ratings().await),
            Call::Hello(_) => return Err(unauthorized("hello was said")),
        })
    }
}

fn unauthorized(message: &str) -> Failure {
    Failure { code: FailureCode::Unauthorized, message: message.to_owned() }
}

fn respond(id: Option<u64>, answer: Result<Answer, Failure>) -> Response {
    match answer {
        Ok(answer) => Response { id, ok: Some(answer), error: None },
        Err(failure) => Response { id, ok: None, error: Some(failure) },
    }
}

fn failed(id: Option<u64>, code: FailureCode, message: String) -> Response {
    respond(id, Err(Failure { code, message }))
}
