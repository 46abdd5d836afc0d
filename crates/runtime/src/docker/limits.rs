//! Limits that are changed while a container runs.

use bollard::Docker;

use super::create::changed;
use super::daemon::CHANGE;
use super::start::control_groups;
use super::worker::Worker;
use crate::{DriverError, Enforcement, LimitEnforcement, Limits};

impl Worker {
    /// The daemon changes the control groups; what it refuses, such as less memory than is held, stays as it was.
    pub(super) async fn set_limits(
        &self,
        replica: &str,
        limits: &Limits,
    ) -> Result<LimitEnforcement, DriverError> {
        let mut state = self.state.lock().await;
        let record = state.records.get_mut(replica).filter(|record| record.is_live());
        let record = record.ok_or_else(|| DriverError::Unknown(replica.to_owned()))?;
        let old = record.deployment.limits;
        if *limits == old {
            return Ok(record.limits.clone());
        }
        let refuse = |why: String| DriverError::NotInPlace { replica: replica.to_owned(), why };
        if limits.cpu_millis == Some(0) || limits.memory_bytes == Some(0) {
            return Err(refuse("limits must be above zero".into()));
        }
        let id = record.own.container.clone().ok_or_else(|| refuse("its container is not known".into()))?;
        let body = changed(limits);
        let update = |docker: Docker| async move { docker.update_container(&id, body).await };
        self.daemon.ask(CHANGE, update).await.map_err(|fault| {
            let error = self.daemon.error("change limits", fault);
            if matches!(error, DriverError::Daemon { .. }) { error } else { refuse(error.full()) }
        })?;
        record.limits = held(limits);
        record.deployment_mut().limits = *limits;
        self.write(record).await?;
        Ok(record.limits.clone())
    }
}

fn held(limits: &Limits) -> LimitEnforcement {
    let by = |limit: Option<u64>| limit.map_or(Enforcement::NotRequested, |_| control_groups());
    LimitEnforcement { memory: by(limits.memory_bytes), cpu: by(limits.cpu_millis) }
}
