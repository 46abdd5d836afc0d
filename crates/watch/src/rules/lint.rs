//! Rules that are allowed but surely not meant.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Rules;

type Texts = BTreeMap<Arc<str>, Arc<str>>;

/// Several rules with the same name and labels: they write the same series, and one hides the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    pub name: String,
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Lines where they are written.
    pub lines: Vec<u32>,
}

/// Each name with labels that occurs more than once in a file, as promtool's lint counts them.
pub fn duplicates(rules: &Rules) -> Vec<Duplicate> {
    let mut seen: BTreeMap<(&str, &Texts), Vec<u32>> = BTreeMap::new();
    for rule in rules.groups.iter().flat_map(|group| &group.rules) {
        seen.entry((&rule.name, &rule.labels)).or_default().push(rule.place.line);
    }
    let many = seen.into_iter().filter(|(_, lines)| lines.len() > 1);
    many.map(|((name, labels), lines)| Duplicate { name: name.to_owned(), labels: labels.clone(), lines })
        .collect()
}

impl fmt::Display for Duplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<String> =
            self.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let lines: Vec<String> = self.lines.iter().map(u32::to_string).collect();
        write!(
            f,
            "{} rules named {} with labels {{{}}} in lines {}; they write the same series, keep one",
            self.lines.len(),
            self.name,
            labels.join(", "),
            lines.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_one_name_and_labels_are_found_once() {
        let rule = "  - record: a\n    expr: '1'\n";
        let text = format!(
            "groups:\n- name: x\n  rules:\n{rule}{rule}  - record: a\n    expr: '2'\n    labels: {{b: c}}\n"
        );
        let rules = super::super::read("r.yml", text.as_bytes()).unwrap();
        let found = duplicates(&rules);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].to_string(),
            "2 rules named a with labels {} in lines 4, 6; they write the same series, keep one"
        );
    }
}
