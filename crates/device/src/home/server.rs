//! The Modbus TCP side of a home.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::{BoxFuture, Either, Ready, ready};
use tokio::net::{TcpListener, TcpStream};
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::Server;
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

use super::Shared;
use super::registers::{BASE, Refused};
use crate::fault::Fault;

/// More clients than this are turned away; inverters commonly allow fewer.
const MAX_CONNECTIONS: usize = 64;
/// The most registers in one request (Modbus application protocol, 6.3).
const MAX_READ: u16 = 125;

/// Answers Modbus clients for ever.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let open = Arc::new(AtomicUsize::new(0));
    let server = Server::new(listener);
    loop {
        let on_connected = |stream: TcpStream, _| {
            let (shared, open) = (shared.clone(), open.clone());
            async move {
                if open.load(Ordering::Relaxed) >= MAX_CONNECTIONS || stream.set_nodelay(true).is_err() {
                    return Ok(None);
                }
                open.fetch_add(1, Ordering::Relaxed);
                Ok(Some((Connection { shared, open }, stream)))
            }
        };
        let ended = server.serve(&on_connected, |error| tracing::debug!(%error, "modbus client")).await;
        tracing::warn!(?ended, "cannot accept modbus clients, trying again");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

struct Connection {
    shared: Arc<Shared>,
    open: Arc<AtomicUsize>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

type Answer = Result<Option<Response>, ExceptionCode>;

impl Service for Connection {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Either<Ready<Answer>, BoxFuture<'static, Answer>>;

    fn call(&self, SlaveRequest { slave: unit, request }: Self::Request) -> Self::Future {
        match self.shared.faults.of_unit(unit) {
            Some(Fault::Never) => Either::Left(ready(Ok(None))),
            Some(Fault::Exception(code)) => Either::Left(ready(Err(ExceptionCode::new(code)))),
            Some(Fault::Late(delay)) => {
                let shared = self.shared.clone();
                Either::Right(
                    async move {
                        tokio::time::sleep(delay).await;
                        answer(&shared, unit, request).map(Some)
                    }
                    .boxed(),
                )
            }
            Some(fault) => {
                Either::Left(ready(answer(&self.shared, unit, request).map(|good| Some(spoil(good, fault)))))
            }
            None => Either::Left(ready(answer(&self.shared, unit, request).map(Some))),
        }
    }
}

fn answer(shared: &Shared, unit: u8, request: Request<'static>) -> Result<Response, ExceptionCode> {
    match request {
        Request::ReadHoldingRegisters(address, count) => {
            read(shared, unit, address, count).map(Response::ReadHoldingRegisters)
        }
        Request::WriteSingleRegister(address, word) => {
            write(shared, unit, address, &[word])?;
            Ok(Response::WriteSingleRegister(address, word))
        }
        Request::WriteMultipleRegisters(address, words) => {
            write(shared, unit, address, &words)?;
            Ok(Response::WriteMultipleRegisters(address, words.len() as u16))
        }
        Request::ReadWriteMultipleRegisters(address, count, to, words) => {
            write(shared, unit, to, &words)?;
            read(shared, unit, address, count).map(Response::ReadWriteMultipleRegisters)
        }
        _ => Err(ExceptionCode::IllegalFunction),
    }
}

fn read(shared: &Shared, unit: u8, address: u16, count: u16) -> Result<Vec<u16>, ExceptionCode> {
    if count == 0 || count > MAX_READ {
        return Err(ExceptionCode::IllegalDataValue);
    }
    let image = shared.image(unit).ok_or(ExceptionCode::GatewayTargetDevice)?;
    let first = usize::from(address.checked_sub(BASE).ok_or(ExceptionCode::IllegalDataAddress)?);
    let words = image.get(first..first + usize::from(count));
    words.map(<[u16]>::to_vec).ok_or(ExceptionCode::IllegalDataAddress)
}

fn write(shared: &Shared, unit: u8, address: u16, words: &[u16]) -> Result<(), ExceptionCode> {
    shared.write(unit, address, words).map_err(|refused| match refused {
        Refused::Address => ExceptionCode::IllegalDataAddress,
        Refused::Value => ExceptionCode::IllegalDataValue,
    })
}

fn spoil(response: Response, fault: Fault) -> Response {
    let (Response::ReadHoldingRegisters(mut words) | Response::ReadWriteMultipleRegisters(mut words)) =
        response
    else {
        return response;
    };
    match fault {
        Fault::Rubbish => {
            let mut noise = 0x9e37_u16;
            for word in &mut words {
                noise = noise.wrapping_mul(25_173).wrapping_add(13_849);
                *word ^= noise;
            }
        }
        Fault::NotImplemented => words.fill(0x8000),
        _ => words.truncate(words.len() / 2),
    }
    Response::ReadHoldingRegisters(words)
}
