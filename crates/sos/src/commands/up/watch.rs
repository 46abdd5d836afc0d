//! Applying changes of the folder while `sos up` runs.
//!
//! The manifests are looked at once a second: a few calls for a folder of manifests, the same on every file system,
//! network ones included, where notifications of the system do not arrive.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sos_engine::apply::{Applying, apply};
use sos_engine::clock::wall_now;
use sos_engine::platform::Platform as Engine;
use sos_engine::{folder, resources};
use sos_model::Declared;
use sos_store::{Event, EventType, StoreError};

use crate::platform::refresh;

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Time and size of every manifest.
pub(super) type Stamps = BTreeMap<PathBuf, Option<(SystemTime, u64)>>;

/// Follows a folder until it is aborted. `seen` are the stamps from before it was read: what changes while the platform
/// starts is a change as well.
pub(super) async fn follow(engine: Arc<Engine>, dir: PathBuf, manager: String, mut seen: Stamps) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let (engine, dir, manager, before) = (Arc::clone(&engine), dir.clone(), manager.clone(), seen);
        let looked = tokio::task::spawn_blocking(move || {
            let now = stamps(&dir);
            if now != before {
                again(&engine, &dir, &manager);
            }
            now
        });
        match looked.await {
            Ok(now) => seen = now,
            Err(error) => {
                tracing::error!(%error, "the folder is no longer followed");
                return;
            }
        }
    }
}

/// How the manifests of a folder are at this moment.
pub(super) fn stamps(dir: &Path) -> Stamps {
    let stamp = |path: PathBuf| {
        let file = std::fs::metadata(&path).ok();
        let stamp = file.and_then(|file| Some((file.modified().ok()?, file.len())));
        (path, stamp)
    };
    folder::manifests(dir).into_iter().map(stamp).collect()
}

/// Applies the folder; with a problem in it what runs stays as it is.
fn again(engine: &Engine, dir: &Path, manager: &str) {
    let declared = match others(engine, manager) {
        Ok(stored) => folder::read(&[dir.to_owned()], &stored),
        Err(error) => return tracing::error!(%error, "the folder changed, but the store cannot be read"),
    };
    let declared = match declared {
        Ok(declared) => declared,
        Err(problems) => {
            for problem in &problems {
                tracing::error!("{problem}");
            }
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            let more = match problems.len() {
                0 | 1 => String::new(),
                n => format!(" (and {} more problems)", n - 1),
            };
            return tell(
                engine,
                dir,
                EventType::Warning,
                "NotApplied",
                format!("{first}{more}; nothing was changed"),
            );
        }
    };
    let how = Applying {
        manager,
        who: "sos up --watch",
        why: None,
        force: false,
        dry_run: false,
        prune: true,
        now: wall_now(),
    };
    match apply(engine.store(), &declared, &how) {
        Ok(applied) => {
            let changed = applied.iter().filter(|one| one.action != "unchanged");
            let changed: Vec<String> =
                changed.map(|one| format!("{}/{} {}", one.kind, one.name, one.action)).collect();
            if !changed.is_empty() {
                tell(engine, dir, EventType::Normal, "Applied", changed.join(", "));
                refresh(engine, &applied);
            }
        }
        Err(error) => {
            tell(engine, dir, EventType::Warning, "NotApplied", format!("{error}; nothing was changed"))
        }
    }
}

/// What others declare, which the folder may refer to.
fn others(engine: &Engine, manager: &str) -> Result<Vec<Declared>, StoreError> {
    let all = engine.store().list_all()?;
    let theirs = all.iter().filter(|resource| resource.manager != manager);
    Ok(theirs.filter_map(|resource| resources::declared(resource).ok()).collect())
}

fn tell(engine: &Engine, dir: &Path, event_type: EventType, reason: &str, message: String) {
    match event_type {
        EventType::Normal => tracing::info!(dir = %dir.display(), reason, message),
        EventType::Warning => tracing::warn!(dir = %dir.display(), reason, message),
    }
    let event = Event {
        time: wall_now(),
        site_time: None,
        kind: "Folder".into(),
        name: dir.display().to_string(),
        event_type,
        reason: reason.into(),
        message,
    };
    if let Err(error) = engine.store().record_event(&event) {
        tracing::error!(%error, "an event cannot be recorded");
    }
}
