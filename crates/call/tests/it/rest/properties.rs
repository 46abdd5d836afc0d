//! Descriptions that are changed at random: read or refused, never a panic.

use proptest::prelude::*;
use sos_call::rest::{Client, references};
use sos_call::{Documents, ErrorKind};

use super::{cases, documents};

const NAMES: [&str; 5] =
    ["styles-3.0.yaml", "bodies-3.1.yaml", "grid-2.0.yaml", "market/openapi.yaml", "market/schemas.yaml"];
/// What is put where something else stood.
const PIECES: [&str; 24] = [
    "$ref",
    "'#/components/schemas/Meter'",
    "'#'",
    "[",
    "]",
    "{",
    "}",
    ": ",
    "\n",
    "-1",
    "1e999",
    "null",
    "true",
    "&a ",
    "*a",
    "<<",
    "..",
    "~1",
    "%",
    "\u{0}",
    "é",
    "application/json",
    "nullable",
    "type: [object]",
];

fn changed(name: &str, changes: &[(usize, usize, usize)]) -> Vec<u8> {
    let mut text = std::fs::read_to_string(cases().join(name)).unwrap();
    for (at, length, piece) in changes {
        let letters: Vec<(usize, char)> = text.char_indices().collect();
        let from = letters.get(at % (letters.len() + 1)).map_or(text.len(), |(index, _)| *index);
        let to = letters.get(at % (letters.len() + 1) + length % 12).map_or(text.len(), |(index, _)| *index);
        text.replace_range(from..to, PIECES[piece % PIECES.len()]);
    }
    text.into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn changed_descriptions_never_panic(
        which in 0..NAMES.len(),
        changes in prop::collection::vec((any::<usize>(), any::<usize>(), any::<usize>()), 1..6),
    ) {
        let mut documents = documents(&["market/openapi.yaml", "market/paths/offers.json", "market/paths/common.yaml", "market/schemas.yaml"]);
        let name = NAMES[which];
        let text = changed(name, &changes);
        let _ = references(name, &text);
        if let Some(known) = documents.all.iter_mut().find(|(known, _)| known == name) {
            known.1 = text;
        } else {
            documents = Documents::one(name, text);
        }
        match Client::read(&documents) {
            Ok(client) => {
                for operation in &client.contract().operations {
                    for schema in [&operation.input, &operation.output] {
                        let built = jsonschema::options().with_draft(jsonschema::Draft::Draft202012).offline().build(schema);
                        prop_assert!(built.is_ok(), "{}: {:?}", operation.name, built.err());
                    }
                }
            }
            Err(error) => {
                prop_assert_eq!(error.kind, ErrorKind::BadDocument);
                prop_assert!(!error.message.is_empty());
            }
        }
    }

    #[test]
    fn bytes_of_any_kind_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = references("x", &bytes);
        prop_assert!(Client::read(&Documents::one("x", bytes)).is_err());
    }
}
