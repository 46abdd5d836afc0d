//! Which credentials an operation asks for.

use serde_json::Value;

use crate::rest::documents::{Dialect, Problems, Set, Spot};
use crate::rest::model::{KeyPlace, Requirement, Scheme};

/// Alternatives, and what each needs together.
const MAX_ALTERNATIVES: usize = 50;
const MAX_TOGETHER: usize = 20;

/// Any one of the list is enough; all within it are needed together. Empty: nothing is asked for.
pub(super) fn of(set: &Set, operation: &Spot<'_>) -> Vec<Vec<Requirement>> {
    let root = set.root(0);
    let Some(list) = operation.get("security").or_else(|| root.get("security")) else { return vec![] };
    let alternatives = list.items();
    let alternatives = alternatives.iter().take(MAX_ALTERNATIVES);
    alternatives
        .map(|alternative| {
            let schemes = alternative.entries();
            schemes.iter().take(MAX_TOGETHER).map(|(name, scopes)| requirement(set, name, scopes)).collect()
        })
        .collect()
}

fn requirement(set: &Set, name: &str, scopes: &Spot<'_>) -> Requirement {
    let root = set.root(0);
    let schemes = match set.dialect(0) {
        Dialect::V2 => root.get("securityDefinitions"),
        _ => root.get("components").and_then(|components| components.get("securitySchemes")),
    };
    let scheme = schemes.and_then(|schemes| schemes.get(name));
    // A scheme that cannot be found is told as unknown: descriptions are not refused for it.
    let scheme = scheme.and_then(|scheme| set.follow(scheme, &mut Problems::default()));
    let scopes = scopes.items().iter().filter_map(|scope| scope.value.as_str()).map(str::to_owned).collect();
    Requirement { name: name.to_owned(), scheme: scheme.map_or(Scheme::Unknown, |spot| read(&spot)), scopes }
}

fn read(spot: &Spot<'_>) -> Scheme {
    let place = match spot.text("in") {
        "header" => Some(KeyPlace::Header),
        "query" => Some(KeyPlace::Query),
        "cookie" => Some(KeyPlace::Cookie),
        _ => None,
    };
    match (spot.text("type"), place) {
        ("apiKey", Some(place)) => Scheme::Key { place, name: spot.text("name").to_owned() },
        ("basic", _) => Scheme::Basic,
        ("http", _) => match spot.text("scheme").to_ascii_lowercase().as_str() {
            "basic" => Scheme::Basic,
            "bearer" => Scheme::Bearer,
            other => Scheme::Http(other.to_owned()),
        },
        ("oauth2" | "openIdConnect", _) => Scheme::OAuth { token_url: token_url(spot.value) },
        ("mutualTLS", _) => Scheme::MutualTls,
        _ => Scheme::Unknown,
    }
}

fn token_url(scheme: &Value) -> String {
    let of_v3 = scheme.get("flows").and_then(|flows| flows.get("clientCredentials")?.get("tokenUrl"));
    let of_v2 =
        scheme.get("tokenUrl").filter(|_| scheme.get("flow").is_some_and(|flow| flow == "application"));
    of_v3.or(of_v2).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Documents;

    #[test]
    fn alternatives_are_told_with_what_they_need_together() {
        let text = "
openapi: 3.1.0
security: [{key: []}]
components:
  securitySchemes:
    key: {type: apiKey, in: query, name: api_key}
    token: {type: oauth2, flows: {clientCredentials: {tokenUrl: 'https://t/', scopes: {}}}}
    b: {type: http, scheme: Bearer}
op: {security: [{token: [read], b: []}, {}, {none: []}]}
other: {}
";
        let set = Set::read(&Documents::one("o", text)).unwrap();
        let found = of(&set, &set.root(0).get("op").unwrap());
        let schemes: Vec<Vec<&Scheme>> =
            found.iter().map(|all| all.iter().map(|one| &one.scheme).collect()).collect();
        let token = Scheme::OAuth { token_url: "https://t/".to_owned() };
        assert_eq!(schemes, [vec![&Scheme::Bearer, &token], vec![], vec![&Scheme::Unknown]]);
        assert_eq!(found[0][1].scopes, ["read"]);
        let usual = of(&set, &set.root(0).get("other").unwrap());
        let key = Scheme::Key { place: KeyPlace::Query, name: "api_key".to_owned() };
        assert_eq!(usual[0][0].scheme, key);
    }
}
