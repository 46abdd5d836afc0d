//! References between resources: what is named exists and fits, nothing is declared twice, nothing depends on itself.

use std::collections::{BTreeMap, BTreeSet};

use sos_units::{CarbonIntensity, CarbonPrice, Power};

use crate::currency::Currency;
use crate::declared::{Declared, Outline, Spec};
use crate::kind::Kind;
use crate::kinds::{
    AssetModel, AssetSpec, AssetType, Battery, CarbonSource, Charge, Charged, Connection, DeviceHost,
    Dimension, EnvSource, Generator, HeatPump, Heated, Mode, NotifierSpec, NumberSource, OverrideSpec,
    OverrideValue, PowerSource, PriceSource, ProbeAction, Receiver, RuleAction, RuleOrder, RuleSpec,
    RuleWhen, SecretKey, ServiceSpec, SiteSpec, TemperatureSource, ValueFrom, WorkflowSpec,
};
use crate::problem::{Problem, did_you_mean, known_list, shown};
use crate::reference::{Reference, references};
use crate::scalar::PortRef;

/// Checks declared resources against each other and against `stored` ones, which they replace where kind and name
/// are equal. The answer is sorted; empty means all is well.
#[must_use]
pub fn check(declared: &[Declared], stored: &[Declared]) -> Vec<Problem> {
    check_with(declared, stored, &BTreeSet::new(), &[])
}

/// Like [`check`], knowing that resources of the outlines `unread` exist, and checking what `remains` of some of them.
pub(crate) fn check_with(
    declared: &[Declared],
    stored: &[Declared],
    unread: &BTreeSet<Outline>,
    remains: &[Declared],
) -> Vec<Problem> {
    checked(declared, stored, unread, remains).problems
}

/// A resource that names another one, and where it does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Referrer {
    /// `Kind/name` of the resource that refers.
    pub id: String,
    /// The field that refers, such as `spec.via.service`.
    pub field: String,
}

/// Who among `all` would be left with a reference to nothing without this resource, sorted.
#[must_use]
pub fn referrers(kind: Kind, name: &str, all: &[Declared]) -> Vec<Referrer> {
    let rest: Vec<Declared> =
        all.iter().filter(|one| one.kind() != kind || one.name.as_str() != name).cloned().collect();
    let missing = checked(&rest, &[], &BTreeSet::new(), &[]).missing;
    let mut found: Vec<Referrer> = missing
        .into_iter()
        .filter(|(wanted, _)| *wanted == (kind, name.to_owned()))
        .map(|(_, referrer)| referrer)
        .collect();
    found.sort();
    found.dedup();
    found
}

fn checked<'a>(
    declared: &'a [Declared],
    stored: &'a [Declared],
    unread: &'a BTreeSet<Outline>,
    remains: &'a [Declared],
) -> Checker<'a> {
    let mut checker =
        Checker { index: index(declared, stored, unread), problems: Vec::new(), missing: Vec::new() };
    checker.duplicates(declared);
    for one in declared.iter().chain(remains) {
        match &one.spec {
            Spec::Service(spec) => checker.service(one, spec),
            Spec::Site(spec) => checker.site(one, spec),
            Spec::Asset(spec) => checker.asset(one, spec),
            Spec::Notifier(spec) => checker.notifier(one, spec),
            Spec::Channel(spec) => {
                for (path, wanted) in spec.secrets() {
                    checker.secret_key(one, &format!("spec.{path}"), wanted);
                }
            }
            Spec::Override(spec) => checker.overriding(one, spec),
            Spec::Workflow(spec) => checker.workflow(one, spec),
            Spec::Rule(spec) => checker.rule(one, spec),
            Spec::Signal(_) | Spec::Secret(_) | Spec::AlertRule(_) | Spec::Machine(_) => {}
        }
    }
    checker.fixed_ports();
    checker.cycles("spec.dependsOn", "services depend on each other", Kind::Service, |one| {
        one.service()
            .map(|spec| spec.depends_on.iter().map(|name| name.as_str()).collect())
            .unwrap_or_default()
    });
    checker.cycles("spec.netOf", "loads are measured together in a circle", Kind::Asset, |one| {
        one.asset().map(|spec| spec.net_of.iter().map(|name| name.as_str()).collect()).unwrap_or_default()
    });
    checker.problems.sort();
    checker.problems.dedup();
    checker
}

type Index<'a> = BTreeMap<Kind, BTreeMap<&'a str, Entry<'a>>>;

#[derive(Clone, Copy)]
struct Entry<'a> {
    /// `None` when the resource exists but could not be read.
    resource: Option<&'a Declared>,
    stored: bool,
}

fn index<'a>(declared: &'a [Declared], stored: &'a [Declared], unread: &'a BTreeSet<Outline>) -> Index<'a> {
    let mut index = Index::new();
    for one in stored {
        let entry = Entry { resource: Some(one), stored: true };
        index.entry(one.kind()).or_default().insert(one.name.as_str(), entry);
    }
    for (kind, name) in unread {
        index.entry(*kind).or_default().insert(name, Entry { resource: None, stored: false });
    }
    for one in declared {
        let entry = Entry { resource: Some(one), stored: false };
        index.entry(one.kind()).or_default().insert(one.name.as_str(), entry);
    }
    index
}

struct Checker<'a> {
    index: Index<'a>,
    problems: Vec<Problem>,
    /// References that lead nowhere: what is named, and by whom.
    missing: Vec<(Outline, Referrer)>,
}

impl<'a> Checker<'a> {
    fn report(&mut self, one: &Declared, field: &str, message: impl AsRef<str>, help: impl Into<String>) {
        self.problems.push(one.problem(field, message, help));
    }

    fn names(&self, kind: Kind) -> Vec<&'a str> {
        self.index.get(&kind).map(|map| map.keys().copied().collect()).unwrap_or_default()
    }

    /// The resource that is named, when it could be read; reports when there is none.
    fn find(&mut self, one: &Declared, field: &str, kind: Kind, name: &str) -> Option<&'a Declared> {
        match self.index.get(&kind).and_then(|map| map.get(name)) {
            Some(entry) => entry.resource,
            None => {
                let referrer = Referrer { id: one.id(), field: field.to_owned() };
                self.missing.push(((kind, name.to_owned()), referrer));
                let names = self.names(kind);
                let help = format!("{}{}", did_you_mean(name, names.iter().copied()), known_list(names));
                self.report(one, field, format!("no {kind} is named \"{}\"", shown(name)), help);
                None
            }
        }
    }

    fn duplicates(&mut self, declared: &[Declared]) {
        let mut seen: BTreeMap<(Kind, &str), &Declared> = BTreeMap::new();
        for one in declared {
            if let Some(first) = seen.get(&(one.kind(), one.name.as_str())) {
                let place = first.position("metadata.name");
                let help =
                    format!("the first is in {}:{}; rename one of them", first.source.path, place.line);
                self.report(one, "metadata.name", format!("{} is declared twice", one.id()), help);
            } else {
                seen.insert((one.kind(), one.name.as_str()), one);
            }
        }
    }

    /// Reports a port that a service does not have.
    fn port(&mut self, one: &Declared, field: &str, service: &Declared, port: &str) {
        let Some(spec) = service.service() else { return };
        if spec.port(port).is_none() {
            let names: Vec<&str> = spec.ports.iter().map(|port| port.name.as_str()).collect();
            let help = format!("{}{}", did_you_mean(port, names.iter().copied()), known_list(names));
            self.report(one, field, format!("{} has no port named \"{}\"", service.id(), shown(port)), help);
        }
    }

    fn currency(&mut self, one: &Declared, field: &str, written: Currency, site: &Declared) {
        let Some(spec) = site.site() else { return };
        if written != spec.currency {
            let message = format!("{written}, but {} counts in {}", site.id(), spec.currency);
            self.report(one, field, message, format!("expected {}", spec.currency));
        }
    }

    fn service(&mut self, one: &'a Declared, spec: &'a ServiceSpec) {
        for (i, name) in spec.depends_on.iter().enumerate() {
            self.find(one, &format!("spec.dependsOn[{i}]"), Kind::Service, name);
        }
        if let Some(clock) = &spec.clock {
            self.find(one, "spec.clock.site", Kind::Site, &clock.site);
            if let Some(port) = &clock.port {
                self.port(one, "spec.clock.port", one, port);
            }
        }
        if let Some(batch) = &spec.batch {
            let site = self.find(one, "spec.batch.site", Kind::Site, &batch.site);
            if let (Some(site), Some(value)) = (site, batch.value) {
                self.currency(one, "spec.batch.value", value.currency, site);
            }
        }
        if let Some(slowdown) = &spec.slowdown {
            let site = self.find(one, "spec.slowdown.site", Kind::Site, &slowdown.site);
            if let (Some(site), Some(value)) = (site, slowdown.value) {
                self.currency(one, "spec.slowdown.value", value.currency, site);
            }
        }
        self.service_probes(one, spec);
        self.service_texts(one, spec);
        self.service_secrets(one, spec);
    }

    fn service_probes(&mut self, one: &Declared, spec: &ServiceSpec) {
        for (key, probe) in spec.probes.iter() {
            let (action, port) = match &probe.action {
                ProbeAction::Http(http) => ("http", &http.port),
                ProbeAction::Tcp(tcp) => ("tcp", &tcp.port),
                ProbeAction::Exec(exec) => {
                    for (i, text) in exec.command.iter().enumerate() {
                        self.text(one, &format!("spec.probes.{key}.exec.command[{i}]"), text);
                    }
                    continue;
                }
            };
            if let PortRef::Name(name) = port {
                self.port(one, &format!("spec.probes.{key}.{action}.port"), one, name);
            }
        }
    }

    fn service_texts(&mut self, one: &Declared, spec: &ServiceSpec) {
        for (i, text) in spec.command.iter().enumerate() {
            self.text(one, &format!("spec.command[{i}]"), text);
        }
        for (i, text) in spec.args.iter().enumerate() {
            self.text(one, &format!("spec.args[{i}]"), text);
        }
        for (key, text) in &spec.config {
            self.text(one, &format!("spec.config.{key}"), text);
        }
        for (i, variable) in spec.env.iter().enumerate() {
            if let EnvSource::Value(text) = &variable.source {
                self.text(one, &format!("spec.env[{i}].value"), text);
            }
        }
    }

    /// Checks the `${…}` of a text.
    fn text(&mut self, one: &Declared, field: &str, text: &str) {
        match references(text) {
            Err(wrong) => {
                for message in wrong {
                    let (message, help) = message.split_once("; ").unwrap_or((&message, ""));
                    self.report(one, field, message, help);
                }
            }
            Ok(found) => {
                for reference in found {
                    match reference {
                        Reference::Port(port) => self.port(one, field, one, &port),
                        Reference::Service { service, port } => {
                            if let Some(other) = self.find(one, field, Kind::Service, &service) {
                                self.port(one, field, other, &port);
                            }
                        }
                        Reference::DataDir | Reference::SelfBinary => {}
                    }
                }
            }
        }
    }

    fn service_secrets(&mut self, one: &Declared, spec: &ServiceSpec) {
        for (i, variable) in spec.env.iter().enumerate() {
            let EnvSource::ValueFrom(ValueFrom::Secret(wanted)) = &variable.source else { continue };
            self.secret_key(one, &format!("spec.env[{i}].valueFrom.secret"), wanted);
        }
        for (path, wanted) in spec.calls.secrets() {
            self.secret_key(one, &format!("spec.calls.{path}"), wanted);
        }
        if let Some(PortRef::Name(name)) = spec.contract.as_ref().and_then(|contract| contract.port.as_ref())
        {
            self.port(one, "spec.contract.port", one, name);
        }
        let Some(metrics) = &spec.metrics else { return };
        if let Some(wanted) = &metrics.token {
            self.secret_key(one, "spec.metrics.token", wanted);
        }
        if let Some(PortRef::Name(name)) = &metrics.port {
            self.port(one, "spec.metrics.port", one, name);
        }
    }

    fn secret_key(&mut self, one: &Declared, field: &str, wanted: &SecretKey) {
        let secret = self.find(one, &format!("{field}.name"), Kind::Secret, &wanted.name);
        let Some(data) = secret.and_then(Declared::secret).map(|secret| &secret.data) else { return };
        if !data.contains_key(&wanted.key) {
            let names = || data.keys().map(String::as_str);
            let help = format!("{}{}", did_you_mean(&wanted.key, names()), known_list(names()));
            let message = format!("Secret/{} has no key \"{}\"", wanted.name, shown(&wanted.key));
            self.report(one, &format!("{field}.key"), message, help);
        }
    }

    fn notifier(&mut self, one: &Declared, spec: &NotifierSpec) {
        for (path, wanted) in spec.receiver.secrets() {
            self.secret_key(one, &format!("spec.{path}"), wanted);
        }
        for (i, step) in spec.escalation.iter().enumerate() {
            let field = format!("spec.escalation[{i}].notifier");
            let Some(other) = self.find(one, &field, Kind::Notifier, &step.notifier) else { continue };
            if other.notifier().is_some_and(|other| matches!(other.receiver, Receiver::Heartbeat(_))) {
                let message = format!("Notifier/{} is a heartbeat", step.notifier);
                self.report(one, &field, message, "it is told of no alerts; name another one");
            }
        }
    }

    fn site(&mut self, one: &'a Declared, spec: &'a SiteSpec) {
        if let Some(connection) = &spec.connection {
            self.connection(one, connection);
        }
        let amounts = [
            ("spec.carbonPrice", spec.carbon_price.map(|price| price.currency)),
            (
                "spec.carbonCap.price",
                spec.carbon_cap.as_ref().and_then(|cap| cap.price).map(|price| price.currency),
            ),
            (
                "spec.spinningReserve.price",
                spec.spinning_reserve.as_ref().and_then(|reserve| reserve.price).map(|price| price.currency),
            ),
            ("spec.valueOfLostLoad", spec.value_of_lost_load.map(|price| price.currency)),
        ];
        for (field, currency) in amounts {
            if let Some(currency) = currency {
                self.currency(one, field, currency, one);
            }
        }
        self.feeders(one, spec);
        self.counts_carbon(one, spec);
    }

    /// A price or a limit on emissions has something to count. An island may get its generators later.
    fn counts_carbon(&mut self, one: &'a Declared, spec: &'a SiteSpec) {
        let Some(connection) = &spec.connection else { return };
        let feeders = spec.feeders.iter().map(|feeder| &feeder.carbon_intensity);
        let assets = self.index.get(&Kind::Asset).into_iter().flat_map(BTreeMap::values);
        let mut assets = assets.filter_map(|entry| entry.resource?.asset());
        let emits = |asset: &AssetSpec| {
            let AssetModel::Generator(generator) = asset.model() else { return false };
            asset.site.as_str() == one.name.as_str() && generator.emissions > CarbonIntensity::ZERO
        };
        let counted = std::iter::once(&connection.carbon_intensity).chain(feeders).any(Option::is_some);
        if counted || assets.any(emits) {
            return;
        }
        let priced = spec.carbon_price.is_some_and(|price| price.value > CarbonPrice::ZERO);
        let fields = [("spec.carbonPrice", priced), ("spec.carbonCap", spec.carbon_cap.is_some())];
        for (field, _) in fields.iter().filter(|(_, set)| *set) {
            let help = "set spec.connection.carbonIntensity, such as { fixed: 0.35 kg/kWh } or { signal: NAME }, or take it out";
            self.report(one, field, "nothing is known to emit: without it all emissions count as 0 kg", help);
        }
    }

    fn connection(&mut self, one: &'a Declared, connection: &'a Connection) {
        self.price(one, "spec.connection.importPrice", Some(&connection.import_price));
        self.price(one, "spec.connection.exportPrice", connection.export_price.as_ref());
        if let Some(CarbonSource::Signal(name)) = &connection.carbon_intensity {
            self.signal(one, "spec.connection.carbonIntensity.signal", name, false);
        }
        let amounts = [
            ("spec.connection.limitBreachPrice", connection.limit_breach_price.map(|price| price.currency)),
            ("spec.connection.importLevy", connection.import_levy.map(|price| price.currency)),
            ("spec.connection.rampPrice", connection.ramp_price.map(|price| price.currency)),
        ];
        for (field, currency) in amounts {
            if let Some(currency) = currency {
                self.currency(one, field, currency, one);
            }
        }
        self.charges(one, "spec.connection", &connection.charges);
    }

    fn feeders(&mut self, one: &'a Declared, spec: &'a SiteSpec) {
        for (i, feeder) in spec.feeders.iter().enumerate() {
            let field = format!("spec.feeders[{i}]");
            self.price(one, &format!("{field}.importPrice"), feeder.import_price.as_ref());
            self.price(one, &format!("{field}.exportPrice"), feeder.export_price.as_ref());
            if let Some(CarbonSource::Signal(name)) = &feeder.carbon_intensity {
                self.signal(one, &format!("{field}.carbonIntensity.signal"), name, false);
            }
            self.charges(one, &field, &feeder.charges);
            if spec.feeders.iter().take(i).any(|other| other.name == feeder.name) {
                let message = format!("feeder {} is declared twice", feeder.name);
                self.report(one, &format!("{field}.name"), message, "rename one of them");
            }
            let Some(behind) = &feeder.behind else { continue };
            // A feeder stands after the one that it is behind, so that none is behind itself.
            let earlier = || spec.feeders.iter().take(i).map(|other| other.name.as_str());
            if !earlier().any(|name| name == behind.as_str()) {
                let help = format!(
                    "{}{}; list it after the one that it is behind",
                    did_you_mean(behind, earlier()),
                    known_list(earlier())
                );
                let message = format!("there is no feeder {behind} before it");
                self.report(one, &format!("{field}.behind"), message, help);
            }
        }
        let all = spec
            .connection
            .iter()
            .flat_map(|one| &one.charges)
            .chain(spec.feeders.iter().flat_map(|feeder| &feeder.charges));
        let mut names = BTreeSet::new();
        for charge in all {
            if !names.insert(charge.name.as_str()) {
                let message = format!("charge {} is declared twice", charge.name);
                self.report(one, "spec", message, "rename one of them");
            }
        }
    }

    fn charges(&mut self, one: &'a Declared, field: &str, charges: &[Charge]) {
        for (i, charge) in charges.iter().enumerate() {
            let (key, currency) = match &charge.on {
                Charged::Peak(peak) => ("peak", peak.price.currency),
                Charged::Tier(tier) => ("tier", tier.price.currency),
            };
            self.currency(one, &format!("{field}.charges[{i}].{key}.price"), currency, one);
        }
    }

    fn price(&mut self, one: &'a Declared, field: &str, price: Option<&'a PriceSource>) {
        match price {
            Some(PriceSource::Signal(name)) => self.signal(one, &format!("{field}.signal"), name, true),
            Some(PriceSource::Fixed(price)) => {
                self.currency(one, &format!("{field}.fixed"), price.currency, one);
            }
            None => {}
        }
    }

    /// A signal that must be a price in the site's currency, or a carbon intensity.
    fn signal(&mut self, site: &'a Declared, field: &str, name: &str, price: bool) {
        let found = self.find(site, field, Kind::Signal, name).and_then(Declared::signal);
        let Some(unit) = found.map(|signal| &signal.unit) else { return };
        match unit.dimension {
            Dimension::Price(currency) if price => self.currency(site, field, currency, site),
            Dimension::CarbonIntensity if !price => {}
            _ => {
                let expected =
                    if price { "a price, such as USD/kWh" } else { "a carbon intensity, such as kg/kWh" };
                let message = format!("Signal/{} is in {}", shown(name), shown(&unit.text));
                self.report(site, field, message, format!("expected {expected}"));
            }
        }
    }

    fn asset(&mut self, one: &'a Declared, spec: &'a AssetSpec) {
        let site = self.find(one, "spec.site", Kind::Site, &spec.site);
        if let (Some(site), Some(battery)) = (site, &spec.battery) {
            self.battery_prices(one, "spec.battery", battery, site);
        }
        if let (Some(site), Some(vehicle)) = (site, &spec.vehicle) {
            self.battery_prices(one, "spec.vehicle", &vehicle.battery, site);
            for (i, trip) in vehicle.trips.iter().enumerate() {
                if let Some(price) = trip.price {
                    self.currency(one, &format!("spec.vehicle.trips[{i}].price"), price.currency, site);
                }
            }
            for (i, routine) in vehicle.routine.iter().enumerate() {
                if let Some(price) = routine.price {
                    self.currency(one, &format!("spec.vehicle.routine[{i}].price"), price.currency, site);
                }
            }
        }
        if let (Some(site), Some(pump)) = (site, &spec.heat_pump) {
            self.heat_pump(one, pump, site);
        }
        if let (Some(site), Some(feeder)) = (site.and_then(Declared::site), &spec.feeder) {
            let names = || site.feeders.iter().map(|feeder| feeder.name.as_str());
            if !names().any(|name| name == feeder.as_str()) {
                let help = format!("{}{}", did_you_mean(feeder, names()), known_list(names()));
                self.report(one, "spec.feeder", format!("Site/{} has no feeder {feeder}", spec.site), help);
            }
        }
        if let (Some(site), Some(generator)) = (site, &spec.generator) {
            self.generator_prices(one, generator, site);
        }
        self.expected_power(one, spec);
        if let Some(via) = &spec.via {
            let adapter = self.find(one, "spec.via.service", Kind::Service, &via.service);
            if adapter.and_then(Declared::service).is_some_and(|service| !service.adapter.is_on()) {
                let message = format!("Service/{} is not an adapter", via.service);
                self.report(one, "spec.via.service", message, "expected a service with adapter: true");
            }
            if let (DeviceHost::Service(name), PortRef::Name(port)) = (&via.device.at, &via.device.port)
                && let Some(device) = self.find(one, "spec.via.device.service", Kind::Service, name)
            {
                self.port(one, "spec.via.device.port", device, port);
            }
        }
        self.net_of(one, spec);
    }

    fn generator_prices(&mut self, one: &'a Declared, generator: &Generator, site: &'a Declared) {
        let sums = [("idleCost", generator.idle_cost), ("startCost", generator.start_cost)];
        for (field, sum) in sums {
            if let Some(sum) = sum {
                self.currency(one, &format!("spec.generator.{field}"), sum.currency, site);
            }
        }
        for (i, piece) in generator.fuel_cost.iter().enumerate() {
            self.currency(one, &format!("spec.generator.fuelCost[{i}].price"), piece.price.currency, site);
        }
    }

    fn battery_prices(&mut self, one: &'a Declared, at: &str, battery: &Battery, site: &'a Declared) {
        let mut prices = vec![
            (format!("{at}.wearCost"), battery.wear_cost),
            (format!("{at}.endValue"), battery.end_value),
            (format!("{at}.holdingCost"), battery.holding_cost),
        ];
        let targets = battery.targets.iter().enumerate();
        prices.extend(targets.map(|(i, target)| (format!("{at}.targets[{i}].price"), target.price)));
        let wear = battery.wear_above.iter().enumerate();
        prices.extend(wear.map(|(i, wear)| (format!("{at}.wearAbove[{i}].price"), Some(wear.price))));
        for (field, price) in prices {
            if let Some(price) = price {
                self.currency(one, &field, price.currency, site);
            }
        }
    }

    fn heat_pump(&mut self, one: &'a Declared, pump: &'a HeatPump, site: &'a Declared) {
        for (key, price) in [("lackPrice", pump.lack_price), ("endValue", pump.end_value)] {
            if let Some(price) = price {
                self.currency(one, &format!("spec.heatPump.{key}"), price.currency, site);
            }
        }
        if let NumberSource::Signal(name) = &pump.cop {
            self.of_dimension(
                one,
                "spec.heatPump.cop.signal",
                name,
                Dimension::Number,
                "a number without unit, \"1\"",
            );
        }
        let (field, power) = match &pump.heats {
            Heated::Tank(tank) => ("spec.heatPump.heats.tank.demand", tank.demand.as_ref()),
            Heated::Building(building) => {
                if let TemperatureSource::Signal(name) = &building.outside {
                    let field = "spec.heatPump.heats.building.outside.signal";
                    self.of_dimension(one, field, name, Dimension::Temperature, "a temperature, °C");
                }
                ("spec.heatPump.heats.building.gains", building.gains.as_ref())
            }
        };
        if let Some(PowerSource::Signal(name)) = power {
            self.of_dimension(one, &format!("{field}.signal"), name, Dimension::Power, "a power, such as kW");
        }
    }

    /// A signal that must measure something.
    fn of_dimension(
        &mut self,
        one: &'a Declared,
        field: &str,
        name: &'a str,
        dimension: Dimension,
        expected: &str,
    ) {
        let found = self.find(one, field, Kind::Signal, name).and_then(Declared::signal);
        let Some(unit) = found.map(|signal| &signal.unit).filter(|unit| unit.dimension != dimension) else {
            return;
        };
        let message = format!("Signal/{} is in {}", shown(name), shown(&unit.text));
        self.report(one, field, message, format!("expected {expected}"));
    }

    /// A signal of expected power must be a power.
    fn expected_power(&mut self, one: &'a Declared, spec: &AssetSpec) {
        let power = spec.power.as_ref().map(|source| ("spec.power", source));
        for (field, source) in power.into_iter().chain(spec.available_power()) {
            let PowerSource::Signal(name) = source else { continue };
            let field = format!("{field}.signal");
            let found = self.find(one, &field, Kind::Signal, name).and_then(Declared::signal);
            let Some(unit) = found.map(|signal| &signal.unit) else { continue };
            if unit.dimension != Dimension::Power {
                let message = format!("Signal/{} is in {}", shown(name), shown(&unit.text));
                self.report(one, &field, message, "expected a power, such as kW");
            }
        }
    }

    fn net_of(&mut self, one: &'a Declared, spec: &AssetSpec) {
        for (i, name) in spec.net_of.iter().enumerate() {
            let field = format!("spec.netOf[{i}]");
            if spec.net_of[..i].contains(name) {
                self.report(one, &field, format!("\"{name}\" is named twice"), "name each asset once");
            }
            let other = self.find(one, &field, Kind::Asset, name).and_then(Declared::asset);
            if let Some(other) = other.filter(|other| other.site != spec.site) {
                let message = format!(
                    "Asset/{name} belongs to the site \"{}\", this one to \"{}\"",
                    other.site, spec.site
                );
                self.report(one, &field, message, "expected an asset of the same site");
            }
            if other.is_some_and(|other| {
                other.r#type == AssetType::Load && !other.net_of.is_empty() && name != &one.name
            }) {
                let message = format!("Asset/{name} is itself measured together with others");
                self.report(one, &field, message, "expected assets that are measured by themselves");
            }
        }
    }

    fn rule(&mut self, one: &'a Declared, spec: &RuleSpec) {
        if let RuleWhen::Event(event) = &spec.when
            && event.channel() != WorkflowSpec::CHANNEL
        {
            self.find(one, "spec.when.event.channel", Kind::Channel, event.channel());
        }
        for (index, action) in spec.then.iter().enumerate() {
            let at = |field: &str| format!("spec.then[{index}].{field}");
            match action {
                RuleAction::Workflow(action) => {
                    self.find(one, &at("workflow.name"), Kind::Workflow, &action.name)
                }
                RuleAction::Call(action) => {
                    self.find(one, &at("call.service"), Kind::Service, &action.service)
                }
                RuleAction::Notify(action) => {
                    self.find(one, &at("notify.notifier"), Kind::Notifier, &action.notifier)
                }
                RuleAction::Publish(action) if action.channel() == WorkflowSpec::CHANNEL => continue,
                RuleAction::Publish(action) => {
                    self.find(one, &at("publish.channel"), Kind::Channel, action.channel())
                }
                // Which one an expression names is known when something happens.
                RuleAction::Override(action) if action.asset.contains("${") => continue,
                RuleAction::Override(action) => {
                    let asset = self.find(one, &at("override.asset"), Kind::Asset, &action.asset);
                    let (Some(asset), RuleOrder::Power(power)) =
                        (asset.and_then(Declared::asset), &action.what)
                    else {
                        continue;
                    };
                    if let Some((message, help)) = refused(&action.asset, asset, *power) {
                        self.report(one, &at("override.power"), message, help);
                    }
                    continue;
                }
            };
        }
    }

    fn workflow(&mut self, one: &'a Declared, spec: &WorkflowSpec) {
        if spec.channel() != WorkflowSpec::CHANNEL {
            self.find(one, "spec.channel", Kind::Channel, spec.channel());
        }
        if let Some(flexible) = &spec.flexible {
            let site = self.find(one, "spec.flexible.site", Kind::Site, &flexible.site);
            if let (Some(site), Some(value)) = (site, flexible.value) {
                self.currency(one, "spec.flexible.value", value.currency, site);
            }
        }
        if let Some(channel) = spec.lifecycle().filter(|channel| *channel != WorkflowSpec::CHANNEL) {
            self.find(one, "spec.lifecycle.channel", Kind::Channel, channel);
        }
    }

    /// An order about an asset: one at a time, and only what the asset can ever do.
    fn overriding(&mut self, one: &'a Declared, spec: &OverrideSpec) {
        let asset = self.find(one, "spec.asset", Kind::Asset, &spec.asset).and_then(Declared::asset);
        let others = self.index.get(&Kind::Override).into_iter().flat_map(BTreeMap::values);
        let other = others.filter_map(|entry| entry.resource).find(|other| {
            other.name != one.name && other.overriding().is_some_and(|o| o.asset == spec.asset)
        });
        if let Some(other) = other {
            let message = format!("Asset/{} has an order already: {}", spec.asset, other.id());
            let help = "an asset has one at a time: take the same name to replace it, or delete it";
            self.report(one, "spec.asset", message, help);
        }
        let (Some(asset), OverrideValue::Power(power)) = (asset, &spec.what) else { return };
        if let Some((message, help)) = refused(&spec.asset, asset, *power) {
            self.report(one, "spec.power", message, help);
        }
    }

    /// Fixed ports that two services of this machine want.
    fn fixed_ports(&mut self) {
        let mut taken: BTreeMap<u16, (&'a Declared, String)> = BTreeMap::new();
        let services = self.index.get(&Kind::Service).cloned().unwrap_or_default();
        // Stored ones first, so that the problem is reported where something can be changed.
        let (stored, new): (Vec<_>, Vec<_>) = services.into_values().partition(|entry| entry.stored);
        for entry in stored.into_iter().chain(new) {
            let Some((one, spec)) = entry.resource.and_then(|one| one.service().map(|spec| (one, spec)))
            else {
                continue;
            };
            if spec.external.is_some() {
                continue;
            }
            for (i, port) in spec.ports.iter().enumerate() {
                let Some(number) = port.port else { continue };
                match taken.get(&number) {
                    Some((other, name)) if other.name != one.name => {
                        if !entry.stored {
                            let message =
                                format!("port {number} is also the port \"{name}\" of {}", other.id());
                            let help = "choose another number, or leave it out to get a free one";
                            self.report(one, &format!("spec.ports[{i}].port"), message, help);
                        }
                    }
                    _ => {
                        taken.insert(number, (one, port.name.to_string()));
                    }
                }
            }
        }
    }

    /// Reports every circle of references within a kind once, at its first member.
    fn cycles(&mut self, field: &str, what: &str, kind: Kind, edges: impl Fn(&'a Declared) -> Vec<&'a str>) {
        let Some(entries) = self.index.get(&kind) else { return };
        let resources: BTreeMap<&str, Entry<'a>> = entries.clone();
        let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (name, entry) in &resources {
            let to = entry.resource.map(&edges).unwrap_or_default();
            graph.insert(name, to.into_iter().filter(|to| resources.contains_key(to)).collect());
        }
        for cycle in cycles_of(graph) {
            let declared = |name: &&str| {
                resources.get(name).filter(|entry| !entry.stored).and_then(|entry| entry.resource)
            };
            let Some(start) = cycle.iter().position(|name| declared(name).is_some()) else { continue };
            let Some(one) = declared(&cycle[start]) else { continue };
            let path: Vec<&str> = (0..=cycle.len()).map(|i| cycle[(start + i) % cycle.len()]).collect();
            let next = path[1];
            let index = edges(one).iter().position(|to| *to == next).unwrap_or_default();
            let message = format!("{what}: {}", path.join(" → "));
            self.report(one, &format!("{field}[{index}]"), message, "remove one of them");
        }
    }
}

/// Why a power can never be ordered of an asset, with what to do instead.
fn refused(name: &str, asset: &AssetSpec, power: Power) -> Option<(String, String)> {
    if asset.mode != Mode::Control {
        let message = format!("Asset/{name} is not commanded: its mode is {}", asset.mode);
        let help = match asset.r#type {
            AssetType::Load => "a load is not commanded; only a hold can be ordered of it",
            _ => "set mode: control in its manifest; only a hold can be ordered of it as it is",
        };
        return Some((message, help.to_owned()));
    }
    let (low, high) = match asset.model() {
        AssetModel::Battery(battery) => (-battery.max_charge, battery.max_discharge),
        AssetModel::Solar(solar) if solar.curtailable => (Power::ZERO, solar.peak_power),
        AssetModel::Wind(wind) if wind.curtailable => (Power::ZERO, wind.rated_power),
        AssetModel::Generator(generator) => (Power::ZERO, generator.max_power),
        AssetModel::Vehicle(vehicle) => (-vehicle.battery.max_charge, vehicle.battery.max_discharge),
        AssetModel::HeatPump(pump) => (-pump.max_power, Power::ZERO),
        AssetModel::Solar(_) | AssetModel::Wind(_) | AssetModel::Load => {
            let message = format!("the power of Asset/{name} cannot be chosen");
            let help = "expected a battery, a vehicle, a heat pump, a generator, or a solar plant or wind turbine with curtailable: true";
            return Some((message, help.to_owned()));
        }
    };
    let message = format!("Asset/{name} can never have {power:.3}");
    if power < low || power > high {
        return Some((message, format!("expected {low:.3} … {high:.3}; above zero flows into the site")));
    }
    let least = least(asset.model(), power);
    (power != Power::ZERO && power.abs() < least).then(|| {
        let help = format!("expected 0 kW, or at least {least:.3}, the least it runs with");
        (message, help)
    })
}

/// The least that something runs with in the direction of a power, as a size.
fn least(model: AssetModel<'_>, power: Power) -> Power {
    let charging = power < Power::ZERO;
    match model {
        AssetModel::Generator(generator) => generator.min_power,
        AssetModel::Vehicle(vehicle) if charging => vehicle.min_charge,
        AssetModel::HeatPump(pump) => pump.min_power,
        _ => Power::ZERO,
    }
}

/// The circles of a graph, each starting at its smallest member; circles that share members count once.
fn cycles_of<'a>(mut graph: BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<Vec<&'a str>> {
    let mut cycles = Vec::new();
    loop {
        remove_ends(&mut graph);
        // Every name that is left leads to another one that is left, so that a walk must come back.
        let Some(mut at) = graph.keys().next().copied() else { return cycles };
        let mut walk: Vec<&str> = Vec::new();
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        while !seen.contains_key(at) {
            seen.insert(at, walk.len());
            walk.push(at);
            match graph.get(at).and_then(|to| to.first()) {
                Some(next) => at = next,
                None => break,
            }
        }
        let mut cycle = walk.split_off(seen.get(at).copied().unwrap_or_default());
        for name in &cycle {
            graph.remove(name);
        }
        let smallest = cycle.iter().enumerate().min_by_key(|(_, name)| **name).map_or(0, |(i, _)| i);
        cycle.rotate_left(smallest);
        cycles.push(cycle);
    }
}

/// Removes, again and again, the names that lead nowhere.
fn remove_ends<'a>(graph: &mut BTreeMap<&'a str, BTreeSet<&'a str>>) {
    let names: BTreeSet<&str> = graph.keys().copied().collect();
    let mut incoming: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in graph.iter_mut() {
        to.retain(|to| names.contains(to));
        for to in to.iter() {
            incoming.entry(to).or_default().push(from);
        }
    }
    let mut ends: Vec<&str> = graph.iter().filter(|(_, to)| to.is_empty()).map(|(name, _)| *name).collect();
    while let Some(end) = ends.pop() {
        graph.remove(end);
        for from in incoming.remove(end).unwrap_or_default() {
            if let Some(to) = graph.get_mut(from) {
                to.remove(end);
                if to.is_empty() {
                    ends.push(from);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&'static str, &[&'static str])]) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
        edges.iter().map(|(from, to)| (*from, to.iter().copied().collect())).collect()
    }

    #[test]
    fn every_circle_is_found_and_chains_are_none() {
        let found = cycles_of(graph(&[
            ("a", &["b"]),
            ("b", &["c"]),
            ("c", &["b"]),
            ("d", &["d"]),
            ("e", &["a", "f"]),
            ("f", &[]),
        ]));
        assert_eq!(found, [vec!["b", "c"], vec!["d"]]);
    }
}
