//! Outages that are injected for tests and drills: a list, each with what goes down, when, and for how long.

use jiff::{SignedDuration, Timestamp};

use crate::declare::record;
use crate::declared::Declared;
use crate::field::{Cx, Field};
use crate::kind::Kind;
use crate::node::{Node, Value};
use crate::problem::{Problem, did_you_mean, known_list, shown};
use crate::scalar::Name;
use crate::schema::ABOVE_ZERO;
use crate::yaml;

record! {
    /// One outage of a service, in the time of a site.
    pub struct Outage {
        /// Name of the site whose time is meant.
        site: Name;
        /// Name of the service that goes down.
        service: Name;
        /// Site time of the first tick without it.
        at: Timestamp;
        /// How long it stays down, in seconds.
        seconds: u32, in ABOVE_ZERO;
    }
}

impl Outage {
    /// The first instant with the service again.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.at.saturating_add(SignedDuration::from_secs(i64::from(self.seconds))).unwrap_or(Timestamp::MAX)
    }
}

/// When a site runs: its first instant, and the instant it stops, where that is known.
pub type Period = (Timestamp, Option<Timestamp>);

/// Reads a list of outages, as YAML or JSON; `period` tells when a site runs, where that is known beforehand.
///
/// # Errors
/// All problems with line and column: unknown keys and names, and outages that the run would never see.
pub fn read_outages(
    path: &str,
    bytes: &[u8],
    declared: &[Declared],
    period: impl Fn(&str) -> Option<Period>,
) -> Result<Vec<Outage>, Vec<Problem>> {
    let documents = yaml::parse(path, bytes)?;
    let mut cx = Cx::new(path);
    let mut outages = Vec::new();
    match documents.as_slice() {
        [Node { value: Value::List(items), .. }] => {
            for (i, item) in items.iter().enumerate() {
                outages.extend(cx.inside(&format!("[{i}]"), |cx| one(item, declared, &period, cx)));
            }
        }
        [other, ..] => cx.mismatch(other, &Vec::<Outage>::schema()),
        [] => {}
    }
    let mut problems = cx.into_problems();
    problems.sort();
    if problems.is_empty() { Ok(outages) } else { Err(problems) }
}

fn one(
    node: &Node,
    declared: &[Declared],
    period: &impl Fn(&str) -> Option<Period>,
    cx: &mut Cx<'_>,
) -> Option<Outage> {
    let outage = Outage::read(node, cx);
    let place = |key: &str| node.get(key).map_or(node.position, |value| value.position);
    // Whatever else is wrong with it: a name is looked up as soon as it is one.
    for (key, kind) in [("site", Kind::Site), ("service", Kind::Service)] {
        let Some(name) = node.get(key).and_then(Node::text).and_then(Name::new) else { continue };
        let names: Vec<&str> =
            declared.iter().filter(|one| one.kind() == kind).map(|one| one.name.as_str()).collect();
        if !names.contains(&name.as_str()) {
            let help = format!("{}{}", did_you_mean(&name, names.iter().copied()), known_list(names));
            let message = format!("no {kind} is named \"{}\"", shown(&name));
            cx.inside(key, |cx| cx.report(place(key), message, help));
        }
    }
    let outage = outage?;
    if let Some((from, until)) = period(&outage.site) {
        let never = outage.end() <= from || until.is_some_and(|until| until <= outage.at);
        if never {
            let until = until.map_or_else(String::new, |until| format!(" and before {until}"));
            let message = format!("the outage from {} to {} lies outside the run", outage.at, outage.end());
            let help = format!("expected an outage after {from}{until}");
            cx.inside("at", |cx| cx.report(place("at"), message, help));
        }
    }
    Some(outage)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "apiVersion: sos.energy/v1alpha1\nkind: Site\nmetadata: {name: fontana}\n\
        spec: {timeZone: UTC, currency: USD, connection: {importPrice: {fixed: 0.2 USD/kWh}}}\n---\n\
        apiVersion: sos.energy/v1alpha1\nkind: Service\nmetadata: {name: home-1}\nspec: {command: [sleep]}\n";

    fn read(text: &str) -> Result<Vec<Outage>, Vec<String>> {
        let declared = crate::load(&[("a.yaml".into(), SITE.into())]).unwrap();
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let period = (time("2016-08-01T00:00:00Z"), Some(time("2016-09-01T00:00:00Z")));
        let read =
            read_outages("f.json", text.as_bytes(), &declared, |site| (site == "fontana").then_some(period));
        read.map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn outages_are_read_from_json_and_yaml() {
        let json = r#"[{"site":"fontana","service":"home-1","at":"2016-08-01T07:00:00Z","seconds":900}]"#;
        let yaml = "- site: fontana\n  service: home-1\n  at: 2016-08-01T07:00:00Z\n  seconds: 900\n";
        assert_eq!(read(json), read(yaml));
        assert_eq!(read(json).unwrap()[0].end(), "2016-08-01T07:15:00Z".parse().unwrap());
        assert_eq!(read("[]"), Ok(Vec::new()));
    }

    #[test]
    fn every_problem_is_told_with_its_place_and_the_known_names() {
        let wrong = r#"[
{"site":"fontan","service":"home-1","at":"2016-08-01T07:00:00Z","seconds":900},
{"site":"fontana","service":"home-9","at":"2016-08-01","seconds":0, "why": "x"},
{"site":"fontana","service":"hom","at":"2016-09-01T00:00:00Z","seconds":60},
{"site":"fontana","service":"home-1","at":"2016-07-31T23:59:00Z","seconds":60}]"#;
        let expected = [
            "f.json:2:9: [0].site: no Site is named \"fontan\"; did you mean \"fontana\"?; known: fontana",
            "f.json:3:29: [1].service: no Service is named \"home-9\"; did you mean \"home-1\"?; known: home-1",
            "f.json:3:43: [1].at: \"2016-08-01\" is not a time with offset; expected a time with offset, such as 2016-08-01T00:00:00-08:00",
            "f.json:3:66: [1].seconds: 0 is out of range; expected a value above 0",
            "f.json:3:69: [1]: unknown key \"why\"; known: site, service, at, seconds",
            "f.json:4:29: [2].service: no Service is named \"hom\"; did you mean \"home-1\"?; known: home-1",
            "f.json:4:40: [2].at: the outage from 2016-09-01T00:00:00Z to 2016-09-01T00:01:00Z lies outside the run; expected an outage after 2016-08-01T00:00:00Z and before 2016-09-01T00:00:00Z",
            "f.json:5:43: [3].at: the outage from 2016-07-31T23:59:00Z to 2016-08-01T00:00:00Z lies outside the run; expected an outage after 2016-08-01T00:00:00Z and before 2016-09-01T00:00:00Z",
        ];
        assert_eq!(read(wrong), Err(expected.map(ToOwned::to_owned).to_vec()));
        assert!(read("{}").unwrap_err()[0].contains("expected a list"), "{:?}", read("{}"));
        assert!(read("[{").is_err());
    }
}
