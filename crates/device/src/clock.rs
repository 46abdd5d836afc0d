//! Site time of played devices.
//!
//! In **lock-step** the engine hands the time to the device over a TCP connection, one JSON object a line:
//! `{"now":"2016-08-01T08:00:00Z"}`; the device lives through the time since its last one, then answers
//! `{"now":…}` with its own time. A time that is not later changes nothing, so a repeat is harmless.
//! **Scaled**, the device computes site time itself: `site epoch + factor × (wall time − wall epoch)`.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};

use crate::DeviceError;
use crate::lines::JsonLines;

/// How a device knows the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ClockMode {
    /// The engine hands the time over at each tick.
    Lockstep,
    /// The device computes it from an epoch and a factor.
    Scaled,
}

/// The clock of a played device, from arguments or the environment.
#[derive(Clone, Debug, clap::Args)]
pub struct ClockArgs {
    /// How site time is known.
    #[arg(long, env = "SOS_CLOCK", value_enum, default_value = "scaled")]
    pub clock: ClockMode,
    /// Lock-step: port on 127.0.0.1 where the engine hands the time over; 0 takes any free one.
    #[arg(long, env = "SOS_CLOCK_PORT", default_value_t = 0)]
    pub clock_port: u16,
    /// Site time at the start (RFC 3339).
    #[arg(long, env = "SOS_SITE_EPOCH")]
    pub site_epoch: Option<Timestamp>,
    /// Scaled: wall time at which the site epoch was (RFC 3339).
    #[arg(long, env = "SOS_TIME_EPOCH")]
    pub time_epoch: Option<Timestamp>,
    /// Scaled: seconds of site time in one second; above zero.
    #[arg(long, env = "SOS_TIME_FACTOR", default_value_t = 1.0)]
    pub time_factor: f64,
}

/// Site time as a function of wall time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    wall_epoch: Timestamp,
    site_epoch: Timestamp,
    factor: f64,
}

/// A clock ready to run.
#[derive(Debug)]
pub(crate) enum Clock {
    Lockstep(TcpListener),
    Scaled(Scale),
}

impl ClockArgs {
    /// Checks the arguments and, for lock-step, starts to listen.
    pub(crate) async fn start(&self) -> Result<Clock, DeviceError> {
        match self.clock {
            ClockMode::Lockstep => {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.clock_port));
                let listener = TcpListener::bind(address).await;
                listener
                    .map(Clock::Lockstep)
                    .map_err(DeviceError::io(format!("listen on {address} for the clock")))
            }
            ClockMode::Scaled => self.scale().map(Clock::Scaled),
        }
    }

    fn scale(&self) -> Result<Scale, DeviceError> {
        let factor = self.time_factor;
        if !(factor > 0.0 && factor <= 1e6) {
            let text = format!("SOS_TIME_FACTOR must be above 0 and at most 1000000, not {factor}");
            return Err(DeviceError::BadInput(text));
        }
        let now = wall_now();
        let wall_epoch = self.time_epoch.unwrap_or(now);
        // Without a site epoch, site time is wall time where the factor is 1, and starts there otherwise.
        Ok(Scale { wall_epoch, site_epoch: self.site_epoch.unwrap_or(wall_epoch), factor })
    }
}

impl Scale {
    /// Site time in whole seconds since 1970 at a wall time. Saturates far from the epoch.
    #[must_use]
    pub fn site_seconds(&self, wall: Timestamp) -> i64 {
        let passed = (wall.as_microsecond() - self.wall_epoch.as_microsecond()) as f64 / 1e6;
        self.site_epoch.as_second().saturating_add((passed * self.factor).floor() as i64)
    }
}

/// The one place where a played device reads the wall clock.
#[expect(clippy::disallowed_methods, reason = "a scaled device turns wall time into site time by itself")]
pub(crate) fn wall_now() -> Timestamp {
    Timestamp::now()
}

/// A line from the engine.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockRequest {
    /// Site time up to which the device shall live.
    pub now: Timestamp,
}

/// A device's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockReply {
    /// The device's own time after the request; absent after an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Timestamp>,
    /// A batch job's progress: seconds of its declared duration that are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worked_seconds: Option<u32>,
    /// A batch job is finished and its process about to exit with 0.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
    /// What was wrong with the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Serves the lock-step clock until a reply says that the device is done.
pub(crate) async fn serve<A>(listener: TcpListener, advance: A)
where
    A: Fn(Timestamp) -> ClockReply + Clone + Send + 'static,
{
    let (finish, mut finished) = tokio::sync::mpsc::channel::<()>(1);
    let accept = async {
        loop {
            // Refused sockets are the client's to retry; running out of descriptors passes when one closes.
            if let Ok((stream, _)) = listener.accept().await {
                let (advance, finish) = (advance.clone(), finish.clone());
                tokio::spawn(async move {
                    if converse(stream, advance).await.is_ok_and(|done| done) {
                        let _ = finish.send(()).await;
                    }
                });
            } else {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    };
    let _: Option<((), ())> = first(accept, finished.recv()).await;
}

async fn first(endless: impl Future<Output = ()>, end: impl Future<Output = Option<()>>) -> Option<((), ())> {
    tokio::select! { () = endless => None, _ = end => None }
}

/// Answers one client; true when the device was done.
async fn converse(stream: TcpStream, advance: impl Fn(Timestamp) -> ClockReply) -> std::io::Result<bool> {
    let mut lines = JsonLines::new(stream)?;
    while let Some(line) = lines.next_line().await? {
        let reply = match serde_json::from_slice::<ClockRequest>(line) {
            Ok(request) => advance(request.now),
            Err(error) => ClockReply {
                error: Some(format!("expected {{\"now\":\"<RFC 3339>\"}}: {error}")),
                ..ClockReply::default()
            },
        };
        lines.send(&reply).await?;
        if reply.done {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn site_time_runs_faster_by_the_factor() {
        let wall: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let site: Timestamp = "2016-08-01T07:00:00Z".parse().unwrap();
        let scale = Scale { wall_epoch: wall, site_epoch: site, factor: 600.0 };
        let later = Timestamp::from_microsecond(wall.as_microsecond() + 6_001_000).unwrap();
        assert_eq!(scale.site_seconds(later), site.as_second() + 3600);
        assert_eq!(scale.site_seconds(wall), site.as_second());
    }
}
