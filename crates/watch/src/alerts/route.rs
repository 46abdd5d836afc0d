//! Which notifier an alert goes to, and with which others it is grouped.

use std::sync::Arc;

use crate::labels::Labels;
use crate::matcher::Matcher;

/// A node of the tree of routes. An alert goes down into the first route below that matches, and into further ones
/// after a route with `go_on`; where none matches, this one takes it. What is not stated is as in the route above.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// All must hold; those of the root are not looked at.
    pub matchers: Vec<Matcher>,
    pub notifier: Option<String>,
    pub group_by: Option<GroupBy>,
    /// How long the first alert of a group waits for others, in ms.
    pub group_wait_ms: Option<i64>,
    /// How long a group waits after a notification before it tells of changes, in ms.
    pub group_interval_ms: Option<i64>,
    /// After how long a group that still fires is told again, in ms.
    pub repeat_interval_ms: Option<i64>,
    /// Who is told when nobody acknowledges.
    pub escalation: Option<Vec<Escalation>>,
    /// Whether routes after this one are looked at too.
    pub go_on: bool,
    pub routes: Vec<Route>,
}

/// A further notifier, some time after the first notification that nobody acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// In ms.
    pub after_ms: i64,
    pub notifier: String,
}

/// Which labels make a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// Alerts with the same values of these.
    Labels(Vec<Arc<str>>),
    /// Each alert is a group of its own.
    All,
}

/// What holds for the alerts of one route.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The matchers on the way to it: `{}/{severity="page"}`.
    pub(super) id: String,
    pub(super) notifier: String,
    pub(super) group_by: GroupBy,
    pub(super) group_wait_ms: i64,
    pub(super) group_interval_ms: i64,
    pub(super) repeat_interval_ms: i64,
    pub(super) escalation: Vec<Escalation>,
}

impl Default for Target {
    /// 5 s so that alerts of one cause come together, changes every 5 min, repeated every 4 h.
    fn default() -> Self {
        Self {
            id: String::new(),
            notifier: String::new(),
            group_by: GroupBy::Labels(vec![crate::rules::ALERT_NAME.into()]),
            group_wait_ms: 5_000,
            group_interval_ms: 300_000,
            repeat_interval_ms: 14_400_000,
            escalation: Vec::new(),
        }
    }
}

impl Target {
    fn below(&self, route: &Route, id: String) -> Self {
        Self {
            id,
            notifier: route.notifier.clone().unwrap_or_else(|| self.notifier.clone()),
            group_by: route.group_by.clone().unwrap_or_else(|| self.group_by.clone()),
            group_wait_ms: route.group_wait_ms.unwrap_or(self.group_wait_ms).max(0),
            // Without a pause a group would be looked at without end.
            group_interval_ms: route.group_interval_ms.unwrap_or(self.group_interval_ms).max(1_000),
            repeat_interval_ms: route.repeat_interval_ms.unwrap_or(self.repeat_interval_ms).max(1_000),
            escalation: route.escalation.clone().unwrap_or_else(|| self.escalation.clone()),
        }
    }

    /// The labels of the group that an alert belongs to.
    pub(super) fn group_labels(&self, labels: &Labels) -> Labels {
        match &self.group_by {
            GroupBy::All => labels.clone(),
            GroupBy::Labels(names) => labels.keep(names),
        }
    }
}

/// Deeper trees are cut.
const MAX_DEPTH: usize = 32;

impl Route {
    /// Everything that takes the alert, at least the root.
    pub(super) fn targets(&self, labels: &Labels) -> Vec<Target> {
        let root = Target::default().below(self, "{}".to_owned());
        self.below(labels, &root, 0)
    }

    fn below(&self, labels: &Labels, own: &Target, depth: usize) -> Vec<Target> {
        let mut found = Vec::new();
        for (index, route) in self.routes.iter().enumerate().filter(|_| depth < MAX_DEPTH) {
            if !route.matchers.iter().all(|m| m.matches(labels.get(m.name()))) {
                continue;
            }
            let matchers: Vec<String> = route.matchers.iter().map(Matcher::to_string).collect();
            // Of several routes with the same matchers each has groups of its own.
            let again = self.routes[..index].iter().any(|earlier| earlier.matchers == route.matchers);
            let notifier = route.notifier.as_deref().filter(|_| again).map(|name| format!("@{name}"));
            let id = format!("{}/{{{}}}{}", own.id, matchers.join(","), notifier.unwrap_or_default());
            let target = own.below(route, id);
            found.extend(route.below(labels, &target, depth + 1));
            if !route.go_on {
                break;
            }
        }
        if found.is_empty() {
            found.push(own.clone());
        }
        found
    }

    /// Every notifier that a route names.
    pub fn notifiers(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.notifier.iter().map(String::as_str).collect();
        names.extend(self.escalation.iter().flatten().map(|escalation| escalation.notifier.as_str()));
        names.extend(self.routes.iter().flat_map(Self::notifiers));
        names.sort_unstable();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::MatchOp;

    fn route(name: &str, value: &str, notifier: &str) -> Route {
        let matcher = Matcher::new(MatchOp::Equal, name, value).unwrap();
        Route { matchers: vec![matcher], notifier: Some(notifier.to_owned()), ..Route::default() }
    }

    fn notifiers(root: &Route, pairs: &[(&'static str, &'static str)]) -> Vec<String> {
        let labels = Labels::new(pairs.iter().copied());
        root.targets(&labels).into_iter().map(|target| target.notifier).collect()
    }

    #[test]
    fn the_first_route_that_matches_takes_an_alert_and_the_root_takes_the_rest() {
        let mut audit = route("severity", "page", "audit");
        audit.go_on = true;
        let mut team = route("team", "grid", "grid");
        team.routes.push(route("severity", "page", "grid-phone"));
        let root = Route {
            notifier: Some("mail".to_owned()),
            routes: vec![audit, team, route("severity", "page", "phone")],
            ..Route::default()
        };
        assert_eq!(notifiers(&root, &[("a", "b")]), ["mail"]);
        assert_eq!(notifiers(&root, &[("team", "grid")]), ["grid"]);
        assert_eq!(notifiers(&root, &[("severity", "page")]), ["audit", "phone"]);
        assert_eq!(notifiers(&root, &[("team", "grid"), ("severity", "page")]), ["audit", "grid-phone"]);
        let ids: Vec<String> =
            root.targets(&Labels::new([("team", "grid")])).into_iter().map(|target| target.id).collect();
        assert_eq!(ids, [r#"{}/{team="grid"}"#]);
        assert_eq!(root.notifiers(), ["audit", "grid", "grid-phone", "mail", "phone"]);
    }
}
