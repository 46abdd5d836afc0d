//! The pack: every rule in its bad and its good case, and that rules, runbooks, metrics and documents agree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sos_model::{Node, Value};
use sos_watch::promql::ast::{Expr, Node as Part};
use sos_watch::rules::{Rule, Rules, read};
use sos_watch::{Query, pack};

use crate::rule_tests::run;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// Rule files as they are in the folder, so that tests and files can be changed together.
fn rules(name: &str) -> Rules {
    let path = format!("crates/watch/pack/{name}.yaml");
    read(&path, text(&path).as_bytes()).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(|problem| format!("{problem}\n")).collect::<String>())
    })
}

fn all_rules() -> Vec<Rule> {
    pack::names().flat_map(|name| rules(name).groups).flat_map(|group| group.rules).collect()
}

fn alerting() -> Vec<Rule> {
    all_rules().into_iter().filter(|rule| rule.alerting().is_some()).collect()
}

fn annotation<'r>(rule: &'r Rule, name: &str) -> &'r str {
    let annotations = &rule.alerting().unwrap().annotations;
    annotations.iter().find(|(known, _)| &**known == name).map_or("", |(_, template)| template.text())
}

fn cases() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("cases/pack")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    paths.sort();
    paths
}

#[test]
fn every_case_of_the_pack_passes() {
    let reports: Vec<_> = cases().iter().map(|path| run(path)).collect();
    assert!(reports.len() >= pack::names().count());
    let failed: String = reports.iter().filter(|r| !r.passed()).map(ToString::to_string).collect();
    assert!(failed.is_empty(), "{failed}");
}

fn list<'n>(node: &'n Node, key: &str) -> &'n [Node] {
    match node.get(key).map(|node| &node.value) {
        Some(Value::List(items)) => items,
        _ => &[],
    }
}

#[test]
fn every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for path in cases() {
        let bytes = std::fs::read(&path).unwrap();
        let document = sos_model::parse_yaml("case", &bytes).unwrap().remove(0);
        for test in list(&document, "tests").iter().flat_map(|test| list(test, "alert_rule_test")) {
            let name = test.get("alertname").and_then(Node::text).unwrap().to_owned();
            if list(test, "exp_alerts").is_empty() {
                silent.insert(name)
            } else {
                fires.insert(name)
            };
        }
    }
    let expected: BTreeSet<String> = alerting().into_iter().map(|rule| rule.name).collect();
    assert_eq!(fires, expected, "each fires somewhere");
    assert_eq!(silent, expected, "each is silent somewhere");
}

#[test]
fn every_alert_says_how_bad_it_is_what_is_wrong_and_what_to_do() {
    let rules = alerting();
    assert!(rules.len() >= 40);
    for rule in &rules {
        let severity = rule.labels.get("severity").map_or("", |severity| &**severity);
        assert!(["critical", "warning", "info"].contains(&severity), "{}: severity {severity:?}", rule.name);
        let runbook = annotation(rule, "runbook");
        assert!(pack::runbook(runbook).is_some(), "{}: there is no runbook {runbook:?}", rule.name);
        for name in ["summary", "description"] {
            assert!(!annotation(rule, name).is_empty(), "{} without {name}", rule.name);
        }
        assert!(!annotation(rule, "summary").ends_with('.'), "{}: a summary is a heading", rule.name);
        let description = annotation(rule, "description");
        assert!(description.ends_with('.'), "{}: a description is sentences", rule.name);
        let value = description.contains("$value") || description.contains("query");
        assert!(value || rule.expr.text().contains("== "), "{} does not say how bad it is", rule.name);
    }
}

#[test]
fn names_of_rules_and_groups_are_unique_in_the_whole_pack() {
    let all = all_rules();
    let names: BTreeSet<&str> = all.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names.len(), all.len());
    let groups: Vec<String> =
        pack::names().flat_map(|name| rules(name).groups).map(|group| group.name).collect();
    assert_eq!(groups.iter().collect::<BTreeSet<_>>().len(), groups.len());
    assert!(groups.iter().all(|name| name.starts_with("sos-")), "{groups:?}");
}

#[test]
fn inhibitions_name_alerts_of_the_pack() {
    let names: Vec<String> = alerting().into_iter().map(|rule| rule.name).collect();
    let mut count = 0;
    for inhibit in pack::names().flat_map(|name| rules(name).inhibit) {
        for matcher in inhibit.source.iter().chain(&inhibit.target) {
            assert_eq!(matcher.name(), "alertname");
            for word in matcher.value().split('|').filter(|word| !word.contains('*')) {
                assert!(names.iter().any(|name| name == word), "no alert {word}");
            }
            assert!(names.iter().any(|name| matcher.matches(name)), "{matcher} matches no alert");
            count += 1;
        }
    }
    assert!(count >= 20);
}

// Runbooks.

/// Lines such as "- `ServiceDown`: when it fires", below the title.
fn told(runbook: &str) -> Vec<(&str, &str)> {
    let before = runbook.split("\n## ").next().unwrap();
    before.lines().filter_map(|line| line.strip_prefix("- `")?.split_once("`: ")).collect()
}

/// What stands in code blocks of a language.
fn blocks(runbook: &str, language: &str) -> String {
    let starts = format!("```{language}\n");
    runbook.split(&starts).skip(1).map(|part| part.split("```").next().unwrap_or_default()).collect()
}

#[test]
fn each_runbook_belongs_to_alerts_and_tells_when_they_fire() {
    let mut told_by: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, runbook) in pack::runbooks() {
        assert!(runbook.starts_with(&format!("# {name}\n")), "{name}: the title is the name");
        assert!(!told(runbook).is_empty(), "{name} tells of no alert");
        for (alert, _) in told(runbook) {
            told_by.entry(alert.to_owned()).or_default().push(name);
        }
        for section in ["Why it matters", "How to look", "What to do", "When to ignore it"] {
            let body = runbook.split(&format!("\n## {section}\n")).nth(1).unwrap_or_default();
            assert!(body.trim().len() > 20, "{name} lacks \"{section}\"");
        }
    }
    let expected: BTreeMap<String, Vec<String>> = alerting()
        .into_iter()
        .map(|rule| (rule.name.clone(), vec![annotation(&rule, "runbook").to_owned()]))
        .collect();
    let told_by: BTreeMap<String, Vec<String>> = told_by
        .into_iter()
        .map(|(alert, names)| (alert, names.into_iter().map(str::to_owned).collect()))
        .collect();
    assert_eq!(told_by, expected);
}

#[test]
fn runbooks_are_the_files_of_their_folder() {
    let entries = std::fs::read_dir(root().join("crates/watch/pack/runbooks")).unwrap();
    let files: BTreeSet<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().trim_end_matches(".md").to_owned())
        .collect();
    assert_eq!(pack::runbooks().map(|(name, _)| name.to_owned()).collect::<BTreeSet<_>>(), files);
}

#[test]
fn other_runbooks_that_a_runbook_names_exist() {
    for (name, runbook) in pack::runbooks() {
        for part in runbook.split("see the runbook").skip(1) {
            let list = part.trim_start_matches('s').split(['.', ':', ';', ',', '(']).next().unwrap();
            for word in
                list.split_whitespace().filter(|word| *word != "and" && word.starts_with(char::is_uppercase))
            {
                assert!(pack::runbook(word).is_some(), "{name} names the runbook {word}, which is not there");
            }
        }
    }
}

#[test]
fn commands_and_queries_of_runbooks_can_be_run() {
    let folder = root().join("crates/sos/src/commands");
    let metrics = metrics();
    for (name, runbook) in pack::runbooks() {
        let commands = blocks(runbook, "sh");
        assert!(commands.contains("sos "), "{name} names no command");
        for line in commands.lines().filter(|line| line.starts_with("sos ")) {
            let word = line.split_whitespace().nth(1).unwrap();
            let known = folder.join(format!("{word}.rs")).exists() || folder.join(word).exists();
            assert!(known, "{name}: there is no command `sos {word}`");
        }
        let queries = blocks(runbook, "promql");
        assert!(!queries.is_empty(), "{name} has no query");
        for line in queries.lines() {
            let query = Query::parse(line).unwrap_or_else(|error| panic!("{name}: {line}: {error}"));
            for metric in named(query.expr()) {
                assert!(metrics.contains(&metric), "{name}: there is no metric {metric}");
            }
        }
    }
}

// Metrics.

/// Where metrics are exposed.
const EXPOSED: [&str; 3] = [
    "crates/sos/src/platform/metrics.rs",
    "crates/sos/src/platform/forecasts.rs",
    "crates/api/src/metrics.rs",
];

/// What the product exposes beside the metrics of those files.
const MORE: [&str; 18] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "ALERTS",
    "sos_alerts_firing",
    "sos_notifications_waiting",
    "sos_notifications_failed_total",
    "sos_notifications_oldest_seconds",
    "sos_rule_group_last_duration_seconds",
    "sos_rule_evaluation_failures_total",
    "sos_rule_group_interval_seconds",
    "sos_scrape_refused_samples_total",
    "sos_series_refused_total",
    "sos_store_series",
    "sos_store_series_limit",
    "sos_disk_free_bytes",
    "sos_service_job",
    "sos_replica_memory_limit_bytes",
];

/// Texts in quotes that are names and satisfy a condition.
fn quoted(source: &str, fits: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let name = |text: &&str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    source.split('"').filter(name).filter(|text| fits(text)).map(str::to_owned).collect()
}

/// Series that sites write, on site time.
fn telemetry() -> BTreeSet<String> {
    let sources = text("crates/engine/src/site/telemetry.rs") + &text("crates/engine/src/site/foresight.rs");
    let constants = sources.lines().filter(|line| line.contains("const ") && line.contains(": &str"));
    quoted(&constants.collect::<Vec<_>>().join("\n"), |name| {
        ["site_", "asset_", "device_"].iter().any(|start| name.starts_with(start))
    })
}

fn metrics() -> BTreeSet<String> {
    let mut all: BTreeSet<String> =
        EXPOSED.iter().flat_map(|path| quoted(&text(path), |name| name.starts_with("sos_"))).collect();
    assert!(all.len() > 40, "{all:?}");
    all.extend(MORE.map(str::to_owned));
    all.extend(telemetry());
    let recorded = all_rules().into_iter().filter(|rule| rule.alerting().is_none());
    all.extend(recorded.map(|rule| rule.name));
    all
}

/// Names of metrics in an expression.
fn named(expr: &Expr) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = expr.node.children().flat_map(named).collect();
    if let Part::Selector(selector) | Part::Range { selector, .. } = &expr.node {
        names.extend(selector.name.iter().map(ToString::to_string));
    }
    names
}

#[test]
fn every_metric_of_the_pack_is_exposed_somewhere() {
    let metrics = metrics();
    for rule in all_rules() {
        let names = named(rule.expr.expr());
        assert!(!names.is_empty(), "{} reads no metric", rule.name);
        for name in names {
            assert!(metrics.contains(&name), "{} reads {name}, which nothing exposes", rule.name);
        }
        let annotations =
            rule.alerting().map_or(String::new(), |_| annotation(&rule, "description").to_owned());
        for word in annotations.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            assert!(!word.starts_with("sos_") || metrics.contains(word), "{} asks for {word}", rule.name);
        }
    }
}

#[test]
fn a_group_reads_metrics_or_telemetry_of_sites_and_never_both() {
    let telemetry = telemetry();
    assert!(telemetry.len() >= 12, "{telemetry:?}");
    let mut of_sites = 0;
    for group in pack::names().flat_map(|name| rules(name).groups) {
        let names: BTreeSet<String> = group.rules.iter().flat_map(|rule| named(rule.expr.expr())).collect();
        let site_time = names.iter().filter(|name| telemetry.contains(*name)).count();
        assert!(site_time == 0 || site_time == names.len(), "{} mixes clocks: {names:?}", group.name);
        of_sites += usize::from(site_time > 0);
    }
    assert_eq!(of_sites, 1);
}

// The document.

/// The table of `docs/alerts.md`.
fn table() -> String {
    let mut table = String::new();
    for name in pack::names() {
        let title = name[..1].to_uppercase() + &name[1..];
        let title = if name == "sos" { "`sos` itself" } else { &title };
        table.push_str(&format!("### {title}\n| alert | severity | when | runbook |\n|---|---|---|---|\n"));
        for rule in rules(name).groups.into_iter().flat_map(|group| group.rules) {
            if rule.alerting().is_none() {
                continue;
            }
            let runbook = annotation(&rule, "runbook");
            let told = told(pack::runbook(runbook).unwrap());
            let when = told.iter().find(|(alert, _)| *alert == rule.name).unwrap().1;
            let severity = &rule.labels["severity"];
            table.push_str(&format!(
                "| `{}` | {severity} | {when} | [{runbook}](../crates/watch/pack/runbooks/{runbook}.md) |\n",
                rule.name
            ));
        }
        table.push('\n');
    }
    table
}

/// `SOS_BLESS=1` writes the table anew.
#[test]
fn the_page_of_alerts_has_every_rule() {
    const MARKS: [&str; 2] = ["<!-- table of the pack, made by its test -->\n", "<!-- end of table -->"];
    let page = text("docs/alerts.md");
    let (before, rest) = page.split_once(MARKS[0]).unwrap();
    let (_, after) = rest.split_once(MARKS[1]).unwrap();
    let expected = format!("{before}{}{}{}{after}", MARKS[0], table(), MARKS[1]);
    if std::env::var_os("SOS_BLESS").is_some() {
        std::fs::write(root().join("docs/alerts.md"), &expected).unwrap();
        return;
    }
    assert_eq!(page, expected, "run this test with SOS_BLESS=1 and read what changed");
}
