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
/// What is left of a division, and what remains of one; by zero they are errors.
pub(super) const QUOTIENT: &str = "_quotient";
pub(super) const REMAINDER: &str = "_remainder";
/// Changes what stands at paths, and sets it.
pub(super) const UPDATE: &str = "_update";
pub(super) const ASSIGN: &str = "_assign";
/// Null, where the definition of that name is not there yet.
pub(super) const NULL: &str = "_null";
/// A value as text.
pub(super) const TEXT: &str = "_tostring";
/// A value as an index: numbers are whole.
pub(super) const INDEX: &str = "_index";
/// A value as the name of a property: text.
pub(super) const NAME: &str = "_name";
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

/// Filters that calculate numbers, which may be whole.
const CALCULATING: &[&str] = &[
    "cbrt",
    "exp",
    "exp10",
    "exp2",
    "expm1",
    "fabs",
    "fdim",
    "fma",
    "fmax",
    "fmin",
    "fmod",
    "gamma",
    "hypot",
    "ldexp",
    "lgamma",
    "log",
    "log10",
    "log1p",
    "log2",
    "logb",
    "nearbyint",
    "now",
    "pow",
    "pow10",
    "remainder",
    "rint",
    "scalb",
    "scalbln",
    "significand",
    "sqrt",
    "tgamma",
    "trunc",
    "drem",
    "copysign",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "atan2",
    "tanh",
    "sinh",
    "cosh",
    "path",
    "keys_unsorted",
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
        Term::Str(format, parts) => {
            Term::Str(format, parts.into_iter().map(|one| part(one, format.is_none())).collect())
        }
        Term::Arr(items) => Term::Arr(items.map(boxed)),
        Term::Obj(entries) => {
            let entries = entries.into_iter().map(|(key, value)| (name(key), value.map(term)));
            pipe(Term::Obj(entries.collect()), call(TICK))
        }
        Term::Neg(of) => pipe(Term::Neg(boxed(of)), call(GROWN)),
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
        Term::Call(name, args) if CALCULATING.contains(&name) => {
            pipe(Term::Call(name, all(args)), call(GROWN))
        }
        Term::Call(name, args) if WALKING.contains(&name) => pipe(call(WHOLE), Term::Call(name, all(args))),
        Term::Call(name, args) => Term::Call(name, all(args)),
        Term::Path(of, Path(parts)) => path(boxed(of), parts),
    }
}

fn path<'s>(of: Box<Filter<'s>>, parts: Vec<(Part<Filter<'s>>, jaq_core::path::Opt)>) -> Filter<'s> {
    let goes_through = parts.iter().any(|(part, _)| matches!(part, Part::Range(None, None)));
    let bound = |of: Option<Filter<'s>>| match of {
        Some(of) => term(of),
        None => call(NULL),
    };
    // A slice is an index with a beginning and an end, which can be taken of null too.
    let one = |part| match part {
        Part::Index(at) if is_index(&at) => Part::Index(term(at)),
        Part::Index(at) => Part::Index(pipe(term(at), call(INDEX))),
        Part::Range(None, None) => Part::Range(None, None),
        Part::Range(from, to) => {
            let bounds = vec![(text("start"), Some(bound(from))), (text("end"), Some(bound(to)))];
            Part::Index(pipe(Term::Obj(bounds), call(INDEX)))
        }
    };
    let parts = parts.into_iter().map(|(part, opt)| (one(part), opt)).collect();
    let path = Term::Path(of, Path(parts));
    if goes_through { pipe(path, call(TICK)) } else { path }
}

/// Whether a filter is written as the name of a property or as a whole number.
fn is_index(of: &Filter<'_>) -> bool {
    match of {
        Term::Str(None, _) => true,
        Term::Num(number) => number.bytes().all(|digit| digit.is_ascii_digit()),
        _ => false,
    }
}

fn text(of: &'static str) -> Filter<'static> {
    Term::Str(None, vec![StrPart::Str(of)])
}

/// What names a property.
fn name(of: Filter<'_>) -> Filter<'_> {
    match of {
        Term::Str(..) | Term::Var(_) => term(of),
        of => pipe(term(of), call(NAME)),
    }
}

/// A value in a text, written as jq does where there is no format that does so.
fn part<'s>(part: StrPart<&'s str, Filter<'s>>, plain: bool) -> StrPart<&'s str, Filter<'s>> {
    match part {
        StrPart::Term(of) => StrPart::Term(pipe(term(of), call(if plain { TEXT } else { WHOLE }))),
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
        BinaryOp::UpdateAlt => {
            let changed = Term::BinOp(Box::new(Term::Id), BinaryOp::Alt, Box::new(Term::Var(RIGHT)));
            let update = Term::BinOp(Box::new(left), BinaryOp::Update, Box::new(changed));
            binary(right, BinaryOp::Pipe(Some(Pattern::Var(RIGHT))), update)
        }
        BinaryOp::Update => pipe(Term::Call(UPDATE, vec![term(left), term(right)]), call(TICK)),
        BinaryOp::Assign => pipe(Term::Call(ASSIGN, vec![term(left), term(right)]), call(TICK)),
        // The right side comes first, and the left one for each of its outputs.
        BinaryOp::Math(_) | BinaryOp::Cmp(_) if !single(&left) && !single(&right) => {
            let joined = Term::BinOp(Box::new(left), op, Box::new(Term::Var(RIGHT)));
            binary(right, BinaryOp::Pipe(Some(Pattern::Var(RIGHT))), joined)
        }
        BinaryOp::Math(math @ (Math::Mul | Math::Div | Math::Rem)) => {
            let name = match math {
                Math::Div => QUOTIENT,
                Math::Rem => REMAINDER,
                _ => PRODUCT,
            };
            pipe(Term::Call(name, vec![term(left), term(right)]), call(GROWN))
        }
        BinaryOp::Cmp(_) => {
            let walked = |of| Box::new(pipe(term(of), call(WHOLE)));
            Term::BinOp(walked(left), op, walked(right))
        }
        _ => {
            let after = match &op {
                BinaryOp::Comma => Some(TICK),
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

/// Whether a filter surely has one output at most.
fn single(of: &Filter<'_>) -> bool {
    match of {
        Term::Id | Term::Num(_) | Term::Var(_) | Term::Arr(_) | Term::Str(_, _) => true,
        Term::Neg(of) => single(of),
        Term::Path(of, Path(parts)) => {
            single(of)
                && parts
                    .iter()
                    .all(|(part, _)| matches!(part, Part::Index(Term::Str(..) | Term::Num(_) | Term::Var(_))))
        }
        Term::BinOp(left, BinaryOp::Math(_) | BinaryOp::Pipe(None), right) => single(left) && single(right),
        Term::Call(name, args) => {
            args.is_empty() && matches!(*name, "length" | "add" | "tostring" | "floor" | "now")
        }
        _ => false,
    }
}
