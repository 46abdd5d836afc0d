//! Filters of our own: where those of jaq come to something else than jq, or are not there.

use jaq_core::box_iter::box_once;
use jaq_core::native::{self, Filter, bome, v};
use jaq_core::{Bind, Error, Native, RunPtr};
use jaq_json::{Num, Val};
use jiff::fmt::strtime::BrokenDownTime;

use super::meter::{ASSIGN, INDEX, NAME, NULL, PRODUCT, QUOTIENT, REMAINDER, TEXT, UPDATE};
use super::native::{Kind, Meter, Stop};
use super::{pattern, place, text};

type Made<'a> = Result<Val, Stop<'a>>;

fn error<'a>(text: impl ToString) -> Stop<'a> {
    Error::str(text).into()
}

pub(super) fn filters() -> impl Iterator<Item = Filter<Native<Kind>>> {
    let all = numbers().into_iter().chain(places()).chain(texts()).chain(patterns()).chain(times());
    all.map(native::run::<Kind>)
}

type Own = Filter<RunPtr<Kind>>;

/// A filter of an input, or of an input and a value, to one value.
macro_rules! of {
    ($name:expr, $made:path) => {
        ($name, v(0), |(ctx, input)| box_once($made(ctx.data().meter, input)))
    };
    ($name:expr, $made:path, $_one:tt) => {
        ($name, v(1), |mut cv| {
            let one = cv.0.pop_var();
            box_once($made(cv.0.data().meter, cv.1, one))
        })
    };
    ($name:expr, $made:path, $_one:tt, $_two:tt) => {
        ($name, v(2), |mut cv| {
            let two = cv.0.pop_var();
            let one = cv.0.pop_var();
            box_once($made(cv.0.data().meter, cv.1, one, two))
        })
    };
}

fn numbers() -> Vec<Own> {
    vec![
        of!(PRODUCT, product, 1, 2),
        of!(QUOTIENT, quotient, 1, 2),
        of!(REMAINDER, remainder, 1, 2),
        (NULL, v(0), |_| bome(Ok(Val::Null))),
        ("_nan", v(0), |_| bome(Ok(Val::from(f64::NAN)))),
        ("_infinite", v(0), |_| bome(Ok(Val::from(f64::INFINITY)))),
    ]
}

fn float(number: &Num) -> f64 {
    match number {
        Num::Int(number) => *number as f64,
        Num::Float(number) => *number,
        other => other.to_string().parse().unwrap_or(f64::NAN),
    }
}

fn product<'a>(meter: &Meter, _: Val, left: Val, right: Val) -> Made<'a> {
    match (left, right) {
        (Val::TStr(text), Val::Num(number)) | (Val::Num(number), Val::TStr(text)) => {
            let times = float(&number);
            if times.is_nan() || times <= 0.0 {
                return Ok(Val::Null);
            }
            let times = times.ceil() as usize;
            meter.fits(text.len().saturating_mul(times))?;
            Ok(Val::utf8_str(text.repeat(times)))
        }
        (left, right) => Ok((left * right)?),
    }
}

fn by_zero<'a>(left: &Num, right: &Num, how: &str) -> Stop<'a> {
    error(format!("number ({left}) and number ({right}) cannot be divided{how} because the divisor is zero"))
}

fn quotient<'a>(meter: &Meter, _: Val, left: Val, right: Val) -> Made<'a> {
    match (left, right) {
        (Val::Num(left), Val::Num(right)) if float(&right) == 0.0 => Err(by_zero(&left, &right, "")),
        (left, right) => {
            meter.grown(&left)?;
            Ok((left / right)?)
        }
    }
}

/// Of the whole parts, with the sign of the left one.
fn remainder<'a>(_: &Meter, _: Val, left: Val, right: Val) -> Made<'a> {
    match (left, right) {
        (Val::Num(left), Val::Num(right)) => {
            let (whole, by) = (float(&left), float(&right));
            if whole.is_nan() || by.is_nan() {
                return Ok(Val::from(f64::NAN));
            }
            match (whole as isize).checked_rem((by as isize).saturating_abs()) {
                Some(rest) => Ok(Val::from(rest)),
                None => Err(by_zero(&left, &right, " (remainder)")),
            }
        }
        (left, right) => Ok((left % right)?),
    }
}

fn places() -> Vec<Own> {
    let functions = || Box::from([Bind::Fun(()), Bind::Fun(())]);
    vec![
        of!(INDEX, index),
        of!(NAME, name),
        of!("_setpath", set, 1, 2),
        of!("_delpaths", delete, 1),
        (UPDATE, functions(), |mut cv| {
            let (by, by_ctx) = cv.0.pop_fun();
            let (at, at_ctx) = cv.0.pop_fun();
            let meter = cv.0.data().meter;
            let places = at.paths((at_ctx, (cv.1.clone(), Default::default())));
            let places = collected(meter, places.map(|found| found.map(|(_, path)| reversed(path.iter()))));
            let by = |value: Val| by.run((by_ctx.clone(), value)).next().transpose();
            box_once(places.and_then(|places| update(meter, cv.1, &places, by)))
        }),
        (ASSIGN, Box::from([Bind::Fun(()), Bind::Var(())]), |mut cv| {
            let value = cv.0.pop_var();
            let (at, at_ctx) = cv.0.pop_fun();
            let meter = cv.0.data().meter;
            let places = at.paths((at_ctx, (cv.1.clone(), Default::default())));
            let places = collected(meter, places.map(|found| found.map(|(_, path)| reversed(path.iter()))));
            box_once(places.and_then(|places| update(meter, cv.1, &places, |_| Ok(Some(value.clone())))))
        }),
    ]
}

type Path = Vec<Val>;

fn reversed<'v>(path: impl Iterator<Item = &'v Val>) -> Path {
    let mut path: Path = path.cloned().collect();
    path.reverse();
    path
}

/// All paths, before anything at them changes.
fn collected<'a>(
    meter: &Meter,
    paths: impl Iterator<Item = Result<Path, Stop<'a>>>,
) -> Result<Vec<Path>, Stop<'a>> {
    let mut size = 0;
    paths
        .map(|path| {
            let path = path?;
            size += size_of::<Path>() + size_of_val(path.as_slice());
            meter.fits(size)?;
            meter.use_up(1 + path.len() as u64 / 16)?;
            Ok(path)
        })
        .collect()
}

/// Puts in the place of each value what is made of it; where that is nothing, the place is taken away in the end.
fn update<'a>(
    meter: &Meter,
    mut value: Val,
    places: &[Path],
    by: impl Fn(Val) -> Result<Option<Val>, Stop<'a>>,
) -> Made<'a> {
    let mut gone: Vec<&[Val]> = Vec::new();
    for path in places {
        let mut none = false;
        place::change(meter, &mut value, path, &mut |old| {
            let new = by(old)?;
            none = new.is_none();
            Ok(new.unwrap_or_default())
        })?;
        if none {
            gone.push(path);
        }
    }
    remove(meter, value, gone)
}

fn remove<'a>(meter: &Meter, mut value: Val, mut paths: Vec<&[Val]>) -> Made<'a> {
    if !paths.is_empty() {
        meter.use_up(paths.len() as u64)?;
        paths.sort();
        paths.dedup();
        place::delete(meter, &mut value, &paths)?;
    }
    Ok(value)
}

fn path<'a>(of: &Val) -> Result<&[Val], Stop<'a>> {
    match of {
        Val::Arr(path) => Ok(path.as_slice()),
        _ => Err(error("Path must be specified as an array")),
    }
}

fn set<'a>(meter: &Meter, mut value: Val, at: Val, new: Val) -> Made<'a> {
    place::change(meter, &mut value, path(&at)?, &mut |_| Ok(new.clone()))?;
    Ok(value)
}

fn delete<'a>(meter: &Meter, value: Val, paths: Val) -> Made<'a> {
    let Val::Arr(paths) = &paths else { return Err(error("Paths must be specified as an array")) };
    let paths = paths.iter().map(path).collect::<Result<_, _>>()?;
    remove(meter, value, paths)
}

fn index<'a>(_: &Meter, value: Val) -> Made<'a> {
    Ok(match value {
        Val::Num(number @ (Num::Float(_) | Num::Dec(_))) => match float(&number).floor() {
            at if at.is_nan() => Val::Null,
            at => Val::from(at as isize),
        },
        Val::Obj(bounds)
            if bounds.values().any(|bound| matches!(bound, Val::Num(Num::Float(_) | Num::Dec(_)))) =>
        {
            let whole = |(name, bound): (&Val, &Val)| {
                let up = name == &Val::from("end".to_owned());
                let bound = match bound {
                    Val::Num(at) if up => Val::from(float(at).ceil() as isize),
                    Val::Num(at) => Val::from(float(at).floor() as isize),
                    other => other.clone(),
                };
                (name.clone(), bound)
            };
            Val::obj(bounds.iter().map(whole).collect())
        }
        value => value,
    })
}

fn name<'a>(_: &Meter, value: Val) -> Made<'a> {
    match value {
        Val::TStr(_) => Ok(value),
        other => Err(error(format!("Object keys must be strings, not {other}"))),
    }
}

fn texts() -> Vec<Own> {
    vec![
        of!(TEXT, string),
        of!("_tojson", json),
        of!("_base32", base32),
        of!("_base32d", from_base32),
        of!("_base64d", from_base64),
        of!("fromjson", from_json),
    ]
}

fn string<'a>(meter: &Meter, value: Val) -> Made<'a> {
    match value {
        Val::TStr(_) => Ok(value),
        Val::BStr(bytes) => Ok(Val::TStr(bytes)),
        value => json(meter, value),
    }
}

fn json<'a>(meter: &Meter, value: Val) -> Made<'a> {
    meter.whole(&value)?;
    let mut written = String::new();
    text::json(&value, &mut written);
    Ok(Val::from(written))
}

fn utf8<'v, 'a>(value: &'v Val) -> Result<std::borrow::Cow<'v, str>, Stop<'a>> {
    match value {
        Val::TStr(text) | Val::BStr(text) => Ok(String::from_utf8_lossy(text)),
        other => Err(Error::typ(other.clone(), "string").into()),
    }
}

fn base32<'a>(_: &Meter, value: Val) -> Made<'a> {
    Ok(Val::from(text::base32(utf8(&value)?.as_bytes())))
}

fn bytes<'a>(of: &Val, read: Option<Vec<u8>>, name: &str) -> Made<'a> {
    let read = read.ok_or_else(|| error(format!("string ({of}) is not valid {name} data")))?;
    Ok(Val::from(String::from_utf8_lossy(&read).into_owned()))
}

fn from_base32<'a>(_: &Meter, value: Val) -> Made<'a> {
    bytes(&value, text::from_base32(&utf8(&value)?), "base32")
}

fn from_base64<'a>(_: &Meter, value: Val) -> Made<'a> {
    bytes(&value, text::from_base64(&utf8(&value)?), "base64")
}

fn from_json<'a>(_: &Meter, value: Val) -> Made<'a> {
    let text = utf8(&value)?;
    serde_json::from_str::<Val>(&text).map_err(|why| error(format!("cannot read JSON: {why}")))
}

fn patterns() -> Vec<Own> {
    vec![of!("_parts", parts, 1, 2), of!("_test", test, 1, 2)]
}

/// An expression and its flags, which may come with it in a list.
fn asked<'a>(re: &Val, flags: &Val) -> Result<(String, String), Stop<'a>> {
    let (re, flags) = match re {
        Val::Arr(both) => (both.first().unwrap_or(&Val::Null), both.get(1).unwrap_or(flags)),
        re => (re, flags),
    };
    let flags = match flags {
        Val::Null => String::new(),
        flags => utf8(flags)?.into_owned(),
    };
    let re = utf8(re).map_err(|_| error(format!("{re} cannot be matched, as it is not a string")))?;
    Ok((re.into_owned(), flags))
}

fn matched<'v, 'a>(value: &'v Val) -> Result<std::borrow::Cow<'v, str>, Stop<'a>> {
    utf8(value).map_err(|_| error(format!("{value} cannot be matched, as it is not a string")))
}

fn test<'a>(meter: &Meter, value: Val, re: Val, letters: Val) -> Made<'a> {
    let text = matched(&value)?;
    let (re, letters) = asked(&re, &letters)?;
    let flags = pattern::flags(&letters).map_err(error)?;
    let re = meter.pattern(&re, &letters)?;
    meter.use_up(1 + text.len() as u64 / 64)?;
    let found = match flags.without_empty {
        true => re.find_iter(&text).any(|found| !found.is_empty()),
        false => re.is_match(&text),
    };
    Ok(Val::from(found))
}

/// What stands between the places that match, and what was found there, in turn.
fn parts<'a>(meter: &Meter, value: Val, re: Val, letters: Val) -> Made<'a> {
    let text = matched(&value)?;
    let (re, letters) = asked(&re, &letters)?;
    let flags = pattern::flags(&letters).map_err(error)?;
    let re = meter.pattern(&re, &letters)?;
    let (mut parts, mut end, mut offset, mut size) = (Vec::new(), 0, 0, 0);
    for captures in re.captures_iter(&text) {
        meter.use_up(1 + captures.len() as u64 + (text.len() - end) as u64 / 1024)?;
        let Some(whole) = captures.get(0).filter(|whole| !(flags.without_empty && whole.is_empty())) else {
            continue;
        };
        size += captures.iter().flatten().map(|one| one.len()).sum::<usize>() + 256 * captures.len();
        meter.fits(size)?;
        let before = &text[end..whole.start()];
        offset += before.chars().count();
        parts.push(Val::from(before.to_owned()));
        parts.push(pattern::found(&text, &re, &captures, offset));
        offset += whole.as_str().chars().count();
        end = whole.end();
        if !flags.all {
            break;
        }
    }
    parts.push(Val::from(text[end..].to_owned()));
    Ok(parts.into_iter().collect())
}

fn times() -> Vec<Own> {
    vec![
        ("now", v(0), |cv| {
            let now = cv.0.data().meter.now;
            bome(Ok(Val::from(now.as_nanosecond() as f64 / 1e9)))
        }),
        of!("_strptime", parsed, 1),
    ]
}

/// A time in its parts; what the format does not name is the beginning.
fn parsed<'a>(_: &Meter, value: Val, format: Val) -> Made<'a> {
    let (text, format) = (utf8(&value)?, utf8(&format)?);
    let fault = |_| error(format!("date {value} does not match format \"{format}\""));
    let mut time = BrokenDownTime::parse(format.as_bytes(), text.as_bytes()).map_err(fault)?;
    let named = |directive: &str| format.contains(directive);
    if time.year().is_none() && time.timestamp().is_none() {
        time.set_year(Some(1900)).map_err(fault)?;
    }
    let day = time.day_of_year().is_some()
        || time.weekday().is_some() && named("%U")
        || named("%V")
        || time.timestamp().is_some();
    if !day && time.month().is_none() {
        time.set_month(Some(1)).map_err(fault)?;
    }
    if !day && time.day().is_none() {
        time.set_day(Some(1)).map_err(fault)?;
    }
    if time.hour().is_none() {
        time.set_hour(Some(0)).map_err(fault)?;
    }
    let at = match time.timestamp() {
        Some(seconds) => jiff::tz::Offset::UTC.to_datetime(seconds),
        None => time.to_datetime().map_err(fault)?,
    };
    let whole = |number: i64| Val::from(number as isize);
    let second = match at.subsec_nanosecond() {
        0 => whole(at.second().into()),
        part => Val::from(f64::from(at.second()) + f64::from(part) / 1e9),
    };
    let weekday = at.weekday().to_sunday_zero_offset();
    let (month, day, year_day) = (at.month() - 1, at.day(), at.day_of_year() - 1);
    let parts = [whole(at.year().into()), whole(month.into()), whole(day.into()), whole(at.hour().into())];
    let rest = [whole(at.minute().into()), second, whole(weekday.into()), whole(year_day.into())];
    Ok(parts.into_iter().chain(rest).collect())
}
