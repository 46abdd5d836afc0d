//! Messages on the wire: length-prefixed, perhaps compressed. Compression, and the framing of what comes, are tonic's.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming};
use hyper::header::HeaderMap;
use prost::Message;
use prost::bytes::{Buf as _, BufMut as _};
use serde_json::Value;
use tonic::Status;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::json;
use crate::http::full;

/// Bytes that a buffer begins with where nobody knows what comes; tonic's own 8 KiB cost more than most calls need.
const BUFFER: usize = 1024;
/// Bytes after which messages that are there are sent.
const FLUSH: usize = 32 * 1024;

/// Flag and length before each message (PROTOCOL-HTTP2, "Requests").
const HEADER: usize = 5;

/// These messages one after the other, not compressed.
///
/// # Errors
/// When one has 4 GiB or more.
pub(super) fn framed(messages: &[Vec<u8>]) -> Result<Vec<u8>, std::num::TryFromIntError> {
    let mut frames = Vec::with_capacity(messages.iter().map(|message| HEADER + message.len()).sum());
    for message in messages {
        frames.push(0);
        frames.extend(u32::try_from(message.len())?.to_be_bytes());
        frames.extend_from_slice(message);
    }
    Ok(frames)
}

/// A body that is there as a whole. It does not tell its length: gRPC has no use for that header, and each costs.
pub(super) struct Whole(Option<Bytes>);

impl Whole {
    pub(super) fn new(bytes: impl Into<Bytes>) -> Self {
        Self(Some(bytes.into()).filter(|bytes| !bytes.is_empty()))
    }
}

impl HttpBody for Whole {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

/// Writes messages that are bytes already.
pub(super) struct Write(BufferSettings);

impl Write {
    /// As they come.
    pub(super) fn coming() -> Self {
        Self(BufferSettings::new(BUFFER, FLUSH))
    }

    /// All of them into one buffer.
    pub(super) fn whole() -> Self {
        Self(BufferSettings::new(BUFFER, usize::MAX))
    }
}

impl Encoder for Write {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0
    }
}

/// Reads messages of one kind.
pub(super) trait Read: Send + 'static {
    type Message: Send + 'static;

    fn read(&mut self, from: &mut DecodeBuf<'_>) -> Result<Self::Message, prost::DecodeError>;
}

/// Reads messages that are described at run time.
pub(super) struct Dynamic {
    pub(super) of: json::Type,
    /// How deep they may be nested.
    pub(super) depth: usize,
    /// Whether fields are written that have their default value.
    pub(super) defaults: bool,
}

/// A message that was read.
pub(super) struct Output {
    pub(super) json: Result<Value, json::Wrong>,
    /// Bytes that it had, after decompression.
    pub(super) bytes: usize,
}

impl Read for Dynamic {
    type Message = Output;

    fn read(&mut self, from: &mut DecodeBuf<'_>) -> Result<Output, prost::DecodeError> {
        let bytes = from.remaining();
        Ok(Output { json: self.of.decode(from, self.depth, self.defaults)?, bytes })
    }
}

/// Reads messages of a protocol that is known here.
pub(super) struct Typed<T>(PhantomData<fn() -> T>);

impl<T> Typed<T> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + Default + 'static> Read for Typed<T> {
    type Message = T;

    fn read(&mut self, from: &mut DecodeBuf<'_>) -> Result<T, prost::DecodeError> {
        T::decode(from)
    }
}

/// A [`Read`] as tonic takes it.
pub(super) struct Decode<R>(pub(super) R);

impl<R: Read> Decoder for Decode<R> {
    type Item = R::Message;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<R::Message>, Status> {
        self.0.read(from).map(Some).map_err(|error| Status::data_loss(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, FLUSH)
    }
}

/// How a body ended, for whoever reads its messages.
#[derive(Debug, Default)]
pub(super) struct End {
    /// Whether there was anything but trailers.
    pub(super) data: bool,
    /// Trailers, where they came.
    pub(super) trailers: Option<HeaderMap>,
    /// Why the connection broke.
    pub(super) broken: Option<String>,
}

/// A body that keeps its end apart. tonic's own reading of trailers panics on details that are no base64, and does not tell
/// an error of the service from one of its own.
pub(super) struct Watched {
    body: Incoming,
    end: Arc<Mutex<End>>,
    over: bool,
    data: bool,
}

impl Watched {
    pub(super) fn new(body: Incoming) -> (Self, Arc<Mutex<End>>) {
        let end = Arc::new(Mutex::new(End::default()));
        (Self { body, end: end.clone(), over: false, data: false }, end)
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = frame {
            match frame.into_trailers() {
                Ok(trailers) => {
                    self.end.lock().unwrap_or_else(PoisonError::into_inner).trailers = Some(trailers)
                }
                Err(frame) => {
                    if !self.data && frame.data_ref().is_some_and(|data| !data.is_empty()) {
                        self.data = true;
                        self.end.lock().unwrap_or_else(PoisonError::into_inner).data = true;
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
            }
        } else if let Some(Err(error)) = frame {
            self.end.lock().unwrap_or_else(PoisonError::into_inner).broken = Some(full(&error));
        }
        self.over = true;
        Poll::Ready(None)
    }
}
