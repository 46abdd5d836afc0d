//! The Modbus TCP side of a played device.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::{BoxFuture, Either, Ready, ready};
use tokio::net::{TcpListener, TcpStream};
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::Server;
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

use super::registers::{BASE, Refused};
use crate::fault::{Fault, Faults};

/// More clients than this are turned away; inverters commonly allow fewer.
const MAX_CONNECTIONS: usize = 64;
/// The most registers in one request (Modbus application protocol, 6.3).
const MAX_READ: u16 = 125;

/// A played device with its registers, by unit.
pub(crate) trait Played: Send + Sync + 'static {
    /// Faults that are switched on.
    fn faults(&self) -> &Faults;
    /// The registers of a unit from [`BASE`] on; `None` when there is no such unit.
    fn image(&self, unit: u8) -> Option<Vec<u16>>;
    /// Writes registers of a unit, all or nothing.
    fn write(&self, unit: u8, address: u16, words: &[u16]) -> Result<(), Refused>;
}

/// Answers Modbus clients for ever.
pub(crate) async fn serve<P: Played>(listener: TcpListener, shared: Arc<P>) {
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

struct Connection<P> {
    shared: Arc<P>,
    open: Arc<AtomicUsize>,
}

impl<P> Drop for Connection<P> {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

type Answer = Result<Option<Response>, ExceptionCode>;

impl<P: Played> Service for Connection<P> {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Either<Ready<Answer>, BoxFuture<'static, Answer>>;

    fn call(&self, SlaveRequest { slave: unit, request }: Self::Request) -> Self::Future {
        match self.shared.faults().of_unit(unit) {
            Some(Fault::Never) => Either::Left(ready(Ok(None))),
            Some(Fault::Exception(code)) => Either::Left(ready(Err(ExceptionCode::new(code)))),
            Some(Fault::Late(delay)) => {
                let shared = self.shared.clone();
                Either::Right(
                    async move {
                        tokio::time::sleep(delay).await;
                        answer(&*shared, unit, request).map(Some)
                    }
                    .boxed(),
                )
            }
            // The engine stops; its controller goes on answering.
            Some(Fault::Trip) | None => Either::Left(ready(answer(&*self.shared, unit, request).map(Some))),
            Some(fault) => {
                Either::Left(ready(answer(&*self.shared, unit, request).map(|good| Some(spoil(good, fault)))))
            }
        }
    }
}

fn answer(shared: &impl Played, unit: u8, request: Request<'static>) -> Result<Response, ExceptionCode> {
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

fn read(shared: &impl Played, unit: u8, address: u16, count: u16) -> Result<Vec<u16>, ExceptionCode> {
    if count == 0 || count > MAX_READ {
        return Err(ExceptionCode::IllegalDataValue);
    }
    let image = shared.image(unit).ok_or(ExceptionCode::GatewayTargetDevice)?;
    let first = usize::from(address.checked_sub(BASE).ok_or(ExceptionCode::IllegalDataAddress)?);
    let words = image.get(first..first + usize::from(count));
    words.map(<[u16]>::to_vec).ok_or(ExceptionCode::IllegalDataAddress)
}

fn write(shared: &impl Played, unit: u8, address: u16, words: &[u16]) -> Result<(), ExceptionCode> {
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
