//! Reading of expressions: what they are made of, and a programme to be run.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jaq_core::Compiler;
use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::load::{self, Arena, File, Loader, parse};
use jaq_core::path::{Opt, Part, Path};

use super::native::{self, Kind};
use super::{Expression, Unreadable, meter};

pub(super) enum Program {
    /// Properties of the input or of a variable, one in the other.
    Properties { variable: bool, names: Vec<String> },
    /// Anything else; a flat one needs little stack, whatever it is given.
    Filter { filter: jaq_core::Filter<Kind>, flat: bool },
}

pub(super) fn read(source: &str, variables: &[&str]) -> Result<Expression, Unreadable> {
    let line = source.split(PLACE).next().map_or(1, |before| before.matches('\n').count() + 1).to_string();
    let term = parse(source, |parser| parser.term()).ok_or_else(|| syntax(source))?;
    let mut named = BTreeSet::new();
    each(&term, &mut |one| {
        if let Term::Var(name) = one {
            named.insert(*name);
        }
    });
    let uses: Vec<String> = variables
        .iter()
        .filter(|name| named.contains(format!("${name}").as_str()))
        .map(|name| (*name).to_owned())
        .collect();
    let secrets = secrets(&term);
    let term = if named.contains(PLACE) { placed(term, &line) } else { term };
    let program = match properties(&term) {
        Some((Some(name), _)) if uses.is_empty() => return Err(unknown_variable(name, variables)),
        Some((variable, names)) => Program::Properties { variable: variable.is_some(), names },
        None => {
            let flat = is_flat(&term, 0);
            Program::Filter { filter: compile(source, term, &uses, variables)?, flat }
        }
    };
    Ok(Expression { source: source.to_owned(), uses, secrets, program })
}

/// The secrets that an expression names: `$secrets.name`, `$secrets["name"]`.
fn secrets(of: &Term<&str>) -> Vec<String> {
    let mut named = BTreeSet::new();
    each(of, &mut |one| {
        if let Term::Path(start, Path(parts)) = one
            && matches!(**start, Term::Var("$secrets"))
            && let Some((Part::Index(Term::Str(None, text)), _)) = parts.first()
            && let [StrPart::Str(name)] = text.as_slice()
        {
            named.insert((*name).to_owned());
        }
    });
    named.into_iter().collect()
}

/// Where the expression stands, for those who look for what they wrote.
const PLACE: &str = "$__loc__";

/// The same filter, in which the place is a variable: the line on which it is asked for first.
fn placed<'s>(of: Term<&'s str>, line: &'s str) -> Term<&'s str> {
    let text = |of| Term::Str(None, vec![StrPart::Str(of)]);
    let entries = vec![(text("file"), Some(text("<top-level>"))), (text("line"), Some(Term::Num(line)))];
    Term::BinOp(Box::new(Term::Obj(entries)), BinaryOp::Pipe(Some(Pattern::Var(PLACE))), Box::new(of))
}

/// Calls `see` with a filter and everything in it.
fn each<'t, 's>(of: &'t Term<&'s str>, see: &mut dyn FnMut(&'t Term<&'s str>)) {
    see(of);
    children(of, &mut |child| each(child, see));
}

/// Calls `see` with the filters of which one is made.
fn children<'t, 's>(of: &'t Term<&'s str>, see: &mut dyn FnMut(&'t Term<&'s str>)) {
    match of {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) => {}
        Term::Str(_, parts) => parts.iter().for_each(|part| {
            if let StrPart::Term(of) = part {
                see(of);
            }
        }),
        Term::Arr(of) => of.iter().for_each(|of| see(of)),
        Term::Obj(entries) => entries.iter().for_each(|(key, value)| {
            see(key);
            value.iter().for_each(&mut *see);
        }),
        Term::Neg(of) | Term::Label(_, of) => see(of),
        Term::BinOp(left, op, right) => {
            see(left);
            if let BinaryOp::Pipe(Some(by)) = op {
                keys(by, see);
            }
            see(right);
        }
        Term::Fold(_, source, by, bodies) => {
            see(source);
            keys(by, see);
            bodies.iter().for_each(see);
        }
        Term::TryCatch(of, catch) => std::iter::once(of).chain(catch).for_each(|of| see(of)),
        Term::IfThenElse(cases, otherwise) => {
            cases.iter().for_each(|(when, then)| {
                see(when);
                see(then);
            });
            otherwise.iter().for_each(|of| see(of));
        }
        Term::Def(defs, of) => {
            defs.iter().for_each(|def| see(&def.body));
            see(of);
        }
        Term::Call(_, args) => args.iter().for_each(see),
        Term::Path(of, Path(parts)) => {
            see(of);
            parts.iter().for_each(|(part, _)| match part {
                Part::Index(at) => see(at),
                Part::Range(from, to) => from.iter().chain(to).for_each(&mut *see),
            });
        }
    }
}

/// The filters in a pattern.
fn keys<'t, 's>(by: &'t Pattern<&'s str>, see: &mut dyn FnMut(&'t Term<&'s str>)) {
    match by {
        Pattern::Var(_) => {}
        Pattern::Arr(items) => items.iter().for_each(|of| keys(of, see)),
        Pattern::Obj(entries) => entries.iter().for_each(|(key, of)| {
            see(key);
            keys(of, see);
        }),
    }
}

/// The variable, if any, and the names of an expression that only follows properties.
fn properties<'s>(of: &Term<&'s str>) -> Option<(Option<&'s str>, Vec<String>)> {
    let of_start = |of: &Term<&'s str>| match of {
        Term::Id => Some(None),
        Term::Var(name) => Some(Some(*name)),
        _ => None,
    };
    let Term::Path(start, Path(parts)) = of else { return Some((of_start(of)?, Vec::new())) };
    let name = |(part, opt): &(Part<Term<&'s str>>, Opt)| match (part, opt) {
        (Part::Index(Term::Str(None, text)), Opt::Essential) => match text.as_slice() {
            [StrPart::Str(name)] => Some((*name).to_owned()),
            _ => None,
        },
        _ => None,
    };
    Some((of_start(start)?, parts.iter().map(name).collect::<Option<_>>()?))
}

/// Definitions whose depth follows from how the expression is written.
const FLAT_CALLS: &[&str] = &[
    "map",
    "select",
    "length",
    "keys",
    "values",
    "not",
    "empty",
    "true",
    "false",
    "null",
    "tostring",
    "tonumber",
    "tojson",
    "type",
    "has",
    "ascii_downcase",
    "ascii_upcase",
    "startswith",
    "endswith",
    "ltrimstr",
    "rtrimstr",
    "trim",
    "split",
    "test",
    "first",
    "last",
    "now",
    "floor",
    "ceil",
    "round",
    "abs",
    "sort",
    "sort_by",
    "to_entries",
    "error",
    "contains",
    "index",
    "any",
    "all",
    "in",
    "fromjson",
    "todate",
    "fromdate",
    "min",
    "max",
    "unique",
    "group_by",
    "reverse",
    "isnumber",
    "isstring",
];

/// Whether all that it does is written out in it: no loop, no definition that calls itself.
fn is_flat(of: &Term<&str>, depth: usize) -> bool {
    let own = match of {
        Term::Recurse | Term::Label(..) | Term::Break(_) | Term::Fold(..) | Term::Def(..) => false,
        Term::Call(name, _) => FLAT_CALLS.contains(name),
        _ => true,
    };
    let mut flat = own && depth < 24;
    if flat {
        children(of, &mut |child| flat = flat && is_flat(child, depth + 1));
    }
    flat
}

/// What the language brings, metered; each with what it calls.
static LIBRARY: LazyLock<Vec<(Def<&'static str>, BTreeSet<&'static str>)>> = LazyLock::new(|| {
    let all = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let own = load::parse(include_str!("library.jq"), |parser| parser.defs()).unwrap_or_default();
    let inside = all.filter(|def| !native::OUTSIDE.contains(&def.name)).map(constant).chain(own);
    inside.map(meter::definition).map(|def| (def.clone(), calls(&def.body))).collect()
});

/// The definition, or that of what it calculates by dividing by zero.
fn constant(def: Def<&'static str>) -> Def<&'static str> {
    let native = match def.name {
        "nan" => "_nan",
        "infinite" => "_infinite",
        _ => return def,
    };
    Def { body: Term::Call(native, Vec::new()), ..def }
}

/// The names of all that a filter calls.
fn calls<'s>(of: &Term<&'s str>) -> BTreeSet<&'s str> {
    let mut called = BTreeSet::new();
    each(of, &mut |one| match one {
        Term::Call(name, _) => drop(called.insert(*name)),
        Term::Str(Some(format), _) => drop(called.insert(*format)),
        _ => {}
    });
    called
}

/// The definitions that a filter needs, in their order: reading all of them takes twenty times as long.
fn needed<'s>(of: &Term<&'s str>) -> Vec<Def<&'s str>> {
    let mut called = calls(of);
    // A definition calls only itself and those before it.
    let wanted = LIBRARY.iter().rev().filter(|(def, calls)| {
        let wanted = called.contains(def.name);
        if wanted {
            called.extend(calls.iter().copied());
        }
        wanted
    });
    let mut wanted: Vec<Def<&'s str>> = wanted.map(|(def, _)| def.clone()).collect();
    wanted.reverse();
    wanted
}

const MAIN: &str = "_main";

fn compile(
    source: &str,
    term: Term<&str>,
    uses: &[String],
    variables: &[&str],
) -> Result<jaq_core::Filter<Kind>, Unreadable> {
    let args: Vec<String> = uses.iter().map(|name| format!("${name}")).collect();
    let body = meter::term(term);
    let mut library = needed(&body);
    library.push(Def { name: MAIN, args: args.iter().map(String::as_str).collect(), body });
    let arena = Arena::default();
    let code = match args.as_slice() {
        [] => MAIN.to_owned(),
        args => format!("{MAIN}({})", args.join("; ")),
    };
    let modules =
        Loader::new(library).load(&arena, File { code: &code, path: () }).map_err(|_| syntax(source))?;
    let compiler =
        Compiler::default().with_funs(native::filters()).with_global_vars(args.iter().map(String::as_str));
    compiler.compile(modules).map_err(|errors| {
        let first = errors.into_iter().flat_map(|(_, undefined)| undefined).next();
        let (name, what) =
            first.map_or_else(|| (String::new(), ""), |(name, what)| (name.to_owned(), what.as_str()));
        match what {
            "variable" => unknown_variable(&name, variables),
            _ => Unreadable::Unknown { what: "filter", name, known: "those of jq".to_owned() },
        }
    })
}

fn unknown_variable(name: &str, variables: &[&str]) -> Unreadable {
    let known: Vec<String> = variables.iter().map(|name| format!("${name}")).collect();
    let known = if known.is_empty() { "none here".to_owned() } else { known.join(", ") };
    Unreadable::Unknown { what: "variable", name: name.to_owned(), known }
}

/// Where and why an expression cannot be read.
fn syntax(source: &str) -> Unreadable {
    use jaq_core::load::Error;
    let arena = Arena::default();
    let loader = Loader::new([]);
    let errors = match loader.load(&arena, File { code: source, path: () }) {
        Ok(_) => Vec::new(),
        Err(errors) => errors,
    };
    let place = |part: &str| {
        let within = part.as_ptr().addr().wrapping_sub(source.as_ptr().addr());
        source.get(..within).map_or(source.chars().count(), |before| before.chars().count()) + 1
    };
    let first = errors.into_iter().find_map(|(_, error)| match error {
        Error::Lex(found) => {
            found.first().map(|(expected, found)| (place(found), expected.as_str().to_owned()))
        }
        Error::Parse(found) => {
            found.first().map(|(expected, found)| (place(found), expected.as_str().to_owned()))
        }
        Error::Io(_) => Some((1, "no modules".to_owned())),
    });
    let (at, expected) = first.unwrap_or((1, "an expression".to_owned()));
    Unreadable::Syntax { at, expected }
}
