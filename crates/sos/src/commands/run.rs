//! `sos run`: one workflow document, run to its end.

use std::fs::File;
use std::io::{LineWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use sos_call::Egress;
use sos_engine::clock::wall_now;
use sos_engine::workflow::{
    Allowed, Beginning, Drove, Executor, Found, Happened, Host, Journal, Reach, Start, Unloaded, Within,
    drive, load, run_id,
};
use sos_model::read_duration;
use sos_workflow::machine::{Begin, Ended, Trace};
use sos_workflow::program::Program;
use sos_workflow::template::{data, json as to_json};
use sos_workflow::{Definition, Document};

use super::block_on;
use super::import::fetch::{resolved, trust};
use crate::outcome::{Failure, Outcome};
use crate::output;

/// Arguments of `sos run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The workflow: YAML or JSON, `-` for stdin
    file: PathBuf,
    /// Its input: JSON, @FILE (YAML or JSON), or - for stdin [default: an empty object]
    #[arg(long, short, value_name = "JSON")]
    input: Option<String>,
    /// Write what happens to its tasks into a file, a JSON object a line
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// The value of a secret that the document uses, also several times; JSON where it reads as such, else text
    #[arg(long, value_name = "NAME=VALUE")]
    secret: Vec<String>,
    /// When it is broken off
    #[arg(long, value_name = "DURATION", value_parser = limit)]
    timeout: Option<Duration>,
    /// Keep what happens in a folder: the same command goes on where it was broken off
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Let it run commands on this machine
    #[arg(long)]
    allow_shell: bool,
    /// Let it run containers of Docker
    #[arg(long)]
    allow_containers: bool,
    /// Reach a host at this address instead of asking the DNS, also several times
    #[arg(long, value_name = "HOST=ADDR")]
    resolve: Vec<String>,
    /// Certificates of authorities that are trusted beside this machine's, in PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Longest document or input that is read, bytes.
const MOST_BYTES: u64 = 16 << 20;

fn limit(text: &str) -> Result<Duration, String> {
    let limit = read_duration(text)?;
    if limit <= SignedDuration::ZERO {
        return Err("expected more than 0 s".to_owned());
    }
    Duration::try_from(limit).map_err(|error| error.to_string())
}

/// Runs the document.
pub(crate) fn run(args: &Args) -> Outcome {
    let (document, definition) = definition(&args.file)?;
    let input = input(args.input.as_deref())?;
    let given = given(&definition, &args.secret)?;
    let mut told = Told::new(args.trace.as_deref())?;
    let ended = block_on(async {
        let executor = executor(args)?;
        let start = match told.found(args.data_dir.as_deref(), &definition, &input)? {
            Some(found) => restored(found, &given, &mut told)?,
            None => {
                let secrets = Value::Object(given);
                let loaded = load(&executor, &definition, &secrets).await;
                let (program, resources) = loaded.map_err(|why| unloaded(&args.file, &document, why))?;
                let named = secrets.as_object().into_iter().flat_map(Map::keys).cloned().collect();
                let beginning = Beginning {
                    id: run_id(wall_now()),
                    at: wall_now(),
                    document: definition.json().clone(),
                    resources,
                    input: input.clone(),
                    secrets: named,
                };
                told.begin(&beginning)?;
                let Beginning { id, at, .. } = beginning;
                let begin = Begin { id, input: data(&input), secrets: data(&secrets), at, permit: None };
                Start { program: Arc::new(program), begin, entries: Vec::new(), outside: None }
            }
        };
        bounded(args.timeout, &executor, start, &mut told).await
    });
    let ended = told.finish(ended)?;
    match ended {
        Ended::Completed(output) => output::text(&format!("{}\n", to_json(&output))),
        Ended::Faulted(fault) => Err(faulted(&fault.to_json())),
        Ended::Cancelled => Err(Failure::Unsuccessful("the run was cancelled".to_owned())),
    }
}

async fn bounded(
    limit: Option<Duration>,
    executor: &Executor,
    start: Start,
    told: &mut Told,
) -> Result<Ended, Failure> {
    let driven = async {
        let driven = drive(start, Arc::new(executor.clone()), told).await;
        // What it began and did not wait for would end with this process.
        executor.finish().await;
        driven
    };
    let driven = match limit {
        None => driven.await,
        Some(limit) => match tokio::time::timeout(limit, driven).await {
            Ok(driven) => driven,
            Err(_) => return Err(Failure::Unsuccessful(format!("broken off after {limit:?} (--timeout)"))),
        },
    };
    match driven.map_err(Failure::Unsuccessful)? {
        Drove::Ended(ended) => Ok(ended),
        Drove::Rests(_) => Err(Failure::unsuccessful("the run was put aside")),
    }
}

/// A run that was broken off, with the document that it began with.
fn restored(found: Found, given: &Map<String, Value>, told: &mut Told) -> Result<Start, Failure> {
    let Found { beginning, entries, journal } = found;
    let Beginning { id, at, document, resources, input, secrets } = beginning;
    let secrets = &again(&secrets, given)?;
    let read = Document::from_json(&document).and_then(|document| document.check());
    let definition =
        read.map_err(|problems| Failure::unsuccessful(format!("the document that was kept: {problems}")))?;
    let program = Program::build(definition, &resources);
    let program = program
        .map_err(|unbuilt| Failure::unsuccessful(format!("the document that was kept: {unbuilt:?}")))?;
    output::note(format!("going on with run {id} of {at}, after {} events", entries.len()));
    told.journal = Some(journal);
    let begin = Begin { id, input: data(&input), secrets: data(secrets), at, permit: None };
    Ok(Start { program: Arc::new(program), begin, entries, outside: None })
}

fn executor(args: &Args) -> Result<Executor, Failure> {
    let trust = trust(args.ca_file.as_deref())?;
    let resolve = args.resolve.iter().map(|text| resolved(text)).collect::<Result<_, _>>()?;
    let reach = Reach { egress: Egress::open(), resolve, trust };
    let base = args.file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Who runs a document by hand may reach the network by hand.
    let shell = args.allow_shell.then(|| Within { network: true, ..Within::default() });
    let containers = args.allow_containers.then(Within::default);
    let allowed = Allowed { shell, containers };
    Executor::new(&reach, allowed, base.to_owned()).map_err(|error| Failure::input(error.to_string()))
}

fn definition(file: &Path) -> Result<(Document, Definition), Failure> {
    let text = read(file)?;
    if let Ok(document) = sos_workflow::read(&text)
        && let Ok(definition) = document.check()
        && sos_engine::workflow::check_waiting(&text, &definition).is_empty()
    {
        // What its expressions lack is told when it is loaded.
        return Ok((document, definition));
    }
    let name = file.display().to_string();
    let wrong = sos_engine::workflow::check_document(&text);
    Err(Failure::BadInput(wrong.iter().map(|problem| problem.in_file(&name).to_string()).collect()))
}

fn read(file: &Path) -> Result<String, Failure> {
    let unreadable = |why: String| Failure::input(format!("{}: {why}", file.display()));
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(MOST_BYTES + 1).read_to_string(&mut text)
    } else {
        File::open(file).and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text))
    };
    read.map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    if text.len() as u64 > MOST_BYTES {
        return Err(unreadable(format!("longer than {MOST_BYTES} bytes")));
    }
    Ok(text)
}

/// The input: JSON in the argument, YAML or JSON in a file.
pub(super) fn input(given: Option<&str>) -> Result<Value, Failure> {
    let from_file = |file: &Path| {
        let document = sos_workflow::read(&read(file)?);
        let document = document.map_err(|problems| {
            let name = file.display().to_string();
            Failure::BadInput(problems.all().iter().map(|one| one.in_file(&name).to_string()).collect())
        })?;
        Ok(document.root().to_json())
    };
    match given {
        None => Ok(json!({})),
        Some("-") => from_file(Path::new("-")),
        Some(text) => match text.strip_prefix('@') {
            Some(file) => from_file(Path::new(file)),
            None => serde_json::from_str(text)
                .map_err(|error| Failure::input(format!("--input is no JSON: {error}; a file is @FILE"))),
        },
    }
}

/// Those of the given secrets that the document declares. One that is not given is missed where it is used.
fn given(definition: &Definition, given: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut values = Map::new();
    for text in given {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Failure::input("--secret: expected NAME=VALUE".to_owned()));
        };
        if definition.r#use.secrets.iter().any(|declared| declared == name) {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            values.insert(name.to_owned(), value);
        }
    }
    Ok(values)
}

/// The secrets that a run had when it was broken off: with others it would come to something else.
fn again(had: &[String], given: &Map<String, Value>) -> Result<Value, Failure> {
    let missing: Vec<&str> =
        had.iter().map(String::as_str).filter(|name| !given.contains_key(*name)).collect();
    if !missing.is_empty() {
        let named = missing.join(", ");
        return Err(Failure::input(format!(
            "the run was broken off with secrets that are not given now: {named}; give each as --secret NAME=VALUE"
        )));
    }
    let had = given.iter().filter(|(name, _)| had.contains(name));
    Ok(Value::Object(had.map(|(name, value)| (name.clone(), value.clone())).collect()))
}

fn unloaded(file: &Path, document: &Document, why: Unloaded) -> Failure {
    let name = file.display();
    match why {
        Unloaded::Unfetched(address, why) => {
            Failure::Unreachable(format!("{name}: {address} is needed: {why}"))
        }
        Unloaded::Unbuilt(unbuilt) => {
            let name = name.to_string();
            let problems = unbuilt.refused.iter().map(|one| one.problem(document).in_file(&name).to_string());
            Failure::BadInput(problems.collect())
        }
    }
}

/// The error as one JSON object, the last line of stderr.
#[expect(clippy::print_stderr, reason = "programs read the last line of stderr; `error: ` would break it")]
pub(super) fn faulted(fault: &Value) -> Failure {
    eprintln!("{fault}");
    Failure::Told
}

/// Writes the trace and the journal.
struct Told {
    file: Option<(PathBuf, LineWriter<File>)>,
    failed: Option<std::io::Error>,
    /// Where the journal is or will be.
    path: Option<PathBuf>,
    journal: Option<Journal>,
}

impl Told {
    fn new(path: Option<&Path>) -> Result<Self, Failure> {
        let create = |path: &Path| {
            let file = File::create(path);
            let file =
                file.map_err(|error| Failure::input(format!("cannot write {}: {error}", path.display())))?;
            Ok((path.to_owned(), LineWriter::new(file)))
        };
        Ok(Self { file: path.map(create).transpose()?, failed: None, path: None, journal: None })
    }

    /// The journal of a run of the same document with the same input that was broken off.
    fn found(
        &mut self,
        folder: Option<&Path>,
        definition: &Definition,
        input: &Value,
    ) -> Result<Option<Found>, Failure> {
        let Some(folder) = folder else { return Ok(None) };
        let cannot = |error: std::io::Error| {
            Failure::unsuccessful(format!("cannot use {}: {error}", folder.display()))
        };
        std::fs::create_dir_all(folder).map_err(cannot)?;
        let digest = Sha256::digest(json!([definition.json(), input]).to_string());
        let digest: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let path = folder.join(format!("open-{digest}.jsonl"));
        let found =
            if path.exists() { Some(Journal::open(&path).map_err(Failure::unsuccessful)?) } else { None };
        self.path = Some(path);
        Ok(found)
    }

    fn begin(&mut self, beginning: &Beginning) -> Outcome {
        let Some(path) = &self.path else { return Ok(()) };
        self.journal = Some(Journal::begin(path, beginning).map_err(Failure::unsuccessful)?);
        Ok(())
    }

    /// Ends the trace; the journal of a run that is over is put aside.
    fn finish(self, ended: Result<Ended, Failure>) -> Result<Ended, Failure> {
        if let (Ok(_), Some(path), Some(_)) = (&ended, &self.path, &self.journal) {
            // Behind the digest of document and input, by which it was found.
            let digest = path.file_stem().and_then(|stem| stem.to_str()?.strip_prefix("open-"));
            let name = format!("ended-{}-{}.jsonl", digest.unwrap_or_default(), run_id(wall_now()));
            let aside = path.with_file_name(name);
            let moved = std::fs::rename(path, aside);
            moved.map_err(|error| {
                Failure::unsuccessful(format!("cannot rename {}: {error}", path.display()))
            })?;
        }
        if let Some((path, mut file)) = self.file {
            let written = self.failed.map_or_else(|| file.flush(), Err);
            written.map_err(|error| {
                Failure::unsuccessful(format!("cannot write {}: {error}", path.display()))
            })?;
        }
        ended
    }
}

impl Host for Told {
    async fn keep(&mut self, happened: Happened<'_>) -> Result<(), String> {
        self.journal.as_mut().map_or(Ok(()), |journal| journal.append(happened.entries))
    }

    fn trace(&mut self, at: Timestamp, trace: &Trace) {
        let Some((_, file)) = &mut self.file else { return };
        let event = trace.what.word();
        let line =
            json!({"at": at.to_string(), "task": trace.task, "reference": trace.reference, "event": event});
        if let Err(error) = writeln!(file, "{line}") {
            self.failed.get_or_insert(error);
        }
    }
}
