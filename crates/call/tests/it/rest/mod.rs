//! REST services by their descriptions.

mod hostile;
mod limits;
mod peers;
mod prism;
mod properties;
mod public;
mod wire;
mod wiremock;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sos_call::rest::{Client, Whole};
use sos_call::{Address, Answer, Call, CallError, Documents, Limits, Secret, Settings, Transport};

use crate::support::WAIT;

/// The folder of descriptions of ours.
fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/openapi")
}

/// A description by its files, the first the one that is meant.
fn documents(names: &[&str]) -> Documents {
    let read = |name: &&str| ((*name).to_owned(), std::fs::read(cases().join(name)).unwrap());
    Documents { all: names.iter().map(read).collect() }
}

fn client(names: &[&str]) -> Client {
    Client::read(&documents(names)).unwrap_or_else(|error| panic!("{error}"))
}

fn market() -> Client {
    client(&[
        "market/openapi.yaml",
        "market/paths/offers.json",
        "market/paths/common.yaml",
        "market/schemas.yaml",
    ])
}

fn described(text: &str) -> Client {
    Client::read(&Documents::one("openapi.yaml", text)).unwrap_or_else(|error| panic!("{error}"))
}

fn transport() -> Transport {
    Transport::new(&Settings::default()).unwrap()
}

/// One call, with what is usual.
struct Asked<'a> {
    client: &'a Client,
    endpoint: Address,
    headers: Vec<(String, Secret)>,
    query: Vec<(String, Secret)>,
    timeout: Duration,
    limits: Limits,
}

impl<'a> Asked<'a> {
    fn new(client: &'a Client, port: u16, base: &str) -> Self {
        let endpoint = Address::parse(&format!("http://127.0.0.1:{port}{base}")).unwrap();
        Self { client, endpoint, headers: vec![], query: vec![], timeout: WAIT, limits: Limits::default() }
    }

    async fn call(&self, operation: &str, input: Value) -> Result<Answer, CallError> {
        self.client.call(&transport(), &self.one(operation, &input)).await
    }

    async fn whole(&self, operation: &str) -> Result<Whole, CallError> {
        self.client.call_whole(&transport(), &self.one(operation, &Value::Null)).await
    }

    fn one<'c>(&'c self, operation: &'c str, input: &'c Value) -> Call<'c> {
        Call {
            endpoint: &self.endpoint,
            operation,
            input,
            headers: &self.headers,
            query: &self.query,
            timeout: self.timeout,
            limits: self.limits,
        }
    }
}
