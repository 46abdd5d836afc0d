//! Places in values: what stands at a path is set, changed and taken away, and made where it is not there.

use std::sync::Arc;

use jaq_core::Error;
use jaq_json::{Map, Num, Val};

use super::native::{Meter, Stop};

type Changed<'a, T> = Result<T, Stop<'a>>;

fn error<'a>(text: String) -> Stop<'a> {
    Error::str(text).into()
}

fn kind(value: &Val) -> &'static str {
    match value {
        Val::Null => "null",
        Val::Bool(_) => "boolean",
        Val::Num(_) => "number",
        Val::TStr(_) | Val::BStr(_) => "string",
        Val::Arr(_) => "array",
        Val::Obj(_) => "object",
    }
}

/// A number as a place in an array.
fn whole(number: &Num) -> f64 {
    match number {
        Num::Int(number) => *number as f64,
        Num::Float(number) => number.floor(),
        other => other.to_string().parse::<f64>().map_or(0.0, f64::floor),
    }
}

/// Where in an array of this length a number points to; nowhere when it is before its beginning.
fn index(number: &Num, length: usize) -> Option<usize> {
    let at = whole(number);
    let at = if at < 0.0 { at + length as f64 } else { at };
    (at >= 0.0).then_some(at as usize)
}

/// The part of an array that a slice means, of which the end is not before the beginning.
fn slice<'a>(bounds: &Map, length: usize) -> Changed<'a, (usize, usize)> {
    let bound = |name: &str, otherwise: usize, up: bool| match bounds.get(&Val::from(name.to_owned())) {
        None | Some(Val::Null) => Ok(otherwise),
        Some(Val::Num(Num::Float(at))) if up => {
            Ok(index(&Num::Float(at.ceil()), length).unwrap_or(0).min(length))
        }
        Some(Val::Num(at)) => Ok(index(at, length).unwrap_or(0).min(length)),
        Some(_) => Err(error("start and end indices of an array slice must be numbers".to_owned())),
    };
    let from = bound("start", 0, false)?;
    Ok((from, bound("end", length, true)?.max(from)))
}

/// A list that may be changed; where others have it too it is copied, which counts.
fn items<'v, 'a>(meter: &Meter, list: &'v mut Arc<Vec<Val>>) -> Changed<'a, &'v mut Vec<Val>> {
    if Arc::strong_count(list) > 1 {
        meter.use_up(list.len() as u64 / 16)?;
    }
    Ok(Arc::make_mut(list))
}

fn entries<'v, 'a>(meter: &Meter, of: &'v mut Arc<Map>) -> Changed<'a, &'v mut Map> {
    if Arc::strong_count(of) > 1 {
        meter.use_up(of.len() as u64 / 4)?;
    }
    Ok(Arc::make_mut(of))
}

/// Changes what stands at a path; what is on the way there and is not there is made.
pub(super) fn change<'a>(
    meter: &Meter,
    value: &mut Val,
    path: &[Val],
    by: &mut dyn FnMut(Val) -> Changed<'a, Val>,
) -> Changed<'a, ()> {
    meter.use_up(1)?;
    let Some((key, rest)) = path.split_first() else {
        *value = by(std::mem::take(value))?;
        return Ok(());
    };
    match (&mut *value, key) {
        (Val::Null, Val::TStr(_)) => *value = Val::obj(Map::default()),
        (Val::Null, Val::Num(_) | Val::Obj(_)) => *value = Val::Arr(Arc::default()),
        _ => {}
    }
    match (value, key) {
        (Val::Obj(of), Val::TStr(_)) => {
            let place = entries(meter, of)?.entry(key.clone()).or_default();
            change(meter, place, rest, by)
        }
        (Val::Arr(list), Val::Num(number)) => {
            let at = index(number, list.len());
            let at = at.ok_or_else(|| error("Out of bounds negative array index".to_owned()))?;
            meter.fits(at.saturating_mul(size_of::<Val>()))?;
            let list = items(meter, list)?;
            if at >= list.len() {
                meter.use_up((at - list.len()) as u64 / 16)?;
                list.resize(at + 1, Val::Null);
            }
            change(meter, &mut list[at], rest, by)
        }
        (Val::Arr(list), Val::Obj(bounds)) => {
            let (from, to) = slice(bounds, list.len())?;
            meter.use_up(list.len() as u64 / 16)?;
            let mut part: Val = list[from..to].iter().cloned().collect();
            change(meter, &mut part, rest, by)?;
            match part {
                Val::Arr(part) => {
                    items(meter, list)?.splice(from..to, part.iter().cloned());
                    Ok(())
                }
                _ => Err(error("A slice of an array can only be assigned another array".to_owned())),
            }
        }
        (Val::TStr(_), Val::Obj(_)) => Err(error("Cannot update string slices".to_owned())),
        (value, key) => Err(cannot_index(value, key)),
    }
}

fn cannot_index<'a>(value: &Val, key: &Val) -> Stop<'a> {
    error(match key {
        Val::TStr(_) => format!("Cannot index {} with string {key}", kind(value)),
        _ => format!("Cannot index {} with {}", kind(value), kind(key)),
    })
}

/// Takes away what stands at paths, which are sorted.
pub(super) fn delete<'a>(meter: &Meter, value: &mut Val, paths: &[&[Val]]) -> Changed<'a, ()> {
    meter.use_up(1 + paths.len() as u64 / 4)?;
    if paths.iter().any(|path| path.is_empty()) {
        *value = Val::Null;
        return Ok(());
    }
    let mut gone = Vec::new();
    for group in paths.chunk_by(|a, b| a[0] == b[0]) {
        let key = &group[0][0];
        if group.iter().any(|path| path.len() == 1) {
            gone.push(key);
        } else {
            inside(meter, value, key, group)?;
        }
    }
    if gone.is_empty() { Ok(()) } else { remove(meter, value, &gone) }
}

/// Takes away what stands deeper, where there is something.
fn inside<'a>(meter: &Meter, value: &mut Val, key: &Val, paths: &[&[Val]]) -> Changed<'a, ()> {
    let rest: Vec<&[Val]> = paths.iter().map(|path| &path[1..]).collect();
    match (value, key) {
        (Val::Null, _) => Ok(()),
        (Val::Obj(of), Val::TStr(_)) => match entries(meter, of)?.get_mut(key) {
            Some(place) => delete(meter, place, &rest),
            None => Ok(()),
        },
        (Val::Arr(list), Val::Num(number)) => match index(number, list.len()).filter(|at| *at < list.len()) {
            Some(at) => delete(meter, &mut items(meter, list)?[at], &rest),
            None => Ok(()),
        },
        (value @ Val::Arr(_), Val::Obj(_)) => {
            change(meter, value, std::slice::from_ref(key), &mut |mut part| {
                delete(meter, &mut part, &rest).map(|()| part)
            })
        }
        (value, key) => Err(cannot_index(value, key)),
    }
}

fn remove<'a>(meter: &Meter, value: &mut Val, keys: &[&Val]) -> Changed<'a, ()> {
    match value {
        Val::Null => Ok(()),
        Val::Obj(of) if keys.iter().all(|key| matches!(key, Val::TStr(_))) => {
            meter.use_up(of.len() as u64 / 4)?;
            entries(meter, of)?.retain(|name, _| keys.binary_search(&name).is_err());
            Ok(())
        }
        Val::Arr(list) => {
            meter.use_up(list.len() as u64 / 16)?;
            let mut gone = vec![false; list.len()];
            for key in keys {
                match key {
                    Val::Num(number) => {
                        index(number, gone.len())
                            .and_then(|at| gone.get_mut(at))
                            .into_iter()
                            .for_each(|at| *at = true);
                    }
                    Val::Obj(bounds) => {
                        let (from, to) = slice(bounds, gone.len())?;
                        meter.use_up((to - from) as u64 / 64)?;
                        gone[from..to].fill(true);
                    }
                    key => return Err(error(format!("Cannot delete field at {} index of array", kind(key)))),
                }
            }
            let mut gone = gone.into_iter();
            items(meter, list)?.retain(|_| !gone.next().unwrap_or(false));
            Ok(())
        }
        value => Err(error(format!("Cannot delete field of {}", kind(value)))),
    }
}
