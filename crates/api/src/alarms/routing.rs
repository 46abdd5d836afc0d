//! Which notifiers would be told of an alert, and in which groups: for clients that ask Alertmanager's questions.

use std::sync::Arc;

use sos_watch::Labels;
use sos_watch::alerts::{GroupBy, Route};
use sos_watch::rules::ALERT_NAME;

/// Deeper trees are cut, as where notifications are decided.
const MAX_DEPTH: usize = 32;

/// What a route says, with what it takes from those above.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) notifier: String,
    group_by: GroupBy,
}

impl Target {
    pub(super) fn group_labels(&self, labels: &Labels) -> Labels {
        match &self.group_by {
            GroupBy::All => labels.clone(),
            GroupBy::Labels(names) => labels.keep(names),
        }
    }

    fn below(&self, route: &Route) -> Self {
        Self {
            notifier: route.notifier.clone().unwrap_or_else(|| self.notifier.clone()),
            group_by: route.group_by.clone().unwrap_or_else(|| self.group_by.clone()),
        }
    }
}

/// Everything that takes an alert, at least the root.
pub(super) fn targets(root: &Route, labels: &Labels) -> Vec<Target> {
    let names: Vec<Arc<str>> = vec![ALERT_NAME.into()];
    let usual = Target { notifier: String::new(), group_by: GroupBy::Labels(names) };
    let mut found = Vec::new();
    collect(root, usual.below(root), labels, 0, &mut found);
    found
}

fn collect(route: &Route, own: Target, labels: &Labels, depth: usize, found: &mut Vec<Target>) {
    let before = found.len();
    for below in route.routes.iter().filter(|_| depth < MAX_DEPTH) {
        if below.matchers.iter().all(|m| m.matches(labels.get(m.name()))) {
            collect(below, own.below(below), labels, depth + 1, found);
            if !below.go_on {
                break;
            }
        }
    }
    if found.len() == before {
        found.push(own);
    }
}

#[cfg(test)]
mod tests {
    use sos_watch::{MatchOp, Matcher};

    use super::*;

    #[test]
    fn the_first_route_that_matches_takes_an_alert_and_the_root_takes_the_rest() {
        let route = |value: &str, notifier: Option<&str>, go_on| Route {
            matchers: vec![Matcher::new(MatchOp::Equal, "severity", value).unwrap()],
            notifier: notifier.map(str::to_owned),
            go_on,
            ..Route::default()
        };
        let root = Route {
            notifier: Some("mail".to_owned()),
            group_by: Some(GroupBy::All),
            routes: vec![
                route("page", Some("audit"), true),
                route("page", None, false),
                route("page", Some("x"), false),
            ],
            ..Route::default()
        };
        let names =
            |labels: &Labels| targets(&root, labels).into_iter().map(|t| t.notifier).collect::<Vec<_>>();
        let page = Labels::new([("severity", "page")]);
        assert_eq!(
            (names(&page), names(&Labels::empty())),
            (vec!["audit".into(), "mail".into()], vec!["mail".into()])
        );
        assert_eq!(targets(&root, &page)[0].group_labels(&page), page);
        assert!(targets(&Route::default(), &page)[0].group_labels(&page).is_empty());
    }
}
