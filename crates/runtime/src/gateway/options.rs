//! What holds for the whole gateway, and what holds for one service.

use std::time::Duration;

/// How the gateway is set up. Every value has a usual one: `GatewayOptions::default()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayOptions {
    /// Where connections are served.
    pub workers: Workers,
    /// Seed of all that is drawn by chance: which replica, which revision.
    pub seed: u64,
    /// Connections of clients at a time, over all services; 1 … 1,000,000. Further ones wait in the backlog of the system.
    pub connections: usize,
    /// What is read of a client at most, and how long it may take.
    pub clients: Clients,
    /// Connections to replicas.
    pub replicas: Connections,
    /// How often files of certificates are looked at for a change; above zero.
    pub certificates_every: Duration,
    /// Whether `X-Forwarded-*` and `Forwarded` of clients are believed and extended. Else they are replaced: anybody can write them.
    pub trust_forwarded: bool,
}

/// Where connections are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// In the runtime that [`super::Gateway::start`] is called in.
    Here,
    /// In threads of the gateway's own, each with a runtime of one thread; 1 … 64. A connection stays in its thread together with
    /// the connections to replicas that it uses, so nothing wakes another thread.
    Threads(usize),
}

/// Bounds on clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// Bytes of the head of a request; 8 KiB … 1 MiB. More is answered with 431.
    pub head_bytes: usize,
    /// Headers of a request; 1 … 1,000. More is answered with 431. HTTP/1.1 only: HTTP/2 counts bytes.
    pub headers: usize,
    /// Time for the first bytes, the TLS handshake and the head of a request. HTTP/1.1 connections are closed after that and at
    /// most half of it more.
    pub head_timeout: Duration,
    /// How long a connection may be without a request.
    pub idle: Duration,
    /// How long a client may leave what was sent to it unread.
    pub send_timeout: Duration,
    /// Requests at a time on one HTTP/2 connection; 1 … 10,000.
    pub streams: u32,
}

/// Bounds on connections to replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Time for a connection to be made.
    pub connect_timeout: Duration,
    /// Connections kept without a request, for each replica and worker; 0 … 10,000.
    pub idle: usize,
    /// How long. A replica that says less (`Keep-Alive: timeout=5`) is left a second before its time is over.
    pub idle_for: Duration,
    /// Requests at a time on one HTTP/2 connection before another is opened; 1 … 10,000.
    pub streams: usize,
    /// HTTP/2 connections for each replica and worker; 1 … 100.
    pub http2: usize,
}

/// What holds for the requests of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Time until the head of the answer, over all attempts, waiting for a replica not counted. Then 504. Above zero.
    pub timeout: Duration,
    /// Time for one attempt, of a request that may be repeated; `None`: only `timeout` holds.
    pub attempt_timeout: Option<Duration>,
    /// How long a body may pause, in either direction; above zero.
    pub body_idle: Duration,
    /// How long a WebSocket may be silent; above zero.
    pub tunnel_idle: Duration,
    /// Bytes of a request's body; `None`: any number. More is answered with 413.
    pub body_bytes: Option<u64>,
    /// What is tried again.
    pub retries: Retries,
    /// Which replica is left out; `None`: none.
    pub outliers: Option<Outliers>,
}

/// What is tried again, each time on another replica where there is one.
///
/// A request that cannot have reached a replica (no connection, HTTP/2's `REFUSED_STREAM` or `GOAWAY`) is always tried elsewhere.
/// One that did is only when its method is idempotent (RFC 9110, section 9.2.2), no byte of an answer was passed on, and its
/// body is still there.
#[derive(Clone, Debug, PartialEq)]
pub struct Retries {
    /// Attempts of a request in all, the first included; 1 … 10.
    pub attempts: u32,
    /// Retries of all requests together that reached a replica, as a share of the requests of the last 10 s; 0 … 1.
    pub budget_share: f64,
    /// Retries in a second beside the share; 0 … 1,000.
    pub budget_minimum: f64,
    /// Bytes of a body that are kept to be sent again; up to 16 MiB. A longer body is sent once.
    pub kept_body: usize,
    /// Whether an answer of 503 to an idempotent request is tried elsewhere.
    pub on_503: bool,
}

/// When a replica that fails is left out. A failure is no connection, a broken one, a time-out, or an answer of 500, 502, 503
/// or 504. A replica on whose port nothing listens is left out at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Outliers {
    /// Failures in a row; at least 1.
    pub consecutive: u32,
    /// Share of failures in the last 10 s, of at least `minimum_requests`; above 0, up to 1. `None`: it does not matter.
    pub share: Option<f64>,
    /// Requests before the share means something; at least 1.
    pub minimum_requests: u32,
    /// How long it is left out the first time; one such time longer each further time.
    pub ejected_for: Duration,
    /// The longest.
    pub ejected_for_at_most: Duration,
    /// How many of all replicas are left out at most, in percent; 0 … 100. One of few always may be, the last never.
    pub at_most_percent: u8,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            workers: Workers::Threads(2),
            seed: 0,
            connections: 10_000,
            clients: Clients::default(),
            replicas: Connections::default(),
            certificates_every: Duration::from_secs(10),
            trust_forwarded: false,
        }
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            head_bytes: 64 << 10,
            headers: 100,
            head_timeout: Duration::from_secs(20),
            idle: Duration::from_secs(75),
            send_timeout: Duration::from_mins(1),
            streams: 200,
        }
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            idle: 64,
            idle_for: Duration::from_secs(30),
            streams: 100,
            http2: 8,
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            timeout: Duration::from_mins(1),
            attempt_timeout: None,
            body_idle: Duration::from_mins(1),
            tunnel_idle: Duration::from_hours(1),
            body_bytes: None,
            retries: Retries::default(),
            outliers: Some(Outliers::default()),
        }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 3, budget_share: 0.2, budget_minimum: 10.0, kept_body: 64 << 10, on_503: true }
    }
}

impl Default for Outliers {
    fn default() -> Self {
        Self {
            consecutive: 5,
            share: Some(0.5),
            minimum_requests: 20,
            ejected_for: Duration::from_secs(5),
            ejected_for_at_most: Duration::from_mins(2),
            at_most_percent: 50,
        }
    }
}

impl GatewayOptions {
    /// Whether all values are in their ranges.
    ///
    /// # Errors
    /// Which is not, and what was expected.
    pub fn check(&self) -> Result<(), String> {
        let (clients, replicas) = (&self.clients, &self.replicas);
        if let Workers::Threads(count) = self.workers {
            within("workers", count, 1, 64)?;
        }
        within("connections", self.connections, 1, 1_000_000)?;
        within("clients.head_bytes", clients.head_bytes, 8 << 10, 1 << 20)?;
        within("clients.headers", clients.headers, 1, 1000)?;
        within("clients.streams", clients.streams, 1, 10_000)?;
        within("replicas.idle", replicas.idle, 0, 10_000)?;
        within("replicas.streams", replicas.streams, 1, 10_000)?;
        within("replicas.http2", replicas.http2, 1, 100)?;
        lasting("clients.head_timeout", clients.head_timeout)?;
        lasting("clients.idle", clients.idle)?;
        lasting("clients.send_timeout", clients.send_timeout)?;
        lasting("replicas.connect_timeout", replicas.connect_timeout)?;
        lasting("certificates_every", self.certificates_every)
    }
}

impl Rules {
    /// Whether all values are in their ranges.
    ///
    /// # Errors
    /// Which is not, and what was expected.
    pub fn check(&self) -> Result<(), String> {
        lasting("timeout", self.timeout)?;
        lasting("attempt_timeout", self.attempt_timeout.unwrap_or(self.timeout))?;
        lasting("body_idle", self.body_idle)?;
        lasting("tunnel_idle", self.tunnel_idle)?;
        within("retries.attempts", self.retries.attempts, 1, 10)?;
        within("retries.budget_share", self.retries.budget_share, 0.0, 1.0)?;
        within("retries.budget_minimum", self.retries.budget_minimum, 0.0, 1000.0)?;
        within("retries.kept_body", self.retries.kept_body, 0, 16 << 20)?;
        let Some(outliers) = &self.outliers else { return Ok(()) };
        within("outliers.consecutive", outliers.consecutive, 1, u32::MAX)?;
        within("outliers.share", outliers.share.unwrap_or(1.0), f64::MIN_POSITIVE, 1.0)?;
        within("outliers.minimum_requests", outliers.minimum_requests, 1, u32::MAX)?;
        within("outliers.at_most_percent", outliers.at_most_percent, 0, 100)
    }
}

/// Fails unless `value` is one of the range; a NaN never is.
pub(super) fn within<T: PartialOrd + std::fmt::Display>(
    what: &str,
    value: T,
    from: T,
    to: T,
) -> Result<(), String> {
    if value >= from && value <= to {
        return Ok(());
    }
    Err(format!("`{what}`: expected {from} to {to}, found {value}"))
}

/// The longest time that can be declared; beyond it sums of times could overflow.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// Fails unless the time is above zero and at most a year.
pub(super) fn lasting(what: &str, time: Duration) -> Result<(), String> {
    if !time.is_zero() && time <= LONGEST {
        return Ok(());
    }
    Err(format!("`{what}`: expected more than no time and at most a year, found {} s", time.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_their_ranges_are_named_with_what_was_expected() {
        GatewayOptions::default().check().unwrap();
        Rules::default().check().unwrap();
        let options = GatewayOptions { workers: Workers::Threads(0), ..GatewayOptions::default() };
        assert_eq!(options.check().unwrap_err(), "`workers`: expected 1 to 64, found 0");
        let options = GatewayOptions { certificates_every: Duration::ZERO, ..GatewayOptions::default() };
        assert!(options.check().unwrap_err().starts_with("`certificates_every`"));
        let changed = |change: fn(&mut Rules)| {
            let mut rules = Rules::default();
            change(&mut rules);
            rules.check().unwrap_err()
        };
        for (message, what) in [
            (changed(|rules| rules.timeout = Duration::ZERO), "timeout"),
            (changed(|rules| rules.timeout = Duration::MAX), "timeout"),
            (changed(|rules| rules.attempt_timeout = Some(Duration::ZERO)), "attempt_timeout"),
            (changed(|rules| rules.retries.attempts = 0), "retries.attempts"),
            (changed(|rules| rules.retries.budget_share = f64::NAN), "retries.budget_share"),
            (changed(|rules| rules.retries.kept_body = 1 << 30), "retries.kept_body"),
            (changed(|rules| rules.outliers.as_mut().unwrap().share = Some(0.0)), "outliers.share"),
            (changed(|rules| rules.outliers.as_mut().unwrap().consecutive = 0), "outliers.consecutive"),
        ] {
            assert!(message.starts_with(&format!("`{what}`")), "{message}");
        }
    }
}
