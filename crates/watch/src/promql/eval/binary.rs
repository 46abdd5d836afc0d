//! Operators between two expressions.

use super::{ABSENT, Evaluation, Grid, Value};
use crate::promql::ast::{Binary, BinaryOp, Type};
use crate::promql::error::{Error, Span};

/// An arithmetic operator or a comparison, on two values.
#[derive(Clone, Copy)]
pub(super) enum Operation {
    Arithmetic(fn(f64, f64) -> f64),
    /// What the comparison demands, and whether the answer is 0 or 1 instead of the left value or nothing.
    Compare(fn(&f64, &f64) -> bool, bool),
}

impl Operation {
    pub(super) fn of(op: BinaryOp, bool: bool) -> Self {
        match op {
            BinaryOp::Add => Self::Arithmetic(|a, b| a + b),
            BinaryOp::Sub => Self::Arithmetic(|a, b| a - b),
            BinaryOp::Mul => Self::Arithmetic(|a, b| a * b),
            BinaryOp::Div => Self::Arithmetic(|a, b| a / b),
            BinaryOp::Mod => Self::Arithmetic(|a, b| a % b),
            BinaryOp::Pow => Self::Arithmetic(f64::powf),
            BinaryOp::Atan2 => Self::Arithmetic(f64::atan2),
            BinaryOp::Equal => Self::Compare(f64::eq, bool),
            BinaryOp::NotEqual => Self::Compare(f64::ne, bool),
            BinaryOp::Greater => Self::Compare(f64::gt, bool),
            BinaryOp::Less => Self::Compare(f64::lt, bool),
            BinaryOp::GreaterOrEqual => Self::Compare(f64::ge, bool),
            BinaryOp::LessOrEqual => Self::Compare(f64::le, bool),
            // Set operators never combine values.
            BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => Self::Arithmetic(|a, _| a),
        }
    }

    /// The result; [`ABSENT`] where a comparison fails. `kept` is the value that a comparison passes on.
    pub(super) fn apply(self, left: f64, right: f64, kept: f64) -> f64 {
        match self {
            Self::Arithmetic(f) => f(left, right),
            Self::Compare(holds, true) => f64::from(u8::from(holds(&left, &right))),
            Self::Compare(holds, false) if holds(&left, &right) => kept,
            Self::Compare(..) => ABSENT,
        }
    }
}

impl Evaluation<'_> {
    pub(super) fn binary(&mut self, binary: &Binary, grid: &Grid, span: Span) -> Result<Value, Error> {
        let operation = Operation::of(binary.op, binary.bool);
        let unnamed = binary.op.drops_name() || binary.bool;
        match (binary.left.ty(), binary.right.ty()) {
            (Type::Scalar, Type::Scalar) => {
                let (left, right) = (self.scalar(&binary.left, grid)?, self.scalar(&binary.right, grid)?);
                Ok(Value::Scalar(left.iter().zip(&right).map(|(a, b)| operation.apply(*a, *b, *a)).collect()))
            }
            (Type::Vector, Type::Scalar) => {
                let rows = self.vector(&binary.left, grid)?;
                let scalar = self.scalar(&binary.right, grid)?;
                self.map(rows, unnamed, span, |step, v| operation.apply(v, scalar[step], v))
            }
            (Type::Scalar, Type::Vector) => {
                let scalar = self.scalar(&binary.left, grid)?;
                let rows = self.vector(&binary.right, grid)?;
                self.map(rows, unnamed, span, |step, v| operation.apply(scalar[step], v, v))
            }
            _ => {
                let left = self.vector(&binary.left, grid)?;
                let right = self.vector(&binary.right, grid)?;
                self.matched(binary, operation, left, right, grid, span)
            }
        }
    }
}
