//! What keeps an expression within its limits. Before a programme is compiled, everything in it that can come again or grow is
//! joined to a filter that counts: what a programme does is metered by what it is made of, not by a clock, so that it comes to the
//! same end on every machine and when a run is replayed.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::ops::Math;
use jaq_core::path::{Part, Path};

/// Counts one output.
pub(super) const TICK: &str = "_tick";
/// Counts the size of a value that was made.
pub(super) const GROWN: &str = "_grown";
/// Counts every part of a value before something walks through it.
pub(super) const WHOLE: &str = "_whole";
/// The product of two values, refused before it is made where it would be too large.
pub(super) const PRODUCT: &str = "_product";
const RIGHT: &str = "$_right";

/// Filters that walk through their whole input.
const WALKING: &[&str] = &[
    "tojson",
    "tostring",
    "sort",
    "group_by",
    "sort_by",
    "min_by_or_empty",
    "max_by_or_empty",
    "contains",
    "indices",
    "bsearch",
    "implode",
    "tobytes",
    "ltrimstr",
    "rtrimstr",
    "has",
    "error_empty",
];

type Filter<'s> = Term<&'s str>;

pub(super) fn definition(def: Def<&str>) -> Def<&str> {
    Def { name: def.name, args: def.args, body: pipe(call(TICK), term(def.body)) }
}

fn call(name: &'static str) -> Filter<'static> {
    Term::Call(name, Vec::new())
}

fn pipe<'s>(left: Filter<'s>, right: Filter<'s>) -> Filter<'s> {
    Term::BinOp(Box::new(left), BinaryOp::Pipe(None), Box::new(right))
}

#[expect(clippy::boxed_local, reason = "the tree has boxes, and gets them back")]
fn boxed(one: Box<Filter<'_>>) -> Box<Filter<'_>> {
    Box::new(term(*one))
}

fn all(terms: Vec<Filter<'_>>) -> Vec<Filter<'_>> {
    terms.into_iter().map(term).collect()
}

/// The same filter, metered.
pub(super) fn term(one: Filter<'_>) -> Filter<'_> {
    match one {
        Term::Id | Term::Num(_) | Term::Break(_) | Term::Var(_) => one,
        Term::Recurse => pipe(one, call(TICK)),
        Term::Str(format, parts) => Term::Str(format, parts.into_iter().map(part).collect()),
        Term::Arr(items) => Term::Arr(items.map(boxed)),
        Term::Obj(entries) => {
            let entries = entries.into_iter().map(|(key, value)| (term(key), value.map(term)));
            pipe(Term::Obj(entries.collect()), call(TICK))
        }
        Term::Neg(of) => Term::Neg(boxed(of)),
        Term::BinOp(left, op, right) => binary(*left, op, *right),
        Term::Label(name, body) => Term::Label(name, boxed(body)),
        Term::Fold(name, source, by, bodies) => Term::Fold(name, boxed(source), pattern(by), all(bodies)),
        Term::TryCatch(body, catch) => Term::TryCatch(boxed(body), catch.map(boxed)),
        Term::IfThenElse(cases, otherwise) => {
            let cases = cases.into_iter().map(|(when, then)| (term(when), term(then)));
            Term::IfThenElse(cases.collect(), otherwise.map(boxed))
        }
        Term::Def(defs, body) => Term::Def(defs.into_iter().map(definition).collect(), boxed(body)),
        Term::Call("localtime", args) => Term::Call("gmtime", all(args)),
        Term::Call("strflocaltime", args) => Term::Call("strftime", all(args)),
        Term::Call("range", args) if args.len() == 3 => pipe(Term::Call("range", all(args)), call(TICK)),
        Term::Call(name, args) if WALKING.contains(&name) => pipe(call(WHOLE), Term::Call(name, all(args))),
        Term::Call(name, args) => Term::Call(name, all(args)),
        Term::Path(of, Path(parts)) => path(boxed(of), parts),
    }
}

fn path<'s>(of: Box<Filter<'s>>, parts: Vec<(Part<Filter<'s>>, jaq_core::path::Opt)>) -> Filter<'s> {
    let goes_through = parts.iter().any(|(part, _)| matches!(part, Part::Range(None, None)));
    let one = |part| match part {
        Part::Index(at) => Part::Index(term(at)),
        Part::Range(from, to) => Part::Range(from.map(term), to.map(term)),
    };
    let parts = parts.into_iter().map(|(part, opt)| (one(part), opt)).collect();
    let path = Term::Path(of, Path(parts));
    if goes_through { pipe(path, call(TICK)) } else { path }
}

fn part<'s>(part: StrPart<&'s str, Filter<'s>>) -> StrPart<&'s str, Filter<'s>> {
    match part {
        StrPart::Term(of) => StrPart::Term(pipe(term(of), call(WHOLE))),
        other => other,
    }
}

fn pattern(of: Pattern<&str>) -> Pattern<&str> {
    match of {
        Pattern::Var(name) => Pattern::Var(name),
        Pattern::Arr(items) => Pattern::Arr(items.into_iter().map(pattern).collect()),
        Pattern::Obj(entries) => {
            Pattern::Obj(entries.into_iter().map(|(key, value)| (term(key), pattern(value))).collect())
        }
    }
}

fn binary<'s>(left: Filter<'s>, op: BinaryOp<&'s str>, right: Filter<'s>) -> Filter<'s> {
    match op {
        // `l *= r` is `r as $x | l |= . * $x`, so that what grows can be counted.
        BinaryOp::UpdateMath(math) => {
            let changed = Term::BinOp(Box::new(Term::Id), BinaryOp::Math(math), Box::new(Term::Var(RIGHT)));
            let update = Term::BinOp(Box::new(left), BinaryOp::Update, Box::new(changed));
            binary(right, BinaryOp::Pipe(Some(Pattern::Var(RIGHT))), update)
        }
        BinaryOp::Math(Math::Mul) => pipe(Term::Call(PRODUCT, vec![term(left), term(right)]), call(GROWN)),
        BinaryOp::Cmp(_) => {
            let walked = |of| Box::new(pipe(term(of), call(WHOLE)));
            Term::BinOp(walked(left), op, walked(right))
        }
        _ => {
            let after = match &op {
                BinaryOp::Comma | BinaryOp::Assign => Some(TICK),
                BinaryOp::Math(_) => Some(GROWN),
                _ => None,
            };
            let op = match op {
                BinaryOp::Pipe(Some(by)) => BinaryOp::Pipe(Some(pattern(by))),
                op => op,
            };
            let joined = Term::BinOp(Box::new(term(left)), op, Box::new(term(right)));
            after.map_or_else(|| joined.clone(), |name| pipe(joined.clone(), call(name)))
        }
    }
}
