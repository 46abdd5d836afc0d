//! References in texts of services: `${port:NAME}`, `${service:NAME:PORT}`, `${dataDir}`, `${self}`.

use crate::problem::{did_you_mean, shown};

/// What a `${…}` stands for. `$${` is a plain `${`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// `${port:NAME}`: the number of one of the service's own ports.
    Port(String),
    /// `${service:NAME:PORT}`: `host:port` of a port of another service.
    Service {
        /// Name of the service.
        service: String,
        /// Name of its port.
        port: String,
    },
    /// `${dataDir}`: the directory in which the service may keep data.
    DataDir,
    /// `${self}`: the path of this very binary.
    SelfBinary,
}

const FORMS: &str =
    "known: ${port:NAME}, ${service:NAME:PORT}, ${dataDir}, ${self}; write $${ for a plain ${";

/// A piece of a text.
enum Piece<'a> {
    Text(&'a str),
    Reference(&'a str),
    Unclosed(&'a str),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if let Some(before) = rest[..start].strip_suffix('$') {
            out.extend([Piece::Text(before), Piece::Text("${")]);
            rest = &rest[start + 2..];
            continue;
        }
        out.push(Piece::Text(&rest[..start]));
        let inner = &rest[start + 2..];
        let Some(end) = inner.find('}') else {
            out.push(Piece::Unclosed(&rest[start..]));
            return out;
        };
        out.push(Piece::Reference(&inner[..end]));
        rest = &inner[end + 1..];
    }
    out.push(Piece::Text(rest));
    out
}

fn parse(inner: &str) -> Result<Reference, String> {
    let parts: Vec<&str> = inner.split(':').collect();
    match parts.as_slice() {
        ["port", name] if !name.is_empty() => Ok(Reference::Port((*name).to_owned())),
        ["service", service, port] if !service.is_empty() && !port.is_empty() => {
            Ok(Reference::Service { service: (*service).to_owned(), port: (*port).to_owned() })
        }
        ["dataDir"] => Ok(Reference::DataDir),
        ["self"] => Ok(Reference::SelfBinary),
        [first, ..] => {
            let hint = did_you_mean(first, ["port", "service", "dataDir", "self"]);
            Err(format!("unknown reference \"${{{}}}\"; {hint}{FORMS}", shown(inner)))
        }
        [] => Err(format!("an empty reference; {FORMS}")),
    }
}

/// All references of a text.
///
/// # Errors
/// The messages of all that are not understood.
pub fn references(text: &str) -> Result<Vec<Reference>, Vec<String>> {
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    for piece in pieces(text) {
        match piece {
            Piece::Text(_) => {}
            Piece::Reference(inner) => match parse(inner) {
                Ok(reference) => found.push(reference),
                Err(message) => wrong.push(message),
            },
            Piece::Unclosed(rest) => wrong.push(format!("\"{}\" has no closing brace; {FORMS}", shown(rest))),
        }
    }
    if wrong.is_empty() { Ok(found) } else { Err(wrong) }
}

/// The text with every reference replaced by what `resolve` says.
///
/// # Errors
/// The first reference that is not understood or that `resolve` refuses, with its message.
pub fn resolve_references(
    text: &str,
    mut resolve: impl FnMut(&Reference) -> Result<String, String>,
) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Reference(inner) => out.push_str(&resolve(&parse(inner)?)?),
            Piece::Unclosed(rest) => {
                return Err(format!("\"{}\" has no closing brace; {FORMS}", shown(rest)));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_and_escapes_kept() {
        let resolve = |reference: &Reference| match reference {
            Reference::Port(name) if name == "http" => Ok("8080".to_owned()),
            Reference::DataDir => Ok("/data".to_owned()),
            other => Err(format!("{other:?}")),
        };
        let text = resolve_references("--listen=127.0.0.1:${port:http} ${dataDir}/x $${port:http}", resolve);
        assert_eq!(text.as_deref(), Ok("--listen=127.0.0.1:8080 /data/x ${port:http}"));
    }

    #[test]
    fn every_wrong_reference_is_told() {
        let wrong = references("${prt:http} ${service:a} ${open").unwrap_err();
        assert_eq!(wrong.len(), 3);
        assert!(wrong[0].contains("did you mean \"port\"?"), "{}", wrong[0]);
    }
}
