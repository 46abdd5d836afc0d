//! Text of a template → tokens, as Go's `text/template` cuts it.

/// What a [`Token`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Outside of `{{ }}`.
    Text,
    LeftDelim,
    RightDelim,
    Space,
    /// `.` alone.
    Dot,
    /// `.name`.
    Field,
    /// `$name` or `$`.
    Variable,
    Identifier,
    Bool,
    Nil,
    Number,
    /// In double quotes.
    Text1,
    /// In backticks.
    Raw,
    Char,
    LeftParen,
    RightParen,
    Pipe,
    Assign,
    Declare,
    /// A character with no meaning of its own, such as `,`.
    Other,
    Keyword,
    End,
    /// The text is the message.
    Error,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    /// Offset in bytes.
    pub(super) pos: usize,
    pub(super) text: &'t str,
}

const KEYWORDS: [&str; 10] =
    ["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];
const LEFT: &str = "{{";
const RIGHT: &str = "}}";
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// A text in tokens.
pub(super) struct Lexed<'t> {
    /// The last one is [`Kind::End`] or [`Kind::Error`].
    pub(super) tokens: Vec<Token<'t>>,
    /// What the error is, when the last token is one.
    pub(super) error: String,
}

pub(super) fn lex(text: &str) -> Lexed<'_> {
    let mut lexer = Lexer { text, at: 0, depth: 0, tokens: Vec::new() };
    let error = lexer.run().err().unwrap_or_default();
    if !error.is_empty() {
        lexer.tokens.push(Token { kind: Kind::Error, pos: lexer.at, text: "" });
    }
    Lexed { tokens: lexer.tokens, error }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    /// Open parentheses.
    depth: usize,
    tokens: Vec<Token<'t>>,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn emit(&mut self, kind: Kind, len: usize) {
        let text = &self.rest()[..len];
        self.tokens.push(Token { kind, pos: self.at, text });
        self.at += len;
    }

    fn run(&mut self) -> Result<(), String> {
        let mut trim = false;
        loop {
            let (start, rest) = (self.at, self.rest());
            let open = rest.find(LEFT);
            let left_trim = open.is_some_and(|open| is_left_trim(&rest[open + LEFT.len()..]));
            let mut text = &rest[..open.unwrap_or(rest.len())];
            if trim {
                text = text.trim_start_matches(SPACES);
                self.at = start + open.unwrap_or(rest.len()) - text.len();
            }
            let kept = if left_trim { text.trim_end_matches(SPACES) } else { text };
            if !kept.is_empty() {
                self.emit(Kind::Text, kept.len());
            }
            let Some(open) = open else {
                self.at = self.text.len();
                self.emit(Kind::End, 0);
                return Ok(());
            };
            self.at = start + open;
            trim = self.action(left_trim)?;
        }
    }

    /// From `{{` to behind `}}`; whether white space behind it is left out.
    fn action(&mut self, left_trim: bool) -> Result<bool, String> {
        let skip = LEFT.len() + if left_trim { 2 } else { 0 };
        if self.rest()[skip..].starts_with("/*") {
            return self.comment(skip);
        }
        self.emit(Kind::LeftDelim, LEFT.len());
        self.at += skip - LEFT.len();
        self.depth = 0;
        loop {
            if let Some(trimmed) = self.right_delim() {
                if self.depth > 0 {
                    return Err("unclosed left paren".to_owned());
                }
                self.at += if trimmed { 2 } else { 0 };
                self.emit(Kind::RightDelim, RIGHT.len());
                return Ok(trimmed);
            }
            self.inside()?;
        }
    }

    fn comment(&mut self, skip: usize) -> Result<bool, String> {
        self.at += skip;
        let Some(end) = self.rest().find("*/") else { return Err("unclosed comment".to_owned()) };
        self.at += end + 2;
        match self.right_delim() {
            Some(trimmed) => {
                self.at += RIGHT.len() + if trimmed { 2 } else { 0 };
                Ok(trimmed)
            }
            None => Err("comment ends before closing delimiter".to_owned()),
        }
    }

    /// Whether a right delimiter begins here, and whether it trims.
    fn right_delim(&self) -> Option<bool> {
        let rest = self.rest();
        if rest.starts_with(RIGHT) {
            return Some(false);
        }
        let trimmed = rest.strip_prefix(SPACES).and_then(|rest| rest.strip_prefix('-'));
        trimmed.filter(|rest| rest.starts_with(RIGHT)).map(|_| true)
    }

    /// One token within an action.
    fn inside(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let Some(c) = rest.chars().next() else { return Err("unclosed action".to_owned()) };
        match c {
            ' ' | '\t' | '\r' | '\n' => {
                self.spaces();
                Ok(())
            }
            '"' => self.quoted('"', Kind::Text1, "unterminated quoted string"),
            '\'' => self.quoted('\'', Kind::Char, "unterminated character constant"),
            '`' => {
                let Some(end) = rest[1..].find('`') else {
                    return Err("unterminated raw quoted string".to_owned());
                };
                self.emit(Kind::Raw, end + 2);
                Ok(())
            }
            '$' => self.name(Kind::Variable, 1),
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.name(Kind::Field, 1),
            '.' | '+' | '-' | '0'..='9' => self.number(),
            ':' if rest.starts_with(":=") => self.pass(Kind::Declare, 2),
            ':' => Err("expected :=".to_owned()),
            '=' => self.pass(Kind::Assign, 1),
            '|' => self.pass(Kind::Pipe, 1),
            '(' => {
                self.depth += 1;
                self.pass(Kind::LeftParen, 1)
            }
            ')' => {
                self.emit(Kind::RightParen, 1);
                match self.depth.checked_sub(1) {
                    Some(depth) => self.depth = depth,
                    None => return Err("unexpected right paren".to_owned()),
                }
                Ok(())
            }
            c if is_word(c) => self.name(Kind::Identifier, 0),
            c if c.is_ascii() && !c.is_ascii_control() => self.pass(Kind::Other, 1),
            c => Err(format!("unrecognized character in action: {}", code_point(c))),
        }
    }

    fn pass(&mut self, kind: Kind, len: usize) -> Result<(), String> {
        self.emit(kind, len);
        Ok(())
    }

    /// White space up to the next token; a blank that belongs to ` -}}` is left.
    fn spaces(&mut self) {
        let rest = self.rest();
        let mut len = rest.len() - rest.trim_start_matches(SPACES).len();
        if rest[len..].starts_with("-}}") {
            len -= 1;
        }
        if len > 0 {
            self.emit(Kind::Space, len);
        }
    }

    fn quoted(&mut self, quote: char, kind: Kind, unterminated: &str) -> Result<(), String> {
        let mut escaped = false;
        for (at, c) in self.rest().char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == quote => return self.pass(kind, at + 1),
                _ => {}
            }
        }
        Err(unterminated.to_owned())
    }

    /// An identifier, `.field` or `$variable`.
    fn name(&mut self, kind: Kind, prefix: usize) -> Result<(), String> {
        let rest = self.rest();
        let len = prefix + rest[prefix..].find(|c: char| !is_word(c)).unwrap_or(rest.len() - prefix);
        if let Some(c) = rest[len..].chars().next().filter(|_| !ends_a_word(&rest[len..])) {
            return Err(format!("bad character {}", code_point(c)));
        }
        let kind = match (kind, &rest[..len]) {
            (Kind::Field, ".") => Kind::Dot,
            (Kind::Identifier, "true" | "false") => Kind::Bool,
            (Kind::Identifier, "nil") => Kind::Nil,
            (Kind::Identifier, word) if KEYWORDS.contains(&word) => Kind::Keyword,
            (kind, _) => kind,
        };
        self.pass(kind, len)
    }

    /// A number of any base; whether it is one is seen when it is read.
    fn number(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let mut len = usize::from(rest.starts_with(['+', '-']));
        let prefix = rest[len..].get(..2).unwrap_or_default().to_ascii_lowercase();
        let (radix, exponents) = match prefix.as_str() {
            "0x" => (16, ['p', 'P']),
            "0o" => (8, ['p', 'P']),
            "0b" => (2, ['p', 'P']),
            _ => (10, ['e', 'E']),
        };
        len += if radix == 10 { 0 } else { 2 };
        let digits = |from: usize, radix: u32| {
            let digit = |c: char| c.is_digit(radix) || c == '_';
            rest[from..].find(|c| !digit(c)).unwrap_or(rest[from..].len())
        };
        len += digits(len, radix);
        if rest[len..].starts_with('.') {
            len += 1;
            len += digits(len, radix);
        }
        if matches!(radix, 10 | 16) && rest[len..].starts_with(exponents) {
            len += 1;
            len += usize::from(rest[len..].starts_with(['+', '-']));
            len += digits(len, 10);
        }
        if let Some(c) = rest[len..].chars().next().filter(|c| is_word(*c)) {
            let bad = &rest[..len + c.len_utf8()];
            return Err(format!("bad number syntax: {}", super::printf::go_quote(bad)));
        }
        self.pass(Kind::Number, len)
    }
}

/// Whether `- ` follows `{{`, which leaves out white space before it.
fn is_left_trim(rest: &str) -> bool {
    rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(SPACES))
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// As Go writes a character in messages: `U+003D '='`.
fn code_point(c: char) -> String {
    if c.is_control() { format!("U+{:04X}", c as u32) } else { format!("U+{:04X} '{c}'", c as u32) }
}

/// What may stand behind a name.
fn ends_a_word(rest: &str) -> bool {
    rest.is_empty()
        || rest.starts_with(SPACES)
        || rest.starts_with(['.', ',', '|', ':', ')', '('])
        || rest.starts_with(RIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        lex(text).tokens.iter().map(|t| format!("{:?}:{} ", t.kind, t.text)).collect()
    }

    #[test]
    fn text_and_actions_are_told_apart() {
        assert_eq!(
            shown("a {{ $x.y | f 1 }} b"),
            "Text:a  LeftDelim:{{ Space:  Variable:$x Field:.y Space:  Pipe:| Space:  Identifier:f Space:  Number:1 \
             Space:  RightDelim:}} Text: b End: "
        );
    }

    #[test]
    fn trim_markers_take_white_space_away() {
        assert_eq!(shown("a \n {{- .x -}} \n b"), "Text:a LeftDelim:{{ Field:.x RightDelim:}} Text:b End: ");
        assert_eq!(shown(" {{- /* no */ -}} \n"), "End: ");
        assert_eq!(shown("{{-1}}"), "LeftDelim:{{ Number:-1 RightDelim:}} End: ");
    }

    #[test]
    fn what_does_not_end_is_an_error() {
        for (text, message) in [
            ("{{ .x", "unclosed action"),
            ("{{ \"a }}", "unterminated quoted string"),
            ("{{/* a }}", "unclosed comment"),
            ("{{ (1 }}", "unclosed left paren"),
            ("{{ $x=1 }}", "bad character U+003D '='"),
            ("{{ \u{1} }}", "unrecognized character in action: U+0001"),
            ("{{", "unclosed action"),
        ] {
            assert_eq!(lex(text).error, message, "{text}");
        }
    }
}
