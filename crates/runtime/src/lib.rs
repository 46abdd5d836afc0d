//! Drivers that run services.
//!
//! Deploying takes visible steps, each a function of what the one before returned:
//! [`load_configuration`] → [`Driver::resolve`] (metadata: ports, program, version) → [`describe_deployment`] (the
//! generated description that `sos describe` shows) → [`Driver::deploy`].

mod conformance;
mod describe;
mod driver;
mod logs;
mod ports;
mod probe;
mod process;
mod secrets;

pub use conformance::conformance;
pub use describe::{
    Deployment, DescribeError, EnvValue, EnvVar, Limits, LogRotation, Metadata, PortRequest, ReplicaConfig,
    ServiceConfig, describe_deployment, description_hash, load_configuration,
};
pub use driver::{
    Capabilities, Driver, DriverError, Enforcement, Exit, Handle, LimitEnforcement, MAX_PAST_RUNS, OlderRuns,
    PastRun, Phase, RecoveryReport, ReplicaState, Usage,
};
pub use logs::{
    Level, LogAnswer, LogChunk, LogQuery, LogQueryError, LogReader, LogRecord, LogSource, LogStream,
    MAX_LOG_LINE, MAX_LOG_RECORDS, MAX_LOG_SCAN, RotatingFile, RunSpan, local_zone, rotate, search,
};
pub use ports::{PortError, assign_ports};
pub use probe::{ProbeOutcome, ProbeRunner, ProbeTarget};
pub use process::{DeployStep, ProcessDriver, ProcessOptions};
pub use secrets::SecretValues;
