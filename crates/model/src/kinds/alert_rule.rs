//! `AlertRule`: rules that watch series.

use crate::declare::{record, words};
use crate::field::Cx;
use crate::node::Node;
use crate::verbatim::Verbatim;

record! {
    /// Rules that watch series and say when something is wrong. A file in Prometheus' format, with nothing but `groups`,
    /// is taken as an `AlertRule` named after the file.
    pub struct AlertRuleSpec checked by check_alert_rule {
        /// Ready rules, each with a runbook; `sos alerts pack` lists them.
        pack: Vec<RulePack> = Vec::new();
        /// Groups of alerting and recording rules, as below `groups` in a rule file of Prometheus.
        groups: Vec<Verbatim> = Vec::new();
        /// While an alert fires, others that it explains are not told.
        inhibit: Vec<Inhibit> = Vec::new();
    }
}

words! {
    /// Ready rules.
    pub enum RulePack as "pack" {
        /// Services: down, not ready, restarting, short of memory; scrape targets.
        Services,
        /// Sites: limits, plans, the loop itself.
        Sites,
        /// Assets: unavailable, not following.
        Assets,
        /// Forecasts: drifting.
        Forecasts,
        /// `sos` itself: rules, notifications, store, disk.
        Sos,
    }
}

record! {
    /// While an alert that matches `source` fires, alerts that match `target` and have the same values of the labels
    /// `equal` are not told.
    pub struct Inhibit {
        /// Matchers as in PromQL, such as `severity="critical"`; all must hold.
        source: Vec<String>;
        /// Matchers of the alerts that are not told.
        target: Vec<String>;
        /// Names of labels.
        equal: Vec<String> = Vec::new();
    }
}

fn check_alert_rule(rule: &AlertRuleSpec, node: &Node, cx: &mut Cx<'_>) {
    if rule.pack.is_empty() && rule.groups.is_empty() && rule.inhibit.is_empty() {
        cx.report(node.position, "there is no rule", "expected pack, groups or inhibit");
    }
}
