//! The filters that expressions may call: those of the language, but for what would let an expression see the machine that it runs
//! on, and those that meter it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use jaq_core::box_iter::box_once;
use jaq_core::native::{self, Filter, v};
use jaq_core::{DataT, Error, Exn, Lut, Native, data::HasLut};
use jaq_json::{Num, Val};
use jiff::Timestamp;
use regex::Regex;

use super::meter::{GROWN, TICK, WHOLE};
use super::{Exceeded, Limits, own, pattern};

/// Filters that reach outside of the expression.
pub(super) const OUTSIDE: &[&str] = &[
    "debug",
    "stderr",
    "halt_error",
    "env",
    "input",
    "inputs",
    "halt",
    "now",
    "localtime",
    "strflocaltime",
    "fromjson",
    "stderr_empty",
    "debug_empty",
    "input_line_number",
    "read",
    "input_filename",
];
/// Filters that are there under another name, for our own to build on.
const RENAMED: &[(&str, &str)] =
    &[("todateiso8601", "_todateiso8601"), ("ltrimstr", "_ltrimstr"), ("rtrimstr", "_rtrimstr")];
/// Values nested deeper than this are refused.
const DEEPEST: usize = 512;
/// How many regular expressions an evaluation keeps, and what reading one counts.
const PATTERNS: usize = 32;
const PATTERN_STEPS: u64 = 300;

/// What an evaluation may still use.
#[derive(Debug)]
pub(super) struct Meter {
    limits: Limits,
    left: Cell<u64>,
    /// Address of the stack at which the evaluation began.
    base: usize,
    pub(super) now: Timestamp,
    pub(super) exceeded: Cell<Option<Exceeded>>,
    patterns: RefCell<BTreeMap<(String, String), Regex>>,
}

/// The kind of data that expressions work on.
pub(super) struct Kind;

/// What filters see besides their input.
pub(super) struct Run<'a> {
    pub(super) lut: &'a Lut<Kind>,
    pub(super) meter: &'a Meter,
}

impl Clone for Run<'_> {
    fn clone(&self) -> Self {
        *self
    }
}

impl Copy for Run<'_> {}

impl DataT for Kind {
    type V<'a> = Val;
    type Data<'a> = Run<'a>;
}

impl<'a> HasLut<'a, Kind> for Run<'a> {
    fn lut(&self) -> &'a Lut<Kind> {
        self.lut
    }
}

/// What ends an evaluation, or can be caught.
pub(super) type Stop<'a> = Exn<'a, Val>;
type Outcome<'a> = Result<(), Stop<'a>>;

#[inline(never)]
fn stack_address() -> usize {
    let here = 0u8;
    std::ptr::from_ref(&here).addr()
}

impl Meter {
    pub(super) fn new(limits: Limits, now: Timestamp) -> Self {
        Self {
            limits,
            left: Cell::new(limits.steps),
            base: stack_address(),
            now,
            exceeded: Cell::new(None),
            patterns: RefCell::default(),
        }
    }

    /// Ends the evaluation in a way that it cannot catch.
    fn stop<'a>(&self, why: Exceeded) -> Outcome<'a> {
        self.exceeded.set(Some(why));
        Err(Exn::halt(1))
    }

    pub(super) fn use_up<'a>(&self, steps: u64) -> Outcome<'a> {
        match self.left.get().checked_sub(steps) {
            Some(left) => self.left.set(left),
            None => return self.stop(Exceeded::Steps(self.limits.steps)),
        }
        if self.base.abs_diff(stack_address()) > self.limits.stack {
            return self.stop(Exceeded::Recursion);
        }
        Ok(())
    }

    pub(super) fn fits<'a>(&self, bytes: usize) -> Outcome<'a> {
        if bytes > self.limits.bytes { self.stop(Exceeded::Size(self.limits.bytes)) } else { Ok(()) }
    }

    fn tick<'a>(&self, _: &Val) -> Outcome<'a> {
        self.use_up(1)
    }

    pub(super) fn grown<'a>(&self, value: &Val) -> Outcome<'a> {
        let (bytes, steps) = match value {
            Val::TStr(text) | Val::BStr(text) => (text.len(), text.len() / 64),
            Val::Arr(items) => (items.len() * size_of::<Val>(), items.len() / 16),
            Val::Obj(entries) => (entries.len() * 2 * size_of::<Val>(), entries.len() / 16),
            Val::Num(Num::BigInt(number)) => {
                let bytes = usize::try_from(number.bits() / 8).unwrap_or(usize::MAX);
                (bytes, bytes / 16)
            }
            _ => (0, 0),
        };
        self.fits(bytes)?;
        self.use_up(1 + steps as u64)
    }

    /// Counts every part; `left` bytes may still come.
    pub(super) fn whole<'a>(&self, value: &Val) -> Outcome<'a> {
        let mut bytes = 0;
        self.parts(value, 0, &mut bytes)
    }

    fn parts<'a>(&self, value: &Val, depth: usize, bytes: &mut usize) -> Outcome<'a> {
        if depth > DEEPEST {
            return self.stop(Exceeded::Recursion);
        }
        match value {
            Val::TStr(text) | Val::BStr(text) => {
                *bytes += text.len();
                self.fits(*bytes)?;
                self.use_up(text.len() as u64 / 64)
            }
            Val::Arr(items) => {
                self.use_up(1 + items.len() as u64 / 4)?;
                items.iter().try_for_each(|item| self.parts(item, depth + 1, bytes))
            }
            Val::Obj(entries) => {
                self.use_up(1 + entries.len() as u64 / 2)?;
                entries.iter().try_for_each(|(key, value)| {
                    self.parts(key, depth + 1, bytes)?;
                    self.parts(value, depth + 1, bytes)
                })
            }
            _ => Ok(()),
        }
    }

    /// A regular expression, which is read once.
    pub(super) fn pattern<'a>(&self, source: &str, letters: &str) -> Result<Regex, Stop<'a>> {
        let key = (source.to_owned(), letters.to_owned());
        if let Some(known) = self.patterns.borrow().get(&key) {
            return Ok(known.clone());
        }
        self.use_up(PATTERN_STEPS + source.len() as u64)?;
        let read = pattern::compile(source, letters).map_err(|why| Exn::from(Error::str(why)))?;
        let mut patterns = self.patterns.borrow_mut();
        if patterns.len() >= PATTERNS {
            patterns.clear();
        }
        patterns.insert(key, read.clone());
        Ok(read)
    }

    pub(super) fn check(&self, value: &Val) -> bool {
        self.whole(value).is_ok()
    }
}

/// All filters.
pub(super) fn filters() -> impl Iterator<Item = Filter<Native<Kind>>> {
    let core = || jaq_core::funs::<Kind>().chain(jaq_std::funs::<Kind>()).chain(jaq_json::funs::<Kind>());
    let renamed = core().filter_map(|(name, arity, filter)| {
        let (_, other) = RENAMED.iter().find(|(known, _)| *known == name)?;
        Some((*other, arity, filter))
    });
    core()
        .filter(|(name, _, _)| !OUTSIDE.contains(name))
        .chain(renamed)
        .chain(metering())
        .chain(own::filters())
}

/// A filter that passes its input on when it has been counted.
macro_rules! passing {
    ($name:expr, $count:path) => {{
        let native: Native<Kind> = Native::new(|(ctx, value)| {
            let counted = $count(ctx.data().meter, &value);
            box_once(counted.map(|()| value))
        });
        let native = native.with_paths(|(ctx, (value, path))| {
            let counted = $count(ctx.data().meter, &value);
            box_once(counted.map(|()| (value, path)))
        });
        let native = native.with_update(|(ctx, value), update| match $count(ctx.data().meter, &value) {
            Ok(()) => update(value),
            Err(stop) => box_once(Err(stop)),
        });
        ($name, v(0), native)
    }};
}

/// A number that was calculated: where it is whole, it is written without a fraction.
fn number(value: Val) -> Val {
    match value {
        Val::Num(Num::Float(number)) if number.fract() == 0.0 && number.abs() < 1e17 => {
            Val::Num(Num::Int(number as isize))
        }
        value => value,
    }
}

fn metering() -> impl Iterator<Item = Filter<Native<Kind>>> {
    let grown: Filter<jaq_core::RunPtr<Kind>> = (GROWN, v(0), |(ctx, value)| {
        let counted = ctx.data().meter.grown(&value);
        box_once(counted.map(|()| number(value)))
    });
    [passing!(TICK, Meter::tick), passing!(WHOLE, Meter::whole), native::run::<Kind>(grown)].into_iter()
}
