//! What runs ask of people: shown, taken, done, passed on when nobody did it in time.

use jiff::Timestamp;
use serde_json::{Value, json};
use sos_model::API_VERSION;
use sos_store::{NewTask, RunId, RunWrite, Task};
use sos_workflow::machine::Fault;
use sos_workflow::{Duration, ErrorType};

use super::Runs;
use super::orders::Refusal;
use crate::clock::wall_now;
use crate::workflow::drive::{self, Told, until};

/// What could not be read or kept is tried again after this.
const AGAIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(5);

/// Who does something about a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The name, as in the audit record.
    pub name: String,
    /// What the person may do: `viewer`, `operator` or `admin`.
    pub role: String,
}

/// What is done about a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Doing {
    /// The person will do it.
    Claim,
    /// It is done, with this.
    Complete(Value),
    /// It cannot be done, and why.
    Refuse(String),
}

/// What a step asks for, as it is kept.
pub(super) fn asked(run: RunId, key: &str, with: Value) -> RunWrite {
    let now = drive::now();
    let due = with.get("due").and_then(|due| moment(due, now));
    RunWrite::Ask(Box::new(NewTask { run, key: key.to_owned(), asked: now, due, body: with }))
}

/// A time, or how long from another one.
fn moment(value: &Value, from: Timestamp) -> Option<Timestamp> {
    let time = value.as_str().and_then(|text| text.parse().ok());
    time.or_else(|| Duration::from_json(value).ok()?.ending(from))
}

fn object(task: &Task) -> Value {
    let body = &task.task.body;
    let mut spec = json!({ "run": task.run_name, "workflow": task.owner });
    for key in ["title", "text", "assignee", "role", "form", "data", "escalate"] {
        if let Some(value) = body.get(key) {
            spec[key] = value.clone();
        }
    }
    let mut status = json!({ "asked": task.task.asked.to_string() });
    if let Some(due) = task.task.due {
        status["due"] = json!(due.to_string());
    }
    for key in ["claimedBy", "escalated"] {
        if let Some(value) = body.get(key) {
            status[key] = value.clone();
        }
    }
    json!({
        "apiVersion": API_VERSION,
        "kind": "Task",
        "metadata": { "name": task.id.to_string() },
        "spec": spec,
        "status": status,
    })
}

/// Whether a person may do something about a task: the one it is for, all who have its role, and administrators.
fn may(task: &Task, person: &Person) -> bool {
    const ROLES: [&str; 3] = ["viewer", "operator", "admin"];
    let rank = |role: &str| ROLES.iter().position(|known| *known == role);
    let text = |key: &str| task.task.body.get(key).and_then(Value::as_str);
    let by_role = |role: &str| match rank(role) {
        Some(needed) => rank(&person.role).is_some_and(|has| has >= needed),
        // A role that is none of this server's: its holders are told apart by name.
        None => false,
    };
    match (text("assignee"), text("role")) {
        _ if person.role == "admin" => true,
        (Some(assignee), _) => assignee == person.name,
        (None, Some(role)) => by_role(role),
        (None, None) => true,
    }
}

impl Runs {
    /// All that people are asked to do, the oldest first.
    ///
    /// # Errors
    /// What the store says.
    pub async fn tasks(&self) -> Result<Vec<Value>, String> {
        Ok(self.open_tasks().await?.iter().map(object).collect())
    }

    async fn open_tasks(&self) -> Result<Vec<Task>, String> {
        let log = self.0.log.clone();
        let found = tokio::task::spawn_blocking(move || log.tasks());
        found.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Does something about a task in the name of a person.
    ///
    /// # Errors
    /// That there is no such task, that it is somebody else's, that the data does not fit its form.
    pub async fn attend(&self, id: &str, person: &Person, doing: Doing) -> Result<(), Refusal> {
        let tasks = self.open_tasks().await.map_err(Refusal::Failed)?;
        let task = tasks.into_iter().find(|task| task.id.to_string() == id);
        let task = task
            .ok_or_else(|| Refusal::Unknown(format!("there is no task \"{id}\"; `sos tasks` lists them")))?;
        if !may(&task, person) {
            let text = |key: &str| task.task.body.get(key).and_then(Value::as_str);
            let of = text("assignee").or_else(|| text("role")).unwrap_or("somebody else");
            return Err(Refusal::Unfit(format!(
                "task {id} is for {of}, not for {} ({})",
                person.name, person.role
            )));
        }
        let outcome = match doing {
            Doing::Claim => {
                let mut body = task.task.body.clone();
                body["claimedBy"] = json!(person.name);
                let write = RunWrite::Retell { task: task.id, due: task.task.due, body };
                return self.0.journal.write(vec![write]).await.map(drop).map_err(Refusal::Failed);
            }
            Doing::Complete(done) => {
                if let Some(form) = task.task.body.get("form") {
                    sos_workflow::program::fits(form, &done).map_err(|why| {
                        Refusal::Unfit(format!("the data does not fit the form of task {id}: {why}"))
                    })?;
                }
                Ok(json!({ "by": person.name, "at": wall_now().to_string(), "data": done }))
            }
            Doing::Refuse(why) => {
                let detail = format!("{} refused: {why}", person.name);
                Err(Fault::of(ErrorType::Authorization, "Refused", detail))
            }
        };
        self.answer(&task, outcome).await
    }

    /// Tells the run what came of a task.
    async fn answer(&self, task: &Task, outcome: Result<Value, Fault>) -> Result<(), Refusal> {
        let (run, key) = (task.task.run, &task.task.key);
        let told = |answer| Told::Done { key: key.clone(), outcome: outcome.clone(), answer };
        self.insist(run, &task.run_name, told, Refusal::Unfit).await?;
        let write = RunWrite::Forget { key: key.clone() };
        self.0.journal.write(vec![write]).await.map(drop).map_err(Refusal::Failed)
    }
}

/// Passes tasks on that nobody did in time, until it is aborted.
pub(super) async fn escalate(runs: Runs) {
    loop {
        let now = wall_now();
        let again = || now.checked_add(AGAIN).ok();
        let mut next;
        match runs.open_tasks().await {
            Ok(tasks) => {
                let (late, later): (Vec<Task>, Vec<Task>) = tasks
                    .into_iter()
                    .filter(|task| task.task.due.is_some())
                    .partition(|task| task.task.due <= Some(now));
                next = later.iter().filter_map(|task| task.task.due).min();
                for task in late {
                    if !pass_on(&runs, task, now).await {
                        next = again();
                    }
                }
            }
            Err(why) => {
                tracing::warn!(why, "tasks of people cannot be read; tried again");
                next = again();
            }
        }
        tokio::select! {
            () = runs.0.asked.notified() => {}
            () = until(next) => {}
        }
    }
}

/// Passes one on; whether that was kept.
async fn pass_on(runs: &Runs, task: Task, now: Timestamp) -> bool {
    let Task { id, run_name, owner, task } = task;
    let mut body = task.body.clone();
    let to = body.get("escalate").cloned().unwrap_or(Value::Null);
    let named = |key: &str| to.get(key).and_then(Value::as_str).map(str::to_owned);
    let (assignee, role) = (named("assignee"), named("role"));
    if let Some(fields) = body.as_object_mut().filter(|_| assignee.is_some() || role.is_some()) {
        for (key, value) in [("assignee", &assignee), ("role", &role)] {
            match value {
                Some(value) => drop(fields.insert(key.to_owned(), json!(value))),
                None => drop(fields.remove(key)),
            }
        }
        fields.remove("claimedBy");
    }
    body["escalated"] = json!(now.to_string());
    let write = RunWrite::Retell { task: id, due: None, body };
    if let Err(why) = runs.0.journal.write(vec![write]).await {
        tracing::warn!(task = id, why, "a task cannot be passed on; tried again");
        return false;
    }
    let to = assignee
        .or(role)
        .map_or_else(|| "nobody else is named".to_owned(), |to| format!("passed on to {to}"));
    let title = task.body.get("title").and_then(Value::as_str).unwrap_or("a task");
    let event = sos_store::Event {
        time: now,
        site_time: None,
        kind: "Workflow".into(),
        name: owner,
        event_type: sos_store::EventType::Warning,
        reason: "TaskOverdue".into(),
        message: format!("nobody did task {id} of run {run_name} in time ({title}): {to}"),
    };
    if let Err(error) = runs.0.store.commit(|tx| tx.record_event(&event)) {
        tracing::warn!(%error, "an event cannot be recorded");
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(body: Value) -> Task {
        let at = Timestamp::UNIX_EPOCH;
        let task = NewTask { run: 1, key: "k".to_owned(), asked: at, due: None, body };
        Task { id: 1, run_name: "r".to_owned(), owner: "w".to_owned(), task }
    }

    #[test]
    fn tasks_are_for_those_they_name() {
        let person = |name: &str, role: &str| Person { name: name.to_owned(), role: role.to_owned() };
        let named = task(json!({ "assignee": "anna" }));
        assert!(may(&named, &person("anna", "operator")) && may(&named, &person("root", "admin")));
        assert!(!may(&named, &person("ben", "operator")));
        let of_role = task(json!({ "role": "operator" }));
        assert!(may(&of_role, &person("ben", "operator")) && !may(&of_role, &person("eve", "viewer")));
        let foreign = task(json!({ "role": "underwriter" }));
        assert!(!may(&foreign, &person("ben", "operator")));
        assert!(may(&task(json!({})), &person("ben", "operator")));
    }

    #[test]
    fn a_due_time_is_a_time_or_a_duration() {
        let from = Timestamp::from_second(1_767_600_000).unwrap();
        assert_eq!(moment(&json!("PT1H"), from).unwrap().as_second(), 1_767_603_600);
        assert_eq!(moment(&json!({ "minutes": 1 }), from).unwrap().as_second(), 1_767_600_060);
        assert_eq!(moment(&json!("2026-01-05T08:00:00Z"), from).unwrap().as_second(), 1_767_600_000);
        assert_eq!(moment(&json!(5), from), None);
    }
}
