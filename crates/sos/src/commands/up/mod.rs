//! `sos up`: the whole, running.

mod finish;
mod serve;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use sos_call::Egress;
use sos_engine::clock::Speed;
use sos_engine::faults::Faults;
use sos_engine::platform::{Platform, Start, StartError};
use sos_engine::services::Stop;
use sos_engine::sites::Running;
use sos_engine::watch::Retention;
use sos_store::{EventFilter, StoreError};

use super::import::fetch::{resolved, trust};
use crate::logging;
use crate::outcome::{Failure, Outcome};
use crate::terminal::Terminal;

/// Events below the table.
const SHOWN_EVENTS: usize = 4;

/// Arguments of `sos up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder with the manifests
    dir: PathBuf,
    /// Site seconds per second, or "max" for lock-step [default: real time, or as before]
    #[arg(long, value_name = "N|max")]
    speed: Option<Speed>,
    /// Seed of every random choice
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Site time to begin at (RFC 3339) [default: the first row of what is replayed, else now]
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Site time to stop at (RFC 3339); then the report is written
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Address to serve API and dashboard on
    #[arg(long, default_value = "127.0.0.1:7600", value_name = "ADDR")]
    listen: std::net::SocketAddr,
    /// Where state is kept [default: DIR/.sos]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Apply changes of the folder while running
    #[arg(long)]
    watch: bool,
    /// Write the report to this file at the end, also when Ctrl-C comes first
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Address at which people reach this server, for links in notifications [default: where it listens]
    #[arg(long, value_name = "URL")]
    external_url: Option<String>,
    /// How long samples of metrics are kept; steps of five minutes stay six times as long, hours two years
    #[arg(long, value_name = "DURATION", default_value = "15d", value_parser = retention)]
    retention: Retention,
    /// What calls may reach beside the addresses that services declare: HOST, HOST:PORT, *.DOMAIN, an address or a
    /// network; also several times
    #[arg(long, value_name = "RULE")]
    egress: Vec<String>,
    /// Let workflows reach a host at this address instead of asking the DNS, also several times
    #[arg(long, value_name = "HOST=ADDR")]
    resolve: Vec<String>,
    /// Certificates of authorities that workflows trust beside this machine's, in PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Outages to inject: a list of {"site","service","at","seconds"} in JSON or YAML, in site time
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
}

/// Runs it until it is stopped or `--until` is reached.
pub(crate) fn run(args: &Args) -> Outcome {
    let started = Instant::now();
    let mut view = Terminal::new();
    // Lines of a log would tear the table.
    let quiet = view.is_live() || args.speed == Some(Speed::LockStep);
    // In lock-step a line a tick would be most of the work.
    let kept = if args.speed == Some(Speed::LockStep) { "warn" } else { "info" };
    logging::start(if quiet { "error" } else { "info" }, kept);
    let seen = watch::stamps(&args.dir);
    let declared = sos_engine::folder::read(std::slice::from_ref(&args.dir), &[])
        .map_err(|problems| Failure::BadInput(problems.iter().map(ToString::to_string).collect()))?;
    let mut start = start(args, started)?;
    let problems = sos_engine::sites::check_period(&declared, &start.running);
    if !problems.is_empty() {
        return Err(Failure::BadInput(problems));
    }
    if let Some(path) = &args.faults {
        start.running.faults = Faults::read(path, &declared, &start.running)
            .map_err(|problems| Failure::BadInput(problems.iter().map(ToString::to_string).collect()))?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::unsuccessful(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        let listener = serve::bind(args.listen).await?;
        let (platform, _applied) = Platform::start(&start, &declared).map_err(start_failure)?;
        logging::keep(&start.data_dir);
        let platform = Arc::new(platform);
        let watching =
            serve::Watching { external_url: args.external_url.as_deref(), retention: args.retention };
        let server = match serve::start(listener, &platform, &start.data_dir, watching) {
            Ok(server) => server,
            Err(failure) => {
                drop(platform.stop_sites());
                platform.stop_services(Stop::Services).await;
                return Err(failure);
            }
        };
        let follow = || {
            tokio::spawn(watch::follow(Arc::clone(&platform), args.dir.clone(), start.manager.clone(), seen))
        };
        let watch = args.watch.then(follow);
        let ended = wait(&platform, &mut view).await;
        view.finish();
        if let Some(watch) = watch {
            watch.abort();
        }
        server.stop().await;
        let mut outcomes = platform.stop_sites();
        if let Some(watch) = platform.watch() {
            watch.stop();
        }
        let report = finish::report(args, &start, &platform, &mut outcomes, (started, ended));
        platform
            .stop_services(if ended == Ended::Terminated { Stop::LeaveServices } else { Stop::Services })
            .await;
        for outcome in outcomes {
            outcome.map_err(Failure::unsuccessful)?;
        }
        report
    })
}

/// A time for which samples are kept.
fn retention(text: &str) -> Result<Retention, String> {
    let time = sos_model::read_duration(text)?;
    if time < SignedDuration::from_hours(1) {
        return Err("expected an hour or more".to_owned());
    }
    Ok(Retention::of(time))
}

/// Why the run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Every site reached its end.
    Done,
    /// Ctrl-C: services stop too.
    Interrupted,
    /// SIGTERM: services go on, to be adopted.
    Terminated,
}

async fn wait(platform: &Platform, view: &mut Terminal) -> Ended {
    let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    let interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt());
    // Both are listened to all the time: one that came between two looks would be lost.
    let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) else { return Ended::Interrupted };
    let mut look = tokio::time::interval(Duration::from_millis(20));
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ended::Interrupted,
            _ = terminate.recv() => return Ended::Terminated,
            _ = look.tick() => {
                if platform.all_ended() {
                    return Ended::Done;
                }
                show(platform, view);
            }
        }
    }
}

/// Draws the first site that has a picture, when it is time to.
fn show(platform: &Platform, view: &mut Terminal) {
    let site = || platform.site_names().iter().find_map(|name| platform.site(name));
    if view.is_due()
        && let Some(state) = site()
    {
        let latest = EventFilter { limit: Some(SHOWN_EVENTS), ..EventFilter::default() };
        let events = platform.store().list_events(&latest).unwrap_or_default();
        view.draw(&state, &platform.board(), &events);
    }
}

fn start(args: &Args, started: Instant) -> Result<Start, Failure> {
    let absolute = |path: &PathBuf| std::path::absolute(path).map_err(Failure::unsuccessful);
    let dir = absolute(&args.dir)?;
    let base_dir = if dir.is_dir() { dir } else { dir.parent().map(PathBuf::from).unwrap_or_default() };
    let data_dir = match &args.data_dir {
        Some(dir) => absolute(dir)?,
        None => base_dir.join(".sos"),
    };
    let faults = Faults::default();
    let own_binary = std::env::current_exe().map_err(Failure::unsuccessful)?;
    let running =
        Running { speed: args.speed, from: args.from, until: args.until, seed: args.seed, faults, started };
    let mut egress = Egress::listed();
    for rule in &args.egress {
        egress = egress.allow(rule).map_err(|why| Failure::input(format!("--egress {rule}: {why}")))?;
    }
    let resolve = args.resolve.iter().map(|text| resolved(text)).collect::<Result<_, _>>()?;
    let trust = trust(args.ca_file.as_deref())?;
    Ok(Start { data_dir, base_dir, own_binary, manager: "dir".into(), running, egress, resolve, trust })
}

fn start_failure(error: StartError) -> Failure {
    match error {
        StartError::Store(StoreError::Locked { .. }) => {
            Failure::unsuccessful(format!("{error}; stop it first, or choose another --data-dir"))
        }
        error => Failure::unsuccessful(error),
    }
}
