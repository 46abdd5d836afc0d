//! `call: asyncapi`: what of it is known before anything runs.

use serde_json::{Value, json};

use super::{Build, DURING};
use crate::program::{CallKind, Consume, Kind, Listen, Strategy, Subscription};
use crate::{AsyncApiCall, AsyncApiSubscription, ReadAs};

/// Protocols of `protocol` that are spoken.
pub const SPOKEN: [&str; 5] = ["http", "mqtt", "mqtt5", "nats", "ws"];

impl Build<'_> {
    /// A protocol that is asked for and not spoken. With a server it is not looked at.
    pub(super) fn check_protocol(&mut self, call: &AsyncApiCall, from: &str) {
        let Some(protocol) = call.protocol.as_deref().filter(|_| call.server.is_none()) else { return };
        if !SPOKEN.contains(&protocol) {
            let why = format!("the protocol `{protocol}` is not spoken here; known: {}", SPOKEN.join(", "));
            self.refuse(&format!("{from}/protocol"), why);
        }
    }

    /// Messages that are consumed. What is evaluated for each of them is no part of the arguments.
    pub(super) fn subscription(
        &mut self,
        declared: &AsyncApiSubscription,
        mut with: Value,
        from: &str,
    ) -> Kind {
        if let Some(arguments) = with.as_object_mut() {
            arguments.remove("subscription");
        }
        let within = format!("{from}/subscription");
        let lasts = declared.r#for.as_ref().map(|span| self.span(span, &format!("{within}/consume/for")));
        let with = super::address::marked(self.arguments(&mut with, from), CallKind::AsyncApi);
        let filter = self.condition(declared.filter.as_ref(), &format!("{within}/filter"), DURING);
        let consume = self.consume(&declared.consume, &format!("{within}/consume"));
        let each = declared.foreach.as_ref().map(|each| self.each(each, &format!("{within}/foreach")));
        let to = Strategy::Messages { filter, consume };
        let subscription = Some(Subscription { with, lasts });
        Kind::Listen(Box::new(Listen { to, read: ReadAs::Envelope, each, subscription }))
    }

    fn consume(&mut self, declared: &crate::Consume, from: &str) -> Consume {
        match declared {
            crate::Consume::Amount(amount) => match usize::try_from(*amount) {
                Ok(amount) if amount > 0 => Consume::Amount(amount),
                _ => {
                    let why = format!("expected 1 message or more, found {amount}");
                    self.refuse(&format!("{from}/amount"), why);
                    Consume::Amount(1)
                }
            },
            crate::Consume::While(text) => {
                Consume::While(self.bare(&json!(text), &format!("{from}/while"), DURING))
            }
            crate::Consume::Until(text) => {
                Consume::Until(self.bare(&json!(text), &format!("{from}/until"), DURING))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::program::{Program, Resources};

    fn refused(with: &str) -> Vec<String> {
        let head = "document: {dsl: '1.0.3', namespace: a, name: b, version: '1.0.0'}\n";
        let text = format!("{head}do: [{{c: {{call: asyncapi, with: {with}}}}}]");
        let definition = crate::read(&text).unwrap().check().unwrap_or_else(|problems| panic!("{problems}"));
        let unbuilt = Program::build(definition, &Resources::new()).err().unwrap_or_default();
        unbuilt.refused.into_iter().map(|one| format!("{}: {}", one.reference, one.why)).collect()
    }

    #[test]
    fn what_is_known_to_be_wrong_is_said_before_anything_runs() {
        let known = "is not spoken here; known: http, mqtt, mqtt5, nats, ws";
        assert_eq!(
            refused("{document: {endpoint: a}, operation: o, protocol: kafka, message: {}}"),
            [format!("/do/0/c/with/protocol: the protocol `kafka` {known}")]
        );
        let server = "server: {name: s}, protocol: kafka";
        assert_eq!(
            refused(&format!("{{document: {{endpoint: a}}, operation: o, {server}, message: {{}}}}")),
            [""; 0],
            "a server says what it speaks itself"
        );
        let all = refused(
            "{document: {endpoint: a}, channel: c, subscription: {filter: '${ .a + }', consume: {until: '${ $x }'}, foreach: {item: m, do: [{s: {set: {y: '${ $n }'}}}]}}}",
        );
        let places: Vec<&str> = all.iter().filter_map(|one| one.split(':').next()).collect();
        let within = "/do/0/c/with/subscription";
        assert_eq!(
            places,
            [
                format!("{within}/filter"),
                format!("{within}/consume/until"),
                format!("{within}/foreach/do/0/s/set/y")
            ]
        );
        let none = refused("{document: {endpoint: a}, channel: c, subscription: {consume: {amount: 0}}}");
        assert_eq!(none, [format!("{within}/consume/amount: expected 1 message or more, found 0")]);
    }
}
