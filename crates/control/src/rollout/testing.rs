//! Small values for unit tests.

use jiff::{SignedDuration, Timestamp};

use crate::{DesiredService, ObservedReplica, ReplicaPhase, ReplicaProbes};

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(crate) fn service(replicas: u32, hash: &str) -> DesiredService {
    DesiredService { generation: 1, description_hash: hash.into(), replicas, ..DesiredService::default() }
}

pub(crate) fn replica(ordinal: u32, hash: &str) -> ObservedReplica {
    ObservedReplica {
        service: "a".into(),
        ordinal,
        generation: 1,
        description_hash: hash.into(),
        run: None,
        depends_on: Vec::new(),
        stop_timeout: SignedDuration::from_secs(10),
        started_at: at(0),
        phase: ReplicaPhase::Running,
        probes: ReplicaProbes::default(),
        past_runs: Vec::new(),
        older_restarts: 0,
    }
}
