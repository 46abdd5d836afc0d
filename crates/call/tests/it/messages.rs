//! Messages over HTTP and WebSocket against peers that are played here, and over the brokers of others.

use futures::{SinkExt as _, StreamExt as _};
use sos_call::messages::{
    Bindings, Message, Place, Protocol, Subscription, Who, publish, subscribe, unsubscribe,
};
use sos_call::{Credentials, Egress, ErrorKind, Login, Peer, Secret, Settings, Transport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use crate::events::{mqtt, nats};
use crate::support::{WAIT, closed_port};

fn transport() -> Transport {
    Transport::new(&Settings::default()).unwrap()
}

fn place(protocol: Protocol, port: u16, address: &str) -> Place {
    Place {
        protocol,
        peer: Peer { host: "127.0.0.1".to_owned(), port, encrypted: false },
        address: address.to_owned(),
        bindings: Bindings::default(),
        who: Who::default(),
    }
}

fn message(payload: &str) -> Message {
    let headers = vec![("x-of".to_owned(), "test".to_owned())];
    Message { payload: payload.into(), headers, ..Message::default() }
}

async fn next(subscription: &mut Subscription) -> Message {
    let next = tokio::time::timeout(WAIT, subscription.next()).await.expect("a message comes in time");
    next.unwrap().expect("there is more")
}

fn text(message: &Message) -> &str {
    std::str::from_utf8(&message.payload).unwrap()
}

/// Answers one request with this, and gives what was asked, its lines in lower case.
async fn answering(listener: &TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut asked = Vec::new();
    while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
        assert!(stream.read_buf(&mut asked).await.unwrap() > 0, "the request is whole");
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(asked).unwrap().to_ascii_lowercase()
}

const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

#[tokio::test]
async fn a_stream_of_events_is_received_and_gone_on_with() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut feed = place(Protocol::Http, listener.local_addr().unwrap().port(), "/feed?of=7");
    feed.who.headers = Credentials::Bearer(Secret::new("t")).headers(&transport()).await.unwrap();
    let two = format!("{EVENTS}: hello\n\nid: 1\ndata: one\n\nid: 2\nevent: e\ndata: two\n\ndata: cut");
    let served = async {
        let first = answering(&listener, &two).await;
        let second = answering(&listener, "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n").await;
        (first, second)
    };
    let received = async {
        let mut subscription = subscribe(&transport(), &feed, "k", None).await.unwrap();
        let one = next(&mut subscription).await;
        let two = next(&mut subscription).await;
        let lost = subscription.next().await.unwrap_err();
        assert_eq!((text(&one), text(&two), lost.kind), ("one", "two", ErrorKind::Broken));
        assert_eq!(two.headers, [("event".to_owned(), "e".to_owned()), ("id".to_owned(), "2".to_owned())]);
        let mut over = subscribe(&transport(), &feed, "k", two.position.as_deref()).await.unwrap();
        assert_eq!(over.next().await, Ok(None), "nothing more will come");
    };
    let ((first, second), ()) = futures::join!(served, received);
    assert!(first.starts_with("get /feed?of=7 ") && first.contains("authorization: bearer t\r\n"), "{first}");
    assert!(first.contains("accept: text/event-stream") && !first.contains("last-event-id"), "{first}");
    assert!(second.contains("last-event-id: 2\r\n"), "{second}");
}

#[tokio::test]
async fn lines_are_messages_and_other_answers_are_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let feed = place(Protocol::Http, listener.local_addr().unwrap().port(), "/");
    let head = |kind: &str| format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n\r\n");
    let lines = head("application/x-ndjson") + "{\"n\":1}\n\n{\"n\":2}\n{\"n\":";
    let served = async {
        answering(&listener, &lines).await;
        answering(&listener, &(head("text/html") + "<p>")).await;
        answering(&listener, "HTTP/1.1 503 X\r\ncontent-length: 4\r\n\r\nbusy").await;
    };
    let received = async {
        let mut subscription = subscribe(&transport(), &feed, "k", None).await.unwrap();
        assert_eq!(text(&next(&mut subscription).await), "{\"n\":1}");
        assert_eq!(text(&next(&mut subscription).await), "{\"n\":2}");
        assert_eq!(subscription.next().await.unwrap_err().kind, ErrorKind::Broken);
        let page = subscribe(&transport(), &feed, "k", None).await.unwrap_err();
        assert!(page.kind == ErrorKind::BadAnswer && page.message.contains("text/html"), "{page}");
        let busy = subscribe(&transport(), &feed, "k", None).await.unwrap_err();
        let fault = busy.fault.unwrap();
        assert!(fault.temporary && fault.status == 503 && busy.message.contains("busy"), "{}", busy.message);
    };
    futures::join!(served, received);
}

#[tokio::test]
async fn requests_publish_with_key_and_headers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut said = place(Protocol::Http, listener.local_addr().unwrap().port(), "/said");
    said.bindings.method = Some("PUT".to_owned());
    let answer = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
    let transport = transport();
    let (asked, sent) =
        futures::join!(answering(&listener, answer), publish(&transport, &said, message("{}"), "run/do/0"));
    sent.unwrap();
    assert!(asked.starts_with("put /said "), "{asked}");
    for line in ["idempotency-key: run/do/0", "x-of: test", "content-type: application/json"] {
        assert!(asked.contains(line), "{asked}");
    }
}

fn checked(
    request: &Request,
    response: Response,
) -> Result<Response, tokio_tungstenite::tungstenite::handshake::server::ErrorResponse> {
    assert_eq!((request.uri().path(), request.headers()["x-of"].to_str().unwrap()), ("/room", "test"));
    Ok(response)
}

#[tokio::test]
async fn sockets_publish_and_receive() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let room = place(Protocol::Ws, listener.local_addr().unwrap().port(), "/room");
    let transport = transport();
    let hears = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_hdr_async(stream, checked).await.unwrap();
        let heard = socket.next().await.unwrap().unwrap();
        // The close is answered when the next is asked for.
        while socket.next().await.is_some() {}
        heard
    };
    let (heard, sent) = futures::join!(hears, publish(&transport, &room, message("hello"), "k"));
    sent.unwrap();
    assert_eq!(heard, Frame::text("hello"));
    let says = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        socket.send(Frame::Ping(vec![1].into())).await.unwrap();
        socket.send(Frame::text("one")).await.unwrap();
        socket.send(Frame::binary(vec![255_u8])).await.unwrap();
        socket.close(None).await.unwrap();
        while socket.next().await.is_some() {}
    };
    let hears = async {
        let mut subscription = subscribe(&transport, &room, "k", None).await.unwrap();
        assert_eq!(text(&next(&mut subscription).await), "one");
        assert_eq!(next(&mut subscription).await.payload, [255]);
        assert_eq!(subscription.next().await.unwrap_err().kind, ErrorKind::Broken);
    };
    futures::join!(says, hears);
    let refuses = answering(&listener, "HTTP/1.1 401 X\r\ncontent-length: 0\r\n\r\n");
    let (_, refused) = futures::join!(refuses, subscribe(&transport, &room, "k", None));
    assert_eq!(refused.unwrap_err().fault.unwrap().status, 401);
}

#[tokio::test]
async fn nothing_is_reached_that_may_not_be() {
    let listed = Settings { egress: Egress::listed().allow("127.0.0.2").unwrap(), ..Settings::default() };
    let listed = Transport::new(&listed).unwrap();
    let port = closed_port();
    for protocol in [Protocol::Http, Protocol::Ws, Protocol::Mqtt, Protocol::Nats] {
        let place = place(protocol, port, "/a");
        let refused = publish(&listed, &place, message("{}"), "k").await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::NotAllowed, "{protocol:?}: {refused}");
        let refused = subscribe(&listed, &place, "k", None).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::NotAllowed, "{protocol:?}: {refused}");
        let nobody = subscribe(&transport(), &place, "k", None).await.unwrap_err();
        assert_eq!(nobody.kind, ErrorKind::Unreachable, "{protocol:?}: {nobody}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_of_mqtt_keeps_messages_until_they_are_taken() {
    let Some(broker) = mqtt::broker("allow_anonymous true").await else { return };
    let transport = transport();
    let hall = place(Protocol::Mqtt, broker.port, "hall/+");
    let meter = Place { address: "hall/m7".to_owned(), ..hall.clone() };
    let say = async |text: &str| publish(&transport, &meter, message(text), text).await.unwrap();
    let mut subscription = subscribe(&transport, &hall, "run/do/0", None).await.unwrap();
    say("1").await;
    say("2").await;
    let one = next(&mut subscription).await;
    assert_eq!(text(&one), "1");
    assert!(one.headers.contains(&("x-of".to_owned(), "test".to_owned())), "{one:?}");
    assert_eq!(text(&next(&mut subscription).await), "2", "so the first was taken");
    // It goes before it has told that it has the second one.
    drop(subscription);
    say("3").await;
    let mut again = subscribe(&transport, &hall, "run/do/0", None).await.unwrap();
    let mut texts = Vec::new();
    while texts.last().is_none_or(|last| last != "3") {
        texts.push(text(&next(&mut again).await).to_owned());
    }
    assert_eq!(texts, ["2", "3"], "what was not taken comes again, and what came meanwhile");
    drop(again);
    unsubscribe(&transport, &hall, "run/do/0").await.unwrap();
    say("4").await;
    let mut fresh = subscribe(&transport, &hall, "run/do/0", None).await.unwrap();
    say("5").await;
    assert_eq!(text(&next(&mut fresh).await), "5", "nothing was kept after the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_carries_messages_to_those_who_listen() {
    let Some(server) = nats::server("authorization { token: t }").await else { return };
    let transport = transport();
    let mut hall = place(Protocol::Nats, server.port, "hall.*");
    let stranger = subscribe(&transport, &hall, "k", None).await.unwrap_err();
    assert_eq!(stranger.kind, ErrorKind::NoCredentials, "{stranger}");
    hall.who.token = Some(Secret::new("t"));
    let meter = Place { address: "hall.m7".to_owned(), ..hall.clone() };
    let mut subscription = subscribe(&transport, &hall, "k", None).await.unwrap();
    // The server takes things in their order: once this is back, it knows of the subscription.
    publish(&transport, &meter, message("1"), "key").await.unwrap();
    let one = next(&mut subscription).await;
    assert_eq!(text(&one), "1");
    assert!(one.headers.contains(&("Nats-Msg-Id".to_owned(), "key".to_owned())), "{one:?}");
    let wrong = Message { headers: vec![("a:b".to_owned(), "c".to_owned())], ..message("2") };
    assert_eq!(publish(&transport, &meter, wrong, "k").await.unwrap_err().kind, ErrorKind::BadInput);
    server.kill();
    let lost = tokio::time::timeout(WAIT, subscription.next()).await.unwrap();
    assert_eq!(lost.unwrap_err().kind, ErrorKind::Broken);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_show_themselves_to_nats() {
    let more =
        "authorization { users = [{user: ann, password: pw, permissions: {publish: {deny: \"secret.>\"}}}] }";
    let Some(server) = nats::server(more).await else { return };
    let mut hall = place(Protocol::Nats, server.port, "hall");
    hall.who.login = Some(Login { user: "ann".to_owned(), password: Secret::new("pw") });
    publish(&transport(), &hall, message("1"), "k").await.unwrap();
    hall.address = "secret.1".to_owned();
    let refused = publish(&transport(), &hall, message("1"), "k").await.unwrap_err();
    assert!(refused.kind == ErrorKind::Fault && refused.message.contains("secret.1"), "{refused}");
}
