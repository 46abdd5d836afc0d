//! Two schemas compared: what is let through now that was not, and the other way round.

use std::collections::BTreeSet;

use serde_json::Value;

use super::flat::{Flat, NUMBERS, Node};
use super::{DifferenceKind, short};

/// Pairs of places that are compared for two contracts; more is not looked at.
const STEPS: usize = 100_000;
/// Pairs of alternatives without a name that are tried for equality at one place.
const MOST_PROBES: usize = 256;
/// Alternatives at one place that are compared.
const MOST_ALTERNATIVES: usize = 1000;
/// How deep places may lie.
const DEPTH: usize = 100;

/// Whose schemas are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Input,
    Output,
}

/// What may still be looked at.
#[derive(Debug)]
pub(super) struct Budget {
    steps: usize,
    spent: bool,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { steps: STEPS, spent: false }
    }

    pub(super) fn is_spent(&self) -> bool {
        self.spent
    }

    fn step(&mut self, cost: usize) -> bool {
        self.spent |= self.steps < cost;
        self.steps = self.steps.saturating_sub(cost);
        !self.spent
    }
}

/// What a difference means for an input and for an output.
type Effect = (DifferenceKind, DifferenceKind);
const NARROWED: Effect = (DifferenceKind::Breaking, DifferenceKind::Compatible);
const WIDENED: Effect = (DifferenceKind::Compatible, DifferenceKind::Breaking);
const OTHER: Effect = (DifferenceKind::Breaking, DifferenceKind::Breaking);
const HARMLESS: Effect = (DifferenceKind::Compatible, DifferenceKind::Compatible);
const UNCLEAR: Effect = (DifferenceKind::Unknown, DifferenceKind::Unknown);

type Told = (String, String, DifferenceKind);

/// Place, change and kind of each difference of two schemas.
pub(super) fn compare(side: Side, old: &Value, new: &Value, budget: &mut Budget) -> Vec<Told> {
    if old == new {
        return Vec::new();
    }
    let mut walk = Walk { side, old, new, seen: BTreeSet::new(), told: Vec::new(), budget, depth: 0 };
    let root = |schema| vec![Node { schema, at: String::new() }];
    walk.nodes(&root(old), &root(new));
    walk.told
}

struct Walk<'a, 'b> {
    side: Side,
    old: &'a Value,
    new: &'a Value,
    /// Pairs of places that were compared, or are.
    seen: BTreeSet<(String, String)>,
    told: Vec<Told>,
    budget: &'b mut Budget,
    depth: usize,
}

fn names(nodes: &[Node<'_>]) -> String {
    nodes.iter().map(|node| node.at.as_str()).collect::<Vec<_>>().join(" ")
}

impl<'a> Walk<'a, '_> {
    fn tell(&mut self, place: &str, change: impl Into<String>, effect: Effect) {
        let (root, kind) = match self.side {
            Side::Input => ("/input", effect.0),
            Side::Output => ("/output", effect.1),
        };
        self.told.push((format!("{root}{place}"), change.into(), kind));
    }

    /// Compares what must hold all at once.
    fn nodes(&mut self, old: &[Node<'a>], new: &[Node<'a>]) {
        let resolve =
            |root, nodes: &[Node<'a>]| -> Vec<_> { nodes.iter().map(|node| node.resolved(root)).collect() };
        let (old, new) = (resolve(self.old, old), resolve(self.new, new));
        if !self.seen.insert((names(&old), names(&new))) {
            return;
        }
        if self.depth >= DEPTH || !self.budget.step(1) {
            self.budget.spent = true;
            return;
        }
        self.depth += 1;
        let place = new.first().map_or_else(String::new, |node| node.at.clone());
        let (was, is) = (Flat::new(self.old, &old), Flat::new(self.new, &new));
        if was.only_choices().is_some() || is.only_choices().is_some() {
            self.choices(&place, (&old, &was), (&new, &is));
        } else {
            self.flats(&place, &was, &is);
        }
        self.depth -= 1;
    }

    fn flats(&mut self, place: &str, old: &Flat<'a>, new: &Flat<'a>) {
        match (old.nothing, new.nothing) {
            (true, true) => return,
            (false, true) => return self.tell(place, "nothing fits any more", NARROWED),
            (true, false) => return self.tell(place, "something fits now", WIDENED),
            (false, false) => {}
        }
        if !self.types(place, old, new) {
            return;
        }
        self.values(place, old, new);
        self.bounds(place, old, new);
        self.properties(place, old, new);
        self.items(place, old, new);
        self.inner_choices(place, old, new);
        self.others(place, old, new);
    }

    /// Says whether any type is left in common, so that it is worth looking further.
    fn types(&mut self, place: &str, old: &Flat<'a>, new: &Flat<'a>) -> bool {
        let (was, is) = (old.all_types(), new.all_types());
        if was == is {
            return true;
        }
        let list = |flat: &Flat<'_>, types: &BTreeSet<&str>| {
            if flat.types.is_none() {
                return "anything".to_owned();
            }
            let shown = |name: &&&str| **name != "integer" || !types.contains("number");
            types.iter().filter(shown).copied().collect::<Vec<_>>().join(" or ")
        };
        let effect = match (was.is_superset(&is), is.is_superset(&was)) {
            (true, _) => NARROWED,
            (_, true) => WIDENED,
            _ => OTHER,
        };
        self.tell(place, format!("type was {}, is {}", list(old, &was), list(new, &is)), effect);
        !was.is_disjoint(&is)
    }

    fn values(&mut self, place: &str, old: &Flat<'a>, new: &Flat<'a>) {
        let list = |values: Vec<&Value>| {
            let words: Vec<_> = values.iter().map(|value| short(&value.to_string())).collect();
            short(&words.join(", "))
        };
        match (&old.values, &new.values) {
            (None, None) => {}
            (None, Some(is)) => {
                self.tell(place, format!("only these values fit now: {}", list(is.clone())), NARROWED);
            }
            (Some(_), None) => self.tell(place, "is no longer bound to certain values", WIDENED),
            (Some(was), Some(is)) => {
                let without = |a: &[&'a Value], b: &[&'a Value]| -> Vec<_> {
                    let known: BTreeSet<String> = b.iter().map(ToString::to_string).collect();
                    a.iter().filter(|value| !known.contains(&value.to_string())).copied().collect()
                };
                let (gone, come) = (without(was, is), without(is, was));
                if !gone.is_empty() {
                    self.tell(place, format!("values that are gone: {}", list(gone)), NARROWED);
                }
                if !come.is_empty() {
                    self.tell(place, format!("values that are new: {}", list(come)), WIDENED);
                }
            }
        }
    }

    fn bounds(&mut self, place: &str, old: &Flat<'a>, new: &Flat<'a>) {
        for (name, lower) in NUMBERS {
            let (was, is) = (tightest(old, name, lower), tightest(new, name, lower));
            let (change, effect) = match (was, is) {
                (None, Some(is)) => (format!("{name} is {is} now"), NARROWED),
                (Some(was), None) => (format!("{name} was {was}, there is none now"), WIDENED),
                (Some(was), Some(is)) => match order(was, is) {
                    None | Some(std::cmp::Ordering::Equal) => continue,
                    Some(order) => {
                        let tighter = (order == std::cmp::Ordering::Less) == lower;
                        (format!("{name} was {was}, is {is}"), if tighter { NARROWED } else { WIDENED })
                    }
                },
                (None, None) => continue,
            };
            self.tell(place, change, effect);
        }
    }

    fn properties(&mut self, place: &str, old: &Flat<'a>, new: &Flat<'a>) {
        let named: BTreeSet<&str> =
            [&old.properties, &new.properties].into_iter().flat_map(|all| all.keys().copied()).collect();
        for name in &named {
            let at = format!("{place}/properties/{}", name.replace('~', "~0").replace('/', "~1"));
            match (old.properties.get(name), new.properties.get(name)) {
                (Some(was), Some(is)) => {
                    self.requirement(&at, old.required.contains(name), new.required.contains(name));
                    self.nodes(was, is);
                }
                (None, Some(is)) => self.new_property(&at, name, is, old, new),
                (Some(was), None) => self.lost_property(&at, was, new),
                (None, None) => {}
            }
        }
        let demanded: BTreeSet<&str> = old.required.union(&new.required).copied().collect();
        for name in demanded.difference(&named) {
            let at = format!("{place}/properties/{}", name.replace('~', "~0").replace('/', "~1"));
            self.requirement(&at, old.required.contains(name), new.required.contains(name));
        }
        self.additional(place, old, new);
    }

    fn requirement(&mut self, at: &str, was: bool, is: bool) {
        match (was, is) {
            (false, true) => self.tell(at, "is required now", NARROWED),
            (true, false) => self.tell(at, "may be missing now", WIDENED),
            _ => {}
        }
    }

    fn new_property(&mut self, at: &str, name: &str, is: &[Node<'a>], old: &Flat<'a>, new: &Flat<'a>) {
        if new.required.contains(name) && !old.required.contains(name) {
            self.tell(at, "is new and required", NARROWED);
        } else {
            self.tell(at, "is new", HARMLESS);
        }
        // A map had it already, as one of its values.
        if old.additional.iter().any(|node| node.schema.is_object()) {
            self.nodes(&old.additional.clone(), is);
        }
    }

    fn lost_property(&mut self, at: &str, was: &[Node<'a>], new: &Flat<'a>) {
        let closed = new.additional.iter().any(|node| node.schema == &Value::Bool(false));
        let input = if closed { DifferenceKind::Breaking } else { DifferenceKind::Unknown };
        let change = if closed { "is gone, and what is not known is refused" } else { "is gone" };
        self.tell(at, change, (input, DifferenceKind::Breaking));
        if !closed && new.additional.iter().any(|node| node.schema.is_object()) {
            self.nodes(was, &new.additional.clone());
        }
    }

    fn additional(&mut self, place: &str, old: &Flat<'a>, new: &Flat<'a>) {
        let closed = |flat: &Flat<'_>| flat.additional.iter().any(|node| node.schema == &Value::Bool(false));
        let open = |flat: &Flat<'_>| flat.additional.iter().all(|node| node.schema == &Value::Bool(true));
        match (closed(old), closed(new)) {
            (false, true) => self.tell(place, "other properties are refused now", NARROWED),
            // Readers pass over what they do not know.
            (true, false) => self.tell(place, "other properties are let through now", HARMLESS),
            (true, true) => {}
            (false, false) if open(old) && open(new) => {}
            (false, false) => {
                let at = below(place, new, "additionalProperties");
                self.nodes(&or_any(&old.additional, ANYWHERE), &or_any(&new.additional, &at));
            }
        }
    }

    fn items(&mut self, place: &str, old: &Flat<'a>, new: &Flat<'a>) {
        let at = below(place, new, "items");
        let places: BTreeSet<usize> = old.places.keys().chain(new.places.keys()).copied().collect();
        for index in places {
            let one = |flat: &Flat<'a>, at| {
                flat.places.get(&index).cloned().unwrap_or_else(|| or_any(&flat.items, at))
            };
            self.nodes(&one(old, ANYWHERE), &one(new, &at));
        }
        if !old.items.is_empty() || !new.items.is_empty() {
            self.nodes(&or_any(&old.items, ANYWHERE), &or_any(&new.items, &at));
        }
        let unique = |flat: &Flat<'_>| {
            flat.others.get("uniqueItems").is_some_and(|all| all.contains(&&Value::Bool(true)))
        };
        match (unique(old), unique(new)) {
            (false, true) => self.tell(place, "items must differ from each other now", NARROWED),
            (true, false) => self.tell(place, "items may be the same now", WIDENED),
            _ => {}
        }
    }

    /// Alternatives beside other demands.
    fn inner_choices(&mut self, place: &str, old: &Flat<'a>, new: &Flat<'a>) {
        match (old.choices.as_slice(), new.choices.as_slice()) {
            ([], []) => {}
            ([], _) => self.tell(place, "one of certain alternatives must fit now", NARROWED),
            (_, []) => self.tell(place, "none of certain alternatives must fit any more", WIDENED),
            ([was], [is]) => {
                let split = |choices: &[Node<'a>]| choices.iter().map(|node| vec![node.clone()]).collect();
                self.alternatives(place, split(was), split(is));
            }
            (was, is) => self.lists(place, was, is),
        }
    }

    /// Compares several lists of alternatives, all of which must be met: but for one they must be the same.
    fn lists(&mut self, place: &str, old: &[Vec<Node<'a>>], new: &[Vec<Node<'a>>]) {
        let split = |list: &[Node<'a>]| -> Vec<_> { list.iter().map(|node| vec![node.clone()]).collect() };
        let (mut open, mut left) = (old.to_vec(), new.to_vec());
        if open.len() * left.len() <= MOST_PROBES {
            open.retain(|was| {
                let same = |is: &Vec<Node<'a>>| {
                    self.is_silent(|walk| walk.alternatives(place, split(was), split(is)))
                };
                left.iter().position(same).map(|index| left.remove(index)).is_none()
            });
        }
        match (open.as_slice(), left.as_slice()) {
            ([], []) => {}
            ([], _) => self.tell(place, "one more of certain alternatives must fit now", NARROWED),
            (_, []) => self.tell(place, "one of certain alternatives must not fit any more", WIDENED),
            ([was], [is]) => self.alternatives(place, split(was), split(is)),
            _ => self.tell(place, "several lists of alternatives changed", UNCLEAR),
        }
    }

    /// Compares places of which at least one is nothing but alternatives; the other is then the only one.
    fn choices(
        &mut self,
        place: &str,
        (old, was): (&[Node<'a>], &Flat<'a>),
        (new, is): (&[Node<'a>], &Flat<'a>),
    ) {
        let (old_null, old_all) = split(self.old, old, was);
        let (new_null, new_all) = split(self.new, new, is);
        match (old_null, new_null) {
            (false, true) => self.tell(place, "may be null now", WIDENED),
            (true, false) => self.tell(place, "must not be null any more", NARROWED),
            _ => {}
        }
        if let ([one], [other]) = (old_all.as_slice(), new_all.as_slice()) {
            let (mut was, mut is) = (Flat::new(self.old, one), Flat::new(self.new, other));
            if was.only_choices().is_none() && is.only_choices().is_none() {
                [&mut was, &mut is].into_iter().filter_map(|flat| flat.types.as_mut()).for_each(|types| {
                    types.remove("null");
                });
                let at = other.first().map_or_else(|| place.to_owned(), |node| node.resolved(self.new).at);
                return self.flats(&at, &was, &is);
            }
            return self.nodes(one, other);
        }
        self.alternatives(place, old_all, new_all);
        self.others(place, was, is);
    }

    /// Pairs alternatives that have a name of their own by it, then equal ones, then those that are left of one name; the
    /// rest is gone or new.
    fn alternatives(&mut self, place: &str, old: Vec<Vec<Node<'a>>>, new: Vec<Vec<Node<'a>>>) {
        if old.len().max(new.len()) > MOST_ALTERNATIVES {
            return self.tell(
                place,
                format!("more than {MOST_ALTERNATIVES} alternatives are not compared"),
                UNCLEAR,
            );
        }
        let label = |nodes: &Vec<Node<'a>>| nodes.first().and_then(Node::label);
        let unique =
            |all: &[Vec<Node<'a>>], name| all.iter().filter(|nodes| label(nodes) == Some(name)).count() == 1;
        let own: BTreeSet<&str> =
            old.iter().filter_map(label).filter(|n| unique(&old, *n) && unique(&new, *n)).collect();
        let (mut pairs, mut open, mut left) = (Vec::new(), Vec::new(), new);
        for was in old {
            let named = label(&was).filter(|name| own.contains(name));
            match named.and_then(|name| left.iter().position(|is| label(is) == Some(name))) {
                Some(index) => pairs.push((was, left.remove(index))),
                None => open.push(was),
            }
        }
        // With very many that have no name, equal ones are not looked for.
        if open.len() * left.len() <= MOST_PROBES {
            open.retain(|was| match left.iter().position(|is| self.is_same(was, is)) {
                Some(index) => {
                    left.remove(index);
                    false
                }
                None => true,
            });
        }
        let single = open.len() == 1 && left.len() == 1;
        let mut gone = Vec::new();
        for was in open {
            let named = |is: &Vec<Node<'a>>| single || (label(is).is_some() && label(is) == label(&was));
            match left.iter().position(named) {
                Some(index) => pairs.push((was, left.remove(index))),
                None => gone.push(was),
            }
        }
        pairs.iter().for_each(|(was, is)| self.nodes(was, is));
        let told = |nodes| label(nodes).map_or_else(String::new, |name| format!(" `{}`", short(name)));
        for was in &gone {
            self.tell(place, format!("alternative{} is gone", told(was)), NARROWED);
        }
        for is in &left {
            self.tell(place, format!("alternative{} is new", told(is)), WIDENED);
        }
    }

    /// Whether nothing would be told of two alternatives.
    fn is_same(&mut self, old: &[Node<'a>], new: &[Node<'a>]) -> bool {
        self.is_silent(|walk| walk.nodes(old, new))
    }

    fn is_silent(&mut self, compare: impl FnOnce(&mut Walk<'a, '_>)) -> bool {
        // What has been seen is copied.
        if !self.budget.step(1 + self.seen.len() / 64) {
            return false;
        }
        let mut probe = Walk {
            side: self.side,
            old: self.old,
            new: self.new,
            // What is being compared further out counts as the same until it is known.
            seen: self.seen.clone(),
            told: Vec::new(),
            budget: &mut *self.budget,
            depth: self.depth,
        };
        compare(&mut probe);
        probe.told.is_empty() && !probe.budget.is_spent()
    }

    fn others(&mut self, place: &str, old: &Flat<'a>, new: &Flat<'a>) {
        let names: BTreeSet<&str> = old.others.keys().chain(new.others.keys()).copied().collect();
        for name in names {
            let (was, is) = (old.others.get(name), new.others.get(name));
            if was != is {
                self.other(place, name, was.map(Vec::as_slice), is.map(Vec::as_slice));
            }
        }
        if old.unresolved != new.unresolved {
            self.tell(place, "a reference leads nowhere, or to too much", UNCLEAR);
        }
    }

    fn other(&mut self, place: &str, name: &str, was: Option<&[&'a Value]>, is: Option<&[&'a Value]>) {
        let one = |values: Option<&[&'a Value]>| values.and_then(<[_]>::first).copied();
        let (change, effect) = match name {
            // Told as what it means.
            "uniqueItems" | "discriminator" | "readOnly" | "writeOnly" => return,
            "deprecated" => {
                let is = one(is) == Some(&Value::Bool(true));
                if is == (one(was) == Some(&Value::Bool(true))) {
                    return;
                }
                (if is { "is deprecated now" } else { "is no longer deprecated" }.to_owned(), HARMLESS)
            }
            "default" => {
                ("its default changed".to_owned(), (DifferenceKind::Unknown, DifferenceKind::Compatible))
            }
            "format" => format(one(was), one(is)),
            "multipleOf" => multiple(one(was), one(is)),
            "pattern" | "contentEncoding" | "contentMediaType" => match (one(was), one(is)) {
                (None, Some(is)) => (format!("{name} {} is asked now", short(&is.to_string())), NARROWED),
                (Some(_), None) => (format!("{name} is asked no more"), WIDENED),
                _ => (format!("{name} changed"), UNCLEAR),
            },
            _ => (format!("`{}` changed", short(name)), UNCLEAR),
        };
        self.tell(place, change, effect);
    }
}

/// Whether null fits, and the alternatives without it; a place without alternatives is one itself.
fn split<'a>(root: &'a Value, nodes: &[Node<'a>], flat: &Flat<'a>) -> (bool, Vec<Vec<Node<'a>>>) {
    let Some(choices) = flat.only_choices() else {
        let null = flat.types.as_ref().is_some_and(|types| types.contains("null") && types.len() > 1);
        return (null, vec![nodes.to_vec()]);
    };
    let is_null =
        |node: &Node<'a>| node.resolved(root).schema.get("type").and_then(Value::as_str) == Some("null");
    let (null, rest): (Vec<_>, Vec<_>) = choices.iter().cloned().partition(is_null);
    (!null.is_empty(), rest.into_iter().map(|node| vec![node]).collect())
}

/// Place of what an old schema does not ask; it is told nowhere.
const ANYWHERE: &str = "any";

/// The place of a keyword that a schema does not have. Below what asks nothing at all there are no places of their own:
/// a schema that refers to itself would have ever new ones.
fn below(place: &str, flat: &Flat<'_>, keyword: &str) -> String {
    if flat.asks_nothing() { place.to_owned() } else { format!("{place}/{keyword}") }
}

/// Where nothing is asked, anything fits; `at` is where it would be asked.
fn or_any<'a>(nodes: &[Node<'a>], at: &str) -> Vec<Node<'a>> {
    static ANY: Value = Value::Bool(true);
    if nodes.is_empty() { vec![Node { schema: &ANY, at: at.to_owned() }] } else { nodes.to_vec() }
}

/// The one that lets least through.
fn tightest<'a>(flat: &Flat<'a>, name: &str, lower: bool) -> Option<&'a Value> {
    let all = flat.numbers.get(name)?;
    all.iter().copied().reduce(|best, value| {
        let larger = order(value, best) == Some(std::cmp::Ordering::Greater);
        if larger == lower { value } else { best }
    })
}

/// How two numbers lie to each other; whole ones exactly.
fn order(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    let whole = |value: &Value| value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn format(was: Option<&Value>, is: Option<&Value>) -> (String, Effect) {
    let name = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let effect = match (name(was).as_deref(), name(is).as_deref()) {
        (None, Some(_)) | (Some("int64"), Some("int32")) | (Some("double"), Some("float")) => NARROWED,
        (Some(_), None) | (Some("int32"), Some("int64")) | (Some("float"), Some("double")) => WIDENED,
        _ => UNCLEAR,
    };
    let word =
        |name: Option<String>| name.map_or_else(|| "none".to_owned(), |name| format!("`{}`", short(&name)));
    (format!("format was {}, is {}", word(name(was)), word(name(is))), effect)
}

fn multiple(was: Option<&Value>, is: Option<&Value>) -> (String, Effect) {
    let (change, whole) = match (was, is) {
        (None, Some(is)) => return (format!("must be a multiple of {is} now"), NARROWED),
        (Some(was), None) => return (format!("need not be a multiple of {was} any more"), WIDENED),
        (Some(was), Some(is)) => {
            (format!("was a multiple of {was}, is one of {is}"), was.as_u64().zip(is.as_u64()))
        }
        (None, None) => return (String::new(), HARMLESS),
    };
    let effect = match whole {
        Some((was, is)) if was > 0 && is.is_multiple_of(was) => NARROWED,
        Some((was, is)) if is > 0 && was.is_multiple_of(is) => WIDENED,
        Some(_) => OTHER,
        None => UNCLEAR,
    };
    (change, effect)
}
