//! The filters that expressions may call: those of the language, but for what would let an expression see the machine that it runs
//! on, and those that meter it.

use std::cell::Cell;

use jaq_core::box_iter::box_once;
use jaq_core::native::{self, Filter, bome, v};
use jaq_core::{DataT, Error, Exn, Lut, Native, data::HasLut};
use jaq_json::{Num, Val};
use jiff::Timestamp;

use super::meter::{GROWN, PRODUCT, TICK, WHOLE};
use super::{Exceeded, Limits};

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
/// Values nested deeper than this are refused.
const DEEPEST: usize = 512;

/// What an evaluation may still use.
#[derive(Debug)]
pub(super) struct Meter {
    limits: Limits,
    left: Cell<u64>,
    /// Address of the stack at which the evaluation began.
    base: usize,
    now: Timestamp,
    pub(super) exceeded: Cell<Option<Exceeded>>,
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

type Outcome<'a> = Result<(), Exn<'a, Val>>;

#[inline(never)]
fn stack_address() -> usize {
    let here = 0u8;
    std::ptr::from_ref(&here).addr()
}

impl Meter {
    pub(super) fn new(limits: Limits, now: Timestamp) -> Self {
        Self { limits, left: Cell::new(limits.steps), base: stack_address(), now, exceeded: Cell::new(None) }
    }

    /// Ends the evaluation in a way that it cannot catch.
    fn stop<'a>(&self, why: Exceeded) -> Outcome<'a> {
        self.exceeded.set(Some(why));
        Err(Exn::halt(1))
    }

    fn use_up<'a>(&self, steps: u64) -> Outcome<'a> {
        match self.left.get().checked_sub(steps) {
            Some(left) => self.left.set(left),
            None => return self.stop(Exceeded::Steps(self.limits.steps)),
        }
        if self.base.abs_diff(stack_address()) > self.limits.stack {
            return self.stop(Exceeded::Recursion);
        }
        Ok(())
    }

    fn fits<'a>(&self, bytes: usize) -> Outcome<'a> {
        if bytes > self.limits.bytes { self.stop(Exceeded::Size(self.limits.bytes)) } else { Ok(()) }
    }

    fn tick<'a>(&self, _: &Val) -> Outcome<'a> {
        self.use_up(1)
    }

    fn grown<'a>(&self, value: &Val) -> Outcome<'a> {
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
    fn whole<'a>(&self, value: &Val) -> Outcome<'a> {
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

    /// What a product would take.
    fn product<'a>(&self, left: &Val, right: &Val) -> Outcome<'a> {
        let times = |text: usize, number: &Num| {
            let times = match number {
                Num::Int(times) => usize::try_from(*times).unwrap_or(0),
                Num::Float(times) => *times as usize,
                _ => usize::MAX,
            };
            text.saturating_mul(times)
        };
        match (left, right) {
            (Val::TStr(text) | Val::BStr(text), Val::Num(number))
            | (Val::Num(number), Val::TStr(text) | Val::BStr(text)) => self.fits(times(text.len(), number)),
            _ => Ok(()),
        }
    }

    pub(super) fn check(&self, value: &Val) -> bool {
        self.whole(value).is_ok()
    }
}

/// All filters.
pub(super) fn filters() -> impl Iterator<Item = Filter<Native<Kind>>> {
    let core = jaq_core::funs::<Kind>().chain(jaq_std::funs::<Kind>()).chain(jaq_json::funs::<Kind>());
    core.filter(|(name, _, _)| !OUTSIDE.contains(name)).chain(own())
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

fn own() -> impl Iterator<Item = Filter<Native<Kind>>> {
    let metering =
        [passing!(TICK, Meter::tick), passing!(GROWN, Meter::grown), passing!(WHOLE, Meter::whole)];
    let product: Filter<jaq_core::RunPtr<Kind>> = (PRODUCT, v(2), |mut cv| {
        let right = cv.0.pop_var();
        let left = cv.0.pop_var();
        match cv.0.data().meter.product(&left, &right) {
            Ok(()) => bome(left * right),
            Err(stop) => box_once(Err(stop)),
        }
    });
    let now: Filter<jaq_core::RunPtr<Kind>> = ("now", v(0), |cv| {
        let now = cv.0.data().meter.now;
        bome(Ok(Val::from(now.as_nanosecond() as f64 / 1e9)))
    });
    let fromjson: Filter<jaq_core::RunPtr<Kind>> = ("fromjson", v(0), |cv| {
        let text = match &cv.1 {
            Val::TStr(text) | Val::BStr(text) => text.clone(),
            other => return bome(Err(Error::typ(other.clone(), "string"))),
        };
        let read = serde_json::from_slice::<Val>(&text);
        bome(read.map_err(|error| Error::str(format!("cannot read JSON: {error}"))))
    });
    metering.into_iter().chain([
        native::run::<Kind>(product),
        native::run::<Kind>(now),
        native::run::<Kind>(fromjson),
    ])
}
