//! No input panics, and whatever is accepted survives canonical JSON.

use std::path::PathBuf;

use proptest::prelude::*;
use sos_model::series::{Columns, read_table};
use sos_model::{Declared, load_checked};

use crate::manifests::cases;

/// All manifests of all cases, to be mutated.
fn seeds() -> Vec<Vec<u8>> {
    let folders = ["good", "bad"].iter().flat_map(|kind| std::fs::read_dir(cases().join(kind)).unwrap());
    let files = folders.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let mut paths: Vec<PathBuf> = files
        .flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Replaces, removes or inserts pieces that have a meaning in YAML or in quantities.
fn mutated(seed: &[u8], edits: &[(u16, u8, u8)]) -> Vec<u8> {
    const PIECES: [&str; 16] = [
        ": ",
        "- ",
        "\n",
        "  ",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a",
        "-1",
        "NaN",
        "1e999",
        "\"",
        "\u{e9}",
        "${port:x}",
    ];
    let mut bytes = seed.to_vec();
    for (place, what, piece) in edits {
        let at = usize::from(*place) % (bytes.len() + 1);
        match what % 3 {
            0 => drop(bytes.splice(at..at, PIECES[usize::from(*piece) % PIECES.len()].bytes())),
            1 if at < bytes.len() => bytes[at] = *piece,
            _ => drop(bytes.drain(at..(at + usize::from(*piece % 9)).min(bytes.len()))),
        }
    }
    bytes
}

fn accept(bytes: Vec<u8>) -> Result<(), TestCaseError> {
    match load_checked(&[("x.yaml".to_owned(), bytes)], &[]) {
        Ok(declared) => {
            for one in declared {
                let again = Declared::from_json("json", &one.to_json());
                prop_assert_eq!(again.as_ref(), Ok(&one));
            }
        }
        Err(problems) => {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.is_sorted());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        accept(bytes)?;
    }

    #[test]
    fn arbitrary_text_never_panics(text in "[-a-z0-9:{}\\[\\]&*!|>'\"%@`#,.?~<\n \t\u{e9}]{0,200}") {
        accept(text.into_bytes())?;
    }

    #[test]
    fn mutated_manifests_never_panic(
        seed in prop::sample::select(seeds()),
        edits in prop::collection::vec(any::<(u16, u8, u8)>(), 1..6),
    ) {
        accept(mutated(&seed, &edits))?;
    }

    #[test]
    fn quantities_of_any_text_never_panic(text in "[-+.0-9eE, ]{0,12}[a-zA-Z%/°]{0,8}") {
        let manifest = format!(
            "apiVersion: sos.energy/v1alpha1\nkind: Asset\nmetadata: {{name: a}}\nspec: {{site: s, type: battery, rampUp: '{text}',\
             battery: {{capacity: '{text}', maxCharge: '{text}', maxDischarge: '{text}', minSoc: '{text}', wearCost: '{text}'}}}}\n"
        );
        accept(manifest.into_bytes())?;
    }

    #[test]
    fn series_of_any_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..200), rows in 0..4_usize) {
        let mut bytes = b"time,kw\n".to_vec();
        for hour in 0..rows {
            bytes.extend(format!("2020-01-01T0{hour}:00:00Z,{hour}\n").bytes());
        }
        bytes.extend(tail);
        let columns = Columns { path: "x.csv", time: "time", values: &["kw"], zone: None, step: None };
        if let Ok(table) = read_table(&columns, bytes.as_slice()) {
            prop_assert_eq!(table.columns["kw"].len(), table.grid.len());
        }
    }
}
