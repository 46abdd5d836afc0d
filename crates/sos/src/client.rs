//! The commands' side of the HTTP API: finds the server and its token, and turns answers into failures for people.

use std::path::Path;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::outcome::Failure;

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
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl ServerArgs {
    /// Reads what is not given from the data directory below the current folder.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let base = match &self.server {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => from_data_dir("server", "--server or SOS_SERVER")?,
        };
        let token = match &self.token {
            Some(token) => token.clone(),
            None => from_data_dir("token", "--token or SOS_TOKEN")?,
        };
        Ok(Client { http: reqwest::Client::new(), base, token })
    }
}

fn from_data_dir(file: &str, instead: &str) -> Result<String, Failure> {
    let path = Path::new(".sos").join(file);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(Failure::Unreachable(format!(
            "no server is known: cannot read {} ({error}); start one with `sos up DIR`, run this in the folder DIR, or give {instead}",
            path.display()
        ))),
    }
}

impl Client {
    /// A GET that answers JSON.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send(Method::GET, path, None).await
    }

    /// Any request with an optional body; answers JSON, or null for an empty answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Body>,
    ) -> Result<Value, Failure> {
        let response = self.response(method, path, body).await?;
        let text = response.text().await.map_err(|error| self.unreachable(&error))?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|error| {
            Failure::unsuccessful(format!("the server answered something that is not JSON: {error}"))
        })
    }

    /// The raw response of a successful request, for streams.
    pub(crate) async fn response(
        &self,
        method: Method,
        path: &str,
        body: Option<Body>,
    ) -> Result<reqwest::Response, Failure> {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        request = match body {
            Some(Body::Json(value)) => request.json(&value),
            Some(Body::Yaml(bytes)) => request.header("content-type", "application/yaml").body(bytes),
            None => request,
        };
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        Err(failure(status, &text))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
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
    Json(Value),
    Yaml(Vec<u8>),
}

/// A problem document of the API as a failure.
fn failure(status: StatusCode, text: &str) -> Failure {
    let problem: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    let detail = problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or(text).to_owned();
    let problems: Vec<String> =
        problem["problems"].as_array().into_iter().flatten().map(problem_line).collect();
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

fn problem_line(problem: &Value) -> String {
    problem
        .as_str()
        .map_or_else(|| problem["text"].as_str().unwrap_or_default().to_owned(), ToOwned::to_owned)
}
