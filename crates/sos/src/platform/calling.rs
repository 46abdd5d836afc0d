//! Metrics of calls and channels.

use sos_api::Exposition;
use sos_call::policy::CircuitState;
use sos_call::{DURATION_BOUNDS, Measures, OperationMeasures};
use sos_engine::channels::ChannelState;
use sos_engine::platform::Platform as Engine;
use sos_store::GroupStatistics;

/// Adds them.
pub(super) fn metrics(out: &mut Exposition, engine: &Engine) {
    calls(out, &engine.calls().measures());
    channels(out, &engine.channels().states());
}

type Called = (String, Measures);

fn calls(out: &mut Exposition, all: &[Called]) {
    let operations = || {
        all.iter().flat_map(|(service, measures)| {
            measures.operations.iter().map(move |one| (service.as_str(), one))
        })
    };
    out.counter("sos_call_requests_total", "calls of services by their result");
    for (service, one) in operations() {
        for (result, count) in &one.calls {
            let labels = [("service", service), ("operation", one.operation.as_str()), ("result", *result)];
            out.sample(&labels, *count as f64);
        }
    }
    type Get = fn(&OperationMeasures) -> f64;
    let families: [(&str, &str, bool, Get); 3] = [
        ("sos_call_attempts_total", "attempts of calls that were sent", true, |one| one.attempts as f64),
        ("sos_call_retries_total", "attempts beyond the first of their call", true, |one| one.retries as f64),
        ("sos_call_in_flight", "calls under way", false, |one| one.in_flight as f64),
    ];
    for (name, help, counter, get) in families {
        if counter {
            out.counter(name, help)
        } else {
            out.gauge(name, help)
        }
        for (service, one) in operations() {
            out.sample(&[("service", service), ("operation", &one.operation)], get(one));
        }
    }
    durations(out, operations());
    states(out, all);
}

/// How long calls took, with all their attempts and waits.
fn durations<'a>(out: &mut Exposition, operations: impl Iterator<Item = (&'a str, &'a OperationMeasures)>) {
    out.histogram("sos_call_duration_seconds", "time of calls with all their attempts and waits");
    for (service, one) in operations {
        let labels = [("service", service), ("operation", one.operation.as_str())];
        out.buckets(&labels, &DURATION_BOUNDS, &one.duration_buckets, one.duration_sum.as_secs_f64());
    }
}

fn states(out: &mut Exposition, all: &[Called]) {
    out.counter("sos_call_refused_total", "attempts that were not sent because of the service's policy");
    for (service, measures) in all {
        let refused = &measures.refused;
        let reasons = [
            ("circuit", refused.circuit),
            ("concurrency", refused.concurrency),
            ("rate", refused.rate),
            ("no endpoint", refused.no_endpoint),
        ];
        for (reason, count) in reasons {
            out.sample(&[("service", service), ("reason", reason)], count as f64);
        }
    }
    out.gauge(
        "sos_call_circuit_open",
        "1 while calls of a service are not let through, 0.5 while it is tried again",
    );
    for (service, measures) in all {
        let value = match measures.circuit {
            Some(CircuitState::Open) => 1.0,
            Some(CircuitState::HalfOpen) => 0.5,
            Some(CircuitState::Closed) | None => 0.0,
        };
        out.sample(&[("service", service)], value);
    }
    out.gauge("sos_call_endpoints", "copies of a service that can be called, by whether they are left out");
    for (service, measures) in all {
        for (state, ejected) in [("used", false), ("ejected", true)] {
            let count = measures.endpoints.iter().filter(|one| one.ejected == ejected).count();
            out.sample(&[("service", service), ("state", state)], count as f64);
        }
    }
}

fn channels(out: &mut Exposition, all: &[ChannelState]) {
    type Get = fn(&ChannelState) -> Option<f64>;
    let families: [(&str, &str, bool, Get); 8] = [
        (
            "sos_channel_connected",
            "1 while the channel's broker is connected; always for an embedded one",
            false,
            |one| Some(f64::from(u8::from(one.connected))),
        ),
        ("sos_channel_events_total", "events stored", true, |one| Some(one.log.as_ref()?.appended as f64)),
        ("sos_channel_duplicates_total", "events dropped because their id was known", true, |one| {
            Some(one.log.as_ref()?.duplicates as f64)
        }),
        ("sos_channel_bytes", "bytes that the events of a channel take", false, |one| {
            Some(one.log.as_ref()?.bytes as f64)
        }),
        ("sos_channel_dead_letters", "events that were put aside", false, |one| {
            Some(one.log.as_ref()?.dead_letters as f64)
        }),
        ("sos_channel_received_total", "messages received from the broker", true, |one| {
            Some(one.bridge?.received as f64)
        }),
        ("sos_channel_malformed_total", "messages of the broker that are no events", true, |one| {
            Some(one.bridge?.malformed as f64)
        }),
        ("sos_channel_failures_total", "connections to the broker that failed or were lost", true, |one| {
            Some(one.bridge?.failures as f64)
        }),
    ];
    for (name, help, counter, get) in families {
        if counter {
            out.counter(name, help)
        } else {
            out.gauge(name, help)
        }
        for one in all {
            if let Some(value) = get(one) {
                out.sample(&[("channel", &one.name)], value);
            }
        }
    }
    groups(out, all);
}

fn groups(out: &mut Exposition, all: &[ChannelState]) {
    type Get = fn(&GroupStatistics) -> u64;
    let families: [(&str, &str, bool, Get); 6] = [
        ("sos_channel_lag_events", "events that a group has not settled", false, |one| one.lag),
        ("sos_channel_group_in_flight", "events that a group works on", false, |one| one.in_flight),
        ("sos_channel_group_done_total", "events that a group has dealt with", true, |one| one.settled),
        ("sos_channel_group_retried_total", "events that failed and come again", true, |one| one.retried),
        ("sos_channel_group_dead_total", "events that a group gave up", true, |one| one.dead),
        (
            "sos_channel_group_expired_total",
            "events that grew too old before a group settled them",
            true,
            |one| one.expired,
        ),
    ];
    for (name, help, counter, get) in families {
        if counter {
            out.counter(name, help)
        } else {
            out.gauge(name, help)
        }
        for channel in all {
            for group in channel.log.iter().flat_map(|log| &log.groups) {
                out.sample(&[("channel", &channel.name), ("group", &group.group)], get(group) as f64);
            }
        }
    }
}
