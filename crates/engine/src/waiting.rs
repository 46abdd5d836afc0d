//! Work of workflows that may wait for power: what is declared of it, and what becomes of it where no site decides.
//!
//! Where a site runs, its loop decides (`site/errands.rs`). Here is the rest: documents are checked, a site that is not declared is told,
//! and work whose site does not run begins when it must.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sos_model::field::{Cx, Field as _};
use sos_model::{Declared, Kind, Node, Waiting, WaitingUntil, did_you_mean, known_list};
use sos_store::{Selector, Store};
use sos_workflow::machine::Fault;
use sos_workflow::{Definition, ErrorType, Problem, ProblemKind};

use tokio::task::JoinHandle;

use crate::clock::wall_now;
use crate::permits::{Asked, Permits};
use crate::workflow::until;

/// How often work is looked at whose site does not run.
const LOOK: SignedDuration = SignedDuration::from_secs(5);
/// A site that is about to start gets this long before work of it is looked at.
const PATIENCE: SignedDuration = SignedDuration::from_secs(15);
/// What asks at once is looked at together.
const QUIET: Duration = Duration::from_millis(20);

/// Which sites there are.
pub(crate) struct Sites<'a> {
    /// What is declared, in two parts.
    pub(crate) declared: [&'a [Declared]; 2],
}

impl Sites<'_> {
    fn names(&self) -> impl Iterator<Item = &str> {
        let all = self.declared.iter().flat_map(|part| part.iter());
        all.filter(|one| one.kind() == Kind::Site).map(|one| one.name.as_str())
    }
}

/// What is declared of work that waits.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn declared(with: &Value) -> Result<Waiting, String> {
    let mut cx = Cx::new("");
    let read = Waiting::read(&Node::from_json(with), &mut cx);
    read.ok_or_else(|| {
        let problems = cx.into_problems();
        let line = |problem: &sos_model::Problem| match problem.help.as_str() {
            "" => problem.message.clone(),
            help => format!("{} ({help})", problem.message),
        };
        problems.iter().map(line).collect::<Vec<_>>().join("; ")
    })
}

/// The name of the site of work, from what is declared of it.
pub(crate) fn site_of(with: &Value) -> Option<&str> {
    with.get("site")?.as_str()
}

/// When work that could begin at a time is to be done.
pub(crate) fn deadline(waiting: &Waiting, from: Timestamp, zone: &TimeZone) -> Timestamp {
    let earliest = from.saturating_add(SignedDuration::from_secs(waiting.seconds())).unwrap_or(from);
    match waiting.until {
        WaitingUntil::Within(within) => from.saturating_add(within).unwrap_or(earliest).max(earliest),
        WaitingUntil::Deadline(time) => {
            let day = zone.to_datetime(earliest).date();
            let next = std::iter::successors(Some(day), |day| day.tomorrow().ok()).take(3);
            let at = |day: jiff::civil::Date| zone.to_timestamp(day.to_datetime(time)).ok();
            next.filter_map(at).find(|at| *at >= earliest).unwrap_or(earliest)
        }
    }
}

/// What is wrong with the tasks of a document that wait; `whole`: its runs wait as a whole.
pub(crate) fn check(
    text: &str,
    definition: &Definition,
    whole: bool,
    sites: Option<&Sites<'_>>,
) -> Vec<Problem> {
    let tasks = definition.waiting();
    if tasks.is_empty() {
        return Vec::new();
    }
    // Read again, by the reader of manifests: it knows units, and where each value stands.
    let root = sos_model::parse_yaml("", text.as_bytes()).ok().and_then(|mut nodes| nodes.pop());
    let mut problems = Vec::new();
    for task in &tasks {
        let path = format!("{}.metadata.flexible", dotted(&task.reference));
        let own = task.permit().map(Node::from_json);
        let written = root
            .as_ref()
            .and_then(|root| at(root, &task.reference)?.get("metadata")?.get("flexible").cloned());
        let Some(node) = written.or(own) else { continue };
        let mut report = |position, path: &str, message: String, help: String| {
            problems.push(Problem {
                kind: ProblemKind::Meaning,
                position,
                path: path.to_owned(),
                message,
                help,
            });
        };
        let around = tasks.iter().find(|other| task.is_within(other) && task.reference != other.reference);
        if whole || around.is_some() {
            let of = around.map_or("its runs wait as a whole".to_owned(), |other| {
                format!("task `{}` waits as a whole", sos_model::shown(&other.name))
            });
            report(
                node.position,
                &path,
                format!("{of}, so this one cannot wait too"),
                "remove one of them".to_owned(),
            );
        }
        let mut cx = Cx::new("");
        let read = Waiting::read(&node, &mut cx);
        for problem in cx.into_problems() {
            let position = sos_model::Position { line: problem.line, column: problem.column };
            report(position, &path, problem.message, problem.help);
        }
        let (Some(waiting), Some(sites)) = (read, sites) else { continue };
        if !sites.names().any(|name| name == &*waiting.site) {
            let position = node.get("site").map_or(node.position, |site| site.position);
            let (message, help) = no_site(&waiting.site, || sites.names());
            report(position, &format!("{path}.site"), message, help);
        }
    }
    problems
}

fn no_site<'a, I: Iterator<Item = &'a str>>(name: &str, names: impl Fn() -> I) -> (String, String) {
    (
        format!("no Site is named \"{name}\""),
        format!("{}{}", did_you_mean(name, names()), known_list(names())),
    )
}

/// The value at a JSON pointer.
fn at<'n>(root: &'n Node, pointer: &str) -> Option<&'n Node> {
    let parts = pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~"));
    parts.into_iter().try_fold(root, |node, part| match &node.value {
        sos_model::Value::List(items) => items.get(part.parse::<usize>().ok()?),
        _ => node.get(&part),
    })
}

/// A JSON pointer as problems name places: `do[2].heat`.
fn dotted(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        if part.parse::<usize>().is_ok() {
            path.push_str(&format!("[{part}]"));
        } else {
            let dot = if path.is_empty() { "" } else { "." };
            let name = part.replace("~1", "/").replace("~0", "~");
            path.push_str(&format!("{dot}{}", name.replace(char::is_control, " ")));
        }
    }
    path
}

/// Work whose site does not run is looked after until this is dropped.
#[derive(Debug)]
pub(crate) struct LookingAfter(JoinHandle<()>);

impl LookingAfter {
    pub(crate) fn start(store: &Store, permits: &Permits) -> Self {
        Self(tokio::spawn(look_after(store.clone(), permits.clone())))
    }
}

impl Drop for LookingAfter {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn look_after(store: Store, permits: Permits) {
    let began = wall_now();
    loop {
        let orphans = permits.orphans(site_of);
        let again = if orphans.is_empty() { None } else { wall_now().checked_add(LOOK).ok() };
        orphans.iter().for_each(|asked| alone(&store, &permits, asked, began));
        tokio::select! {
            () = permits.changed() => tokio::time::sleep(QUIET).await,
            () = until(again) => {}
        }
    }
}

/// Work that no site decides about: it begins when it must, or never may. A site that is about to start, or to start anew, gets a
/// moment first.
fn alone(store: &Store, permits: &Permits, asked: &Asked, began: Timestamp) {
    let now = wall_now();
    let soonest = asked.since.max(began).saturating_add(PATIENCE).unwrap_or(now);
    let wrong = |title: &str, detail: String| {
        permits.refuse(&asked.key, Fault::of(ErrorType::Configuration, title, detail));
    };
    if asked.part_of.is_some() {
        let because = "its site does not run, so nothing is planned: it goes on";
        if now >= soonest {
            permits.grant(&asked.key, false, json!({ "at": now.to_string(), "because": because }));
        }
        return;
    }
    let waiting = match declared(&asked.with) {
        Ok(waiting) => waiting,
        Err(why) => return wrong("What it waits for cannot be read", format!("metadata.flexible: {why}")),
    };
    let sites = match store.list(Kind::Site.name(), &Selector::default()) {
        Ok(sites) => sites,
        Err(error) => return tracing::warn!(%error, "the declared sites cannot be read"),
    };
    let Some(found) = sites.iter().find(|site| site.name == *waiting.site) else {
        let (message, help) = no_site(&waiting.site, || sites.iter().map(|site| site.name.as_str()));
        return wrong("No such site", format!("{message}; {help}"));
    };
    let zone = crate::resources::declared(found).ok();
    let zone =
        zone.as_ref().and_then(|one| Some(one.site()?.time_zone.zone().clone())).unwrap_or(TimeZone::UTC);
    let deadline = deadline(&waiting, asked.since, &zone);
    let latest = deadline.saturating_sub(SignedDuration::from_secs(waiting.seconds())).unwrap_or(deadline);
    let latest = latest.max(soonest);
    let text = |at| crate::time_text(at, &zone);
    let why = format!("Site/{} does not run, so nothing is planned", &*waiting.site);
    let mut told = json!({ "site": &*waiting.site, "deadline": text(deadline) });
    if now < latest {
        told["planned"] = json!(text(latest));
        told["because"] = json!(format!("{why}: it begins when it must"));
        permits.decide(&asked.key, told);
    } else {
        told["at"] = json!(text(now));
        told["because"] = json!(format!("{why}: it begins now, to be done in time"));
        permits.grant(&asked.key, false, told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(tasks: &str) -> (String, Definition) {
        let text =
            format!("document: {{dsl: '1.0.3', namespace: a, name: b, version: '1.0.0'}}\ndo:\n{tasks}");
        let definition = sos_workflow::read(&text).unwrap().check().unwrap();
        (text, definition)
    }

    fn problems(tasks: &str, whole: bool) -> Vec<String> {
        let site = "apiVersion: sos.energy/v1alpha1\nkind: Site\nmetadata: {name: home}\nspec: {timeZone: Etc/UTC, currency: EUR, connection: {importPrice: {fixed: 0.3 EUR/kWh}}}\n";
        let declared = sos_model::load(&[("s.yaml".into(), site.as_bytes().to_vec())]).unwrap();
        let (text, definition) = definition(tasks);
        let sites = Sites { declared: [&declared, &[]] };
        check(&text, &definition, whole, Some(&sites)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn wrong_values_are_told_with_line_and_path() {
        let wrong = "- a:\n    set: {x: 1}\n    metadata:\n      flexible: {site: hme, energy: 2, power: 1 kW, within: 1 h, every: day}\n";
        let told = problems(wrong, false).join("\n");
        assert!(told.contains("6:"), "{told}");
        assert!(
            told.contains("do[0].a.metadata.flexible") && told.contains("energy") && told.contains("every"),
            "{told}"
        );
        let unknown =
            "- a: {set: {x: 1}, metadata: {flexible: {site: hme, energy: 1 kWh, power: 1 kW, within: 2 h}}}";
        let told = problems(unknown, false).join("\n");
        assert!(
            told.contains("no Site is named \"hme\"")
                && told.contains("home")
                && told.contains("flexible.site"),
            "{told}"
        );
        let long =
            "- a: {set: {x: 1}, metadata: {flexible: {site: home, energy: 3 kWh, power: 1 kW, within: 2 h}}}";
        assert!(
            problems(long, false).join("\n").contains("expected it to fit into"),
            "{:?}",
            problems(long, false)
        );
    }

    #[test]
    fn what_waits_within_what_waits_is_refused() {
        let fine = "- a: {set: {x: 1}, metadata: {flexible: {site: home, energy: 1 kWh, power: 1 kW, deadline: '06:00'}}}";
        assert!(problems(fine, false).is_empty(), "{:?}", problems(fine, false));
        assert!(problems(fine, true)[0].contains("its runs wait as a whole"));
        let inner = fine.replacen("- ", "", 1);
        let nested = format!(
            "- o: {{do: [{{{inner}}}], metadata: {{flexible: {{site: home, energy: 1 kWh, power: 1 kW, within: 2 h}}}}}}"
        );
        assert!(
            problems(&nested, false)[0].contains("task `o` waits as a whole"),
            "{:?}",
            problems(&nested, false)
        );
    }

    #[test]
    fn a_deadline_is_the_next_time_of_day_that_leaves_enough_time() {
        let with = |until: &str| {
            let text = format!("{{\"site\": \"home\", \"energy\": \"2 kWh\", \"power\": \"1 kW\", {until}}}");
            declared(&serde_json::from_str(&text).unwrap()).unwrap()
        };
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let morning = with("\"deadline\": \"06:00\"");
        assert_eq!(
            deadline(&morning, at("2026-01-05T22:00:00+01:00"), &zone),
            at("2026-01-06T06:00:00+01:00")
        );
        assert_eq!(
            deadline(&morning, at("2026-01-06T04:30:00+01:00"), &zone),
            at("2026-01-07T06:00:00+01:00")
        );
        assert_eq!(
            deadline(&with("\"within\": \"8 h\""), at("2026-01-06T04:00:00Z"), &zone),
            at("2026-01-06T12:00:00Z")
        );
    }
}
