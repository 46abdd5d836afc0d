//! What a well-formed query still must satisfy: types, numbers of arguments, selectors that select something.

use super::ast::{Aggregate, Binary, Call, Expr, Group, Node, Selector, Type};
use super::error::{Error, Span};
use super::functions::Optional;
use crate::labels::METRIC_NAME;

/// # Errors
/// At the first expression that cannot be evaluated, children before parents.
pub(crate) fn check(expr: &Expr) -> Result<(), Error> {
    expr.node.children().try_for_each(check)?;
    let refuse = |message: String| Err(Error::parse(expr.span, message));
    match &expr.node {
        Node::Number(_) | Node::Text(_) | Node::Paren(_) => Ok(()),
        Node::Unary { operand, .. } => match operand.ty() {
            Type::Scalar | Type::Vector => Ok(()),
            other => refuse(format!(
                "unary expression only allowed on expressions of type scalar or instant vector, got {other}"
            )),
        },
        Node::Binary(binary) => check_binary(binary, expr.span),
        Node::Call(call) => check_call(call, expr.span),
        Node::Aggregate(aggregate) => check_aggregate(aggregate),
        Node::Selector(selector) | Node::Range { selector, .. } => check_selector(selector, expr.span),
        Node::Subquery(subquery) => match subquery.inner.ty() {
            Type::Vector => Ok(()),
            other => refuse(format!("subquery is only allowed on instant vector, got {other} instead")),
        },
    }
}

fn check_selector(selector: &Selector, span: Span) -> Result<(), Error> {
    let refuse = |message: String| Err(Error::parse(span, message));
    let Some((last, others)) = selector.matchers.split_last() else {
        return refuse("vector selector must contain at least one non-empty matcher".to_owned());
    };
    if let Some(name) = &selector.name {
        let twice = others.iter().find(|matcher| matcher.name() == METRIC_NAME);
        return match twice {
            Some(other) => {
                refuse(format!("metric name must not be set twice: {name:?} or {:?}", other.value()))
            }
            None => Ok(()),
        };
    }
    if others.iter().chain([last]).all(|matcher| matcher.matches("")) {
        return refuse("vector selector must contain at least one non-empty matcher".to_owned());
    }
    Ok(())
}

fn expect(expr: &Expr, wanted: Type, context: &str) -> Result<(), Error> {
    let got = expr.ty();
    if got == wanted {
        return Ok(());
    }
    Err(Error::parse(expr.span, format!("expected type {wanted} in {context}, got {got}")))
}

fn check_aggregate(aggregate: &Aggregate) -> Result<(), Error> {
    expect(&aggregate.inner, Type::Vector, "aggregation expression")?;
    match (aggregate.op.param(), &aggregate.param) {
        (Some(wanted), Some(param)) => expect(param, wanted, "aggregation parameter"),
        _ => Ok(()),
    }
}

fn check_call(call: &Call, span: Span) -> Result<(), Error> {
    let function = call.function;
    let (named, got) = (function.args.len(), call.args.len());
    let (least, most) = match function.optional {
        Optional::None => (named, Some(named)),
        Optional::Last => (named - 1, Some(named)),
        Optional::Any => (named - 1, None),
    };
    let problem = if got < least {
        Some((if most == Some(least) { "" } else { "at least " }, least))
    } else {
        most.filter(|most| got > *most).map(|most| (if most == least { "" } else { "at most " }, most))
    };
    if let Some((bound, count)) = problem {
        let message =
            format!("expected {bound}{count} argument(s) in call to {:?}, got {got}", function.name);
        return Err(Error::parse(span, message));
    }
    let context = format!("call to function {:?}", function.name);
    let types = function
        .args
        .iter()
        .copied()
        .chain(std::iter::repeat_n(function.args.last().copied(), got).flatten());
    call.args.iter().zip(types).try_for_each(|(arg, wanted)| expect(arg, wanted, &context))
}

fn check_binary(binary: &Binary, span: Span) -> Result<(), Error> {
    let (op, matching) = (binary.op, &binary.matching);
    let between = Span { start: binary.left.span.end, end: binary.right.span.start };
    let refuse = |message: String| Err(Error::parse(span, message));
    let types = [binary.left.ty(), binary.right.ty()];
    let scalars = types.iter().filter(|ty| **ty == Type::Scalar).count();
    for side in [&binary.left, &binary.right] {
        if !matches!(side.ty(), Type::Scalar | Type::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return Err(Error::parse(side.span, format!("{message}, got {}", side.ty())));
        }
    }
    if binary.bool && !op.is_comparison() {
        let message = "bool modifier can only be used on comparison operators";
        return Err(Error::parse(between, message));
    }
    if op.is_comparison() && !binary.bool && scalars == 2 {
        return Err(Error::parse(between, "comparisons between scalars must use BOOL modifier"));
    }
    if op.is_set() && scalars > 0 {
        return refuse(format!("set operator {:?} not allowed in binary scalar expression", op.symbol()));
    }
    if scalars > 0 && !matching.labels.is_empty() {
        return refuse("vector matching only allowed between instant vectors".to_owned());
    }
    if op.is_set() && matching.group != Group::None {
        return refuse(format!("no grouping allowed for {:?} operation", op.symbol()));
    }
    match matching.include.iter().find(|label| matching.on && matching.labels.contains(label)) {
        Some(label) => {
            let message = format!("label {label:?} must not occur in ON and GROUP clause at once");
            Err(Error::parse(between, message))
        }
        None => Ok(()),
    }
}
