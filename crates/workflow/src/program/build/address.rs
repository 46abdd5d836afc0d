//! Addresses: of calls that expressions give, and of what lies elsewhere.

use jiff::Timestamp;
use serde_json::{Value, json};
use sos_model::shown;

use super::{Build, CallKind, name_authentication};
use crate::jq::{Data, Limits};
use crate::machine::Fault;
use crate::template::{Mode, Scope, Template, data, json as to_json};
use crate::{Endpoint, ErrorType};

/// Set among the arguments of a call whose address an expression gives: what it gives is no template of a URI.
pub const AS_IT_IS: &str = "addressAsItIs";

/// Something that lies elsewhere and is needed before a workflow can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Where it is.
    pub address: String,
    /// Who asks for it, as the document says it; expressions see secrets alone. Null for anybody.
    authentication: Value,
}

impl Missing {
    /// Who asks for it, with what expressions give.
    ///
    /// # Errors
    /// An expression that cannot be read or fails, a secret that is not there.
    pub fn authentication(&self, secrets: &Data, now: Timestamp) -> Result<Value, Fault> {
        let template = Template::read(&self.authentication, Mode::Strict, &["secrets"]);
        let template = template.map_err(|faults| {
            let why = faults.iter().map(|fault| fault.why.to_string()).collect::<Vec<_>>().join("; ");
            let detail = format!("who asks has to be known before the run, by secrets alone: {why}");
            Fault::of(ErrorType::Configuration, "Wrong arguments", detail)
        })?;
        let variable = |_: &str| secrets.clone();
        let scope = Scope { input: &Data::Null, variable: &variable, now, limits: Limits::default() };
        template.evaluate(&scope).map(|value| to_json(&value)).map_err(|why| Fault::expression(&why))
    }
}

impl Build<'_> {
    /// Notes that something is needed from an endpoint, whose JSON says who asks.
    pub(super) fn miss(&mut self, address: String, endpoint: &Value) {
        let declared = endpoint.get("authentication").cloned().unwrap_or_default();
        let policies = self.definition.part("/use/authentications").cloned().unwrap_or_default();
        let mut named = json!({ "authentication": declared });
        name_authentication(&mut named, &policies);
        self.unbuilt.missing.push(Missing { address, authentication: named["authentication"].take() });
    }

    /// Whether an address is known before the run, as that of all that a workflow needs to begin.
    pub(super) fn is_known(&mut self, endpoint: &Endpoint, from: &str) -> bool {
        let known = !crate::expression::begins_expression(&endpoint.uri);
        if !known {
            let why = format!(
                "the address `{}` is an expression, and what a workflow needs to begin is fetched before any can be evaluated; expected a URI or a file",
                shown(endpoint.uri.trim())
            );
            self.refuse(from, why);
        }
        known
    }
}

/// Notes in the arguments of a call where its address comes from an expression.
pub(super) fn marked(with: Template, what: CallKind) -> Template {
    let name = match what {
        CallKind::Http => "endpoint",
        CallKind::Grpc => "proto",
        CallKind::Soap => "wsdl",
        _ => "document",
    };
    match with {
        Template::Object(mut entries) => {
            if entries.iter().any(|(key, value)| key == name && is_evaluated(value)) {
                entries.push((AS_IT_IS.to_owned(), Template::Constant(data(&json!(true)))));
            }
            Template::Object(entries)
        }
        other => other,
    }
}

/// Whether an address, or the endpoint or resource that has it, comes from an expression.
fn is_evaluated(of: &Template) -> bool {
    match of {
        Template::Expression(..) => true,
        Template::Object(entries) => entries
            .iter()
            .any(|(key, value)| matches!(key.as_str(), "endpoint" | "uri") && is_evaluated(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn with(value: Value, what: CallKind) -> bool {
        let template = marked(Template::read(&value, Mode::Strict, &[]).unwrap(), what);
        matches!(template, Template::Object(entries) if entries.iter().any(|(key, _)| key == AS_IT_IS))
    }

    #[test]
    fn an_address_from_an_expression_is_marked() {
        assert!(with(json!({"endpoint": "${ .at }"}), CallKind::Http));
        assert!(with(json!({"endpoint": {"uri": "${ .at }"}}), CallKind::Http));
        assert!(!with(json!({"endpoint": "http://a/{b}", "body": "${ .at }"}), CallKind::Http));
        assert!(with(json!({"document": {"endpoint": {"uri": "${ .at }"}}}), CallKind::OpenApi));
        let who = json!({"document": {"endpoint": {"uri": "http://a/{b}", "authentication": {"bearer": {"token": "${ .t }"}}}}});
        assert!(!with(who, CallKind::AsyncApi));
        assert!(with(json!({"wsdl": "${ .at }", "endpoint": "http://a"}), CallKind::Soap));
        assert!(!with(json!({"wsdl": "http://a/{b}", "endpoint": "${ .at }"}), CallKind::Soap));
    }

    #[test]
    fn what_a_workflow_needs_to_begin_is_at_no_expression() {
        let refused = |text: &str| {
            let built = crate::program::Program::build(crate::testing::workflow(text), &BTreeMap::new());
            let unbuilt = built.unwrap_err();
            (unbuilt.refused.into_iter().map(|one| one.reference).collect::<Vec<_>>(), unbuilt.missing.len())
        };
        let schema = |endpoint: &str| {
            refused(&format!(
                "input: {{schema: {{resource: {{endpoint: {endpoint}}}}}}}\ndo: [{{a: {{set: {{b: 1}}}}}}]"
            ))
        };
        assert_eq!(schema("'${ .at }'"), (vec!["/input/schema/resource/endpoint".to_owned()], 0));
        assert_eq!(schema("'https://a/{b}'"), (vec![], 1));
        let catalogue = |endpoint: &str| {
            refused(&format!(
                "use: {{catalogs: {{c: {{endpoint: {endpoint}}}}}}}\ndo: [{{a: {{call: 'f:1.0.0@c'}}}}]"
            ))
        };
        assert_eq!(catalogue("'${ .at }'"), (vec!["/do/0/a/call".to_owned()], 0));
        assert_eq!(catalogue("'https://a'"), (vec![], 1));
    }

    #[test]
    fn who_asks_for_a_resource_is_known_by_secrets() {
        let who = json!({"basic": {"username": "u", "password": "${ $secrets.p }"}});
        let missing = Missing { address: "https://a".to_owned(), authentication: who };
        let now = "2026-01-05T08:00:00Z".parse().unwrap();
        let asked = missing.authentication(&data(&json!({"p": "x"})), now);
        assert_eq!(asked, Ok(json!({"basic": {"username": "u", "password": "x"}})));
        assert_eq!(missing.authentication(&data(&json!({})), now).unwrap_err().status, 403);
        let missing = Missing { authentication: json!({"bearer": {"token": "${ $context.t }"}}), ..missing };
        assert!(
            missing.authentication(&Data::Null, now).unwrap_err().detail.unwrap().contains("before the run")
        );
    }
}
