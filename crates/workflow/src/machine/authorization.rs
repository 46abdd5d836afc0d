//! Who a call says that it comes from, as expressions see it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Scheme and parameter of the header `Authorization` that an authentication leads to. What the other side has a part in has no
/// parameter here: the answer to a challenge, a token of an authority.
pub(super) fn of(authentication: &Value) -> Value {
    let text = |at: &str| authentication.pointer(at).and_then(Value::as_str);
    let has = |scheme: &str| authentication.get(scheme).is_some_and(|value| !value.is_null());
    if let (Some(user), Some(password)) = (text("/basic/username"), text("/basic/password")) {
        return json!({"scheme": "Basic", "parameter": STANDARD.encode(format!("{user}:{password}"))});
    }
    if let Some(token) = text("/bearer/token") {
        return json!({"scheme": "Bearer", "parameter": token});
    }
    if has("digest") {
        return json!({"scheme": "Digest"});
    }
    if has("oauth2") || has("oidc") { json!({"scheme": "Bearer"}) } else { Value::Null }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_told_with_what_is_known_beforehand() {
        let basic = of(&json!({"basic": {"username": "Aladdin", "password": "open sesame"}}));
        assert_eq!(basic, json!({"scheme": "Basic", "parameter": "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}));
        assert_eq!(of(&json!({"bearer": {"token": "t"}})), json!({"scheme": "Bearer", "parameter": "t"}));
        assert_eq!(of(&json!({"digest": {"username": "u", "password": "p"}})), json!({"scheme": "Digest"}));
        assert_eq!(of(&json!({"oauth2": {"authority": "https://a"}})), json!({"scheme": "Bearer"}));
        assert_eq!(of(&json!({"basic": {"username": 1}})), Value::Null);
    }
}
