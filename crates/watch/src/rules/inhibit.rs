//! YAML → which alerts mute which others, beside the groups of a rule file.

use sos_model::Node;

use crate::alerts::InhibitRule;
use crate::document::{Document, Map};
use crate::matcher::Matcher;
use crate::promql::parse_selector;

const INHIBIT: [&str; 3] = ["source", "target", "equal"];

/// One entry of `inhibit`: while an alert of `source` fires, those of `target` with the same labels `equal` are not told.
pub(super) fn inhibit(doc: &mut Document<'_>, node: &Node) -> Option<InhibitRule> {
    let map = doc.map(node, "an inhibition", &INHIBIT)?;
    let (source, target) = (matchers(doc, map, "source"), matchers(doc, map, "target"));
    let equal = texts(doc, map, "equal").into_iter().map(Into::into).collect();
    Some(InhibitRule { source: source?, target: target?, equal })
}

fn texts<'n>(doc: &mut Document<'_>, map: Map<'n>, key: &str) -> Vec<&'n str> {
    let mut texts = Vec::new();
    for node in doc.list(map, key) {
        match node.text() {
            Some(text) => texts.push(text),
            None => doc.report(node.position, format!("{key}: {} here", node.what()), "expected text"),
        }
    }
    texts
}

fn matchers(doc: &mut Document<'_>, map: Map<'_>, key: &str) -> Option<Vec<Matcher>> {
    let texts = texts(doc, map, key);
    let help = "expected a list of conditions such as alertname=\"ServiceDown\"";
    if texts.is_empty() {
        doc.report(map.place(key), format!("an inhibition without {key}"), help);
        return None;
    }
    let parsed = parse_selector(&format!("{{{}}}", texts.join(",")));
    parsed.map_err(|error| doc.report(map.place(key), format!("{key}: {error}"), help)).ok()
}

#[cfg(test)]
mod tests {
    use super::super::read;

    #[test]
    fn inhibitions_stand_beside_groups() {
        let text = "inhibit:\n- source: ['alertname=\"A\"', 'x!=\"\"']\n  target: ['alertname=~\"B|C\"']\n  equal: [site]\n";
        let rules = read("r.yml", text.as_bytes()).unwrap();
        let shown: Vec<String> = rules.inhibit[0].source.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["alertname=\"A\"", "x!=\"\""]);
        assert_eq!((rules.inhibit[0].target.len(), &*rules.inhibit[0].equal[0]), (1, "site"));
    }

    #[test]
    fn what_is_wrong_with_an_inhibition_is_said_at_its_place() {
        let text = "inhibit:\n- {source: ['alertname=A'], target: ['a=\"b\"} or {c=\"d\"'], equl: []}\n- target: ['a=\"b\"']\n";
        let problems = read("r.yml", text.as_bytes()).unwrap_err();
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let expected = [
            "r.yml:2:4: source: ",
            "r.yml:2:29: target: ",
            "r.yml:2:59: unknown key \"equl\" in an inhibition; did you mean \"equal\"?",
            "r.yml:3:3: an inhibition without source; expected a list of conditions",
        ];
        assert_eq!(shown.len(), expected.len(), "{shown:#?}");
        for (shown, expected) in shown.iter().zip(expected) {
            assert!(shown.starts_with(expected), "{shown}\n{expected}");
        }
    }
}
