//! The state record of a replica: a small JSON file, replaced as a whole. What all drivers keep, and what one keeps for
//! itself.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::logs::zone_named;
use crate::{
    Deployment, EnvValue, Handle, Health, LimitEnforcement, LogSource, OlderRuns, PastRun, Phase,
    ReplicaState, RunSpan, Usage,
};

/// The version of the format.
const VERSION: u32 = 1;

/// All that is known of a replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record<Own> {
    version: u32,
    #[serde(with = "crate::shared::arc")]
    pub(crate) deployment: Arc<Deployment>,
    pub(crate) started_at: Timestamp,
    /// Tells this launch from all others of the replica.
    pub(crate) launch: String,
    pub(crate) phase: Phase,
    pub(crate) limits: LimitEnforcement,
    pub(crate) past_runs: Vec<PastRun>,
    /// Runs that are too old to be listed.
    #[serde(default)]
    pub(crate) older_runs: OlderRuns,
    /// What the driver knows of it besides.
    #[serde(flatten)]
    pub(crate) own: Own,
}

impl<Own: Default> Record<Own> {
    pub(crate) fn new(
        deployment: impl Into<Arc<Deployment>>,
        started_at: Timestamp,
        launch: String,
        limits: LimitEnforcement,
        (past_runs, older_runs): (Vec<PastRun>, OlderRuns),
    ) -> Self {
        Self {
            version: VERSION,
            deployment: deployment.into(),
            started_at,
            launch,
            phase: Phase::Starting,
            limits,
            past_runs,
            older_runs,
            own: Own::default(),
        }
    }
}

impl<Own> Record<Own> {
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.phase, Phase::Exited { .. })
    }

    /// Why it was asked to stop, if it was.
    pub(crate) fn asked(&self) -> Option<String> {
        match &self.phase {
            Phase::Stopping { cause, .. } => Some(cause.clone()),
            _ => None,
        }
    }

    /// Its description, to be changed.
    pub(crate) fn deployment_mut(&mut self) -> &mut Deployment {
        Arc::make_mut(&mut self.deployment)
    }

    /// Whether it runs what a deployment describes.
    pub(crate) fn runs(&self, deployment: &Deployment) -> bool {
        let own = &self.deployment;
        own.description_hash == deployment.description_hash && own.run == deployment.run
    }

    /// What is shown of it; the driver adds what identifies it, what it uses and its health.
    pub(crate) fn state(
        &self,
        handle: Option<Handle>,
        usage: Option<Usage>,
        health: Option<Health>,
    ) -> ReplicaState {
        ReplicaState {
            deployment: Arc::clone(&self.deployment),
            started_at: self.started_at,
            phase: self.phase.clone(),
            handle,
            usage,
            health,
            address: None,
            limits: self.limits.clone(),
            past_runs: self.past_runs.clone(),
            older_runs: self.older_runs.clone(),
        }
    }

    /// Adds what is known of the replica to its log: the service, the zone of its times, its runs.
    pub(crate) fn describe_log(&self, source: &mut LogSource) {
        self.deployment.service.clone_into(&mut source.service);
        let zone = self.deployment.env.iter().rev().find(|var| var.name == "TZ");
        if let Some(EnvValue::Plain(zone)) = zone.map(|var| &var.value) {
            // The system's C library takes a name that it does not know for UTC.
            source.zone = zone_named(zone).unwrap_or(TimeZone::UTC);
        }
        let past = self.past_runs.iter().filter_map(|past| {
            let run = past.run.clone()?;
            Some(RunSpan { run, since: past.started_at, until: Some(past.ended_at) })
        });
        let present = self.deployment.run.clone().map(|run| {
            let until = match self.phase {
                Phase::Exited { at, .. } => Some(at),
                _ => None,
            };
            RunSpan { run, since: self.started_at, until }
        });
        source.runs = past.chain(present).collect();
    }

    /// The present run and those before it, once the present one is over; the oldest ones are only counted.
    pub(crate) fn into_past_runs(self) -> (Vec<PastRun>, OlderRuns) {
        let (mut runs, mut older) = (self.past_runs, self.older_runs);
        if let Phase::Exited { exit, at, asked } = self.phase {
            runs.push(PastRun {
                started_at: self.started_at,
                ended_at: at,
                description_hash: self.deployment.description_hash.clone(),
                run: self.deployment.run.clone(),
                exit,
                asked,
            });
        }
        let surplus = runs.len().saturating_sub(crate::MAX_PAST_RUNS);
        runs.drain(..surplus).for_each(|run| older.count(&run));
        (runs, older)
    }

    /// Replaces the file as a whole: whenever this process ends, there is the old record or the new one. A power cut is
    /// not waited for: after one nothing runs that a record could be about, and one that cannot be read is set aside.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()>
    where
        Own: Serialize,
    {
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(".new");
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(self).map_err(io::Error::other)?)?;
        fs::rename(&fresh, path)
    }

    /// Reads a record of `replica`, or says what is wrong with it.
    pub(crate) fn load(path: &Path, replica: &str) -> Result<Self, String>
    where
        Own: DeserializeOwned,
    {
        let bytes = fs::read(path).map_err(|error| error.to_string())?;
        let record: Self = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if record.version != VERSION {
            return Err(format!("its version is {}, this program reads {VERSION}", record.version));
        }
        if record.deployment.replica != replica {
            return Err(format!("it is about replica {:?}", record.deployment.replica));
        }
        Ok(record)
    }
}
