//! Running the tests of a file.

use std::collections::BTreeMap;

use sos_model::Problem;

use super::file::{ExpectedAlert, Test, TestFile};
use super::store::Store;
use super::{Failure, FileReport, RuleFiles, TestReport, compare, file};
use crate::duration;
use crate::labels::Labels;
use crate::promql::{Options, Query};
use crate::rules::{self, AlertState, Environment, Group, RuleRun, RuleState, run_rule};
use crate::series::{STALE, Sample};

/// More evaluations of one test are refused: a day of them each second is less.
const MAX_EVALUATIONS: i64 = 1_000_000;

/// Runs the tests of a file in promtool's format.
pub fn run(path: &str, bytes: &[u8], files: &dyn RuleFiles) -> FileReport {
    let mut report = FileReport { path: path.to_owned(), ..FileReport::default() };
    let file = match file::read(path, bytes) {
        Ok(file) => file,
        Err(problems) => return FileReport { problems, ..report },
    };
    if file.tests.is_empty() {
        report.warnings.push("no tests in this file".to_owned());
        return report;
    }
    let groups = groups(&file, &mut report, files);
    if report.problems.is_empty() {
        report.tests = file.tests.iter().map(|test| run_test(test, &file, &groups)).collect();
    }
    report
}

/// The groups of all rule files in the order in which they are evaluated.
fn groups(file: &TestFile, report: &mut FileReport, files: &dyn RuleFiles) -> Vec<Group> {
    let mut found: BTreeMap<usize, Vec<Group>> = BTreeMap::new();
    let mut known: Vec<String> = Vec::new();
    for (place, pattern) in &file.rule_files {
        let pattern = beside(&report.path, pattern);
        let matching = files.matching(&pattern).unwrap_or_else(|message| {
            let message = format!("rule file {pattern}: {message}");
            report.problems.push(Problem::at(
                &report.path,
                *place,
                message,
                "expected the path of a rule file",
            ));
            Vec::new()
        });
        if matching.is_empty() {
            report.warnings.push(format!("no file matches {pattern}"));
        }
        for (path, bytes) in matching {
            if known.contains(&path) {
                continue;
            }
            match rules::read(&path, &bytes) {
                Ok(rules) => {
                    for group in rules.groups {
                        let order = file.group_eval_order.iter().position(|name| *name == group.name);
                        found.entry(order.unwrap_or(0)).or_default().push(group);
                    }
                }
                Err(problems) => report.problems.extend(problems),
            }
            known.push(path);
        }
    }
    found.into_values().flatten().collect()
}

/// A path beside the test file, or an absolute one as it is.
fn beside(test: &str, path: &str) -> String {
    match test.rsplit_once('/') {
        Some((folder, _)) if !path.starts_with('/') => format!("{folder}/{path}"),
        _ => path.to_owned(),
    }
}

/// A test as it runs.
struct Running<'t> {
    test: &'t Test,
    groups: &'t [Group],
    states: Vec<Vec<RuleState>>,
    store: Store<'t>,
    environment: Environment<'t>,
    report: TestReport,
}

fn run_test(test: &Test, file: &TestFile, groups: &[Group]) -> TestReport {
    let options = Options { default_step_ms: file.evaluation_interval_ms, ..Options::default() };
    let environment = Environment {
        external_labels: &test.external_labels,
        external_url: &test.external_url,
        options,
        elapsed_us: &|| 0,
    };
    let states = groups.iter().map(|group| vec![RuleState::default(); group.rules.len()]).collect();
    let report = TestReport { name: test.name.clone(), ..TestReport::default() };
    let mut running = Running { test, groups, states, store: Store::new(&test.series), environment, report };
    let evaluations = test.last_ms() / file.evaluation_interval_ms + 1;
    if evaluations > MAX_EVALUATIONS {
        let message = format!(
            "{evaluations} evaluations up to {}, {MAX_EVALUATIONS} are allowed; take a larger evaluation_interval",
            duration::format(test.last_ms())
        );
        running.report.failures.push(Failure { place: test.place, message });
    } else if running.evaluate_all(file.evaluation_interval_ms) {
        running.check_exprs(file.fuzzy);
    }
    running.report
}

impl Running<'_> {
    /// Evaluates the rules at each step and compares alerts; false when a rule failed, which ends the test.
    fn evaluate_all(&mut self, step_ms: i64) -> bool {
        let mut at = 0;
        while at <= self.test.last_ms() {
            let failures = self.evaluate(self.test.start_ms + at);
            if !failures.is_empty() {
                self.report.failures.extend(failures);
                return false;
            }
            self.check_alerts(at, at + step_ms);
            at += step_ms;
        }
        true
    }

    fn evaluate(&mut self, now_ms: i64) -> Vec<Failure> {
        let place = self.test.place;
        let fail = |rule: &str, message: &str| {
            let time = duration::format(now_ms);
            Failure { place, message: format!("rule: {rule}, time: {time}, err: {message}") }
        };
        if let Err(message) = self.store.load_until(now_ms) {
            return vec![fail("none", &message)];
        }
        let mut failures = Vec::new();
        for (group, states) in self.groups.iter().zip(&mut self.states) {
            for (rule, state) in group.rules.iter().zip(states) {
                let at_ms = now_ms - group.query_offset_ms;
                let run = RuleRun { rule, limit: group.limit, now_ms, at_ms, store_alerts: true };
                let result = run_rule(&run, &self.store, state, &self.environment);
                let stored = result.and_then(|(samples, _)| keep(&mut self.store, state, samples, at_ms));
                if let Err(message) = stored {
                    failures.push(fail(&rule.name, &message));
                }
            }
        }
        failures
    }

    /// Compares the alerts of all tests from `from_ms` up to but not including `to_ms`.
    fn check_alerts(&mut self, from_ms: i64, to_ms: i64) {
        for test in self.test.alerts.iter().filter(|test| (from_ms..to_ms).contains(&test.eval_ms)) {
            self.report.compared += 1;
            let got = self.firing(&test.alert);
            if let Some(difference) = compare::alerts(test.expected.clone(), got) {
                let time = duration::format(test.eval_ms);
                let message = format!("alertname: {}, time: {time},{difference}", test.alert);
                self.report.failures.push(Failure { place: test.place, message });
            }
        }
    }

    /// Alerts of this name that fire, of all groups.
    fn firing(&self, name: &str) -> Vec<ExpectedAlert> {
        let rules = self.groups.iter().flat_map(|group| &group.rules).zip(self.states.iter().flatten());
        let named = rules.filter(|(rule, _)| rule.alerting().is_some() && rule.name == name);
        let alerts = named.flat_map(|(_, state)| &state.alerts).filter(|a| a.state == AlertState::Firing);
        alerts.map(|alert| (pairs(&alert.labels), alert.annotations.clone())).collect()
    }

    fn check_exprs(&mut self, fuzzy: bool) {
        for test in &self.test.exprs {
            self.report.compared += 1;
            let at_ms = self.test.start_ms + test.eval_ms;
            let options = &self.environment.options;
            let got = Query::parse(&test.expr)
                .map_err(|error| error.to_string())
                .and_then(|query| rules::vector(&query, &self.store, at_ms, options));
            let problem = match got {
                Ok(got) => compare::samples(test.expected.clone(), got, fuzzy),
                Err(message) => Some(format!(" err: {message}")),
            };
            if let Some(problem) = problem {
                let time = duration::format(test.eval_ms);
                let message = format!("expr: {:?}, time: {time},{problem}", test.expr);
                self.report.failures.push(Failure { place: test.place, message });
            }
        }
    }
}

fn pairs(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Stores what a rule gave, and the ends of series that it gives no more.
fn keep(
    store: &mut Store<'_>,
    state: &mut RuleState,
    samples: Vec<(Labels, f64)>,
    t: i64,
) -> Result<(), String> {
    let mut result = Ok(());
    let mut stored = Vec::with_capacity(samples.len());
    for (labels, v) in samples {
        match store.append(&labels, Sample { t, v }) {
            Ok(()) => stored.push(labels),
            Err(message) => result = Err(message),
        }
    }
    for labels in state.replace_series(stored) {
        // Another rule may have gone on with the series.
        let _ = store.append(&labels, Sample { t, v: STALE });
    }
    result
}
