//! What a query may cost.

use crate::promql::Options;
use crate::promql::error::{Error, ErrorKind, Span};

/// After so many touched samples the caller is asked whether to go on.
const BETWEEN_LOOKS: u64 = 1 << 18;

pub(super) struct Budget<'q> {
    options: &'q Options<'q>,
    loaded: u64,
    touched: u64,
    next_look: u64,
}

impl<'q> Budget<'q> {
    pub(super) fn new(options: &'q Options<'q>) -> Self {
        Self { options, loaded: 0, touched: 0, next_look: BETWEEN_LOOKS }
    }

    /// # Errors
    /// When the caller wants to stop.
    pub(super) fn go_on(&self, span: Span) -> Result<(), Error> {
        if (self.options.stop)() {
            let message = "query stopped: it was cancelled or took longer than allowed";
            return Err(Error::new(ErrorKind::Stopped, span, message));
        }
        Ok(())
    }

    /// Samples that may still be loaded.
    pub(super) fn left_to_load(&self) -> u64 {
        self.options.limits.max_samples.saturating_sub(self.loaded)
    }

    pub(super) fn load(&mut self, samples: u64, span: Span) -> Result<(), Error> {
        self.loaded += samples;
        if self.loaded > self.options.limits.max_samples {
            return Err(self.too_many_samples(self.loaded, span));
        }
        self.touch(samples, span)
    }

    pub(super) fn too_many_samples(&self, samples: u64, span: Span) -> Error {
        let most = self.options.limits.max_samples;
        let message = format!(
            "query would load {samples} samples into memory, {most} are allowed; narrow the selector or the time range"
        );
        Error::new(ErrorKind::TooMuch, span, message)
    }

    /// Refuses a matrix that is larger than may be held, before it is made.
    pub(super) fn cells(&mut self, rows: usize, steps: usize, span: Span) -> Result<(), Error> {
        let cells = rows as u64 * steps as u64;
        let most = self.options.limits.max_samples;
        if cells > most {
            let message = format!(
                "query would hold {cells} points ({rows} series at {steps} steps), {most} are allowed; \
                 take fewer series, a larger step or a shorter range"
            );
            return Err(Error::new(ErrorKind::TooMuch, span, message));
        }
        self.touch(cells, span)
    }

    /// Whether so many samples may still be touched, said before the work is done.
    pub(super) fn plan(&self, samples: u64, span: Span) -> Result<(), Error> {
        let (total, most) = (self.touched.saturating_add(samples), self.options.limits.max_touched);
        if total > most {
            let message = format!(
                "query would touch {total} samples, {most} are allowed; take fewer series, a larger step or a \
                 shorter range"
            );
            return Err(Error::new(ErrorKind::TooMuch, span, message));
        }
        Ok(())
    }

    pub(super) fn touch(&mut self, samples: u64, span: Span) -> Result<(), Error> {
        self.plan(samples, span)?;
        self.touched += samples;
        if self.touched < self.next_look {
            return Ok(());
        }
        self.next_look = self.touched + BETWEEN_LOOKS;
        self.go_on(span)
    }
}
