//! Cholesky's factors: of the band of a part, and of the dense matrix of the shared rows.

/// A pivot below this share of the largest is taken for a row that says nothing.
const NO_PIVOT: f64 = 1e-14;

/// The factor `L` of a symmetric band, by rows, each from its diagonal to the left; in the diagonal stand the inverse values.
#[derive(Clone, Debug, Default)]
pub(super) struct Band {
    factor: Vec<f64>,
    width: usize,
}

impl Band {
    /// An empty matrix of `n` rows whose entries lie at the most `reach` beside the diagonal.
    pub(super) fn new(n: usize, reach: usize) -> Self {
        Self { factor: vec![0.0; n * (reach + 1)], width: reach + 1 }
    }

    pub(super) fn clear(&mut self) {
        self.factor.fill(0.0);
    }

    /// Adds to the entry of a row and a column not behind it.
    pub(super) fn add(&mut self, row: usize, column: usize, value: f64) {
        self.factor[row * self.width + (row - column)] += value;
    }

    /// Turns the matrix into its factor.
    pub(super) fn factorise(&mut self) {
        let (width, band) = (self.width, self.width - 1);
        let n = self.factor.len() / width;
        let most = (0..n).map(|row| self.factor[row * width]).fold(0.0, f64::max);
        for row in 0..n {
            let reach = row.min(band);
            for back in (0..=reach).rev() {
                let column = row - back;
                let common = reach.min(back + column.min(band));
                let mut value = self.factor[row * width + back];
                for further in back + 1..=common {
                    value -=
                        self.factor[row * width + further] * self.factor[column * width + further - back];
                }
                self.factor[row * width + back] = if back > 0 {
                    value * self.factor[column * width]
                } else if value > NO_PIVOT * most {
                    value.sqrt().recip()
                } else {
                    0.0
                };
            }
        }
    }

    /// Solves for one side.
    pub(super) fn solve(&self, side: &mut [f64]) {
        let (n, width) = (side.len(), self.width);
        for row in 0..n {
            let mut value = side[row];
            for back in 1..=row.min(width - 1) {
                value -= self.factor[row * width + back] * side[row - back];
            }
            side[row] = value * self.factor[row * width];
        }
        for row in (0..n).rev() {
            let value = side[row] * self.factor[row * width];
            side[row] = value;
            for back in 1..=row.min(width - 1) {
                side[row - back] -= self.factor[row * width + back] * value;
            }
        }
    }

    /// Solves for several sides at once, whose values of one row stand together, so that the processor has many sums to work
    /// on side by side. Each is zero before its `first` row, and what stands before its `last` row, which rises from one to
    /// the next, is no solution afterwards.
    pub(super) fn solve_all(&self, sides: &mut [f64], first: &[usize], last: &[usize]) {
        let (all, width) = (first.len(), self.width);
        let n = sides.len() / all.max(1);
        let minus = |from: &mut [f64], factor: f64, what: &[f64]| {
            from.iter_mut().zip(what).for_each(|(from, what)| *from -= factor * what);
        };
        let mut begun = 0;
        for row in 0..n {
            while begun < all && first[begun] <= row {
                begun += 1;
            }
            let (before, here) = sides.split_at_mut(row * all);
            for back in 1..=row.min(width - 1) {
                let other = (row - back) * all;
                minus(&mut here[..begun], self.factor[row * width + back], &before[other..other + begun]);
            }
            here[..begun].iter_mut().for_each(|value| *value *= self.factor[row * width]);
        }
        for row in (0..n).rev() {
            let needed = last.partition_point(|&last| last <= row);
            let (before, here) = sides.split_at_mut(row * all);
            here[..needed].iter_mut().for_each(|value| *value *= self.factor[row * width]);
            for back in 1..=row.min(width - 1) {
                let other = (row - back) * all;
                minus(&mut before[other..other + needed], self.factor[row * width + back], &here[..needed]);
            }
        }
    }
}

/// Turns a dense matrix, whose lower half is given by rows, into its factor; none when it has none.
pub(super) fn factorise(matrix: &mut [f64], m: usize) -> Option<()> {
    let most = (0..m).map(|row| matrix[row * m + row]).fold(0.0, f64::max);
    for row in 0..m {
        for column in 0..=row {
            let (above, below) = matrix.split_at(row * m);
            let (a, b) = (
                &below[..column],
                if column == row { &below[..column] } else { &above[column * m..column * m + column] },
            );
            let value = below[column] - a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            matrix[row * m + column] = if column < row {
                value * matrix[column * m + column]
            } else if value > NO_PIVOT * most {
                value.sqrt().recip()
            } else {
                0.0
            };
        }
    }
    matrix.iter().all(|value| value.is_finite()).then_some(())
}

/// Solves with a dense factor, in place.
pub(super) fn substitute(factor: &[f64], side: &mut [f64]) {
    let m = side.len();
    for row in 0..m {
        let known: f64 = factor[row * m..row * m + row].iter().zip(&*side).map(|(a, b)| a * b).sum();
        side[row] = (side[row] - known) * factor[row * m + row];
    }
    for row in (0..m).rev() {
        side[row] *= factor[row * m + row];
        let value = side[row];
        for (before, a) in side[..row].iter_mut().zip(&factor[row * m..row * m + row]) {
            *before -= a * value;
        }
    }
}
