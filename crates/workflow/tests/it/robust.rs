//! No input whatever panics, and what is read comes back.

use proptest::prelude::*;
use serde_json::{Map, Value as Json};
use sos_workflow::{Cron, Document, Duration, read};

fn config() -> ProptestConfig {
    ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() }
}

/// Words of the DSL, so that texts get beyond the first check.
fn word() -> impl Strategy<Value = String> {
    const KNOWN: &[&str] = &[
        "document",
        "dsl",
        "do",
        "call",
        "http",
        "with",
        "endpoint",
        "try",
        "catch",
        "retry",
        "then",
        "switch",
        "when",
        "for",
        "in",
        "each",
        "listen",
        "to",
        "any",
        "until",
        "run",
        "shell",
        "command",
        "set",
        "wait",
        "use",
        "functions",
        "authentication",
        "basic",
        "schedule",
        "cron",
        "every",
        "1.0.3",
        "PT1S",
        "${ .a }",
        "https://a/{b}",
        "0 0 30 2 *",
    ];
    prop_oneof![4 => proptest::sample::select(KNOWN).prop_map(str::to_owned), 1 => ".{0,12}"]
}

fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        word().prop_map(Json::from),
    ];
    leaf.prop_recursive(8, 64, 6, |inner| {
        let entries = proptest::collection::vec((word(), inner.clone()), 0..6);
        prop_oneof![
            proptest::collection::vec(inner, 0..6).prop_map(Json::from),
            entries.prop_map(|entries| Json::Object(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Pieces of YAML, thrown together.
fn yaml() -> impl Strategy<Value = String> {
    const PUNCTUATION: &[&str] = &[
        "\n", "\n  ", "\n    ", "- ", ": ", "[", "]", "{", "}", ", ", "&a ", "*a", "!t ", "|\n", "'", "\"",
        "#", "---\n", "? ", "\t", "<<: ",
    ];
    let piece = prop_oneof![3 => proptest::sample::select(PUNCTUATION).prop_map(str::to_owned), 2 => word()];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_text_panics(text in prop_oneof![".{0,200}", yaml()]) {
        if let Ok(document) = read(&text) {
            let _ = document.check();
            let _ = document.all_problems();
        }
    }

    #[test]
    fn no_json_panics_and_its_text_is_read_as_the_same(tree in json()) {
        let document = Document::from_json(&tree).unwrap();
        let _ = document.all_problems();
        if let Err(problems) = document.check() {
            prop_assert!(!problems.to_string().is_empty());
        }
        let text = serde_json::to_string_pretty(&tree).unwrap();
        prop_assert_eq!(read(&text).unwrap().root().to_json(), tree);
    }

    #[test]
    fn no_duration_or_cron_panics(text in "[PT0-9YMWDHS.]{0,12}|.{0,20}", cron in "[0-9*/,a-z-]{0,6}( [0-9*/,a-z-]{0,6}){4}") {
        if let Ok(duration) = Duration::parse(&text) {
            prop_assert_eq!(Duration::parse(&duration.to_string()), Ok(duration));
        }
        let _ = Cron::parse(&cron);
    }
}
