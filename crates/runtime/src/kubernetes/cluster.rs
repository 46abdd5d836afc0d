//! The connection with a cluster: one request after the other, each with its bounds.

use std::fmt;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use kube::core::response::Status;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{KubernetesError, chain, shortened};
use super::kubeconfig::KubeconfigSource;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer that is read, bytes. A page of 500 objects of the cluster's usual size has a tenth.
const MAX_ANSWER: usize = 64 << 20;
/// The format of requests and answers.
const JSON: &str = "application/json";
/// Objects that are asked for at once.
const PAGE: usize = 500;
/// The most objects of one kind that are read.
pub(super) const MAX_OBJECTS: usize = 10_000;
/// The name under which the cluster notes what `sos` has set.
pub const FIELD_MANAGER: &str = "sos";

/// A connection with a cluster. Cheap to clone; a dropped call leaves nothing behind.
#[derive(Clone)]
pub struct Cluster {
    pub(super) client: Client,
    server: String,
    context: String,
    namespace: String,
    user: String,
    expires_at: Option<Timestamp>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, context, namespace, user, .. } = self;
        f.debug_struct("Cluster")
            .field("server", server)
            .field("context", context)
            .field("namespace", namespace)
            .field("user", user)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Reads the kubeconfig, connects, and asks the cluster who we are. `now` tells an expired token apart.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used, nothing or something else answers, or the credentials are not accepted.
    pub async fn connect(source: &KubeconfigSource, now: Timestamp) -> Result<Self, KubernetesError> {
        let chosen = source.choose().await?;
        let server = chosen.config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let namespace = chosen.config.default_namespace.clone();
        let client = Client::try_from(chosen.config).map_err(|error| {
            KubernetesError::kubeconfig(
                &source.files,
                client_error(&error),
                "fetch the kubeconfig of the cluster again",
            )
        })?;
        let mut cluster = Self {
            client,
            server,
            context: chosen.context,
            namespace,
            user: String::new(),
            expires_at: chosen.expires_at,
        };
        cluster.user = cluster.who_am_i().await.map_err(|error| cluster.dated(error, now))?;
        Ok(cluster)
    }

    /// Address of the API server.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The context of the kubeconfig.
    #[must_use]
    pub fn context(&self) -> &str {
        &self.context
    }

    /// The namespace of the context, `default` where it names none.
    #[must_use]
    pub fn default_namespace(&self) -> &str {
        &self.namespace
    }

    /// Who the cluster takes us for, such as `system:serviceaccount:shop:sos`.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// When the credentials expire, where they say so: connect again before.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    fn dated(&self, error: KubernetesError, now: Timestamp) -> KubernetesError {
        match error {
            KubernetesError::Unauthorized { server, .. } => {
                KubernetesError::Unauthorized { server, expired_at: self.expires_at.filter(|at| *at <= now) }
            }
            other => other,
        }
    }

    /// Every authenticated user may ask this; someone without credentials may not.
    async fn who_am_i(&self) -> Result<String, KubernetesError> {
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let ask = serde_json::json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let what = "learn who we are";
        let answer: Value = match self.send(Method::POST, path, Some(&ask), what).await {
            Err(KubernetesError::Missing(_)) => {
                return Err(KubernetesError::NotKubernetes {
                    server: self.server.clone(),
                    why: format!("it knows no {path}"),
                });
            }
            other => other?,
        };
        let name = answer.pointer("/status/userInfo/username").and_then(Value::as_str);
        name.map(|name| shortened(name, 300)).ok_or_else(|| KubernetesError::NotKubernetes {
            server: self.server.clone(),
            why: "its answer names no user".into(),
        })
    }

    pub(in crate::kubernetes) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        what: &str,
    ) -> Result<T, KubernetesError> {
        self.send(Method::GET, path, None, what).await
    }

    pub(in crate::kubernetes) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        what: &str,
    ) -> Result<T, KubernetesError> {
        self.send(Method::PUT, path, Some(body), what).await
    }

    /// All objects below a path, page by page. An answer that has expired meanwhile is a `Busy`.
    pub(in crate::kubernetes) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        what: &str,
    ) -> Result<Vec<T>, KubernetesError> {
        let mut all = vec![];
        let mut from = String::new();
        loop {
            let token: String = form(&from);
            let query = if from.is_empty() { String::new() } else { format!("&continue={token}") };
            let page: Page<T> = self.get(&format!("{path}?limit={PAGE}{query}"), what).await?;
            all.extend(page.items);
            if all.len() > MAX_OBJECTS {
                return Err(KubernetesError::TooMany {
                    what: format!("objects to {what}"),
                    limit: MAX_OBJECTS,
                });
            }
            match page.metadata.next.filter(|next| !next.is_empty()) {
                Some(next) => from = next,
                None => return Ok(all),
            }
        }
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        what: &str,
    ) -> Result<T, KubernetesError> {
        self.send_as(method, path, body, JSON, what).await
    }

    /// Applies an object on the server: what `sos` had set before and does not set now is taken back, what others have set
    /// stays.
    pub(in crate::kubernetes) async fn apply<T: DeserializeOwned>(
        &self,
        path: &str,
        object: &Value,
        what: &str,
    ) -> Result<T, KubernetesError> {
        let path = format!("{path}?fieldManager={FIELD_MANAGER}&force=true");
        self.send_as(Method::PATCH, &path, Some(object), "application/apply-patch+yaml", what).await
    }

    /// Changes fields of an object.
    pub(in crate::kubernetes) async fn merge<T: DeserializeOwned>(
        &self,
        path: &str,
        change: &Value,
        what: &str,
    ) -> Result<T, KubernetesError> {
        let path = format!("{path}?fieldManager={FIELD_MANAGER}");
        self.send_as(Method::PATCH, &path, Some(change), "application/merge-patch+json", what).await
    }

    /// Changes fields of an object, also within lists whose items have names.
    pub(in crate::kubernetes) async fn change(
        &self,
        path: &str,
        change: &Value,
        what: &str,
    ) -> Result<(), KubernetesError> {
        let path = format!("{path}?fieldManager={FIELD_MANAGER}");
        let format = "application/strategic-merge-patch+json";
        self.exchange_as(Method::PATCH, &path, Some(change), format, what).await.map(drop)
    }

    /// Deletes an object; one that is not there is fine.
    pub(in crate::kubernetes) async fn delete(
        &self,
        path: &str,
        options: &Value,
        what: &str,
    ) -> Result<(), KubernetesError> {
        match self.send::<Value>(Method::DELETE, path, Some(options), what).await {
            Ok(_) | Err(KubernetesError::Missing(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// An answer that is read bit by bit for as long as it goes on. Its beginning comes within the usual time.
    pub(in crate::kubernetes) async fn open(&self, path: &str, what: &str) -> Result<Body, KubernetesError> {
        let request = Request::builder().method(Method::GET).uri(path).body(Body::empty());
        let request = request.map_err(|error| refused(what, &error.to_string()))?;
        let begun = async {
            let answer = self.client.send(request).await.map_err(|error| self.failed(&error, what))?;
            let status = answer.status();
            if status.is_success() {
                return Ok(answer.into_body());
            }
            let bytes = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            let bytes = bytes.map_err(|error| self.broken(what, error.as_ref()))?.to_bytes();
            Err(self.refusal(status, &bytes, what))
        };
        let timed_out = KubernetesError::TimedOut { what: what.into(), seconds: PATIENCE.as_secs() };
        tokio::time::timeout(PATIENCE, begun).await.unwrap_or(Err(timed_out))
    }

    async fn send_as<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        format: &str,
        what: &str,
    ) -> Result<T, KubernetesError> {
        let bytes = self.exchange_as(method, path, body, format, what).await?;
        // What is wrong is told by its place: the content may be a secret.
        serde_json::from_slice(&bytes).map_err(|error| KubernetesError::Answer {
            what: what.into(),
            why: format!("{:?} at line {}, column {}", error.classify(), error.line(), error.column()),
        })
    }

    pub(in crate::kubernetes) async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        what: &str,
    ) -> Result<Vec<u8>, KubernetesError> {
        self.exchange_as(method, path, body, JSON, what).await
    }

    async fn exchange_as(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        format: &str,
        what: &str,
    ) -> Result<Vec<u8>, KubernetesError> {
        let whole = async {
            let body = body.map(ToString::to_string).unwrap_or_default().into_bytes();
            let request = Request::builder().method(method).uri(path).header("content-type", format);
            let request =
                request.header("accept", "application/json, text/plain;q=0.5").body(Body::from(body));
            let request = request.map_err(|error| refused(what, &error.to_string()))?;
            let answer = self.client.send(request).await.map_err(|error| self.failed(&error, what))?;
            let status = answer.status();
            let bytes = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            let bytes = bytes.map_err(|error| self.broken(what, error.as_ref()))?.to_bytes();
            if status.is_success() { Ok(bytes.to_vec()) } else { Err(self.refusal(status, &bytes, what)) }
        };
        let timed_out = KubernetesError::TimedOut { what: what.into(), seconds: PATIENCE.as_secs() };
        tokio::time::timeout(PATIENCE, whole).await.unwrap_or(Err(timed_out))
    }

    fn broken(&self, what: &str, error: &(dyn std::error::Error + 'static)) -> KubernetesError {
        if error.is::<LengthLimitError>() {
            return KubernetesError::TooMany {
                what: format!("bytes of an answer to {what}"),
                limit: MAX_ANSWER,
            };
        }
        KubernetesError::Unreachable { server: self.server.clone(), why: chain(error) }
    }

    /// What became of a request that got no answer.
    pub(super) fn failed(&self, error: &kube::Error, what: &str) -> KubernetesError {
        let server = self.server.clone();
        if let kube::Error::Api(status) = error {
            let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return self.said(code, &status.message, &status.reason, what);
        }
        match tls_error(error) {
            Some(problem @ rustls::Error::InvalidCertificate(_)) => {
                KubernetesError::OtherCluster { server, why: problem.to_string() }
            }
            Some(rustls::Error::AlertReceived(_)) => {
                KubernetesError::Unauthorized { server, expired_at: None }
            }
            Some(problem) => KubernetesError::NotKubernetes { server, why: problem.to_string() },
            None => KubernetesError::Unreachable { server, why: client_error(error) },
        }
    }

    /// What an answer that is no success means.
    fn refusal(&self, status: StatusCode, body: &[u8], what: &str) -> KubernetesError {
        match serde_json::from_slice::<Status>(body) {
            Ok(said) if said.is_failure() => self.said(status, &said.message, &said.reason, what),
            _ if status == StatusCode::NOT_FOUND => {
                KubernetesError::Missing(format!("what is needed to {what}"))
            }
            _ if status == StatusCode::UNAUTHORIZED => self.said(status, "", "", what),
            _ => KubernetesError::NotKubernetes {
                server: self.server.clone(),
                why: format!("status {status} without an explanation in the format of Kubernetes"),
            },
        }
    }

    fn said(&self, status: StatusCode, message: &str, reason: &str, what: &str) -> KubernetesError {
        let why = shortened(message, 500);
        match status.as_u16() {
            401 => KubernetesError::Unauthorized { server: self.server.clone(), expired_at: None },
            403 => KubernetesError::Denied { what: what.into(), why },
            404 => KubernetesError::Missing(if why.is_empty() { what.into() } else { why }),
            409 => KubernetesError::Conflict(what.into()),
            410 | 429 | 500..=599 => {
                KubernetesError::Busy { what: what.into(), why: format!("{reason} {why}") }
            }
            _ => refused(what, &why),
        }
    }
}

/// What the client says, without the name it gives to its own parts.
fn client_error(error: &kube::Error) -> String {
    match error {
        kube::Error::Service(inner) => chain(inner.as_ref()),
        other => chain(other),
    }
}

/// The error of TLS that is behind another one. Errors of input and output hide theirs from `source`.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let hidden = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match hidden {
            Some(hidden) => Some(hidden as &(dyn std::error::Error + 'static)),
            None => error.source(),
        };
    }
    None
}

pub(super) fn refused(what: &str, why: &str) -> KubernetesError {
    KubernetesError::Refused { what: what.into(), why: why.into() }
}

/// One page of a list. Its type says nothing about items of objects that we do not know whole.
#[derive(serde::Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Default, serde::Deserialize)]
struct PageMetadata {
    #[serde(rename = "continue", default)]
    next: Option<String>,
}

/// A word as part of a query.
pub(in crate::kubernetes) fn form(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
