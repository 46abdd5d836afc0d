//! The commands' side of the HTTP API: finds the server and its token, and turns answers into failures for people.

use std::path::Path;
use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sos_api::Problem;
use sos_api::wire::{CallAnswer, CallFailure, CallRequest};

use crate::outcome::{Failure, causes};

/// A server that takes longer to accept a connection is not there.
const CONNECT: Duration = Duration::from_secs(5);
/// A server that takes longer to answer is stuck; the server itself gives up after half of it.
const ANSWER: Duration = Duration::from_secs(60);

/// Where the server is and who asks.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// Address of the server, e.g. http://127.0.0.1:7600 [default: the one in ./.sos]
    #[arg(long, global = true, env = "SOS_SERVER", value_name = "URL")]
    server: Option<String>,
    /// Token to present [default: the one in ./.sos]
    #[arg(long, global = true, env = "SOS_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// A connection to one server.
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: String,
}

impl ServerArgs {
    /// Reads what is not given from the data directory below the current folder.
    ///
    /// # Errors
    /// When no server or no token is known. The token in `./.sos` goes to the server of `./.sos` only.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let base = match given(&self.server) {
            Some(url) => url,
            None => from_data_dir("server").map_err(no_server)?,
        };
        let token = match given(&self.token) {
            Some(token) => token,
            None if same_server(&base) => from_data_dir("token").map_err(no_token)?,
            None => {
                return Err(Failure::NotPermitted(format!(
                    "no token for the server {base}: give one with --token or SOS_TOKEN"
                )));
            }
        };
        Client::new(&base, token)
    }
}

fn from_data_dir(file: &str) -> Result<String, String> {
    let path = Path::new(".sos").join(file);
    let text = std::fs::read_to_string(&path);
    text.map(|text| text.trim().to_owned())
        .map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn no_server(why: String) -> Failure {
    Failure::Unreachable(format!(
        "no server is known ({why}): start one with `sos up DIR`, run this in the folder DIR, \
         or give --server and --token (SOS_SERVER, SOS_TOKEN)"
    ))
}

fn no_token(why: String) -> Failure {
    Failure::NotPermitted(format!("no token is known ({why}): give one with --token or SOS_TOKEN"))
}

/// Whether an address is the one of the server in `./.sos`.
fn same_server(base: &str) -> bool {
    from_data_dir("server").is_ok_and(|own| own.trim_end_matches('/') == base.trim_end_matches('/'))
}

impl Client {
    fn new(base: &str, token: String) -> Result<Self, Failure> {
        let wrong = |why: String| {
            Failure::input(format!("server \"{base}\" {why}; expected such as http://127.0.0.1:7600"))
        };
        let url = Url::parse(base).map_err(|error| wrong(format!("is no address: {error}")))?;
        if url.scheme() != "http" {
            return Err(wrong(format!(
                "has the scheme {}, and this program speaks http only: use a TLS proxy or a tunnel to a remote server",
                url.scheme()
            )));
        }
        let loopback = url.host_str().is_some_and(|host| {
            let host = host.trim_matches(['[', ']']);
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        });
        let mut http = reqwest::Client::builder().connect_timeout(CONNECT);
        if loopback {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| Failure::unsuccessful(causes(&error)))?;
        Ok(Self { http, base: url, token })
    }

    /// The address of a path below `/api/v1`, its parts and the query encoded.
    fn url(&self, path: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// A GET that answers JSON of a known shape.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, Failure> {
        self.send(Method::GET, path, query, Body::None).await
    }

    /// Any request that answers JSON of a known shape; an empty answer counts as null.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Body,
    ) -> Result<T, Failure> {
        let response = self.response(method, path, query, body, Some(ANSWER)).await?;
        self.read(response).await
    }

    async fn read<T: DeserializeOwned>(&self, response: reqwest::Response) -> Result<T, Failure> {
        let text = response.text().await.map_err(|error| self.unreachable(&error))?;
        let text = if text.is_empty() { "null" } else { &text };
        serde_json::from_str(text).map_err(|error| {
            Failure::unsuccessful(format!(
                "the server at {} answered something else than this version of sos expects: {error}",
                self.base
            ))
        })
    }

    /// A request whose answer may take longer than others, by so much.
    pub(crate) async fn send_within<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: Body,
        longer: Duration,
    ) -> Result<T, Failure> {
        let response = self.response(method, path, &[], body, Some(ANSWER + longer)).await?;
        self.read(response).await
    }

    /// The raw response of a successful request, for streams; without a time limit it may go on for ever.
    pub(crate) async fn response(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Body,
        limit: Option<Duration>,
    ) -> Result<reqwest::Response, Failure> {
        let mut request = self.http.request(method, self.url(path, query)).bearer_auth(&self.token);
        if let Some(limit) = limit {
            request = request.timeout(limit);
        }
        request = match body {
            Body::Json(value) => request.json(&value),
            Body::Yaml(text) => request.header("content-type", "application/yaml").body(text),
            Body::Events(json) => {
                request.header("content-type", "application/cloudevents-batch+json").body(json)
            }
            Body::None => request,
        };
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        Err(failure(status, &text))
    }

    /// Has the server call a service; what the service refuses or fails decides the exit code.
    pub(crate) async fn call(&self, service: &str, request: &CallRequest) -> Result<CallAnswer, Failure> {
        let url = self.url(&["services", service, "call"], &[]);
        // The server keeps the call's own deadline; a stuck server is not waited for much longer.
        let asked = request.timeout_seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
        let limit = ANSWER.max(asked.unwrap_or_default() + CONNECT);
        let sent = self.http.post(url).bearer_auth(&self.token).json(request).timeout(limit).send().await;
        let response = sent.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| self.unreachable(&error))?;
        if !status.is_success() {
            return Err(call_failure(status, &text));
        }
        serde_json::from_str(&text).map_err(|error| {
            Failure::unsuccessful(format!("the server answered no call: {error}; is it this version of sos?"))
        })
    }

    /// What to say when the connection fails.
    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Failure::Unreachable(format!(
            "the server at {} cannot be reached: {cause}; is `sos up` running?",
            self.base
        ))
    }
}

/// What a request carries.
#[derive(Debug)]
pub(crate) enum Body {
    None,
    Json(Value),
    Yaml(String),
    /// A batch of CloudEvents.
    Events(String),
}

/// Why a call gave no answer. What the service said itself follows as one line of JSON.
fn call_failure(status: StatusCode, text: &str) -> Failure {
    let problem = serde_json::from_str::<Problem>(text).ok();
    let told = problem.as_ref().and_then(|problem| problem.problems.first());
    let Some(told) = told.and_then(|one| serde_json::from_value::<CallFailure>(one.clone()).ok()) else {
        return failure(status, text);
    };
    let mut message = told.text;
    if let Some(fault) = &told.fault {
        message = format!("{message}\n{fault}");
    }
    match told.kind.as_str() {
        "bad_input" | "bad_document" => {
            Failure::BadInput(problem.iter().flat_map(|p| &p.problems).map(problem_line).collect())
        }
        "not_allowed" | "no_credentials" => Failure::NotPermitted(message),
        "unreachable" | "broken" | "timed_out" | "overloaded" => Failure::Unreachable(message),
        _ => Failure::Unsuccessful(message),
    }
}

/// A problem document of the API as a failure.
fn failure(status: StatusCode, text: &str) -> Failure {
    let (detail, problems) = match serde_json::from_str::<Problem>(text) {
        Ok(problem) => (problem.detail, problem.problems.iter().map(problem_line).collect()),
        Err(_) => {
            let unknown = || format!("the server answered {status}; is it a server of sos?");
            (query_error(text).unwrap_or_else(unknown), Vec::new())
        }
    };
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::NotPermitted(detail),
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY if !problems.is_empty() => {
            Failure::BadInput(problems)
        }
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::PAYLOAD_TOO_LARGE => {
            Failure::input(detail)
        }
        _ => Failure::Unsuccessful(detail),
    }
}

/// What the query API says, which answers errors as Prometheus does.
fn query_error(text: &str) -> Option<String> {
    let answer: Value = serde_json::from_str(text).ok()?;
    answer["error"].as_str().map(str::to_owned)
}

fn problem_line(problem: &Value) -> String {
    let text = problem.as_str().or(problem["text"].as_str());
    text.map_or_else(|| problem.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_queries_are_encoded_and_a_path_prefix_is_kept() {
        let client = Client::new("http://127.0.0.1:7600/sos/", "t".into()).unwrap();
        let url = client.url(&["resources", "Service", "a/../b"], &[("selector", "a=b,c!=d".into())]);
        assert_eq!(
            url.as_str(),
            "http://127.0.0.1:7600/sos/api/v1/resources/Service/a%2F..%2Fb?selector=a%3Db%2Cc%21%3Dd"
        );
    }

    #[test]
    fn what_became_of_a_call_decides_the_exit_code() {
        let told = |kind: &str, fault: Value| {
            let one = serde_json::json!({
                "text": "market getOffers · why", "kind": kind, "service": "market", "operation": "getOffers",
                "place": "", "fault": fault,
            });
            let problem = serde_json::json!({
                "type": "about:blank", "title": "t", "status": 424, "detail": "why", "problems": [one],
            });
            call_failure(StatusCode::FAILED_DEPENDENCY, &problem.to_string())
        };
        assert!(matches!(told("bad_input", Value::Null), Failure::BadInput(lines) if lines.len() == 1));
        assert!(matches!(told("not_allowed", Value::Null), Failure::NotPermitted(_)));
        assert!(matches!(told("timed_out", Value::Null), Failure::Unreachable(_)));
        let fault = told("fault", serde_json::json!({ "code": "404" }));
        let Failure::Unsuccessful(text) = fault else { panic!("{fault:?}") };
        assert_eq!(text, "market getOffers · why\n{\"code\":\"404\"}");
        let unknown =
            call_failure(StatusCode::NOT_FOUND, r#"{"type":"","title":"","status":404,"detail":"no"}"#);
        assert!(matches!(unknown, Failure::Unsuccessful(why) if why == "no"));
    }

    #[test]
    fn a_problem_decides_the_exit_code() {
        let problem = |status: u16, problems: Value| {
            let text = serde_json::json!({
                "type": "about:blank", "title": "t", "status": status, "detail": "why", "problems": problems,
            });
            failure(StatusCode::from_u16(status).unwrap(), &text.to_string())
        };
        let none = || serde_json::json!([]);
        assert!(matches!(problem(401, none()), Failure::NotPermitted(why) if why == "why"));
        assert!(matches!(problem(403, none()), Failure::NotPermitted(_)));
        assert!(matches!(problem(404, none()), Failure::Unsuccessful(_)));
        assert!(matches!(problem(409, none()), Failure::Unsuccessful(_)));
        let listed = problem(422, serde_json::json!([{"text": "a.yaml:1:2: wrong"}, "plain"]));
        assert!(matches!(listed, Failure::BadInput(lines) if lines == ["a.yaml:1:2: wrong", "plain"]));
        assert!(matches!(failure(StatusCode::BAD_GATEWAY, "<html>"), Failure::Unsuccessful(_)));
    }
}
