//! Patterns of XML Schema as regular expressions (XML Schema Part 2, appendix F).

use regex::{Regex, RegexBuilder};

/// Memory that a compiled pattern may take.
const SIZE: usize = 4 << 20;
/// Bytes of a pattern.
const LENGTH: usize = 10_000;

/// The alternatives of one step of derivation.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    /// As they are written, for messages.
    pub(crate) written: String,
    /// `None` where it is not understood; then it is not checked.
    pub(crate) regex: Option<Regex>,
    /// The same for JSON Schema (ECMA-262), where it can be said.
    pub(crate) ecma: Option<String>,
}

impl Pattern {
    pub(crate) fn of(alternatives: &[String]) -> Self {
        let written = alternatives.join(" | ");
        let rust = alternatives.iter().map(|one| translated(one, false)).collect::<Option<Vec<_>>>();
        let regex = rust.filter(|_| written.len() <= LENGTH).and_then(|parts| {
            let whole = format!("^(?:{})$", parts.join("|"));
            RegexBuilder::new(&whole).size_limit(SIZE).nest_limit(64).build().ok()
        });
        let ecma = alternatives.iter().map(|one| translated(one, true)).collect::<Option<Vec<_>>>();
        let ecma = ecma.filter(|_| regex.is_some()).map(|parts| format!("^(?:{})$", parts.join("|")));
        Self { written, regex, ecma }
    }

    pub(crate) fn takes(&self, text: &str) -> bool {
        self.regex.as_ref().is_none_or(|regex| regex.is_match(text))
    }
}

/// `NameStartChar` and `NameChar` as insides of a class.
const STARTS: &str = r":A-Z_a-z\u{C0}-\u{D6}\u{D8}-\u{F6}\u{F8}-\u{2FF}\u{370}-\u{37D}\u{37F}-\u{1FFF}\u{200C}-\u{200D}\u{2070}-\u{218F}\u{2C00}-\u{2FEF}\u{3001}-\u{D7FF}\u{F900}-\u{FDCF}\u{FDF0}-\u{FFFD}\u{10000}-\u{EFFFF}";
const CONTINUES: &str = r"\-.0-9\u{B7}\u{300}-\u{36F}\u{203F}-\u{2040}";

/// A pattern in another dialect: that of `regex`, or that of ECMA-262 with its `u` flag. `None` where it cannot be said.
fn translated(pattern: &str, ecma: bool) -> Option<String> {
    let mut to = String::new();
    let mut chars = pattern.chars().peekable();
    let mut classes = 0_usize;
    // Where a class has just begun, `-` is itself.
    let mut first = false;
    while let Some(char) = chars.next() {
        let began = std::mem::take(&mut first);
        match char {
            '\\' => to.push_str(&escape(&mut chars, classes > 0, ecma)?),
            '[' if classes == 0 => {
                classes = 1;
                to.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    to.push('^');
                }
                first = true;
            }
            '-' if classes > 0 && chars.peek() == Some(&'[') => {
                if ecma {
                    return None;
                }
                chars.next();
                classes += 1;
                to.push_str("--[");
                if chars.next_if_eq(&'^').is_some() {
                    to.push('^');
                }
                first = true;
            }
            ']' if classes > 0 => {
                classes -= 1;
                to.push(']');
            }
            '-' if classes > 0 && (began || chars.peek() == Some(&']')) => to.push_str("\\-"),
            // A minus between others is a range.
            '-' if classes > 0 => to.push('-'),
            '[' | '&' | '~' | '^' if classes > 0 => {
                to.push('\\');
                to.push(char);
            }
            // No anchors in XML Schema: they are characters.
            '^' | '$' => {
                to.push('\\');
                to.push(char);
            }
            '.' if classes == 0 => to.push_str("[^\\n\\r]"),
            // No groups with options.
            '(' if chars.peek() == Some(&'?') => return None,
            // `regex` would take spaces and `#` for themselves, too.
            _ => to.push(char),
        }
    }
    (classes == 0).then_some(to)
}

fn escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, within: bool, ecma: bool) -> Option<String> {
    let char = chars.next()?;
    Some(match char {
        'n' | 'r' | 't' => format!("\\{char}"),
        'd' if ecma => {
            if within {
                "\\p{Nd}".to_owned()
            } else {
                "[\\p{Nd}]".to_owned()
            }
        }
        'D' if ecma => "\\P{Nd}".to_owned(),
        'd' | 'D' => format!("\\{char}"),
        's' => {
            if within {
                " \\t\\n\\r".to_owned()
            } else {
                "[ \\t\\n\\r]".to_owned()
            }
        }
        'S' if !within => "[^ \\t\\n\\r]".to_owned(),
        'w' if !within => "[^\\p{P}\\p{Z}\\p{C}]".to_owned(),
        'W' if !within => "[\\p{P}\\p{Z}\\p{C}]".to_owned(),
        'i' if !within => format!("[{STARTS}]"),
        'i' => STARTS.to_owned(),
        'c' if !within => format!("[{STARTS}{CONTINUES}]"),
        'c' => format!("{STARTS}{CONTINUES}"),
        'I' if !within => format!("[^{STARTS}]"),
        'C' if !within => format!("[^{STARTS}{CONTINUES}]"),
        'W' => "\\p{P}\\p{Z}\\p{C}".to_owned(),
        'S' | 'I' | 'C' if !ecma => match char {
            'S' => "[^ \\t\\n\\r]".to_owned(),
            'I' => format!("[^{STARTS}]"),
            _ => format!("[^{STARTS}{CONTINUES}]"),
        },
        'w' if !ecma => "[^\\p{P}\\p{Z}\\p{C}]".to_owned(),
        'p' | 'P' => {
            chars.next_if_eq(&'{')?;
            let mut name = String::new();
            loop {
                match chars.next()? {
                    '}' => break,
                    char => name.push(char),
                }
            }
            if let Some(block) = name.strip_prefix("Is") {
                let (from, to) = block_range(block)?;
                let range = format!("\\u{{{from:X}}}-\\u{{{to:X}}}");
                match (char, within) {
                    ('p', true) => range,
                    ('p', false) => format!("[{range}]"),
                    (_, false) => format!("[^{range}]"),
                    (_, true) => return None,
                }
            } else if name.len() <= 2 && name.chars().all(|char| char.is_ascii_alphabetic()) {
                format!("\\{char}{{{name}}}")
            } else {
                return None;
            }
        }
        // Within a class ECMA's `u` flag escapes only what has a meaning there.
        '.' | '\\' | '?' | '*' | '+' | '{' | '}' | '(' | ')' | '[' | ']' | '|' | '-' | '^' | '$' | '/' => {
            if char == '-' && !within {
                "-".to_owned()
            } else {
                format!("\\{char}")
            }
        }
        // Not in the standard and often written.
        '"' | '\'' | '@' | '#' | '%' | ',' | ':' | ';' | '=' | '!' | '<' | '>' | '_' | ' ' => {
            char.to_string()
        }
        '&' | '~' => format!("\\{char}"),
        _ => return None,
    })
}

/// The blocks that are met; others are not checked.
fn block_range(name: &str) -> Option<(u32, u32)> {
    Some(match name {
        "BasicLatin" => (0, 0x7F),
        "Latin-1Supplement" => (0x80, 0xFF),
        "LatinExtended-A" => (0x100, 0x17F),
        "LatinExtended-B" => (0x180, 0x24F),
        "Greek" | "GreekandCoptic" => (0x370, 0x3FF),
        "Cyrillic" => (0x400, 0x4FF),
        "Hebrew" => (0x590, 0x5FF),
        "Arabic" => (0x600, 0x6FF),
        "GeneralPunctuation" => (0x2000, 0x206F),
        "CurrencySymbols" => (0x20A0, 0x20CF),
        "Hiragana" => (0x3040, 0x309F),
        "Katakana" => (0x30A0, 0x30FF),
        "CJKUnifiedIdeographs" => (0x4E00, 0x9FFF),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_whole_texts() {
        for (pattern, good, bad) in [
            ("[A-Z]{2}\\d+", &["AB12"][..], &["xAB12", "AB", "AB1x"][..]),
            ("a|bc", &["a", "bc"], &["abc", "b"]),
            ("[a-z-[aeiou]]+", &["xyz"], &["xaz"]),
            ("\\i\\c*", &["a-1", ":x"], &["1a"]),
            ("[\\i-[:]][\\c-[:]]*", &["a1"], &["a:b"]),
            ("^\\$", &["^$"], &["$"]),
            ("[-+]?\\d", &["+1", "1"], &["*1"]),
            ("[+\\-]", &["-"], &["x"]),
            ("a.c", &["abc"], &["a\nc"]),
            ("\\p{Lu}\\p{IsBasicLatin}*", &["Aa"], &["aA", "Aü"]),
            ("[^@]+@[^@]+", &["a@b"], &["ab"]),
            ("\\w+", &["aß1"], &["a b", "a-b"]),
            ("[\\s]?", &["", " "], &["x"]),
            ("[a&&b]", &["&"], &["c"]),
        ] {
            let pattern = Pattern::of(&[pattern.to_owned()]);
            assert!(pattern.regex.is_some(), "{pattern:?}");
            for text in good {
                assert!(pattern.takes(text), "{pattern:?} {text}");
            }
            for text in bad {
                assert!(!pattern.takes(text), "{pattern:?} {text}");
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_not_checked() {
        for pattern in ["\\p{IsKlingon}", "[a", "(?:a)", "\\y", "(((a{1000}){1000}){1000})"] {
            assert!(Pattern::of(&[pattern.to_owned()]).regex.is_none(), "{pattern}");
        }
    }
}
