//! Tokens → expressions, by precedence climbing. Types are checked afterwards, in `check.rs`.

use std::sync::Arc;

use super::ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, Expr, Group, Grouping, Matching, Node, Selector,
    Shift, Subquery,
};
use super::error::{Error, Span};
use super::functions;
use super::lexer::{Tok, Token, is_label, tokens};
use super::text;
use crate::labels::METRIC_NAME;
use crate::matcher::{MatchOp, Matcher};

/// Deeper queries are refused: parsing, evaluating and dropping them would need too much stack.
pub(crate) const MAX_DEPTH: u32 = 250;

/// Binds tighter than all operators but `^`: the operand of a sign.
const SIGN: u8 = 6;

/// Words that cannot name a metric.
const RESERVED: [&str; 6] = ["atan2", "on", "ignoring", "group_left", "group_right", "bool"];

/// # Errors
/// At the first place that is no query; what was expected is said.
pub(crate) fn expression(query: &str) -> Result<Expr, Error> {
    let mut parser = Parser::new(query)?;
    if parser.peek().tok == Tok::End {
        return Err(Error::parse(parser.peek().span, "no expression found in input"));
    }
    let expr = parser.binary(1)?;
    match parser.peek().tok {
        Tok::End => Ok(expr),
        _ => Err(parser.unexpected("", "an operator or the end of the query")),
    }
}

/// The matchers of a lone selector, for the API's `match[]`.
///
/// # Errors
/// When it is no selector, or one that selects everything.
pub(crate) fn selector(query: &str) -> Result<Expr, Error> {
    let mut parser = Parser::new(query)?;
    let expr = match parser.peek().tok {
        Tok::Word | Tok::LeftBrace => parser.selector_expr()?,
        _ => return Err(parser.unexpected("", "a selector like up{job=\"node\"}")),
    };
    match parser.peek().tok {
        Tok::End => Ok(expr),
        _ => Err(parser.unexpected("", "the end of the selector")),
    }
}

struct Parser<'q> {
    query: &'q str,
    tokens: Vec<Token>,
    next: usize,
    depth: u32,
}

type Parsed<T> = Result<T, Error>;

impl<'q> Parser<'q> {
    fn new(query: &'q str) -> Parsed<Self> {
        Ok(Self { query, tokens: tokens(query)?, next: 0, depth: 0 })
    }

    fn peek(&self) -> Token {
        self.tokens[self.next]
    }

    fn advance(&mut self) -> Token {
        let token = self.peek();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn text(&self, token: Token) -> &'q str {
        &self.query[token.span.start..token.span.end]
    }

    fn eat(&mut self, tok: Tok) -> bool {
        let found = self.peek().tok == tok;
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, tok: Tok, context: &str, expected: &str) -> Parsed<Token> {
        if self.peek().tok == tok { Ok(self.advance()) } else { Err(self.unexpected(context, expected)) }
    }

    /// Whether the next token is the keyword, in any case of letters.
    fn at_word(&self, word: &str) -> bool {
        let token = self.peek();
        token.tok == Tok::Word && self.text(token).eq_ignore_ascii_case(word)
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        if found {
            self.advance();
        }
        found
    }

    fn unexpected(&self, context: &str, expected: &str) -> Error {
        let token = self.peek();
        let text = self.text(token);
        let found = match token.tok {
            Tok::End => "end of input".to_owned(),
            Tok::Word => format!("identifier {text:?}"),
            Tok::Number => format!("number {text:?}"),
            Tok::Duration => format!("duration {text:?}"),
            Tok::Text => format!("string {text}"),
            _ => format!("{text:?}"),
        };
        let context = if context.is_empty() { String::new() } else { format!(" in {context}") };
        Error::parse(token.span, format!("unexpected {found}{context}, expected {expected}"))
    }

    fn too_deep(span: Span) -> Error {
        Error::parse(span, format!("nested deeper than {MAX_DEPTH} levels; split the query"))
    }

    fn make(&self, node: Node, span: Span) -> Parsed<Expr> {
        let expr = Expr::new(node, span);
        if expr.depth > MAX_DEPTH { Err(Self::too_deep(span)) } else { Ok(expr) }
    }

    /// An expression whose operators bind at least as tight as `min`.
    fn binary(&mut self, min: u8) -> Parsed<Expr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Self::too_deep(self.peek().span));
        }
        let mut left = self.unary()?;
        while let Some((op, power)) = self.operator().filter(|(_, power)| *power >= min) {
            self.advance();
            let (bool, matching) = self.modifiers()?;
            // Only `^` is right-associative.
            let right = self.binary(if op == BinaryOp::Pow { power } else { power + 1 })?;
            let span = left.span.to(right.span);
            left = self.make(Node::Binary(Box::new(Binary { op, left, right, bool, matching })), span)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    /// The operator at hand, with how tight it binds.
    fn operator(&self) -> Option<(BinaryOp, u8)> {
        Some(match self.peek().tok {
            Tok::Word if self.at_word("or") => (BinaryOp::Or, 1),
            Tok::Word if self.at_word("and") => (BinaryOp::And, 2),
            Tok::Word if self.at_word("unless") => (BinaryOp::Unless, 2),
            Tok::Equal => (BinaryOp::Equal, 3),
            Tok::NotEqual => (BinaryOp::NotEqual, 3),
            Tok::Greater => (BinaryOp::Greater, 3),
            Tok::Less => (BinaryOp::Less, 3),
            Tok::GreaterOrEqual => (BinaryOp::GreaterOrEqual, 3),
            Tok::LessOrEqual => (BinaryOp::LessOrEqual, 3),
            Tok::Add => (BinaryOp::Add, 4),
            Tok::Sub => (BinaryOp::Sub, 4),
            Tok::Mul => (BinaryOp::Mul, 5),
            Tok::Div => (BinaryOp::Div, 5),
            Tok::Mod => (BinaryOp::Mod, 5),
            Tok::Word if self.at_word("atan2") => (BinaryOp::Atan2, 5),
            Tok::Pow => (BinaryOp::Pow, 6),
            _ => return None,
        })
    }

    /// `bool`, `on`/`ignoring`, `group_left`/`group_right` behind an operator.
    fn modifiers(&mut self) -> Parsed<(bool, Matching)> {
        let bool = self.eat_word("bool");
        let mut matching =
            Matching { on: false, labels: Vec::new(), group: Group::None, include: Vec::new() };
        if self.at_word("on") || self.at_word("ignoring") {
            matching.on = self.at_word("on");
            self.advance();
            matching.labels = self.label_list()?;
            matching.group = match () {
                () if self.eat_word("group_left") => Group::Left,
                () if self.eat_word("group_right") => Group::Right,
                () => Group::None,
            };
            if matching.group != Group::None && self.peek().tok == Tok::LeftParen {
                matching.include = self.label_list()?;
            }
        }
        Ok((bool, matching))
    }

    /// `(a, b)`.
    fn label_list(&mut self) -> Parsed<Vec<Arc<str>>> {
        let context = "grouping opts";
        self.expect(Tok::LeftParen, context, "\"(\"")?;
        let mut labels: Vec<Arc<str>> = Vec::new();
        while !self.eat(Tok::RightParen) {
            let token = self.peek();
            let label = self.text(token);
            if token.tok != Tok::Word || !is_label(label) {
                return Err(self.unexpected(context, "label"));
            }
            self.advance();
            labels.push(label.into());
            if !self.eat(Tok::Comma) && self.peek().tok != Tok::RightParen {
                return Err(self.unexpected(context, "\",\" or \")\""));
            }
        }
        Ok(labels)
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let sign = self.peek();
        if !matches!(sign.tok, Tok::Add | Tok::Sub) {
            let primary = self.primary()?;
            return self.postfix(primary);
        }
        self.advance();
        let negative = sign.tok == Tok::Sub;
        let operand = self.binary(SIGN)?;
        let span = sign.span.to(operand.span);
        match operand.node {
            Node::Number(value) => self.make(Node::Number(if negative { -value } else { value }), span),
            _ => self.make(Node::Unary { negative, operand: Box::new(operand) }, span),
        }
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let token = self.peek();
        match token.tok {
            Tok::Number | Tok::Duration => {
                let value = self.seconds("", "number")?;
                self.make(Node::Number(value), token.span)
            }
            Tok::Text => {
                let value = self.string()?;
                self.make(Node::Text(value.into()), token.span)
            }
            Tok::LeftParen => {
                self.advance();
                let inner = self.binary(1)?;
                let close = self.expect(Tok::RightParen, "", "an operator or \")\"")?;
                self.make(Node::Paren(Box::new(inner)), token.span.to(close.span))
            }
            Tok::LeftBrace => self.selector_expr(),
            Tok::Word => self.word(),
            _ => Err(self.unexpected("", "a metric, function, number or \"(\"")),
        }
    }

    fn string(&mut self) -> Parsed<String> {
        let token = self.advance();
        text::unquote(self.text(token)).map_err(|message| Error::parse(token.span, message))
    }

    /// An aggregation, a function or a metric.
    fn word(&mut self) -> Parsed<Expr> {
        let token = self.peek();
        let word = self.text(token);
        let behind = self.tokens[self.next + 1];
        let opens = behind.tok == Tok::LeftParen;
        if let Some(op) = AggregateOp::named(word) {
            let clause = ["by", "without"].iter().any(|w| self.text(behind).eq_ignore_ascii_case(w));
            if opens || clause {
                return self.aggregate(op);
            }
        }
        if opens && !word.contains(':') && !is_keyword(word) {
            return self.call(word);
        }
        self.selector_expr()
    }

    fn aggregate(&mut self, op: AggregateOp) -> Parsed<Expr> {
        let start = self.advance();
        let before = self.grouping()?;
        let (mut args, mut end) = self.arguments("aggregation")?;
        let grouping = match before {
            Some(grouping) => Some(grouping),
            None => self.grouping()?,
        };
        if end.end < self.tokens[self.next - 1].span.end {
            end = self.tokens[self.next - 1].span;
        }
        let span = start.span.to(end);
        let wanted = if op.param().is_some() { 2 } else { 1 };
        if args.len() != wanted {
            let message = match args.len() {
                0 => "no arguments for aggregate expression provided".to_owned(),
                got => format!(
                    "wrong number of arguments for aggregate expression provided, expected {wanted}, got {got}"
                ),
            };
            return Err(Error::parse(span, message));
        }
        let inner = args.remove(wanted - 1);
        let grouping = grouping.unwrap_or(Grouping { without: false, labels: Vec::new() });
        self.make(Node::Aggregate(Box::new(Aggregate { op, param: args.pop(), inner, grouping })), span)
    }

    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let without = self.at_word("without");
        if !without && !self.at_word("by") {
            return Ok(None);
        }
        self.advance();
        Ok(Some(Grouping { without, labels: self.label_list()? }))
    }

    fn call(&mut self, name: &str) -> Parsed<Expr> {
        let start = self.advance();
        let Some(function) = functions::named(name) else {
            let near = functions::similar(name);
            let hint = if near.is_empty() { String::new() } else { format!("; did you mean {near}?") };
            return Err(Error::parse(start.span, format!("unknown function with name {name:?}{hint}")));
        };
        let (args, end) = self.arguments(&format!("call to function {name:?}"))?;
        self.make(Node::Call(Call { function, args }), start.span.to(end))
    }

    /// `(a, b)` with the place of its end.
    fn arguments(&mut self, context: &str) -> Parsed<(Vec<Expr>, Span)> {
        self.expect(Tok::LeftParen, context, "\"(\"")?;
        let mut args = Vec::new();
        if self.peek().tok == Tok::RightParen {
            return Ok((args, self.advance().span));
        }
        loop {
            args.push(self.binary(1)?);
            let token = self.peek();
            match token.tok {
                Tok::RightParen => return Ok((args, self.advance().span)),
                Tok::Comma => {
                    self.advance();
                    if self.peek().tok == Tok::RightParen {
                        return Err(Error::parse(
                            token.span,
                            "trailing commas not allowed in function call args",
                        ));
                    }
                }
                _ => return Err(self.unexpected(context, "\",\" or \")\"")),
            }
        }
    }

    fn selector_expr(&mut self) -> Parsed<Expr> {
        let start = self.peek();
        let mut name: Option<Arc<str>> = None;
        if start.tok == Tok::Word {
            if RESERVED.iter().any(|word| self.at_word(word)) {
                return Err(self.unexpected("", "a metric, function, number or \"(\""));
            }
            name = Some(self.text(start).into());
            self.advance();
        }
        let mut end = start.span;
        let mut matchers = Vec::new();
        if self.peek().tok == Tok::LeftBrace {
            (matchers, end) = self.matchers()?;
        }
        if let Some(name) = &name {
            let matcher = Matcher::new(MatchOp::Equal, METRIC_NAME, name);
            matchers.push(matcher.map_err(|message| Error::parse(start.span, message))?);
        }
        let selector = Selector { name, matchers: matchers.into(), shift: Shift::default() };
        self.make(Node::Selector(selector), start.span.to(end))
    }

    /// `{a="b", c!~"d"}` with the place of its end.
    fn matchers(&mut self) -> Parsed<(Vec<Matcher>, Span)> {
        let context = "label matching";
        self.expect(Tok::LeftBrace, context, "\"{\"")?;
        let mut matchers = Vec::new();
        loop {
            let token = self.peek();
            if token.tok == Tok::RightBrace {
                return Ok((matchers, self.advance().span));
            }
            self.expect(Tok::Word, context, "identifier or \"}\"")?;
            let op = match self.peek().tok {
                Tok::Assign => MatchOp::Equal,
                Tok::NotEqual => MatchOp::NotEqual,
                Tok::EqualRegex => MatchOp::Regex,
                Tok::NotEqualRegex => MatchOp::NotRegex,
                _ => return Err(self.unexpected(context, "label matching operator")),
            };
            self.advance();
            let value = self.peek();
            if value.tok != Tok::Text {
                return Err(self.unexpected(context, "string"));
            }
            let matcher = Matcher::new(op, self.text(token), &self.string()?);
            matchers.push(matcher.map_err(|message| Error::parse(token.span.to(value.span), message))?);
            if !self.eat(Tok::Comma) && self.peek().tok != Tok::RightBrace {
                return Err(self.unexpected(context, "\",\" or \"}\""));
            }
        }
    }

    /// Ranges, `offset` and `@` behind an expression.
    fn postfix(&mut self, mut expr: Expr) -> Parsed<Expr> {
        loop {
            let token = self.peek();
            expr = match token.tok {
                Tok::LeftBracket => self.range(expr)?,
                Tok::At => {
                    self.advance();
                    let at = self.at_time()?;
                    self.shifted(expr, "@ modifier", |shift| match shift.at.replace(at) {
                        None => Ok(()),
                        Some(_) => Err("@ <timestamp> may not be set multiple times"),
                    })?
                }
                Tok::Word if self.at_word("offset") => {
                    self.advance();
                    let sign = if self.eat(Tok::Sub) { -1 } else { 1 };
                    let offset = sign * self.duration("offset", "duration")?;
                    self.shifted(expr, "offset modifier", |shift| {
                        match std::mem::replace(&mut shift.offset_ms, offset) {
                            0 => Ok(()),
                            _ => Err("offset may not be set multiple times"),
                        }
                    })?
                }
                _ => return Ok(expr),
            };
        }
    }

    /// A duration in ms; a plain number means seconds, as in newer releases.
    fn duration(&mut self, context: &str, expected: &str) -> Parsed<i64> {
        let token = self.peek();
        let ms = match token.tok {
            Tok::Duration => crate::duration::parse(self.text(token)),
            Tok::Number => text::number(self.text(token)).and_then(|seconds| whole_ms(seconds, "duration")),
            _ => return Err(self.unexpected(context, expected)),
        };
        self.advance();
        match ms {
            Ok(ms) if ms > 0 => Ok(ms),
            Ok(_) => Err(Error::parse(token.span, "duration must be greater than 0")),
            Err(message) => Err(Error::parse(token.span, message)),
        }
    }

    /// A number, or a duration as its seconds.
    fn seconds(&mut self, context: &str, expected: &str) -> Parsed<f64> {
        let token = self.peek();
        let seconds = match token.tok {
            Tok::Duration => crate::duration::parse(self.text(token)).map(|ms| ms as f64 / 1000.0),
            Tok::Number => text::number(self.text(token)),
            _ => return Err(self.unexpected(context, expected)),
        };
        self.advance();
        seconds.map_err(|message| Error::parse(token.span, message))
    }

    fn at_time(&mut self) -> Parsed<At> {
        for (word, at) in [("start", At::Start), ("end", At::End)] {
            if self.eat_word(word) {
                self.expect(Tok::LeftParen, "@", "\"(\"")?;
                self.expect(Tok::RightParen, "@", "\")\"")?;
                return Ok(at);
            }
        }
        let first = self.peek();
        let negative = self.eat(Tok::Sub);
        if !negative {
            self.eat(Tok::Add);
        }
        let seconds = self.seconds("@", "timestamp")?;
        let span = first.span.to(self.tokens[self.next - 1].span);
        let ms = whole_ms(if negative { -seconds } else { seconds }, "timestamp for @ modifier");
        ms.map(At::Time).map_err(|message| Error::parse(span, message))
    }

    /// Changes the shift of a selector, range or subquery.
    fn shifted(
        &self,
        mut expr: Expr,
        what: &str,
        change: impl FnOnce(&mut Shift) -> Result<(), &'static str>,
    ) -> Parsed<Expr> {
        let shift = match &mut expr.node {
            Node::Selector(selector) | Node::Range { selector, .. } => &mut selector.shift,
            Node::Subquery(subquery) => &mut subquery.shift,
            _ => {
                let message = format!(
                    "{what} must be preceded by an instant vector selector or range vector selector or a subquery"
                );
                return Err(Error::parse(expr.span, message));
            }
        };
        change(shift).map_err(|message| Error::parse(expr.span, message))?;
        expr.span.end = self.tokens[self.next - 1].span.end;
        Ok(expr)
    }

    /// `[range]` or `[range:step]`.
    fn range(&mut self, expr: Expr) -> Parsed<Expr> {
        let open = self.advance();
        let range_ms = self.duration("subquery or range selector", "duration")?;
        if self.eat(Tok::Colon) {
            let step_ms = match self.peek().tok {
                Tok::RightBracket => None,
                _ => Some(self.duration("subquery selector", "duration or \"]\"")?),
            };
            let close = self.expect(Tok::RightBracket, "subquery selector", "\"]\"")?;
            let span = expr.span.to(close.span);
            let subquery = Subquery { inner: expr, range_ms, step_ms, shift: Shift::default() };
            return self.make(Node::Subquery(Box::new(subquery)), span);
        }
        let close = self.expect(Tok::RightBracket, "subquery or range selector", "\":\" or \"]\"")?;
        let refuse = |message| Err(Error::parse(open.span.to(close.span), message));
        let span = expr.span.to(close.span);
        match expr.node {
            Node::Selector(selector) if selector.shift.offset_ms != 0 => {
                refuse("no offset modifiers allowed before range")
            }
            Node::Selector(selector) if selector.shift.at.is_some() => {
                refuse("no @ modifiers allowed before range")
            }
            Node::Selector(selector) => self.make(Node::Range { selector, range_ms }, span),
            _ => refuse("ranges only allowed for vector selectors"),
        }
    }
}

/// Whole ms of seconds, within bounds in which sums with any duration stay in range.
fn whole_ms(seconds: f64, what: &str) -> Result<i64, String> {
    let ms = (seconds * 1000.0).round();
    if ms.is_nan() || ms.abs() > (i64::MAX / 4) as f64 {
        return Err(format!("{what} out of bounds: {seconds}"));
    }
    Ok(ms as i64)
}

/// Words of the language that cannot name a function.
fn is_keyword(word: &str) -> bool {
    const OTHERS: [&str; 8] = ["and", "or", "unless", "offset", "by", "without", "start", "end"];
    RESERVED.iter().chain(&OTHERS).any(|keyword| keyword.eq_ignore_ascii_case(word))
}
