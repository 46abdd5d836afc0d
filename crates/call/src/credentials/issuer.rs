//! Who issued a token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Holds a token against those who may have issued it. Its signature is not checked: the server that it came from is known by the
/// connection (OpenID Connect Core, section 3.1.3.7).
///
/// # Errors
/// When it was issued by somebody else, or does not say by whom.
pub(super) fn check(answer: &Value, issuers: &[String]) -> Result<(), String> {
    if issuers.is_empty() {
        return Ok(());
    }
    let said = ["id_token", "access_token"].iter().find_map(|name| issuer(answer.get(name)?.as_str()?));
    match said {
        Some(issuer) if issuers.contains(&issuer) => Ok(()),
        Some(issuer) => {
            let shown: String = issuer.chars().filter(|c| !c.is_control()).take(200).collect();
            Err(format!("gave a token of the issuer `{shown}`, expected {}", issuers.join(" or ")))
        }
        None => Err(format!(
            "gave a token that does not say its issuer, expected one of {} in a JSON Web Token",
            issuers.join(" or ")
        )),
    }
}

/// The issuer of a JSON Web Token.
fn issuer(token: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_has_to_be_of_a_known_issuer() {
        let token = |issuer: &str| {
            let claims = URL_SAFE_NO_PAD.encode(json!({ "iss": issuer }).to_string());
            json!({ "access_token": format!("e30.{claims}.x") })
        };
        let known = ["https://a".to_owned(), "https://b".to_owned()];
        assert_eq!(check(&token("https://b"), &known), Ok(()));
        assert!(
            check(&token("https://c"), &known).unwrap_err().contains("`https://c`, expected https://a or")
        );
        assert!(check(&json!({"access_token": "opaque"}), &known).unwrap_err().contains("does not say"));
        assert_eq!(check(&json!({"access_token": "opaque"}), &[]), Ok(()));
    }
}
