//! Columns of similar series: what they have learned of their day is lent to the target while it is young.

use sos_forecast::{Family, ForecastConfig, Forecaster, Shape};
use sos_units::Missing;

use super::input::Input;
use crate::outcome::Failure;
use crate::output::note;

/// Days of the target after which it needs no siblings.
const YOUNG_DAYS: usize = 7;

/// The forecasters of the siblings, and how far they have been told of the file's rows.
#[derive(Debug)]
pub(crate) struct Siblings {
    forecasters: Vec<Forecaster>,
    row: usize,
    told: bool,
}

impl Siblings {
    /// Learns as the target does, from the row `oldest` on.
    pub(crate) fn new(target: &ForecastConfig, input: &Input, oldest: usize) -> Result<Self, Failure> {
        let config = ForecastConfig {
            family: Family::Incremental,
            covariates: Vec::new(),
            // A level that is told is that of the target.
            prior: None,
            ..target.clone()
        };
        let forecaster = |_: &_| Forecaster::new(config.clone());
        let forecasters = input.siblings.iter().map(forecaster).collect::<Result<_, _>>();
        let forecasters = forecasters.map_err(|error| Failure::input(format!("{}: {error}", input.path)))?;
        Ok(Self { forecasters, row: oldest, told: false })
    }

    /// Lends what was known when `row` was complete, while the target is young.
    pub(crate) fn lend(&mut self, target: &mut Forecaster, input: &Input, row: usize) {
        let begun = input.target[..=row].iter().position(|v| v.is_finite()).unwrap_or(row);
        if self.forecasters.is_empty() || row - begun > YOUNG_DAYS * input.per_day() {
            return;
        }
        let (step, now) = (input.step(), input.time(row + 1));
        let mut shapes: Vec<Shape> = Vec::new();
        for (forecaster, (name, values)) in self.forecasters.iter_mut().zip(&input.siblings) {
            for row in self.row..=row {
                let value = Some(values[row]).filter(|v| v.is_finite()).ok_or(Missing::Gap);
                forecaster.observe(input.time(row), input.time(row) + step, value);
            }
            let shape = forecaster.lend_shape(now);
            if shape.is_none() && !self.told {
                note(format_args!(
                    "{}: sibling \"{name}\" lends nothing: it is known for less than a week, or not above 0 in the mean",
                    input.path
                ));
            }
            shapes.extend(shape);
        }
        self.told = true;
        self.row = self.row.max(row + 1);
        target.take_shapes(&shapes);
    }
}
