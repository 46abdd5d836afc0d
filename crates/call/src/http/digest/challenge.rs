//! What a server asks for: `WWW-Authenticate` (RFC 9110, section 11.6.1) with digests (RFC 7616, section 3.3).

use md5::Md5;
use sha2::{Digest as _, Sha256, Sha512_256};

/// Bytes of a header that are read.
const MAX_LENGTH: usize = 8 * 1024;

/// A challenge that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) realm: String,
    pub(super) nonce: String,
    pub(super) opaque: Option<String>,
    pub(super) hash: Hash,
    /// `-sess`: the key is made once with the nonce.
    pub(super) session: bool,
    /// `qop=auth`; without, the older form of RFC 2069.
    pub(super) counted: bool,
}

/// Which function makes the digest, the stronger one later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hash {
    Md5,
    Sha256,
    Sha512,
}

impl Hash {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512 => "SHA-512-256",
        }
    }

    /// The digest of parts that are joined by colons, in hexadecimal digits.
    pub(super) fn of(self, parts: &[&str]) -> String {
        let text = parts.join(":");
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
            Self::Sha512 => hex(&Sha512_256::digest(text)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The strongest challenge of all headers that can be answered.
pub(super) fn strongest<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let all = headers.filter(|header| header.len() <= MAX_LENGTH).flat_map(split);
    all.filter_map(
        |(scheme, params)| {
            if scheme.eq_ignore_ascii_case("digest") { challenge(&params) } else { None }
        },
    )
    .max_by_key(|challenge| challenge.hash)
}

fn challenge(params: &[(String, String)]) -> Option<Challenge> {
    let get = |name: &str| params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let algorithm = get("algorithm").unwrap_or("MD5").to_ascii_uppercase();
    let (algorithm, session) =
        algorithm.strip_suffix("-SESS").map_or((algorithm.as_str(), false), |algorithm| (algorithm, true));
    let hash = [Hash::Md5, Hash::Sha256, Hash::Sha512].into_iter().find(|hash| hash.word() == algorithm)?;
    let counted = match get("qop") {
        None => false,
        Some(offered) => {
            // `auth-int` covers the body, which is streamed here.
            offered.split(',').any(|offered| offered.trim().eq_ignore_ascii_case("auth")).then_some(true)?
        }
    };
    let owned = |name: &str| get(name).map(str::to_owned);
    Some(Challenge {
        realm: owned("realm")?,
        nonce: owned("nonce")?,
        opaque: owned("opaque"),
        hash,
        session,
        counted,
    })
}

type Params = Vec<(String, String)>;

/// Schemes with their parameters. What is neither is left out.
fn split(header: &str) -> Vec<(String, Params)> {
    let mut found: Vec<(String, Params)> = vec![];
    for item in items(header) {
        let (before, after) = item.split_once('=').unwrap_or((item, ""));
        let param = match before.trim().split_once([' ', '\t']) {
            // `Digest realm="x"`: a scheme and its first parameter.
            Some((scheme, name)) => {
                found.push((scheme.to_owned(), vec![]));
                name.trim()
            }
            None if !item.contains('=') => {
                found.push((item.trim().to_owned(), vec![]));
                continue;
            }
            None => before.trim(),
        };
        if let Some((_, params)) = found.last_mut() {
            params.push((param.to_ascii_lowercase(), unquoted(after.trim())));
        }
    }
    found
}

/// The parts between commas that stand in no quotes.
fn items(header: &str) -> Vec<&str> {
    let (mut items, mut start, mut quoted, mut escaped) = (vec![], 0, false, false);
    for (at, byte) in header.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                items.push(&header[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&header[start..]);
    items.into_iter().map(str::trim).filter(|item| !item.is_empty()).collect()
}

fn unquoted(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_strongest_challenge_that_can_be_answered_is_taken() {
        let md5 = r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, nonce="7ypf/x\"l,j9", opaque="FQ""#;
        let sha = r#"Basic realm="a, b", Digest realm="r", nonce=n, algorithm=SHA-256-sess, qop=auth"#;
        let found = strongest([md5, sha].into_iter()).unwrap();
        assert_eq!(
            (found.hash, found.session, found.counted, found.nonce.as_str()),
            (Hash::Sha256, true, true, "n")
        );
        let found = strongest([md5].into_iter()).unwrap();
        assert_eq!((found.nonce.as_str(), found.opaque.as_deref()), ("7ypf/x\"l,j9", Some("FQ")));
        assert_eq!((found.realm.as_str(), found.hash), ("http-auth@example.org", Hash::Md5));
        let old = strongest([r#"digest realm="", nonce="1""#].into_iter()).unwrap();
        assert!(!old.counted && old.hash == Hash::Md5);
    }

    #[test]
    fn what_cannot_be_answered_is_no_challenge() {
        for header in [
            "",
            "Basic realm=\"x\"",
            "Negotiate, Digest",
            r#"Digest realm="r", nonce="n", qop="auth-int""#,
            r#"Digest realm="r", nonce="n", algorithm=SHA3"#,
            r#"Digest realm="r""#,
            r#"realm="r", nonce="n""#,
        ] {
            assert_eq!(strongest([header].into_iter()), None, "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_left_out(header in "([Dd]igest |realm=|nonce=|[\"\\\\,= a]|[^\\x00]){0,40}") {
            let _ = strongest([header.as_str()].into_iter());
        }
    }
}
