//! A site as a dispatch problem from what is declared alone: no device, no forecast, no server. The problem is that of the
//! loop ([`super::plan::problem`]) without what the loop keeps back for the errors of its forecasts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sos_dispatch::{Problem, Step};
use sos_model::{Declared, Heated, SignalSource, SignalSpec, SiteSpec, Trip, duration_text};
use sos_units::{CarbonIntensity, Energy, Power, Price};

use super::feeders::ExpectedFeeder;
use super::model::{Asset, Heat, Kind, SiteModel, Value, assemble};
use super::plan::{self, Caution, Expected};
use super::storages::{HeatExpected, initial_heat};
use super::work::WorkBook;
use crate::folder::{self, Series};

/// The most steps of a case: a year of quarter-hours and some.
const MOST_STEPS: i64 = 40_000;

/// No power, price or intensity is as large.
const LARGEST: f64 = 1e9;

/// A site with its problem.
#[derive(Clone, Debug)]
pub struct Case {
    /// The site.
    pub model: SiteModel,
    /// What is to be decided; shared with those who search, because it may be large.
    pub problem: Arc<Problem>,
    /// Power of each load and each plant that cannot be turned down, by name, kW, site sign.
    pub given: BTreeMap<String, Vec<Power>>,
    /// What was passed over, for people.
    pub notes: Vec<String>,
}

/// Manifests that are read and checked, with their series.
#[derive(Clone, Debug)]
pub struct Read {
    /// The first path that was given.
    path: String,
    declared: Vec<Declared>,
    series: Series,
}

/// Reads the manifests under some paths and the series they name.
///
/// # Errors
/// All problems of all files at once.
pub fn read(paths: &[PathBuf]) -> Result<Read, Vec<sos_model::Problem>> {
    let (declared, series) = folder::read_with_series(paths, &[])?;
    let path = paths.first().map_or_else(String::new, |path| path.display().to_string());
    Ok(Read { path, declared, series })
}

/// The one site that is declared, from `from` on: RFC 3339, or a local time of the site. Without it from `replay.from` of the
/// site, else from the first time at which all its signals have a value.
///
/// Every battery and every plant that may be turned down is planned with, whatever its `mode`: nothing is commanded. A battery
/// begins with its `initialSoc`.
///
/// # Errors
/// All problems at once: not one site, no expected power of an asset, a series that does not reach over the horizon, a beginning
/// that cannot be found, too many steps.
pub fn case(read: &Read, from: Option<&str>) -> Result<Case, Vec<sos_model::Problem>> {
    let one = read.site().map_err(|problem| vec![problem])?;
    let Some(spec) = one.site() else { return Err(Vec::new()) };
    let name = one.name.to_string();
    let fileless: Vec<sos_model::Problem> = read
        .lines_signals()
        .map(|(signal, _)| {
            let (message, help) = folder::without_file(signal.name.as_str());
            signal.problem("spec.source", message, help)
        })
        .collect();
    if !fileless.is_empty() {
        return Err(fileless);
    }
    let model = assemble_one(read, one, &read.series)?;
    let steps = steps(one, spec, &model, from).map_err(|problem| vec![problem])?;
    let assets = read.declared.iter().filter(|one| one.asset().is_some());
    let assets = assets.map(|one| (one.name.as_str(), one)).collect();
    let data = Data { read, assets, site: one, model: &model, steps: &steps };
    let (expected, given) = data.expected()?;
    let stores = model.stores().map(|(index, _, battery)| (index, battery.initial_soc_or_min()));
    let socs = stores.chain(model.heat_pumps().map(|(index, _, heat)| (index, initial_heat(heat)))).collect();
    let work = work(&read.declared, &name, &model.zone, &steps);
    let notes = passed_over(&model, &steps);
    let mut problem = plan::problem(&model, steps, &expected, &socs, work, Caution::none());
    problem.generators =
        model.generators().map(|(_, asset, declared)| plan::generator(asset, declared)).collect();
    problem.validate().map_err(|invalid| {
        let message = invalid.to_string();
        vec![read.meant(&message).unwrap_or(one).problem("spec", message, "")]
    })?;
    Ok(Case { model, problem: Arc::new(problem), given, notes })
}

/// A site with its assets, and with these series of its signals.
///
/// # Errors
/// When a reference leads nowhere.
pub(super) fn assemble_one(
    read: &Read,
    one: &Declared,
    series: &Series,
) -> Result<SiteModel, Vec<sos_model::Problem>> {
    let Some(spec) = one.site() else { return Err(Vec::new()) };
    let assets =
        read.declared.iter().filter_map(|d| Some((d.name.to_string(), d.asset()?.clone()))).collect();
    assemble(one.name.as_str(), spec, &assets, series)
        .map_err(|error| vec![one.problem("spec", error.to_string(), "")])
}

impl Read {
    /// The signals whose values come with lines.
    pub(super) fn lines_signals(&self) -> impl Iterator<Item = (&Declared, &SignalSpec)> {
        self.signals().filter(|(_, spec)| matches!(spec.source, SignalSource::Lines(_)))
    }

    /// All signals that are declared.
    pub(super) fn signals(&self) -> impl Iterator<Item = (&Declared, &SignalSpec)> {
        self.declared.iter().filter_map(|one| Some((one, one.signal()?)))
    }

    /// The series of the signals that have a file.
    pub(super) const fn series(&self) -> &Series {
        &self.series
    }

    /// The asset that a problem with a plan is of.
    fn meant(&self, message: &str) -> Option<&Declared> {
        let named = |one: &&Declared| message.contains(&format!(" of {} is ", one.name));
        self.declared.iter().filter(|one| one.asset().is_some()).find(named)
    }

    /// The one site.
    ///
    /// # Errors
    /// None, or more than one.
    pub(super) fn site(&self) -> Result<&Declared, sos_model::Problem> {
        only_site(&self.path, &self.declared)
    }
}

fn only_site<'a>(path: &str, declared: &'a [Declared]) -> Result<&'a Declared, sos_model::Problem> {
    let sites: Vec<&Declared> = declared.iter().filter(|one| one.site().is_some()).collect();
    match sites.as_slice() {
        [one] => Ok(one),
        [] => {
            let path = declared.first().map_or(path, |one| one.source.path.as_str());
            let help = "expected one Site with its Assets and Signals";
            Err(sos_model::Problem::in_file(path, "no Site is declared", help))
        }
        [first, second, ..] => {
            let message = format!("a second Site, after {}", first.id());
            let help = "expected one; give the files of one site only";
            Err(sos_model::Problem::at(&second.source.path, second.source.position, message, help))
        }
    }
}

/// The steps from the beginning over the horizon.
fn steps(
    one: &Declared,
    spec: &SiteSpec,
    model: &SiteModel,
    from: Option<&str>,
) -> Result<Vec<Step>, sos_model::Problem> {
    let from = beginning(one, spec, model, from)?;
    let every = spec.plan_every.or(model.series().map(|series| series.step()).min());
    let every = every.unwrap_or(SignedDuration::from_mins(15));
    if every.as_secs() < 1 || model.horizon.as_secs() / every.as_secs() > MOST_STEPS {
        let message = format!(
            "{} in steps of {} are more than {MOST_STEPS}",
            duration_text(model.horizon),
            duration_text(every)
        );
        return Err(one.problem("spec.horizon", message, "shorten horizon or give a longer planEvery"));
    }
    if from.checked_add(model.horizon + every).is_err() {
        return Err(one.problem(
            "spec.horizon",
            "it ends beyond representable time",
            "expected an earlier begin",
        ));
    }
    Ok(plan::steps(from, from, every, model.horizon))
}

fn beginning(
    one: &Declared,
    spec: &SiteSpec,
    model: &SiteModel,
    from: Option<&str>,
) -> Result<Timestamp, sos_model::Problem> {
    if let Some(text) = from {
        return time(text, &model.zone).ok_or_else(|| {
            let help = "expected RFC 3339 with offset, or a local time of the site such as 2026-01-31T00:00";
            sos_model::Problem::in_file("--from", format!("\"{text}\" is not a time"), help)
        });
    }
    if let Some(from) = spec.replay.get().and_then(|replay| replay.from) {
        return Ok(from);
    }
    model.series().map(|series| series.start()).max().ok_or_else(|| {
        let help = "give --from TIME, or a signal with times";
        one.problem("spec", "nothing says when the plan begins: no signal is used", help)
    })
}

/// A time with offset, or a local one.
fn time(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let local = || zone.to_timestamp(text.parse::<jiff::civil::DateTime>().ok()?).ok();
    text.parse().ok().or_else(local)
}

/// Runs of jobs and services that may be slower, as the loop would offer them at the beginning, before anything ran. What
/// cannot run before the end is left out.
fn work(declared: &[Declared], site: &str, zone: &TimeZone, steps: &[Step]) -> Vec<sos_units::FlexibleWork> {
    let services = declared.iter().filter_map(|d| Some((d.name.to_string(), d.service()?.clone()))).collect();
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return Vec::new() };
    let mut book = WorkBook::default();
    book.declare(site, &services);
    book.roll(zone, first.start);
    let mut offers = book.offers(zone, first.start);
    offers.retain(|work| work.earliest < last.end());
    offers
}

/// What people may not have meant: targets whose time is not within the steps, trips that have begun, generators that burn for nothing.
fn passed_over(model: &SiteModel, steps: &[Step]) -> Vec<String> {
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return Vec::new() };
    let outside = model.stores().flat_map(|(_, asset, battery)| {
        let targets = battery.targets.iter().map(|target| target.by);
        targets.filter(|by| *by <= first.start || *by > last.end()).map(move |by| (&asset.name, by))
    });
    let note = |(name, by): (&String, Timestamp)| {
        let (by, from, to) = (
            crate::time_text(by, &model.zone),
            crate::time_text(first.start, &model.zone),
            crate::time_text(last.end(), &model.zone),
        );
        format!("Asset/{name}: the target at {by} is outside {from} … {to} and plays no part")
    };
    let free = model.generators().filter(|(_, _, declared)| declared.fuel_cost.is_empty());
    let free =
        free.map(|(_, asset, _)| format!("Asset/{}: no fuelCost, so its power costs nothing", asset.name));
    outside.map(note).chain(begun(model, first.start, last.end())).chain(free).collect()
}

/// Trips that a plan from a time to a time only knows as time away.
fn begun(model: &SiteModel, from: Timestamp, to: Timestamp) -> impl Iterator<Item = String> {
    let vehicles = model.assets.iter().filter_map(|asset| match &asset.kind {
        Kind::Vehicle(vehicle) => Some((&asset.name, vehicle)),
        _ => None,
    });
    let needs = |trip: &Trip| trip.soc.is_some() || trip.uses > Energy::ZERO;
    vehicles.flat_map(move |(name, vehicle)| {
        let trips = vehicle.trips_between(&model.zone, from, to).into_iter();
        let trips = trips.filter(move |trip| trip.leaves <= from && needs(trip));
        trips.map(move |trip| {
            let soc = vehicle.battery.initial_soc_or_min();
            let short = (trip.soc.unwrap_or(soc) - soc) * vehicle.battery.capacity;
            let short = match short > Energy::ZERO {
                true => format!("; it has {:.1} kWh less than is wanted for it", short.as_kwh()),
                false => String::new(),
            };
            let leaves = crate::time_text(trip.leaves, &model.zone);
            format!(
                "Asset/{name}: the trip at {leaves} has begun when the plan begins, so that what it wants and uses plays no part{short}"
            )
        })
    })
}

/// What is declared, read over the steps.
struct Data<'a> {
    read: &'a Read,
    /// The assets by name.
    assets: BTreeMap<&'a str, &'a Declared>,
    site: &'a Declared,
    model: &'a SiteModel,
    steps: &'a [Step],
}

type Given = BTreeMap<String, Vec<Power>>;

impl Data<'_> {
    /// What is expected, and the powers of what cannot be chosen.
    fn expected(&self) -> Result<(Expected, Given), Vec<sos_model::Problem>> {
        let connection = &self.model.connection;
        let mut problems = Vec::new();
        let mut list = |value: Result<Vec<f64>, sos_model::Problem>| {
            value.map_err(|problem| problems.push(problem)).unwrap_or_default()
        };
        let price = |field: &str, value: &Value<Price>| {
            self.values(self.site, field, value, |price| price.as_per_kwh())
        };
        let import = list(price("spec.connection.importPrice", &connection.import_price));
        let export = list(price("spec.connection.exportPrice", &connection.export_price));
        let carbon = list(self.values(
            self.site,
            "spec.connection.carbonIntensity",
            &connection.carbon,
            CarbonIntensity::as_kg_per_kwh,
        ));
        let mut expected = Expected {
            net: vec![Power::ZERO; self.steps.len()],
            renewables: vec![Power::ZERO; self.steps.len()],
            import_price: import.into_iter().map(Price::per_kwh).collect(),
            export_price: export.into_iter().map(Price::per_kwh).collect(),
            carbon: carbon.into_iter().map(CarbonIntensity::kg_per_kwh).collect(),
            feeders: self.feeders(&mut list),
            ..Expected::default()
        };
        let mut given = Given::new();
        for (index, asset) in self.model.assets.iter().enumerate() {
            match &asset.kind {
                Kind::Battery(_) | Kind::Vehicle(_) | Kind::Generator(_) => {}
                Kind::HeatPump(heat) => {
                    let heat = self.heat(asset, heat, &mut list);
                    expected.heat.insert(index, heat);
                }
                Kind::Solar { .. } | Kind::Load { .. } => {
                    let powers: Vec<Power> = list(self.power(asset)).into_iter().map(Power::kw).collect();
                    if matches!(asset.kind, Kind::Solar { curtailable: true, .. }) {
                        expected.add_curtailable(self.model, index, powers);
                    } else {
                        if matches!(asset.kind, Kind::Solar { .. }) {
                            expected.add_renewable(&powers);
                        }
                        expected.add(self.model, index, &powers);
                        given.insert(asset.name.clone(), powers);
                    }
                }
            }
        }
        problems.sort();
        problems.dedup();
        if problems.is_empty() { Ok((expected, given)) } else { Err(problems) }
    }

    /// What is expected of each feeder, still without power.
    fn feeders(
        &self,
        list: &mut dyn FnMut(Result<Vec<f64>, sos_model::Problem>) -> Vec<f64>,
    ) -> Vec<ExpectedFeeder> {
        let mut all = Vec::with_capacity(self.model.feeders.len());
        for (i, feeder) in self.model.feeders.iter().enumerate() {
            let none = || vec![0.0; self.steps.len()];
            let mut price = |key: &str, value: &Option<Value<Price>>| {
                let field = format!("spec.feeders[{i}].{key}");
                let read =
                    |value| list(self.values(self.site, &field, value, |price: Price| price.as_per_kwh()));
                value.as_ref().map_or_else(none, read)
            };
            let (import, export) =
                (price("importPrice", &feeder.import_price), price("exportPrice", &feeder.export_price));
            let field = format!("spec.feeders[{i}].carbonIntensity");
            let read = |value| list(self.values(self.site, &field, value, CarbonIntensity::as_kg_per_kwh));
            let carbon = feeder.carbon.as_ref().map_or_else(none, read);
            all.push(ExpectedFeeder {
                net: vec![Power::ZERO; self.steps.len()],
                import_price: import.into_iter().map(Price::per_kwh).collect(),
                export_price: export.into_iter().map(Price::per_kwh).collect(),
                carbon: carbon.into_iter().map(CarbonIntensity::kg_per_kwh).collect(),
            });
        }
        all
    }

    /// What a heat pump is expected to meet.
    fn heat(
        &self,
        asset: &Asset,
        heat: &Heat,
        list: &mut dyn FnMut(Result<Vec<f64>, sos_model::Problem>) -> Vec<f64>,
    ) -> HeatExpected {
        let declared = self.declared(&asset.name);
        let of = |key: &str| format!("spec.heatPump.{key}");
        let (flow, outside) = match heat.pump.heats {
            Heated::Tank(_) => ("heats.tank.demand", ""),
            Heated::Building(_) => ("heats.building.gains", "heats.building.outside"),
        };
        let cop = list(self.values(declared, &of("cop"), &heat.cop, |cop| cop));
        let flow =
            heat.flow.as_ref().map(|value| list(self.values(declared, &of(flow), value, Power::as_kw)));
        let outside = heat
            .outside
            .as_ref()
            .map(|value| list(self.values(declared, &of(outside), value, |value| value)));
        let none = || vec![0.0; self.steps.len()];
        HeatExpected {
            cop,
            flow: flow.unwrap_or_else(none).into_iter().map(Power::kw).collect(),
            outside: outside.unwrap_or_default(),
        }
    }

    /// The declared power of an asset, whose sign over the whole horizon has to be that of its type.
    fn power(&self, asset: &Asset) -> Result<Vec<f64>, sos_model::Problem> {
        let declared = self.declared(&asset.name);
        let (field, sign) = match asset.kind {
            Kind::Solar { of_wind: false, .. } => ("spec.solar.availablePower", 1.0),
            Kind::Solar { of_wind: true, .. } => ("spec.wind.availablePower", 1.0),
            _ => ("spec.power", -1.0),
        };
        let Some(value) = asset.kind.expected() else {
            let message = format!("{} without an expected power", asset.name);
            let help =
                "expected { signal: NAME } of a Signal in kW, or { fixed: 2 kW }; nothing is forecast here";
            return Err(declared.problem(field, message, help));
        };
        let values = self.values(declared, field, value, Power::as_kw)?;
        if values.iter().sum::<f64>() * sign < 0.0 {
            let (is, help) = if sign < 0.0 {
                (
                    "a load that generates",
                    "say sign: consumption in the source of its signal if that is what the file holds",
                )
            } else {
                ("a plant that consumes", "take sign: consumption out of the source of its signal")
            };
            return Err(declared.problem(field, format!("{is} over the whole horizon"), help));
        }
        Ok(values)
    }

    fn declared(&self, asset: &str) -> &Declared {
        self.assets.get(asset).copied().unwrap_or(self.site)
    }

    /// The mean of a value over each step.
    fn values<T: Copy>(
        &self,
        owner: &Declared,
        field: &str,
        value: &Value<T>,
        number: impl Fn(T) -> f64,
    ) -> Result<Vec<f64>, sos_model::Problem> {
        let series = match value {
            Value::Fixed(value) => return Ok(vec![number(*value); self.steps.len()]),
            Value::Series(series) => series,
        };
        let mean = |step: &Step| series.mean(step.start, step.end());
        let large = |(step, value): (&Step, f64)| (value.abs() > LARGEST).then_some((step.start, value));
        let found = self.steps.iter().filter_map(|step| large((step, mean(step).ok()?))).next();
        if let Some((time, value)) = found {
            let (name, time) = (series.name(), crate::time_text(time, &self.model.zone));
            let message = format!("signal {name} is {value:e} at {time}");
            let help = format!("expected at most {LARGEST:e}: check its unit and its file");
            return Err(sos_model::Problem::in_file(&self.file(name), message, help));
        }
        self.steps.iter().map(mean).collect::<Result<_, _>>().map_err(|time| {
            let zone = &self.model.zone;
            let shown = |time| crate::time_text(time, zone);
            let (from, to) = (self.steps[0].start, self.steps.last().map_or(time, |step| step.end()));
            let needed = format!(
                "{field}.signal of {} needs a value at every time from {} to {}",
                owner.id(),
                shown(from),
                shown(to)
            );
            let name = series.name();
            let (message, help) = if time >= series.end() {
                let hint = "add rows, or shorten spec.horizon of the Site";
                (format!("signal {name} ends at {}", shown(series.end())), hint)
            } else if time < series.start() {
                let hint = "add rows, or begin later with --from";
                (format!("signal {name} begins at {}", shown(series.start())), hint)
            } else {
                (format!("signal {name} has no value at {}", shown(time)), "fill the gap")
            };
            sos_model::Problem::in_file(&self.file(name), message, format!("{needed}: {help}"))
        })
    }

    /// The file of a signal.
    fn file(&self, signal: &str) -> String {
        let named = |one: &&Declared| one.name.as_str() == signal;
        let spec = self.read.declared.iter().filter(named).find_map(Declared::signal);
        spec.map_or_else(String::new, |spec| match &spec.source {
            SignalSource::File(file) => file.path.clone(),
            SignalSource::Lines(_) => String::new(),
        })
    }
}
