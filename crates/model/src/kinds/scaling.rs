//! How many replicas of a `Service` run and how large they are, as declared.

use jiff::SignedDuration;
use jiff::civil::Time;
use sos_units::{CarbonIntensity, Power};

use super::signal::{Dimension, SignalUnit};
use crate::declare::{choice, record, words};
use crate::field::{Cx, Field};
use crate::node::Node;
use crate::problem::{Position, Problem};
use crate::quantity::{Bytes, Cpu, EmissionRate, Fraction, Number, RequestRate};
use crate::scalar::{Name, ReplicaAmount, Switch, ZoneName};
use crate::schema::{ABOVE_ZERO, NOT_NEGATIVE, Range};
use crate::yaml;

const REPLICAS: Range = Range::between(0.0, 1000.0);

record! {
    /// How many replicas run: the metrics decide as the horizontal pod autoscaler of Kubernetes does, the forecast raises the
    /// floor, carbon and power cap it. `sos scale SERVICE --replicas N` takes over from it.
    pub struct Scaling checked by check_scaling {
        /// Fewest replicas, 0 … 1000; with 0 the service sleeps while nobody asks for it, which needs a `gateway`.
        min: u32 = 1, in REPLICAS;
        /// Most replicas, 1 … 1000.
        max: u32, in Range::between(1.0, 1000.0);
        /// Requests that one replica can serve, such as `20/s`. Needed by `predictive`, `cap`, `min: 0` and the metric
        /// `requests`.
        capacity: Option<RequestRate>, in ABOVE_ZERO;
        /// What is followed; of several, the one that asks for the most counts. Default: `requests` where there is a
        /// `capacity`.
        metrics: Vec<ScalingMetric> = Vec::new();
        /// How fast it goes up. Default: as in Kubernetes, at once, doubling or 4 replicas in 15 s.
        up: Option<ScalingRules>;
        /// How fast it goes down. Default: as in Kubernetes, after 5 min at the highest of that time; with `predictive` 2 min.
        down: Option<ScalingRules>;
        /// Time between two decisions.
        every: SignedDuration = SignedDuration::from_secs(15), in Range::between(1.0, 3600.0);
        /// The forecast of requests raises the floor, ahead by the time that a replica needs to start.
        predictive: Switch<Predictive> = Switch::off();
        /// Weekly windows with other bounds.
        schedules: Vec<ScalingWindow> = Vec::new();
        /// Time zone of the windows.
        time_zone: Option<ZoneName>;
        /// A cap by carbon and power that leaves what the guarantee needs.
        cap: Option<ScalingCap>;
        /// How long nobody has asked before the last replica goes, where `min` is 0.
        idle: SignedDuration = SignedDuration::from_mins(5), in NOT_NEGATIVE;
    }
}

choice! {
    /// What is followed.
    pub enum ScalingMetric {
        /// Processor time, as a share of the limit in `resources.cpu`.
        Cpu(UtilizationTarget),
        /// Memory, as a share of the limit in `resources.memory`.
        Memory(UtilizationTarget),
        /// Requests at the gateway, as a share of `capacity`.
        Requests(UtilizationTarget),
        /// The value of a query.
        Query(QueryTarget),
    }
}

record! {
    /// A share that is aimed at.
    pub struct UtilizationTarget {
        /// The share, such as `80 %`, in whole per cent; above zero.
        target: Fraction, in ABOVE_ZERO;
    }
}

record! {
    /// The value of a query that is aimed at.
    pub struct QueryTarget {
        /// In PromQL; its one value, or the sum of its values, is taken.
        promql: String;
        /// The value for one replica: the replicas are the value divided by it.
        per_replica: Number, in ABOVE_ZERO;
    }
}

record! {
    /// How fast the number of replicas changes in one direction.
    pub struct ScalingRules {
        /// The highest (on the way down) or lowest (on the way up) wish of this time counts; 0 s … 1 h.
        window: Option<SignedDuration>, in Range::between(0.0, 3600.0);
        /// Which of the steps counts.
        select: StepChoice = StepChoice::Max;
        /// How many replicas may come or go in a time.
        steps: Vec<ScalingStep> = Vec::new();
        /// By how much a metric may differ from its target before anything changes. Default: `10 %`.
        tolerance: Option<Fraction>;
    }
}

words! {
    /// Which step counts.
    pub enum StepChoice as "choice" {
        /// The one that allows the most.
        Max,
        /// The one that allows the least.
        Min,
        /// None: the number does not change in this direction.
        Disabled,
    }
}

record! {
    /// How many replicas may come or go in a time.
    pub struct ScalingStep {
        /// A number, or a share of the present ones.
        replicas: ReplicaAmount;
        /// In this time, 1 s … 30 min.
        within: SignedDuration, in Range::between(1.0, 1800.0);
    }
}

record! {
    /// How the forecast of requests is used.
    pub struct Predictive {
        /// Chance with which requests stay below what the floor can serve, 50 % … below 100 %.
        quantile: Fraction = Fraction::new(0.99), in Range { min: Some(0.5), above: false, max: Some(0.9999) };
        /// Time looked ahead beyond the measured start-up time.
        margin: SignedDuration = SignedDuration::from_secs(15), in Range::between(0.0, 3600.0);
        /// Shown only; it decides nothing.
        observe: bool = false;
    }
}

record! {
    /// A weekly window with other bounds.
    pub struct ScalingWindow {
        /// Its name, for people.
        name: String;
        /// Days on which it opens. Default: all.
        days: Vec<Weekday> = Vec::new();
        /// Opens at this time of day, such as `"07:30"`.
        from: Time;
        /// Closes at this time of day, the next day where it is not after `from`.
        to: Time;
        /// Fewest replicas while it is open.
        min: Option<u32>, in REPLICAS;
        /// Most replicas while it is open.
        max: Option<u32>, in REPLICAS;
    }
}

words! {
    /// A day of the week.
    pub enum Weekday as "day" {
        /// Monday.
        Mon,
        /// Tuesday.
        Tue,
        /// Wednesday.
        Wed,
        /// Thursday.
        Thu,
        /// Friday.
        Fri,
        /// Saturday.
        Sat,
        /// Sunday.
        Sun,
    }
}

impl Weekday {
    /// Whether it is this day.
    #[must_use]
    pub fn is(self, day: jiff::civil::Weekday) -> bool {
        let place = Self::ALL.iter().position(|one| *one == self);
        place == usize::try_from(day.to_monday_zero_offset()).ok()
    }
}

record! {
    /// A cap by carbon and power.
    pub struct ScalingCap checked by check_cap {
        /// Name of the `Site` whose carbon intensity counts. Default: the only one.
        site: Option<Name>;
        /// Most replicas by carbon intensity, ascending; above the last the last holds.
        carbon: Vec<CarbonStep> = Vec::new();
        /// Most emissions, such as `0.5 kg/h`.
        emissions: Option<EmissionRate>, in NOT_NEGATIVE;
        /// Most power, such as `2 kW`.
        power: Option<Power>, in NOT_NEGATIVE;
        /// Power of a busy replica; needed by the two above.
        power_per_replica: Option<Power>, in ABOVE_ZERO;
        /// Share of the time in which the ready replicas must be able to serve what is asked; the cap never goes below what
        /// that needs.
        guarantee: Fraction = Fraction::new(0.95), in Range { min: Some(0.5), above: false, max: Some(0.9999) };
    }
}

record! {
    /// Most replicas up to a carbon intensity.
    pub struct CarbonStep {
        /// Carbon intensity, such as `300 g/kWh`.
        up_to: CarbonIntensity, in NOT_NEGATIVE;
        /// Most replicas.
        max: u32, in REPLICAS;
    }
}

record! {
    /// How large replicas are: limits of processor and memory by what is used, as the vertical pod autoscaler decides.
    pub struct Sizing {
        /// What is done with a recommendation.
        mode: SizingMode = SizingMode::Recommend;
        /// Least processor time.
        min_cpu: Option<Cpu>;
        /// Most processor time.
        max_cpu: Option<Cpu>;
        /// Least memory.
        min_memory: Option<Bytes>, in ABOVE_ZERO;
        /// Most memory.
        max_memory: Option<Bytes>, in ABOVE_ZERO;
    }
}

words! {
    /// What is done with a recommendation.
    pub enum SizingMode as "mode" {
        /// It is shown.
        Recommend,
        /// Limits change while replicas run, where what runs them can; nothing is restarted.
        InPlace,
        /// Limits change in place where that can be, else by a rollout.
        Auto,
    }
}

record! {
    /// A policy to be played over recorded load: `sos scale replay POLICY.yaml TRACE.csv`.
    pub struct ReplaySpec checked by check_replay {
        /// Requests that one replica can serve, such as `20/s`.
        capacity: RequestRate, in ABOVE_ZERO;
        /// Time from the order to the readiness of a replica.
        start_up: SignedDuration, in Range::between(0.0, 3600.0);
        /// Power of one replica.
        power: ReplicaPower;
        /// Carbon intensity of its electricity.
        carbon: ReplayCarbon;
        /// Fewest replicas.
        min: u32 = 1, in Range::between(0.0, 1_000_000.0);
        /// Most replicas.
        max: u32 = 1000, in Range::between(1.0, 1_000_000.0);
        /// Replicas at the beginning. Default: those that hold the first load at the target.
        initial: Option<u32>, in Range::between(0.0, 1_000_000.0);
        /// Use of the capacity that is aimed at. Default: `80 %`; with `predictive` all of it, as then the quantile is the
        /// reserve.
        target: Option<Fraction>, in ABOVE_ZERO;
        /// How fast it goes up, as in a `Service`.
        up: Option<ScalingRules>;
        /// How fast it goes down, as in a `Service`.
        down: Option<ScalingRules>;
        /// Time between two decisions.
        every: SignedDuration = SignedDuration::from_secs(15), in Range::between(1.0, 3600.0);
        /// The forecast of requests raises the floor.
        predictive: Switch<Predictive> = Switch::off();
        /// Weekly windows with other bounds.
        schedules: Vec<ScalingWindow> = Vec::new();
        /// Time zone of the windows.
        time_zone: Option<ZoneName>;
        /// A cap by carbon and power.
        cap: Option<ScalingCap>;
        /// How long nobody has asked before the last replica goes, where `min` is 0.
        idle: SignedDuration = SignedDuration::from_mins(5), in NOT_NEGATIVE;
    }
}

record! {
    /// Power of one replica.
    pub struct ReplicaPower checked by check_power {
        /// Without work.
        idle: Power, in NOT_NEGATIVE;
        /// With as much work as it can serve.
        busy: Power, in NOT_NEGATIVE;
    }
}

choice! {
    /// Carbon intensity over time.
    pub enum ReplayCarbon {
        /// The same all the time, such as `300 g/kWh`.
        Fixed(CarbonIntensity),
        /// A column of a CSV file.
        File(CarbonFile),
    }
}

record! {
    /// A column of a CSV file with a header line; times without offset are UTC.
    pub struct CarbonFile checked by check_carbon_file {
        /// Path of the file, relative to the policy.
        path: String;
        /// Name of the column with the values.
        column: String;
        /// Name of the column with the times, each the start of its step.
        time: String = "time".to_owned();
        /// Unit of the values, such as `g/kWh`.
        unit: SignalUnit;
    }
}

impl Scaling {
    /// Whether a decision needs to know how many requests come.
    #[must_use]
    pub fn asks_demand(&self) -> bool {
        self.predictive.is_on()
            || self.cap.is_some()
            || self.min == 0
            || self.metrics.iter().any(|metric| matches!(metric, ScalingMetric::Requests(_)))
    }
}

fn check_scaling(scaling: &Scaling, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    if scaling.max < scaling.min {
        cx.report(at("max"), "max is below min", format!("expected at least {}", scaling.min));
    }
    if scaling.asks_demand() && scaling.capacity.is_none() {
        let help = "expected the requests that one replica can serve, such as capacity: 20/s";
        cx.report(node.position, "\"capacity\" is missing for what looks at requests", help);
    }
    if scaling.metrics.is_empty() && scaling.capacity.is_none() {
        let help = "expected capacity, or metrics such as [{cpu: {target: 80 %}}]";
        cx.report(node.position, "nothing says how many replicas are needed", help);
    }
    check_targets(&scaling.metrics, at("metrics"), cx);
    for (key, rules) in [("up", &scaling.up), ("down", &scaling.down)] {
        check_rules(rules.as_ref(), at(key), cx);
    }
    check_windows(&scaling.schedules, at("schedules"), cx);
}

fn check_targets(metrics: &[ScalingMetric], position: Position, cx: &mut Cx<'_>) {
    for metric in metrics {
        match metric {
            ScalingMetric::Cpu(target) | ScalingMetric::Memory(target) | ScalingMetric::Requests(target) => {
                let percent = target.target.get() * 100.0;
                if percent < 1.0 || (percent - percent.round()).abs() > 1e-9 {
                    cx.report(position, "a target is no whole per cent", "expected such as 80 %");
                }
            }
            ScalingMetric::Query(query) if query.promql.trim().is_empty() => {
                cx.report(position, "a query is empty", "expected PromQL such as sum(queue_length)");
            }
            ScalingMetric::Query(_) => {}
        }
    }
}

fn check_rules(rules: Option<&ScalingRules>, position: Position, cx: &mut Cx<'_>) {
    for step in rules.iter().flat_map(|rules| &rules.steps) {
        if step.replicas == ReplicaAmount::Count(0) || step.replicas == ReplicaAmount::Percent(0) {
            cx.report(position, "a step of no replicas", "expected such as 4 or 100 %, or select: disabled");
        }
    }
}

fn check_windows(windows: &[ScalingWindow], position: Position, cx: &mut Cx<'_>) {
    for window in windows {
        if let (Some(min), Some(max)) = (window.min, window.max)
            && max < min
        {
            let message = format!("in window \"{}\" max is below min", crate::problem::shown(&window.name));
            cx.report(position, message, format!("expected at least {min}"));
        }
        if window.max == Some(0) {
            let message = format!("window \"{}\" has a max of 0", crate::problem::shown(&window.name));
            cx.report(position, message, "expected at least 1");
        }
    }
}

fn check_cap(cap: &ScalingCap, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    if cap.carbon.is_empty() && cap.emissions.is_none() && cap.power.is_none() {
        cx.report(node.position, "the cap caps nothing", "expected carbon, emissions or power");
    }
    if !cap.carbon.windows(2).all(|pair| pair[0].up_to < pair[1].up_to) {
        cx.report(at("carbon"), "the intensities do not ascend", "expected growing upTo");
    }
    if (cap.emissions.is_some() || cap.power.is_some()) && cap.power_per_replica.is_none() {
        let help = "expected the power of a busy replica, such as powerPerReplica: 60 W";
        cx.report(node.position, "\"powerPerReplica\" is missing", help);
    }
}

fn check_replay(replay: &ReplaySpec, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    if replay.max < replay.min {
        cx.report(at("max"), "max is below min", format!("expected at least {}", replay.min));
    }
    if let Some(target) = replay.target {
        let percent = target.get() * 100.0;
        if percent < 1.0 || (percent - percent.round()).abs() > 1e-9 {
            cx.report(at("target"), "target is no whole per cent", "expected such as 90 %");
        }
    }
    for (key, rules) in [("up", &replay.up), ("down", &replay.down)] {
        check_rules(rules.as_ref(), at(key), cx);
    }
    check_windows(&replay.schedules, at("schedules"), cx);
}

fn check_power(power: &ReplicaPower, node: &Node, cx: &mut Cx<'_>) {
    if power.busy < power.idle {
        let position = node.get("busy").map_or(node.position, |n| n.position);
        cx.report(position, "busy is below idle", format!("expected at least {}", power.idle));
    }
}

fn check_carbon_file(file: &CarbonFile, node: &Node, cx: &mut Cx<'_>) {
    if file.unit.dimension != Dimension::CarbonIntensity {
        let position = node.get("unit").map_or(node.position, |n| n.position);
        cx.report(position, "unit is none of carbon intensity", "expected such as g/kWh or kg/MWh");
    }
}

/// Reads a policy of `sos scale replay`, as YAML or JSON.
///
/// # Errors
/// All problems with line and column.
pub fn read_replay(path: &str, bytes: &[u8]) -> Result<ReplaySpec, Vec<Problem>> {
    let documents = yaml::parse(path, bytes)?;
    let mut cx = Cx::new(path);
    let spec = match documents.as_slice() {
        [one] => ReplaySpec::read(one, &mut cx),
        [] => {
            cx.report(Position::NONE, "the policy is empty", "expected capacity, startUp, power and carbon");
            None
        }
        [_, second, ..] => {
            cx.report(second.position, "a second document", "expected one policy");
            None
        }
    };
    let mut problems = cx.into_problems();
    problems.sort();
    match spec {
        Some(spec) if problems.is_empty() => Ok(spec),
        _ => Err(problems),
    }
}
