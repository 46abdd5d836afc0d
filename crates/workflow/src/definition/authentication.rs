//! Who calls: authentication policies.

use serde_json::Value as Json;

use crate::node::Node;
use crate::shape::{ByKey, Extra, Object, Property, Section, Shape, TEXT, TEXTS, Text};

/// Who calls, where something is called.
#[derive(Clone, Debug, PartialEq)]
pub enum Authentication {
    /// `use`: the name of a policy in `use.authentications`.
    Use(String),
    /// The policy itself.
    Policy(AuthenticationPolicy),
}

/// How somebody authenticates.
#[derive(Clone, Debug, PartialEq)]
pub enum AuthenticationPolicy {
    /// HTTP basic.
    Basic(Secretly<Login>),
    /// A bearer's token.
    Bearer(Secretly<String>),
    /// HTTP digest.
    Digest(Secretly<Login>),
    /// OAuth 2.
    OAuth2(Secretly<Box<OAuth2>>),
    /// OpenID Connect.
    Oidc(Secretly<Box<OAuth2>>),
}

/// Something that stands in the workflow or is all of a secret.
#[derive(Clone, Debug, PartialEq)]
pub enum Secretly<T> {
    /// `use`: the name of the secret in `use.secrets`.
    Secret(String),
    /// What the workflow says.
    Given(T),
}

/// A name and a password; either may be an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
}

/// How a token is asked for. Texts may be expressions.
#[derive(Clone, Debug, PartialEq)]
pub struct OAuth2 {
    /// The authority's URI, or a template of one.
    pub authority: String,
    /// `grant`, as OAuth 2 names it.
    pub grant: String,
    /// `endpoints` below the authority.
    pub endpoints: OAuth2Endpoints,
    /// `client`: which client asks.
    pub client: OAuth2Client,
    /// `request.encoding`: a media type.
    pub encoding: String,
    /// Issuers that are accepted; empty when all are.
    pub issuers: Vec<String>,
    /// Scopes that are asked for.
    pub scopes: Vec<String>,
    /// Audiences that are asked for.
    pub audiences: Vec<String>,
    /// For the grant `password`.
    pub username: Option<String>,
    /// For the grant `password`.
    pub password: Option<String>,
    /// For an exchange of tokens: on whose behalf.
    pub subject: Option<OAuth2Token>,
    /// For an exchange of tokens: who acts.
    pub actor: Option<OAuth2Token>,
}

/// Where an authority answers, below its URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth2Endpoints {
    /// Tokens are given.
    pub token: String,
    /// Tokens are revoked.
    pub revocation: String,
    /// Tokens are looked at.
    pub introspection: String,
}

/// The client that asks for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth2Client {
    /// Its id.
    pub id: Option<String>,
    /// Its secret.
    pub secret: Option<String>,
    /// A signed assertion of who it is.
    pub assertion: Option<String>,
    /// How it authenticates, as OAuth 2 names it.
    pub authentication: String,
}

/// A token that is exchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth2Token {
    /// The token.
    pub token: String,
    /// `type`: its kind.
    pub kind: String,
}

static SECRET: Shape = Shape::Object(Object::of(
    "a reference to a secret",
    &[Property::required("use", &Shape::Text(Text::Declared(Section::Secrets)))],
));

static LOGIN: Shape = Shape::ByKey(ByKey {
    what: "a login",
    variants: &[("use", &SECRET)],
    otherwise: Some(&Shape::Object(Object::of(
        "a login",
        &[Property::required("username", &TEXT), Property::required("password", &TEXT)],
    ))),
});

static BEARER: Shape = Shape::ByKey(ByKey {
    what: "a bearer",
    variants: &[("use", &SECRET)],
    otherwise: Some(&Shape::Object(Object::of("a bearer", &[Property::required("token", &TEXT)]))),
});

static TOKEN: Shape = Shape::Object(Object::of(
    "a token",
    &[Property::required("token", &TEXT), Property::required("type", &TEXT)],
));

static CLIENT: Shape = Shape::Object(Object::of(
    "a client of OAuth 2",
    &[
        Property::optional("id", &TEXT),
        Property::optional("secret", &TEXT),
        Property::optional("assertion", &TEXT),
        Property::optional(
            "authentication",
            &Shape::Choice(&[
                "client_secret_basic",
                "client_secret_post",
                "client_secret_jwt",
                "private_key_jwt",
                "none",
            ]),
        ),
    ],
));

/// What OAuth 2 and OpenID Connect have in common.
static OAUTH_PROPERTIES: [Property; 11] = [
    Property::required("authority", &Shape::Text(Text::Uri)),
    Property::required(
        "grant",
        &Shape::Choice(&[
            "authorization_code",
            "client_credentials",
            "password",
            "refresh_token",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ]),
    ),
    Property::optional("client", &CLIENT),
    Property::optional("request", &REQUEST),
    Property::optional("issuers", &TEXTS),
    Property::optional("scopes", &TEXTS),
    Property::optional("audiences", &TEXTS),
    Property::optional("username", &TEXT),
    Property::optional("password", &TEXT),
    Property::optional("subject", &TOKEN),
    Property::optional("actor", &TOKEN),
];

static REQUEST: Shape = Shape::Object(
    Object::of(
        "a request for a token",
        &[Property::optional(
            "encoding",
            &Shape::Choice(&["application/x-www-form-urlencoded", "application/json"]),
        )],
    )
    .extra(Extra::Unread),
);

static ENDPOINTS: Shape = Shape::Object(
    Object::of(
        "endpoints of OAuth 2",
        &[
            Property::optional("token", &TEXT),
            Property::optional("revocation", &TEXT),
            Property::optional("introspection", &TEXT),
        ],
    )
    .extra(Extra::Unread),
);

static OAUTH2: Shape = Shape::ByKey(ByKey {
    what: "an OAuth 2 policy",
    variants: &[("use", &SECRET)],
    otherwise: Some(&Shape::Object(
        Object::of("an OAuth 2 policy", &[Property::optional("endpoints", &ENDPOINTS)])
            .inherits(&OAUTH_PROPERTIES),
    )),
});

static OIDC: Shape = Shape::ByKey(ByKey {
    what: "an OpenID Connect policy",
    variants: &[("use", &SECRET)],
    otherwise: Some(&Shape::Object(Object::of("an OpenID Connect policy", &[]).inherits(&OAUTH_PROPERTIES))),
});

/// A policy where something is called: by name, or one scheme and nothing else.
pub(crate) static AUTHENTICATION: Shape =
    Shape::Object(Object::of("an authentication", &[]).alternatives(&[
        Property::optional("use", &Shape::Text(Text::Declared(Section::Authentications))),
        Property::optional("basic", &LOGIN),
        Property::optional("bearer", &BEARER),
        Property::optional("digest", &LOGIN),
        Property::optional("oauth2", &OAUTH2),
        Property::optional("oidc", &OIDC),
    ]));

/// A policy in `use.authentications`, where the schema lets other properties pass.
pub(crate) static POLICY: Shape = Shape::Object(
    Object::of("an authentication policy", &[])
        .alternatives(&[
            Property::optional("basic", &LOGIN),
            Property::optional("bearer", &BEARER),
            Property::optional("digest", &LOGIN),
            Property::optional("oauth2", &OAUTH2),
            Property::optional("oidc", &OIDC),
        ])
        .extra(Extra::Unread),
);

impl Authentication {
    pub(crate) fn read(node: &Node) -> Self {
        match node.text_at("use") {
            Some(name) => Self::Use(name),
            None => Self::Policy(AuthenticationPolicy::read(node)),
        }
    }
}

impl AuthenticationPolicy {
    pub(crate) fn read(node: &Node) -> Self {
        let oauth = |node: &Node| Secretly::read(node, |node| Box::new(OAuth2::read(node)));
        let login = |node: &Node| Secretly::read(node, Login::read);
        let or_bearer = |node: &Node| {
            let bearer = node.get("bearer").unwrap_or(node);
            Self::Bearer(Secretly::read(bearer, |node| node.string_at("token")))
        };
        node.read_at("basic", login)
            .map(Self::Basic)
            .or_else(|| node.read_at("digest", login).map(Self::Digest))
            .or_else(|| node.read_at("oauth2", oauth).map(Self::OAuth2))
            .or_else(|| node.read_at("oidc", oauth).map(Self::Oidc))
            .unwrap_or_else(|| or_bearer(node))
    }
}

impl<T> Secretly<T> {
    fn read(node: &Node, given: impl Fn(&Node) -> T) -> Self {
        match node.text_at("use") {
            Some(secret) => Self::Secret(secret),
            None => Self::Given(given(node)),
        }
    }
}

impl Login {
    fn read(node: &Node) -> Self {
        Self { username: node.string_at("username"), password: node.string_at("password") }
    }
}

impl OAuth2 {
    fn read(node: &Node) -> Self {
        let empty = Node::from_json(&Json::Null);
        let part = |key: &str| node.get(key).unwrap_or(&empty);
        let (endpoints, client) = (part("endpoints"), part("client"));
        let or =
            |node: &Node, key: &str, default: &str| node.text_at(key).unwrap_or_else(|| default.to_owned());
        Self {
            authority: node.string_at("authority"),
            grant: node.string_at("grant"),
            endpoints: OAuth2Endpoints {
                token: or(endpoints, "token", "/oauth2/token"),
                revocation: or(endpoints, "revocation", "/oauth2/revoke"),
                introspection: or(endpoints, "introspection", "/oauth2/introspect"),
            },
            client: OAuth2Client {
                id: client.text_at("id"),
                secret: client.text_at("secret"),
                assertion: client.text_at("assertion"),
                authentication: or(client, "authentication", "client_secret_post"),
            },
            encoding: or(part("request"), "encoding", "application/x-www-form-urlencoded"),
            issuers: node.list_at("issuers"),
            scopes: node.list_at("scopes"),
            audiences: node.list_at("audiences"),
            username: node.text_at("username"),
            password: node.text_at("password"),
            subject: node.read_at("subject", OAuth2Token::read),
            actor: node.read_at("actor", OAuth2Token::read),
        }
    }
}

impl OAuth2Token {
    fn read(node: &Node) -> Self {
        Self { token: node.string_at("token"), kind: node.string_at("type") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{workflow, workflow_problems};

    fn used(policy: &str) -> String {
        format!("use: {{secrets: [s], authentications: {{a: {policy}}}}}\ndo: []")
    }

    fn read(policy: &str) -> AuthenticationPolicy {
        workflow(&used(policy)).r#use.authentications["a"].clone()
    }

    #[test]
    fn every_scheme_is_read() {
        let login = Login { username: "u".to_owned(), password: "p".to_owned() };
        assert_eq!(
            read("{basic: {username: u, password: p}}"),
            AuthenticationPolicy::Basic(Secretly::Given(login.clone()))
        );
        assert_eq!(
            read("{digest: {username: u, password: p}}"),
            AuthenticationPolicy::Digest(Secretly::Given(login))
        );
        assert_eq!(
            read("{bearer: {token: t}}"),
            AuthenticationPolicy::Bearer(Secretly::Given("t".to_owned()))
        );
        assert_eq!(read("{oidc: {use: s}}"), AuthenticationPolicy::Oidc(Secretly::Secret("s".to_owned())));
        let oauth = read(
            "{oauth2: {authority: 'https://a', grant: client_credentials, client: {id: c}, scopes: [x], subject: {token: t, type: k}}}",
        );
        let AuthenticationPolicy::OAuth2(Secretly::Given(oauth)) = oauth else { panic!("OAuth 2") };
        assert_eq!(oauth.endpoints.token, "/oauth2/token");
        assert_eq!(oauth.client.authentication, "client_secret_post");
        assert_eq!((oauth.scopes, oauth.subject.unwrap().kind), (vec!["x".to_owned()], "k".to_owned()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let first = |policy: &str| workflow_problems(&used(policy)).remove(0);
        assert!(first("{basic: {use: t}}").contains("\"t\" is not declared in `use.secrets`"));
        assert!(first("{basic: {username: u}}").contains("`password` is missing in a login"));
        assert!(
            first("{basic: {use: s, username: u}}")
                .contains("unknown property \"username\" in a reference to a secret")
        );
        assert!(first("{bearer: {token: t}, oidc: {use: s}}").contains("has both"));
        assert!(first("{bearer: {token: t}, oidc: {}}").contains("more than one kind"));
        assert!(
            workflow_problems(&used("{baer: {token: t}}")).join("\n").contains("did you mean \"bearer\"?")
        );
        assert!(
            first("{oauth2: {authority: 'https://a', grant: client-credentials}}")
                .contains("did you mean \"client_credentials\"?")
        );
    }
}
