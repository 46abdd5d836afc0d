//! What is declared about watching, as the pure crate understands it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use sos_model::{
    AlertRuleSpec, Day, Declared, NotifierSpec, Problem, QuietHours, Receiver, RulePack, Spec, Value,
};
use sos_watch::alerts::{self, Escalation, GroupBy, Route};
use sos_watch::rules::{self, Group, Rules};
use sos_watch::{Matcher, pack};

use crate::resources::in_one_line;
use crate::site::telemetry::DESCRIBED;

/// On which time a group of rules is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleClock {
    /// The real time: its series are metrics.
    Wall,
    /// That of the sites: all its series are telemetry of sites, or recorded from such.
    Site,
}

/// A group of rules with where it comes from.
#[derive(Clone, Debug)]
pub struct WatchedGroup {
    /// Name of its `AlertRule`, or `pack/NAME`.
    pub file: String,
    /// The rules.
    pub group: Group,
    /// The time it is evaluated on.
    pub clock: RuleClock,
}

/// Everything that is declared about watching.
#[derive(Clone, Debug, Default)]
pub struct WatchConfig {
    /// In the order of their files, then as written.
    pub groups: Vec<WatchedGroup>,
    /// Who is told of which alerts.
    pub alerts: alerts::Config,
    /// By name.
    pub notifiers: BTreeMap<String, NotifierSpec>,
}

/// Every problem of what is declared about watching, at its place.
#[must_use]
pub fn check(declared: &[Declared]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for one in declared {
        let found = match &one.spec {
            Spec::AlertRule(_) => rules_of(one).map(drop),
            Spec::Notifier(spec) => route(one, spec).map(drop).and(quiet(one, spec).map(drop)),
            _ => Ok(()),
        };
        problems.extend(found.err().into_iter().flatten());
    }
    problems
}

/// The configuration of valid resources. What this version does not understand of one is left out and answered by the
/// resource's id; everything else counts.
#[must_use]
pub fn config(declared: &[Declared]) -> (WatchConfig, BTreeMap<String, String>) {
    let (mut config, mut problems) = (WatchConfig::default(), BTreeMap::new());
    let mut packs = BTreeSet::new();
    for one in declared {
        let taken = match &one.spec {
            Spec::AlertRule(spec) => take_rules(&mut config, &mut packs, one, spec),
            Spec::Notifier(spec) => take_notifier(&mut config, one, spec),
            _ => Ok(()),
        };
        if let Err(found) = taken {
            problems.insert(one.id(), in_one_line(&found));
        }
    }
    for name in packs {
        match ready(name) {
            Ok(rules) => take(&mut config, &format!("pack/{name}"), rules),
            Err(found) => drop(problems.insert(format!("pack/{name}"), in_one_line(&found))),
        }
    }
    set_clocks(&mut config.groups);
    (config, problems)
}

fn take_rules(
    config: &mut WatchConfig,
    packs: &mut BTreeSet<RulePack>,
    one: &Declared,
    spec: &AlertRuleSpec,
) -> Result<(), Vec<Problem>> {
    take(config, one.name.as_str(), rules_of(one)?);
    packs.extend(&spec.pack);
    Ok(())
}

fn take_notifier(config: &mut WatchConfig, one: &Declared, spec: &NotifierSpec) -> Result<(), Vec<Problem>> {
    let (route, quiet) = (route(one, spec)?, quiet(one, spec)?);
    let heartbeat = matches!(spec.receiver, Receiver::Heartbeat(_));
    if !heartbeat && !spec.escalation_only {
        config.alerts.root.routes.push(route);
    }
    config.alerts.quiet.extend(quiet);
    if !spec.send_resolved {
        config.alerts.without_resolved.push(one.name.to_string());
    }
    config.notifiers.insert(one.name.to_string(), spec.clone());
    Ok(())
}

fn take(config: &mut WatchConfig, file: &str, rules: Rules) {
    let watched = |group| WatchedGroup { file: file.to_owned(), group, clock: RuleClock::Wall };
    config.groups.extend(rules.groups.into_iter().map(watched));
    config.alerts.inhibit.extend(rules.inhibit);
}

/// The ready rules of a name.
///
/// # Errors
/// What is wrong with them; a test holds that nothing is.
pub fn ready(name: RulePack) -> Result<Rules, Vec<Problem>> {
    let word = name.word();
    rules::read(&format!("pack/{word}"), pack::text(&word).unwrap_or_default().as_bytes())
}

/// What an `AlertRule` says itself, in the form of a rule file.
fn rules_of(one: &Declared) -> Result<Rules, Vec<Problem>> {
    let label = if one.source.path.is_empty() { one.id() } else { one.source.path.clone() };
    let mut written = one.written();
    if let Value::Map(entries) = &mut written.value {
        entries.retain(|(key, _)| key.text == "groups" || key.text == "inhibit");
    }
    rules::read_node(&label, &written)
}

fn matchers(one: &Declared, field: &str, texts: &[String]) -> Result<Vec<Matcher>, Vec<Problem>> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for (index, text) in texts.iter().enumerate() {
        match Matcher::parse(text) {
            Ok(matcher) => found.push(matcher),
            Err(wrong) => problems.push(one.problem(&format!("{field}[{index}]"), wrong, "")),
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

fn route(one: &Declared, spec: &NotifierSpec) -> Result<Route, Vec<Problem>> {
    let ms = |duration: jiff::SignedDuration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let group_by = match spec.group_by.iter().any(|label| label == "...") {
        true => GroupBy::All,
        false => GroupBy::Labels(spec.group_by.iter().map(|label| Arc::from(label.as_str())).collect()),
    };
    let escalation = spec.escalation.iter();
    let escalation = escalation
        .map(|step| Escalation { after_ms: ms(step.after), notifier: step.notifier.to_string() })
        .collect();
    Ok(Route {
        matchers: matchers(one, "spec.matchers", &spec.matchers)?,
        notifier: Some(one.name.to_string()),
        group_by: Some(group_by),
        group_wait_ms: Some(ms(spec.group_wait)),
        group_interval_ms: Some(ms(spec.group_interval)),
        repeat_interval_ms: Some(ms(spec.repeat_interval)),
        escalation: Some(escalation),
        go_on: true,
        routes: Vec::new(),
    })
}

fn quiet(one: &Declared, spec: &NotifierSpec) -> Result<Vec<alerts::QuietHours>, Vec<Problem>> {
    let hours = |(index, quiet): (usize, &QuietHours)| {
        Ok(alerts::QuietHours {
            matchers: matchers(one, &format!("spec.quietHours[{index}].matchers"), &quiet.matchers)?,
            days: quiet.days.iter().map(|day| weekday(*day)).collect(),
            from: quiet.from,
            to: quiet.to,
            zone: quiet.time_zone.as_ref().map_or(TimeZone::UTC, |zone| zone.zone().clone()),
            notifiers: vec![one.name.to_string()],
        })
    };
    spec.quiet_hours.iter().enumerate().map(hours).collect()
}

const fn weekday(day: Day) -> Weekday {
    match day {
        Day::Monday => Weekday::Monday,
        Day::Tuesday => Weekday::Tuesday,
        Day::Wednesday => Weekday::Wednesday,
        Day::Thursday => Weekday::Thursday,
        Day::Friday => Weekday::Friday,
        Day::Saturday => Weekday::Saturday,
        Day::Sunday => Weekday::Sunday,
    }
}

/// A group whose series are all telemetry of sites, or recorded from such by groups before it, is on their time.
fn set_clocks(groups: &mut [WatchedGroup]) {
    let mut known: BTreeSet<String> = DESCRIBED.iter().map(|described| described.name.to_owned()).collect();
    for watched in groups {
        let rules = &watched.group.rules;
        let recorded: BTreeSet<&str> =
            rules.iter().filter(|rule| rule.alerting().is_none()).map(|rule| rule.name.as_str()).collect();
        let Some(names) = rules.iter().map(|rule| rule.expr.metric_names()).collect::<Option<Vec<_>>>()
        else {
            continue;
        };
        let mut names = names.iter().flatten();
        let some = names.clone().any(|name| known.contains(*name));
        if some && names.all(|name| known.contains(*name) || recorded.contains(name)) {
            known.extend(recorded.into_iter().map(ToOwned::to_owned));
            watched.clock = RuleClock::Site;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(text: &str) -> Vec<Declared> {
        sos_model::load(&[("rules.yaml".to_owned(), text.as_bytes().to_vec())]).unwrap()
    }

    #[test]
    fn all_ready_rules_are_valid_and_on_the_time_of_their_series() {
        for name in RulePack::ALL {
            assert!(!ready(*name).unwrap().groups.is_empty(), "{name}");
        }
        let all = "apiVersion: sos.energy/v1alpha1\nkind: AlertRule\nmetadata: {name: all}\nspec: {pack: [services, sites, assets, forecasts, sos]}\n";
        let (config, problems) = config(&declared(all));
        assert_eq!(problems, BTreeMap::new());
        let of_sites = config.groups.iter().filter(|watched| watched.clock == RuleClock::Site);
        assert_eq!(of_sites.map(|watched| &watched.group.name).collect::<Vec<_>>(), ["sos-sites-plan"]);
        assert!(!config.alerts.inhibit.is_empty());
    }

    #[test]
    fn rules_over_telemetry_of_sites_are_on_their_time() {
        let rules = "groups:\n- name: a\n  rules:\n  - {record: 'site:grid', expr: sum(site_grid_kw)}\n- name: b\n  rules:\n  - {alert: Much, expr: 'site:grid > 5'}\n- name: c\n  rules:\n  - {alert: Mixed, expr: 'site:grid > on() up'}\n- name: d\n  rules:\n  - {alert: Open, expr: '{a=\"b\"}'}\n";
        let declared = declared(rules);
        assert_eq!(declared[0].id(), "AlertRule/rules");
        let clocks: Vec<RuleClock> = config(&declared).0.groups.iter().map(|watched| watched.clock).collect();
        assert_eq!(clocks, [RuleClock::Site, RuleClock::Site, RuleClock::Wall, RuleClock::Wall]);
    }

    #[test]
    fn problems_of_rules_and_matchers_have_their_place() {
        let text = "apiVersion: sos.energy/v1alpha1\nkind: AlertRule\nmetadata: {name: a}\nspec:\n  groups:\n  - name: g\n    rules:\n    - alert: A\n      expr: sum(\n---\napiVersion: sos.energy/v1alpha1\nkind: Notifier\nmetadata: {name: n}\nspec:\n  webhook: {url: 'http://x/'}\n  matchers:\n  - severity\n";
        let problems: Vec<String> = check(&declared(text)).iter().map(ToString::to_string).collect();
        assert!(problems[0].starts_with("rules.yaml:9:"), "{problems:?}");
        assert!(problems[1].starts_with("rules.yaml:17:5: spec.matchers[0]:"), "{problems:?}");
    }
}
