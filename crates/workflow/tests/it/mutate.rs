//! Documents broken in one place or a few, by a seed.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};

/// Values that are put where others were.
const STRANGERS: &str = include_str!("../../../../cases/workflow/strangers.json");

/// Keys of the DSL, which are added where they may not belong.
const KEYS: &str = "
    a if input output export timeout then metadata call with do for while emit fork listen foreach raise
    run set switch try catch wait use basic bearer digest oauth2 oidc uri endpoint authentication name
    version method headers query body redirect document resource format schema from as after every cron
    on read all any one until correlate when exceptWhen retry errors error delay backoff limit jitter
    attempt count duration constant linear exponential days hours seconds milliseconds container script
    shell workflow await return lifetime cleanup pullPolicy arguments environment stdin command code
    source language channel operation message subscription protocol server consume filter amount item at
    in each compete branches agentCard parameters transport http stdio options client grant authority
    endpoints type status instance title detail time data id evaluate mode schedule tags summary extend
    before catalogs functions secrets extensions namespace dsl port host service proto operationId
    scopes subject request";

/// The way to a value.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// What documents are broken with.
pub(crate) struct Mutator {
    strangers: Vec<Json>,
    keys: Vec<&'static str>,
    random: ChaCha8Rng,
}

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        let strangers = serde_json::from_str(STRANGERS).expect("a list of values");
        let keys = KEYS.split_whitespace().collect();
        Self { strangers, keys, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// One of a list, by chance.
    pub(crate) fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.random.random_range(0..from.len())]
    }

    /// Breaks a document in one to three places. `donor` gives values that stand elsewhere.
    pub(crate) fn broken(&mut self, document: &Json, donor: &Json) -> Json {
        let mut broken = document.clone();
        for _ in 0..*self.pick(&[1, 1, 1, 2, 3]) {
            let place = self.pick(&places(&broken)).clone();
            self.change(&mut broken, &place, donor);
        }
        broken
    }

    fn change(&mut self, document: &mut Json, place: &[Step], donor: &Json) {
        let from = self.pick(&places(donor)).clone();
        let moved = at(&mut donor.clone(), &from).clone();
        let strangers = std::mem::take(&mut self.strangers);
        let stranger = self.pick(&strangers).clone();
        self.strangers = strangers;
        let value = if self.random.random_bool(0.3) { moved } else { stranger };
        let key = self.keys[self.random.random_range(0..self.keys.len())];
        match self.random.random_range(0..12) {
            0..=2 => *at(document, place) = value,
            3..=4 => remove(document, place),
            5 => retype(at(document, place)),
            6 => rename(document, place, key),
            // Texts for texts: many of these are right.
            7..=8 => self.other_text(at(document, place)),
            9 => spoil_text(at(document, place), &mut self.random),
            _ => add(at(document, place), key, value),
        }
    }

    fn other_text(&mut self, value: &mut Json) {
        let texts: Vec<Json> =
            self.strangers.iter().filter(|stranger| stranger.is_string()).cloned().collect();
        if value.is_string() {
            *value = self.pick(&texts).clone();
        }
    }
}

fn add(to: &mut Json, key: &str, value: Json) {
    match to {
        Json::Object(map) => {
            map.insert(key.to_owned(), value);
        }
        Json::Array(items) => items.push(value),
        other => *other = value,
    }
}

/// The same with another type.
fn retype(value: &mut Json) {
    *value = match value.take() {
        Json::Null => json!({}),
        Json::Bool(flag) => json!(flag.to_string()),
        Json::Number(number) => json!(number.to_string()),
        Json::String(text) => json!([text]),
        Json::Array(items) => items.into_iter().next().unwrap_or_default(),
        Json::Object(map) => Json::Array(map.into_iter().map(|(key, value)| json!({ key: value })).collect()),
    };
}

fn spoil_text(value: &mut Json, random: &mut ChaCha8Rng) {
    // Not U+FEFF: the regular expressions of `jsonschema` take it for a space outside of brackets only.
    const PIECES: [&str; 12] = [" ", "-", ".", "x", "\n", "$", "{", "}", "#", "0", "\u{2028}", "é"];
    let Json::String(text) = value else { return };
    let places: Vec<usize> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
    let at = places[random.random_range(0..places.len())];
    match random.random_range(0..3) {
        0 => text.truncate(at),
        _ => text.insert_str(at, PIECES[random.random_range(0..PIECES.len())]),
    }
}

fn rename(document: &mut Json, place: &[Step], name: &str) {
    if let Some((Step::Key(key), parent)) = place.split_last()
        && let Json::Object(map) = at(document, parent)
    {
        let value = map.remove(key).unwrap_or_default();
        map.insert(name.to_owned(), value);
    }
}

fn remove(document: &mut Json, place: &[Step]) {
    let Some((last, parent)) = place.split_last() else { return };
    match (last, at(document, parent)) {
        (Step::Key(key), Json::Object(map)) => {
            map.remove(key);
        }
        (Step::Index(index), Json::Array(items)) => {
            items.remove(*index);
        }
        _ => {}
    }
}

fn at<'v>(value: &'v mut Json, place: &[Step]) -> &'v mut Json {
    place.iter().fold(value, |value, step| match step {
        Step::Key(key) => &mut value[key.as_str()],
        Step::Index(index) => &mut value[*index],
    })
}

fn places(value: &Json) -> Vec<Vec<Step>> {
    let mut all = vec![vec![]];
    collect(value, &mut vec![], &mut all);
    all
}

fn collect(value: &Json, place: &mut Vec<Step>, all: &mut Vec<Vec<Step>>) {
    let children: Vec<(Step, &Json)> = match value {
        Json::Object(map) => map.iter().map(|(key, value)| (Step::Key(key.clone()), value)).collect(),
        Json::Array(items) => {
            items.iter().enumerate().map(|(index, item)| (Step::Index(index), item)).collect()
        }
        _ => vec![],
    };
    for (step, child) in children {
        place.push(step);
        all.push(place.clone());
        collect(child, place, all);
        place.pop();
    }
}
