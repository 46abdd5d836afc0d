//! Text of a query → tokens.

use super::error::{Error, Span};

/// The kind of a token. Words are told apart by the parser: within braces every word is a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tok {
    End,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    At,
    Assign,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Equal,
    NotEqual,
    LessOrEqual,
    Less,
    GreaterOrEqual,
    Greater,
    EqualRegex,
    NotEqualRegex,
    Number,
    Duration,
    Text,
    /// A word; with a colon in it, it can only be the name of a metric.
    Word,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) tok: Tok,
    pub(crate) span: Span,
}

/// # Errors
/// At the first place that is no token, or where a bracket stays open.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, Error> {
    let mut lexer = Lexer { text, at: 0, parens: 0, in_braces: false, in_brackets: false };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks();
        let start = lexer.at;
        let tok = lexer.next_token()?;
        tokens.push(Token { tok, span: Span { start, end: lexer.at } });
        if tok == Tok::End {
            return Ok(tokens);
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    parens: usize,
    in_braces: bool,
    in_brackets: bool,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, end: usize, tok: Tok) -> Tok {
        self.at += end;
        tok
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error::parse(Span { start: self.at, end: self.text.len() }, message)
    }

    /// Blanks and comments, which run from `#` to the end of the line.
    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
            let comment = match rest[blank..].strip_prefix('#') {
                Some(text) => 1 + text.find(['\n', '\r']).unwrap_or(text.len()),
                None => 0,
            };
            if blank + comment == 0 {
                return;
            }
            self.at += blank + comment;
        }
    }

    fn next_token(&mut self) -> Result<Tok, Error> {
        let Some(c) = self.peek() else { return self.end() };
        match c {
            '"' | '\'' => self.quoted(c),
            '`' => self.raw(),
            _ if self.in_braces => self.in_braces(c),
            _ if self.in_brackets => self.in_brackets(c),
            '(' => {
                self.parens += 1;
                Ok(self.take(1, Tok::LeftParen))
            }
            ')' if self.parens == 0 => Err(self.error("unexpected right parenthesis: none is open")),
            ')' => {
                self.parens -= 1;
                Ok(self.take(1, Tok::RightParen))
            }
            '{' => {
                self.in_braces = true;
                Ok(self.take(1, Tok::LeftBrace))
            }
            '[' => {
                self.in_brackets = true;
                Ok(self.take(1, Tok::LeftBracket))
            }
            _ if c.is_ascii_digit() || c == '.' && self.digit_after_dot() => self.number_or_duration(),
            _ if is_word_start(c) || c == ':' => Ok(self.word()),
            _ => self.operator(c),
        }
    }

    fn end(&self) -> Result<Tok, Error> {
        if self.in_braces {
            return Err(self.error("unexpected end of input inside braces, expected \"}\""));
        }
        if self.in_brackets {
            return Err(self.error("unclosed left bracket, expected \"]\""));
        }
        if self.parens > 0 {
            return Err(self.error("unclosed left parenthesis, expected \")\""));
        }
        Ok(Tok::End)
    }

    fn in_braces(&mut self, c: char) -> Result<Tok, Error> {
        let rest = self.rest();
        let found = if rest.starts_with("=~") {
            (2, Tok::EqualRegex)
        } else if rest.starts_with("!~") {
            (2, Tok::NotEqualRegex)
        } else if rest.starts_with("!=") {
            (2, Tok::NotEqual)
        } else if c == '=' {
            (1, Tok::Assign)
        } else if c == ',' {
            (1, Tok::Comma)
        } else if c == '}' {
            self.in_braces = false;
            (1, Tok::RightBrace)
        } else if is_word_start(c) {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            (end, Tok::Word)
        } else {
            return Err(self.error(format!("unexpected character inside braces: {c:?}")));
        };
        Ok(self.take(found.0, found.1))
    }

    fn in_brackets(&mut self, c: char) -> Result<Tok, Error> {
        match c {
            ':' => Ok(self.take(1, Tok::Colon)),
            ']' => {
                self.in_brackets = false;
                Ok(self.take(1, Tok::RightBracket))
            }
            _ if c.is_ascii_digit() => self.number_or_duration(),
            _ => {
                Err(self.error(format!("unexpected {c:?} in brackets, expected a duration like 5m or 1h30m")))
            }
        }
    }

    fn operator(&mut self, c: char) -> Result<Tok, Error> {
        let second = self.rest()[c.len_utf8()..].chars().next();
        let (length, tok) = match (c, second) {
            ('=', Some('=')) => (2, Tok::Equal),
            ('!', Some('=')) => (2, Tok::NotEqual),
            ('<', Some('=')) => (2, Tok::LessOrEqual),
            ('>', Some('=')) => (2, Tok::GreaterOrEqual),
            ('=', Some('~')) | ('!', _) => {
                let message = match second {
                    Some(second) => format!("unexpected character after {c:?}: {second:?}"),
                    None => format!("unexpected end of input after {c:?}"),
                };
                return Err(self.error(message));
            }
            ('=', _) => (1, Tok::Assign),
            ('<', _) => (1, Tok::Less),
            ('>', _) => (1, Tok::Greater),
            ('+', _) => (1, Tok::Add),
            ('-', _) => (1, Tok::Sub),
            ('*', _) => (1, Tok::Mul),
            ('/', _) => (1, Tok::Div),
            ('%', _) => (1, Tok::Mod),
            ('^', _) => (1, Tok::Pow),
            ('@', _) => (1, Tok::At),
            (',', _) => (1, Tok::Comma),
            (']', _) => return Err(self.error("unexpected right bracket: none is open")),
            ('}', _) => return Err(self.error("unexpected right brace: none is open")),
            _ => return Err(self.error(format!("unexpected character: {c:?}"))),
        };
        Ok(self.take(length, tok))
    }

    fn word(&mut self) -> Tok {
        let rest = self.rest();
        let end = rest.find(|c| !is_word(c) && c != ':').unwrap_or(rest.len());
        let number = ["inf", "nan"].iter().any(|word| rest[..end].eq_ignore_ascii_case(word));
        self.take(end, if number { Tok::Number } else { Tok::Word })
    }

    fn digit_after_dot(&self) -> bool {
        self.rest()[1..].starts_with(|c: char| c.is_ascii_digit())
    }

    fn number_or_duration(&mut self) -> Result<Tok, Error> {
        let rest = self.rest();
        let number = number_length(rest);
        if !rest[number..].starts_with(is_word) {
            return Ok(self.take(number, Tok::Number));
        }
        let end = rest.find(|c| !is_word(c) && c != '.').unwrap_or(rest.len());
        let word = &rest[..end];
        if word.starts_with(|c: char| c.is_ascii_digit()) && crate::duration::parse(word).is_ok() {
            return Ok(self.take(end, Tok::Duration));
        }
        Err(self.error(format!(
            "bad number or duration syntax: {word:?}, expected one like 1.5, 1e3, 5m or 1h30m"
        )))
    }

    fn quoted(&mut self, quote: char) -> Result<Tok, Error> {
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => {
                    chars.next();
                }
                '\n' => break,
                _ if c == quote => return Ok(self.take(at + 1, Tok::Text)),
                _ => {}
            }
        }
        Err(self.error("unterminated quoted string"))
    }

    fn raw(&mut self) -> Result<Tok, Error> {
        match self.rest()[1..].find('`') {
            Some(end) => Ok(self.take(end + 2, Tok::Text)),
            None => Err(self.error("unterminated raw string")),
        }
    }
}

/// Length of the longest start that looks like a number; it is not checked here.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let hex = bytes.len() > 1 && bytes[0] == b'0' && matches!(bytes[1], b'x' | b'X');
    let run =
        |from: usize, digit: fn(&u8) -> bool| from + bytes[from..].iter().take_while(|b| digit(b)).count();
    let digits: fn(&u8) -> bool = if hex { u8::is_ascii_hexdigit } else { u8::is_ascii_digit };
    let mut at = run(if hex { 2 } else { 0 }, digits);
    if bytes.get(at) == Some(&b'.') {
        at = run(at + 1, digits);
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        at = run(at + 1 + sign, u8::is_ascii_digit);
    }
    at
}

fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Whether the text can name a label.
pub(crate) fn is_label(text: &str) -> bool {
    text.starts_with(is_word_start) && text.chars().all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Tok> {
        tokens(text).unwrap().into_iter().map(|token| token.tok).collect()
    }

    #[test]
    fn numbers_durations_and_words_are_told_apart() {
        use Tok::{Add, Duration, End, LeftBracket, Number, RightBracket, Word};
        assert_eq!(kinds("1.5e3 0x1F .5 inf"), [Number, Number, Number, Number, End]);
        assert_eq!(
            kinds("a:b[1h30m] + sum # rest"),
            [Word, LeftBracket, Duration, RightBracket, Add, Word, End]
        );
    }

    #[test]
    fn the_place_of_what_is_wrong_is_given() {
        for (text, at) in
            [("a + $", 4), ("a[x]", 2), ("a{b='c'", 7), ("(a", 2), ("a)", 1), ("'a", 0), ("5q", 0)]
        {
            assert_eq!(tokens(text).unwrap_err().span().start, at, "{text}");
        }
    }
}
