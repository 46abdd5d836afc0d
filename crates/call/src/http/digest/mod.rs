//! HTTP digests (RFC 7616): a server challenges, we prove that we know the password without sending it.
//!
//! The first request to a server carries nothing and is answered with 401 and a challenge, which is kept. Whoever made
//! the request makes it once more; that and all further requests carry a digest, each with its count. Digests cover the
//! path, so they are made where requests are sent.

mod challenge;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Uri};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;

use crate::secret::Login;
use challenge::{Challenge, strongest};

/// Servers whose challenges are kept.
const MAX_SERVERS: usize = 64;

/// A login and the challenges of the servers that it is for.
#[derive(Clone, Debug)]
pub(super) struct Digests {
    login: Login,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug)]
struct Kept {
    /// By host and port: the challenge and how often it was answered.
    challenges: BTreeMap<String, (Challenge, u32)>,
    random: ChaCha12Rng,
}

impl Digests {
    pub(super) fn new(login: Login, seed: u64) -> Self {
        let kept = Kept { challenges: BTreeMap::new(), random: ChaCha12Rng::seed_from_u64(seed) };
        Self { login, kept: Arc::new(Mutex::new(kept)) }
    }

    /// The header that answers the challenge that is known of this server.
    pub(super) fn header(&self, method: &Method, uri: &Uri) -> Option<HeaderValue> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { challenges, random } = &mut *kept;
        let (challenge, count) = challenges.get_mut(uri.authority()?.as_str())?;
        *count = count.wrapping_add(1);
        let ours = format!("{:016x}", random.next_u64());
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let text = answer(challenge, &self.login, method.as_str(), path, *count, &ours);
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Keeps the challenge of an answer of 401.
    pub(super) fn learn(&self, uri: &Uri, headers: &HeaderMap) {
        let texts = headers.get_all(WWW_AUTHENTICATE).into_iter().filter_map(|value| value.to_str().ok());
        let (Some(challenge), Some(server)) = (strongest(texts), uri.authority()) else { return };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.challenges.len() >= MAX_SERVERS {
            kept.challenges.clear();
        }
        kept.challenges.insert(server.as_str().to_owned(), (challenge, 0));
    }
}

/// RFC 7616, section 3.4.
fn answer(challenge: &Challenge, login: &Login, method: &str, path: &str, count: u32, ours: &str) -> String {
    let Challenge { realm, nonce, opaque, hash, session, counted } = challenge;
    let count = format!("{count:08x}");
    let mut key = hash.of(&[&login.user, realm, login.password.expose()]);
    if *session {
        key = hash.of(&[&key, nonce, ours]);
    }
    let what = hash.of(&[method, path]);
    let response = if *counted {
        hash.of(&[&key, nonce, &count, ours, "auth", &what])
    } else {
        hash.of(&[&key, nonce, &what])
    };
    let suffix = if *session { "-sess" } else { "" };
    let mut text = format!(
        "Digest {}, realm={}, nonce={}, uri={}, response=\"{response}\", algorithm={}{suffix}",
        username(&login.user),
        quoted(realm),
        quoted(nonce),
        quoted(path),
        hash.word()
    );
    if *counted {
        text += &format!(", qop=auth, nc={count}, cnonce=\"{ours}\"");
    } else if *session {
        text += &format!(", cnonce=\"{ours}\"");
    }
    if let Some(opaque) = opaque {
        text += &format!(", opaque={}", quoted(opaque));
    }
    text
}

/// Names that are not ASCII are written as RFC 8187 says.
fn username(user: &str) -> String {
    if user.is_ascii() {
        return format!("username={}", quoted(user));
    }
    let mut text = "username*=UTF-8''".to_owned();
    for byte in user.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte))
            }
            _ => text += &format!("%{byte:02X}"),
        }
    }
    text
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::challenge::Hash;
    use super::*;
    use crate::secret::Secret;

    /// RFC 7616, section 3.9.1.
    fn example(hash: Hash, expected: &str) {
        let challenge = Challenge {
            realm: "http-auth@example.org".to_owned(),
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v".to_owned(),
            opaque: Some("FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS".to_owned()),
            hash,
            session: false,
            counted: true,
        };
        let login = Login { user: "Mufasa".into(), password: Secret::new("Circle of Life") };
        let ours = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let text = answer(&challenge, &login, "GET", "/dir/index.html", 1, ours);
        assert!(text.contains(&format!("response=\"{expected}\"")), "{text}");
        assert!(text.starts_with("Digest username=\"Mufasa\", realm=\"http-auth@example.org\""), "{text}");
        assert!(text.contains("qop=auth, nc=00000001"), "{text}");
    }

    #[test]
    fn the_examples_of_the_standard_come_out() {
        example(Hash::Md5, "8ca523f5e9506fed4657c9700eebdbec");
        example(Hash::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
    }

    #[test]
    fn each_answer_has_its_count_and_nothing_is_said_unasked() {
        let digests = Digests::new(Login { user: "ops".into(), password: Secret::new("hunter2") }, 7);
        let uri: Uri = "http://meter:80/x".parse().unwrap();
        assert!(digests.header(&Method::GET, &uri).is_none());
        let mut headers = HeaderMap::new();
        let asked = HeaderValue::from_static("Digest realm=\"r\", nonce=\"n\", qop=\"auth\"");
        headers.insert(WWW_AUTHENTICATE, asked);
        digests.learn(&uri, &headers);
        for count in ["nc=00000001", "nc=00000002"] {
            let header = digests.header(&Method::GET, &uri).unwrap();
            assert!(header.to_str().unwrap().contains(count), "{header:?}");
            assert!(header.is_sensitive());
        }
        assert!(digests.header(&Method::GET, &"http://other/x".parse().unwrap()).is_none());
        assert!(!format!("{digests:?}").contains("hunter2"));
    }

    #[test]
    fn names_beyond_ascii_and_quotes_are_written_as_the_standard_says() {
        assert_eq!(username("J\u{e4}s\u{f8}n"), "username*=UTF-8''J%C3%A4s%C3%B8n");
        assert_eq!(username("a\"b\\"), "username=\"a\\\"b\\\\\"");
    }
}
