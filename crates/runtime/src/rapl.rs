//! Energy counters of processors (RAPL), as the kernel shows them in `/sys/class/powercap`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where Linux shows the counters.
pub const POWERCAP: &str = "/sys/class/powercap";

/// The control type of the counters, of Intel and of AMD. `intel-rapl-mmio` shows the same packages a second time.
const PREFIX: &str = "intel-rapl:";

/// More folders than any machine has.
const MAX_ZONES: usize = 4096;

/// One counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnergyCounter {
    /// Energy so far, microjoules.
    pub microjoules: u64,
    /// Where it begins anew, microjoules.
    pub range: u64,
}

/// Counters whose sum is the energy of the processors and of their memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnergyCounters {
    /// By name: `package-0`, `package-0/dram`.
    pub counters: BTreeMap<String, EnergyCounter>,
}

/// Why there are no counters.
#[derive(Debug, Error)]
pub enum NoEnergyCounters {
    /// The kernel shows none.
    #[error("this machine shows no energy counters: {folder} {why}")]
    Absent {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// They are there and may not be read.
    #[error(
        "the energy counter {path} may not be read; since CVE-2020-8694 only root may: let sos run as root, or give its group \
         the right by a rule of udev"
    )]
    Denied {
        /// The file.
        path: PathBuf,
    },
    /// One of them cannot be read.
    #[error("the energy counter {path} cannot be read: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

/// Reads the counters below `folder`, usually [`POWERCAP`]: of each processor package, and of its memory where that
/// is counted apart. Those of its parts (`core`, `uncore`) are within it, that of the whole platform (`psys`) is
/// left out, as not all machines have it.
///
/// # Errors
/// Why there are none; all or nothing, so that a sum never lacks a part unseen.
///
/// Source: `Documentation/power/powercap/powercap.rst` of Linux.
pub fn read_energy_counters(folder: &Path) -> Result<EnergyCounters, NoEnergyCounters> {
    let zones = zones(folder)?;
    let mut counters = BTreeMap::new();
    for (zone, name) in zones.iter().filter(|(_, name)| name.starts_with("package")) {
        counters.insert(name.clone(), counter(&folder.join(zone))?);
        let inside = format!("{zone}:");
        for (part, _) in zones.iter().filter(|(part, name)| part.starts_with(&inside) && *name == "dram") {
            counters.insert(format!("{name}/dram"), counter(&folder.join(part))?);
        }
    }
    if counters.is_empty() {
        return Err(NoEnergyCounters::Absent { folder: folder.into(), why: "has no processor package" });
    }
    Ok(EnergyCounters { counters })
}

/// Zones by the name of their folder, with the name that they give themselves.
fn zones(folder: &Path) -> Result<BTreeMap<String, String>, NoEnergyCounters> {
    let entries = fs::read_dir(folder).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NoEnergyCounters::Absent { folder: folder.into(), why: "does not exist" },
        _ => failed(folder, &error),
    })?;
    let mut zones = BTreeMap::new();
    for entry in entries.take(MAX_ZONES) {
        let entry = entry.map_err(|error| failed(folder, &error))?;
        let Ok(zone) = entry.file_name().into_string() else { continue };
        if zone.starts_with(PREFIX) {
            let name = text(&entry.path().join("name"))?;
            zones.insert(zone, name);
        }
    }
    Ok(zones)
}

fn counter(zone: &Path) -> Result<EnergyCounter, NoEnergyCounters> {
    Ok(EnergyCounter {
        microjoules: number(&zone.join("energy_uj"))?,
        range: number(&zone.join("max_energy_range_uj"))?,
    })
}

fn number(path: &Path) -> Result<u64, NoEnergyCounters> {
    let text = text(path)?;
    text.parse().map_err(|_| NoEnergyCounters::Unreadable {
        path: path.into(),
        why: format!("it holds {text:?}, expected a whole number"),
    })
}

fn text(path: &Path) -> Result<String, NoEnergyCounters> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(128).read_to_string(&mut text));
    read.map_err(|error| failed(path, &error))?;
    Ok(text.trim().to_owned())
}

fn failed(path: &Path, error: &io::Error) -> NoEnergyCounters {
    match error.kind() {
        io::ErrorKind::PermissionDenied => NoEnergyCounters::Denied { path: path.into() },
        _ => NoEnergyCounters::Unreadable { path: path.into(), why: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder as the kernel shows it: zones with name, counter and range.
    fn tree(zones: &[(&str, &str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (zone, name, energy) in zones {
            let zone = dir.path().join(zone);
            fs::create_dir(&zone).unwrap();
            fs::write(zone.join("name"), format!("{name}\n")).unwrap();
            fs::write(zone.join("energy_uj"), format!("{energy}\n")).unwrap();
            fs::write(zone.join("max_energy_range_uj"), "262143328850\n").unwrap();
        }
        dir
    }

    #[test]
    fn packages_and_their_memory_are_counted_once() {
        let dir = tree(&[
            ("intel-rapl:0", "package-0", "100"),
            ("intel-rapl:0:0", "core", "60"),
            ("intel-rapl:0:1", "dram", "20"),
            ("intel-rapl:1", "package-1", "200"),
            ("intel-rapl:1:0", "dram", "40"),
            ("intel-rapl:2", "psys", "999"),
            ("intel-rapl:10", "package-10", "300"),
            ("intel-rapl-mmio:0", "package-0", "777"),
            ("dtpm", "other", "1"),
        ]);
        fs::create_dir(dir.path().join("intel-rapl")).unwrap();
        let found = read_energy_counters(dir.path()).unwrap().counters;
        let found: Vec<_> =
            found.iter().map(|(name, counter)| (name.as_str(), counter.microjoules)).collect();
        let expected = [
            ("package-0", 100),
            ("package-0/dram", 20),
            ("package-1", 200),
            ("package-1/dram", 40),
            ("package-10", 300),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_missing_is_named() {
        let message = |folder: &Path| read_energy_counters(folder).unwrap_err().to_string();
        let dir = tree(&[("intel-rapl:0", "core", "1")]);
        assert!(message(dir.path()).contains("no processor package"));
        assert!(message(&dir.path().join("nowhere")).contains("does not exist"));
        let dir = tree(&[("intel-rapl:0", "package-0", "-1")]);
        assert!(message(dir.path()).contains("\"-1\", expected a whole number"));
        let dir = tree(&[("intel-rapl:0", "package-0", "1")]);
        fs::remove_file(dir.path().join("intel-rapl:0/max_energy_range_uj")).unwrap();
        assert!(message(dir.path()).contains("max_energy_range_uj"));
    }

    #[test]
    fn a_refusal_says_who_may_read() {
        let refused = failed(Path::new("/sys/x/energy_uj"), &io::ErrorKind::PermissionDenied.into());
        assert!(matches!(refused, NoEnergyCounters::Denied { .. }));
        assert!(refused.to_string().contains("only root may"), "{refused}");
    }
}
