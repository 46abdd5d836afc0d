//! Finding services and operations by words.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Contract, Operation};

/// Words of a search that are looked at, and results that are answered, at most.
const WORDS: usize = 16;
const HITS: usize = 1000;
/// Properties of a schema that are looked at, and how deep, at most.
const PROPERTIES: usize = 5000;
const DEPTH: usize = 64;

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit<'a> {
    /// Name of the service.
    pub service: &'a str,
    /// The operation; nothing when the service as a whole is meant.
    pub operation: Option<&'a str>,
    /// What it does, in one line: the operation's summary, or the contract's title.
    pub summary: &'a str,
    /// How well it fits; more is better. Comparable within one search only.
    pub score: u32,
}

/// Finds services and operations in which all words of `text` occur: in the service's name or title, an operation's name,
/// path or summary, or the names of its properties. Upper and lower case are the same. A whole word counts more than the
/// beginning of one, that more than a part; a name more than a summary, that more than a property.
///
/// Best first, then by names: the same contracts and words always give the same list; at most 1,000. A service is
/// listed itself when all words fit its name and title; its operations then only when they fit a word of their own.
#[must_use]
pub fn search<'a>(contracts: impl IntoIterator<Item = (&'a str, &'a Contract)>, text: &str) -> Vec<Hit<'a>> {
    let words: BTreeSet<String> = words(text).take(WORDS).collect();
    if words.is_empty() {
        return Vec::new();
    }
    let mut hits = Vec::new();
    for (service, contract) in contracts {
        let whole: Vec<Field> = vec![Field::new(service, 8), Field::new(&contract.title, 4)];
        if let Some(score) = score(&words, &[&whole]) {
            hits.push(Hit { service, operation: None, summary: &contract.title, score: score + 1 });
        }
        for operation in &contract.operations {
            let own = fields(operation);
            let fits = words.iter().any(|word| own.iter().any(|field| field.fits(word) > 0));
            if let Some(score) = score(&words, &[&own, &whole]).filter(|_| fits) {
                let summary = operation.summary.as_str();
                hits.push(Hit { service, operation: Some(&operation.name), summary, score });
            }
        }
    }
    hits.sort_by(|a, b| {
        b.score.cmp(&a.score).then_with(|| (a.service, a.operation).cmp(&(b.service, b.operation)))
    });
    hits.truncate(HITS);
    hits
}

/// The words of a text in lower case; also those of which a name such as `getOffers` or `meter_data` is made.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// Words of one text, and how much a find in it counts.
struct Field {
    whole: String,
    words: BTreeSet<String>,
    weight: u32,
}

impl Field {
    fn new(text: &str, weight: u32) -> Self {
        let mut all: BTreeSet<String> = words(text).collect();
        all.extend(words(&spaced(text)));
        Self { whole: text.to_lowercase(), words: all, weight }
    }

    fn fits(&self, word: &str) -> u32 {
        let how = if self.words.contains(word) {
            4
        } else if self.words.iter().any(|own| own.starts_with(word)) {
            2
        } else {
            u32::from(self.whole.contains(word))
        };
        how * self.weight
    }
}

/// `getOfferById` as `get Offer By Id`, `HTTPServer2` as `HTTP Server2`.
fn spaced(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut spaced = String::with_capacity(text.len() + 8);
    for (index, letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| letters.get(before));
        let after = letters.get(index + 1);
        let begins = letter.is_uppercase()
            && before.is_some_and(|b| {
                b.is_lowercase() || b.is_numeric() || after.is_some_and(|a| a.is_lowercase())
            });
        if begins {
            spaced.push(' ');
        }
        spaced.push(*letter);
    }
    spaced
}

fn fields(operation: &Operation) -> Vec<Field> {
    let mut names = BTreeSet::new();
    for schema in [&operation.input, &operation.output] {
        properties(schema, 0, &mut names);
    }
    let properties: Vec<&str> = names.into_iter().collect();
    vec![
        Field::new(&operation.name, 6),
        Field::new(&operation.path, 3),
        Field::new(&operation.summary, 3),
        Field::new(&properties.join(" "), 1),
    ]
}

/// The names of all properties of a schema, its definitions included.
fn properties<'a>(schema: &'a Value, depth: usize, names: &mut BTreeSet<&'a str>) {
    if depth > DEPTH || names.len() >= PROPERTIES {
        return;
    }
    match schema {
        Value::Object(keywords) => {
            if let Some(Value::Object(own)) = keywords.get("properties") {
                names.extend(own.keys().map(String::as_str).take(PROPERTIES));
            }
            keywords.values().for_each(|inner| properties(inner, depth + 1, names));
        }
        Value::Array(all) => all.iter().for_each(|inner| properties(inner, depth + 1, names)),
        _ => {}
    }
}

/// The sum of the best finds of each word, or nothing when one is not found.
fn score(words: &BTreeSet<String>, fields: &[&Vec<Field>]) -> Option<u32> {
    words.iter().try_fold(0, |sum, word| {
        let best = fields.iter().flat_map(|all| all.iter()).map(|field| field.fits(word)).max()?;
        (best > 0).then_some(sum + best)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Protocol, Streaming};
    use serde_json::json;

    fn operation(name: &str, summary: &str, input: Value) -> Operation {
        Operation {
            name: name.into(),
            path: format!("GET /{name}"),
            summary: summary.into(),
            input,
            output: json!({ "$ref": "#/$defs/O", "$defs": { "O": { "properties": { "energyPrice": {} } } } }),
            streaming: Streaming::None,
            repeatable: true,
            deprecated: false,
        }
    }

    fn contract(title: &str, operations: Vec<Operation>) -> Contract {
        Contract { protocol: Protocol::Rest, title: title.into(), version: String::new(), operations }
    }

    fn market() -> Contract {
        let meter = json!({ "properties": { "meterId": { "type": "string" } } });
        contract(
            "Energy market",
            vec![operation("getOffers", "Offers of a day", meter), operation("bid", "", json!({}))],
        )
    }

    fn found(text: &str) -> Vec<(String, Option<String>)> {
        let (market, forecast) =
            (market(), contract("Forecast of load", vec![operation("offer", "", json!({}))]));
        let all = [("market", &market), ("forecast", &forecast)];
        let owned = |hit: Hit<'_>| (hit.service.to_owned(), hit.operation.map(str::to_owned));
        search(all, text).into_iter().map(owned).collect()
    }

    #[test]
    fn words_are_found_in_services_titles_operations_summaries_and_properties() {
        let of = |service: &str, operation: &str| {
            (service.to_owned(), (!operation.is_empty()).then(|| operation.to_owned()))
        };
        assert_eq!(
            found("ENERGY market"),
            [of("market", ""), of("market", "bid"), of("market", "getOffers")]
        );
        assert_eq!(found("meter"), [of("market", "getOffers")]);
        assert_eq!(found("offer"), [of("forecast", "offer"), of("market", "getOffers")]);
        assert_eq!(found("forecast price"), [of("forecast", "offer")]);
        assert_eq!(found("day meterid"), [of("market", "getOffers")]);
        assert_eq!(found("day nowhere"), []);
        assert_eq!(found("  .,- "), []);
    }

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(spaced("getOfferById2HTTPServer"), "get Offer By Id2 HTTP Server");
    }

    #[test]
    fn a_schema_without_end_in_sight_is_left_in_time() {
        let mut deep = json!({});
        for _ in 0..200 {
            deep = json!({ "properties": { "inner": deep, "leaf": {} } });
        }
        let contract = contract("", vec![operation("x", "", deep)]);
        assert_eq!(search([("s", &contract)], "leaf").len(), 1);
    }
}
