//! The verifier notices every kind of corruption, and accepts what is right.

use sos_dispatch::{Breach, BreachKind, Budget, Curtailable, Problem, Schedule, solve, verify};
use sos_units::*;

use crate::make;

fn valid() -> (Problem, Schedule) {
    let mut problem = make::homes(7, 24, 3, 1);
    problem.curtailable.push(Curtailable { id: "pv".into(), available: vec![Power::kw(1.5); 24] });
    problem.work = vec![make::job("job0", 6.0, 2.0, 2.0, 18.0)];
    problem.pessimistic = None;
    let solved = solve(&problem, &Budget::default()).unwrap();
    assert_eq!(verify(&problem, &solved.schedule).violations, []);
    (problem, solved.schedule)
}

/// The first complaint after a change.
fn complaint(change: impl Fn(&mut Schedule)) -> String {
    let (problem, mut schedule) = valid();
    change(&mut schedule);
    let found = verify(&problem, &schedule);
    found.violations.first().map(|v| v.what.clone()).unwrap_or_default()
}

#[test]
fn every_corruption_is_noticed() {
    let balance = "balance of the site, kW";
    assert_eq!(complaint(|s| s.grid[3] += Power::kw(0.01)), balance);
    assert_eq!(complaint(|s| s.grid[3] = Power::kw(f64::NAN)), "grid is not a finite number");
    assert_eq!(complaint(|s| s.grid.truncate(20)), "grid has 20 steps instead of 24");
    let b0 = |change: fn(&mut sos_dispatch::StorageSchedule)| {
        complaint(move |s| change(s.storage.get_mut("b0").unwrap()))
    };
    assert_eq!(b0(|p| p.power[5] += Power::kw(0.01)), "energy balance of b0, kWh");
    assert_eq!(b0(|p| p.stored_after[5] += Energy::kwh(0.01)), "energy balance of b0, kWh");
    assert_eq!(
        b0(|p| p.soc_after[5] += Soc::fraction(0.01)),
        "state of charge of b0 against its energy, kWh"
    );
    assert!(b0(|p| p.power[5] = Power::kw(9.0)).contains("of b0"));
    assert_eq!(complaint(|s| drop(s.storage.remove("b1"))), "power of b1 is missing");
    assert!(
        complaint(|s| s.generation.get_mut("pv").unwrap()[0] = Power::kw(2.0))
            .contains("above what is available")
    );
    assert!(complaint(|s| s.generation.get_mut("pv").unwrap()[0] = Power::kw(-2.0)).contains("below zero"));
    assert_eq!(
        complaint(|s| s.breaches.push(Breach {
            step: 0,
            kind: BreachKind::Import,
            over: Power::kw(1.0),
            feeder: None
        })),
        "Import limit and its listed breach, kW"
    );
}

#[test]
fn work_that_is_cut_short_split_or_moved_out_of_its_window_is_noticed() {
    let (problem, schedule) = valid();
    let power = schedule.work["job0"].clone();
    let first = power.iter().position(|p| p.as_kw() > 0.1).unwrap();
    let complaint = |change: &dyn Fn(&mut Vec<Power>)| {
        let mut schedule = schedule.clone();
        let list = schedule.work.get_mut("job0").unwrap();
        change(list);
        // The balance is kept, so that only the work itself is wrong.
        for t in 0..24 {
            schedule.grid[t] += list[t] - power[t];
        }
        let found: Vec<String> = verify(&problem, &schedule).violations.into_iter().map(|v| v.what).collect();
        found.join("; ")
    };
    assert!(complaint(&|list| list[first] = Power::ZERO).contains("job0"));
    assert!(complaint(&|list| list[first + 1] = Power::ZERO).contains("may not be interrupted"));
    assert!(complaint(&|list| list.fill(Power::ZERO)).contains("neither done nor owned up to"));
    let outside = (0..24).find(|&t| {
        make::at(t as f64 + 1.0) <= problem.work[0].earliest || make::at(t as f64) >= problem.work[0].deadline
    });
    let outside = outside.unwrap();
    assert!(complaint(&|list| list[outside] = Power::kw(1.0)).contains("outside its window"));
}

#[test]
fn wrong_marginal_values_only_loosen_the_bound() {
    let (problem, mut schedule) = valid();
    let objective = verify(&problem, &schedule).objective;
    let good = verify(&problem, &schedule).bound.unwrap();
    assert!(good <= objective && good.get() > objective.get() - 0.5, "{good:?} {objective:?}");
    for price in &mut schedule.shadow.site_price {
        *price += Price::per_kwh(0.3);
    }
    let loose = verify(&problem, &schedule).bound.unwrap();
    assert!(loose < good);
    schedule.shadow.site_price.clear();
    assert_eq!(verify(&problem, &schedule).bound, None);
}
