//! The gateway before the services: the planner's shares of the traffic become its routes, and what it counts becomes what
//! the planner judges.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sos_control::{self as control, Measured, Plan, RevisionTraffic};
use sos_model::{GatewayProtocol, GatewaySpec, ServiceSpec};
use sos_runtime::ReplicaState;
use sos_runtime::gateway::{
    Applied, Gateway, GatewayOptions, Hold, Measures, Outliers, Protocol, Replica, RequestCounts, Retries,
    Revision, Route, Routes, Rules, TlsFiles,
};

/// Counts of a revision when a step of a canary began.
type Baseline = (Timestamp, RequestCounts);

/// The gateway and what was told to it.
#[derive(Debug, Default)]
pub(super) struct Routing {
    gateway: Option<Gateway>,
    routes: Routes,
    applied: BTreeMap<String, Applied>,
    /// By service: the beginning of the step, and the counts of each revision then.
    baselines: BTreeMap<String, (Timestamp, BTreeMap<String, Baseline>)>,
}

/// A service with a gateway, as far as routes need it.
pub(super) struct Behind<'a> {
    pub(super) spec: &'a ServiceSpec,
    pub(super) gateway: &'a GatewaySpec,
    /// The port that was taken before, where none is declared.
    pub(super) kept_port: Option<u16>,
}

impl Routing {
    /// Does what the plan says. Tells the ports that were taken where none was declared, by service.
    pub(super) fn apply(
        &mut self,
        services: &BTreeMap<&str, Behind<'_>>,
        plan: &Plan,
        states: &[ReplicaState],
        seed: u64,
    ) -> BTreeMap<String, u16> {
        let routes = Routes {
            services: services
                .iter()
                .map(|(name, behind)| {
                    let shares = plan.traffic.get(*name).map_or(&[][..], Vec::as_slice);
                    ((*name).to_owned(), route(behind, shares, plan, states))
                })
                .collect(),
        };
        if routes == self.routes && self.applied.values().all(|applied| applied.problem.is_none()) {
            return BTreeMap::new();
        }
        if self.gateway.is_none() && !routes.services.is_empty() {
            match Gateway::start(GatewayOptions { seed, ..GatewayOptions::default() }) {
                Ok(gateway) => self.gateway = Some(gateway),
                Err(error) => {
                    tracing::error!(error, "the gateway cannot be started");
                    return BTreeMap::new();
                }
            }
        }
        let Some(gateway) = &self.gateway else { return BTreeMap::new() };
        self.applied = gateway.set_routes(&routes);
        self.routes = routes;
        let free = services.iter().filter(|(_, behind)| behind.gateway.port.is_none());
        free.filter_map(|(name, _)| {
            let address = self.applied.get(*name)?.address?;
            Some(((*name).to_owned(), address.port()))
        })
        .collect()
    }

    /// Whether there is a gateway at all, whose requests are counted.
    pub(super) fn is_open(&self) -> bool {
        self.gateway.is_some()
    }

    /// Whether a service has one.
    pub(super) fn is_before(&self, service: &str) -> bool {
        self.applied.contains_key(service)
    }

    /// Where a service is reached.
    pub(super) fn address(&self, service: &str) -> Option<SocketAddr> {
        self.applied.get(service)?.address
    }

    /// What of its route could not be done.
    pub(super) fn problem(&self, service: &str) -> Option<&str> {
        self.applied.get(service)?.problem.as_deref()
    }

    pub(super) fn measures(&self) -> Measures {
        self.gateway.as_ref().map(Gateway::measures).unwrap_or_default()
    }

    /// Which services have requests that wait for a replica: answers once one begins to have some.
    pub(super) fn wanted(&self) -> Option<sos_runtime::gateway::Wanted> {
        self.gateway.as_ref().map(Gateway::wanted)
    }

    /// Ends the gateway; requests under way have this long.
    pub(super) async fn stop(&mut self, grace: Duration) {
        if let Some(gateway) = self.gateway.take() {
            let cut = gateway.stop(grace).await;
            if cut > 0 {
                tracing::warn!(cut, "connections were cut, their requests had not ended");
            }
        }
    }

    /// Requests under way to replicas that get no new ones. Nothing routes to a service without a gateway.
    pub(super) fn in_flight(
        &self,
        measures: &Measures,
        draining: &BTreeMap<String, Timestamp>,
        states: &[ReplicaState],
    ) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for id in draining.keys() {
            let Some(state) = states.iter().find(|state| state.deployment.replica == *id) else { continue };
            let service = &state.deployment.service;
            let Some(measured) = measures.services.get(service) else {
                // What a cluster still sends there is not counted: it has the whole time to drain.
                if state.address.is_none() {
                    counts.insert(id.clone(), 0);
                }
                continue;
            };
            let replica = measured.revisions.values().find_map(|revision| revision.replicas.get(id));
            match replica {
                Some(replica) if replica.leaving => {
                    counts.insert(id.clone(), u64::from(replica.in_flight));
                }
                // It may still get some: the gateway has not been told yet.
                Some(_) => {}
                None => {
                    counts.insert(id.clone(), 0);
                }
            }
        }
        counts
    }

    /// Requests of each revision since the present step of a canary began.
    pub(super) fn measured(
        &mut self,
        measures: &Measures,
        progress: &BTreeMap<String, control::RolloutStatus>,
        quantile: impl Fn(&str) -> f64,
        now: Timestamp,
    ) -> BTreeMap<String, Vec<Measured>> {
        let since = |status: &control::RolloutStatus| status.step.as_ref().and_then(|step| step.since);
        self.baselines.retain(|name, (began, _)| progress.get(name).and_then(since) == Some(*began));
        let mut measured = BTreeMap::new();
        for (name, status) in progress {
            let (Some(began), Some(counts)) = (since(status), measures.services.get(name)) else { continue };
            let (_, baselines) =
                self.baselines.entry(name.clone()).or_insert_with(|| (began, BTreeMap::new()));
            let of = |(hash, revision): (&String, &sos_runtime::gateway::RevisionMeasures)| {
                let fresh = || (now, revision.requests.clone());
                let (since, base) = baselines.entry(hash.clone()).or_insert_with(fresh);
                let counts = difference(&revision.requests, base);
                Measured {
                    description_hash: hash.clone(),
                    since: *since,
                    // Those that clients left say nothing about the revision.
                    requests: counts.total().saturating_sub(counts.cancelled),
                    errors: counts.errors,
                    latency: counts
                        .quantile_bound(quantile(name))
                        .map(|seconds| SignedDuration::from_secs_f64(seconds.min(3600.0))),
                }
            };
            measured.insert(name.clone(), counts.revisions.iter().map(of).collect());
        }
        measured
    }
}

/// What was counted since; a count that was begun anew counts from zero.
fn difference(now: &RequestCounts, before: &RequestCounts) -> RequestCounts {
    let mut since = now.clone();
    let less = |mine: &mut [u64], old: &[u64]| {
        for (mine, old) in mine.iter_mut().zip(old) {
            *mine = mine.saturating_sub(*old);
        }
    };
    less(&mut since.by_class, &before.by_class);
    less(&mut since.durations, &before.durations);
    since.unanswered = now.unanswered.saturating_sub(before.unanswered);
    since.errors = now.errors.saturating_sub(before.errors);
    since.cancelled = now.cancelled.saturating_sub(before.cancelled);
    since.duration_sum_us = now.duration_sum_us.saturating_sub(before.duration_sum_us);
    since
}

fn route(behind: &Behind<'_>, shares: &[RevisionTraffic], plan: &Plan, states: &[ReplicaState]) -> Route {
    let gateway = behind.gateway;
    let ip: IpAddr = gateway.address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let port = gateway.port.or(behind.kept_port).unwrap_or(0);
    let to = gateway.to.as_ref().or_else(|| behind.spec.ports.first().map(|port| &port.name));
    let address = |id: &str| {
        let state = states.iter().find(|state| state.deployment.replica == id)?;
        let port = state.deployment.ports.get(to?.as_str())?;
        Some((state, SocketAddr::from((Ipv4Addr::LOCALHOST, *port))))
    };
    let mut revisions: BTreeMap<String, Revision> = BTreeMap::new();
    for share in shares {
        let ready = share.replicas.iter().filter_map(|id| {
            let (_, address) = address(id)?;
            Some((id.clone(), Replica { address, draining: false }))
        });
        revisions.insert(
            share.description_hash.clone(),
            Revision { weight: share.weight, replicas: ready.collect() },
        );
    }
    // Those on their way out finish what they have.
    for id in plan.draining.keys() {
        let Some((state, address)) = address(id) else { continue };
        if !super::is_live(&state.phase) {
            continue;
        }
        let revision = revisions.entry(state.deployment.description_hash.clone()).or_default();
        revision.replicas.insert(id.clone(), Replica { address, draining: true });
    }
    Route {
        tls: gateway.tls.as_ref().map(|tls| TlsFiles {
            certificates: tls.certificate.clone().into(),
            key: tls.key.clone().into(),
        }),
        protocol: match gateway.protocol {
            GatewayProtocol::Auto => Protocol::Auto,
            GatewayProtocol::Http1 => Protocol::Http1,
            GatewayProtocol::Http2 => Protocol::Http2,
        },
        revisions,
        hold: Some(Hold {
            requests: usize::try_from(gateway.hold).unwrap_or(usize::MAX),
            wait: unsigned(gateway.hold_for),
        }),
        rules: rules(behind.spec),
        ..Route::new(SocketAddr::new(ip, port))
    }
}

/// How requests are treated is declared once, for calls from here and for those through the gateway.
fn rules(spec: &ServiceSpec) -> Rules {
    let calls = &spec.calls;
    Rules {
        timeout: unsigned(calls.deadline),
        attempt_timeout: Some(unsigned(calls.timeout)),
        retries: Retries {
            attempts: calls.retries.attempts.min(10),
            budget_share: calls.retries.budget.get(),
            ..Retries::default()
        },
        outliers: calls.outlier_ejection.get().map(|declared| Outliers {
            consecutive: declared.consecutive_failures,
            ejected_for: unsigned(declared.eject_for),
            ejected_for_at_most: unsigned(declared.eject_for).max(Outliers::default().ejected_for_at_most),
            // Whole per cent; the cast saturates.
            at_most_percent: (declared.max_ejected.get() * 100.0).round() as u8,
            ..Outliers::default()
        }),
        ..Rules::default()
    }
}

fn unsigned(duration: SignedDuration) -> Duration {
    Duration::try_from(duration).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_counts_from_its_beginning_and_never_below_zero() {
        let counts = |ok: u64, errors: u64| RequestCounts {
            by_class: [0, ok, 0, 0, errors],
            errors,
            ..RequestCounts::default()
        };
        let since = difference(&counts(10, 3), &counts(4, 1));
        assert_eq!((since.total(), since.errors), (8, 2));
        assert_eq!(difference(&counts(1, 0), &counts(4, 1)).total(), 0, "the gateway was begun anew");
    }
}
