//! Regular expressions.

use jaq_json::{Map, Val};
use regex::{Captures, Regex, RegexBuilder};

/// The largest that a compiled expression may be, in bytes.
const LARGEST: usize = 2 << 20;

/// What the letters after an expression ask for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    pub(super) all: bool,
    pub(super) without_empty: bool,
}

pub(super) fn flags(letters: &str) -> Result<Flags, String> {
    match letters.chars().find(|letter| !"ginpslx".contains(*letter)) {
        Some(_) => Err(format!("{letters} is not a valid modifier string")),
        None => Ok(Flags { all: letters.contains('g'), without_empty: letters.contains('n') }),
    }
}

pub(super) fn compile(source: &str, letters: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(source);
    builder.case_insensitive(letters.contains('i')).ignore_whitespace(letters.contains('x'));
    builder.dot_matches_new_line(letters.contains('p'));
    let built = builder.swap_greed(letters.contains('l')).size_limit(LARGEST).build();
    built.map_err(|error| format!("{source} (at offset 0) is not a valid regex: {error}"))
}

fn object<const N: usize>(entries: [(&str, Val); N]) -> Val {
    Val::obj(entries.into_iter().map(|(name, value)| (Val::from(name.to_owned()), value)).collect::<Map>())
}

/// What an expression found: what is not captured is null.
pub(super) fn found(text: &str, re: &Regex, captures: &Captures<'_>, offset: usize) -> Val {
    let begin = captures.get(0).map_or(0, |whole| whole.start());
    let number = |number: usize| Val::from(number);
    let string = |text: &str| Val::from(text.to_owned());
    let captured = captures.iter().zip(re.capture_names()).skip(1).map(|(one, name)| {
        let name = name.map_or(Val::Null, string);
        let at = |start: usize| match start >= begin {
            true => offset + text[begin..start].chars().count(),
            false => offset - text[start..begin].chars().count(),
        };
        match one {
            Some(one) => object([
                ("offset", number(at(one.start()))),
                ("length", number(one.as_str().chars().count())),
                ("string", string(one.as_str())),
                ("name", name),
            ]),
            None => object([
                ("offset", Val::from(-1_isize)),
                ("length", number(0)),
                ("string", Val::Null),
                ("name", name),
            ]),
        }
    });
    let captured = captured.collect();
    let whole = captures.get(0).map_or("", |whole| whole.as_str());
    object([
        ("offset", number(offset)),
        ("length", number(whole.chars().count())),
        ("string", string(whole)),
        ("captures", captured),
    ])
}
