//! The account of a machine and of the services on it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sos_units::{CarbonIntensity, ExactEmissions, ExactEnergy, Reading};

use super::carbon::StepSignal;
use super::line::{Line, Sums};
use super::power::{Embodied, Machine, MachineError};
use super::rapl::{CounterReading, NoCounter, counter_energy};
use super::share::apportion;
use super::split::{IdlePolicy, Method, Share, Split, split};
use crate::Now;

/// The version of a stored [`EnergyBook`].
pub const BOOK_VERSION: u32 = 1;

/// The most services that have a line. Beyond it, those that do not run are added to the line of the machine itself.
pub const MAX_BOOK_SERVICES: usize = 10_000;

/// The most replicas that an observation may hold.
const MAX_REPLICAS: usize = 100_000;

/// What a replica has used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaUse {
    /// The service it belongs to.
    pub service: String,
    /// When its present run started, wall time; a new run counts from zero again.
    pub started_at: Timestamp,
    /// Processor time of its present run so far, seconds.
    pub cpu_seconds: f64,
    /// Processors it has reserved: its limit. `None`: what it uses counts instead.
    pub reserved: Option<f64>,
}

/// What is seen of a machine at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Energy is a matter of wall time, carbon intensity one of site time.
    pub now: Now,
    /// Replicas that run here, by id.
    pub replicas: BTreeMap<String, ReplicaUse>,
    /// Processor time that the whole machine has used since its start, seconds; `None`: that of the services is all.
    pub busy_seconds: Option<f64>,
    /// The energy counters of the processors, or why there are none.
    pub counters: Result<CounterReading, String>,
    /// Requests of each service since the observation before, or why they are not known. One that is not named was
    /// not counted.
    pub requests: BTreeMap<String, Reading<u64>>,
}

/// The account: an observation in, the energy since the one before out. It can be stored and gone on with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnergyBook {
    version: u32,
    last: Option<Now>,
    replicas: BTreeMap<String, (Timestamp, f64)>,
    busy_seconds: Option<f64>,
    counters: Option<CounterReading>,
    services: BTreeMap<String, Line>,
    rest: Line,
    invalid_samples: u64,
}

/// What became of an observation.
#[derive(Clone, Debug, PartialEq)]
pub enum Settlement {
    /// The first one: what follows is counted from here.
    Begun,
    /// The clock was set back, or stood still: nothing is counted, what follows is counted from here.
    NoTime,
    /// Counted.
    Settled(Box<Settled>),
}

/// What the time since the observation before took.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    /// Wall time.
    pub elapsed: SignedDuration,
    /// How the energy was found out.
    pub method: Method,
    /// All of the machine; the sum of all lines.
    pub machine: Sums,
    /// By service.
    pub services: BTreeMap<String, Sums>,
    /// What no service caused.
    pub rest: Sums,
}

/// Why an observation or a stored book is of no use.
#[derive(Clone, Debug, PartialEq)]
pub enum BookError {
    /// A figure of the machine is out of its range.
    Machine(MachineError),
    /// More replicas than a machine can have.
    TooMany(usize),
    /// The stored book has another version.
    Version(u32),
}

impl std::fmt::Display for BookError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Machine(error) => error.fmt(f),
            Self::TooMany(count) => {
                write!(f, "{count} replicas on one machine, expected {MAX_REPLICAS} at most")
            }
            Self::Version(version) => {
                write!(f, "the energy book has version {version}, expected {BOOK_VERSION}")
            }
        }
    }
}
impl std::error::Error for BookError {}

impl Default for EnergyBook {
    fn default() -> Self {
        Self {
            version: BOOK_VERSION,
            last: None,
            replicas: BTreeMap::new(),
            busy_seconds: None,
            counters: None,
            services: BTreeMap::new(),
            rest: Line::default(),
            invalid_samples: 0,
        }
    }
}

/// A service within one observation.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    cpu_seconds: f64,
    reserved: f64,
}

impl EnergyBook {
    /// Checks a book that was stored.
    ///
    /// # Errors
    /// When it has another version.
    pub fn checked(self) -> Result<Self, BookError> {
        if self.version == BOOK_VERSION { Ok(self) } else { Err(BookError::Version(self.version)) }
    }

    /// Counts the time since the observation before.
    ///
    /// # Guarantees
    /// The lines of all services and that of the rest add up to the machine to the last digit, and are never below
    /// zero.
    ///
    /// # Errors
    /// When a figure of the machine is out of its range or there are too many replicas; nothing is counted then.
    pub fn settle(
        &mut self,
        machine: &Machine,
        policy: IdlePolicy,
        carbon: &StepSignal,
        seen: &Observation,
    ) -> Result<Settlement, BookError> {
        machine.check().map_err(BookError::Machine)?;
        if seen.replicas.len() > MAX_REPLICAS {
            return Err(BookError::TooMany(seen.replicas.len()));
        }
        let before = self.last.replace(seen.now);
        let elapsed = before.map(|before| seen.now.wall.duration_since(before.wall));
        let elapsed = elapsed.filter(|elapsed| *elapsed > SignedDuration::ZERO);
        let services = self.processor_time(seen, before, elapsed);
        let rest = self.rest_time(seen, &services);
        let counted = self.counted(seen, elapsed);
        let (Some(before), Some(elapsed)) = (before, elapsed) else {
            return Ok(if before.is_none() { Settlement::Begun } else { Settlement::NoTime });
        };
        let shares: Vec<_> = services
            .values()
            .map(|seen| Share { cpu_seconds: seen.cpu_seconds, reserved: seen.reserved })
            .collect();
        let found = split(machine, policy, elapsed.as_secs_f64(), &shares, rest, counted);
        let parts = carbon.parts(before.site, seen.now.site);
        let embodied = embodied(machine, elapsed, &services);
        let settled = self.post(seen, &services, elapsed, found, &parts, &embodied);
        self.make_room(&services);
        Ok(Settlement::Settled(Box::new(settled)))
    }

    /// Processor time of each service since the observation before, and the processors it has reserved.
    fn processor_time(
        &mut self,
        seen: &Observation,
        before: Option<Now>,
        elapsed: Option<SignedDuration>,
    ) -> BTreeMap<String, Seen> {
        let mut services: BTreeMap<String, Seen> = BTreeMap::new();
        let mut known = BTreeMap::new();
        for (id, replica) in &seen.replicas {
            let service = services.entry(replica.service.clone()).or_default();
            let total = replica.cpu_seconds;
            if !(total.is_finite() && total >= 0.0) {
                self.invalid_samples = self.invalid_samples.saturating_add(1);
                // What was known of it still holds.
                known.extend(self.replicas.get(id).map(|earlier| (id.clone(), *earlier)));
                continue;
            }
            let used = match self.replicas.get(id) {
                Some((started, earlier)) if *started == replica.started_at => (total - earlier).max(0.0),
                // Started since: all of it. Running for longer and not seen before: from now on.
                _ if before.is_some_and(|before| replica.started_at >= before.wall) => total,
                _ => 0.0,
            };
            service.cpu_seconds += used;
            let mean = elapsed.map_or(0.0, |elapsed| used / elapsed.as_secs_f64());
            let reserved = replica.reserved.filter(|cores| cores.is_finite() && *cores > 0.0);
            service.reserved += reserved.unwrap_or(mean);
            known.insert(id.clone(), (replica.started_at, total));
        }
        self.replicas = known;
        services
    }

    /// Processor time of what is no service.
    fn rest_time(&mut self, seen: &Observation, services: &BTreeMap<String, Seen>) -> f64 {
        let now = seen.busy_seconds.filter(|busy| busy.is_finite() && *busy >= 0.0);
        let before = std::mem::replace(&mut self.busy_seconds, now);
        // After a start of the machine the count begins anew.
        let all =
            before.zip(now).filter(|(before, now)| now >= before).map_or(0.0, |(before, now)| now - before);
        (all - services.values().map(|seen| seen.cpu_seconds).sum::<f64>()).max(0.0)
    }

    fn counted(&mut self, seen: &Observation, elapsed: Option<SignedDuration>) -> Result<u64, NoCounter> {
        let now = seen.counters.as_ref().map_err(|why| NoCounter::Unreadable(why.clone()));
        let before = std::mem::replace(&mut self.counters, seen.counters.clone().ok());
        counter_energy(before.as_ref(), now?, elapsed.unwrap_or(SignedDuration::ZERO))
    }

    fn post(
        &mut self,
        seen: &Observation,
        services: &BTreeMap<String, Seen>,
        elapsed: SignedDuration,
        found: Split,
        parts: &[(f64, Reading<CarbonIntensity>)],
        embodied: &Option<Vec<i128>>,
    ) -> Settled {
        let window = |line: &mut Line, microjoules: i128, index: usize| {
            let energy = line.whole(microjoules);
            let mut sums = Sums::of(energy, parts);
            if found.method == Method::Counters {
                sums.counted = energy;
            }
            match embodied {
                Some(shares) => sums.embodied = ExactEmissions::from_units(shares[index]),
                None => sums.millis_without_embodied = millis(elapsed.as_secs_f64()),
            }
            sums
        };
        let mut all = Sums::default();
        let mut by_service = BTreeMap::new();
        for (index, ((service, use_), microjoules)) in services.iter().zip(&found.parts).enumerate() {
            let line = self.services.entry(service.clone()).or_default();
            let sums = window(line, *microjoules, index);
            line.add(&sums, seen.requests.get(service).and_then(|count| count.ok()));
            line.cpu_millis = line.cpu_millis.saturating_add(millis(use_.cpu_seconds));
            all.add(&sums);
            by_service.insert(service.clone(), sums);
        }
        let rest = window(&mut self.rest, found.rest, services.len());
        self.rest.add(&rest, None);
        all.add(&rest);
        // Lines run at the same time: a while without the figure is one while.
        all.millis_without_embodied = rest.millis_without_embodied;
        Settled { elapsed, method: found.method, machine: all, services: by_service, rest }
    }

    /// Adds lines of services that do not run to that of the rest, when there are too many.
    fn make_room(&mut self, running: &BTreeMap<String, Seen>) {
        while self.services.len() > MAX_BOOK_SERVICES {
            let idle = self.services.keys().find(|service| !running.contains_key(*service)).cloned();
            let Some(line) = idle.and_then(|service| self.services.remove(&service)) else { return };
            let carried = self.rest.whole(i128::from(line.carry));
            self.rest.all.add(&line.all);
            self.rest.all.add(&Sums { energy: carried, ..Sums::default() });
        }
    }

    /// The lines of all services that have run.
    #[must_use]
    pub const fn services(&self) -> &BTreeMap<String, Line> {
        &self.services
    }

    /// What no service caused.
    #[must_use]
    pub const fn rest(&self) -> &Line {
        &self.rest
    }

    /// All of the machine.
    #[must_use]
    pub fn machine(&self) -> Sums {
        let mut sums = self.rest.all;
        for line in self.services.values() {
            let without = sums.millis_without_embodied;
            sums.add(&line.all);
            sums.millis_without_embodied = without;
        }
        sums
    }

    /// Energy that does not fill a watt-second yet, over all lines, microjoules.
    #[must_use]
    pub fn carried_microjoules(&self) -> i64 {
        self.services.values().map(|line| line.carry).sum::<i64>() + self.rest.carry
    }

    /// How many samples were no processor time.
    #[must_use]
    pub const fn invalid_samples(&self) -> u64 {
        self.invalid_samples
    }

    /// Energy of a service.
    #[must_use]
    pub fn energy(&self, service: &str) -> Option<ExactEnergy> {
        self.services.get(service).map(|line| line.all.energy)
    }
}

/// Embodied emissions of a while: total · time / lifetime, by reserved processors of all processors; the last part
/// is that of nobody.
fn embodied(
    machine: &Machine,
    elapsed: SignedDuration,
    services: &BTreeMap<String, Seen>,
) -> Option<Vec<i128>> {
    let Embodied { total, lifetime } = machine.embodied?;
    let total = ExactEmissions::from_emissions(total).as_units();
    let share = total.saturating_mul(elapsed.as_millis().max(0)) / lifetime.as_millis().max(1);
    let mut weights: Vec<f64> = services.values().map(|seen| seen.reserved).collect();
    let free = f64::from(machine.processors) - weights.iter().sum::<f64>();
    weights.push(free.max(0.0));
    // All processors are somebody's or free: some weight is above zero.
    Some(apportion(share, &weights).unwrap_or_else(|| vec![0; weights.len()]))
}

fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::{CarbonStep, MachinePower, PowerSource};
    use sos_units::{Emissions, Missing, Power};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    /// Two processors, 10 W to 30 W, 876 kg over ten years: 10 g an hour.
    fn machine() -> Machine {
        let idle = Power::kw(0.010);
        let power = MachinePower { idle, max: Power::kw(0.030), idle_in_package: idle };
        let lifetime = SignedDuration::from_hours(10 * 365 * 24);
        let embodied = Some(Embodied { total: Emissions::kg(876.0), lifetime });
        Machine { processors: 2, power, source: PowerSource::Declared, overhead: 1.0, embodied }
    }

    fn signal() -> StepSignal {
        let intensity = Ok(CarbonIntensity::kg_per_kwh(0.5));
        StepSignal::new([CarbonStep { start: at(-1000), intensity }])
    }

    fn seen(seconds: i64, replicas: &[(&str, i64, f64)]) -> Observation {
        let replicas = replicas.iter().map(|(id, started, cpu_seconds)| {
            let service = id.rsplit_once('-').unwrap().0.to_owned();
            let started_at = at(*started);
            let reserved = Some(1.0);
            ((*id).to_owned(), ReplicaUse { service, started_at, cpu_seconds: *cpu_seconds, reserved })
        });
        Observation {
            now: Now { wall: at(seconds), site: at(seconds) },
            replicas: replicas.collect(),
            busy_seconds: None,
            counters: Err("there is no energy counter".into()),
            requests: BTreeMap::new(),
        }
    }

    fn settled(book: &mut EnergyBook, seen: &Observation) -> Settled {
        match book.settle(&machine(), IdlePolicy::ByReservation, &signal(), seen).unwrap() {
            Settlement::Settled(settled) => *settled,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn services_share_the_machine_by_processor_time_and_reservation() {
        let mut book = EnergyBook::default();
        let first = seen(0, &[("a-0", -500, 100.0), ("b-0", -500, 5.0)]);
        assert_eq!(
            book.settle(&machine(), IdlePolicy::ByReservation, &signal(), &first),
            Ok(Settlement::Begun)
        );
        let hour = seen(3600, &[("a-0", -500, 1900.0), ("b-0", -500, 1805.0)]);
        let found = settled(&mut book, &hour);
        // Half of all processor time: 20 W for an hour, 0.5 kg/kWh.
        assert_eq!(found.machine.energy, ExactEnergy::watt_seconds(72_000));
        assert_eq!(found.services["a"].energy, ExactEnergy::watt_seconds(36_000));
        assert_eq!(found.machine.emissions(), Ok(Emissions::kg(0.01)));
        assert_eq!(found.machine.embodied(), Some(Emissions::kg(0.01)));
        assert_eq!(found.services["b"].embodied(), Some(Emissions::kg(0.005)));
        assert_eq!(found.rest, Sums { embodied: ExactEmissions::ZERO, ..Sums::default() });
        assert!(matches!(found.method, Method::Model(NoCounter::Unreadable(_))));
    }

    #[test]
    fn what_is_no_service_has_a_line_of_its_own() {
        let mut book = EnergyBook::default();
        let busy =
            |seconds, cpu, all| Observation { busy_seconds: Some(all), ..seen(seconds, &[("a-0", -9, cpu)]) };
        book.settle(&machine(), IdlePolicy::None, &signal(), &busy(0, 0.0, 50.0)).unwrap();
        let found = book.settle(&machine(), IdlePolicy::None, &signal(), &busy(100, 40.0, 110.0)).unwrap();
        let Settlement::Settled(found) = found else { panic!("{found:?}") };
        // 60 of 200 seconds: 6 W above idle for 100 s, two thirds of it by the service.
        assert_eq!(found.services["a"].energy, ExactEnergy::watt_seconds(400));
        assert_eq!(found.rest.energy, ExactEnergy::watt_seconds(1200));
    }

    #[test]
    fn a_replica_that_was_started_anew_counts_from_zero() {
        let mut book = EnergyBook::default();
        book.settle(&machine(), IdlePolicy::None, &signal(), &seen(0, &[("a-0", -500, 100.0)])).unwrap();
        let anew = seen(100, &[("a-0", 50, 10.0), ("a-1", 20, 5.0), ("old-0", -900, 77.0)]);
        let book_settled = book.settle(&machine(), IdlePolicy::None, &signal(), &anew).unwrap();
        assert!(matches!(book_settled, Settlement::Settled(_)));
        assert_eq!(book.services()["a"].cpu_millis, 15_000);
        assert_eq!(book.services()["old"].cpu_millis, 0, "it ran before it was seen");
    }

    #[test]
    fn a_stored_book_goes_on_where_it_was() {
        let mut book = EnergyBook::default();
        book.settle(&machine(), IdlePolicy::None, &signal(), &seen(0, &[("a-0", -500, 0.0)])).unwrap();
        let first = seen(7, &[("a-0", -500, 3.3)]);
        settled(&mut book, &first);
        let text = serde_json::to_string(&book).unwrap();
        let mut again: EnergyBook = serde_json::from_str::<EnergyBook>(&text).unwrap().checked().unwrap();
        let next = seen(13, &[("a-0", -500, 5.1)]);
        assert_eq!(settled(&mut again, &next), settled(&mut book, &next));
        assert_eq!(again, book);
        let newer = text.replace("\"version\":1", "\"version\":2");
        let newer: EnergyBook = serde_json::from_str(&newer).unwrap();
        assert_eq!(newer.checked(), Err(BookError::Version(2)));
    }

    #[test]
    fn a_clock_that_was_set_back_counts_nothing() {
        let mut book = EnergyBook::default();
        for (seconds, expected) in
            [(100, Settlement::Begun), (100, Settlement::NoTime), (40, Settlement::NoTime)]
        {
            let seen = seen(seconds, &[("a-0", -500, 1.0)]);
            assert_eq!(book.settle(&machine(), IdlePolicy::None, &signal(), &seen), Ok(expected));
        }
        assert_eq!(book.machine(), Sums::default());
    }

    #[test]
    fn counters_are_used_where_they_can_be_read_and_requests_divide_the_energy() {
        let mut book = EnergyBook::default();
        let with = |seconds, cpu, joules: u64, requests| {
            let counters = BTreeMap::from([("package-0".to_owned(), (joules * 1_000_000, 262_143_328_850))]);
            let counters = Ok(CounterReading { boot: "b".into(), counters });
            let requests = BTreeMap::from([("a".to_owned(), requests)]);
            Observation { counters, requests, ..seen(seconds, &[("a-0", -500, cpu)]) }
        };
        book.settle(&machine(), IdlePolicy::Equal, &signal(), &with(0, 0.0, 500, Ok(9))).unwrap();
        let found = settled(&mut book, &with(10, 1.0, 900, Ok(80)));
        assert_eq!((found.method, found.machine.counted), (Method::Counters, ExactEnergy::watt_seconds(400)));
        settled(&mut book, &with(20, 2.0, 1300, Err(Missing::Unavailable)));
        let line = book.services()["a"];
        assert_eq!(line.all.energy, ExactEnergy::watt_seconds(800));
        assert_eq!(line.per_request().unwrap().energy, ExactEnergy::watt_seconds(400).to_energy() / 80.0);
    }

    #[test]
    fn impossible_samples_and_machines_are_told() {
        let mut book = EnergyBook::default();
        let good = seen(0, &[("a-0", -500, 4.0)]);
        book.settle(&machine(), IdlePolicy::None, &signal(), &good).unwrap();
        settled(&mut book, &seen(10, &[("a-0", -500, f64::NAN)]));
        settled(&mut book, &seen(20, &[("a-0", -500, 6.0)]));
        assert_eq!((book.invalid_samples(), book.services()["a"].cpu_millis), (1, 2000));
        let broken = Machine { processors: 0, ..machine() };
        let before = book.clone();
        assert!(matches!(
            book.settle(&broken, IdlePolicy::None, &signal(), &good),
            Err(BookError::Machine(_))
        ));
        assert_eq!(book, before);
    }

    #[test]
    fn emissions_without_a_signal_are_missing_and_not_zero() {
        let mut book = EnergyBook::default();
        for (seconds, cpu) in [(0, 0.0), (10, 5.0)] {
            let seen = seen(seconds, &[("a-0", -500, cpu)]);
            book.settle(&machine(), IdlePolicy::None, &StepSignal::default(), &seen).unwrap();
        }
        let line = book.services()["a"];
        assert!(line.all.energy > ExactEnergy::ZERO);
        assert_eq!(line.all.emissions(), Err(Missing::NotYet));
    }
}
