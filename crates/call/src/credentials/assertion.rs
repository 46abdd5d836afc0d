//! Assertions by which a client shows itself: JSON Web Tokens, signed for one request (RFC 7523, section 3).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use ring::{hmac, rand::SecureRandom as _};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use crate::events::Clock;
use crate::secret::Secret;

/// How long an assertion counts.
const LIFE: SignedDuration = SignedDuration::from_mins(5);

/// What signs assertions, and what time it is.
#[derive(Clone)]
pub struct Signing {
    /// The key.
    pub key: Key,
    /// Tells what time it is.
    pub clock: Clock,
}

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signing").field("key", &self.key).finish_non_exhaustive()
    }
}

impl PartialEq for Signing {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Signing {}

/// A key that assertions are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// The secret of the client: HMAC with SHA-256 (`HS256`).
    Shared(Secret),
    /// A private key in PEM, PKCS #8: RSA (`RS256`), P-256 (`ES256`) or Ed25519 (`EdDSA`).
    Private(Secret),
}

impl Key {
    pub(super) const fn secret(&self) -> &Secret {
        match self {
            Self::Shared(secret) | Self::Private(secret) => secret,
        }
    }
}

impl Signing {
    /// An assertion of a client for a server of tokens.
    ///
    /// # Errors
    /// When the key cannot be used.
    pub(super) fn assertion(&self, client: &str, audience: &str) -> Result<Secret, String> {
        let now: Timestamp = (self.clock)();
        let random = SystemRandom::new();
        let mut id = [0; 16];
        random.fill(&mut id).map_err(|_| "cannot be asked: this machine gives no random bytes".to_owned())?;
        let claims = json!({
            "iss": client,
            "sub": client,
            "aud": audience,
            "jti": URL_SAFE_NO_PAD.encode(id),
            "iat": now.as_second(),
            "exp": now.saturating_add(LIFE).unwrap_or(now).as_second(),
        });
        let signer = Signer::of(&self.key)?;
        let header = json!({ "alg": signer.algorithm(), "typ": "JWT" });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(&claims));
        let signature = signer.sign(text.as_bytes(), &random)?;
        Ok(Secret::new(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }
}

/// A key that was read.
enum Signer {
    Shared(hmac::Key),
    Rsa(Box<RsaKeyPair>),
    Curve(Box<EcdsaKeyPair>),
    Edwards(Box<Ed25519KeyPair>),
}

impl Signer {
    fn of(key: &Key) -> Result<Self, String> {
        let text = match key {
            Key::Shared(secret) => {
                return Ok(Self::Shared(hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes())));
            }
            Key::Private(text) => text.expose(),
        };
        let unusable = || {
            "cannot be asked: the private key of the client is none of RSA, P-256 or Ed25519 in PEM (PKCS #8)"
                .to_owned()
        };
        let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| unusable())?;
        let bytes = match &der {
            PrivateKeyDer::Pkcs8(key) => key.secret_pkcs8_der(),
            PrivateKeyDer::Pkcs1(key) => {
                let key = RsaKeyPair::from_der(key.secret_pkcs1_der()).map_err(|_| unusable())?;
                return Ok(Self::Rsa(Box::new(key)));
            }
            _ => return Err(unusable()),
        };
        if let Ok(key) = RsaKeyPair::from_pkcs8(bytes) {
            return Ok(Self::Rsa(Box::new(key)));
        }
        let fixed = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        if let Ok(key) = EcdsaKeyPair::from_pkcs8(fixed, bytes, &SystemRandom::new()) {
            return Ok(Self::Curve(Box::new(key)));
        }
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes).map_err(|_| unusable())?;
        Ok(Self::Edwards(Box::new(key)))
    }

    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Shared(_) => "HS256",
            Self::Rsa(_) => "RS256",
            Self::Curve(_) => "ES256",
            Self::Edwards(_) => "EdDSA",
        }
    }

    fn sign(&self, text: &[u8], random: &SystemRandom) -> Result<Vec<u8>, String> {
        let failed = |_| "cannot be asked: the client's key cannot sign".to_owned();
        match self {
            Self::Shared(key) => Ok(hmac::sign(key, text).as_ref().to_vec()),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, random, text, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Self::Curve(key) => Ok(key.sign(random, text).map_err(failed)?.as_ref().to_vec()),
            Self::Edwards(key) => Ok(key.sign(text).as_ref().to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ring::signature::KeyPair as _;
    use serde_json::Value;

    use super::*;

    fn signed(key: Key) -> (Value, Value, String, Vec<u8>) {
        let at = Timestamp::from_second(1_767_600_000).unwrap();
        let signing = Signing { key, clock: Arc::new(move || at) };
        let assertion = signing.assertion("me", "https://a/token").unwrap();
        let parts: Vec<&str> = assertion.expose().split('.').collect();
        let read = |text: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
        let text = format!("{}.{}", parts[0], parts[1]);
        (read(parts[0]), read(parts[1]), text, URL_SAFE_NO_PAD.decode(parts[2]).unwrap())
    }

    fn pem(der: &[u8]) -> Key {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        Key::Private(Secret::new(format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")))
    }

    #[test]
    fn assertions_are_signed_so_that_others_can_check_them() {
        let (header, claims, text, signature) = signed(Key::Shared(Secret::new("shared")));
        assert_eq!(header, json!({"alg": "HS256", "typ": "JWT"}));
        assert_eq!(
            (&claims["iss"], &claims["sub"], &claims["aud"]),
            (&"me".into(), &"me".into(), &"https://a/token".into())
        );
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"shared");
        hmac::verify(&key, text.as_bytes(), &signature).unwrap();
        assert_ne!(claims["jti"], signed(Key::Shared(Secret::new("shared"))).1["jti"], "each has its own id");

        let random = SystemRandom::new();
        let fixed = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let curve = EcdsaKeyPair::generate_pkcs8(fixed, &random).unwrap();
        let public = EcdsaKeyPair::from_pkcs8(fixed, curve.as_ref(), &random).unwrap();
        let (header, _, text, made) = signed(pem(curve.as_ref()));
        assert_eq!(header["alg"], "ES256");
        let known =
            signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, public.public_key());
        known.verify(text.as_bytes(), &made).unwrap();

        let edwards = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let public = Ed25519KeyPair::from_pkcs8(edwards.as_ref()).unwrap();
        let (header, _, text, made) = signed(pem(edwards.as_ref()));
        assert_eq!(header["alg"], "EdDSA");
        let known = signature::UnparsedPublicKey::new(&signature::ED25519, public.public_key());
        known.verify(text.as_bytes(), &made).unwrap();
    }

    #[test]
    fn what_is_no_key_is_said_without_showing_it() {
        for text in ["HIDDEN", "-----BEGIN PRIVATE KEY-----\nSElEREVO\n-----END PRIVATE KEY-----\n"] {
            let key = Key::Private(Secret::new(text));
            let signing = Signing { key, clock: Arc::new(|| Timestamp::UNIX_EPOCH) };
            let error = signing.assertion("me", "a").unwrap_err();
            assert!(error.contains("RSA, P-256 or Ed25519") && !error.contains("HIDDEN"), "{error}");
            assert!(!format!("{signing:?}").contains("HIDDEN"));
        }
    }
}
