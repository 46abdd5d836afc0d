//! Rules, alerts, silences and notifications, as the server shows and changes them.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sos_api::{AlarmView, Delivery, OutboxEntry, Problem, RuleGroupView};
use sos_engine::clock::wall_now;
use sos_engine::platform::Platform as Engine;
use sos_engine::watch::outbox::{Done, NotifierState};
use sos_engine::watch::{AlarmError, Watch};
use sos_model::{API_VERSION, ReadOnlyKind};
use sos_store::random_token;
use sos_watch::Labels;
use sos_watch::alerts::{MutedBy, Notification, Silence, alert_views, fingerprint};
use sos_watch::rules::{Alert, AlertState};

use super::store_problem;

/// Characters of the id of a silence.
const ID_LENGTH: usize = 20;

fn watch(engine: &Engine) -> Result<&Watch, Problem> {
    engine
        .watch()
        .ok_or_else(|| Problem::unavailable("the server has only just started: ask again in a moment"))
}

/// All groups of rules.
pub(super) fn rule_groups(engine: &Engine) -> Arc<Vec<RuleGroupView>> {
    let Some(watch) = engine.watch() else { return Arc::default() };
    let view = watch.watcher.view();
    let groups = view.groups.iter().map(|group| RuleGroupView {
        file: group.watched.file.clone(),
        group: Arc::new(group.watched.group.clone()),
        state: Arc::clone(&group.state),
        interval_ms: group.interval_ms,
    });
    Arc::new(groups.collect())
}

/// What alert handling knows.
pub(super) fn view(engine: &Engine) -> AlarmView {
    let (config, state) = match engine.watch() {
        Some(watch) => (watch.watcher.view().config.alerts.clone(), watch.watcher.notify_state()),
        None => Default::default(),
    };
    AlarmView {
        config: Arc::new(config),
        state: Arc::new(state),
        external_labels: Labels::empty(),
        now_ms: wall_now().as_millisecond(),
    }
}

/// What waits and what became of the latest notifications, newest first.
pub(super) fn outbox(engine: &Engine, limit: usize) -> Result<Vec<OutboxEntry>, Problem> {
    let outbox = &watch(engine)?.outbox;
    let mut all = Vec::new();
    for (notifier, state) in outbox.states() {
        let waiting = outbox.waiting(&notifier, limit).map_err(store_problem)?;
        all.extend(waiting.into_iter().enumerate().map(|(place, one)| waits(one, place == 0, &state)));
    }
    all.extend(outbox.done(limit).map_err(store_problem)?.into_iter().map(done));
    all.sort_by_key(|entry| std::cmp::Reverse(entry.notification.at_ms));
    all.truncate(limit);
    Ok(all)
}

/// The first that waits is the one that is tried.
fn waits(notification: Notification, first: bool, state: &NotifierState) -> OutboxEntry {
    let next = state.next_try.filter(|_| first).unwrap_or_else(wall_now);
    OutboxEntry {
        notification: Arc::new(notification),
        attempts: if first { state.attempts } else { 0 },
        delivery: Delivery::Waiting {
            error: state.error.clone().filter(|_| first),
            next_ms: next.as_millisecond(),
        },
    }
}

fn done(done: Done) -> OutboxEntry {
    let at_ms = done.at.as_millisecond();
    OutboxEntry {
        notification: Arc::new(done.notification),
        attempts: done.attempts,
        delivery: match done.error {
            None => Delivery::Delivered { at_ms },
            Some(error) => Delivery::Failed { error, at_ms },
        },
    }
}

/// Notes that somebody looks after an alert.
pub(super) fn acknowledge(engine: &Engine, labels: &Labels, by: &str, comment: &str) -> Result<(), Problem> {
    watch(engine)?.watcher.acknowledge(labels, by, comment, wall_now()).map_err(problem)
}

/// Keeps a silence; answers its id.
pub(super) fn silence(engine: &Engine, mut silence: Silence) -> Result<String, Problem> {
    if silence.id.is_empty() {
        let random = random_token().map_err(store_problem)?;
        silence.id = random.expose_str().unwrap_or_default().chars().take(ID_LENGTH).collect();
    }
    let id = silence.id.clone();
    watch(engine)?.watcher.silence(silence).map_err(problem)?;
    Ok(id)
}

/// Ends a silence.
pub(super) fn end_silence(engine: &Engine, id: &str) -> Result<(), Problem> {
    watch(engine)?.watcher.end_silence(id, wall_now()).map_err(problem)
}

fn problem(error: AlarmError) -> Problem {
    match error {
        AlarmError::Wrong(why) => Problem::bad_request(why),
        AlarmError::NotFound(why) => Problem::not_found(why),
        AlarmError::Store(error) => store_problem(error),
    }
}

/// Alerts that are pending or fire, as objects of their kind.
pub(super) fn objects(engine: &Engine) -> Vec<Value> {
    let known = view(engine);
    let told = alert_views(&known.config, &known.state, known.now_ms);
    let mut all = Vec::new();
    for group in rule_groups(engine).iter() {
        for alert in group.state.rules.iter().flat_map(|rule| &rule.alerts).filter(|alert| alert.is_active())
        {
            let known = told.iter().find(|(one, _)| one.labels == alert.labels);
            let known = known.filter(|_| alert.state == AlertState::Firing);
            let by = known.and_then(|(one, _)| one.acknowledged_by.as_deref());
            all.push(object(&group.file, alert, by, known.and_then(|(_, muted)| muted.as_ref())));
        }
    }
    all
}

fn object(file: &str, alert: &Alert, acknowledged_by: Option<&str>, muted_by: Option<&MutedBy>) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": ReadOnlyKind::Alert.name(),
        "metadata": { "name": fingerprint(&alert.labels) },
        "spec": { "rule": file, "labels": labels(&alert.labels), "annotations": alert.annotations },
        "status": {
            "state": alert.state.word(),
            "since": time(alert.fired_at_ms.unwrap_or(alert.active_at_ms)),
            "value": alert.value.to_string(),
            "acknowledgedBy": acknowledged_by,
            "mutedBy": muted_by.map(muted),
        },
    })
}

fn labels(labels: &Labels) -> Value {
    let pairs = labels.iter().map(|(name, value)| (name.to_owned(), json!(value)));
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// Why an alert is told to nobody, in words.
fn muted(by: &MutedBy) -> String {
    match by {
        MutedBy::Silence(id) => format!("silence {id}"),
        MutedBy::Inhibition(source) => format!("{} fires", source.get("alertname")),
        MutedBy::QuietHours(until) => format!("quiet hours until {}", time(*until)),
    }
}

/// RFC 3339 in UTC.
fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string())
}
