//! All assets of an adapter. Reads run side by side; writes one after the other, so that of two controllers the one
//! with the lower epoch can never be the last to command.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex as Slots, PoisonError};

use futures::StreamExt;
use futures::stream;
use sos_units::Missing;
use tokio::sync::Mutex;

use super::unit::Unit;
use crate::protocol::{
    AssetConfig, AssetError, Configure, ConfigureReply, Failure, FailureCode, RatingsReply, Read, ReadReply,
    Setpoint, Write, WriteReply, WriteResult,
};

/// Devices that are talked to at the same time.
const MAX_CONCURRENT: usize = 64;
const MAX_ASSETS: usize = 10_000;

#[derive(Clone)]
struct Slot {
    config: AssetConfig,
    unit: Arc<Mutex<Unit>>,
}

/// The assets and the highest epoch that has commanded them.
#[derive(Default)]
pub(super) struct Fleet {
    slots: Slots<Vec<Slot>>,
    epoch: Mutex<u64>,
}

impl Fleet {
    pub(super) async fn configure(&self, new: Configure) -> Result<ConfigureReply, Failure> {
        check(&new)?;
        let old = self.slots();
        let mut slots = Vec::with_capacity(new.assets.len());
        for config in new.assets {
            match old.iter().find(|slot| slot.config == config) {
                Some(slot) => {
                    slot.unit.lock().await.forgive();
                    slots.push(slot.clone());
                }
                None => slots.push(Slot { unit: Arc::new(Mutex::new(Unit::new(config.clone()))), config }),
            }
        }
        let assets = slots.len();
        *self.slots.lock().unwrap_or_else(PoisonError::into_inner) = slots;
        Ok(ConfigureReply { assets })
    }

    pub(super) async fn read(&self, read: Read) -> ReadReply {
        let each = self
            .slots()
            .into_iter()
            .map(|slot| async move { slot.unit.lock().await.measure(read.time).await });
        ReadReply { time: read.time, assets: stream::iter(each).buffered(MAX_CONCURRENT).collect().await }
    }

    pub(super) async fn ratings(&self) -> RatingsReply {
        let each = self.slots().into_iter().map(|slot| async move { slot.unit.lock().await.ratings().await });
        RatingsReply { assets: stream::iter(each).buffered(MAX_CONCURRENT).collect().await }
    }

    pub(super) async fn write(&self, write: Write) -> Result<WriteReply, Failure> {
        if write.lease_s == 0 {
            return Err(malformed("lease_s must be 1 or more".to_owned()));
        }
        let names: BTreeSet<&str> = write.setpoints.iter().map(|setpoint| setpoint.asset.as_str()).collect();
        if names.len() < write.setpoints.len() {
            return Err(malformed("more than one set-point for an asset".to_owned()));
        }
        let mut highest = self.epoch.lock().await;
        if write.epoch < *highest {
            let message = format!("epoch {} is not in control any more, epoch {} is", write.epoch, *highest);
            return Err(Failure { code: FailureCode::StaleEpoch, message });
        }
        *highest = write.epoch;
        let slots = self.slots();
        let lease = write.lease_s;
        let each = write.setpoints.into_iter().map(|setpoint| command(&slots, setpoint, lease));
        let results = stream::iter(each).buffered(MAX_CONCURRENT).collect().await;
        Ok(WriteReply { results })
    }

    fn slots(&self) -> Vec<Slot> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn command(slots: &[Slot], setpoint: Setpoint, lease: u32) -> WriteResult {
    let Setpoint { asset, power_kw } = setpoint;
    match slots.iter().find(|slot| slot.config.asset == asset) {
        Some(slot) => slot.unit.lock().await.command(power_kw, lease).await,
        None => {
            let known = slots.iter().map(|slot| slot.config.asset.as_str()).collect::<Vec<_>>().join(", ");
            let message = format!("no asset `{asset}` is configured; known are {known}");
            let error = Some(AssetError { reason: Missing::Unavailable, message });
            WriteResult { asset, error, ..WriteResult::default() }
        }
    }
}

fn malformed(message: String) -> Failure {
    Failure { code: FailureCode::Malformed, message }
}

fn check(new: &Configure) -> Result<(), Failure> {
    let mut names = BTreeSet::new();
    if new.assets.len() > MAX_ASSETS {
        return Err(malformed(format!("at most {MAX_ASSETS} assets, not {}", new.assets.len())));
    }
    for AssetConfig { asset, unit, timeout_ms, port, .. } in &new.assets {
        let problem = if asset.is_empty() || !names.insert(asset) {
            "needs a name of its own".to_owned()
        } else if !(1..=247).contains(unit) {
            format!("needs a unit id of 1 to 247, not {unit}")
        } else if *port == 0 {
            "needs a port of 1 to 65535, not 0".to_owned()
        } else if timeout_ms.is_some_and(|ms| !(10..=60_000).contains(&ms)) {
            "needs a timeout_ms of 10 to 60000".to_owned()
        } else {
            continue;
        };
        return Err(malformed(format!("asset `{asset}` {problem}")));
    }
    Ok(())
}
