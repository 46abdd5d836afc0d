//! Channels on Mosquitto.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures::FutureExt as _;
use sos_call::deliver::{MqttBroker, MqttMessage, MqttSettings, MqttVersion};
use sos_call::events::conformance::Live;
use sos_call::events::conformance::{Load, Proxy};
use sos_call::events::{
    Broker, BrokerTls, Channel, ChannelParts, CloudEvent, Confirm, Content, Mode, Mqtt, MqttChannelSettings,
    Plain, Retained, Schema,
};
use sos_call::{ErrorKind, Login, Secret};

use super::memory::Memory;
use super::process::{Process, program};
use super::{Brokered, clock, eager, judged, measured, until};
use crate::support::{WAIT, certificates, closed_port, silent, trust};

pub(crate) async fn broker(more: &str) -> Option<Process> {
    let program = program("SOS_MOSQUITTO", &["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"])?;
    let config = |folder: &std::path::Path, port: u16| {
        let data = folder.display();
        format!(
            "listener {port} 127.0.0.1\nlog_dest stderr\nuser root\npersistence true\npersistence_location {data}/\n\
             autosave_on_changes true\nautosave_interval 200\n{more}\n"
        )
    };
    Some(Process::new(program, config).await)
}

fn settings(port: u16, number: u64) -> MqttChannelSettings {
    MqttChannelSettings::new("127.0.0.1", port, &format!("sos{number}"), &format!("events/{number}"))
}

async fn subject(version: MqttVersion, more: &str) -> Option<Brokered> {
    let process = broker(&format!("allow_anonymous true\n{more}")).await?;
    let proxy = Proxy::to(process.port).await.unwrap();
    Some(Brokered {
        proxy,
        process,
        make: Box::new(move |port, number| {
            // Both modes are as good as each other.
            let mode = if number % 2 == 0 { Mode::Structured } else { Mode::Binary };
            Arc::new(Mqtt::new(MqttChannelSettings { version, mode, ..settings(port, number) }).unwrap())
        }),
        raw: Box::new(|port, number, raw| {
            async move {
                let topic = format!("events/{number}");
                let message = MqttMessage { topic: &topic, payload: raw, retain: false };
                publish_raw(port, &message).await.map_err(|error| error.to_string())
            }
            .boxed()
        }),
        confirm: Confirm::Log { within: Duration::from_secs(3) },
        count: AtomicU64::new(0),
    })
}

async fn publish_raw(port: u16, message: &MqttMessage<'_>) -> Result<(), sos_call::deliver::DeliveryError> {
    let version = MqttVersion::V5;
    let settings = MqttSettings { host: "127.0.0.1".into(), port, version, tls: None, login: None };
    MqttBroker::new(settings).unwrap().publish(message, "raw", WAIT).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_on_mqtt_5_conforms() {
    let Some(subject) = subject(MqttVersion::V5, "").await else { return };
    judged(&subject, &Load::SMOKE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_on_mqtt_3_1_1_conforms() {
    let Some(subject) = subject(MqttVersion::V3, "").await else { return };
    judged(&subject, &Load::SMOKE).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: 100,000 messages, the broker killed and cut off meanwhile"]
async fn a_channel_on_mqtt_conforms_under_full_load() {
    let Some(subject) = subject(MqttVersion::Newest, "max_inflight_messages 500").await else { return };
    judged(&subject, &Load::FULL).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: measures"]
async fn how_fast_mqtt_is() {
    let more = "max_inflight_messages 1000\nautosave_on_changes false";
    let Some(subject) = subject(MqttVersion::V5, more).await else { return };
    measured(&subject, 100_000, 1000).await;
}

fn event(id: &str) -> CloudEvent {
    CloudEvent::new(id, "/s", "t").with_json(serde_json::json!({"id": id}))
}

/// The next messages: ids of events, or reasons.
async fn next(receiver: &mut Box<dyn sos_call::events::Receiver>, count: usize) -> Vec<CloudEvent> {
    let mut events = vec![];
    while events.len() < count {
        let batch = tokio::time::timeout(WAIT, receiver.next(count - events.len())).await.unwrap().unwrap();
        let tokens = batch.iter().map(|received| received.token).collect();
        events.extend(batch.into_iter().map(|received| match received.content {
            Content::Event(event) => *event,
            Content::Malformed(malformed) => panic!("{malformed:?}"),
        }));
        receiver.acknowledge(tokens).await.unwrap();
    }
    events
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_in_order() {
    let Some(broker) = broker("allow_anonymous true").await else { return };
    for version in [MqttVersion::V5, MqttVersion::V3] {
        let number = version as u64;
        let mqtt = Mqtt::new(MqttChannelSettings { version, ..settings(broker.port, number) }).unwrap();
        let mut first = mqtt.receive().await.unwrap();
        let events: Vec<_> = (0..10).map(|number| event(&number.to_string())).collect();
        mqtt.publish(&events).await.unwrap();
        let batch = first.next(1).await.unwrap();
        first.acknowledge(vec![batch[0].token]).await.unwrap();
        let _unacknowledged = first.next(5).await.unwrap();
        drop(first);
        let ids: Vec<_> =
            next(&mut mqtt.receive().await.unwrap(), 9).await.into_iter().map(|event| event.id).collect();
        assert_eq!(ids, (1..10).map(|number| number.to_string()).collect::<Vec<_>>(), "{version:?}");
    }
}

#[tokio::test]
async fn devices_that_know_no_events_are_heard_and_what_they_retain_once() {
    let Some(broker) = broker("allow_anonymous true").await else { return };
    let raw = |topic: &'static str, payload: &'static [u8], retain: bool| async move {
        publish_raw(broker.port, &MqttMessage { topic, payload, retain }).await.unwrap();
    };
    raw("hall/m1/kwh", b"21.5", true).await;
    let plain = Some(Plain { source: "mqtt://hall".to_owned(), event_type: "device.reading".to_owned() });
    let filters = vec!["hall/+/kwh".to_owned(), "hall/door/#".to_owned()];
    let with = |number: u64, retained: Retained| {
        let (filters, plain) = (filters.clone(), plain.clone());
        Mqtt::new(MqttChannelSettings { filters, plain, retained, ..settings(broker.port, number) }).unwrap()
    };
    let mut receiver = with(1, Retained::Receive).receive().await.unwrap();
    let retained = next(&mut receiver, 1).await.remove(0);
    assert_eq!(
        (retained.subject.as_deref(), &retained.data),
        (Some("hall/m1/kwh"), &Some(sos_call::events::Data::Json(21.5.into())))
    );
    // A session of another client sees the same retained message under the same name.
    let mut other = with(2, Retained::Receive).receive().await.unwrap();
    assert_eq!(next(&mut other, 1).await.remove(0).id, retained.id);
    let mut ignoring = with(3, Retained::Ignore).receive().await.unwrap();
    for _ in 0..2 {
        raw("hall/door/1", b"open", false).await;
    }
    let twice = next(&mut receiver, 2).await;
    assert_ne!(twice[0].id, twice[1].id, "equal readings are two events");
    assert_eq!(next(&mut ignoring, 1).await[0].subject.as_deref(), Some("hall/door/1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_others_that_do_not_fit_the_schema_become_dead_letters_and_the_rest_goes_on() {
    let Some(broker) = broker("allow_anonymous true").await else { return };
    let schema =
        serde_json::json!({"properties": {"kwh": {"type": "number", "minimum": 0}}, "required": ["kwh"]});
    let parts = ChannelParts {
        name: "readings".to_owned(),
        broker: Some(Arc::new(Mqtt::new(settings(broker.port, 1)).unwrap())),
        log: Arc::new(Memory::new(1000)),
        clock: clock(),
        confirm: Confirm::Log { within: WAIT },
    };
    let live = Live::start(Channel::new(parts).with_schema(Schema::new(&schema).unwrap()), eager());
    let connected = || live.measures.connected.load(std::sync::atomic::Ordering::Relaxed);
    until("the bridge to be connected", connected).await;
    // Somebody else, who knows nothing of the schema.
    let other = MqttChannelSettings { topic: settings(broker.port, 1).topic, ..settings(broker.port, 2) };
    let reading = |id: &str, data: serde_json::Value| CloudEvent::new(id, "/s", "t").with_json(data);
    let events = [
        reading("1", serde_json::json!({"kwh": 1.5})),
        reading("2", serde_json::json!({"kwh": "much"})),
        reading("3", serde_json::json!({})),
        reading("4", serde_json::json!({"kwh": 2})),
    ];
    Mqtt::new(other).unwrap().publish(&events).await.unwrap();
    let mut taken = vec![];
    while taken.len() < 2 {
        taken.extend(live.channel.take("g", 10, WAIT).await.unwrap());
        tokio::time::sleep(Duration::from_millis(5)).await; // between two looks
    }
    let ids: Vec<_> = taken.iter().map(|one| CloudEvent::from_json(&one.message.body).unwrap().id).collect();
    assert_eq!(ids, ["1", "4"]);
    let dead = live.channel.dead_letters(0, 10).await.unwrap();
    let told: Vec<_> = dead.iter().map(|letter| letter.reason.as_str()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("/data/kwh") && told[1].contains("kwh"), "{told:?}");
    assert_eq!(CloudEvent::from_json(&dead[0].message.body).unwrap().id, "2");
    // Who publishes here is refused at once.
    let refused = live.channel.publish(&events[1..2]).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::BadInput);
    live.stop().await;
}

#[tokio::test]
async fn a_share_splits_what_is_received() {
    let Some(broker) = broker("allow_anonymous true").await else { return };
    let member = |number: u64| {
        let mut member = settings(broker.port, number);
        (member.share, member.version) = (Some("group".to_owned()), MqttVersion::V5);
        member.filters = vec!["events/#".to_owned()];
        Mqtt::new(member).unwrap()
    };
    let (one, two) = (member(1), member(2));
    let (mut first, mut second) = (one.receive().await.unwrap(), two.receive().await.unwrap());
    let events: Vec<_> = (0..10).map(|number| event(&number.to_string())).collect();
    one.publish(&events).await.unwrap();
    let mut ids: Vec<_> = next(&mut first, 5)
        .await
        .into_iter()
        .chain(next(&mut second, 5).await)
        .map(|event| event.id)
        .collect();
    ids.sort();
    assert_eq!(ids, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_broker_that_waits_for_the_log_is_kept_alive() {
    let Some(broker) = broker("allow_anonymous true").await else { return };
    let mqtt =
        Mqtt::new(MqttChannelSettings { keep_alive: 1, receive_maximum: 2, ..settings(broker.port, 1) })
            .unwrap();
    let mut receiver = mqtt.receive().await.unwrap();
    let events: Vec<_> = (0..50).map(|number| event(&number.to_string())).collect();
    mqtt.publish(&events).await.unwrap();
    // Longer than the broker tolerates silence; nothing shows that it has passed but time.
    let mut looks = tokio::time::interval(Duration::from_secs(3));
    looks.tick().await;
    looks.tick().await; // between two looks
    let ids: Vec<_> = next(&mut receiver, 50).await.into_iter().map(|event| event.id).collect();
    assert_eq!(ids, (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn logins_and_topics_are_checked_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("topics");
    std::fs::write(&list, "topic readwrite events/1\n").unwrap();
    let Some(broker) = broker(&format!("allow_anonymous true\nacl_file {}", list.display())).await else {
        return;
    };
    Mqtt::new(settings(broker.port, 1)).unwrap().publish(&[event("1")]).await.unwrap();
    let error = Mqtt::new(settings(broker.port, 2)).unwrap().publish(&[event("1")]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoCredentials, "{error}");
    let Some(closed) = super::mqtt::broker("allow_anonymous false").await else { return };
    let login = Some(Login { user: "ops".into(), password: Secret::new("wrong-password") });
    for version in [MqttVersion::Newest, MqttVersion::V3] {
        let mqtt =
            Mqtt::new(MqttChannelSettings { version, login: login.clone(), ..settings(closed.port, 1) })
                .unwrap();
        let error = mqtt.receive().await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::NoCredentials, "{error}");
        assert!(!format!("{error} {mqtt:?}").contains("wrong-password"));
    }
}

#[tokio::test]
async fn tls_is_spoken_with_those_who_are_trusted() {
    let Some(folder) = certificates() else { return };
    let path = |name: &str| folder.path().join(name).display().to_string();
    let more = format!("allow_anonymous true\ncertfile {}\nkeyfile {}", path("chain.pem"), path("key.pem"));
    let Some(broker) = broker(&more).await else { return };
    let with = |host: &str, authority: &str| {
        let tls = Some(BrokerTls { trust: trust(&folder, authority), identity: None });
        Mqtt::new(MqttChannelSettings { host: host.into(), tls, ..settings(broker.port, 1) }).unwrap()
    };
    with("localhost", "authority.pem").publish(&[event("1")]).await.unwrap();
    let error = with("localhost", "other.pem").publish(&[event("1")]).await.unwrap_err();
    assert!(error.kind == ErrorKind::NoCredentials && error.message.contains("TLS failed"), "{error}");
    let error = with("127.0.0.2", "authority.pem").publish(&[event("1")]).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::NoCredentials | ErrorKind::Unreachable), "{error}");
}

#[tokio::test]
async fn brokers_that_are_down_silent_or_talk_nonsense_end_in_time() {
    let (_listener, silent) = silent();
    for port in [closed_port(), silent, nonsense().await] {
        let short = MqttChannelSettings { timeout: Duration::from_millis(300), ..settings(port, 1) };
        let mqtt = Mqtt::new(short).unwrap();
        let error = mqtt.publish(&[event("1")]).await.unwrap_err();
        assert!(error.is_temporary() && error.place == format!("mqtt://127.0.0.1:{port}"), "{error}");
        assert!(mqtt.receive().await.err().unwrap().is_temporary());
    }
}

/// A server that answers everything with a packet that claims 256 MB.
async fn nonsense() -> u16 {
    use tokio::io::AsyncWriteExt as _;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(&[0x30, 0xff, 0xff, 0xff, 0x7f]).await;
        }
    });
    port
}

#[tokio::test]
async fn an_event_that_the_broker_does_not_take_is_too_large() {
    let Some(broker) = broker("allow_anonymous true\nmax_packet_size 10000").await else { return };
    let huge = event("1").with_json("x".repeat(20_000).into());
    let error = Mqtt::new(settings(broker.port, 1)).unwrap().publish(&[event("0"), huge]).await.unwrap_err();
    assert_eq!((error.kind, error.place.as_str()), (ErrorKind::TooLarge, "/1"), "{error}");
}
