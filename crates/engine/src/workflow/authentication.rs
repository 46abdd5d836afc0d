//! Who calls, as documents say it.

use serde_json::Value;
use sos_call::{Address, ClientAuth, ClientCredentials, Credentials, Login, Secret};
use sos_workflow::machine::Fault;

use super::executor::{Executor, wrong};

/// The credentials that an `authentication` stands for; none where there is none.
///
/// # Errors
/// When it says what cannot be done.
pub(super) fn credentials(authentication: Option<&Value>) -> Result<Credentials, Fault> {
    let Some(declared) = authentication.filter(|value| !value.is_null()) else {
        return Ok(Credentials::None);
    };
    let of = |scheme: &str| declared.get(scheme).filter(|value| !value.is_null());
    if let Some(basic) = of("basic") {
        return Ok(Credentials::Basic(login(basic, "basic")?));
    }
    if let Some(digest) = of("digest") {
        return Ok(Credentials::Digest(login(digest, "digest")?));
    }
    if let Some(bearer) = of("bearer") {
        return Ok(Credentials::Bearer(Secret::new(part(bearer, "token", "bearer")?)));
    }
    if let Some(oauth) = of("oauth2") {
        return client_credentials(oauth);
    }
    if let Some(name) = declared.get("use").and_then(Value::as_str).or_else(|| declared.as_str()) {
        return Err(wrong(format!("the authentication `{name}` is not declared in `use.authentications`")));
    }
    Err(wrong("expected basic, bearer, digest, oauth2 or oidc as authentication"))
}

/// What an OpenID provider says of itself takes the place of `oidc`: where it gives tokens.
///
/// # Errors
/// When it cannot be asked, or does not say.
pub(super) async fn discovered(
    executor: &Executor,
    authentication: Option<&Value>,
) -> Result<Option<Value>, Fault> {
    let Some(declared) = authentication else { return Ok(None) };
    let Some(oidc) = declared.get("oidc").filter(|value| value.is_object()) else {
        return Ok(Some(declared.clone()));
    };
    let authority = part(oidc, "authority", "oidc")?;
    let address = format!("{}/.well-known/openid-configuration", authority.trim_end_matches('/'));
    let said = super::resources::json(executor, &address).await?;
    let token = said.get("token_endpoint").and_then(Value::as_str);
    let token = token.ok_or_else(|| wrong(format!("{address} does not say its `token_endpoint`")))?;
    let mut oauth = oidc.clone();
    oauth["tokenAddress"] = Value::from(token);
    Ok(Some(serde_json::json!({ "oauth2": oauth })))
}

fn part(of: &Value, name: &str, scheme: &str) -> Result<String, Fault> {
    let text = of.get(name).and_then(Value::as_str);
    text.map(str::to_owned)
        .ok_or_else(|| wrong(format!("expected text as `{name}` of {scheme} authentication")))
}

fn login(of: &Value, scheme: &str) -> Result<Login, Fault> {
    Ok(Login { user: part(of, "username", scheme)?, password: Secret::new(part(of, "password", scheme)?) })
}

fn client_credentials(of: &Value) -> Result<Credentials, Fault> {
    let grant = of.get("grant").and_then(Value::as_str).unwrap_or("client_credentials");
    if grant != "client_credentials" {
        return Err(wrong(format!("the grant `{grant}` is not supported; expected client_credentials")));
    }
    let address = match of.get("tokenAddress").and_then(Value::as_str) {
        Some(known) => known.to_owned(),
        None => {
            let authority = part(of, "authority", "oauth2")?;
            let path = of.pointer("/endpoints/token").and_then(Value::as_str).unwrap_or("/oauth2/token");
            format!("{}/{}", authority.trim_end_matches('/'), path.trim_start_matches('/'))
        }
    };
    let client = of.get("client").cloned().unwrap_or_default();
    let texts = |name: &str| -> Vec<String> {
        let items = of.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let client_auth = match client.get("authentication").and_then(Value::as_str) {
        None | Some("client_secret_post") => ClientAuth::Body,
        Some("client_secret_basic" | "basic") => ClientAuth::Basic,
        Some(other) => {
            return Err(wrong(format!(
                "clients cannot show themselves by `{other}`; expected client_secret_post or basic"
            )));
        }
    };
    Ok(Credentials::OAuth(Box::new(ClientCredentials {
        token_address: Address::parse(&address).map_err(wrong)?,
        client_id: part(&client, "id", "oauth2 client")?,
        client_secret: Secret::new(part(&client, "secret", "oauth2 client")?),
        client_auth,
        scopes: texts("scopes"),
        audience: texts("audiences").into_iter().next(),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn schemes_are_read() {
        let read = |value: Value| credentials(Some(&value));
        assert!(
            matches!(read(json!({"basic": {"username": "a", "password": "b"}})), Ok(Credentials::Basic(login)) if login.user == "a")
        );
        assert!(matches!(read(json!({"bearer": {"token": "t"}})), Ok(Credentials::Bearer(_))));
        let oauth = json!({"oauth2": {"authority": "https://a/", "grant": "client_credentials", "client": {"id": "i", "secret": "s"}, "scopes": ["x"]}});
        let Ok(Credentials::OAuth(oauth)) = read(oauth) else { panic!("oauth") };
        assert_eq!(
            (oauth.token_address.to_string(), oauth.client_auth),
            ("https://a".to_owned(), ClientAuth::Body)
        );
        assert_eq!(credentials(None), Ok(Credentials::None));
    }

    #[test]
    fn what_is_missing_is_said() {
        let said = |value: Value| credentials(Some(&value)).unwrap_err().detail.unwrap();
        assert!(said(json!({"basic": {"username": "a"}})).contains("`password` of basic"));
        assert!(said(json!({"oauth2": {"grant": "password"}})).contains("grant `password`"));
        assert!(said(json!({"x": {}})).contains("expected basic"));
    }
}
