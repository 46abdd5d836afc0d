use std::{sync::Arc, time::Duration};

use reqwest::{Method, Response};
use serde_json::Value;
use sos_api::wire::{EventRecord, SiteLive};

use crate::server::{Server, problem};

/// Reads a stream message by message.
struct Messages {
    response: Response,
    text: String,
}

impl Messages {
    async fn open(server: &Server, token: &str) -> Self {
        let response = server.get("/api/v1/stream?site=fontana").bearer_auth(token).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// Name and data of the next message; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    message.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("").trim().to_owned()
                };
                let message = (field("event:"), serde_json::from_str(&field("data:")).unwrap());
                self.text = rest.to_owned();
                return Some(message);
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.text.push_str(&String::from_utf8_lossy(&chunk));
        }
    }
}

fn event(id: u64) -> EventRecord {
    EventRecord {
        id,
        time: "2026-08-02T13:00:00Z".into(),
        site_time: Some("2016-08-02T13:00:00-08:00".into()),
        level: "Normal".into(),
        reason: "Test".into(),
        kind: "Site".into(),
        name: "a\nb".into(),
        message: "line\r\n\ndata: forged".into(),
        count: 1,
    }
}

#[tokio::test]
async fn a_reader_gets_the_state_at_once_and_then_every_newest_one() {
    let server = Server::start().await;
    let mut messages = Messages::open(&server, "viewer-token").await;
    let (name, first) = messages.next().await.unwrap();
    assert_eq!((name.as_str(), first["tick"].as_u64()), ("site", Some(38)));
    for _ in 0..1000 {
        server.fake.advance();
    }
    let mut seen = 0;
    loop {
        let state: SiteLive = serde_json::from_value(messages.next().await.unwrap().1).unwrap();
        seen += 1;
        if state.tick == 1038 {
            break;
        }
    }
    assert!(seen <= 5, "a thousand states at once became {seen} messages");
}

#[tokio::test]
async fn text_of_an_event_cannot_forge_a_message() {
    let server = Server::start().await;
    let mut messages = Messages::open(&server, "viewer-token").await;
    messages.next().await.unwrap();
    server.fake.tell(event(7));
    let (name, data) = messages.next().await.unwrap();
    assert_eq!(name, "event");
    assert_eq!(serde_json::from_value::<EventRecord>(data).unwrap(), event(7));
}

#[tokio::test]
async fn streams_are_bounded_and_their_places_come_back() {
    let server = Server::with(|options| options.max_streams = 2).await;
    let first = Messages::open(&server, "viewer-token").await;
    let follow =
        server.admin(Method::GET, "/api/v1/services/adapter/logs?follow=true&lines=2").send().await.unwrap();
    assert_eq!(follow.status(), 200);
    let third = server.admin(Method::GET, "/api/v1/stream").send().await.unwrap();
    assert_eq!(third.headers()["retry-after"], "5");
    assert!(problem(third, 503).await.detail.contains("all 2 places"));
    drop((first, follow));
    // The server notices a closed connection when the system tells it: ask until a place is free.
    let freed = async {
        while server.admin(Method::GET, "/api/v1/stream").send().await.unwrap().status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), freed).await.expect("a closed stream gives its place back");
}

#[tokio::test]
async fn logs_are_lines_of_text() {
    let server = Server::start().await;
    let logs = server.admin(Method::GET, "/api/v1/services/adapter/logs?lines=2").send().await.unwrap();
    assert_eq!(logs.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(logs.text().await.unwrap(), "line 0\nline 1\n");
}

#[tokio::test]
async fn a_stop_ends_streams_with_a_farewell_and_the_server_with_them() {
    let server = Server::start().await;
    let mut messages = Messages::open(&server, "viewer-token").await;
    messages.next().await.unwrap();
    let follow =
        server.admin(Method::GET, "/api/v1/services/adapter/logs?follow=true&lines=1").send().await.unwrap();
    server.stop.cancel();
    assert_eq!(messages.next().await.unwrap().0, "bye");
    assert!(messages.next().await.is_none());
    assert_eq!(follow.text().await.unwrap(), "line 0\n");
    let Server { task, fake, .. } = server;
    tokio::time::timeout(Duration::from_secs(10), task).await.expect("the server ends").unwrap();
    assert_eq!((fake.listeners(), Arc::strong_count(&fake)), (0, 1), "nothing of it is left");
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_ends_its_stream() {
    let server = Server::start().await;
    let mut messages = Messages::open(&server, "viewer-token").await;
    messages.next().await.unwrap();
    server.fake.revoked.lock().unwrap().push("viewer-token".into());
    loop {
        let (name, data) = messages.next().await.unwrap();
        if name == "bye" {
            assert_eq!(data, "the token was revoked");
            break;
        }
        assert_eq!(name, "ping");
    }
}
