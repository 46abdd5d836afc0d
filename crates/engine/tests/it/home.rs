//! A home of a battery, a solar plant that can be turned down, and a load, played behind the adapter's protocol. It
//! keeps its own books in watt-seconds, apart from those of the site.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use sos_device::protocol::{
    Answer, AssetError, Call, ConfigureReply, HelloReply, Measurement, ReadReply, Request, Response, VERSION,
    Write, WriteReply, WriteResult,
};
use sos_units::Missing;

/// Usable capacity of the battery.
pub(crate) const CAPACITY: i64 = 6_400 * 3_600;
/// The length of a step.
pub(crate) const TICK: SignedDuration = SignedDuration::from_mins(15);

/// When site time begins.
pub(crate) fn epoch() -> Timestamp {
    "2016-08-01T00:00:00Z".parse().unwrap()
}

/// A command as the home took it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Command {
    pub(crate) at: Timestamp,
    pub(crate) epoch: u64,
    pub(crate) lease_s: u32,
    pub(crate) asset: &'static str,
    pub(crate) kw: Option<f64>,
}

/// The home's truth.
#[derive(Clone, Debug, Default)]
pub(crate) struct Home {
    pub(crate) now: Option<Timestamp>,
    /// Stored, watt-seconds.
    pub(crate) stored: i64,
    pub(crate) discharged: i64,
    pub(crate) charged: i64,
    pub(crate) load: i64,
    pub(crate) solar: i64,
    /// Generation that a limit held back.
    pub(crate) curtailed: i64,
    pub(crate) commands: Vec<Command>,
    /// Mean powers of the last step: battery, load, solar; watts.
    pub(crate) watts: Option<[i64; 3]>,
    pub(crate) setpoint: Option<(i64, Timestamp)>,
    pub(crate) limit: Option<(i64, Timestamp)>,
    /// While it does not answer, it goes on living.
    pub(crate) silent: Vec<&'static str>,
    /// From this step on, what no forecast knows of its load is many times as large.
    pub(crate) restless_from: Option<i64>,
    /// Whether its devices have energy counters.
    pub(crate) counters: bool,
}

/// Steps since the epoch.
fn step_of(at: Timestamp) -> i64 {
    at.duration_since(epoch()).as_secs() / TICK.as_secs()
}

/// Consumption in a step, watts: a base, an evening, and something that no forecast knows.
fn load_watts(step: i64, restless: bool) -> i64 {
    let evening = if (68..88).contains(&(step % 96)) { 2_600 } else { 0 };
    700 + evening + (step * 7_919 % 13) * if restless { 720 } else { 60 }
}

/// What the sun gives in a step, watts.
fn sun_watts(step: i64) -> i64 {
    let from_noon = (step % 96 - 50).abs();
    (6_000 - from_noon * 300).max(0)
}

impl Home {
    /// Lives until `to`, step by step; a time that is not later changes nothing.
    pub(crate) fn live(&mut self, to: Timestamp) {
        let mut now = *self.now.get_or_insert(to);
        while now < to {
            self.step(now);
            now += TICK;
        }
        self.now = Some(now.max(to));
    }

    fn step(&mut self, start: Timestamp) {
        let seconds = TICK.as_secs();
        let in_force = |control: Option<(i64, Timestamp)>| {
            control.filter(|(_, until)| start < *until).map(|(watts, _)| watts)
        };
        let asked = in_force(self.setpoint).unwrap_or(0);
        let battery = asked.min(self.stored / seconds).max((self.stored - CAPACITY) / seconds);
        let sun = sun_watts(step_of(start));
        let solar = in_force(self.limit).map_or(sun, |limit| sun.min(limit));
        let restless = self.restless_from.is_some_and(|from| step_of(start) >= from);
        let load = -load_watts(step_of(start), restless);
        self.stored -= battery * seconds;
        self.discharged += battery.max(0) * seconds;
        self.charged += (-battery).max(0) * seconds;
        self.load += load * seconds;
        self.solar += solar * seconds;
        self.curtailed += (sun - solar) * seconds;
        self.watts = Some([battery, load, solar]);
    }

    fn measure(&self, asset: &str) -> Measurement {
        let at = ["battery", "load", "solar"].iter().position(|name| *name == asset).unwrap();
        let error = |reason, message: &str| Some(AssetError { reason, message: message.to_owned() });
        let empty = Measurement { asset: asset.to_owned(), ..Measurement::default() };
        if self.silent.contains(&asset) {
            return Measurement { error: error(Missing::Unavailable, "does not answer"), ..empty };
        }
        let Some(watts) = self.watts else {
            return Measurement { error: error(Missing::NotYet, "has nothing to tell yet"), ..empty };
        };
        let kwh = |watt_seconds: i64| self.counters.then_some(watt_seconds as f64 / 3.6e6);
        let (given, taken) = [(self.discharged, self.charged), (0, -self.load), (self.solar, 0)]
            .map(|(g, t)| (kwh(g), kwh(t)))[at];
        Measurement {
            power_kw: Some(watts[at] as f64 / 1000.0),
            soc: (at == 0).then_some(self.stored as f64 / CAPACITY as f64),
            given_kwh: given,
            taken_kwh: taken,
            known: self.now,
            ..empty
        }
    }

    fn take(&mut self, write: &Write) -> Vec<WriteResult> {
        let now = self.now.unwrap();
        let until = now + SignedDuration::from_secs(i64::from(write.lease_s));
        let one = |point: &sos_device::protocol::Setpoint| {
            let asset = if point.asset == "battery" { "battery" } else { "solar" };
            let command =
                Command { at: now, epoch: write.epoch, lease_s: write.lease_s, asset, kw: point.power_kw };
            self.commands.push(command);
            let control = point.power_kw.map(|kw| ((kw * 1000.0).round() as i64, until));
            *(if asset == "battery" { &mut self.setpoint } else { &mut self.limit }) = control;
            WriteResult { asset: asset.to_owned(), readback_kw: point.power_kw, error: None }
        };
        write.setpoints.iter().map(one).collect()
    }
}

/// Serves a home to any number of controllers, one after the other; returns its port.
pub(crate) fn serve(home: &Arc<Mutex<Home>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let home = Arc::clone(home);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let home = Arc::clone(&home);
            std::thread::spawn(move || answer(stream.unwrap(), &home));
        }
    });
    port
}

fn answer(stream: TcpStream, home: &Mutex<Home>) {
    stream.set_nodelay(true).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let mut assets: Vec<String> = Vec::new();
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let request: Request = serde_json::from_str(&line).unwrap();
        let answer = match request.call {
            Call::Hello(_) => Answer::Hello(HelloReply { version: VERSION, adapter: "played".into() }),
            Call::Configure(configure) => {
                assets = configure.assets.into_iter().map(|asset| asset.asset).collect();
                Answer::Configure(ConfigureReply { assets: assets.len() })
            }
            Call::Read(read) => {
                let mut home = home.lock().unwrap();
                home.live(read.time);
                let assets = assets.iter().map(|asset| home.measure(asset)).collect();
                Answer::Read(ReadReply { time: read.time, assets })
            }
            Call::Write(write) => Answer::Write(WriteReply { results: home.lock().unwrap().take(&write) }),
            Call::Ratings(_) => unreachable!("the engine does not ask for ratings"),
        };
        let response = Response { id: Some(request.id), ok: Some(answer), error: None };
        if writeln!(writer, "{}", serde_json::to_string(&response).unwrap()).is_err() {
            return;
        }
    }
}
