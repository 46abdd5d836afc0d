//! What is declared, with everything that a pass needs: configurations with their references resolved, secrets that have
//! changed, replicas that are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sos_model::{Runtime, ServiceSpec};
use sos_runtime::{self as runtime, Limits, ReplicaState, ServiceConfig};
use sos_store::Resource;

use super::board::Orders;
use super::convert::{self, Beside, Surroundings};
use super::memory::Memory;
use super::runtimes::Place;
use super::{Known, ServiceLoop, attached, is_live, secrets};
use crate::catalogue::{Entries, Entry};

/// A configuration with what it is made of.
#[derive(Clone, Debug)]
pub(super) struct Configured {
    basis: Basis,
    place: Place,
    config: Arc<ServiceConfig>,
    hash: String,
}

/// What a configuration is made of, apart from secrets, other services and clocks.
#[derive(Clone, Debug, PartialEq)]
struct Basis {
    resource: (u64, u64),
    restarted: Option<String>,
    limits: Option<Limits>,
}

impl Basis {
    fn of(resource: &Resource, limits: Option<Limits>) -> Self {
        Self {
            resource: (resource.uid, resource.generation),
            restarted: resource.status[convert::RESTARTED_AT].as_str().map(ToOwned::to_owned),
            limits,
        }
    }
}

/// How often secrets are looked at for a change: those in files and variables change without a word.
const SECRETS_EVERY: SignedDuration = SignedDuration::from_secs(5);

impl ServiceLoop {
    /// The declared services with their configuration; what cannot be configured yet waits. None when the store cannot be
    /// read: what is declared is not known then, and nothing may be stopped for it.
    pub(super) fn known(
        &mut self,
        orders: &Orders,
        states: &[ReplicaState],
        now: Timestamp,
    ) -> Option<BTreeMap<String, Known>> {
        let entries = match self.catalogue.now() {
            Ok(entries) => entries,
            Err(error) => {
                tracing::error!(%error, "the declared services cannot be read; what runs goes on");
                return None;
            }
        };
        self.load_memories(&entries);
        self.configured.retain(|name, _| entries.contains_key(name));
        let referenced: BTreeSet<&str> =
            entries.values().flat_map(|entry| entry.told_of.iter().map(String::as_str)).collect();
        let mut known = BTreeMap::new();
        for (name, entry) in entries.iter() {
            match &entry.spec {
                Ok(spec) => {
                    let spec = Arc::clone(spec);
                    let one = self.known_one(entry, spec, &referenced, orders, states, &entries, now);
                    known.insert(name.clone(), one);
                }
                Err(problem) => {
                    if self.problems.insert(name.clone(), problem.clone()).as_ref() != Some(problem) {
                        self.warn(name, "NotUnderstood", problem, now);
                    }
                }
            }
        }
        Some(known)
    }

    #[expect(clippy::too_many_arguments, reason = "all of the snapshot of a pass")]
    fn known_one(
        &mut self,
        entry: &Entry,
        spec: Arc<ServiceSpec>,
        referenced: &BTreeSet<&str>,
        orders: &Orders,
        states: &[ReplicaState],
        all: &Entries,
        now: Timestamp,
    ) -> Known {
        let resource = &entry.resource;
        let name = &resource.name;
        let attached = attached::attach(&spec).is_some();
        let configured = match attached {
            true => Err("somebody else deployed it".to_owned()),
            false => self.configured(entry, &spec, orders, states, all, now),
        };
        match &configured {
            Err(problem) if !attached => drop(self.problems.insert(name.clone(), problem.clone())),
            _ => drop(self.problems.remove(name)),
        }
        // In a cluster all replicas listen on the same numbers, and its Service stays.
        let told = referenced.contains(name.as_str())
            && !spec.gateway.is_on()
            && spec.runtime != Runtime::Kubernetes;
        let beside = Beside {
            hash: configured.as_ref().map(|one| one.hash.clone()).map_err(Clone::clone),
            replicas: resource.replicas.unwrap_or(spec.replicas),
            order: orders.batches.get(name).cloned(),
            suspended: orders.is_out(name),
            stored: self.memories.get(name).map(Memory::stored).unwrap_or_default(),
            cause: cause(resource),
            exclusive: told.then(|| {
                "others were told its ports; with a gateway revisions could run side by side".into()
            }),
        };
        let desired = convert::desired(resource.generation, &spec, beside);
        let config = configured.map(|one| (one.place, one.config));
        Known { spec, config, desired, ordered: resource.replicas }
    }

    /// Reads what is remembered of services that are new here.
    fn load_memories(&mut self, entries: &Entries) {
        for name in entries.keys() {
            if self.memories.contains_key(name) {
                continue;
            }
            match Memory::load(&self.store, name) {
                Ok(memory) => drop(self.memories.insert(name.clone(), memory)),
                Err(error) => tracing::error!(%error, "what is remembered of a service cannot be read"),
            }
        }
    }

    /// What runs a service and with which configuration. It is made anew when something that it is made of has changed.
    fn configured(
        &mut self,
        entry: &Entry,
        spec: &ServiceSpec,
        orders: &Orders,
        states: &[ReplicaState],
        all: &Entries,
        now: Timestamp,
    ) -> Result<Configured, String> {
        let resource = &entry.resource;
        let rolled = self.memories.get(&resource.name).and_then(Memory::rolled_limits);
        let basis = Basis::of(resource, rolled);
        // What another service or the clock of a site decides may change without a word.
        let lasts = entry.told_of.is_empty() && spec.clock.is_none();
        if let Some(kept) = self.configured.get(&resource.name).filter(|kept| lasts && kept.basis == basis) {
            return Ok(self.with_secret_changes(kept.clone(), now));
        }
        let place = Place::of(spec);
        if let Some(gateway) = spec.gateway.get()
            && gateway.address.parse::<IpAddr>().is_err()
        {
            return Err(format!("gateway.address {} is not an IP address", gateway.address));
        }
        let services_dir = self.places.data_dir.join("services");
        let reach =
            |from: &ServiceSpec, service: &str, port: &str| self.reach(from, service, port, states, all);
        let around = Surroundings {
            own_binary: &self.places.own_binary,
            services_dir: &services_dir,
            base_dir: &self.places.base_dir,
            reach: &reach,
            seed: orders.seed,
            clocks: &orders.clocks,
        };
        let config = convert::configuration(&resource.name, spec, &around)?;
        let mut config = convert::restarted(config, &resource.status);
        if let Some(limits) = rolled {
            config.limits = limits;
        }
        let hash = runtime::description_hash(&config);
        let made = Configured { basis, place, config: Arc::new(config), hash };
        self.configured.insert(resource.name.clone(), made.clone());
        Ok(self.with_secret_changes(made, now))
    }

    /// A secret that changed makes another description, so that replicas are rolled like after any other change.
    fn with_secret_changes(&mut self, configured: Configured, now: Timestamp) -> Configured {
        let config = &configured.config;
        let name = &config.service;
        let uses = |var: &runtime::EnvVar| matches!(var.value, runtime::EnvValue::Secret { .. });
        if !config.env.iter().any(uses) {
            return configured;
        }
        let due = self.secrets_seen.get(name).is_none_or(|seen| now.duration_since(*seen) >= SECRETS_EVERY);
        if due {
            self.secrets_seen.insert(name.clone(), now);
            let before = self.memories.get(name).map(|memory| memory.secrets.clone()).unwrap_or_default();
            let secrets = secrets::seen(&self.store, config, &before, now);
            if secrets != before {
                let memory = self.memories.get(name).cloned().unwrap_or_default();
                let memory = Memory { secrets, ..memory };
                match self.store.commit(|tx| memory.save(name, tx)) {
                    Ok(()) => drop(self.memories.insert(name.clone(), memory)),
                    Err(error) => tracing::warn!(%error, service = name, "its secrets are looked at again"),
                }
            }
        }
        let secrets = self.memories.get(name).into_iter().flat_map(|memory| memory.secrets.values());
        let changes: u64 = secrets.map(|seen| seen.changes).sum();
        if changes == 0 {
            return configured;
        }
        let mut config = ServiceConfig::clone(config);
        let value = runtime::EnvValue::Plain(changes.to_string());
        config.env.push(runtime::EnvVar { name: "SOS_SECRETS_CHANGED".into(), value });
        let hash = runtime::description_hash(&config);
        Configured { config: Arc::new(config), hash, ..configured }
    }

    /// Where a service reaches a port of another one.
    fn reach(
        &self,
        from: &ServiceSpec,
        service: &str,
        port: &str,
        states: &[ReplicaState],
        all: &Entries,
    ) -> Result<String, String> {
        let target = all.get(service).and_then(|entry| entry.spec.as_deref().ok());
        let own = states.iter().find(|state| state.deployment.service == service && is_live(&state.phase));
        let outside = own.and_then(|state| state.deployment.ports.get(port).copied());
        let waits = || format!("waits for port {port} of service {service} to be assigned");
        if shares_network(from) {
            if target.is_some_and(|spec| spec.runtime == Runtime::Kubernetes && spec.external.is_none()) {
                return Err(format!(
                    "cannot reach service {service}: it runs in a cluster; make it reachable from outside there (Ingress, \
                     LoadBalancer) and write that address"
                ));
            }
            let gateway = target.and_then(|spec| Some((spec, spec.gateway.get()?)));
            let through = gateway.filter(|(spec, gateway)| {
                let to = gateway.to.as_ref().or_else(|| spec.ports.first().map(|port| &port.name));
                to.is_some_and(|to| to.as_str() == port)
            });
            if through.is_some() {
                let address = self.routing.address(service);
                let address = address.ok_or_else(|| format!("waits for the gateway of service {service}"))?;
                return Ok(match address.ip().is_unspecified() {
                    true => format!("127.0.0.1:{}", address.port()),
                    false => address.to_string(),
                });
            }
            return outside.map(|number| format!("127.0.0.1:{number}")).ok_or_else(waits);
        }
        let neighbour = target.filter(|spec| same_network(from, spec));
        if neighbour.is_none() {
            return Err(match from.runtime {
                Runtime::Kubernetes => format!(
                    "cannot reach service {service}: a pod reaches only services of its own namespace by name; run both \
                     there, or write the address itself"
                ),
                _ => format!(
                    "cannot reach service {service}: a container reaches only containers of its own network; give both \
                     the same container.network, or this one {{network: host}}"
                ),
            });
        }
        if from.runtime == Runtime::Kubernetes {
            // The cluster's own Service stays whatever replicas there are.
            return outside.map(|number| format!("{service}:{number}")).ok_or_else(waits);
        }
        let (state, outside) = own.zip(outside).ok_or_else(waits)?;
        let inside = state.deployment.container.as_ref().map_or(outside, |c| c.inner_port(port, outside));
        Ok(format!("{}:{inside}", state.deployment.replica))
    }
}

/// Whether it sees the loopback interface of this machine.
fn shares_network(spec: &ServiceSpec) -> bool {
    match spec.runtime {
        Runtime::Process | Runtime::Simulated => true,
        Runtime::Docker => spec.container_settings().network.as_deref() == Some("host"),
        Runtime::Kubernetes => false,
    }
}

fn same_network(one: &ServiceSpec, other: &ServiceSpec) -> bool {
    if one.runtime == Runtime::Kubernetes {
        return Place::of(one) == Place::of(other);
    }
    one.runtime == other.runtime && one.container_settings().network == other.container_settings().network
}

/// Why the present declaration came to be, for the history of revisions.
fn cause(resource: &Resource) -> Option<String> {
    let restarted = resource.status[convert::RESTARTED_AT].as_str();
    Some(match restarted {
        Some(at) => {
            format!("{} declared generation {}, restarted at {at}", resource.manager, resource.generation)
        }
        None => format!("{} declared generation {}", resource.manager, resource.generation),
    })
}
