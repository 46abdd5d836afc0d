//! Addresses at which a description says that it is served.

use serde_json::Value;
use url::Url;

use crate::rest::documents::{Dialect, Set, Spot};

/// Servers that are told.
const MAX_SERVERS: usize = 100;

/// Addresses of the document, absolute where it says so or its own name is an address; the first is the usual one.
pub(super) fn of_document(set: &Set) -> Vec<String> {
    let root = set.root(0);
    let name = &set.documents[0].name;
    match set.dialect(0) {
        Dialect::V2 => of_v2(name, &root),
        _ => root.get("servers").map_or(vec![], |servers| of_list(name, &servers)),
    }
}

/// Those of the operation, or of its path.
pub(super) fn of_operation(set: &Set, item: &Spot<'_>, operation: &Spot<'_>) -> Vec<String> {
    if set.dialect(operation.document) == Dialect::V2 {
        return vec![];
    }
    let servers = operation.get("servers").or_else(|| item.get("servers"));
    servers.map_or(vec![], |servers| of_list(&set.documents[servers.document].name, &servers))
}

fn of_list(name: &str, servers: &Spot<'_>) -> Vec<String> {
    servers.items().iter().take(MAX_SERVERS).map(|server| absolute(name, &filled(server))).collect()
}

/// Variables by their defaults.
fn filled(server: &Spot<'_>) -> String {
    let url = server.text("url");
    let mut out = String::new();
    let mut rest = url;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            out.push('{');
            rest = after;
            continue;
        };
        let value = server.value.get("variables").and_then(|variables| variables.get(name)?.get("default"));
        match value {
            Some(Value::String(text)) => out.push_str(text),
            Some(other) => out.push_str(&other.to_string()),
            None => out.push_str(&format!("{{{name}}}")),
        }
        rest = after;
    }
    out + rest
}

fn absolute(name: &str, url: &str) -> String {
    let joined = Url::parse(name).ok().and_then(|base| base.join(url).ok());
    joined.map_or_else(|| url.to_owned(), String::from)
}

fn of_v2(name: &str, root: &Spot<'_>) -> Vec<String> {
    let path = root.text("basePath");
    let path = if path.is_empty() || path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let own = Url::parse(name).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let host = match root.text("host") {
        "" => own.as_ref().and_then(|url| {
            Some(format!(
                "{}{}",
                url.host_str()?,
                url.port().map_or(String::new(), |port| format!(":{port}"))
            ))
        }),
        host => Some(host.to_owned()),
    };
    let Some(host) = host else { return if path.is_empty() { vec![] } else { vec![path] } };
    let mut schemes: Vec<String> = root
        .get("schemes")
        .map_or(vec![], |schemes| schemes.items())
        .iter()
        .filter_map(|scheme| scheme.value.as_str())
        .filter(|scheme| matches!(*scheme, "http" | "https"))
        .map(str::to_owned)
        .collect();
    if schemes.is_empty() {
        schemes.push(own.map_or("https".to_owned(), |url| url.scheme().to_owned()));
    }
    schemes.into_iter().map(|scheme| format!("{scheme}://{host}{path}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Documents;

    fn servers(name: &str, text: &str) -> Vec<String> {
        of_document(&Set::read(&Documents::one(name, text)).unwrap())
    }

    #[test]
    fn servers_are_told_with_their_variables_filled_in() {
        let text = "
openapi: 3.0.0
servers:
  - url: https://{host}:{port}/v{n}/{gone}
    variables: {host: {default: api.example.org}, port: {default: 8443}, n: {default: '2'}}
  - url: /v1
";
        assert_eq!(servers("o.yaml", text), ["https://api.example.org:8443/v2/{gone}", "/v1"]);
        assert_eq!(servers("https://h:1/docs/o.yaml", text)[1], "https://h:1/v1");
    }

    #[test]
    fn swagger_2_has_schemes_a_host_and_a_base_path() {
        let text = "{swagger: '2.0', host: 'h:1', basePath: /v1, schemes: [https, http, ws]}";
        assert_eq!(servers("s", text), ["https://h:1/v1", "http://h:1/v1"]);
        assert_eq!(servers("http://other/s", "{swagger: '2.0', basePath: v1}"), ["http://other/v1"]);
        assert_eq!(servers("s", "{swagger: '2.0', basePath: /v1}"), ["/v1"]);
    }
}
