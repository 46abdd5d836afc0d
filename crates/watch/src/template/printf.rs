//! `printf` with Go's verbs and its way of saying what does not fit.

use super::number::{self, Form};
use super::value::Value;

/// The widest field and the most digits that are written.
const MAX_WIDTH: usize = 1_000;

#[derive(Clone, Copy, Default)]
struct Flags {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// The text of a format and its arguments.
pub(super) fn sprintf(format: &str, args: &[Value]) -> String {
    let mut out = String::with_capacity(format.len() + 16);
    let mut run = Run { args, next: 0, reordered: false };
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = run.verb(&rest[at + 1..], &mut out);
    }
    out.push_str(rest);
    if !run.reordered && run.next < args.len() {
        let extra: Vec<String> = args[run.next..]
            .iter()
            .map(|arg| match arg {
                Value::Missing => "<nil>".to_owned(),
                arg => format!("{}={}", arg.type_name(), arg.shown()),
            })
            .collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

/// As Go's `Sprint`: a blank between two neighbours of which none is text.
pub(super) fn sprint(args: &[Value]) -> String {
    let mut out = String::new();
    let mut after_text = true;
    for arg in args {
        let is_text = matches!(arg, Value::Text(_));
        if !after_text && !is_text {
            out.push(' ');
        }
        out.push_str(&arg.shown());
        after_text = is_text;
    }
    out
}

/// As Go's `Sprintln`: blanks between all, a line end behind.
pub(super) fn sprintln(args: &[Value]) -> String {
    let args: Vec<String> = args.iter().map(Value::shown).collect();
    format!("{}\n", args.join(" "))
}

struct Run<'a> {
    args: &'a [Value],
    next: usize,
    /// An argument was chosen by `[n]`, so that those left over are no mistake.
    reordered: bool,
}

impl Run<'_> {
    /// What follows a `%`; returns what is behind the verb.
    fn verb<'f>(&mut self, text: &'f str, out: &mut String) -> &'f str {
        let mut flags = Flags::default();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            match c {
                '-' => flags.minus = true,
                '+' => flags.plus = true,
                '#' => flags.sharp = true,
                ' ' => flags.space = true,
                '0' => flags.zero = true,
                _ => break,
            }
            rest = &rest[1..];
        }
        let mut good_index = true;
        rest = self.index(rest, &mut good_index);
        let (width, after) = self.count(rest, out, "%!(BADWIDTH)", &mut flags, true);
        flags.width = width;
        rest = after;
        if let Some(after) = rest.strip_prefix('.') {
            let after = self.index(after, &mut good_index);
            let (precision, after) = self.count(after, out, "%!(BADPREC)", &mut flags, false);
            flags.precision = Some(precision.unwrap_or(0));
            rest = after;
        }
        rest = self.index(rest, &mut good_index);
        let Some(verb) = rest.chars().next() else {
            out.push_str("%!(NOVERB)");
            return "";
        };
        let behind = &rest[verb.len_utf8()..];
        if verb == '%' {
            out.push('%');
        } else if !good_index {
            out.push_str(&format!("%!{verb}(BADINDEX)"));
        } else if let Some(arg) = self.args.get(self.next) {
            self.next += 1;
            out.push_str(&formatted(verb, arg, flags));
        } else {
            out.push_str(&format!("%!{verb}(MISSING)"));
        }
        behind
    }

    /// `[2]`: which argument is next.
    fn index<'f>(&mut self, text: &'f str, good: &mut bool) -> &'f str {
        let Some(inside) = text.strip_prefix('[') else { return text };
        self.reordered = true;
        let Some((number, rest)) = inside.split_once(']') else {
            *good = false;
            return inside;
        };
        match number.parse::<usize>() {
            Ok(number) if number >= 1 && number <= self.args.len() => self.next = number - 1,
            _ => *good = false,
        }
        rest
    }

    /// A width or precision: digits, or `*` for the next argument.
    fn count<'f>(
        &mut self,
        text: &'f str,
        out: &mut String,
        bad: &str,
        flags: &mut Flags,
        width: bool,
    ) -> (Option<usize>, &'f str) {
        if let Some(rest) = text.strip_prefix('*') {
            let arg = self.args.get(self.next);
            self.next += usize::from(arg.is_some());
            let number = match arg {
                Some(Value::Int(n)) if n.unsigned_abs() <= MAX_WIDTH as u64 => Some(*n),
                _ => None,
            };
            let Some(number) = number.filter(|n| width || *n >= 0) else {
                out.push_str(bad);
                return (None, rest);
            };
            if number < 0 {
                flags.minus = true;
                flags.zero = false;
            }
            return (usize::try_from(number.unsigned_abs()).ok(), rest);
        }
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number = text[..digits].parse::<usize>().ok().map(|n| n.min(MAX_WIDTH));
        (number, &text[digits..])
    }
}

fn formatted(verb: char, arg: &Value, flags: Flags) -> String {
    match verb {
        'T' => return pad(arg.type_name().to_owned(), flags, false),
        'p' => return bad(verb, arg),
        _ => {}
    }
    match arg {
        Value::Missing if verb == 'v' => pad("<nil>".to_owned(), flags, false),
        Value::Missing => format!("%!{verb}(<nil>)"),
        Value::Bool(value) => match verb {
            't' | 'v' => pad(value.to_string(), flags, false),
            _ => bad(verb, arg),
        },
        Value::Int(value) => integer(verb, *value, arg, flags),
        Value::Duration(_) if matches!(verb, 's' | 'v') => pad(arg.shown(), flags, false),
        Value::Duration(value) => integer(verb, *value, arg, flags),
        Value::Float(value) => float(verb, *value, arg, flags),
        Value::Text(text) => string(verb, text, arg, flags),
        Value::Time(_) => match verb {
            's' | 'v' => pad(arg.shown(), flags, false),
            'q' => pad(go_quote(&arg.shown()), flags, false),
            _ => bad(verb, arg),
        },
        Value::Labels(labels) => {
            let each = |text: &str| string(verb, text, arg, Flags { width: None, ..flags });
            let pairs: Vec<String> = labels.iter().map(|(n, v)| format!("{}:{}", each(n), each(v))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        Value::Args(_) | Value::Point(_) | Value::Vector(_) | Value::Top(_) => arg.shown(),
    }
}

/// `%!d(string=abc)`
fn bad(verb: char, arg: &Value) -> String {
    format!("%!{verb}({}={})", arg.type_name(), arg.shown())
}

fn pad(text: String, flags: Flags, zeros: bool) -> String {
    let length = text.chars().count();
    let Some(missing) = flags.width.and_then(|width| width.checked_sub(length)) else { return text };
    if flags.minus {
        return text + &" ".repeat(missing);
    }
    if !(zeros && flags.zero) {
        return " ".repeat(missing) + &text;
    }
    let signed = text.starts_with(['+', '-', ' ']);
    let (sign, digits) = text.split_at(usize::from(signed));
    format!("{sign}{}{digits}", "0".repeat(missing))
}

fn integer(verb: char, value: i64, arg: &Value, flags: Flags) -> String {
    let size = value.unsigned_abs();
    let (mut digits, prefix) = match verb {
        'd' | 'v' => (size.to_string(), ""),
        'b' => (format!("{size:b}"), "0b"),
        'o' => (format!("{size:o}"), "0"),
        'O' => (format!("{size:o}"), "0o"),
        'x' => (format!("{size:x}"), "0x"),
        'X' => (format!("{size:X}"), "0X"),
        'c' | 'q' | 'U' => return character(verb, value, flags),
        _ => return bad(verb, arg),
    };
    if let Some(precision) = flags.precision {
        if precision == 0 && value == 0 {
            return pad(String::new(), flags, false);
        }
        digits = "0".repeat(precision.saturating_sub(digits.len())) + &digits;
    }
    let prefix = if flags.sharp || verb == 'O' { prefix } else { "" };
    let sign = match value < 0 {
        true => "-",
        false if flags.plus => "+",
        false if flags.space => " ",
        false => "",
    };
    if flags.zero && !flags.minus && flags.precision.is_none() {
        // Zeros stand between the prefix and the digits.
        let width = flags.width.unwrap_or(0).saturating_sub(sign.len());
        digits = "0".repeat(width.saturating_sub(digits.len())) + &digits;
    }
    pad(format!("{sign}{prefix}{digits}"), flags, false)
}

fn character(verb: char, value: i64, flags: Flags) -> String {
    let c = u32::try_from(value).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
    let text = match verb {
        'c' => c.to_string(),
        'U' => format!("U+{value:04X}"),
        _ if c == '\'' => "'\\''".to_owned(),
        _ => {
            let quoted = go_quote(&c.to_string());
            format!("'{}'", quoted[1..quoted.len() - 1].replace("\\\"", "\""))
        }
    };
    pad(text, flags, false)
}

fn float(verb: char, value: f64, arg: &Value, flags: Flags) -> String {
    let mut text = match verb {
        'v' => number::format(value, Form::General, flags.precision, flags.sharp),
        'g' | 'G' => {
            let precision = flags.precision.or(flags.sharp.then_some(6));
            number::format(value, Form::General, precision, flags.sharp)
        }
        'e' | 'E' => number::format(value, Form::Exponent, Some(flags.precision.unwrap_or(6)), false),
        'f' | 'F' => number::format(value, Form::Fixed, Some(flags.precision.unwrap_or(6)), false),
        'x' | 'X' => number::hex(value),
        _ => return bad(verb, arg),
    };
    if matches!(verb, 'G' | 'E' | 'X') && value.is_finite() {
        text = text.to_uppercase();
    }
    if value == f64::INFINITY && !flags.plus {
        text = "+Inf".to_owned();
    } else if !text.starts_with(['-', '+']) && (flags.plus || flags.space) {
        text.insert(0, if flags.plus { '+' } else { ' ' });
    }
    pad(text, flags, value.is_finite())
}

fn string(verb: char, text: &str, arg: &Value, flags: Flags) -> String {
    let cut = match flags.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.to_owned(),
    };
    match verb {
        's' | 'v' => pad(cut, flags, true),
        'q' if flags.sharp && !cut.contains('`') => pad(format!("`{cut}`"), flags, true),
        'q' => pad(go_quote(&cut), flags, true),
        'x' | 'X' => {
            let gap = if flags.space { " " } else { "" };
            let bytes: Vec<String> = cut
                .bytes()
                .map(|byte| if verb == 'x' { format!("{byte:02x}") } else { format!("{byte:02X}") })
                .collect();
            pad(bytes.join(gap), flags, true)
        }
        _ => bad(verb, arg),
    }
}

/// A text in quotes with Go's escapes.
pub(crate) fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            ' '..='~' => out.push(c),
            c if c.is_control() || c.is_whitespace() => {
                let code = c as u32;
                out.push_str(&if code < 0x10000 {
                    format!("\\u{code:04x}")
                } else {
                    format!("\\U{code:08x}")
                });
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_those_of_go() {
        let float = Value::Float;
        let text = |text: &str| Value::text(text);
        for (format, args, expected) in [
            ("%.2f%%", vec![float(12.345)], "12.35%"),
            ("%6.2f|%-8s|%08.3f", vec![float(1.0), text("a"), float(-1.5)], "  1.00|a       |-001.500"),
            (
                "%d %5d %05d %+d %x %X %o %b %c",
                (0..9).map(|_| Value::Int(42)).collect(),
                "42    42 00042 +42 2a 2A 52 101010 *",
            ),
            ("%q %t %v", vec![text("a\"b\n"), Value::Bool(true), Value::Missing], "\"a\\\"b\\n\" true <nil>"),
            ("%d", vec![float(5.0)], "%!d(float64=5)"),
            ("%s", vec![Value::Int(5)], "%!s(int=5)"),
            ("%d", vec![], "%!d(MISSING)"),
            ("%d", vec![Value::Int(1), Value::Int(2)], "1%!(EXTRA int=2)"),
            ("%", vec![], "%!(NOVERB)"),
            ("%[2]d %[1]d", vec![Value::Int(1), Value::Int(2)], "2 1"),
            ("%*d", vec![Value::Int(4), Value::Int(1)], "   1"),
            ("%x %.2s", vec![text("ab"), text("abc")], "6162 ab"),
            ("%e %g %G", vec![float(1500.0), float(1e-7), float(1e21)], "1.500000e+03 1e-07 1E+21"),
            ("%5t|%T", vec![Value::Bool(true), float(1.0)], " true|float64"),
            ("%f %5.1f", vec![float(f64::INFINITY), float(f64::NAN)], "+Inf   NaN"),
        ] {
            assert_eq!(sprintf(format, &args), expected, "{format}");
        }
        assert_eq!(
            sprint(&[Value::Int(1), Value::Int(2), text("a"), text("b"), Value::Int(3)]),
            "1 2a b3".replace("a b", "ab")
        );
    }
}
