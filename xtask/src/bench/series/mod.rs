//! `cargo xtask bench series`: `sos` as a home of metrics beside Prometheus 2.42, on the same data in the same run.
//!
//! Samples come by remote write 1.0, queries are those of Grafana. While samples are taken in only one of the two runs;
//! who is first changes from round to round. `sos` acknowledges what the disk has; Prometheus acknowledges before.

mod asked;
mod data;
mod http;
mod same;
mod server;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use self::asked::Asked;
use self::data::{Day, SAMPLES, Shape};
use self::http::Client;
use self::server::{BOTH, Kind, Programs, Server, Used, empty, size};
use self::verdict::{Figures, Ingest, Sizes, Times};
use super::{built_product, output, target_folder};
use crate::Outcome;

const USAGE: &str =
    "bench series takes `--rounds N` (1 to 20, default 3) and `--only ingest` or `--only queries`";

/// Names a `sos` that is built already.
const PRODUCT: &str = "SOS_BENCH_SOS";

/// 500 samples a request is what Prometheus 2.42 sends, 2,000 what newer ones send.
const SHAPES: [Shape; 4] = [
    Shape {
        name: "10 samples of 1,000 series a request, 1 sender",
        senders: 1,
        samples: 10_000,
        grouped: true,
    },
    Shape { name: "500 a request, 1 sender", senders: 1, samples: 500, grouped: false },
    Shape { name: "500 a request, 4 senders", senders: 4, samples: 500, grouped: false },
    Shape { name: "2,000 a request, 4 senders", senders: 4, samples: 2000, grouped: false },
];

/// Steps after which senders wait for each other: Prometheus refuses what is an hour behind the newest sample.
const PACE: usize = 30;
const REPEATS: usize = 5;

const WRITE: &[(&str, &str)] = &[
    ("Content-Type", "application/x-protobuf"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "0.1.0"),
];

/// Measures, prints tables and says which targets are met.
///
/// # Errors
/// When a program is missing or fails, or refuses samples.
pub(super) fn run(root: &Path, arguments: &[&str]) -> Result<Outcome, String> {
    let Wanted { rounds, ingest: with_ingest, queries: with_queries } = read(arguments)?;
    let target = target_folder(root);
    let sos = match std::env::var_os(PRODUCT) {
        Some(path) => PathBuf::from(path),
        None => built_product(&target)?,
    };
    let scratch = target.join("bench").join("series");
    empty(&scratch)?;
    let programs = Programs { sos, prometheus: prometheus(root)?, scratch };
    let day = Day::until(now());
    let mut figures = Figures::default();
    if with_ingest {
        figures.ingest = ingest(&programs, &day, rounds)?;
        print!("{}", verdict::ingest(&figures.ingest));
    }
    if with_queries {
        side_by_side(&programs, &day, &mut figures)?;
        print!("{}", verdict::others(&figures));
    }
    std::fs::remove_dir_all(&programs.scratch)
        .map_err(|e| format!("cannot remove {}: {e}", programs.scratch.display()))?;
    let checks = verdict::checks(&figures);
    checks.iter().for_each(|check| println!("{check}"));
    Ok(if checks.iter().all(|check| check.met) { Outcome::Done } else { Outcome::Failed })
}

/// What of the benchmark is run.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    rounds: usize,
    ingest: bool,
    queries: bool,
}

fn read(arguments: &[&str]) -> Result<Wanted, String> {
    let mut wanted = Wanted { rounds: 3, ingest: true, queries: true };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match (*argument, rest.next()) {
            ("--only", Some(&"ingest")) => wanted.queries = false,
            ("--only", Some(&"queries")) => wanted.ingest = false,
            ("--rounds", Some(count)) => {
                let count = count.parse().ok().filter(|count| (1..=20).contains(count));
                wanted.rounds = count.ok_or(USAGE)?;
            }
            (other, _) => return Err(format!("cannot use argument `{other}`; {USAGE}")),
        }
    }
    if wanted.ingest || wanted.queries { Ok(wanted) } else { Err(USAGE.to_owned()) }
}

fn prometheus(root: &Path) -> Result<PathBuf, String> {
    let output = output(Command::new("bash").arg(root.join("scripts/prometheus.sh")))?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

#[expect(clippy::disallowed_methods, reason = "the servers take samples of their own time only")]
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// The day into fresh servers, in every shape.
fn ingest(programs: &Programs, day: &Day, rounds: usize) -> Result<Vec<Ingest>, String> {
    let mut all = Vec::new();
    for shape in SHAPES {
        let requests = day.requests(shape)?;
        let mut ingest = Ingest::new(shape.name);
        for round in 0..rounds {
            for kind in turns(round) {
                let server = programs.start(kind)?;
                let before = server.used()?;
                let seconds = send(&server, &requests, shape)?;
                ingest.add(kind, seconds, server.used()?.cpu_seconds - before.cpu_seconds);
                has_all(&server, day)?;
                server.stop()?;
            }
        }
        all.push(ingest);
    }
    Ok(all)
}

/// Who is first changes.
fn turns(round: usize) -> [Kind; 2] {
    let [a, b] = BOTH;
    if round.is_multiple_of(2) { [a, b] } else { [b, a] }
}

/// Sends the requests of each sender on a connection of its own; the seconds from the first to the last answer.
fn send(server: &Server, senders: &[Vec<Vec<u8>>], shape: Shape) -> Result<f64, String> {
    let clients: Vec<Client> = senders.iter().map(|_| server.client()).collect::<Result<_, _>>()?;
    let barrier = Barrier::new(senders.len());
    let apart = (PACE / shape.steps()).max(1);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let running: Vec<_> = clients
            .into_iter()
            .zip(senders)
            .map(|(mut client, requests)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let mut result = Ok(());
                    for requests in requests.chunks(apart) {
                        // After a failure the others still wait for this one.
                        result =
                            result.and_then(|()| requests.iter().try_for_each(|one| write(&mut client, one)));
                        barrier.wait();
                    }
                    result
                })
            })
            .collect();
        running
            .into_iter()
            .try_for_each(|sender| sender.join().unwrap_or_else(|_| Err("a sender has ended".to_owned())))
    })
    .map_err(|e| format!("{}: {e}", server.kind.name()))?;
    Ok(begun.elapsed().as_secs_f64())
}

fn write(client: &mut Client, request: &[u8]) -> Result<(), String> {
    let answer = client.post("/api/v1/write", WRITE, request)?;
    if answer.status == 204 { Ok(()) } else { Err(format!("refused samples: {}", answer.shown())) }
}

/// Fails unless a server has every sample of the day.
fn has_all(server: &Server, day: &Day) -> Result<(), String> {
    let count = Asked {
        what: "",
        way: asked::Way::Instant,
        query: "sum(count_over_time({cluster=\"bench\"}[25h]))",
        timed: false,
    };
    let answer = count.send(&mut server.client()?, day.span())?;
    let value: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let count = value["data"]["result"][0]["value"][1].as_str().and_then(|count| count.parse().ok());
    if count == Some(SAMPLES) {
        return Ok(());
    }
    Err(format!("{} was sent {SAMPLES} samples and answers: {}", server.kind.name(), answer.shown()))
}

/// Both with the same data: answers, times, memory and size.
fn side_by_side(programs: &Programs, day: &Day, figures: &mut Figures) -> Result<(), String> {
    let requests = day.requests(SHAPES[1])?;
    let (ours, theirs) = (programs.start(Kind::Sos)?, programs.start(Kind::Prometheus)?);
    for server in [&ours, &theirs] {
        send(server, &requests, SHAPES[1])?;
    }
    let used = |ours: &Server, theirs: &Server| Ok::<[Used; 2], String>([ours.used()?, theirs.used()?]);
    figures.after_ingest = used(&ours, &theirs)?;
    ask(&ours, &theirs, day, figures)?;
    figures.after_queries = used(&ours, &theirs)?;
    figures.sizes = sizes(programs, ours, theirs)?;
    Ok(())
}

/// Every request to both: the answers compared, the timed ones repeated in turns.
fn ask(ours: &Server, theirs: &Server, day: &Day, figures: &mut Figures) -> Result<(), String> {
    let (mut our_client, mut their_client) = (ours.client()?, theirs.client()?);
    for asked in asked::all() {
        let our = asked.send(&mut our_client, day.span())?;
        let their = asked.send(&mut their_client, day.span())?;
        figures.compared += 1;
        if let Some(why) = same::difference((our.status, &our.body), (their.status, &their.body)) {
            figures.different.push(format!("{:?} {}: {why}", asked.way, asked.query));
        }
        if !asked.timed {
            continue;
        }
        let mut times = Times::new(asked, our.body.len());
        for round in 0..REPEATS {
            for kind in turns(round) {
                let client = if kind == Kind::Sos { &mut our_client } else { &mut their_client };
                let answer = asked.send(client, day.span())?;
                times.add(kind, answer.first, answer.whole);
            }
        }
        figures.times.push(times);
    }
    Ok(())
}

/// Bytes of what both keep: packed by their own means while they run, and the folders after they ended.
fn sizes(programs: &Programs, ours: Server, theirs: Server) -> Result<Sizes, String> {
    let snapshot = theirs.client()?.post("/api/v1/admin/tsdb/snapshot", &[], &[])?;
    if snapshot.status != 200 {
        return Err(format!("Prometheus made no snapshot: {}", snapshot.shown()));
    }
    let snapshots = theirs.data().join("snapshots");
    let their_packed = size(&snapshots)?;
    std::fs::remove_dir_all(&snapshots).map_err(|e| format!("cannot remove {}: {e}", snapshots.display()))?;
    let (our_folder, their_folder) = (ours.data(), theirs.data());
    let backup = programs.scratch.join("backup");
    output(Command::new(&programs.sos).arg("backup").arg(&backup).arg("--data-dir").arg(&our_folder))?;
    let our_packed = size(&backup)?;
    ours.stop()?;
    theirs.stop()?;
    Ok(Sizes { packed: [our_packed, their_packed], folder: [size(&our_folder)?, size(&their_folder)?] })
}

/// Milliseconds with what stands behind the comma.
fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_or_named_with_what_is_expected() {
        assert_eq!(read(&[]), Ok(Wanted { rounds: 3, ingest: true, queries: true }));
        let only = read(&["--rounds", "5", "--only", "ingest"]);
        assert_eq!(only, Ok(Wanted { rounds: 5, ingest: true, queries: false }));
        for wrong in [
            &["--rounds", "0"][..],
            &["--rounds"],
            &["--only", "x"],
            &["--round", "1"],
            &["--only", "ingest", "--only", "queries"],
        ] {
            assert!(read(wrong).unwrap_err().contains("--rounds N"), "{wrong:?}");
        }
    }

    #[test]
    fn turns_change_from_round_to_round() {
        assert_eq!(turns(0), [Kind::Sos, Kind::Prometheus]);
        assert_eq!(turns(1), [Kind::Prometheus, Kind::Sos]);
    }

    #[test]
    fn all_shapes_divide_the_day_evenly() {
        for shape in SHAPES {
            assert_eq!(data::SERIES % shape.senders, 0);
            assert_eq!(SAMPLES % (shape.samples * shape.senders), 0, "{}", shape.name);
        }
    }
}
