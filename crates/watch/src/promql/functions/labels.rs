//! Changes of labels.

use super::text;
use crate::pattern::Pattern;
use crate::promql::ast::Call;
use crate::promql::error::{Error, Span};
use crate::promql::eval::{Evaluation, Grid, Value};
use crate::promql::lexer::is_label;

/// `label_replace(v, dst, replacement, src, regex)`: where the whole value of `src` matches, `dst` becomes the
/// replacement, in which `$1` and `${name}` stand for groups.
pub(super) fn label_replace(
    ev: &mut Evaluation<'_>,
    call: &Call,
    grid: &Grid,
    span: Span,
) -> Result<Value, Error> {
    let [vector, target, replacement, source, regex] = &call.args[..] else {
        return ev.wrong_arguments(span);
    };
    let (target, replacement, source) =
        (checked(target, "destination", "label_replace")?, text(replacement), text(source));
    let pattern = Pattern::new(text(regex))
        .map_err(|message| Error::execution(regex.span, format!("{message}, in label_replace()")))?;
    let mut rows = ev.vector(vector, grid)?;
    let mut value = String::new();
    for row in &mut rows {
        if let Some(captures) = pattern.captures(row.labels.get(source)) {
            value.clear();
            captures.expand(replacement, &mut value);
            row.labels = row.labels.with(target, &value);
        }
    }
    Ok(Value::Vector(ev.unify(rows, span)?))
}

/// `label_join(v, dst, separator, src…)`: `dst` becomes the joined values of the sources.
pub(super) fn label_join(
    ev: &mut Evaluation<'_>,
    call: &Call,
    grid: &Grid,
    span: Span,
) -> Result<Value, Error> {
    let [vector, target, separator, sources @ ..] = &call.args[..] else { return ev.wrong_arguments(span) };
    let target = checked(target, "destination", "label_join")?;
    let sources = sources
        .iter()
        .map(|source| checked(source, "source", "label_join"))
        .collect::<Result<Vec<_>, _>>()?;
    let mut rows = ev.vector(vector, grid)?;
    for row in &mut rows {
        let values: Vec<&str> = sources.iter().map(|source| row.labels.get(source)).collect();
        row.labels = row.labels.with(target, &values.join(text(separator)));
    }
    Ok(Value::Vector(ev.unify(rows, span)?))
}

fn checked<'e>(arg: &'e crate::promql::ast::Expr, what: &str, function: &str) -> Result<&'e str, Error> {
    let label = text(arg);
    if is_label(label) {
        return Ok(label);
    }
    Err(Error::execution(arg.span, format!("invalid {what} label name in {function}(): {label:?}")))
}
