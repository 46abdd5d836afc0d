//! What services take of this machine's energy, and what is emitted for it: processor time, counters and requests go into the
//! account, which lies in the store.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use sos_control::Now;
use sos_control::energy::{
    CarbonStep, CounterReading, Embodied, EnergyBook, IdlePolicy, Line, Machine, MachinePower, Observation,
    PowerSource, ReplicaUse, Settlement, StepSignal, default_power,
};
use sos_model::{Kind, MachineSpec};
use sos_runtime::gateway::Measures;
use sos_runtime::{MachineFacts, POWERCAP, ReplicaState, busy_seconds, read_energy_counters};
use sos_store::{Selector, Store};
use sos_units::{CarbonIntensity, Missing, Power};

use super::is_live;

/// Where the account lies.
const KEY: &str = "energy/book";
/// How often the account is made up.
const EVERY: SignedDuration = SignedDuration::from_secs(10);
/// How often it is stored: what was counted since is lost when the program is killed.
const STORED_EVERY: SignedDuration = SignedDuration::from_secs(60);
/// Where the kernel tells of processes.
const PROC: &str = "/proc";

/// The account of this machine.
#[derive(Debug)]
pub(super) struct Metering {
    book: EnergyBook,
    machine: Option<(Machine, MachineFacts)>,
    settled: Option<Timestamp>,
    stored: Option<Timestamp>,
    /// Requests that each service had answered when they were last counted.
    requests: BTreeMap<String, u64>,
    /// Power of each service in the time that was accounted for last.
    power: BTreeMap<String, Power>,
}

impl Metering {
    /// Goes on with what is stored. A machine that tells nothing of itself is not accounted for.
    pub(super) fn new(store: &Store) -> Self {
        let machine = match MachineFacts::read(Path::new(PROC)) {
            Ok(facts) => Some((machine(&facts, None), facts)),
            Err(error) => {
                tracing::warn!(%error, "the energy of services is not accounted for");
                None
            }
        };
        let stored = store.get_kv(KEY).ok().flatten();
        let read = |value| serde_json::from_value::<EnergyBook>(value).map_err(|error| error.to_string());
        let book = stored.map(|value| read(value).and_then(|book| book.checked().map_err(|e| e.to_string())));
        let book = book.unwrap_or_else(|| Ok(EnergyBook::default())).unwrap_or_else(|error| {
            tracing::warn!(error, "the account of energy is begun anew");
            EnergyBook::default()
        });
        Self { book, machine, settled: None, stored: None, requests: BTreeMap::new(), power: BTreeMap::new() }
    }

    /// What a service took so far.
    pub(super) fn line(&self, service: &str) -> Option<&Line> {
        self.book.services().get(service)
    }

    /// What it takes now.
    pub(super) fn power(&self, service: &str) -> Option<Power> {
        self.power.get(service).copied()
    }

    /// Accounts for the time since the last call, when it is due.
    pub(super) fn settle(
        &mut self,
        store: &Store,
        states: &[ReplicaState],
        measures: &Measures,
        intensity: Option<CarbonIntensity>,
        now: Now,
    ) {
        let due = self.settled.is_none_or(|settled| now.wall.duration_since(settled) >= EVERY);
        let Some((machine, facts)) = self.machine.as_mut().filter(|_| due) else { return };
        *machine = self::machine(facts, declared(store, facts.host_name.as_deref()).as_ref());
        self.settled = Some(now.wall);
        let counters = read_energy_counters(Path::new(POWERCAP));
        let boot = facts.boot_id.clone().unwrap_or_default();
        let seen = Observation {
            now,
            replicas: states.iter().filter_map(used).collect(),
            busy_seconds: busy_seconds(Path::new(PROC)).ok(),
            counters: counters.map_err(|why| why.to_string()).map(|read| CounterReading {
                boot,
                counters: read
                    .counters
                    .into_iter()
                    .map(|(zone, counter)| (zone, (counter.microjoules, counter.range)))
                    .collect(),
            }),
            requests: new_requests(&mut self.requests, measures),
        };
        let carbon = StepSignal::new([CarbonStep {
            start: Timestamp::MIN,
            intensity: intensity.ok_or(Missing::NotYet),
        }]);
        match self.book.settle(machine, IdlePolicy::default(), &carbon, &seen) {
            Ok(Settlement::Settled(settled)) => {
                let hours = settled.elapsed.as_secs_f64() / 3600.0;
                let power =
                    |sums: &sos_control::energy::Sums| Power::kw(sums.energy.to_energy().as_kwh() / hours);
                self.power =
                    settled.services.iter().map(|(name, sums)| (name.clone(), power(sums))).collect();
            }
            Ok(Settlement::Begun | Settlement::NoTime) => {}
            Err(error) => tracing::warn!(%error, "the energy of services is not accounted for"),
        }
        self.keep(store, now.wall);
    }

    fn keep(&mut self, store: &Store, now: Timestamp) {
        if self.stored.is_some_and(|stored| now.duration_since(stored) < STORED_EVERY) {
            return;
        }
        self.stored = Some(now);
        let value = serde_json::to_value(&self.book).unwrap_or_default();
        if let Err(error) = store.put_kv(KEY, &value) {
            tracing::warn!(%error, "the account of energy cannot be stored");
        }
    }
}

/// The declared machine with this name, or the only one there is.
fn declared(store: &Store, host_name: Option<&str>) -> Option<MachineSpec> {
    let all = store.list(Kind::Machine.name(), &Selector::default()).ok()?;
    let named = all.iter().find(|one| Some(one.name.as_str()) == host_name);
    let only = || all.first().filter(|_| all.len() == 1);
    let spec = crate::resources::declared(named.or_else(only)?).ok()?;
    spec.machine().cloned()
}

/// A machine by what is declared of it; the rest is usual for its kind.
fn machine(facts: &MachineFacts, declared: Option<&MachineSpec>) -> Machine {
    let processors = facts.processors.max(1);
    let (usual, usual_source) = default_power(facts.processors, &facts.architecture);
    let given = declared.and_then(|spec| Some((spec, spec.idle_power?, spec.max_power?)));
    let (power, source) = match given {
        Some((spec, idle, max)) => {
            let idle_in_package = spec.package_idle_power.unwrap_or(idle);
            (MachinePower { idle, max, idle_in_package }, PowerSource::Declared)
        }
        None => (usual, usual_source),
    };
    let embodied = declared.and_then(|spec| spec.embodied.as_ref());
    let embodied = embodied.map(|made| Embodied { total: made.emissions, lifetime: made.lifetime });
    let overhead = declared.map_or(1.0, |spec| spec.pue.get());
    Machine { processors, power, source, overhead, embodied }
}

/// What a replica on this machine has used.
fn used(state: &ReplicaState) -> Option<(String, ReplicaUse)> {
    // What has an address of its own may run on another machine.
    let usage = state.usage.filter(|_| is_live(&state.phase) && state.address.is_none())?;
    let deployment = &state.deployment;
    let used = ReplicaUse {
        service: deployment.service.clone(),
        started_at: state.started_at,
        cpu_seconds: usage.cpu_seconds,
        reserved: deployment.limits.cpu_millis.map(|millis| millis as f64 / 1000.0),
    };
    Some((deployment.replica.clone(), used))
}

/// Requests of each service since they were last counted.
fn new_requests(
    before: &mut BTreeMap<String, u64>,
    measures: &Measures,
) -> BTreeMap<String, sos_units::Reading<u64>> {
    let mut new = BTreeMap::new();
    for (service, measured) in &measures.services {
        let total = measured.requests.total();
        let old = before.insert(service.clone(), total);
        // What came before the first look was not accounted for, and a gateway that was begun anew counts from zero.
        new.insert(service.clone(), Ok(old.map_or(0, |old| total.checked_sub(old).unwrap_or(total))));
    }
    before.retain(|service, _| measures.services.contains_key(service));
    new
}
