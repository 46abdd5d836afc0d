//! How much of today's deviation lasts, learned per lead time.

/// Two-variable least squares with exponential forgetting and a prior (ridge) of `PRIOR` observations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gains {
    a11: f64,
    a12: f64,
    a22: f64,
    b1: f64,
    b2: f64,
    prior: (f64, f64),
    scale: f64,
}

/// Weight of the prior, in observations.
const PRIOR: f64 = 10.0;

impl Gains {
    /// Starts from the gains the study found for hourly loads: 0.6 × 0.85^hours of the level, a fast part that fades quicker.
    pub(crate) fn new(lead_hours: f64) -> Self {
        let prior = (0.3 * 0.5_f64.powf(lead_hours), 0.5 * 0.85_f64.powf(lead_hours));
        Self { a11: 0.0, a12: 0.0, a22: 0.0, b1: 0.0, b2: 0.0, prior, scale: 0.0 }
    }

    /// `fast` and `slow` deviations at issue, `outcome` at the target; `keep` < 1 is the weight of what was learned before.
    pub(crate) fn learn(&mut self, fast: f64, slow: f64, outcome: f64, keep: f64) {
        self.a11 = keep * self.a11 + fast * fast;
        self.a12 = keep * self.a12 + fast * slow;
        self.a22 = keep * self.a22 + slow * slow;
        self.b1 = keep * self.b1 + fast * outcome;
        self.b2 = keep * self.b2 + slow * outcome;
        self.scale = keep * self.scale + 1.0;
    }

    /// Gains on (fast, slow), each kept within −0.5 … 1.5 so that no accident of the data can blow a forecast up.
    pub(crate) fn get(&self) -> (f64, f64) {
        if self.scale <= 0.0 {
            return self.prior;
        }
        let ridge = PRIOR * 0.5 * (self.a11 + self.a22) / self.scale;
        let (a11, a22) = (self.a11 + ridge, self.a22 + ridge);
        let (b1, b2) = (self.b1 + ridge * self.prior.0, self.b2 + ridge * self.prior.1);
        let det = a11 * a22 - self.a12 * self.a12;
        if !det.is_finite() || det <= f64::MIN_POSITIVE {
            return self.prior;
        }
        let g1 = (b1 * a22 - b2 * self.a12) / det;
        let g2 = (b2 * a11 - b1 * self.a12) / det;
        if g1.is_finite() && g2.is_finite() { (g1.clamp(-0.5, 1.5), g2.clamp(-0.5, 1.5)) } else { self.prior }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persistence_is_learned_when_the_last_deviation_lasts() {
        let mut g = Gains::new(1.0);
        let mut x: f64 = 0.3;
        for _ in 0..2000 {
            x = (x * 12.9898).sin();
            g.learn(x, 0.1 * x * x, x, 0.999);
        }
        let (fast, slow) = g.get();
        assert!(fast > 0.95 && slow.abs() < 0.2, "{fast} {slow}");
    }

    #[test]
    fn zeros_leave_the_prior() {
        let mut g = Gains::new(2.0);
        g.learn(0.0, 0.0, 0.0, 0.99);
        assert!((g.get().1 - 0.5 * 0.85_f64.powi(2)).abs() < 1e-12);
    }
}
