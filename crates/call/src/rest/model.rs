//! What a description says, resolved: one route for each operation.

use std::collections::BTreeMap;

use hyper::Method;

use super::media::Media;
use super::schema::Schema;
use super::style::Writing;

/// One operation, ready to be called.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: Vec<Piece>,
    /// A query that is always sent, as some descriptions write one into a path.
    pub(super) query: String,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<RequestBody>,
    pub(super) answers: Vec<AnswerSpec>,
    /// What `Accept` says when the input does not.
    pub(super) accept: String,
    pub(super) security: Vec<Vec<Requirement>>,
    /// Servers of this operation alone; empty where those of the description hold.
    pub(super) servers: Vec<String>,
    pub(super) input: Schema,
}

/// A part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// As it is.
    Text(String),
    /// The parameter with this number.
    Parameter(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Place {
    Path,
    Query,
    Header,
    Cookie,
}

impl Place {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Cookie => "cookie",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Parameter {
    /// Its name in the input: its own, or `query.id`.
    pub(super) key: String,
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) required: bool,
    pub(super) writing: Writing,
    pub(super) schema: Schema,
    pub(super) description: String,
}

#[derive(Clone, Debug)]
pub(super) struct RequestBody {
    pub(super) required: bool,
    pub(super) description: String,
    /// The first is what is sent when the input does not say.
    pub(super) contents: Vec<Content>,
}

/// A media type with what it carries.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) media: Media,
    /// `None` where nothing is said.
    pub(super) schema: Option<Schema>,
    /// How parts of a form are written.
    pub(super) parts: BTreeMap<String, PartSpec>,
}

/// How one part of a form is written.
#[derive(Clone, Debug, Default)]
pub(super) struct PartSpec {
    /// `contentType` of its `encoding`.
    pub(super) media: Option<Media>,
    /// Its style, where one is given.
    pub(super) writing: Option<Writing>,
    /// Whether it is a file.
    pub(super) binary: bool,
}

/// What may be answered with a status.
#[derive(Clone, Debug)]
pub(super) struct AnswerSpec {
    pub(super) status: Statuses,
    /// Empty where nothing is said of a body.
    pub(super) contents: Vec<Content>,
}

/// For which statuses an answer is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statuses {
    Exact(u16),
    /// `2XX` is 2.
    Range(u16),
    Default,
}

impl Statuses {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "default" {
            return Some(Self::Default);
        }
        let first = text.bytes().next().filter(u8::is_ascii_digit)?;
        if text.len() == 3 && text[1..].eq_ignore_ascii_case("xx") {
            return Some(Self::Range(u16::from(first - b'0')));
        }
        text.parse().ok().filter(|status| (100..=599).contains(status)).map(Self::Exact)
    }

    /// Whether it may be a success: that is what an operation's output is.
    pub(super) const fn may_succeed(self) -> bool {
        match self {
            Self::Exact(status) => status < 400,
            Self::Range(hundred) => hundred < 4,
            Self::Default => true,
        }
    }

    /// How well it fits a status, 0 not at all.
    pub(super) const fn fits(self, status: u16) -> u8 {
        match self {
            Self::Exact(own) if own == status => 3,
            Self::Range(hundred) if hundred == status / 100 => 2,
            Self::Default => 1,
            _ => 0,
        }
    }
}

impl std::fmt::Display for Statuses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(status) => write!(f, "{status}"),
            Self::Range(hundred) => write!(f, "{hundred}XX"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Credentials that an operation asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Name of the scheme in the description.
    pub name: String,
    /// What it is.
    pub scheme: Scheme,
    /// Scopes or roles that are needed.
    pub scopes: Vec<String>,
}

/// A way to show who asks (OpenAPI 3.1.1 §4.8.27 "Security Scheme Object").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// A key in a header, a query parameter or a cookie with this name.
    Key {
        /// Where it goes.
        place: KeyPlace,
        /// The name there.
        name: String,
    },
    /// `Authorization: Basic …`
    Basic,
    /// `Authorization: Bearer …`
    Bearer,
    /// `Authorization:` with another scheme, in lower case: `digest`.
    Http(String),
    /// A token of OAuth 2 or OpenID Connect, sent as a bearer token.
    OAuth {
        /// Where tokens are had by client credentials; empty where the description does not say.
        token_url: String,
    },
    /// A certificate of the client.
    MutualTls,
    /// What the description does not define.
    Unknown,
}

/// Where a key goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// A header.
    Header,
    /// A parameter of the query.
    Query,
    /// A cookie.
    Cookie,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_exact_ranges_or_all_others() {
        assert_eq!(Statuses::parse("204"), Some(Statuses::Exact(204)));
        assert_eq!(Statuses::parse("2xx"), Some(Statuses::Range(2)));
        assert_eq!(Statuses::parse("default"), Some(Statuses::Default));
        for wrong in ["", "20", "abc", "2X0", "999", "é00"] {
            assert_eq!(Statuses::parse(wrong), None, "{wrong}");
        }
        let fits = [Statuses::Default, Statuses::Range(2), Statuses::Exact(200)].map(|one| one.fits(200));
        assert_eq!(fits, [1, 2, 3]);
        assert_eq!(Statuses::Exact(201).fits(200), 0);
    }
}
