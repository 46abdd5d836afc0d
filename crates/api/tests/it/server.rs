//! A running server and a client for it.

use std::{net::SocketAddr, sync::Arc};

use reqwest::{Method, RequestBuilder, Response};
use sos_api::{Options, Problem, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::fake::Fake;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) fake: Arc<Fake>,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
    client: reqwest::Client,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut options = Options::new(address);
        change(&mut options);
        let fake = Arc::new(Fake::new(38, "<img src=x onerror=alert(1)>"));
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, fake.clone(), options, stop.clone()));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { address, fake, stop, task, client }
    }

    pub(crate) fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.ask(Method::GET, path)
    }

    pub(crate) fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        self.ask(method, path).bearer_auth("admin-token")
    }

    pub(crate) fn cookie(&self) -> String {
        format!("sos_session_{}=admin-token", self.address.port())
    }

    /// Sends bytes as they are and gives what comes until the server closes.
    pub(crate) async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// The problem in an answer, which has to say what to do in a sentence.
pub(crate) async fn problem(response: Response, status: u16) -> Problem {
    assert_eq!(response.status(), status, "{}", response.url());
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Problem = response.json().await.unwrap();
    assert_eq!(problem.status, status);
    assert!(problem.detail.len() > 20, "{problem:?}");
    problem
}
