//! Walks `cases/manifests`: wrong inputs with their exact problems, good ones without any.
//!
//! A folder holds input files and `expected.txt`, one problem a line. `*.yaml` files are manifests; a `*.csv` file is
//! read as a series with the columns `time` and `kw`, in the zone that `zone.txt` names, if any.
//! `SOS_BLESS=1` writes `expected.txt` anew, to be read before it is kept. An input that is too
//! large or too odd to keep is a recipe, `NAME.recipe`, which makes the file NAME (see [`recipe`]).

use std::fs;
use std::path::{Path, PathBuf};

use sos_model::series::{Columns, MAX_SERIES_BYTES, read_table};
use sos_model::{Declared, MAX_MANIFEST_BYTES, Problem, load_checked, too_large};

/// The folder of all cases.
pub(crate) fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/manifests")
}

fn folders(kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(cases().join(kind)).unwrap();
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// A file as its user would give it: only its size when it is too large to read.
enum Input {
    Bytes(Vec<u8>),
    Size(u64),
}

/// Makes an input from lines of `repeat COUNT TEXT`, `text TEXT`, `hex BYTES`, `size BYTES`; in TEXT `\n` ends a
/// line and `{i}`, `{i-1}` count.
fn recipe(text: &str) -> Input {
    let mut bytes = Vec::new();
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let unescaped = |text: &str| text.replace("\\n", "\n");
        match word {
            "text" => bytes.extend(unescaped(rest).into_bytes()),
            "repeat" => {
                let (count, rest) = rest.split_once(' ').unwrap();
                for i in 1..=count.parse::<usize>().unwrap() {
                    let counted = rest.replace("{i}", &i.to_string()).replace("{i-1}", &(i - 1).to_string());
                    bytes.extend(unescaped(&counted).into_bytes());
                }
            }
            "hex" => bytes.extend(rest.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap())),
            "size" => return Input::Size(rest.parse().unwrap()),
            other => panic!("unknown word {other} in a recipe"),
        }
    }
    Input::Bytes(bytes)
}

fn inputs(folder: &Path) -> Vec<(String, Input)> {
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".txt") {
            return None;
        }
        match name.strip_suffix(".recipe") {
            Some(made) => Some((made.to_owned(), recipe(&fs::read_to_string(path).unwrap()))),
            None => Some((name.to_owned(), Input::Bytes(fs::read(path).unwrap()))),
        }
    };
    paths.iter().filter_map(read).collect()
}

fn read_csv(folder: &Path, path: &str, bytes: &[u8]) -> Vec<Problem> {
    let zone = fs::read_to_string(folder.join("zone.txt"))
        .ok()
        .map(|name| jiff::tz::TimeZone::get(name.trim()).unwrap());
    let columns = Columns { path, time: "time", values: &["kw"], zone: zone.as_ref(), step: None };
    read_table(&columns, bytes).err().unwrap_or_default()
}

fn problems_of(folder: &Path) -> (Vec<Declared>, Vec<Problem>) {
    let mut manifests = Vec::new();
    let mut problems = Vec::new();
    for (name, input) in inputs(folder) {
        let is_series = name.ends_with(".csv");
        match input {
            Input::Size(size) => {
                let max = if is_series { MAX_SERIES_BYTES } else { MAX_MANIFEST_BYTES };
                assert!(size > max, "a file of that size is read");
                problems.push(too_large(&name, size, max));
            }
            Input::Bytes(bytes) if is_series => problems.extend(read_csv(folder, &name, &bytes)),
            Input::Bytes(bytes) => manifests.push((name, bytes)),
        }
    }
    let declared = match load_checked(&manifests, &[]) {
        Ok(declared) => declared,
        Err(wrong) => {
            problems.extend(wrong);
            Vec::new()
        }
    };
    problems.sort();
    (declared, problems)
}

#[test]
fn every_wrong_input_is_answered_with_exactly_its_problems() {
    let folders = folders("bad");
    assert!(folders.len() >= 45, "only {} folders", folders.len());
    let mut differing = Vec::new();
    for folder in &folders {
        let (_, problems) = problems_of(folder);
        let actual: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
        if std::env::var_os("SOS_BLESS").is_some() {
            fs::write(folder.join("expected.txt"), &actual).unwrap();
        }
        let expected = fs::read_to_string(folder.join("expected.txt")).unwrap_or_default();
        assert!(!problems.is_empty(), "{} has no problem", folder.display());
        if actual != expected {
            differing.push(format!("{}\nexpected:\n{expected}\nactual:\n{actual}", folder.display()));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn good_manifests_are_read_and_survive_canonical_json() {
    for folder in folders("good") {
        let (declared, problems) = problems_of(&folder);
        assert_eq!(problems, [], "{}", folder.display());
        assert!(!declared.is_empty(), "{}", folder.display());
        for one in declared {
            let json = one.to_json();
            let again = Declared::from_json("store", &json).unwrap();
            assert_eq!(again, one);
            assert_eq!(again.to_json(), json, "canonical JSON is stable");
        }
    }
}

#[test]
fn every_problem_has_a_place_and_says_what_to_do() {
    for folder in folders("bad") {
        for problem in problems_of(&folder).1 {
            assert!(!problem.help.is_empty(), "{problem}");
            assert!(!problem.message.contains('\n') && !problem.help.contains('\n'), "{problem}");
        }
    }
}
