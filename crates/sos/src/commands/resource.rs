//! Naming a resource on the command line, and reading what the server says of it.

use serde_json::Value;
use sos_model::{AnyKind, Kind};

use crate::client::Client;
use crate::outcome::Failure;

/// The kind's name as the API takes it.
pub(crate) fn kind_name(kind: AnyKind) -> &'static str {
    match kind {
        AnyKind::Declared(kind) => kind.name(),
        AnyKind::ReadOnly(kind) => kind.name(),
    }
}

/// `asset home-1-battery` or `asset/home-1-battery`; kinds also by plural and short name.
pub(crate) fn parse(kind: &str, name: Option<&str>) -> Result<(AnyKind, Option<String>), Failure> {
    let (kind, name) = match (kind.split_once('/'), name) {
        (Some((_, inside)), Some(name)) => {
            return Err(Failure::input(format!("two names are given, {inside} and {name}: expected one")));
        }
        (Some((kind, inside)), None) => (kind, Some(inside)),
        (None, name) => (kind, name),
    };
    let kind = AnyKind::resolve(kind).map_err(Failure::input)?;
    if name.is_some_and(str::is_empty) {
        return Err(Failure::input(format!("the name of the {} is empty", kind_name(kind))));
    }
    Ok((kind, name.map(ToOwned::to_owned)))
}

/// Like [`parse`], for commands that need one resource.
pub(crate) fn parse_one(kind: &str, name: Option<&str>) -> Result<(AnyKind, String), Failure> {
    let (kind, name) = parse(kind, name)?;
    let missing = || Failure::input(format!("which {}? give its name", kind_name(kind)));
    Ok((kind, name.ok_or_else(missing)?))
}

/// Everything that is declared at the server.
pub(crate) async fn all_declared(client: &Client) -> Result<Vec<Value>, Failure> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let mut found: Vec<Value> = client.get(&["resources", kind.name()], &[]).await?;
        all.append(&mut found);
    }
    Ok(all)
}

/// A text inside a JSON value by its path, empty when there is none.
pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    let found = path.iter().fold(value, |value, key| &value[*key]);
    found.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_and_name_are_given_apart_or_together() {
        let (kind, name) = parse("svc/web", None).unwrap();
        assert_eq!((kind_name(kind), name.as_deref()), ("Service", Some("web")));
        let (kind, name) = parse("ASSETS", None).unwrap();
        assert_eq!((kind_name(kind), name), ("Asset", None));
        for (kind, name) in [("svc/web", Some("web")), ("servce", None), ("svc/", None)] {
            assert!(matches!(parse(kind, name), Err(Failure::BadInput(_))), "{kind} {name:?}");
        }
        assert!(matches!(parse_one("site", None), Err(Failure::BadInput(_))));
    }
}
