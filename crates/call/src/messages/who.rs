//! Who publishes or receives, as protocol and document want it shown.

use super::{Security, Who};
use crate::credentials::{ApiKey, Credentials, KeyPlace, Signer};
use crate::error::{CallError, ErrorKind};
use crate::http::Transport;
use crate::secret::{Login, Secret};

impl Who {
    /// What credentials become where a document says how they are shown: a token goes where it wants its key.
    ///
    /// # Errors
    /// `NoCredentials` when they cannot be shown this way, and what a server of tokens says.
    pub async fn of(
        credentials: Credentials,
        security: &[Security],
        transport: &Transport,
    ) -> Result<Self, CallError> {
        let mut who = Self::default();
        let shown = match credentials {
            Credentials::None => return Ok(who),
            Credentials::Digest(_) => {
                let why = "digests are not shown here; expected basic, bearer, oauth2 or oidc";
                return Err(CallError::new(ErrorKind::NoCredentials, "", why));
            }
            Credentials::Basic(login) => {
                who.login = Some(login.clone());
                Credentials::Basic(login)
            }
            Credentials::Bearer(token) => {
                who.token = Some(token.clone());
                match security.iter().find_map(|scheme| scheme.key(&token)) {
                    Some(Key::Request(key)) => Credentials::Key(key),
                    Some(Key::Login(login)) => {
                        who.login = Some(login);
                        return Ok(who);
                    }
                    None => Credentials::Bearer(token),
                }
            }
            other => other,
        };
        let signed = Signer::new(shown, transport.clone(), 0)?.sign().await;
        let pairs = signed.map_err(|unsigned| unsigned.error)?.pairs;
        (who.headers, who.query) = (pairs.headers.clone(), pairs.query.clone());
        if who.login.is_none() && who.token.is_none() {
            // A token that a server handed out.
            let bearer = who.headers.iter().find_map(|(_, value)| value.expose().strip_prefix("Bearer "));
            who.token = bearer.map(Secret::new);
        }
        Ok(who)
    }
}

/// Where a token goes that stands for a key.
enum Key {
    /// Into a request.
    Request(ApiKey),
    /// In the place of a user or a password.
    Login(Login),
}

impl Security {
    /// Where a token goes, when this scheme is not the usual one.
    fn key(&self, token: &Secret) -> Option<Key> {
        let place = match (self.kind.as_str(), self.place.as_str()) {
            ("httpApiKey", "query") => KeyPlace::Query,
            ("httpApiKey", "cookie") => KeyPlace::Cookie,
            ("httpApiKey", _) => KeyPlace::Header,
            ("apiKey", "user") => {
                return Some(Key::Login(Login {
                    user: token.expose().to_owned(),
                    password: Secret::new(""),
                }));
            }
            ("apiKey", _) => return Some(Key::Login(Login { user: String::new(), password: token.clone() })),
            _ => return None,
        };
        Some(Key::Request(ApiKey { place, name: self.name.clone(), value: token.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Settings;

    async fn shown(credentials: Credentials, kind: &str, place: &str) -> Who {
        let name = "x-key".to_owned();
        let security = [Security { kind: kind.to_owned(), name, place: place.to_owned() }];
        let transport = Transport::new(&Settings::default()).unwrap();
        Who::of(credentials, &security, &transport).await.unwrap()
    }

    fn texts(pairs: &[(String, Secret)]) -> Vec<String> {
        pairs.iter().map(|(name, value)| format!("{name}: {}", value.expose())).collect()
    }

    #[tokio::test]
    async fn a_token_goes_where_the_document_wants_its_key() {
        let token = || Credentials::Bearer(Secret::new("t"));
        assert_eq!(texts(&shown(token(), "http", "").await.headers), ["authorization: Bearer t"]);
        assert_eq!(texts(&shown(token(), "httpApiKey", "header").await.headers), ["x-key: t"]);
        assert_eq!(texts(&shown(token(), "httpApiKey", "query").await.query), ["x-key: t"]);
        let user = shown(token(), "apiKey", "user").await;
        assert_eq!((user.login.unwrap().user.as_str(), user.headers.len()), ("t", 0));
        let login = Login { user: "ann".to_owned(), password: Secret::new("pw") };
        let basic = shown(Credentials::Basic(login.clone()), "userPassword", "").await;
        assert_eq!((basic.login, texts(&basic.headers).len()), (Some(login), 1));
    }
}
