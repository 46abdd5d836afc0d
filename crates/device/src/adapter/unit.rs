//! One asset's device: connecting, finding its models, measuring, commanding. A device that misbehaves costs its own
//! asset and nothing else.

use std::io;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sos_units::Missing;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::client::{Client, Context};
use tokio_modbus::{ExceptionCode, Request, Response, Slave};

use super::command::{Command, Writes};
use super::field::{Image, MAX_READ};
use super::layout::{Layout, Model, engine, is_known};
use crate::protocol::{AssetConfig, AssetError, AssetType, Measurement, Nameplate, WriteResult};

/// Where a SunSpec map may begin.
const BASES: [u16; 3] = [40_000, 50_000, 0];
const SUNS: [u16; 2] = sunspec::SUNS_IDENTIFIER;
const END: u16 = 0xffff;
/// More models than any device has; ends the walk through a map of rubbish.
const MAX_MODELS: usize = 64;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
/// After n silences in a row a device is left alone for 2ⁿ calls, but not longer than [`MAX_PAUSE`]. Counted in calls,
/// so that a replay in lock-step gives the same measurements each time.
const MAX_SKIPPED: u32 = 64;
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// No asset gives or takes more than this (a terawatt, in kW).
const PLAUSIBLE_KW: f64 = 1e9;
/// A measured power may exceed the rated one by this factor before it is taken for rubbish.
const OVERLOAD: f64 = 2.0;

/// What went wrong with a device.
#[derive(Debug)]
enum Problem {
    TimedOut,
    Transport(io::Error),
    Exception(ExceptionCode),
    Rubbish(String),
}

/// One asset and the connection to its device.
pub(super) struct Unit {
    config: AssetConfig,
    context: Option<Context>,
    layout: Option<Layout>,
    image: Image,
    /// Whether the device writes and reads back in one request (function 23); tried until it proves that it does not.
    reads_back_at_once: bool,
    silences: u32,
    skip: u32,
    paused_since: Instant,
    last_error: Option<AssetError>,
}

impl Unit {
    pub(super) fn new(config: AssetConfig) -> Self {
        Self {
            config,
            context: None,
            layout: None,
            image: Image::default(),
            reads_back_at_once: true,
            silences: 0,
            skip: 0,
            paused_since: Instant::now(),
            last_error: None,
        }
    }

    /// Tries the device at the next call, however often it was silent.
    pub(super) fn forgive(&mut self) {
        self.skip = 0;
    }

    /// Reads what the device measures now.
    pub(super) async fn measure(&mut self, time: Timestamp) -> Measurement {
        let asset = self.config.asset.clone();
        let polled = self.attempt(async |unit| unit.poll().await).await;
        let values = polled.and_then(|()| self.values());
        match values {
            Ok(values) => Measurement { asset, known: Some(time), ..values },
            Err(error) => Measurement { asset, error: Some(error), ..Measurement::default() },
        }
    }

    /// Commands the device and reads back what it follows then.
    pub(super) async fn command(&mut self, kw: Option<f64>, lease: u32) -> WriteResult {
        let asset = self.config.asset.clone();
        match self.attempt(async |unit| unit.write(kw.map(|kw| kw * 1000.0), lease).await).await {
            Ok((followed, error)) => {
                WriteResult { asset, readback_kw: followed.map(|watts| watts / 1000.0), error }
            }
            Err(error) => WriteResult { asset, error: Some(error), ..WriteResult::default() },
        }
    }

    /// What the device says about itself.
    pub(super) async fn ratings(&mut self) -> Nameplate {
        let asset = self.config.asset.clone();
        match self.attempt(async |unit| unit.discovered().await.map(|layout| layout.nameplate.clone())).await
        {
            Ok(nameplate) => Nameplate { asset, ..nameplate },
            Err(error) => Nameplate { asset, error: Some(error), ..Nameplate::default() },
        }
    }

    /// Runs one exchange with the device and keeps account of its failures.
    async fn attempt<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Self) -> Result<T, Problem>,
    ) -> Result<T, AssetError> {
        if self.skip > 0 && self.paused_since.elapsed() < MAX_PAUSE {
            self.skip -= 1;
            return Err(self
                .last_error
                .clone()
                .unwrap_or_else(|| self.error(Missing::Unavailable, "is silent")));
        }
        match work(self).await {
            Ok(value) => {
                self.silences = 0;
                Ok(value)
            }
            Err(problem) => Err(self.failed(&problem)),
        }
    }

    fn failed(&mut self, problem: &Problem) -> AssetError {
        let (reason, text) = match problem {
            Problem::TimedOut => {
                self.silences = (self.silences + 1).min(MAX_SKIPPED.ilog2());
                self.skip = 1 << self.silences;
                self.paused_since = Instant::now();
                (Missing::Unavailable, format!("did not answer within {} ms", self.timeout().as_millis()))
            }
            Problem::Transport(error) => (Missing::Unavailable, format!("cannot be reached: {error}")),
            Problem::Exception(code) => (Missing::Unavailable, format!("refused the request: {code}")),
            Problem::Rubbish(what) => (Missing::Invalid, format!("answered rubbish: {what}")),
        };
        // An answer that comes late or in pieces would be taken for the next one's.
        if !matches!(problem, Problem::Exception(_)) {
            self.context = None;
        }
        if matches!(problem, Problem::Rubbish(_)) {
            self.layout = None;
        }
        let error = self.error(reason, &text);
        self.last_error = Some(error.clone());
        error
    }

    fn error(&self, reason: Missing, text: &str) -> AssetError {
        let AssetConfig { asset, host, port, unit, .. } = &self.config;
        AssetError { reason, message: format!("{asset}: device {host}:{port} unit {unit} {text}") }
    }

    fn timeout(&self) -> Duration {
        self.config.timeout_ms.map_or(DEFAULT_TIMEOUT, |ms| Duration::from_millis(ms.into()))
    }

    /// A connection that broke since the last call is made anew: the device may have been restarted. All requests
    /// may be repeated; a set-point that is written twice has its lease renewed.
    async fn request(&mut self, request: Request<'_>) -> Result<Response, Problem> {
        let kept = self.context.is_some();
        match self.request_once(request.clone()).await {
            Err(Problem::Transport(_)) if kept => {
                self.context = None;
                self.request_once(request).await
            }
            other => other,
        }
    }

    async fn request_once(&mut self, request: Request<'_>) -> Result<Response, Problem> {
        let wait = self.timeout();
        let context = match &mut self.context {
            Some(context) => context,
            none => {
                let connecting = TcpStream::connect((self.config.host.as_str(), self.config.port));
                let stream = timeout(wait, connecting).await.map_err(|_| Problem::TimedOut)?;
                let stream = stream.map_err(Problem::Transport)?;
                stream.set_nodelay(true).map_err(Problem::Transport)?;
                none.insert(tokio_modbus::client::tcp::attach_slave(stream, Slave(self.config.unit)))
            }
        };
        match timeout(wait, context.call(request)).await {
            Err(_) => Err(Problem::TimedOut),
            Ok(Ok(answer)) => answer.map_err(Problem::Exception),
            Ok(Err(tokio_modbus::Error::Transport(error))) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Problem::Rubbish(error.to_string()))
            }
            Ok(Err(tokio_modbus::Error::Transport(error))) => Err(Problem::Transport(error)),
            Ok(Err(tokio_modbus::Error::Protocol(error))) => Err(Problem::Rubbish(error.to_string())),
        }
    }

    async fn read(&mut self, address: u16, count: u16) -> Result<Vec<u16>, Problem> {
        match self.request(Request::ReadHoldingRegisters(address, count)).await? {
            Response::ReadHoldingRegisters(words) if words.len() == usize::from(count) => Ok(words),
            _ => Err(Problem::Rubbish(format!("expected {count} registers from {address}"))),
        }
    }

    async fn write_words(&mut self, address: u16, words: &[u16]) -> Result<(), Problem> {
        let request = match words {
            [word] => Request::WriteSingleRegister(address, *word),
            words => Request::WriteMultipleRegisters(address, words.into()),
        };
        self.request(request).await.map(|_| ())
    }

    /// Writes registers and reads what the device follows then.
    async fn write_and_read_back(
        &mut self,
        command: &Command,
        watts: Option<f64>,
        writes: Writes,
    ) -> Result<Option<f64>, Problem> {
        if let ([(address, words)], true) = (&writes[..], self.reads_back_at_once) {
            // What goes wrong is asked again the common way, and this way not tried any more.
            self.reads_back_at_once = false;
            let span = command.span();
            let both = Request::ReadWriteMultipleRegisters(span.address, span.words, *address, words.into());
            match self.request(both).await {
                Ok(Response::ReadWriteMultipleRegisters(read)) if read.len() == usize::from(span.words) => {
                    self.image.put(span.address, read);
                    let followed = command.followed(&self.image);
                    if agree(command, watts, followed) {
                        self.reads_back_at_once = true;
                        return Ok(followed);
                    }
                }
                Ok(_) | Err(Problem::Exception(_)) => {}
                Err(problem) => {
                    // A device that is away proves nothing.
                    self.reads_back_at_once = matches!(problem, Problem::Transport(_));
                    return Err(problem);
                }
            }
        }
        for (address, words) in writes {
            self.write_words(address, &words).await?;
        }
        let span = command.span();
        let words = self.read(span.address, span.words).await?;
        self.image.put(span.address, words);
        Ok(command.followed(&self.image))
    }

    /// The device's layout, found at the first call.
    async fn discovered(&mut self) -> Result<&Layout, Problem> {
        if self.layout.is_none() {
            let (models, image) = self.discover().await?;
            self.layout = Some(Layout::of(self.config.kind, &models, &image));
        }
        self.layout.as_ref().ok_or_else(|| Problem::Rubbish("no layout".to_owned()))
    }

    async fn discover(&mut self) -> Result<(Vec<Model>, Image), Problem> {
        let mut at = self.base().await?.saturating_add(2);
        let (mut models, mut image) = (Vec::new(), Image::default());
        while models.len() < MAX_MODELS {
            let header = self.read(at, 2).await?;
            let (id, length) = (header[0], header[1]);
            if id == END {
                return Ok((models, image));
            }
            let Some(next) = at.checked_add(2).and_then(|data| data.checked_add(length)) else { break };
            let model = Model { id, data: at + 2, length };
            if is_known(id) {
                image.put(model.data, self.read_all(model).await?);
            }
            models.push(model);
            at = next;
        }
        Err(Problem::Rubbish("its list of SunSpec models has no end".to_owned()))
    }

    async fn base(&mut self) -> Result<u16, Problem> {
        for base in BASES {
            match self.read(base, 2).await {
                Ok(words) if words == SUNS => return Ok(base),
                // Some devices refuse an address that they do not have, others answer with something else.
                Ok(_) | Err(Problem::Exception(_)) => {}
                Err(problem) => return Err(problem),
            }
        }
        Err(Problem::Rubbish("no SunSpec identifier at 40000, 50000 or 0".to_owned()))
    }

    async fn read_all(&mut self, model: Model) -> Result<Vec<u16>, Problem> {
        let mut words = Vec::with_capacity(model.length.into());
        while words.len() < usize::from(model.length) {
            let done = words.len() as u16;
            words.extend(self.read(model.data + done, (model.length - done).min(MAX_READ)).await?);
        }
        Ok(words)
    }

    /// Reads all that changes into the image.
    async fn poll(&mut self) -> Result<(), Problem> {
        let spans = self.discovered().await?.spans.clone();
        self.image = Image::default();
        for span in spans {
            let words = self.read(span.address, span.words).await?;
            self.image.put(span.address, words);
        }
        let Some(layout) = &self.layout else { return Ok(()) };
        let moved = layout.checked.iter().find(|model| {
            self.image.words(model.data - 2, 2).is_none_or(|header| header != [model.id, model.length])
        });
        match moved {
            Some(model) => Err(Problem::Rubbish(format!("model {} is not where it was", model.id))),
            None => Ok(()),
        }
    }

    /// The polled values; an error when there is no power among them.
    fn values(&self) -> Result<Measurement, AssetError> {
        let Some(layout) = &self.layout else { return Err(self.error(Missing::NotYet, "was not read yet")) };
        let value = |field: Option<super::field::Field>| field.and_then(|field| field.value(&self.image));
        let Some(field) = layout.power else {
            let models = &layout.nameplate.models;
            return Err(
                self.error(Missing::Unavailable, &format!("has no model for its power; it has {models:?}"))
            );
        };
        let power =
            field.value(&self.image).ok_or_else(|| self.error(Missing::NotYet, "has no power value yet"))?;
        let rated = layout.nameplate.max_power_kw.map_or(PLAUSIBLE_KW, |kw| kw * OVERLOAD);
        if power.abs() > rated {
            return Err(self.error(Missing::Invalid, &format!("says {power} kW, which cannot be")));
        }
        let setpoint_kw = layout
            .command
            .as_ref()
            .and_then(|command| command.followed(&self.image))
            .map(|watts| watts / 1000.0);
        let unlimited = self.config.kind == AssetType::Solar && setpoint_kw.is_none();
        Ok(Measurement {
            power_kw: Some(power),
            soc: value(layout.soc).filter(|soc| (0.0..=1.0).contains(soc)),
            given_kwh: value(layout.given),
            taken_kwh: value(layout.taken),
            counter_range_kwh: layout.given.or(layout.taken).and_then(|field| field.range()),
            setpoint_kw,
            engine: value(layout.engine).and_then(engine),
            available_kw: unlimited.then_some(power),
            ..Measurement::default()
        })
    }

    /// Writes a set-point in W; what the device follows then and why that is not what was asked for.
    async fn write(
        &mut self,
        watts: Option<f64>,
        lease: u32,
    ) -> Result<(Option<f64>, Option<AssetError>), Problem> {
        let layout = self.discovered().await?;
        let Some(command) = layout.command.clone() else {
            let text = format!("cannot be commanded; it has the models {:?}", layout.nameplate.models);
            return Ok((None, Some(self.error(Missing::Unavailable, &text))));
        };
        let span = command.span();
        if self.image.words(span.address, span.words).is_none() {
            let words = self.read(span.address, span.words).await?;
            self.image.put(span.address, words);
        }
        let Some(writes) = command.writes(watts, lease, &self.image) else {
            let text = format!("cannot be set to {} W: beyond its ratings", watts.unwrap_or_default());
            return Ok((None, Some(self.error(Missing::Invalid, &text))));
        };
        let followed = self.write_and_read_back(&command, watts, writes).await?;
        let error = (!agree(&command, watts, followed)).then(|| {
            let words =
                |watts: Option<f64>| watts.map_or("no set-point".to_owned(), |watts| format!("{watts} W"));
            let text = format!("follows {} instead of {}", words(followed), words(watts));
            self.error(Missing::Invalid, &text)
        });
        Ok((followed, error))
    }
}

/// Whether a device follows what it was asked to, as closely as its registers can tell.
fn agree(command: &Command, asked: Option<f64>, followed: Option<f64>) -> bool {
    match (asked, followed) {
        (Some(asked), Some(follows)) => (asked - follows).abs() <= command.resolution(),
        (None, None) => true,
        _ => false,
    }
}
