//! What a failure says: about the service, and about another try.

use std::time::Duration;

use rand::{Rng, RngExt as _};

use super::Retries;
use crate::error::{CallError, ErrorKind};

/// What an attempt says about the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answered as one that is well, if only to refuse.
    Good,
    /// It is not there, hangs, or failed.
    Failed,
    /// Nothing: nothing was sent, or nobody waited for what became of it.
    Unknown,
}

/// What the result of an attempt says about the service.
pub(crate) fn verdict(error: Option<&CallError>) -> Verdict {
    let Some(error) = error else { return Verdict::Good };
    match error.kind {
        ErrorKind::Unreachable | ErrorKind::Broken | ErrorKind::TimedOut => Verdict::Failed,
        // 501 and 505 say what a service can do, not how it is.
        ErrorKind::Fault => match &error.fault {
            Some(fault) if matches!(fault.status, 501 | 505) => Verdict::Good,
            Some(fault) if fault.status >= 500 || fault.status == 429 => Verdict::Failed,
            _ => Verdict::Good,
        },
        ErrorKind::BadAnswer | ErrorKind::TooLarge => Verdict::Good,
        ErrorKind::BadDocument
        | ErrorKind::BadInput
        | ErrorKind::NotAllowed
        | ErrorKind::NoCredentials
        | ErrorKind::Overloaded => Verdict::Unknown,
    }
}

/// Whether the same request may be sent again. `harmless`: the operation does no harm when repeated, or the service
/// recognises a repeat.
pub(crate) fn may_repeat(error: &CallError, harmless: bool) -> bool {
    match error.kind {
        ErrorKind::Unreachable => true,
        ErrorKind::Broken | ErrorKind::TimedOut => harmless,
        ErrorKind::Fault => error.fault.as_ref().is_some_and(|fault| {
            // Such a service says that it did nothing. 503 alone may come from something between us that lost the answer.
            let did_nothing = fault.status == 429 || (fault.status == 503 && error.retry_after.is_some());
            fault.temporary && (harmless || did_nothing)
        }),
        _ => false,
    }
}

/// How long to wait before the attempt after `made` attempts.
pub(super) fn backoff(
    retries: &Retries,
    made: u32,
    retry_after: Option<Duration>,
    random: &mut impl Rng,
) -> Duration {
    let doubled = retries.initial_backoff.saturating_mul(1 << made.saturating_sub(1).min(30));
    let longest = doubled.min(retries.max_backoff);
    let drawn = longest.mul_f64(random.random::<f64>());
    // Those who were all told the same time do not come back all at once.
    retry_after.map_or(drawn, |asked| asked.saturating_add(drawn))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha12Rng;
    use serde_json::Value;

    use super::*;
    use crate::error::Fault;

    fn fault(status: u16, temporary: bool) -> CallError {
        let code = status.to_string();
        CallError::new(ErrorKind::Fault, "", "").with_fault(Fault {
            code,
            status,
            temporary,
            detail: Value::Null,
        })
    }

    #[test]
    fn only_what_cannot_have_taken_effect_is_repeated_where_a_repeat_does_harm() {
        let asked = CallError { retry_after: Some(Duration::from_secs(1)), ..fault(503, true) };
        for (error, harmful, harmless) in [
            (CallError::new(ErrorKind::Unreachable, "", ""), true, true),
            (fault(429, true), true, true),
            (asked, true, true),
            (fault(503, true), false, true),
            (fault(502, true), false, true),
            (CallError::new(ErrorKind::Broken, "", ""), false, true),
            (CallError::new(ErrorKind::TimedOut, "", ""), false, true),
            (fault(500, false), false, false),
            (fault(404, false), false, false),
            (CallError::new(ErrorKind::BadAnswer, "", ""), false, false),
            (CallError::new(ErrorKind::TooLarge, "", ""), false, false),
            (CallError::new(ErrorKind::Overloaded, "", ""), false, false),
            (CallError::new(ErrorKind::NotAllowed, "", ""), false, false),
        ] {
            assert_eq!(
                (may_repeat(&error, false), may_repeat(&error, true)),
                (harmful, harmless),
                "{error:?}"
            );
        }
    }

    #[test]
    fn a_service_that_refuses_is_well_and_one_that_fails_is_not() {
        for (error, expected) in [
            (None, Verdict::Good),
            (Some(fault(404, false)), Verdict::Good),
            (Some(fault(501, false)), Verdict::Good),
            (Some(fault(429, true)), Verdict::Failed),
            (Some(fault(500, false)), Verdict::Failed),
            (Some(CallError::new(ErrorKind::TimedOut, "", "")), Verdict::Failed),
            (Some(CallError::new(ErrorKind::BadAnswer, "", "")), Verdict::Good),
            (Some(CallError::new(ErrorKind::BadInput, "", "")), Verdict::Unknown),
        ] {
            assert_eq!(verdict(error.as_ref()), expected, "{error:?}");
        }
    }

    #[test]
    fn waits_double_up_to_a_bound_and_are_drawn_evenly() {
        let retries = Retries {
            initial_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            ..Retries::default()
        };
        let mut random = ChaCha12Rng::seed_from_u64(7);
        for (made, longest) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (90, 1000)] {
            let longest = Duration::from_millis(longest);
            let waits: Vec<_> = (0..1000).map(|_| backoff(&retries, made, None, &mut random)).collect();
            assert!(waits.iter().all(|wait| *wait <= longest));
            let mean = waits.iter().sum::<Duration>() / 1000;
            assert!(mean > longest.mul_f64(0.45) && mean < longest.mul_f64(0.55), "{made}: {mean:?}");
        }
        let asked = backoff(&retries, 1, Some(Duration::from_secs(9)), &mut random);
        assert!(asked >= Duration::from_secs(9) && asked <= Duration::from_millis(9100));
    }
}
