//! Names that texts refer to: what `use` declares, and the tasks beside a task.

use std::collections::BTreeSet;

use sos_model::{did_you_mean, known_list, shown};

use crate::node::Node;

/// A part of `use` whose entries are referred to by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Authentications,
    Catalogs,
    Errors,
    Functions,
    Retries,
    Secrets,
    Timeouts,
}

/// Section, its key in `use`, what a reference to it is.
const SECTIONS: [(Section, &str, &str); 7] = [
    (Section::Authentications, "authentications", "the name of an authentication in `use`"),
    (Section::Catalogs, "catalogs", "the name of a catalog in `use`"),
    (Section::Errors, "errors", "the name of an error in `use`"),
    (Section::Functions, "functions", "the name of a function in `use`"),
    (Section::Retries, "retries", "the name of a retry policy in `use`"),
    (Section::Secrets, "secrets", "the name of a secret in `use`"),
    (Section::Timeouts, "timeouts", "the name of a timeout in `use`"),
];

impl Section {
    fn row(self) -> (Self, &'static str, &'static str) {
        SECTIONS[self as usize]
    }

    pub(crate) fn key(self) -> &'static str {
        self.row().1
    }

    pub(crate) fn expected(self) -> &'static str {
        self.row().2
    }
}

/// What a document declares in `use`.
#[derive(Debug, Default)]
pub(crate) struct Declared<'n>(Vec<BTreeSet<&'n str>>);

impl<'n> Declared<'n> {
    pub(crate) fn of(root: &'n Node) -> Self {
        let uses = root.get("use");
        let names = |key: &str| {
            let section = uses.and_then(|uses| uses.get(key));
            let keys =
                section.map(Node::entries).unwrap_or_default().iter().map(|(key, _)| key.text.as_str());
            let items = section.map(Node::items).unwrap_or_default().iter().filter_map(Node::text);
            keys.chain(items).collect()
        };
        Self(SECTIONS.iter().map(|(_, key, _)| names(key)).collect())
    }

    fn names(&self, section: Section) -> impl Iterator<Item = &'n str> {
        self.0.get(section as usize).into_iter().flatten().copied()
    }

    /// Why a name does not refer to something declared: the message and what to do.
    pub(crate) fn objection(&self, section: Section, name: &str) -> Option<(String, String)> {
        if self.0.get(section as usize).is_some_and(|names| names.contains(name)) {
            return None;
        }
        let message = format!("\"{}\" is not declared in `use.{}`", shown(name), section.key());
        Some((message, known(name, || self.names(section))))
    }

    /// The same of a function that is called: it may be one of a catalog (`name:version@catalog`) or a URL.
    pub(crate) fn function_objection(
        &self,
        name: &str,
        protocols: &[&'static str],
    ) -> Option<(String, String)> {
        if name.contains("://") {
            return None;
        }
        let Some((function, catalog)) = name.rsplit_once('@') else {
            let message = self.objection(Section::Functions, name)?.0;
            let names = || self.names(Section::Functions).chain(protocols.iter().copied());
            return Some((message, known(name, names)));
        };
        let named =
            function.split_once(':').is_some_and(|(name, version)| !name.is_empty() && !version.is_empty());
        if !named {
            let message = format!("\"{}\" is no function of a catalog", shown(name));
            return Some((message, "expected name:version@catalog".to_owned()));
        }
        if catalog == "default" { None } else { self.objection(Section::Catalogs, catalog) }
    }
}

/// Where flow directives can go.
#[derive(Debug)]
pub(crate) enum Scope<'n> {
    /// To these tasks.
    Sequence(BTreeSet<&'n str>),
    /// To none: the tasks run side by side.
    Branches,
}

/// Why a flow directive leads nowhere. Without a scope the task is a function of its own.
pub(crate) fn directive_objection(scope: Option<&Scope<'_>>, to: &str) -> Option<(String, String)> {
    if matches!(to, "continue" | "exit" | "end") {
        return None;
    }
    let shown = shown(to);
    let help = "expected continue, exit or end".to_owned();
    match scope {
        Some(Scope::Sequence(names)) if names.contains(to) => None,
        Some(Scope::Sequence(names)) => {
            let message = format!("there is no task \"{shown}\" in the same list");
            let names = || names.iter().copied().chain(["continue", "exit", "end"]);
            Some((message, known(to, names)))
        }
        Some(Scope::Branches) => {
            Some((format!("\"{shown}\" cannot follow a branch: branches run side by side"), help))
        }
        None => Some((format!("\"{shown}\" cannot follow a function: it has no task beside it"), help)),
    }
}

/// The known names, with the nearest first.
fn known<'a, I: Iterator<Item = &'a str>>(name: &str, names: impl Fn() -> I) -> String {
    // A slip is looked for among as many names as people keep in mind.
    const COMPARED: usize = 1000;
    format!("{}{}", did_you_mean(name, names().take(COMPARED)), known_list(names()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sections_stand_in_the_order_of_their_enum() {
        for (section, ..) in SECTIONS {
            assert_eq!(section.row().0, section);
        }
    }

    #[test]
    fn functions_are_declared_of_a_catalog_or_a_url() {
        let root = Node::from_json(&json!({"use": {"functions": {"getPet": {}}, "catalogs": {"mine": {}}}}));
        let declared = Declared::of(&root);
        for called in ["getPet", "a:1.0.0@mine", "soap:1.0.0@default", "https://a/b.yaml"] {
            assert_eq!(declared.function_objection(called, &["http"]), None, "{called}");
        }
        let (message, help) = declared.function_objection("getPets", &["http"]).unwrap();
        assert_eq!(message, "\"getPets\" is not declared in `use.functions`");
        assert_eq!(help, "did you mean \"getPet\"?; known: getPet, http");
        assert!(declared.function_objection("a:1@yours", &[]).unwrap().1.contains("known: mine"));
        assert!(declared.function_objection("a@mine", &[]).unwrap().1.contains("name:version@catalog"));
    }

    #[test]
    fn directives_stay_in_their_list() {
        let scope = Scope::Sequence(["first", "second"].into());
        assert_eq!(directive_objection(Some(&scope), "second"), None);
        assert_eq!(directive_objection(None, "exit"), None);
        let (message, help) = directive_objection(Some(&scope), "secnd").unwrap();
        assert_eq!(message, "there is no task \"secnd\" in the same list");
        assert!(help.starts_with("did you mean \"second\"?; known: first, second"), "{help}");
        assert!(directive_objection(Some(&Scope::Branches), "first").is_some());
        assert!(directive_objection(None, "first").is_some());
    }
}
