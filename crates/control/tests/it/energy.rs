//! What the account of energy may never do, over random machines and random use.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use sos_control::Now;
use sos_control::Window;
use sos_control::energy::{
    CarbonStep, CounterReading, Embodied, EnergyBook, Guarantee, IdlePolicy, Machine, MachinePower, Method,
    Observation, PowerSource, ReplicaUse, Settlement, Slowdown, StepSignal, Sums, apportion, limit_speed,
};
use sos_units::{
    CarbonIntensity, Emissions, Energy, EnvelopeStep, ExactEmissions, ExactEnergy, Missing, Money, Power,
    PowerEnvelope,
};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + millis).unwrap()
}

fn machine() -> impl Strategy<Value = Machine> {
    let power = (0.0..0.2_f64, 0.0..0.4_f64, 0.0..=1.0_f64);
    (1..128_u32, power, 1.0..2.0_f64, any::<bool>()).prop_map(
        |(processors, (idle, more, inside), overhead, known)| {
            let power = MachinePower {
                idle: Power::kw(idle),
                max: Power::kw(idle + more),
                idle_in_package: Power::kw(idle * inside),
            };
            let lifetime = SignedDuration::from_hours(35_040);
            let embodied = known.then_some(Embodied { total: Emissions::kg(1234.5), lifetime });
            Machine { processors, power, source: PowerSource::Declared, overhead, embodied }
        },
    )
}

/// How long, processor seconds of four replicas of three services, of all else, joules of the counters, requests.
type Look = (i64, [f64; 4], Option<f64>, Option<u64>, u64);

fn looks() -> impl Strategy<Value = Vec<Look>> {
    let cpu = prop_oneof![8 => 0.0..50.0_f64, 1 => Just(0.0), 1 => Just(f64::NAN)];
    let cpu = [cpu.clone(), cpu.clone(), cpu.clone(), cpu];
    let counted = proptest::option::of(0..2_000_u64);
    prop::collection::vec(
        (-5..400_000_i64, cpu, proptest::option::of(0.0..50.0_f64), counted, 0..900_u64),
        1..25,
    )
}

fn policy() -> impl Strategy<Value = IdlePolicy> {
    prop_oneof![Just(IdlePolicy::ByReservation), Just(IdlePolicy::Equal), Just(IdlePolicy::None)]
}

/// Observations from what was used between them.
fn observations(looks: &[Look]) -> Vec<Observation> {
    let names = ["a-0", "a-1", "b-0", "c-0"];
    let (mut millis, mut totals, mut busy, mut joules) = (0, [0.0; 4], 0.0, 0_u64);
    let observe = |(gap, cpu, rest, counted, requests): &Look| {
        millis += gap;
        joules += counted.unwrap_or(0);
        let mut replicas = BTreeMap::new();
        for ((id, cpu), total) in names.iter().zip(cpu).zip(&mut totals) {
            if cpu.is_finite() {
                *total += cpu;
                busy += cpu;
            }
            let cpu_seconds = if cpu.is_finite() { *total } else { *cpu };
            let service = id.split('-').next().unwrap().to_owned();
            let reserved = (*id != "c-0").then_some(1.5);
            let started_at = at(-9000);
            replicas.insert((*id).to_owned(), ReplicaUse { service, started_at, cpu_seconds, reserved });
        }
        busy += rest.unwrap_or(0.0);
        let counters = BTreeMap::from([("package-0".to_owned(), (joules * 1_000_000, 1 << 50))]);
        let now = Now { wall: at(millis), site: at(millis) };
        Observation {
            now,
            replicas,
            busy_seconds: rest.map(|_| busy),
            counters: counted.map(|_| CounterReading { boot: "b".into(), counters }).ok_or("none".to_owned()),
            requests: BTreeMap::from([("a".to_owned(), Ok(*requests)), ("b".to_owned(), Err(Missing::Gap))]),
        }
    };
    looks.iter().map(observe).collect()
}

fn signal(with_gap: bool) -> StepSignal {
    let steps = (0..200).map(|i| CarbonStep {
        start: at(-1000 + i * 60_000),
        intensity: if with_gap && i % 7 == 3 {
            Err(Missing::Gap)
        } else {
            Ok(CarbonIntensity::kg_per_kwh(0.05 + 0.004 * i as f64))
        },
    });
    StepSignal::new(steps)
}

fn add(one: Sums, other: &Sums) -> (ExactEnergy, ExactEmissions, ExactEnergy, ExactEmissions) {
    (
        one.energy + other.energy,
        one.emissions + other.emissions,
        one.without_carbon + other.without_carbon,
        one.embodied + other.embodied,
    )
}

proptest! {
    #[test]
    fn parts_add_up_to_the_whole(total in 0..1_i128 << 66, weights in prop::collection::vec(-1.0..1e9_f64, 0..50)) {
        match apportion(total, &weights) {
            None => prop_assert!(weights.iter().all(|weight| *weight <= 0.0)),
            Some(parts) => {
                prop_assert_eq!(parts.iter().sum::<i128>(), total);
                let sum: f64 = weights.iter().map(|weight| weight.max(0.0)).sum();
                for (part, weight) in parts.iter().zip(&weights) {
                    let share = total as f64 * weight.max(0.0) / sum;
                    prop_assert!(*part >= 0 && (*part as f64 - share).abs() <= 1.0 + total as f64 * 1e-12);
                }
            }
        }
    }

    #[test]
    fn the_lines_add_up_to_the_machine_and_a_restart_changes_nothing(
        machine in machine(), policy in policy(), looks in looks(), gap in any::<bool>(), restart_at in 0..25_usize,
    ) {
        let (mut book, carbon) = (EnergyBook::default(), signal(gap));
        let mut restarted: Option<EnergyBook> = None;
        let mut whole = 0.0;
        for (i, seen) in observations(&looks).iter().enumerate() {
            if i == restart_at {
                let text = serde_json::to_string(&book).unwrap();
                restarted = Some(serde_json::from_str::<EnergyBook>(&text).unwrap().checked().unwrap());
            }
            let settled = book.settle(&machine, policy, &carbon, seen).unwrap();
            if let Some(other) = &mut restarted {
                prop_assert_eq!(&other.settle(&machine, policy, &carbon, seen).unwrap(), &settled);
            }
            let Settlement::Settled(settled) = settled else { continue };
            let sum = settled.services.values().fold(settled.rest, |sum, line| {
                let (energy, emissions, without_carbon, embodied) = add(sum, line);
                Sums { energy, emissions, without_carbon, embodied, ..sum }
            });
            prop_assert_eq!(sum.energy, settled.machine.energy);
            prop_assert_eq!(sum.emissions, settled.machine.emissions);
            prop_assert_eq!(sum.without_carbon, settled.machine.without_carbon);
            prop_assert_eq!(sum.embodied, settled.machine.embodied);
            let lines = settled.services.values().chain([&settled.rest]);
            let negative = lines.filter(|line| line.energy < ExactEnergy::ZERO || line.embodied < ExactEmissions::ZERO);
            prop_assert_eq!(negative.count(), 0);
            let seconds = settled.elapsed.as_secs_f64();
            if matches!(settled.method, Method::Model(_)) {
                let (low, high) = (machine.power.idle.as_kw(), machine.power.max.as_kw());
                let mean = settled.machine.energy.to_energy().as_kwh() * 3600.0 / seconds / machine.overhead;
                // Whole watt-seconds of four lines are early or late.
                let slack = 0.004 / seconds + 1e-9;
                prop_assert!((low - slack..=high + slack).contains(&mean), "{low} {mean} {high}");
            }
            whole += settled.machine.energy.as_watt_seconds() as f64;
        }
        let all = book.machine();
        prop_assert!((all.energy.as_watt_seconds() as f64 - whole).abs() < 0.5);
        prop_assert!((0..4_000_000).contains(&book.carried_microjoules()));
        if gap && all.without_carbon > ExactEnergy::ZERO {
            prop_assert_eq!(all.emissions(), Err(Missing::Gap));
        }
    }

    #[test]
    fn a_guarantee_is_never_undercut_and_power_never_exceeded(
        share in 0.01..=1.0_f64, least in 1..10_u32, more in 0..10_u32, by_share in any::<bool>(),
        full in 0.01..5.0_f64, idle in 0.0..=1.0_f64, millis in 1..64_000_u64,
        kw in prop::collection::vec(-1.0..6.0_f64, 2),
    ) {
        let guarantee = if by_share { Guarantee::MinShare(share) } else { Guarantee::MinReplicas(least) };
        let replicas = least + more;
        let spec = Slowdown {
            service: "s".into(),
            guarantee,
            replicas,
            cpu_millis: millis,
            full_power: Power::kw(full),
            idle_power: Power::kw(full * idle),
            energy: Energy::kwh(1.0),
            value: Money::ZERO,
            required: false,
            window: Window::Once { earliest: at(0), deadline: at(1000) },
        };
        prop_assert!(spec.check().is_ok());
        let run = |kw: f64| {
            let step = EnvelopeStep { start: at(0), max_power: Power::kw(kw), reason: "r".into() };
            limit_speed(&spec, Some(&PowerEnvelope { steps: vec![step] }), Ok(true), at(5))
        };
        let (low, high) = (run(kw[0].min(kw[1])), run(kw[0].max(kw[1])));
        prop_assert!(low.share <= high.share);
        for (limit, kw) in [(low, kw[0].min(kw[1])), (high, kw[0].max(kw[1]))] {
            let allowed = spec.guaranteed_power() + Power::kw(kw.max(0.0)) + Power::kw(1e-6 * full);
            let count = limit.replicas.unwrap_or(replicas);
            let fewest = if by_share { 1 } else { least };
            prop_assert!((fewest..=replicas).contains(&count));
            let cpu = limit.cpu_millis.unwrap_or(millis);
            prop_assert!(cpu >= 1 && cpu <= millis);
            if by_share {
                prop_assert!(cpu as f64 >= share * millis as f64 - 1e-6);
                let speed = (cpu as f64 - 1.0) / millis as f64;
                prop_assert!(spec.idle_power + (spec.full_power - spec.idle_power) * speed <= allowed);
            } else {
                prop_assert!(spec.full_power * (f64::from(count) / f64::from(replicas)) <= allowed);
            }
        }
    }
}
