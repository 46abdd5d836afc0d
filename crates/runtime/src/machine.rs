//! What is known of the machine that `sos` runs on.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The most that is read of a file below `/proc`.
const MAX_BYTES: u64 = 16 << 20;

/// Clock ticks per second in `/proc/stat` (`USER_HZ`), the same on every architecture.
const USER_HZ: f64 = 100.0;

/// A machine, as its kernel describes it. In a container these are the figures of the whole machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineFacts {
    /// Its name in the network; `None` where the kernel does not tell.
    #[serde(default)]
    pub host_name: Option<String>,
    /// Logical processors, above zero.
    pub processors: u32,
    /// Physical cores; `None` where the kernel does not tell.
    pub cores: Option<u32>,
    /// Processor packages; `None` where the kernel does not tell.
    pub packages: Option<u32>,
    /// Model of the processor, or of the board where only that is told.
    pub model: Option<String>,
    /// Architecture, such as `x86_64` or `aarch64`.
    pub architecture: String,
    /// Whether it is a virtual machine, as far as its processor tells.
    pub virtual_machine: bool,
    /// Memory, bytes.
    pub memory_bytes: Option<u64>,
    /// The present start of the machine.
    pub boot_id: Option<String>,
}

impl MachineFacts {
    /// Reads them below `proc`, usually `/proc`.
    ///
    /// # Errors
    /// When `cpuinfo` cannot be read or names no processor. What else is missing is `None`.
    pub fn read(proc: &Path) -> io::Result<Self> {
        let cpuinfo = read(&proc.join("cpuinfo"))?;
        let mut facts = parse_cpuinfo(&cpuinfo);
        if facts.processors == 0 {
            let path = proc.join("cpuinfo");
            return Err(io::Error::other(format!("{} names no processor", path.display())));
        }
        std::env::consts::ARCH.clone_into(&mut facts.architecture);
        facts.memory_bytes = read(&proc.join("meminfo")).ok().and_then(|text| total_memory(&text));
        let told = |file: &str| {
            let text = read(&proc.join("sys/kernel").join(file)).ok();
            text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        facts.boot_id = told("random/boot_id");
        facts.host_name = told("hostname");
        Ok(facts)
    }
}

/// Processor time that the whole machine has used since its start, seconds, from `stat` below `proc`. Time that a
/// hypervisor gave to others is not among it.
///
/// # Errors
/// When the file cannot be read or has no such line.
pub fn busy_seconds(proc: &Path) -> io::Result<f64> {
    let path = proc.join("stat");
    let text = read(&path)?;
    parse_stat(&text)
        .ok_or_else(|| io::Error::other(format!("{} has no line of all processors", path.display())))
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn parse_cpuinfo(text: &str) -> MachineFacts {
    let mut facts = MachineFacts::default();
    let (mut packages, mut cores) = (BTreeSet::new(), BTreeSet::new());
    let (mut package, mut board) = (None, None);
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let (key, value) = (key.trim(), value.trim());
        match key {
            "processor" if value.parse::<u32>().is_ok() => {
                facts.processors = facts.processors.saturating_add(1);
            }
            "model name" if facts.model.is_none() && !value.is_empty() => facts.model = Some(value.into()),
            // Of boards: the last lines.
            "Model" | "Hardware" if !value.is_empty() => board = Some(value.to_owned()),
            "physical id" => {
                package = Some(value.to_owned());
                packages.insert(value.to_owned());
            }
            "core id" => {
                cores.insert((package.clone(), value.to_owned()));
            }
            "flags" => facts.virtual_machine |= value.split(' ').any(|flag| flag == "hypervisor"),
            _ => {}
        }
    }
    facts.model = facts.model.or(board);
    let count = |len: usize| u32::try_from(len).ok().filter(|count| *count > 0);
    (facts.cores, facts.packages) = (count(cores.len()), count(packages.len()));
    facts
}

fn total_memory(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn parse_stat(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    // user, nice, system, (idle, iowait,) irq, softirq; guests are within user.
    let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|field| ticks.get(*field)).sum();
    (ticks.len() >= 4).then_some(busy as f64 / USER_HZ)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_with_two_threads_for_each_core_is_understood() {
        let processor = |number: u32, package: u32, core: u32| {
            format!(
                "processor\t: {number}\nmodel name\t: Some CPU @ 2.00GHz\nphysical id\t: {package}\ncore id\t\t: {core}\n\
                 flags\t\t: fpu hypervisor sse\n\n"
            )
        };
        let all: Vec<_> = (0..8).map(|i| processor(i, i / 4, i % 2)).collect();
        let facts = parse_cpuinfo(&all.concat());
        assert_eq!((facts.processors, facts.cores, facts.packages), (8, Some(4), Some(2)));
        assert_eq!(facts.model.as_deref(), Some("Some CPU @ 2.00GHz"));
        assert!(facts.virtual_machine);
    }

    #[test]
    fn a_board_tells_its_model_and_no_cores() {
        let text = "processor\t: 0\nBogoMIPS\t: 108.00\n\nprocessor\t: 1\n\nHardware\t: BCM2835\nModel\t\t: Some Board Rev 1.4\n";
        let facts = parse_cpuinfo(text);
        assert_eq!((facts.processors, facts.cores, facts.packages), (2, None, None));
        assert_eq!(facts.model.as_deref(), Some("Some Board Rev 1.4"));
        assert!(!facts.virtual_machine);
        assert_eq!(parse_cpuinfo("rubbish : : :\n\u{0}"), MachineFacts::default());
    }

    #[test]
    fn busy_time_leaves_out_idle_and_stolen_time() {
        let text = "cpu  100 20 30 5000 400 5 6 700 50 0\ncpu0 1 1 1 1\n";
        assert_eq!(parse_stat(text), Some(1.61));
        assert_eq!(parse_stat("cpu  1 2\n"), None);
        assert_eq!(parse_stat("intr 5\n"), None);
    }

    #[test]
    fn memory_is_read_in_its_unit() {
        assert_eq!(total_memory("MemFree: 1 kB\nMemTotal:  2048 kB\n"), Some(2048 * 1024));
        assert_eq!(total_memory("MemTotal: 2048\n"), None);
    }

    #[test]
    fn this_machine_is_understood_and_a_missing_file_named() {
        let facts = MachineFacts::read(Path::new("/proc")).unwrap();
        assert!(facts.processors > 0 && facts.memory_bytes > Some(0) && facts.boot_id.is_some());
        let (before, after) =
            (busy_seconds(Path::new("/proc")).unwrap(), busy_seconds(Path::new("/proc")).unwrap());
        assert!(before > 0.0 && after >= before);
        let dir = tempfile::tempdir().unwrap();
        assert!(MachineFacts::read(dir.path()).is_err() && busy_seconds(dir.path()).is_err());
        std::fs::write(dir.path().join("cpuinfo"), "nothing\n").unwrap();
        assert!(MachineFacts::read(dir.path()).unwrap_err().to_string().contains("names no processor"));
    }
}
