//! The engine's side: an adapter's client and the lock-step clock's.

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::clock::{ClockReply, ClockRequest};
use crate::lines::JsonLines;
use crate::protocol::{
    Answer, AssetConfig, Call, Configure, ConfigureReply, Failure, Hello, HelloReply, Ratings, RatingsReply,
    Read, ReadReply, Request, Response, Setpoint, Token, VERSION, Write, WriteReply,
};

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The other side cannot be reached, or the connection broke; the next call connects anew.
    #[error("cannot reach {address}")]
    Unreachable {
        /// Where it should be.
        address: String,
        /// Why it failed.
        source: io::Error,
    },
    /// No answer in time.
    #[error("{address} did not answer within {waited:?}")]
    TimedOut {
        /// Where it should be.
        address: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The other side refused the call.
    #[error("{address} refused: {failure}")]
    Refused {
        /// Who refused.
        address: String,
        /// Why.
        failure: Failure,
    },
    /// An answer that does not belong to the question.
    #[error("{address} answered out of step: {problem}")]
    OutOfStep {
        /// Who answered.
        address: String,
        /// What was wrong.
        problem: String,
    },
}

/// A client of one adapter. Connects when it is first used and again after an error; a new connection says hello
/// and sends the last configuration by itself.
#[derive(Debug)]
pub struct AdapterClient {
    address: String,
    token: Token,
    wait: Duration,
    lines: Option<JsonLines>,
    configuration: Option<Configure>,
    next_id: u64,
}

impl AdapterClient {
    /// A client of the adapter at `address` (`host:port`); `wait` bounds connecting and each call. It should exceed
    /// the devices' time-outs.
    #[must_use]
    pub fn new(address: impl Into<String>, token: Token, wait: Duration) -> Self {
        let address = address.into();
        Self { address, token, wait, lines: None, configuration: None, next_id: 0 }
    }

    /// Connects where that is needed, and asks who the adapter is.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn hello(&mut self) -> Result<HelloReply, ClientError> {
        let call = Call::Hello(Hello { version: VERSION, token: self.token.clone() });
        let reply = match self.call(call).await? {
            Answer::Hello(reply) => reply,
            other => return Err(self.out_of_step(&other)),
        };
        // The adapter may have been restarted since; an unchanged configuration disturbs nothing.
        if let Some(configuration) = self.configuration.clone() {
            self.call(Call::Configure(configuration)).await?;
        }
        Ok(reply)
    }

    /// Replaces the set of assets, now and after each reconnection.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn configure(&mut self, assets: Vec<AssetConfig>) -> Result<ConfigureReply, ClientError> {
        let configuration = Configure { assets };
        self.configuration = Some(configuration.clone());
        match self.call(Call::Configure(configuration)).await? {
            Answer::Configure(reply) => Ok(reply),
            other => Err(self.out_of_step(&other)),
        }
    }

    /// Measures every asset; `time` is the site time of the measurement.
    ///
    /// # Errors
    /// See [`ClientError`]; an asset that cannot be read is no error of the call.
    pub async fn read(&mut self, time: Timestamp) -> Result<ReadReply, ClientError> {
        match self.call(Call::Read(Read { time })).await? {
            Answer::Read(reply) => Ok(reply),
            other => Err(self.out_of_step(&other)),
        }
    }

    /// Commands assets for `lease_s` seconds of site time.
    ///
    /// # Errors
    /// See [`ClientError`]; an asset that cannot be commanded is no error of the call.
    pub async fn write(
        &mut self,
        epoch: u64,
        lease_s: u32,
        setpoints: Vec<Setpoint>,
    ) -> Result<WriteReply, ClientError> {
        match self.call(Call::Write(Write { epoch, lease_s, setpoints })).await? {
            Answer::Write(reply) => Ok(reply),
            other => Err(self.out_of_step(&other)),
        }
    }

    /// Reads the devices' nameplates.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn ratings(&mut self) -> Result<RatingsReply, ClientError> {
        match self.call(Call::Ratings(Ratings {})).await? {
            Answer::Ratings(reply) => Ok(reply),
            other => Err(self.out_of_step(&other)),
        }
    }

    async fn call(&mut self, call: Call) -> Result<Answer, ClientError> {
        let mut lines = match self.lines.take() {
            Some(lines) => lines,
            None => self.connect(&call).await?,
        };
        let answer = self.exchange(&mut lines, call).await;
        // After a refusal the connection is still in step; after anything else it is not to be trusted.
        if matches!(answer, Ok(_) | Err(ClientError::Refused { .. })) {
            self.lines = Some(lines);
        }
        answer
    }

    async fn connect(&mut self, first: &Call) -> Result<JsonLines, ClientError> {
        let stream = self.within(TcpStream::connect(self.address.as_str())).await?;
        let mut lines = JsonLines::new(stream).map_err(|source| self.unreachable(source))?;
        if !matches!(first, Call::Hello(_)) {
            let hello = Call::Hello(Hello { version: VERSION, token: self.token.clone() });
            self.exchange(&mut lines, hello).await?;
        }
        if let Some(configuration) = self.configuration.clone()
            && !matches!(first, Call::Hello(_) | Call::Configure(_))
        {
            self.exchange(&mut lines, Call::Configure(configuration)).await?;
        }
        Ok(lines)
    }

    async fn exchange(&mut self, lines: &mut JsonLines, call: Call) -> Result<Answer, ClientError> {
        self.next_id += 1;
        let id = self.next_id;
        let request = Request { id, call };
        let response: Response = self
            .within(async {
                lines.send(&request).await?;
                lines.receive().await
            })
            .await?;
        let address = self.address.clone();
        match response {
            Response { error: Some(failure), .. } => Err(ClientError::Refused { address, failure }),
            Response { id: Some(answered), ok: Some(answer), .. } if answered == id => Ok(answer),
            other => {
                Err(ClientError::OutOfStep { address, problem: format!("asked {id}, got {:?}", other.id) })
            }
        }
    }

    async fn within<T>(&self, work: impl Future<Output = io::Result<T>>) -> Result<T, ClientError> {
        match timeout(self.wait, work).await {
            Ok(result) => result.map_err(|source| self.unreachable(source)),
            Err(_) => Err(ClientError::TimedOut { address: self.address.clone(), waited: self.wait }),
        }
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        ClientError::Unreachable { address: self.address.clone(), source }
    }

    fn out_of_step(&self, answer: &Answer) -> ClientError {
        ClientError::OutOfStep { address: self.address.clone(), problem: format!("unexpected {answer:?}") }
    }
}

/// Hands site time to one played device. Connects when it is first used and again after an error.
#[derive(Debug)]
pub struct ClockClient {
    address: String,
    wait: Duration,
    lines: Option<JsonLines>,
}

impl ClockClient {
    /// A client of the device whose clock listens at `address` (`host:port`); `wait` bounds each call.
    #[must_use]
    pub fn new(address: impl Into<String>, wait: Duration) -> Self {
        Self { address: address.into(), wait, lines: None }
    }

    /// Lets the device live until `now` and returns what it says. A broken connection is tried once more: a time
    /// that the device has already reached changes nothing.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn advance(&mut self, now: Timestamp) -> Result<ClockReply, ClientError> {
        let had_connection = self.lines.is_some();
        match self.try_advance(now).await {
            Err(ClientError::Unreachable { .. }) if had_connection => self.try_advance(now).await,
            other => other,
        }
    }

    async fn try_advance(&mut self, now: Timestamp) -> Result<ClockReply, ClientError> {
        let kept = self.lines.take();
        let exchange = async {
            let mut lines = match kept {
                Some(lines) => lines,
                None => JsonLines::new(TcpStream::connect(self.address.as_str()).await?)?,
            };
            lines.send(&ClockRequest { now }).await?;
            let reply: ClockReply = lines.receive().await?;
            Ok((lines, reply))
        };
        let address = || self.address.clone();
        match timeout(self.wait, exchange).await {
            Ok(Ok((_, ClockReply { error: Some(problem), .. }))) => {
                Err(ClientError::OutOfStep { address: address(), problem })
            }
            Ok(Ok((lines, reply))) => {
                self.lines = Some(lines);
                Ok(reply)
            }
            Ok(Err(source)) => Err(ClientError::Unreachable { address: address(), source }),
            Err(_) => Err(ClientError::TimedOut { address: address(), waited: self.wait }),
        }
    }
}
