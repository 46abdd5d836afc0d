//! Trace headers: W3C Trace Context, level 1 (<https://www.w3.org/TR/trace-context-1/>).

use std::fmt;

/// Members of a `tracestate` (section 3.3.1.1).
const MAX_MEMBERS: usize = 32;
/// Characters of a `tracestate` that are passed on; the standard asks for 512 at least.
const MAX_STATE: usize = 4096;
/// Characters of a `traceparent` (section 3.2.2).
const PARENT: usize = 55;

/// The trace that something belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    sampled: bool,
    state: String,
}

impl TraceContext {
    /// A new trace with its first span; neither number is zero. Sampled, as nobody has decided otherwise.
    #[must_use]
    pub fn start(trace: u128, span: u64) -> Self {
        Self { trace: trace.max(1), span: span.max(1), sampled: true, state: String::new() }
    }

    /// Reads the headers of a request. `states`: each `tracestate` header in its order. One that is wrong is left out and
    /// the trace goes on without.
    ///
    /// `None` when `traceparent` is wrong: then a new trace begins (section 4.3).
    #[must_use]
    pub fn parse(parent: &str, states: &[&str]) -> Option<Self> {
        let parent = parent.trim_matches([' ', '\t']);
        let bytes = parent.as_bytes();
        let version = hex(parent.get(0..2)?)?;
        let separated = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
        let complete = match version {
            0xff => false,
            0 => bytes.len() == 55,
            // A later version may say more behind another dash.
            _ => bytes.len() == 55 || (bytes.len() > 55 && bytes[55] == b'-'),
        };
        if !separated || !complete {
            return None;
        }
        let trace = hex(parent.get(3..35)?).filter(|trace| *trace != 0)?;
        let span = hex(parent.get(36..52)?).filter(|span| *span != 0)?;
        let flags = hex(parent.get(53..55)?)?;
        let span = u64::try_from(span).ok()?;
        Some(Self { trace, span, sampled: flags & 1 == 1, state: state(states).unwrap_or_default() })
    }

    /// The same trace, seen from a span below.
    #[must_use]
    pub fn child(&self, span: u64) -> Self {
        Self { span: span.max(1), ..self.clone() }
    }

    /// The header `traceparent`. Each attempt has its own, so it is written without the detour of a format.
    pub(super) fn traceparent(&self) -> String {
        let mut text = String::with_capacity(PARENT);
        text.push_str("00-");
        push_hex(&mut text, self.trace, 32);
        text.push('-');
        push_hex(&mut text, self.span.into(), 16);
        text.push('-');
        push_hex(&mut text, self.sampled.into(), 2);
        text
    }

    /// Number of the trace, 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// Number of the span, 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span)
    }

    /// Whether somebody may have recorded it.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// The header `tracestate`; empty where there is none.
    #[must_use]
    pub fn tracestate(&self) -> &str {
        &self.state
    }
}

/// The header `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traceparent())
    }
}

fn push_hex(text: &mut String, number: u128, digits: u32) {
    text.extend((0..digits).rev().map(|place| {
        let digit = (number >> (4 * place)) & 0xf;
        char::from(b"0123456789abcdef"[digit as usize])
    }));
}

/// Lower-case digits only.
fn hex(text: &str) -> Option<u128> {
    let fit = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if fit { u128::from_str_radix(text, 16).ok() } else { None }
}

/// All headers as one; `None` when any is wrong.
fn state(headers: &[&str]) -> Option<String> {
    let mut members: Vec<(&str, &str)> = vec![];
    let all =
        headers.iter().flat_map(|header| header.split(',')).map(|member| member.trim_matches([' ', '\t']));
    for member in all.filter(|member| !member.is_empty()) {
        let (key, value) = member.split_once('=')?;
        let known = members.iter().any(|(known, _)| *known == key);
        if known || !is_key(key) || !is_value(value) || members.len() == MAX_MEMBERS {
            return None;
        }
        members.push((key, value));
    }
    // What is too long loses whole members, the long ones first and then the oldest (section 3.3.1.5).
    let length = |members: &[(&str, &str)]| {
        members.iter().map(|(key, value)| key.len() + value.len() + 2).sum::<usize>()
    };
    while length(&members) > MAX_STATE {
        let long = members.iter().rposition(|(key, value)| key.len() + value.len() + 1 > 128);
        members.remove(long.unwrap_or(members.len() - 1));
    }
    Some(members.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","))
}

/// `key` or `tenant@system` (section 3.3.1.3.1).
fn is_key(key: &str) -> bool {
    let rest = |text: &str| {
        text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'))
    };
    let lower = |text: &str| text.starts_with(|c: char| c.is_ascii_lowercase());
    match key.split_once('@') {
        None => lower(key) && key.len() <= 256 && rest(key),
        Some((tenant, system)) => {
            let first = tenant.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
            first
                && tenant.len() <= 241
                && rest(tenant)
                && lower(system)
                && system.len() <= 14
                && rest(system)
        }
    }
}

fn is_value(value: &str) -> bool {
    let fit = value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=');
    (1..=256).contains(&value.len()) && !value.ends_with(' ') && fit
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written_again() {
        let context =
            TraceContext::parse(PARENT, &["rojo=00f067aa0ba902b7, congo=t61rcWkgMzE", "a@b=c"]).unwrap();
        assert_eq!(context.to_string(), PARENT);
        assert_eq!(context.tracestate(), "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE,a@b=c");
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let child = context.child(0xb7ad_6b71_6920_3331);
        assert_eq!(child.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-01");
        assert_eq!((child.span_id().as_str(), child.is_sampled()), ("b7ad6b7169203331", true));
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known() {
        for parent in [
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff\t",
        ] {
            assert_eq!(TraceContext::parse(parent, &[]).unwrap().to_string(), PARENT, "{parent}");
        }
    }

    #[test]
    fn a_traceparent_that_is_wrong_is_none() {
        for parent in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473\u{e9}00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(parent, &["a=b"]), None, "{parent}");
        }
    }

    #[test]
    fn a_tracestate_that_is_wrong_is_left_out_alone() {
        let many: String = (0..33).map(|at| format!("k{at}=v,")).collect();
        for (states, expected) in [
            (&[""][..], ""),
            (&["a=1", ",", " b=2 ,"][..], "a=1,b=2"),
            (&["a=1,a=2"][..], ""),
            (&["a=1", "B=2"][..], ""),
            (&["a"][..], ""),
            (&["a="][..], ""),
            (&["0a=1"][..], ""),
            (&["0a@b=1"][..], "0a@b=1"),
            (&["a@0b=1"][..], ""),
            (&["a=1=2"][..], ""),
            (&["a=\u{e9}"][..], ""),
            (&[many.as_str()][..], ""),
        ] {
            let context = TraceContext::parse(PARENT, states).unwrap();
            assert_eq!(
                (context.tracestate(), context.to_string().as_str()),
                (expected, PARENT),
                "{states:?}"
            );
        }
    }

    #[test]
    fn a_long_tracestate_loses_whole_members() {
        let long = "x".repeat(256);
        let all: Vec<_> = (0..32).map(|at| format!("k{at}={long}")).collect();
        let context = TraceContext::parse(PARENT, &[&all.join(",")]).unwrap();
        assert!(context.tracestate().len() <= MAX_STATE && context.tracestate().starts_with("k0=x"));
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_left_out(parent in ".{0,80}", state in ".{0,80}") {
            let _ = TraceContext::parse(&parent, &[&state]);
            if let Some(context) = TraceContext::parse(PARENT, &[&state]) {
                let again = TraceContext::parse(PARENT, &[context.tracestate()]).unwrap();
                prop_assert_eq!(again, context);
            }
        }
    }
}
