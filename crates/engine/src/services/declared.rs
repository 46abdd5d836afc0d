//! What is declared, with everything that a pass needs: configurations with their references resolved, secrets that have
//! changed, replicas that are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use sos_model::{EnvSource, Reference, Runtime, ServiceSpec, references};
use sos_runtime::{self as runtime, ReplicaState, ServiceConfig};
use sos_store::Resource;

use super::board::Orders;
use super::convert::{self, Beside, Surroundings};
use super::memory::Memory;
use super::runtimes::Place;
use super::{Known, ServiceLoop, Typed, is_live, secrets};

/// How often secrets are looked at for a change: those in files and variables change without a word.
const SECRETS_EVERY: SignedDuration = SignedDuration::from_secs(5);

impl ServiceLoop {
    /// The declared services with their configuration; what cannot be configured yet waits.
    pub(super) fn known(
        &mut self,
        orders: &Orders,
        states: &[ReplicaState],
        now: Timestamp,
    ) -> BTreeMap<String, Known> {
        let resources = match self.declared() {
            Ok(resources) => resources,
            Err(error) => {
                tracing::error!(%error, "the declared services cannot be read");
                return BTreeMap::new();
            }
        };
        self.load_memories(&resources);
        let referenced = referenced(&resources);
        let mut known = BTreeMap::new();
        for (resource, declared) in resources.iter() {
            let name = &resource.name;
            let spec = match declared {
                Ok(declared) => declared.service(),
                Err(problem) => {
                    if self.problems.insert(name.clone(), problem.clone()).as_ref() != Some(problem) {
                        self.warn(name, "NotUnderstood", problem, now);
                    }
                    None
                }
            };
            let Some(spec) = spec.cloned() else { continue };
            let config = self.configured(resource, &spec, orders, states, &resources, now);
            match &config {
                Err(problem) => self.problems.insert(name.clone(), problem.clone()),
                Ok(_) => self.problems.remove(name),
            };
            let memory = self.memories.get(name);
            let hash = config.as_ref().map(|(_, config)| runtime::description_hash(config));
            let told = referenced.contains(name.as_str()) && !spec.gateway.is_on();
            let beside = Beside {
                hash: hash.map_err(Clone::clone),
                replicas: resource.replicas.unwrap_or(spec.replicas),
                order: orders.batches.get(name).cloned(),
                suspended: orders.is_out(name),
                stored: memory.map(Memory::stored).unwrap_or_default(),
                cause: cause(resource),
                exclusive: told.then(|| {
                    "others were told its ports; with a gateway revisions could run side by side".into()
                }),
            };
            let desired = convert::desired(resource.generation, &spec, beside);
            let ordered = resource.replicas;
            let one = Known { spec, config, desired, ordered };
            known.insert(name.clone(), one);
        }
        known
    }

    /// Reads what is remembered of services that are new here.
    fn load_memories(&mut self, resources: &[Typed]) {
        for (resource, _) in resources {
            if self.memories.contains_key(&resource.name) {
                continue;
            }
            match Memory::load(&self.store, &resource.name) {
                Ok(memory) => drop(self.memories.insert(resource.name.clone(), memory)),
                Err(error) => tracing::error!(%error, "what is remembered of a service cannot be read"),
            }
        }
    }

    fn configured(
        &mut self,
        resource: &Resource,
        spec: &ServiceSpec,
        orders: &Orders,
        states: &[ReplicaState],
        all: &[Typed],
        now: Timestamp,
    ) -> Result<(Place, ServiceConfig), String> {
        let place = Place::of(spec)?;
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
        if let Some(limits) = self.memories.get(&resource.name).and_then(Memory::rolled_limits) {
            config.limits = limits;
        }
        Ok((place, self.with_secret_changes(config, now)))
    }

    /// A secret that changed makes another description, so that replicas are rolled like after any other change.
    fn with_secret_changes(&mut self, mut config: ServiceConfig, now: Timestamp) -> ServiceConfig {
        let name = &config.service;
        let uses = |var: &runtime::EnvVar| matches!(var.value, runtime::EnvValue::Secret { .. });
        if !config.env.iter().any(uses) {
            return config;
        }
        let due = self.secrets_seen.get(name).is_none_or(|seen| now.duration_since(*seen) >= SECRETS_EVERY);
        if due {
            self.secrets_seen.insert(name.clone(), now);
            let before = self.memories.get(name).map(|memory| memory.secrets.clone()).unwrap_or_default();
            let secrets = secrets::seen(&self.store, &config, &before, now);
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
        if changes > 0 {
            let value = runtime::EnvValue::Plain(changes.to_string());
            config.env.push(runtime::EnvVar { name: "SOS_SECRETS_CHANGED".into(), value });
        }
        config
    }

    /// Where a service reaches a port of another one.
    fn reach(
        &self,
        from: &ServiceSpec,
        service: &str,
        port: &str,
        states: &[ReplicaState],
        all: &[Typed],
    ) -> Result<String, String> {
        let target = all.iter().find(|(resource, _)| resource.name == service);
        let target = target.and_then(|(_, declared)| declared.as_ref().ok()?.service());
        let own = states.iter().find(|state| state.deployment.service == service && is_live(&state.phase));
        let outside = own.and_then(|state| state.deployment.ports.get(port).copied());
        let waits = || format!("waits for port {port} of service {service} to be assigned");
        if shares_network(from) {
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
            return Err(format!(
                "cannot reach service {service}: a container reaches only containers of its own network; give both the \
                 same container.network, or this one {{network: host}}"
            ));
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

/// Names of services whose ports others are told.
fn referenced(all: &[Typed]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, declared) in all {
        let Some(spec) = declared.as_ref().ok().and_then(sos_model::Declared::service) else { continue };
        let env = spec.env.iter().filter_map(|variable| match &variable.source {
            EnvSource::Value(value) => Some(value),
            EnvSource::ValueFrom(_) => None,
        });
        let texts = spec.command.iter().chain(&spec.args).chain(spec.config.values()).chain(env);
        for text in texts.filter(|text| text.contains("${service:")) {
            let found = references(text).unwrap_or_default();
            names.extend(found.into_iter().filter_map(|reference| match reference {
                Reference::Service { service, .. } => Some(service),
                _ => None,
            }));
        }
    }
    names
}
