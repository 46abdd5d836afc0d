//! Services that may be slower: the power that a site's plan allots to them becomes replicas or processor time.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sos_control::energy::{SpeedLimit, limit_speed};
use sos_control::{Condition, Truth};
use sos_model::SlowdownGuarantee;
use sos_runtime::Limits;
use sos_store::EventType;
use sos_units::Missing;

use super::board::Orders;
use super::show::event;
use super::{Known, ServiceLoop};
use crate::site::slow::slowdown;

impl ServiceLoop {
    /// Puts the most replicas that there may be into what is known; processor time is given to replicas that run, with their
    /// other limits. What somebody ordered is not slowed down.
    pub(super) fn slow_down(&mut self, known: &mut BTreeMap<String, Known>, orders: &Orders, now: Timestamp) {
        self.slowed.retain(|name, _| known.get(name).is_some_and(|one| one.spec.slowdown.is_some()));
        for (name, one) in known {
            let (Some(declared), Some(spec)) = (&one.spec.slowdown, slowdown(name, &one.spec)) else {
                continue;
            };
            let Some(site) = orders.site_time.get(declared.site.as_str()) else { continue };
            let mut limit = limit_speed(&spec, orders.slow.get(name), Err(Missing::NotYet), *site);
            if one.ordered.is_some() {
                limit = SpeedLimit { replicas: None, cpu_millis: None, share: 1.0, ..limit };
                limit.because = "full speed: the number of replicas is ordered".into();
            }
            if let Some(most) = limit.replicas {
                one.desired.replicas = one.desired.replicas.min(most);
            }
            let before = self.slowed.insert(name.clone(), limit.clone());
            let speed = |limit: &SpeedLimit| (limit.replicas, limit.cpu_millis);
            if before.as_ref().map_or((None, None), speed) != speed(&limit) {
                self.tell_speed(name, &limit, now);
            }
        }
    }

    fn tell_speed(&self, name: &str, limit: &SpeedLimit, now: Timestamp) {
        let reason = if is_slow(limit) { "SlowedDown" } else { "FullSpeed" };
        let told = event(name, EventType::Normal, reason, &limit.because, now);
        if let Err(error) = self.store.commit(|tx| tx.record_event(&told).map(drop)) {
            tracing::warn!(%error, service = name, "that its speed changed is not recorded");
        }
    }

    /// Whether a service is slower than declared, and why.
    pub(super) fn speed(&self, service: &str) -> Option<Condition> {
        let limit = self.slowed.get(service)?;
        Some(match is_slow(limit) {
            true => Condition::new("SlowedDown", Truth::True, "PowerAllotted", limit.because.as_str()),
            false => Condition::new("SlowedDown", Truth::False, "FullSpeed", limit.because.as_str()),
        })
    }

    /// The limits that running replicas are to have, where their processor time is decided by the plan of a site.
    pub(super) fn slowed_limits(&self, name: &str, known: &Known, usual: Limits) -> Option<Limits> {
        let declared = known.spec.slowdown.as_ref()?;
        let by_time = matches!(declared.guarantee, SlowdownGuarantee::MinShare(_));
        let limit = self.slowed.get(name).filter(|_| by_time)?;
        Some(Limits { cpu_millis: limit.cpu_millis.or(usual.cpu_millis), ..usual })
    }
}

fn is_slow(limit: &SpeedLimit) -> bool {
    limit.replicas.is_some() || limit.cpu_millis.is_some()
}
