//! Services may repeat what they were asked; errors must not.

use serde_json::Value;

use crate::error::CallError;
use crate::secret::Secret;

/// Secrets below this length are left alone: they would be found everywhere.
const SECRET_LENGTH: usize = 8;
const HIDDEN: &str = "…";

/// The error without the secrets.
pub(super) fn scrub<'a>(mut error: CallError, secrets: impl Iterator<Item = &'a Secret>) -> CallError {
    // `Bearer TOKEN`, `name=VALUE`: the later part alone is a secret, too.
    let parts = secrets.flat_map(|secret| {
        let text = secret.expose();
        [Some(text), text.split_once(' ').map(|(_, rest)| rest), text.split_once('=').map(|(_, rest)| rest)]
    });
    let mut secrets: Vec<&str> = parts.flatten().filter(|part| part.len() >= SECRET_LENGTH).collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.dedup();
    for text in [&mut error.message, &mut error.place] {
        scrub_text(text, &secrets);
    }
    if let Some(fault) = &mut error.fault {
        scrub_text(&mut fault.code, &secrets);
        scrub_value(&mut fault.detail, &secrets);
    }
    error
}

fn scrub_text(text: &mut String, secrets: &[&str]) {
    for secret in secrets {
        if text.contains(secret) {
            *text = text.replace(secret, HIDDEN);
        }
    }
}

/// Values are as deep as the reader of answers allowed.
fn scrub_value(value: &mut Value, secrets: &[&str]) {
    match value {
        Value::String(text) => scrub_text(text, secrets),
        Value::Array(items) => items.iter_mut().for_each(|item| scrub_value(item, secrets)),
        Value::Object(members) => {
            let odd = members.keys().any(|name| secrets.iter().any(|secret| name.contains(secret)));
            if odd {
                *members = std::mem::take(members)
                    .into_iter()
                    .map(|(mut name, value)| {
                        scrub_text(&mut name, secrets);
                        (name, value)
                    })
                    .collect();
            }
            members.values_mut().for_each(|member| scrub_value(member, secrets));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::{ErrorKind, Fault};

    #[test]
    fn what_a_service_repeats_of_secrets_is_hidden() {
        let detail =
            json!({"said": ["no token-1234 here"], "key-5678-x": {"a": "key-5678-x"}, "short": "abc"});
        let fault = Fault { code: "401".to_owned(), status: 401, temporary: false, detail };
        let error = CallError::new(ErrorKind::Fault, "", "Bearer token-1234 was refused").with_fault(fault);
        let secrets = ["Bearer token-1234", "session=key-5678-x", "abc"].map(Secret::new);
        let error = scrub(error, secrets.iter());
        assert_eq!(error.message, "… was refused");
        let expected = json!({"said": ["no … here"], "…": {"a": "…"}, "short": "abc"});
        assert_eq!(error.fault.unwrap().detail, expected);
    }
}
