//! Messages to Mosquitto, read again by paho-mqtt.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sos_call::deliver::{MqttBroker, MqttMessage, MqttSettings, MqttVersion};
use sos_call::{Login, Secret, Trust};

use crate::peers::python;
use crate::skipped::skipped;
use crate::support::{SHORT, Server, WAIT, certificates, closed_port, script_path, silent, trust};

fn mosquitto() -> Option<PathBuf> {
    let named = std::env::var_os("SOS_MOSQUITTO").map(PathBuf::from);
    let usual = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].map(PathBuf::from);
    let found = named.or_else(|| usual.into_iter().find(|path| path.exists()));
    if found.is_none() {
        skipped("SOS_MOSQUITTO names no Mosquitto, and none is installed");
    }
    found
}

/// A broker with these lines of configuration beside its listener. Its port may be taken between choice and start, so
/// it tries again.
fn broker(more: &str) -> Option<Server> {
    let program = mosquitto()?;
    for _ in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let port = closed_port();
        let file = folder.path().join("mosquitto.conf");
        std::fs::write(&file, format!("listener {port} 127.0.0.1\nlog_dest stderr\nuser root\n{more}\n"))
            .unwrap();
        // Only its stderr is written line by line. As root it would become a user who cannot read this folder.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" -c \"$1\" 2>&1"]).arg(&program).arg(&file);
        let (mut server, mut line) = Server::start(command, folder);
        while !line.ends_with("running") && !line.contains("Error") {
            line = server.line();
        }
        if line.ends_with("running") {
            server.port = port;
            return Some(server);
        }
    }
    panic!("no port was free for the broker");
}

fn settings(port: u16) -> MqttSettings {
    MqttSettings { host: "localhost".into(), port, version: MqttVersion::Newest, tls: None, login: None }
}

const MESSAGE: MqttMessage<'_> =
    MqttMessage { topic: "sos/ops/HomeDown", payload: b"{\"state\":\"firing\"}", retain: true };

fn listener(python: &Path, port: u16) -> Server {
    let mut command = Command::new(python);
    command.arg(script_path("mqtt_listener.py")).arg(port.to_string());
    let (server, ready) = Server::start(command, tempfile::tempdir().unwrap());
    assert_eq!(ready, "ready");
    server
}

#[tokio::test]
async fn messages_arrive_acknowledged_and_stay_where_they_are_retained() {
    let (Some(python), Some(broker)) = (python(), broker("allow_anonymous true")) else { return };
    let mut listener_before = listener(&python, broker.port);
    for (version, key) in
        [(MqttVersion::Newest, Some("ops/1")), (MqttVersion::V5, Some("ops/1")), (MqttVersion::V3, None)]
    {
        let sender = MqttBroker::new(MqttSettings { version, ..settings(broker.port) }).unwrap();
        let delivered = sender.publish(&MESSAGE, "ops/1", WAIT).await.unwrap();
        assert!(delivered.answer.starts_with("PUBACK"), "{delivered:?}");
        let told: Value = serde_json::from_str(&listener_before.line()).unwrap();
        assert_eq!(
            (told["topic"].as_str(), told["payload"].as_str()),
            (Some("sos/ops/HomeDown"), Some("{\"state\":\"firing\"}"))
        );
        assert_eq!(
            (told["qos"].as_u64(), told["properties"]["idempotency-key"].as_str()),
            (Some(1), key),
            "{version:?}"
        );
    }
    let told: Value = serde_json::from_str(&listener(&python, broker.port).line()).unwrap();
    assert_eq!(told["retain"], true);
}

#[tokio::test]
async fn a_large_message_arrives() {
    let (Some(python), Some(broker)) = (python(), broker("allow_anonymous true")) else { return };
    let mut listener = listener(&python, broker.port);
    let payload = "x".repeat(300_000);
    let message = MqttMessage { topic: "large", payload: payload.as_bytes(), retain: false };
    MqttBroker::new(settings(broker.port)).unwrap().publish(&message, "ops/1", WAIT).await.unwrap();
    let told: Value = serde_json::from_str(&listener.line()).unwrap();
    assert_eq!((told["payload"].as_str(), told["retain"].as_bool()), (Some(payload.as_str()), Some(false)));
}

#[tokio::test]
async fn a_wrong_password_and_a_forbidden_topic_are_permanent() {
    let Some(folder) = password_file() else { return };
    let list = folder.path().join("topics");
    std::fs::write(&list, "user ops\ntopic write allowed/#\n").unwrap();
    let more =
        format!("password_file {}\nacl_file {}", folder.path().join("passwords").display(), list.display());
    let Some(broker) = broker(&more) else { return };
    for version in [MqttVersion::Newest, MqttVersion::V3] {
        let with = |password: &str| {
            let login = Some(Login { user: "ops".into(), password: Secret::new(password) });
            MqttBroker::new(MqttSettings { version, login, ..settings(broker.port) }).unwrap()
        };
        let error = with("wrong-password").publish(&MESSAGE, "ops/1", WAIT).await.unwrap_err();
        assert!(!error.is_temporary() && error.message.contains("refused the connection"), "{error}");
        assert!(!error.message.contains("wrong-password"), "{error}");
        let allowed = MqttMessage { topic: "allowed/x", ..MESSAGE };
        with("hunter2").publish(&allowed, "ops/1", WAIT).await.unwrap();
    }
    let login = Some(Login { user: "ops".into(), password: Secret::new("hunter2") });
    let sender = MqttBroker::new(MqttSettings { login, ..settings(broker.port) }).unwrap();
    let error = sender.publish(&MESSAGE, "ops/1", WAIT).await.unwrap_err();
    assert!(!error.is_temporary() && error.message.contains("NotAuthorized"), "{error}");
}

/// PBKDF2 of `hunter2` as Mosquitto 2 writes it (`$7$iterations$salt$hash`), made by Python.
fn password_file() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let script = "import base64, hashlib, sys\nsalt = bytes(range(12))\n\
                  key = hashlib.pbkdf2_hmac('sha512', b'hunter2', salt, 101)\n\
                  text = lambda data: base64.b64encode(data).decode()\n\
                  open(sys.argv[1], 'w').write(f'ops:$7$101${text(salt)}${text(key)}\\n')";
    let mut command = Command::new(python()?);
    assert!(command.arg("-c").arg(script).arg(folder.path().join("passwords")).status().unwrap().success());
    Some(folder)
}

#[tokio::test]
async fn tls_is_spoken_with_those_who_are_trusted() {
    let Some(folder) = certificates() else { return };
    let path = |name: &str| folder.path().join(name).display().to_string();
    let more = format!("allow_anonymous true\ncertfile {}\nkeyfile {}", path("chain.pem"), path("key.pem"));
    let Some(broker) = broker(&more) else { return };
    let with =
        |trust: Trust| MqttBroker::new(MqttSettings { tls: Some(trust), ..settings(broker.port) }).unwrap();
    with(trust(&folder, "authority.pem")).publish(&MESSAGE, "ops/1", WAIT).await.unwrap();
    let error = with(trust(&folder, "other.pem")).publish(&MESSAGE, "ops/1", WAIT).await.unwrap_err();
    assert!(error.is_temporary() && error.message.contains("TLS failed"), "{error}");
}

#[tokio::test]
async fn brokers_that_are_down_or_silent_are_temporary() {
    let sender = MqttBroker::new(settings(closed_port())).unwrap();
    let error = sender.publish(&MESSAGE, "ops/1", WAIT).await.unwrap_err();
    assert!(error.is_temporary() && error.message.contains("cannot be reached"), "{error}");
    let (_listener, port) = silent();
    let error = MqttBroker::new(settings(port)).unwrap().publish(&MESSAGE, "ops/1", SHORT).await.unwrap_err();
    assert!(error.is_temporary() && error.message.ends_with("did not take it within 0.3 s"), "{error}");
}

/// An old broker, played: its answer to MQTT 5 is that of its own version, then it closes.
#[tokio::test]
async fn a_broker_that_knows_only_3_1_1_gets_3_1_1() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let broker = tokio::spawn(async move {
        let mut bytes = [0; 1024];
        let (mut first, _) = listener.accept().await.unwrap();
        assert!(first.read(&mut bytes).await.unwrap() > 8);
        assert_eq!(bytes[8], 5, "the version of the first CONNECT");
        first.write_all(&[0x20, 2, 0, 1]).await.unwrap();
        drop(first);
        let (mut second, _) = listener.accept().await.unwrap();
        assert!(second.read(&mut bytes).await.unwrap() > 8);
        assert_eq!(bytes[8], 4, "the version of the second CONNECT");
        second.write_all(&[0x20, 2, 0, 0]).await.unwrap();
        let read = second.read(&mut bytes).await.unwrap();
        let id = &bytes[2 + 2 + MESSAGE.topic.len()..][..2];
        assert_eq!((bytes[0], read), (0x33, 2 + 2 + MESSAGE.topic.len() + 2 + MESSAGE.payload.len()));
        second.write_all(&[0x40, 2, id[0], id[1]]).await.unwrap();
        assert_eq!(second.read(&mut bytes).await.unwrap(), 2, "DISCONNECT");
    });
    MqttBroker::new(settings(port)).unwrap().publish(&MESSAGE, "ops/1", WAIT).await.unwrap();
    broker.await.unwrap();
}
