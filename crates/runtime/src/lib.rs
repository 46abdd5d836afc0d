//! Drivers that run services.
//!
//! Deploying takes visible steps, each a function of what the one before returned:
//! [`load_configuration`] → [`Driver::resolve`] (metadata: ports, program, version) → [`describe_deployment`] (the
//! generated description that `sos describe` shows) → [`Driver::deploy`].
//!
//! [`gateway`] has one stable address for each service, whatever replicas a driver runs.

mod any;
mod conformance;
mod container;
mod describe;
mod docker;
mod driver;
pub mod gateway;
pub mod kubernetes;
mod logs;
mod machine;
mod ports;
mod preview;
mod probe;
mod process;
mod rapl;
mod record;
mod secrets;
mod shared;
pub mod simulated;

pub use any::{Answers, AnyDriver};
pub use conformance::{ConformanceConduct, conformance};
pub use container::{
    ContainerCheck, ContainerConfig, ContainerNetwork, ContainerProbe, ContainerProbes, ImageBuild,
    ImageSource, PullPolicy, Volume, VolumeSource, WorkdirMount,
};
pub use describe::{
    Deployment, DescribeError, EnvValue, EnvVar, Limits, LogRotation, Metadata, PortRequest, ReplicaConfig,
    ServiceConfig, describe_deployment, description_hash, load_configuration,
};
pub use docker::{
    ContainerStep, DockerDriver, DockerOptions, OnceContainer, OnceOutcome, docker_socket, remove_ended,
    run_once,
};
pub use driver::{
    Capabilities, Driver, DriverError, Enforcement, Exit, Handle, Health, HealthStatus, InPlaceLimits,
    LimitEnforcement, MAX_PAST_RUNS, OlderRuns, PastRun, Phase, RecoveryReport, ReplicaState, Usage,
    same_but_usage,
};
pub use logs::{
    Level, LogAnswer, LogChunk, LogQuery, LogQueryError, LogReader, LogRecord, LogSource, LogStream,
    MAX_LOG_LINE, MAX_LOG_RECORDS, MAX_LOG_SCAN, RotatingFile, RunSpan, local_zone, rotate, search,
};
pub use machine::{MachineFacts, busy_seconds};
pub use ports::{PortError, assign_ports};
pub use preview::{preview, preview_objects};
pub use probe::{ProbeOutcome, ProbeRunner, ProbeTarget};
pub use process::{DeployStep, ProcessDriver, ProcessOptions};
pub use rapl::{EnergyCounter, EnergyCounters, NoEnergyCounters, POWERCAP, read_energy_counters};
pub use secrets::SecretValues;
pub use simulated::{SimulatedDriver, SimulatedOptions};
