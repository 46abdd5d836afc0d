//! The services that scenarios call, over TLS, under the names that documents use.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use super::played;
use crate::skipped::skipped;

/// The names under which it answers.
pub(super) const HOSTS: [&str; 4] = ["petstore.swagger.io", "httpbin.org", "stub.example", "fake.com"];

pub(super) struct Stub {
    pub(super) port: u16,
    /// The same without TLS.
    plain: u16,
    pub(super) calls: Arc<Calls>,
    /// The certificate that clients have to trust.
    pub(super) authority: PathBuf,
    _folder: TempDir,
}

impl Stub {
    /// None without the program that makes certificates.
    pub(super) fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("certificate.pem"));
        let names: Vec<String> =
            HOSTS.iter().chain(played::HOSTS).map(|host| format!("DNS:{host}")).collect();
        let names = names.join(",");
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ]);
        openssl.args(["-subj", "/CN=stub", "-addext", &format!("subjectAltName={names}")]);
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"]);
        openssl.arg(&key).arg("-out").arg(&certificate).stdout(Stdio::null()).stderr(Stdio::null());
        if !openssl.status().is_ok_and(|status| status.success()) {
            skipped("OpenSSL's program `openssl` is missing");
            return None;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let chain = vec![CertificateDer::from_pem_file(&certificate).unwrap()];
        let config =
            config.with_no_client_auth().with_single_cert(chain, PrivateKeyDer::from_pem_file(&key).unwrap());
        let config = Arc::new(config.unwrap());
        let calls = Arc::<Calls>::default();
        let port = accept(&calls, move |stream, calls| {
            let Ok(connection) = ServerConnection::new(Arc::clone(&config)) else { return };
            serve(StreamOwned::new(connection, stream), calls);
        });
        let plain = accept(&calls, serve);
        Some(Self { port, plain, calls, authority: certificate, _folder: folder })
    }

    /// Where hosts are, for `--resolve`.
    pub(super) fn resolved(&self) -> Vec<String> {
        let port = |host: &str| if played::PLAIN.contains(&host) { self.plain } else { self.port };
        let hosts = HOSTS.iter().chain(played::HOSTS);
        hosts.map(|host| format!("{host}=127.0.0.1:{}", port(host))).collect()
    }
}

/// Has each connection to a new port of this machine served in a thread of its own.
fn accept(calls: &Arc<Calls>, serve: impl Fn(TcpStream, &Calls) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (calls, serve) = (Arc::clone(calls), Arc::new(serve));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (calls, serve) = (Arc::clone(&calls), Arc::clone(&serve));
            std::thread::spawn(move || serve(stream, &calls));
        }
    });
    port
}

/// The same services without TLS: their port, and what they were asked.
pub(crate) fn plain() -> (u16, Arc<Calls>) {
    let calls = Arc::<Calls>::default();
    (accept(&calls, serve), calls)
}

/// What was asked so far, and who is to be killed when.
#[derive(Default)]
pub(crate) struct Calls {
    /// Paths and idempotency keys.
    pub(crate) heard: Mutex<Vec<(String, String)>>,
    /// Method, address without its scheme, and what was said of who asks.
    pub(super) lines: Mutex<Vec<String>>,
    pub(super) kill: Mutex<Option<Kill>>,
    /// Messages that were published here.
    pub(super) said: Mutex<Vec<Value>>,
    /// Streams and sockets that are open now, and that ever were.
    pub(super) open: AtomicUsize,
    pub(super) opened: AtomicUsize,
}

/// Kills the process that asks.
#[derive(Clone, Copy)]
pub(super) struct Kill {
    /// By which call, counted from 1.
    pub(super) at: usize,
    /// Whether the answer is sent before.
    pub(super) answered: bool,
    pub(super) process: u32,
}

impl Calls {
    /// Keeps a call; what is to be done about it.
    fn hear(&self, asked: &Asked) -> Option<Kill> {
        let key = asked.headers.iter().find(|(name, _)| name == "idempotency-key");
        self.lines.lock().unwrap().push(asked.line());
        let mut heard = self.heard.lock().unwrap();
        heard.push((asked.path.clone(), key.map(|(_, key)| key.clone()).unwrap_or_default()));
        self.kill.lock().unwrap().take_if(|kill| kill.at == heard.len())
    }
}

fn kill(process: u32) {
    let status = Command::new("kill").args(["-KILL", &process.to_string()]).status();
    assert!(status.unwrap().success());
}

/// What was asked.
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The host that was meant, without a port.
    pub(super) fn host(&self) -> &str {
        self.header("host").unwrap_or_default().split(':').next().unwrap_or_default()
    }

    fn line(&self) -> String {
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        let who = self.header("authorization").map(|who| format!(" {who}")).unwrap_or_default();
        format!("{} {}{}{query}{who}", self.method, self.host(), self.path)
    }
}

fn serve(stream: impl Read + Write, calls: &Calls) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = asked(&mut reader) {
        let killed = calls.hear(&asked);
        if let Some(Kill { process, answered: false, .. }) = killed {
            return kill(process);
        }
        if asked.header("upgrade") == Some("websocket") {
            return talk(reader.into_inner(), &asked, calls);
        }
        if let Some(count) = asked.path.strip_prefix("/feed/") {
            return feed(reader, &asked, count.parse().unwrap_or(0), calls);
        }
        if asked.path == "/said" {
            calls.said.lock().unwrap().push(asked.body());
        }
        let before = calls.heard.lock().unwrap().iter().filter(|(path, _)| *path == asked.path).count();
        let before = before.saturating_sub(1);
        let (status, body) = played::answer(&asked, before).unwrap_or_else(|| answer(&asked));
        let body = body.map_or_else(String::new, |body| body.to_string());
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nlocation: /v2/pet/1\r\n\r\n",
            body.len()
        );
        let sent = reader.get_mut().write_all((head + &body).as_bytes());
        if let Some(Kill { process, .. }) = killed {
            return kill(process);
        }
        if sent.is_err() {
            return;
        }
    }
}

impl Asked {
    fn body(&self) -> Value {
        let body = serde_json::from_slice(&self.body);
        body.unwrap_or_else(|_| json!(String::from_utf8_lossy(&self.body)))
    }
}

/// Counts a stream or socket for as long as it is open.
struct Counted<'a>(&'a Calls);

impl<'a> Counted<'a> {
    fn new(calls: &'a Calls) -> Self {
        calls.opened.fetch_add(1, SeqCst);
        calls.open.fetch_add(1, SeqCst);
        Self(calls)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

fn numbered(number: usize) -> String {
    json!({"n": number, "user": "ann", "from": {"firstName": "Ann", "lastName": "Lee"}}).to_string()
}

/// So many server-sent events, from the one after the last that the client has; then nothing until it goes.
fn feed(mut reader: BufReader<impl Read + Write>, asked: &Asked, count: usize, calls: &Calls) {
    let _open = Counted::new(calls);
    let last: usize = asked.header("last-event-id").and_then(|id| id.parse().ok()).unwrap_or(0);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n: hello\n\n";
    let events = (last + 1..=count).map(|n| format!("id: {n}\nevent: numbered\ndata: {}\n\n", numbered(n)));
    let text = head.to_owned() + &events.collect::<String>();
    let sent = reader.get_mut().write_all(text.as_bytes()).and_then(|()| reader.get_mut().flush());
    let mut rest = [0; 64];
    while sent.is_ok() && reader.read(&mut rest).is_ok_and(|read| read > 0) {}
}

/// A WebSocket: `/socket/3` says three things and then nothing; what it hears is kept.
fn talk(mut stream: impl Read + Write, asked: &Asked, calls: &Calls) {
    let _open = Counted::new(calls);
    let accept = derive_accept_key(asked.header("sec-websocket-key").unwrap_or_default().as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
    );
    if stream.write_all(head.as_bytes()).and_then(|()| stream.flush()).is_err() {
        return;
    }
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    let count = match asked.path.strip_prefix("/socket/") {
        Some("notifications") => 9,
        Some(count) => count.parse().unwrap_or(0),
        None => 0,
    };
    for number in 1..=count {
        if socket.send(Message::text(numbered(number))).is_err() {
            return;
        }
    }
    while let Ok(message) = socket.read() {
        if let Message::Text(text) = message {
            calls.said.lock().unwrap().push(serde_json::from_str(&text).unwrap());
        }
    }
}

fn asked(reader: &mut BufReader<impl Read>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut parts = line.split_whitespace();
    let (method, target) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length =
        headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { method, path: path.to_owned(), query: query.to_owned(), headers, body })
}

pub(super) fn pet(id: u64) -> Value {
    json!({"id": id, "name": format!("pet {id}"), "status": "available", "photoUrls": []})
}

fn answer(asked: &Asked) -> (u16, Option<Value>) {
    let header = |name: &str| asked.header(name);
    let parts: Vec<&str> = asked.path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["v2", "pet", "findByStatus"] => (200, Some(json!([pet(1), pet(2)]))),
        ["v2", "pet", id] => match id.parse() {
            Ok(id) if id <= 2 => (200, Some(pet(id))),
            _ => (404, Some(json!({"code": 1, "type": "error", "message": "Pet not found"}))),
        },
        ["v2", "moved"] => (302, Some(json!({"to": "elsewhere"}))),
        ["v2", "swagger.json"] => (200, Some(swagger())),
        ["basic-auth", user, password] => {
            use base64::Engine as _;
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            match header("authorization") == Some(&format!("Basic {pair}")) {
                true => (200, Some(json!({"authenticated": true, "user": user}))),
                false => (401, None),
            }
        }
        ["bearer"] => match header("authorization").and_then(|value| value.strip_prefix("Bearer ")) {
            Some(token) => (200, Some(json!({"authenticated": true, "token": token}))),
            None => (401, None),
        },
        ["catalog", "functions", name, _, "function.yaml"] => catalogued(name),
        ["closed", "functions", name, _, "function.yaml"] => match header("authorization") {
            Some("Bearer open") => catalogued(name),
            _ => (401, None),
        },
        ["docs", "asyncapi.json"] => (200, Some(example())),
        ["asyncapi.json"] => (200, Some(asyncapi("stub.example", "https", "wss"))),
        ["asyncapi2.json"] => (200, Some(second())),
        ["local.json"] => (200, Some(asyncapi("127.0.0.1:{port}", "http", "ws"))),
        ["said"] => match header("authorization") {
            Some("Bearer wrong") => (401, None),
            _ => (202, None),
        },
        ["status", status] => (status.parse().unwrap_or(404), None),
        ["anything"] => {
            let body = asked.body();
            let headers: serde_json::Map<String, Value> =
                asked.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            (
                200,
                Some(json!({"method": asked.method, "query": asked.query, "headers": headers, "body": body})),
            )
        }
        _ => (404, Some(json!({"message": "nothing is here"}))),
    }
}

/// Functions of a catalogue.
fn catalogued(name: &str) -> (u16, Option<Value>) {
    let input =
        json!({"schema": {"document": {"type": "object", "properties": {"name": {"type": "string"}}}}});
    match name {
        "greet" => (200, Some(json!({"input": input, "set": {"greeting": "${ \"Hello \\(.name)\" }"}}))),
        "twice" => {
            let greet = |name: &str| json!({"set": {"greeting": format!("${{ \"Hello \\({name})\" }}")}});
            (200, Some(json!({"input": input, "do": [{"one": greet(".name")}, {"two": greet(".greeting")}]})))
        }
        _ => (404, None),
    }
}

/// What may be published here, and heard from here.
fn asyncapi(host: &str, http: &str, ws: &str) -> Value {
    let servers = |names: &[&str]| -> Vec<Value> {
        names.iter().map(|name| json!({"$ref": format!("#/servers/{name}")})).collect()
    };
    let of = |channel: &str| json!({"$ref": format!("#/channels/{channel}")});
    let payload = json!({"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}});
    let count = json!({"count": {"default": "5"}});
    json!({
        "asyncapi": "3.0.0", "info": {"title": "stub", "version": "1"},
        "servers": {
            "main": {"host": host, "protocol": http, "variables": {"port": {}}},
            "old": {"host": host, "protocol": "kafka"},
            "socket": {"host": host, "protocol": ws, "variables": {"port": {}}},
        },
        "channels": {
            "feed": {"address": "/feed/{count}", "servers": servers(&["main"]), "parameters": count},
            "socket": {
                "address": "/socket/{count}", "servers": servers(&["socket"]), "parameters": count,
                "messages": {"numbered": {"correlationId": {"location": "$message.payload#/user"}}},
            },
            "said": {
                "address": "/said", "servers": servers(&["main", "old", "socket"]),
                "messages": {"said": {"payload": payload}},
            },
        },
        "operations": {
            "hear": {"action": "send", "channel": of("feed")},
            "attend": {"action": "send", "channel": of("socket")},
            "say": {"action": "receive", "channel": of("said")},
        },
    })
}

/// The same in version 2.
fn second() -> Value {
    json!({
        "asyncapi": "2.6.0", "info": {"title": "stub", "version": "1"},
        "servers": {"main": {"url": "https://stub.example", "protocol": "https"}},
        "channels": {
            "said": {"publish": {"message": {"payload": {"type": "object", "required": ["text"]}}}},
            "feed/4": {"subscribe": {"operationId": "hear", "message": {"payload": {"type": "object"}}}},
        },
    })
}

/// What the examples of the specification call.
fn example() -> Value {
    let message = json!({"correlationId": {"location": "$message.payload#/user"}});
    json!({
        "asyncapi": "3.0.0", "info": {"title": "pets", "version": "1"},
        "servers": {
            "notifications": {"host": "fake.com", "pathname": "/socket", "protocol": "wss"},
            "staging": {"host": "fake.com", "protocol": "https"},
        },
        "channels": {
            "pets": {"address": "/said", "servers": [{"$ref": "#/servers/staging"}]},
            "notifications": {
                "address": "/notifications", "servers": [{"$ref": "#/servers/notifications"}],
                "messages": {"notified": message},
            },
        },
        "operations": {
            "findPetsByStatus": {"action": "receive", "channel": {"$ref": "#/channels/pets"}},
            "getNotifications": {"action": "send", "channel": {"$ref": "#/channels/notifications"}},
        },
    })
}

fn swagger() -> Value {
    let pet = json!({"type": "object", "properties": {"id": {"type": "integer"}, "name": {"type": "string"}, "status": {"type": "string"}}});
    json!({
        "swagger": "2.0", "info": {"title": "pets", "version": "1"}, "host": "petstore.swagger.io", "basePath": "/v2", "schemes": ["https"],
        "paths": {
            "/pet/findByStatus": {"get": {
                "operationId": "findPetsByStatus", "produces": ["application/json"],
                "parameters": [{"name": "status", "in": "query", "required": true, "type": "array", "items": {"type": "string"}, "collectionFormat": "multi"}],
                "responses": {"200": {"description": "ok", "schema": {"type": "array", "items": {"$ref": "#/definitions/Pet"}}}},
            }},
            "/moved": {"get": {"operationId": "moved", "responses": {"200": {"description": "ok", "schema": {"$ref": "#/definitions/Pet"}}}}},
            "/pet/{petId}": {"get": {
                "operationId": "getPetById", "produces": ["application/json"],
                "parameters": [{"name": "petId", "in": "path", "required": true, "type": "integer", "format": "int64"}],
                "responses": {"200": {"description": "ok", "schema": {"$ref": "#/definitions/Pet"}}},
            }},
        },
        "definitions": {"Pet": pet},
    })
}
