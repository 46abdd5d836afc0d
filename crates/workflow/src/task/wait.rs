//! `wait`: time passes.

use crate::definition::DURATION;
use crate::shape::{Object, Property, Shape};
use crate::task::COMMON;

pub(crate) static WAIT: Shape =
    Shape::Object(Object::of("a wait task", &[Property::required("wait", &DURATION)]).inherits(&COMMON));

#[cfg(test)]
mod tests {
    use crate::duration::{Duration, DurationValue};
    use crate::task::TaskKind;
    use crate::testing::{problems, task};

    #[test]
    fn a_wait_has_a_duration() {
        let minute = TaskKind::Wait(DurationValue::Fixed(Duration::parse("PT60S").unwrap()));
        assert_eq!(task("wait: PT1M").kind, minute);
        assert_eq!(task("wait: {seconds: 60}").kind, minute);
        assert_eq!(
            task("wait: '${ .t }'").kind,
            TaskKind::Wait(DurationValue::Expression("${ .t }".to_owned()))
        );
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        assert!(problems("wait: 1 minute")[0].contains("expected a duration such as PT1M30S"));
        assert!(problems("wait: {minute: 1}")[0].contains("did you mean \"minutes\"?"));
        assert!(problems("wait: {}")[0].contains("at least one entry"));
        assert!(problems("wait: P9999999Y")[0].contains("more than ten thousand years"));
        assert!(problems("wait: P0.5M")[0].contains("use days"));
    }
}
