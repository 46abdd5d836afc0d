//! The autoscaler against tables of cases. With `HPA_ORACLE_DIR` those of that folder, otherwise those of
//! `cases/hpa`. Every case is played and counted; what is not understood fails by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sos_control::Truth;
use sos_control::scale::hpa::{
    Behavior, Bounds, ContainerRequests, DirectionRules, HpaLimit, HpaSpec, HpaState, HpaView, MetricReading,
    MetricSpec, PodPhase, PodTarget, PodView, ReadinessPeriods, ReadyCondition, Recommendation, Sample,
    ScaleEvent, ValueTarget, change_within, limit_legacy, limit_rates, propose, stabilize, stabilize_legacy,
    up_limit,
};

/// Upstream's tables are played on a clock that goes on between the setting up and the look.
const TICK: SignedDuration = SignedDuration::from_millis(1);
const FIVE_MINUTES: SignedDuration = SignedDuration::from_mins(5);

type Verdict = Result<(), String>;

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds) - TICK
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Verdict {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, expected {expected:?}")) }
}

fn read<T: DeserializeOwned>(case: &Value) -> Result<T, String> {
    serde_json::from_value(case.clone()).map_err(|error| error.to_string())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Pod {
    request: Option<i64>,
    usage: Option<i64>,
    ready: bool,
    phase: PodPhase,
    hot: bool,
    deleted: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Calculation {
    #[serde(rename = "test")]
    _test: String,
    #[serde(rename = "note")]
    _note: Option<String>,
    kind: String,
    resource: Option<String>,
    current_replicas: i32,
    target: Option<i64>,
    target_utilization_percent: Option<i32>,
    #[serde(default)]
    values: Vec<i64>,
    #[serde(default)]
    pods: Vec<Pod>,
    expect_replicas: Option<i32>,
    expect_utilization_percent: Option<i32>,
    expect_raw_average_milli: Option<i64>,
    expect_usage: Option<i64>,
    expect_error: Option<String>,
}

impl Calculation {
    fn metric(&self) -> Result<MetricSpec, String> {
        let target = || self.target.ok_or("target is missing");
        let resource = || self.resource.clone().ok_or("resource is missing");
        let percent = || {
            let percent = self.target_utilization_percent.ok_or("targetUtilizationPercent is missing");
            percent.map(PodTarget::AverageUtilization)
        };
        let average = || target().map(PodTarget::AverageValue);
        let name = || "metric".to_owned();
        let container = || "app".to_owned();
        Ok(match self.kind.as_str() {
            "resource_utilization" => MetricSpec::Resource { name: resource()?, target: percent()? },
            "resource_average" => MetricSpec::Resource { name: resource()?, target: average()? },
            "container_resource_utilization" => MetricSpec::ContainerResource {
                name: resource()?,
                container: container(),
                target: percent()?,
            },
            "container_resource_average" => MetricSpec::ContainerResource {
                name: resource()?,
                container: container(),
                target: average()?,
            },
            "pods" => MetricSpec::Pods { name: name(), average_value: target()? },
            "object_value" => MetricSpec::Object { name: name(), target: ValueTarget::Value(target()?) },
            "object_average" => {
                MetricSpec::Object { name: name(), target: ValueTarget::AverageValue(target()?) }
            }
            "external_value" => MetricSpec::External { name: name(), target: ValueTarget::Value(target()?) },
            "external_average" => {
                MetricSpec::External { name: name(), target: ValueTarget::AverageValue(target()?) }
            }
            other => return Err(format!("kind {other:?} is not known")),
        })
    }

    /// Pods and samples. A sample beyond the declared replicas without a request, where others have one, is that of a
    /// pod that the target does not select.
    fn view(&self) -> HpaView {
        let resource = self.resource.clone().unwrap_or_default();
        let some_request = self.pods.iter().any(|pod| pod.request.is_some());
        let mut pods = Vec::new();
        let mut samples = BTreeMap::new();
        for (index, pod) in self.pods.iter().enumerate() {
            let name = format!("pod-{index}");
            if let Some(value) = pod.usage {
                samples
                    .insert(name.clone(), Sample { value, at: now(), window: SignedDuration::from_mins(1) });
            }
            let beyond = i32::try_from(index).unwrap() >= self.current_replicas;
            if !(beyond && some_request && pod.request.is_none() && pod.usage.is_some()) {
                pods.push(pod_view(name, pod, &resource));
            }
        }
        let of_pods = matches!(self.kind.as_str(), "pods") || self.kind.contains("resource");
        let reading = if of_pods {
            MetricReading::Samples { samples }
        } else {
            MetricReading::Values { values: self.values.clone() }
        };
        HpaView {
            current: self.current_replicas,
            status_replicas: self.current_replicas,
            pods,
            ready_pods: None,
            readings: vec![reading],
        }
    }

    fn play(&self, tolerance: f64) -> Verdict {
        let readiness = ReadinessPeriods {
            cpu_initialization: SignedDuration::from_mins(2),
            initial_delay: SignedDuration::from_secs(10),
        };
        let spec = HpaSpec { tolerance, readiness, ..HpaSpec::new(0, i32::MAX, vec![self.metric()?]) };
        let proposal = propose(&spec, &self.view(), now() + TICK);
        let result = &proposal.results[0];
        match (&result.error, &self.expect_error) {
            (Some(error), Some(part)) if error.contains(part.as_str()) => return Ok(()),
            (None, None) => {}
            (found, expected) => return Err(format!("error {found:?}, expected {expected:?}")),
        }
        if self.expect_replicas.is_none() {
            return Err("expectReplicas is missing".into());
        }
        same("replicas", result.replicas, self.expect_replicas)?;
        same("utilisation", result.utilization, self.expect_utilization_percent)?;
        same("value", result.value, self.expect_usage.or(self.expect_raw_average_milli))
    }
}

fn pod_view(name: String, pod: &Pod, resource: &str) -> PodView {
    let start = if pod.hot { now() } else { now() - SignedDuration::from_hours(1) };
    let requests = pod.request.map(|milli| (resource.to_owned(), milli)).into_iter().collect();
    PodView {
        name,
        phase: pod.phase,
        deleted: pod.deleted,
        started_at: Some(start),
        ready: Some(ReadyCondition { status: Truth::from(pod.ready), since: start }),
        containers: vec![ContainerRequests { name: "app".into(), requests }],
        pod_requests: None,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Event {
    change: i32,
    age_seconds: i64,
}

fn events(events: &[Event]) -> Vec<ScaleEvent> {
    let one =
        |event: &Event| ScaleEvent { change: event.change, at: ago(event.age_seconds), outdated: false };
    events.iter().map(one).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WithRules {
    #[serde(rename = "name")]
    _name: String,
    current_replicas: i32,
    desired: i32,
    min: i32,
    max: i32,
    scale_up: Option<DirectionRules>,
    scale_down: Option<DirectionRules>,
    scale_up_events: Vec<Event>,
    scale_down_events: Vec<Event>,
    expect_replicas: i32,
    expect_condition: HpaLimit,
    #[serde(rename = "skippedUpstream")]
    _skipped_upstream: Option<bool>,
}

impl WithRules {
    fn play(&self) -> Verdict {
        let behavior = Behavior { scale_up: self.scale_up.clone(), scale_down: self.scale_down.clone() };
        let state = HpaState {
            scale_ups: events(&self.scale_up_events),
            scale_downs: events(&self.scale_down_events),
            ..HpaState::default()
        };
        let bounds = Bounds { min: self.min, max: self.max };
        let found = limit_rates((self.current_replicas, self.desired), bounds, &state, &behavior, now());
        same("replicas and condition", found, (self.expect_replicas, self.expect_condition))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UpLimit {
    #[serde(rename = "test")]
    _test: String,
    current_replicas: i32,
    select_policy: Value,
    policies: Value,
    expect_limit: i32,
}

impl UpLimit {
    fn play(&self) -> Verdict {
        let rules = serde_json::json!({ "selectPolicy": self.select_policy, "policies": self.policies });
        let behavior = Behavior { scale_up: Some(read(&rules)?), scale_down: None };
        same(
            "limit",
            up_limit(self.current_replicas, &HpaState::default(), &behavior, now()),
            self.expect_limit,
        )
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Asked {
    value: i32,
    age_seconds: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stabilized {
    #[serde(rename = "name")]
    _name: String,
    recommendations: Vec<Asked>,
    current_replicas: i32,
    desired: i32,
    scale_up_window: i32,
    scale_down_window: i32,
    expect: i32,
    expect_stored: Option<Vec<i32>>,
}

impl Stabilized {
    fn play(&self) -> Verdict {
        let window =
            |seconds| DirectionRules { stabilization_window_seconds: Some(seconds), ..Default::default() };
        let behavior = Behavior {
            scale_up: Some(window(self.scale_up_window)),
            scale_down: Some(window(self.scale_down_window)),
        };
        let one = |asked: &Asked| Recommendation { replicas: asked.value, at: ago(asked.age_seconds) };
        let mut state = HpaState {
            recommendations: self.recommendations.iter().map(one).collect(),
            ..HpaState::default()
        };
        let change = (self.current_replicas, self.desired);
        same("replicas", stabilize(change, &mut state, &behavior, FIVE_MINUTES, now()), self.expect)?;
        let stored = state.recommendations.iter().map(|one| one.replicas).collect::<Vec<_>>();
        self.expect_stored.clone().map_or(Ok(()), |expected| same("stored", stored, expected))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StabilizedLegacy {
    #[serde(rename = "name")]
    _name: String,
    recommendations: Vec<(i32, i64)>,
    desired: i32,
    expect: i32,
    expect_log_length: usize,
}

impl StabilizedLegacy {
    fn play(&self) -> Verdict {
        let one = |&(replicas, age): &(i32, i64)| Recommendation { replicas, at: ago(age) };
        let mut state = HpaState {
            recommendations: self.recommendations.iter().map(one).collect(),
            ..HpaState::default()
        };
        same("replicas", stabilize_legacy(self.desired, &mut state, FIVE_MINUTES, now()), self.expect)?;
        same("kept", state.recommendations.len(), self.expect_log_length)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConvertedLegacy {
    #[serde(rename = "name")]
    _name: Option<String>,
    current: i32,
    desired: i32,
    min: i32,
    max: i32,
    expect: i32,
    cond: HpaLimit,
    #[serde(rename = "note")]
    _note: Option<String>,
}

impl ConvertedLegacy {
    fn play(&self) -> Verdict {
        let found = limit_legacy((self.current, self.desired), Bounds { min: self.min, max: self.max });
        same("replicas and condition", found, (self.expect, self.cond))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored {
    #[serde(rename = "name")]
    _name: String,
    change: i32,
    prev: Vec<(i32, i64)>,
    rules: Option<DirectionRules>,
    expect_change60s: i32,
    new: Vec<(i32, bool)>,
}

impl Stored {
    /// Both directions, as they follow the same rules.
    fn play(&self) -> Verdict {
        let one = |&(change, age): &(i32, i64)| ScaleEvent { change, at: ago(age), outdated: false };
        let previous: Vec<_> = self.prev.iter().map(one).collect();
        let behavior = self
            .rules
            .clone()
            .map(|rules| Behavior { scale_up: Some(rules.clone()), scale_down: Some(rules) });
        let shown =
            |events: &[ScaleEvent]| events.iter().map(|one| (one.change, one.outdated)).collect::<Vec<_>>();
        same("change within 60 s", change_within(&previous, 60, now()), self.expect_change60s)?;
        let mut state =
            HpaState { scale_ups: previous.clone(), scale_downs: previous, ..HpaState::default() };
        state.record(behavior.as_ref(), 10, 10 + self.change, now());
        state.record(behavior.as_ref(), 10 + self.change, 10, now());
        // Without a behaviour nothing is stored and what was there stays; the tables show what was stored by it.
        same("events upwards", shown(&state.scale_ups), self.new.clone())?;
        same("events downwards", shown(&state.scale_downs), self.new.clone())
    }
}

/// Plays one case of the list `list`; which kind it is shows in its fields.
fn play(list: &str, case: &Value, tolerance: f64) -> Verdict {
    let has = |field: &str| case.get(field).is_some();
    match list {
        "extra" => read::<UpLimit>(case)?.play(),
        "withBehavior" => read::<Stabilized>(case)?.play(),
        "legacyDownscale5min" => read::<StabilizedLegacy>(case)?.play(),
        "legacyConvert" => read::<ConvertedLegacy>(case)?.play(),
        "cases" if has("kind") => read::<Calculation>(case)?.play(tolerance),
        "cases" if has("change") => read::<Stored>(case)?.play(),
        "cases" if has("expectCondition") => read::<WithRules>(case)?.play(),
        _ => Err(format!("no kind of case known in the list {list:?} has these fields")),
    }
}

/// Upstream's defaults as the table states them must be ours: a null rule means them.
fn same_defaults(defaults: &Value) -> Verdict {
    let declared: Behavior = read(defaults)?;
    for (current, desired) in [(1, 99), (10, 99), (10, 0), (3, 4), (1, 0)] {
        let bounds = Bounds { min: 0, max: 100 };
        let limit = |behavior: &Behavior| {
            let mut state = HpaState::default();
            state.record(Some(behavior), current + 2, current, ago(10));
            let kept = [(20, 299), (1, 1)].map(|(replicas, age)| Recommendation { replicas, at: ago(age) });
            state.recommendations = kept.to_vec();
            let stabilized = stabilize((current, desired), &mut state, behavior, FIVE_MINUTES, now());
            (limit_rates((current, desired), bounds, &state, behavior, now()), stabilized)
        };
        same("defaults", limit(&declared), limit(&Behavior::default()))?;
    }
    Ok(())
}

fn folder() -> PathBuf {
    std::env::var_os("HPA_ORACLE_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/hpa"), PathBuf::from)
}

fn file_names(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths
}

#[test]
fn hpa_oracle() {
    let (mut played, mut failures) = (0, Vec::new());
    for path in file_names(&folder()) {
        let file: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let tolerance = file.get("tolerance").and_then(Value::as_f64).unwrap_or(0.1);
        let shown = path.file_name().unwrap().to_string_lossy().into_owned();
        for (list, cases) in file.as_object().unwrap() {
            match list.as_str() {
                "source" | "note" | "tolerance" => continue,
                "defaults" => {
                    same_defaults(cases)
                        .unwrap_or_else(|error| failures.push(format!("{shown} defaults: {error}")));
                    continue;
                }
                _ => {}
            }
            let Some(cases) = cases.as_array() else {
                failures.push(format!("{shown}: the field {list:?} is not known"));
                continue;
            };
            for (index, case) in cases.iter().enumerate() {
                played += 1;
                let name = case.get("test").or(case.get("name")).and_then(Value::as_str).unwrap_or("");
                if let Err(error) = play(list, case, tolerance) {
                    failures.push(format!("{shown} {list}[{index}] {name}: {error}"));
                }
            }
        }
    }
    for failure in &failures {
        println!("{failure}");
    }
    println!("hpa oracle: {}/{played}", played - failures.len().min(played));
    assert!(failures.is_empty(), "{} cases differ", failures.len());
    assert!(played > 0, "there are no cases in {}", folder().display());
}
