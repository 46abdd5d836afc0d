//! The kinds by name.

use crate::problem::{did_you_mean, known_list, shown};

/// The version of all kinds.
pub const API_VERSION: &str = "sos.energy/v1alpha1";

/// A kind that is declared in manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A program that runs.
    Service,
    /// A connection to the grid.
    Site,
    /// A battery, a solar plant or a load.
    Asset,
    /// A series of values from outside.
    Signal,
    /// Where secret values come from.
    Secret,
    /// Rules that watch series.
    AlertRule,
    /// Who is told of alerts.
    Notifier,
    /// Where events flow.
    Channel,
    /// A machine that services run on.
    Machine,
    /// A person's order about an asset.
    Override,
    /// Work in steps.
    Workflow,
    /// What is done when something happens.
    Rule,
}

/// A kind that `sos` writes and people only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadOnlyKind {
    /// A run of a job or workflow.
    Run,
    /// A plan of a site.
    Plan,
    /// A forecast.
    Forecast,
    /// An alert.
    Alert,
    /// Something that happened.
    Event,
}

/// What `get` can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnyKind {
    /// A declared kind.
    Declared(Kind),
    /// A read-only kind.
    ReadOnly(ReadOnlyKind),
}

impl Kind {
    /// All declared kinds.
    pub const ALL: [Self; 12] = [
        Self::Service,
        Self::Site,
        Self::Asset,
        Self::Signal,
        Self::Secret,
        Self::AlertRule,
        Self::Notifier,
        Self::Channel,
        Self::Machine,
        Self::Override,
        Self::Workflow,
        Self::Rule,
    ];

    /// The name as in `kind:`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Site => "Site",
            Self::Asset => "Asset",
            Self::Signal => "Signal",
            Self::Secret => "Secret",
            Self::AlertRule => "AlertRule",
            Self::Notifier => "Notifier",
            Self::Channel => "Channel",
            Self::Machine => "Machine",
            Self::Override => "Override",
            Self::Workflow => "Workflow",
            Self::Rule => "Rule",
        }
    }

    /// The name for many, in lower case.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::Site => "sites",
            Self::Asset => "assets",
            Self::Signal => "signals",
            Self::Secret => "secrets",
            Self::AlertRule => "alertrules",
            Self::Notifier => "notifiers",
            Self::Channel => "channels",
            Self::Machine => "machines",
            Self::Override => "overrides",
            Self::Workflow => "workflows",
            Self::Rule => "rules",
        }
    }

    /// Short names.
    #[must_use]
    pub const fn short_names(self) -> &'static [&'static str] {
        match self {
            Self::Service => &["svc"],
            Self::Site => &["st"],
            Self::Asset => &["as"],
            Self::Signal => &["sig"],
            Self::Secret => &["sec"],
            Self::AlertRule => &["ar"],
            Self::Notifier => &["ntf"],
            Self::Channel => &["ch"],
            Self::Machine => &["mc"],
            Self::Override => &["ovr"],
            Self::Workflow => &["wf"],
            Self::Rule => &["rl"],
        }
    }

    /// The kind by its name, plural or short name, whatever the case.
    ///
    /// # Errors
    /// A message with the known names when there is none.
    pub fn resolve(text: &str) -> Result<Self, String> {
        let lower = text.to_lowercase();
        Self::ALL.into_iter().find(|kind| kind.answers_to(&lower)).ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            format!("unknown kind \"{}\"; {}{}", shown(text), did_you_mean(text, names), known_list(names))
        })
    }

    fn answers_to(self, lower: &str) -> bool {
        self.name().to_lowercase() == lower || self.plural() == lower || self.short_names().contains(&lower)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl ReadOnlyKind {
    /// All read-only kinds.
    pub const ALL: [Self; 5] = [Self::Run, Self::Plan, Self::Forecast, Self::Alert, Self::Event];

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Run => "Run",
            Self::Plan => "Plan",
            Self::Forecast => "Forecast",
            Self::Alert => "Alert",
            Self::Event => "Event",
        }
    }

    /// The name for many, in lower case.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Run => "runs",
            Self::Plan => "plans",
            Self::Forecast => "forecasts",
            Self::Alert => "alerts",
            Self::Event => "events",
        }
    }
}

impl std::fmt::Display for ReadOnlyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl AnyKind {
    /// The kind by its name, plural or short name (`svc`, `ev`), whatever the case.
    ///
    /// # Errors
    /// A message with the known names when there is none.
    pub fn resolve(text: &str) -> Result<Self, String> {
        let lower = text.to_lowercase();
        if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.answers_to(&lower)) {
            return Ok(Self::Declared(kind));
        }
        let found = ReadOnlyKind::ALL.into_iter().find(|kind| {
            kind.name().to_lowercase() == lower
                || kind.plural() == lower
                || (*kind == ReadOnlyKind::Event && lower == "ev")
        });
        found.map(Self::ReadOnly).ok_or_else(|| {
            let names: Vec<&str> = Kind::ALL
                .map(Kind::name)
                .into_iter()
                .chain(ReadOnlyKind::ALL.map(ReadOnlyKind::name))
                .collect();
            let hint = did_you_mean(text, names.iter().copied());
            format!("unknown kind \"{}\"; {hint}{}", shown(text), known_list(names))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_answer_to_plural_and_short_names_in_any_case() {
        for text in ["Service", "services", "SVC", "svc"] {
            assert_eq!(Kind::resolve(text), Ok(Kind::Service));
        }
        assert_eq!(AnyKind::resolve("ev"), Ok(AnyKind::ReadOnly(ReadOnlyKind::Event)));
        assert_eq!(
            Kind::resolve("Servce").unwrap_err(),
            "unknown kind \"Servce\"; did you mean \"Service\"?; known: Service, Site, Asset, Signal, Secret, AlertRule, Notifier, Channel, Machine, Override, Workflow, Rule"
        );
    }
}
