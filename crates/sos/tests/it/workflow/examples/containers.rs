//! Examples that run containers, with a daemon of the test's own and a registry that is played.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sha2::Digest as _;

use super::{Case, cases, folder, run};
use crate::dockerd::Dockerd;
use crate::skipped::skipped;

/// What a registry has: the manifest and the parts of an image, by their digests, with their types.
type Parts = BTreeMap<String, (String, Vec<u8>)>;

/// A registry of one image, `hello-world:latest`, which can be filled later.
struct Registry {
    port: u16,
    parts: Arc<Mutex<Parts>>,
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

impl Registry {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let parts = Arc::<Mutex<Parts>>::default();
        let shared = Arc::clone(&parts);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let parts = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream, &parts));
            }
        });
        Self { port, parts }
    }

    /// Takes over an image that `docker save` has written and `tar` unpacked.
    fn fill(&self, folder: &Path) {
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let saved: Value = serde_json::from_slice(&read("manifest.json")).unwrap();
        let mut parts = Parts::new();
        let mut keep = |kind: &str, bytes: Vec<u8>| {
            let described = json!({"mediaType": kind, "size": bytes.len(), "digest": digest(&bytes)});
            parts.insert(digest(&bytes), (kind.to_owned(), bytes));
            described
        };
        let config = keep(
            "application/vnd.docker.container.image.v1+json",
            read(saved[0]["Config"].as_str().unwrap()),
        );
        let layers: Vec<Value> = saved[0]["Layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| {
                keep("application/vnd.docker.image.rootfs.diff.tar.gzip", read(name.as_str().unwrap()))
            })
            .collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let manifest = manifest.to_string().into_bytes();
        keep(MANIFEST, manifest.clone());
        parts.insert("latest".to_owned(), (MANIFEST.to_owned(), manifest));
        *self.parts.lock().unwrap() = parts;
    }
}

fn digest(bytes: &[u8]) -> String {
    let digest = sha2::Sha256::digest(bytes);
    format!("sha256:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Answers what is asked for over one connection.
fn serve(stream: &TcpStream, parts: &Mutex<Parts>) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut first, mut line) = (String::new(), String::new());
        if !matches!(reader.read_line(&mut first), Ok(read) if read > 0) {
            return;
        }
        while line.trim() != "" || line.is_empty() {
            line.clear();
            if !matches!(reader.read_line(&mut line), Ok(read) if read > 0) {
                return;
            }
        }
        let mut words = first.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = path.split('?').next().unwrap_or_default();
        let part = parts.lock().unwrap().get(path.rsplit('/').next().unwrap_or_default()).cloned();
        let (status, kind, body) = match part {
            Some((kind, bytes)) if path.starts_with("/v2/library/hello-world/") => (200, kind, bytes),
            _ if path == "/v2/" => (200, "application/json".to_owned(), b"{}".to_vec()),
            _ => (404, "application/json".to_owned(), b"{}".to_vec()),
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\ndocker-content-digest: {}\r\ndocker-distribution-api-version: registry/2.0\r\n\r\n",
            body.len(),
            digest(&body)
        );
        let mut answer = head.into_bytes();
        if method != "HEAD" {
            answer.extend(body);
        }
        let mut stream = stream;
        if stream.write_all(&answer).is_err() {
            return;
        }
    }
}

/// Builds an image from busybox under a name.
fn build(daemon: &Dockerd, folder: &str, name: &str, more: &str) {
    let context = daemon.busybox(folder, more);
    let built = daemon.docker(&["build", "--quiet", "--tag", name, context.to_str().unwrap()]);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

/// Puts the image into the registry that is newer than the one here.
fn publish(daemon: &Dockerd, registry: &Registry) {
    build(daemon, "newer", "newer:latest", "CMD [\"echo\", \"Hello from the registry!\"]");
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("image.tar");
    let saved = daemon.docker(&["save", "--output", archive.to_str().unwrap(), "newer:latest"]);
    assert!(saved.status.success(), "{}", String::from_utf8_lossy(&saved.stderr));
    let unpacked = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(folder.path()).status();
    assert!(unpacked.unwrap().success());
    registry.fill(folder.path());
}

fn objection(daemon: &Dockerd, case: &Case) -> Option<String> {
    let (end, said) = run(case, |command, _| {
        command.arg("--allow-containers");
        command.env("DOCKER_HOST", format!("unix://{}", daemon.socket().display()));
    });
    let left = daemon.lines(&["ps", "--all", "--format", "{{.Names}}"]);
    for name in &left {
        daemon.lines(&["rm", "--force", name]);
    }
    let stays = case.told["stays"] == json!(left.len() == 1);
    let named = case.told["named"].as_str().is_none_or(|name| left == [name]);
    let objection = case.objection(&end).or_else(|| (!stays || !named).then(|| format!("left: {left:?}")));
    objection.map(|why| format!("{}: {why}\n{said}", case.name))
}

#[test]
fn examples_run_containers() {
    let Some(folder) = folder() else { return };
    let registry = Registry::start();
    // The options of a daemon live as long as the test.
    let mirror: &'static str = format!("--registry-mirror=http://127.0.0.1:{}", registry.port).leak();
    let daemon = match Dockerd::start(&[mirror]) {
        Ok(daemon) => daemon,
        Err(why) => return skipped(&why),
    };
    publish(&daemon, &registry);
    build(&daemon, "alpine", "alpine:latest", "");
    let wrong: Vec<String> = cases(&folder, "docker", false)
        .iter()
        .filter_map(|case| {
            // One that is fetched takes the place of the one that is here.
            build(&daemon, "hello", "hello-world:latest", "CMD [\"echo\", \"Hello!\"]");
            objection(&daemon, case)
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
