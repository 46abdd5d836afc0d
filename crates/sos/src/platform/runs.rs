//! Runs of workflows: started, shown, ordered about.

use std::time::Duration;

use serde_json::{Value, json};
use sos_api::wire::{RunBegun, RunOrder, RunOrdered, RunPassed, RunQuery, RunSignal, RunStart, TaskDone};
use sos_api::{Identity, Problem};
use sos_engine::platform::Platform as Engine;
use sos_engine::workflow::{Doing, NewStart, Order, Person, Refusal, RunQuery as Query, Which};
use sos_model::known_list;
use sos_store::{RunFilter, RunState};

use super::store_problem;

fn problem(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Unknown(why) => Problem::not_found(why),
        Refusal::Unfit(why) => Problem::conflict(why),
        Refusal::Failed(why) => Problem::unavailable(why),
    }
}

pub(super) async fn start(
    engine: &Engine,
    workflow: &str,
    start: RunStart,
    wait: Duration,
    who: &str,
) -> Result<RunBegun, Problem> {
    engine.runs().exists(workflow).await.map_err(Problem::not_found)?;
    let new = NewStart {
        input: start.input.unwrap_or_else(|| json!({})),
        key: start.key.map(|key| format!("start/{workflow}/{key}")),
        by: who.to_owned(),
        labels: start.labels,
        ..NewStart::default()
    };
    let begun = engine.runs().start(workflow, new).await.map_err(Problem::unavailable)?;
    let mut answer = RunBegun { name: begun.name, new: begun.is_new, ..RunBegun::default() };
    if wait.is_zero() {
        return Ok(answer);
    }
    if let Ok(ended) = tokio::time::timeout(wait, engine.runs().ended(begun.id)).await {
        let (state, end) = ended.map_err(Problem::unavailable)?;
        answer.state = Some(state.word().to_owned());
        match end {
            Ok(output) => answer.output = Some(output),
            Err(fault) => answer.fault = Some(fault.to_json()),
        }
    }
    Ok(answer)
}

fn filter(workflow: Option<String>, states: &[String], selector: Option<&str>) -> Result<RunFilter, Problem> {
    let state = |word: &String| {
        RunState::of(word).ok_or_else(|| {
            let known = known_list(RunState::ALL.iter().map(|state| state.word()));
            Problem::bad_request(format!("\"{}\" is no state of a run; {known}", word.escape_debug()))
        })
    };
    Ok(RunFilter {
        owner: workflow,
        states: states.iter().map(state).collect::<Result<_, _>>()?,
        selector: selector.unwrap_or_default().parse().map_err(store_problem)?,
        before: None,
    })
}

pub(super) async fn list(engine: &Engine, query: RunQuery) -> Result<Vec<Value>, Problem> {
    let filter = filter(query.workflow, &query.states, query.selector.as_deref())?;
    engine.runs().list(Query { filter, limit: query.limit }).await.map_err(Problem::unavailable)
}

pub(super) async fn show(engine: &Engine, name: &str) -> Result<Value, Problem> {
    let found = engine.runs().show(name).await.map_err(Problem::unavailable)?;
    found.ok_or_else(|| {
        Problem::not_found(format!("there is no Run/{name}; `sos get runs` shows those there are"))
    })
}

pub(super) async fn order(engine: &Engine, order: RunOrder) -> Result<RunOrdered, Problem> {
    let known = ["cancel", "suspend", "resume", "retry"];
    let wanted = Order::of(&order.order).ok_or_else(|| {
        Problem::bad_request(format!("\"{}\" is no order; {}", order.order.escape_debug(), known_list(known)))
    })?;
    let filters = order.workflow.is_some() || !order.states.is_empty() || order.selector.is_some();
    if order.names.is_empty() != filters {
        return Err(Problem::bad_request(
            "expected names, or which runs are meant by `workflow`, `states` or `selector`, and not both",
        ));
    }
    let filter = filter(order.workflow, &order.states, order.selector.as_deref())?;
    let done = engine.runs().order(wanted, Which { names: order.names, filter }).await.map_err(problem)?;
    let passed = done.passed.into_iter().map(|(name, why)| RunPassed { name, why });
    Ok(RunOrdered { done: done.done, passed: passed.collect(), more: done.more })
}

pub(super) async fn signal(engine: &Engine, name: &str, signal: RunSignal) -> Result<(), Problem> {
    engine.runs().signal(name, &signal.event_type, signal.data).await.map_err(problem)
}

pub(super) async fn tasks(engine: &Engine) -> Result<Vec<Value>, Problem> {
    engine.runs().tasks().await.map_err(Problem::unavailable)
}

pub(super) async fn attend(
    engine: &Engine,
    task: &str,
    done: TaskDone,
    who: &Identity,
) -> Result<(), Problem> {
    let doing = match (done.action.as_str(), done.data, done.reason) {
        ("claim", None, None) => Doing::Claim,
        ("complete", data, None) => Doing::Complete(data.unwrap_or_else(|| json!({}))),
        ("refuse", None, Some(reason)) => Doing::Refuse(reason),
        ("claim" | "complete" | "refuse", ..) => {
            return Err(Problem::bad_request("expected `data` with complete only, and `reason` with refuse"));
        }
        (other, ..) => {
            let known = known_list(["claim", "complete", "refuse"]);
            return Err(Problem::bad_request(format!("\"{}\" is no action; {known}", other.escape_debug())));
        }
    };
    let person = Person { name: who.name.clone(), role: who.role.to_string() };
    engine.runs().attend(task, &person, doing).await.map_err(problem)
}
