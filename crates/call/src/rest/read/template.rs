//! Paths with parameters: `/offers/{id}`.

use std::collections::HashMap;

use serde_json::json;

use crate::rest::model::{Parameter, Piece, Place};
use crate::rest::schema::Schema;
use crate::rest::shown;
use crate::rest::style::{Style, Writing};

pub(super) struct Template {
    pub(super) pieces: Vec<Piece>,
    pub(super) query: String,
    /// What is taken otherwise than it is written.
    pub(super) notes: Vec<String>,
}

/// Reads a path. A name in braces that is not declared becomes a parameter of text; a declared one that is not in the
/// path is left out. A query that some descriptions write there is kept, a fragment is not.
///
/// # Errors
/// Braces without their other half.
pub(super) fn read(path: &str, parameters: &mut Vec<Parameter>) -> Result<Template, String> {
    let path = path.split('#').next().unwrap_or_default();
    let (path, query) = split_query(path);
    let numbers: HashMap<String, usize> = parameters
        .iter()
        .enumerate()
        .filter(|(_, parameter)| parameter.place == Place::Path)
        .map(|(number, parameter)| (parameter.name.clone(), number))
        .collect();
    let mut pieces = vec![];
    let mut notes = vec![];
    let mut numbers = numbers;
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            return Err(format!("the path `{}` has `{{` without `}}`", shown(path)));
        };
        push(&mut pieces, before);
        let number = numbers.get(name).copied().unwrap_or_else(|| {
            notes.push(format!("`{}` of the path is not declared; it is taken as text", shown(name)));
            parameters.push(undeclared(name));
            numbers.insert(name.to_owned(), parameters.len() - 1);
            parameters.len() - 1
        });
        pieces.push(Piece::Parameter(number));
        rest = after;
    }
    push(&mut pieces, rest);
    let used: Vec<usize> = pieces
        .iter()
        .filter_map(|piece| if let Piece::Parameter(number) = piece { Some(*number) } else { None })
        .collect();
    drop_unused(parameters, &used, &mut pieces, &mut notes);
    Ok(Template { pieces, query: query.to_owned(), notes })
}

/// Question marks within braces are none of a query.
fn split_query(path: &str) -> (&str, &str) {
    let mut inside = false;
    for (at, c) in path.char_indices() {
        match c {
            '{' => inside = true,
            '}' => inside = false,
            '?' if !inside => return (&path[..at], &path[at + 1..]),
            _ => {}
        }
    }
    (path, "")
}

fn push(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(literal(text)));
    }
}

/// What a path may hold stays (RFC 3986 §3.3); anything else is encoded.
pub(in crate::rest) fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/%".contains(c) {
            out.push(c);
        } else {
            out.push_str(&crate::rest::style::encoded(c.encode_utf8(&mut [0; 4]), false));
        }
    }
    out
}

fn undeclared(name: &str) -> Parameter {
    Parameter {
        key: String::new(),
        name: name.to_owned(),
        place: Place::Path,
        required: true,
        writing: Writing::new(Style::Simple, false),
        schema: Schema::own(json!({"type": "string"})),
        description: String::new(),
    }
}

fn drop_unused(
    parameters: &mut Vec<Parameter>,
    used: &[usize],
    pieces: &mut [Piece],
    notes: &mut Vec<String>,
) {
    let kept: Vec<bool> = parameters
        .iter()
        .enumerate()
        .map(|(number, parameter)| parameter.place != Place::Path || used.contains(&number))
        .collect();
    let mut next = 0;
    let moved: Vec<usize> = kept
        .iter()
        .map(|kept| {
            next += usize::from(*kept);
            next - usize::from(*kept)
        })
        .collect();
    let mut number = 0;
    parameters.retain(|parameter| {
        number += 1;
        if !kept[number - 1] {
            notes.push(format!("`{}` is not in the path and is left out", shown(&parameter.name)));
        }
        kept[number - 1]
    });
    for piece in pieces {
        if let Piece::Parameter(number) = piece {
            *number = moved[*number];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_apart_and_undeclared_names_become_text() {
        let mut parameters = vec![undeclared("unused"), undeclared("b")];
        let template = read("/a b/{a}.{b}?x=1#y", &mut parameters).unwrap();
        assert_eq!(
            template.pieces,
            [
                Piece::Text("/a%20b/".to_owned()),
                Piece::Parameter(1),
                Piece::Text(".".to_owned()),
                Piece::Parameter(0)
            ]
        );
        assert_eq!((template.query.as_str(), template.notes.len()), ("x=1", 2));
        let twice = read("/{a}/{a}", &mut vec![]).unwrap().pieces;
        assert_eq!((&twice[1], &twice[3]), (&Piece::Parameter(0), &Piece::Parameter(0)));
        let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        assert_eq!(names, ["b", "a"]);
        assert!(read("/{a", &mut vec![]).is_err());
    }
}
