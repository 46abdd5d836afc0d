use serde_json::json as value;
use sos_workflow::program::Resources;

use super::*;

/// What never has an outcome.
struct Nothing;

impl Perform for Nothing {
    fn perform(&self, _: String, _: Effect) -> BoxFuture<'static, Result<Value, Fault>> {
        std::future::pending().boxed()
    }

    fn subscribe(&self, _: Subscribing) -> Messages {
        futures::stream::pending().boxed()
    }

    fn unsubscribe(&self, _: &str) -> BoxFuture<'static, ()> {
        std::future::ready(()).boxed()
    }
}

/// Keeps a journal.
#[derive(Default)]
struct Kept(Vec<Entry>);

impl Host for Kept {
    async fn keep(&mut self, happened: Happened<'_>) -> Result<(), String> {
        self.0.extend_from_slice(happened.entries);
        Ok(())
    }
}

fn start(tasks: &str, outside: Option<Outside>) -> Start {
    let head = "document: {dsl: '1.0.3', namespace: t, name: t, version: '1.0.0'}\n";
    let definition = sos_workflow::read(&format!("{head}{tasks}")).unwrap().check().unwrap();
    let program = Arc::new(Program::build(definition, &Resources::new()).unwrap());
    let nothing = data(&value!({}));
    let begin =
        Begin { id: "r".to_owned(), input: nothing.clone(), secrets: nothing, at: now(), permit: None };
    Start { program, begin, entries: Vec::new(), outside }
}

/// How a run ends, which it has to in time; what was kept of it leads there again.
async fn ends(start: Start) -> Ended {
    let (program, begin) = (Arc::clone(&start.program), start.begin.clone());
    let mut kept = Kept::default();
    let driven = drive(start, Arc::new(Nothing), &mut kept);
    let driven = tokio::time::timeout(Duration::from_mins(1), driven).await;
    let ended = match driven {
        Ok(Ok(Drove::Ended(ended))) => ended,
        other => panic!("{other:?}"),
    };
    let mut again = Run::new(program, begin);
    for (event, at) in kept.0 {
        assert!(again.ended().is_none(), "nothing happens to a run that has ended");
        again.apply(event, at);
    }
    assert_eq!(again.ended(), Some(&ended));
    ended
}

const BUSY: &str = "[{a: {set: {n: 1}, then: a}}]";

#[tokio::test]
async fn a_run_that_is_busy_is_ended_by_its_time() {
    let fails = "[{r: {raise: {error: {type: 'https://example.org/e', status: 500}}}}]";
    let emits = "[{e: {emit: {event: {with: {source: s, type: t}}}, then: e}}]";
    let each = "[{l: {for: {in: '[range(300000)]'}, timeout: {after: PT0.05S}, do: [{a: {set: {n: 1}}}]}}]";
    for tasks in [
        format!("timeout: {{after: PT0.05S}}\ndo: {BUSY}"),
        format!("do: [{{d: {{do: {BUSY}, timeout: {{after: PT0.05S}}}}}}]"),
        format!("do: [{{t: {{try: {fails}, catch: {{retry: {{}}}}, timeout: {{after: PT0.05S}}}}}}]"),
        format!("timeout: {{after: PT0.05S}}\ndo: {emits}"),
        format!("do: {each}"),
    ] {
        match ends(start(&tasks, None)).await {
            Ended::Faulted(fault) => assert_eq!(fault.status, 408, "{tasks}"),
            other => panic!("{tasks}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_wait_wins_against_a_branch_that_is_busy() {
    let tasks = format!(
        "do: [{{f: {{fork: {{compete: true, branches: [{{w: {{wait: PT0.05S}}}}, {{b: {{do: {BUSY}}}}}]}}}}}}]"
    );
    assert_eq!(ends(start(&tasks, None)).await, Ended::Completed(data(&value!({}))));
}

#[tokio::test]
async fn a_run_that_is_busy_hears_orders() {
    let (tell, inbox) = mpsc::unbounded_channel();
    let nothing = |_: u64| {
        let page: Page = (Vec::new(), None);
        std::future::ready(page).boxed()
    };
    let outside = Outside { inbox, earlier: Box::new(nothing), floor: 0, consumed: HashSet::new() };
    let orders = [Event::Suspended, Event::Resumed, Event::Cancelled].map(|event| {
        let (answer, kept) = oneshot::channel();
        tell.send(Told::Order(event, answer)).unwrap();
        kept
    });
    assert_eq!(ends(start(&format!("do: {BUSY}"), Some(outside))).await, Ended::Cancelled);
    for kept in orders {
        assert_eq!(kept.await, Ok(Ok(())));
    }
}

#[tokio::test]
async fn an_event_has_a_time_or_none() {
    let emits = |time: &str| {
        format!("do: [{{e: {{emit: {{event: {{with: {{source: s, type: t, time: '{time}'}}}}}}}}}}]")
    };
    let wrong = ends(start(&emits("${ \"noon\" }"), None)).await;
    assert!(matches!(wrong, Ended::Faulted(fault) if fault.status == 400 && fault.instance == "/do/0/e"));
    let right = ends(start(&emits("${ \"2026-01-05T12:00:00+01:00\" }"), None)).await;
    assert!(matches!(right, Ended::Completed(_)));
}
