//! The services that scenarios call, over TLS, under the names that documents use.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::skipped::skipped;

/// The names under which it answers.
pub(super) const HOSTS: [&str; 3] = ["petstore.swagger.io", "httpbin.org", "stub.example"];

pub(super) struct Stub {
    pub(super) port: u16,
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
        let names = HOSTS.map(|host| format!("DNS:{host}")).join(",");
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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let calls = Arc::<Calls>::default();
        let heard = Arc::clone(&calls);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, calls) = (Arc::clone(&config), Arc::clone(&heard));
                std::thread::spawn(move || {
                    let Ok(connection) = ServerConnection::new(config) else { return };
                    serve(StreamOwned::new(connection, stream), &calls);
                });
            }
        });
        Some(Self { port, calls, authority: certificate, _folder: folder })
    }
}

/// The same services without TLS: their port, and what they were asked.
pub(crate) fn plain() -> (u16, Arc<Calls>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let calls = Arc::<Calls>::default();
    let heard = Arc::clone(&calls);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let calls = Arc::clone(&heard);
            std::thread::spawn(move || serve(stream, &calls));
        }
    });
    (port, calls)
}

/// What was asked so far, and who is to be killed when.
#[derive(Default)]
pub(crate) struct Calls {
    /// Paths and idempotency keys.
    pub(crate) heard: Mutex<Vec<(String, String)>>,
    pub(super) kill: Mutex<Option<Kill>>,
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
struct Asked {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

fn serve(stream: impl Read + Write, calls: &Calls) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = asked(&mut reader) {
        let killed = calls.hear(&asked);
        if let Some(Kill { process, answered: false, .. }) = killed {
            return kill(process);
        }
        let (status, body) = answer(&asked);
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

fn pet(id: u64) -> Value {
    json!({"id": id, "name": format!("pet {id}"), "status": "available", "photoUrls": []})
}

fn answer(asked: &Asked) -> (u16, Option<Value>) {
    let header =
        |name: &str| asked.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let parts: Vec<&str> = asked.path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["v2", "pet", "findByStatus"] => (200, Some(json!([pet(1), pet(2)]))),
        ["v2", "pet", id] => match id.parse() {
            Ok(id) if id <= 2 => (200, Some(pet(id))),
            _ => (404, Some(json!({"code": 1, "type": "error", "message": "Pet not found"}))),
        },
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
        ["status", status] => (status.parse().unwrap_or(404), None),
        ["anything"] => {
            let body = serde_json::from_slice(&asked.body);
            let body = body.unwrap_or_else(|_| json!(String::from_utf8_lossy(&asked.body)));
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
            "/pet/{petId}": {"get": {
                "operationId": "getPetById", "produces": ["application/json"],
                "parameters": [{"name": "petId", "in": "path", "required": true, "type": "integer", "format": "int64"}],
                "responses": {"200": {"description": "ok", "schema": {"$ref": "#/definitions/Pet"}}},
            }},
        },
        "definitions": {"Pet": pet},
    })
}
