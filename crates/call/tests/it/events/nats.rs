//! Channels on a NATS server with JetStream.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures::FutureExt as _;
use sos_call::events::conformance::{Load, Proxy};
use sos_call::events::{
    Broker as _, BrokerTls, CloudEvent, Confirm, Content, Mode, Nats, NatsAuth, NatsSettings, Stream,
    StreamMode,
};
use sos_call::{ErrorKind, Identity, Login, Secret};

use super::process::{Process, program};
use super::{Brokered, judged, measured};
use crate::support::{certificates, closed_port, silent, trust};

/// A server with these lines of configuration beside its own.
pub(crate) async fn server(more: &str) -> Option<Process> {
    let program = program("SOS_NATS", &["/usr/sbin/nats-server", "/usr/bin/nats-server"])?;
    let config = |folder: &std::path::Path, port: u16| {
        let data = folder.join("data").display().to_string();
        format!("listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{data}\" }}\n{more}\n")
    };
    Some(Process::new(program, config).await)
}

fn settings(port: u16, number: u64) -> NatsSettings {
    let mut settings =
        NatsSettings::new("127.0.0.1", port, &format!("S{number}"), &format!("events.{number}"));
    settings.ack_wait = Duration::from_secs(5);
    settings
}

async fn subject() -> Option<Brokered> {
    let process = server("").await?;
    let proxy = Proxy::to(process.port).await.unwrap();
    Some(Brokered {
        proxy,
        process,
        make: Box::new(|port, number| {
            // Both modes are as good as each other.
            let mode = if number % 2 == 0 { Mode::Structured } else { Mode::Binary };
            Arc::new(Nats::new(NatsSettings { mode, ..settings(port, number) }).unwrap())
        }),
        raw: Box::new(|port, number, raw| {
            async move {
                let client = async_nats::connect(format!("nats://127.0.0.1:{port}")).await.unwrap();
                let context = async_nats::jetstream::new(client);
                let sent = context.publish(format!("events.{number}"), raw.to_vec().into()).await.unwrap();
                sent.await.map(drop).map_err(|error| error.to_string())
            }
            .boxed()
        }),
        confirm: Confirm::Broker,
        count: AtomicU64::new(0),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_on_nats_conforms() {
    let Some(subject) = subject().await else { return };
    judged(&subject, &Load::SMOKE).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: 100,000 messages, the server killed and cut off meanwhile"]
async fn a_channel_on_nats_conforms_under_full_load() {
    let Some(subject) = subject().await else { return };
    judged(&subject, &Load::FULL).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: measures"]
async fn how_fast_nats_is() {
    let Some(subject) = subject().await else { return };
    measured(&subject, 100_000, 1000).await;
}

fn event(id: &str) -> CloudEvent {
    CloudEvent::new(id, "/s", "t").with_json(serde_json::json!({"id": id}))
}

/// What a receiver gets first, each message once: on a busy machine some come again before all have come.
async fn received(nats: &Nats, count: usize) -> Vec<String> {
    let mut receiver = nats.receive().await.unwrap();
    let mut ids = vec![];
    while ids.len() < count {
        let batch = receiver.next(count).await.unwrap();
        for received in &batch {
            match &received.content {
                Content::Event(event) if ids.contains(&event.id) => {}
                Content::Event(event) => ids.push(event.id.clone()),
                Content::Malformed(malformed) => panic!("{malformed:?}"),
            }
        }
    }
    ids
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_first_to_the_next_receiver_and_in_order() {
    let Some(server) = server("").await else { return };
    let nats = Nats::new(settings(server.port, 1)).unwrap();
    let events: Vec<_> = (0..20).map(|number| event(&number.to_string())).collect();
    nats.publish(&events[..10]).await.unwrap();
    assert_eq!(received(&nats, 10).await.len(), 10);
    nats.publish(&events[10..]).await.unwrap();
    let expected: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(received(&nats, 20).await, expected);
}

#[tokio::test]
async fn acknowledged_messages_do_not_come_again() {
    let Some(server) = server("").await else { return };
    let nats = Nats::new(settings(server.port, 1)).unwrap();
    nats.publish(&[event("1"), event("2")]).await.unwrap();
    let mut receiver = nats.receive().await.unwrap();
    let mut tokens = vec![];
    while tokens.len() < 2 {
        tokens.extend(receiver.next(10).await.unwrap().into_iter().map(|received| received.token));
    }
    receiver.acknowledge(tokens).await.unwrap();
    drop(receiver);
    nats.publish(&[event("3")]).await.unwrap();
    assert_eq!(received(&nats, 1).await, ["3"]);
}

#[tokio::test]
async fn a_full_stream_is_temporary_and_a_huge_event_is_not() {
    let Some(server) = server("max_payload: 100000").await else { return };
    let mut limited = settings(server.port, 1);
    let StreamMode::Ensured { max_messages, .. } = &mut limited.stream.mode else { panic!() };
    *max_messages = Some(2);
    let nats = Nats::new(limited).unwrap();
    nats.publish(&[event("1"), event("2")]).await.unwrap();
    let error = nats.publish(&[event("3")]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Overloaded, "{error}");
    let huge = event("4").with_json("x".repeat(200_000).into());
    let error = nats.publish(&[huge]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
}

#[tokio::test]
async fn a_stream_of_somebody_else_must_be_there_and_keep_the_subject() {
    let Some(server) = server("").await else { return };
    let mut others = settings(server.port, 1);
    others.stream = Stream { name: "OTHERS".to_owned(), mode: StreamMode::Required };
    let error = Nats::new(others.clone()).unwrap().publish(&[event("1")]).await.unwrap_err();
    assert!(error.kind == ErrorKind::Fault && error.message.contains("OTHERS"), "{error}");
    let nats = Nats::new(settings(server.port, 1)).unwrap();
    nats.publish(&[event("1")]).await.unwrap();
    others.stream.name = "S1".to_owned();
    Nats::new(others.clone()).unwrap().publish(&[event("2")]).await.unwrap();
    others.subject = "nobody.keeps.this".to_owned();
    let error = Nats::new(others).unwrap().publish(&[event("3")]).await.unwrap_err();
    assert!(error.kind == ErrorKind::Fault && error.message.contains("nobody.keeps.this"), "{error}");
}

#[tokio::test]
async fn a_stream_of_ours_gets_the_subjects_and_limits_that_are_declared() {
    let Some(server) = server("").await else { return };
    Nats::new(settings(server.port, 1)).unwrap().publish(&[event("1")]).await.unwrap();
    let mut wider = settings(server.port, 1);
    wider.subject = "more.1".to_owned();
    let StreamMode::Ensured { subjects, max_messages, .. } = &mut wider.stream.mode else { panic!() };
    subjects.push("more.*".to_owned());
    *max_messages = Some(7);
    Nats::new(wider).unwrap().publish(&[event("2")]).await.unwrap();
    let client = async_nats::connect(format!("nats://127.0.0.1:{}", server.port)).await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream("S1").await.unwrap();
    let found = &stream.cached_info().config;
    assert_eq!(
        (found.max_messages, found.subjects.as_slice()),
        (7, &["events.1".to_owned(), "more.*".to_owned()][..])
    );
    assert_eq!(stream.cached_info().state.messages, 2);
}

#[tokio::test]
async fn logins_are_checked_and_never_shown() {
    // The public part of this seed, made for this test.
    let (seed, public) = nkey();
    let users =
        format!("authorization {{ users: [ {{ user: ops, password: hunter2 }}, {{ nkey: {public} }} ] }}");
    let Some(server) = server(&users).await else { return };
    let with = |auth: NatsAuth| Nats::new(NatsSettings { auth, ..settings(server.port, 1) }).unwrap();
    let login =
        |password: &str| NatsAuth::Login(Login { user: "ops".into(), password: Secret::new(password) });
    with(login("hunter2")).publish(&[event("1")]).await.unwrap();
    with(NatsAuth::Nkey(Secret::new(seed))).publish(&[event("2")]).await.unwrap();
    for wrong in [login("wrong-password"), NatsAuth::Token(Secret::new("wrong-password")), NatsAuth::None] {
        let nats = with(wrong);
        let error = nats.publish(&[event("3")]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NoCredentials, "{error}");
        assert!(!format!("{error} {nats:?}").contains("wrong-password"));
    }
}

#[tokio::test]
async fn a_token_signs_in() {
    let Some(server) = server("authorization { token: s3cret }").await else { return };
    let auth = NatsAuth::Token(Secret::new("s3cret"));
    Nats::new(NatsSettings { auth, ..settings(server.port, 1) })
        .unwrap()
        .publish(&[event("1")])
        .await
        .unwrap();
}

fn nkey() -> (String, String) {
    let key = nkeys::KeyPair::new_from_raw(nkeys::KeyPairType::User, [7; 32]).unwrap();
    (key.seed().unwrap(), key.public_key())
}

#[tokio::test]
async fn tls_is_spoken_with_those_who_are_trusted_and_shows_a_certificate() {
    let Some(folder) = certificates() else { return };
    let path = |name: &str| folder.path().join(name).display().to_string();
    let tls = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}",
        path("chain.pem"),
        path("key.pem"),
        path("authority.pem")
    );
    let Some(server) = server(&tls).await else { return };
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    let identity =
        Identity { certificates: read("chain.pem").into_bytes(), key: Secret::new(read("key.pem")) };
    let with = |authority: &str, identity: Option<Identity>| {
        let tls = BrokerTls { trust: trust(&folder, authority), identity };
        let mut settings = NatsSettings { tls: Some(tls), ..settings(server.port, 1) };
        settings.servers[0].0 = "localhost".to_owned();
        Nats::new(settings).unwrap()
    };
    with("authority.pem", Some(identity.clone())).publish(&[event("1")]).await.unwrap();
    for nats in [with("other.pem", Some(identity)), with("authority.pem", None)] {
        let error = nats.publish(&[event("2")]).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Unreachable | ErrorKind::NoCredentials), "{error}");
    }
}

#[tokio::test]
async fn servers_that_are_down_or_silent_or_know_no_jetstream_end_in_time() {
    let (_listener, silent) = silent();
    for port in [closed_port(), silent] {
        let short = NatsSettings { timeout: Duration::from_millis(300), ..settings(port, 1) };
        let nats = Nats::new(short).unwrap();
        let error = nats.publish(&[event("1")]).await.unwrap_err();
        assert!(error.is_temporary() && error.place == format!("nats://127.0.0.1:{port}"), "{error}");
        assert!(nats.receive().await.is_err());
    }
    let Some(program) = program("SOS_NATS", &["/usr/sbin/nats-server", "/usr/bin/nats-server"]) else {
        return;
    };
    let plain = Process::new(program, |_, port| format!("listen: \"127.0.0.1:{port}\"\n")).await;
    let error = Nats::new(settings(plain.port, 1)).unwrap().publish(&[event("1")]).await.unwrap_err();
    assert!(error.message.contains("is it enabled?"), "{error}");
}
