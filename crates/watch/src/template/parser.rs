//! Tokens → template, by the grammar of Go's `text/template`, with its messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ast::{Branch, Command, Node, Number, Operand, Pipe, Term};
use super::lexer::{Kind, Lexed, Token, lex};
use super::printf::go_quote;
use super::{functions, number};

/// The deepest nesting of structures and parentheses.
const MAX_DEPTH: usize = 64;

/// The named parts of a template; the whole one has its own name.
pub(super) type Parts = BTreeMap<Arc<str>, Arc<Vec<Node>>>;

/// # Errors
/// What is wrong, as `template: NAME:LINE: …`.
pub(super) fn parse(name: &str, text: &str) -> Result<Parts, String> {
    let lexed = lex(text);
    let mut parser = Parser {
        name,
        text,
        lexed,
        at: 0,
        variables: vec!["$".into()],
        depth: 0,
        ranges: 0,
        parts: BTreeMap::new(),
    };
    parser.top().map_err(|message| format!("template: {name}:{}: {message}", parser.line()))?;
    Ok(parser.parts)
}

/// How a list of nodes ended.
enum Ending {
    End,
    Else,
}

enum Item {
    Node(Node),
    Ending(Ending),
    /// A comment or a definition.
    Nothing,
}

struct Parser<'t> {
    name: &'t str,
    text: &'t str,
    lexed: Lexed<'t>,
    at: usize,
    variables: Vec<Arc<str>>,
    depth: usize,
    /// Enclosing `range`.
    ranges: usize,
    parts: Parts,
}

type Parsed<T> = Result<T, String>;

impl<'t> Parser<'t> {
    fn peek(&self) -> Token<'t> {
        let last = self.lexed.tokens.len() - 1;
        self.lexed.tokens[self.at.min(last)]
    }

    fn next(&mut self) -> Token<'t> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn next_non_space(&mut self) -> Token<'t> {
        while self.peek().kind == Kind::Space {
            self.at += 1;
        }
        self.next()
    }

    fn peek_non_space(&mut self) -> Token<'t> {
        let token = self.next_non_space();
        self.at -= 1;
        token
    }

    /// The line of the token that was read last.
    fn line(&self) -> usize {
        let last = self.lexed.tokens.len() - 1;
        let token = self.lexed.tokens[self.at.saturating_sub(1).min(last)];
        1 + self.text[..token.pos].matches('\n').count()
    }

    fn unexpected<T>(&self, token: Token<'_>, context: &str) -> Parsed<T> {
        if token.kind == Kind::Error {
            return Err(self.lexed.error.clone());
        }
        Err(format!("unexpected {} in {context}", shown(token)))
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parsed<Token<'t>> {
        let token = self.next_non_space();
        if token.kind == kind { Ok(token) } else { self.unexpected(token, context) }
    }

    fn top(&mut self) -> Parsed<()> {
        let mut nodes = Vec::new();
        while self.peek().kind != Kind::End {
            match self.item()? {
                Item::Node(node) => nodes.push(node),
                Item::Ending(Ending::End) => return Err("unexpected {{end}}".to_owned()),
                Item::Ending(Ending::Else) => return Err("unexpected {{else}}".to_owned()),
                Item::Nothing => {}
            }
        }
        self.parts.insert(self.name.into(), Arc::new(nodes));
        Ok(())
    }

    fn item(&mut self) -> Parsed<Item> {
        let token = self.next();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(token.text.into()))),
            Kind::LeftDelim => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(format!("nested deeper than {MAX_DEPTH} levels"));
                }
                let item = self.action();
                self.depth -= 1;
                item
            }
            _ => self.unexpected(token, "input"),
        }
    }

    fn list(&mut self) -> Parsed<(Vec<Node>, Ending)> {
        let mut nodes = Vec::new();
        while self.peek().kind != Kind::End {
            match self.item()? {
                Item::Node(node) => nodes.push(node),
                Item::Ending(ending) => return Ok((nodes, ending)),
                Item::Nothing => {}
            }
        }
        self.next();
        Err("unexpected EOF".to_owned())
    }

    /// Behind `{{`.
    fn action(&mut self) -> Parsed<Item> {
        let token = self.next_non_space();
        if token.kind == Kind::Keyword {
            return self.structure(token);
        }
        self.at -= 1;
        Ok(Item::Node(Node::Action(self.pipeline("command", Kind::RightDelim)?)))
    }

    fn structure(&mut self, token: Token<'t>) -> Parsed<Item> {
        Ok(match token.text {
            "if" => Item::Node(Node::If(self.branch("if")?)),
            "with" => Item::Node(Node::With(self.branch("with")?)),
            "range" => Item::Node(Node::Range(self.branch("range")?)),
            "end" => {
                self.expect(Kind::RightDelim, "end")?;
                Item::Ending(Ending::End)
            }
            "else" => {
                let next = self.peek_non_space();
                if !(next.kind == Kind::Keyword && matches!(next.text, "if" | "with")) {
                    self.expect(Kind::RightDelim, "else")?;
                }
                Item::Ending(Ending::Else)
            }
            "break" | "continue" => self.jump(token.text)?,
            "template" => Item::Node(self.call()?),
            "block" => Item::Node(self.block()?),
            _ => {
                self.definition()?;
                Item::Nothing
            }
        })
    }

    fn jump(&mut self, word: &str) -> Parsed<Item> {
        let token = self.next_non_space();
        if token.kind != Kind::RightDelim {
            return self.unexpected(token, &format!("{{{{{word}}}}}"));
        }
        if self.ranges == 0 {
            return Err(format!("{{{{{word}}}}} outside {{{{range}}}}"));
        }
        Ok(Item::Node(if word == "break" { Node::Break } else { Node::Continue }))
    }

    fn branch(&mut self, context: &str) -> Parsed<Branch> {
        let known = self.variables.len();
        let branch = self.branch_of(context);
        self.variables.truncate(known);
        branch
    }

    fn branch_of(&mut self, context: &str) -> Parsed<Branch> {
        let pipe = self.pipeline(context, Kind::RightDelim)?;
        self.ranges += usize::from(context == "range");
        let (list, ending) = self.list()?;
        self.ranges -= usize::from(context == "range");
        let mut branch = Branch { pipe, list, otherwise: Vec::new() };
        if matches!(ending, Ending::End) {
            return Ok(branch);
        }
        let chained = self.peek_non_space();
        if context != "range" && chained.kind == Kind::Keyword {
            // `{{else if}}` shares the `{{end}}`.
            self.next_non_space();
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(format!("nested deeper than {MAX_DEPTH} levels"));
            }
            let inner = self.branch(chained.text)?;
            self.depth -= 1;
            branch.otherwise.push(if chained.text == "if" { Node::If(inner) } else { Node::With(inner) });
            return Ok(branch);
        }
        let (otherwise, ending) = self.list()?;
        if matches!(ending, Ending::Else) {
            return Err("expected end; found {{else}}".to_owned());
        }
        branch.otherwise = otherwise;
        Ok(branch)
    }

    fn part_name(&mut self, context: &str) -> Parsed<Arc<str>> {
        let token = self.next_non_space();
        match token.kind {
            Kind::Text1 | Kind::Raw => Ok(crate::promql::unquote(token.text)?.into()),
            _ => self.unexpected(token, context),
        }
    }

    fn call(&mut self) -> Parsed<Node> {
        let pos = self.peek_non_space().pos;
        let name = self.part_name("template clause")?;
        let mut pipe = None;
        if self.peek_non_space().kind == Kind::RightDelim {
            self.next_non_space();
        } else {
            pipe = Some(self.pipeline("template clause", Kind::RightDelim)?);
        }
        Ok(Node::Template { pos, name, pipe })
    }

    fn block(&mut self) -> Parsed<Node> {
        let pos = self.peek_non_space().pos;
        let name = self.part_name("block clause")?;
        let pipe = self.pipeline("block clause", Kind::RightDelim)?;
        self.part(&name, "block clause")?;
        Ok(Node::Template { pos, name, pipe: Some(pipe) })
    }

    fn definition(&mut self) -> Parsed<()> {
        let name = self.part_name("define clause")?;
        self.expect(Kind::RightDelim, "define clause")?;
        self.part(&name, "define clause")
    }

    /// The nodes of a named part up to its `{{end}}`.
    fn part(&mut self, name: &Arc<str>, context: &str) -> Parsed<()> {
        let outer = std::mem::replace(&mut self.variables, vec!["$".into()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (nodes, ending) = self.list()?;
        if matches!(ending, Ending::Else) {
            return Err(format!("unexpected {{{{else}}}} in {context}"));
        }
        self.variables = outer;
        self.ranges = ranges;
        self.parts.insert(Arc::clone(name), Arc::new(nodes));
        Ok(())
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Parsed<Pipe> {
        let pos = self.peek_non_space().pos;
        let mut pipe = Pipe { pos, variables: Vec::new(), assign: false, commands: Vec::new() };
        self.declarations(context, &mut pipe)?;
        loop {
            let token = self.next_non_space();
            if token.kind == end {
                break;
            }
            if !begins_operand(token.kind) {
                return self.unexpected(token, context);
            }
            self.at -= 1;
            pipe.commands.push(self.command()?);
        }
        if pipe.commands.is_empty() {
            return Err(format!("missing value for {context}"));
        }
        for (index, command) in pipe.commands.iter().enumerate().skip(1) {
            let first = &command.args[0].term;
            if matches!(first, Term::Bool(_) | Term::Dot | Term::Nil | Term::Number(_) | Term::Text(..)) {
                return Err(format!("non executable command in pipeline stage {}", index + 1));
            }
        }
        Ok(pipe)
    }

    /// `$x :=`, `$x =`, `$i, $x :=`.
    fn declarations(&mut self, context: &str, pipe: &mut Pipe) -> Parsed<()> {
        while self.peek_non_space().kind == Kind::Variable {
            let before = self.at;
            let variable = self.next();
            let next = self.peek_non_space();
            match next.kind {
                Kind::Assign | Kind::Declare => {
                    self.next_non_space();
                    pipe.assign = next.kind == Kind::Assign;
                    self.declare(variable.text, pipe);
                    return Ok(());
                }
                Kind::Other if next.text == "," => {
                    self.next_non_space();
                    self.declare(variable.text, pipe);
                    if context != "range" || pipe.variables.len() >= 2 {
                        return Err(format!("too many declarations in {context}"));
                    }
                    let then = self.peek_non_space().kind;
                    if !matches!(then, Kind::Variable | Kind::RightDelim | Kind::RightParen) {
                        return Err("range can only initialize variables".to_owned());
                    }
                }
                _ => {
                    self.at = before;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn declare(&mut self, name: &str, pipe: &mut Pipe) {
        let name: Arc<str> = name.into();
        pipe.variables.push(Arc::clone(&name));
        self.variables.push(name);
    }

    fn command(&mut self) -> Parsed<Command> {
        let mut args = Vec::new();
        loop {
            self.peek_non_space();
            args.extend(self.operand()?);
            let token = self.next();
            match token.kind {
                Kind::Space => continue,
                Kind::RightDelim | Kind::RightParen => self.at -= 1,
                Kind::Pipe => {}
                _ => return self.unexpected(token, "operand"),
            }
            break;
        }
        if args.is_empty() {
            return Err("empty command".to_owned());
        }
        Ok(Command { args })
    }

    fn operand(&mut self) -> Parsed<Option<Operand>> {
        let Some(mut operand) = self.term()? else { return Ok(None) };
        if self.peek().kind != Kind::Field {
            return Ok(Some(operand));
        }
        let pos = self.peek().pos;
        let mut names: Vec<Arc<str>> = Vec::new();
        while self.peek().kind == Kind::Field {
            names.push(self.next().text[1..].into());
        }
        match &mut operand.term {
            Term::Field(first) => first.append(&mut names),
            Term::Variable(_, first) => first.append(&mut names),
            Term::Bool(_) | Term::Text(..) | Term::Number(_) | Term::Nil | Term::Dot => {
                return Err(format!("unexpected . after term {}", go_quote(&operand.to_string())));
            }
            Term::Chain(..) | Term::Function(_) | Term::Pipe(_) => {
                operand = Operand { pos, term: Term::Chain(Box::new(operand), names) };
            }
        }
        operand.pos = pos;
        Ok(Some(operand))
    }

    fn term(&mut self) -> Parsed<Option<Operand>> {
        let token = self.next_non_space();
        let term = match token.kind {
            Kind::Identifier if functions::find(token.text).is_none() => {
                return Err(format!("function {} not defined", go_quote(token.text)));
            }
            Kind::Identifier => Term::Function(token.text.into()),
            Kind::Dot => Term::Dot,
            Kind::Nil => Term::Nil,
            Kind::Bool => Term::Bool(token.text == "true"),
            Kind::Variable => {
                if !self.variables.iter().any(|known| &**known == token.text) {
                    return Err(format!("undefined variable {}", go_quote(token.text)));
                }
                Term::Variable(token.text.into(), Vec::new())
            }
            Kind::Field => Term::Field(vec![token.text[1..].into()]),
            Kind::Number | Kind::Char => Term::Number(constant(token)?),
            Kind::Text1 | Kind::Raw => {
                let value = crate::promql::unquote(token.text)?;
                Term::Text(token.text.into(), value.into())
            }
            Kind::LeftParen => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(format!("nested deeper than {MAX_DEPTH} levels"));
                }
                let pipe = self.pipeline("parenthesized pipeline", Kind::RightParen)?;
                self.depth -= 1;
                return Ok(Some(Operand { pos: pipe.pos, term: Term::Pipe(Box::new(pipe)) }));
            }
            _ => {
                self.at -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Operand { pos: token.pos, term }))
    }
}

fn begins_operand(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Bool
            | Kind::Char
            | Kind::Dot
            | Kind::Field
            | Kind::Identifier
            | Kind::Number
            | Kind::Nil
            | Kind::Raw
            | Kind::Text1
            | Kind::Variable
            | Kind::LeftParen
    )
}

fn constant(token: Token<'_>) -> Parsed<Number> {
    if token.kind == Kind::Char {
        let inner = crate::promql::unquote(token.text)?;
        let mut chars = inner.chars();
        return match (chars.next(), chars.next()) {
            (Some(c), None) => {
                let int = i64::from(u32::from(c));
                Ok(Number { text: token.text.into(), int: Some(int), float: int as f64, is_float: false })
            }
            _ => Err(format!("malformed character constant: {}", token.text)),
        };
    }
    number::constant(token.text)
}

/// As Go shows a token in messages.
fn shown(token: Token<'_>) -> String {
    match token.kind {
        Kind::End => "EOF".to_owned(),
        Kind::Keyword | Kind::Dot | Kind::Nil => format!("<{}>", token.text),
        _ if token.text.chars().count() > 10 => {
            format!("{}...", go_quote(&token.text.chars().take(10).collect::<String>()))
        }
        _ => go_quote(token.text),
    }
}
