//! Label selectors, in the form Kubernetes users know.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::error::StoreError;
use crate::telemetry::Labels;

/// Which labels a resource must have: `app=web,tier!=test,zone in (a, b),!old,gpu`. The default matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, BTreeSet<String>),
    NotIn(String, BTreeSet<String>),
    Exists(String),
    Absent(String),
}

impl Selector {
    /// Matches everything.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Whether labels meet every requirement. A label that is absent meets `!=` and `notin`.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|v| values.contains(v)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|v| !values.contains(v)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Absent(key) => !labels.contains_key(key),
        })
    }
}

impl FromStr for Selector {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let parts = split(text);
        parts
            .into_iter()
            .filter(|p| !p.trim().is_empty())
            .map(requirement)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// At commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn requirement(part: &str) -> Result<Requirement, StoreError> {
    let part = part.trim();
    let one = |value: &str| BTreeSet::from([value.trim().to_owned()]);
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(word(key, part)?, one(value)));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement::In(word(key, part)?, one(value)));
    }
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement::Absent(word(key, part)?));
    }
    if let Some((key, values)) = part.strip_suffix(')').and_then(|p| p.split_once('(')) {
        let values = values.split(',').map(|v| v.trim().to_owned()).collect();
        return match key.trim().rsplit_once(char::is_whitespace) {
            Some((key, "in")) => Ok(Requirement::In(word(key, part)?, values)),
            Some((key, "notin")) => Ok(Requirement::NotIn(word(key, part)?, values)),
            _ => Err(wrong(part)),
        };
    }
    Ok(Requirement::Exists(word(part, part)?))
}

fn word(key: &str, part: &str) -> Result<String, StoreError> {
    let key = key.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !key.is_empty() && key.chars().all(fits) { Ok(key.to_owned()) } else { Err(wrong(part)) }
}

fn wrong(part: &str) -> StoreError {
    StoreError::invalid(format!(
        "selector `{part}` is none of `key=value`, `key!=value`, `key in (a, b)`, `key notin (a, b)`, `key`, `!key`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str) -> bool {
        let labels = [("app", "web"), ("zone", "a")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        selector.parse::<Selector>().unwrap().matches(&Labels::from(labels))
    }

    #[test]
    fn every_form_selects_as_in_kubernetes() {
        for yes in
            ["", "app=web", "app==web", "app!=db", "zone in (b, a),app", "zone notin (b)", "!gpu", "gpu!=x"]
        {
            assert!(matches(yes), "{yes}");
        }
        for no in ["app=db", "app!=web", "zone in (b,c)", "zone notin (a,b)", "gpu", "!app", "app=web,gpu=x"]
        {
            assert!(!matches(no), "{no}");
        }
    }

    #[test]
    fn a_wrong_selector_is_refused_with_the_known_forms() {
        for wrong in ["zone of (a)", "=x", "a b", "in (a)"] {
            let error = wrong.parse::<Selector>().unwrap_err();
            assert!(error.to_string().contains("key notin (a, b)"), "{wrong}: {error}");
        }
    }
}
