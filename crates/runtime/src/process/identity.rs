//! Telling processes apart for certain: a process is its pid, its start time and the boot it lives in.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::{Exit, Usage};

/// Clock ticks per second in `/proc/PID/stat`. The kernel converts to this value on every architecture (`USER_HZ`).
const USER_HZ: f64 = 100.0;

/// Attempts to read an environment that is empty; each gives way to other threads.
const ENVIRON_ATTEMPTS: usize = 200;

/// The environment variable by which a process is known to belong to a launch: `INSTANCE/REPLICA/LAUNCH`. Children
/// inherit it.
pub(crate) const MARKER: &str = "SOS_REPLICA_ID";

/// The environment variable with the file to which a program may write its exit code as its last act. It is read
/// when the end was not seen by the process's parent, because `sos` was restarted meanwhile.
pub(crate) const EXIT_FILE: &str = "SOS_EXIT_FILE";

/// One process, safe against reuse of its pid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    /// Start time in clock ticks since boot.
    pub(crate) start_ticks: u64,
    pub(crate) boot_id: String,
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stat {
    pub(crate) pid: i32,
    state: char,
    start_ticks: u64,
    cpu_seconds: f64,
}

impl Stat {
    /// Parses a line of `/proc/PID/stat`. The name in parentheses may itself hold spaces and parentheses.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (head, tail) = line.rsplit_once(')')?;
        let pid = head.split_once(' ')?.0.parse().ok()?;
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        // Counted from field 3 (state): utime is 14, stime 15, cutime 16, cstime 17, starttime 22.
        let ticks = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let cpu: u64 = (14..=17).map(ticks).sum::<Option<u64>>()?;
        Some(Self {
            pid,
            state: fields.first()?.chars().next()?,
            start_ticks: ticks(22)?,
            cpu_seconds: cpu as f64 / USER_HZ,
        })
    }

    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    pub(crate) fn identity(&self, boot_id: &str) -> Identity {
        Identity { pid: self.pid, start_ticks: self.start_ticks, boot_id: boot_id.into() }
    }
}

/// The id of the present boot.
pub(crate) fn boot_id() -> std::io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// What can be said of a process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    /// A child that ended and still holds its pid, so that signals to its group are safe.
    Ended(Exit),
    /// Not there, and nobody told us how it ended.
    Gone,
}

impl Identity {
    /// Whether the process lives. Does not reap.
    pub(crate) fn life(&self, boot_id: &str) -> Life {
        let stat = Stat::read(self.pid).filter(|stat| stat.start_ticks == self.start_ticks);
        let Some(stat) = stat.filter(|_| self.boot_id == boot_id) else { return Life::Gone };
        if !matches!(stat.state, 'Z' | 'X') {
            return Life::Alive;
        }
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(Pid::from_raw(self.pid)), flags) {
            Ok(WaitStatus::Exited(_, code)) => Life::Ended(Exit::Code(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => Life::Ended(Exit::Signal(signal as i32)),
            // Another process is its parent and will reap it.
            _ => Life::Gone,
        }
    }

    /// Reaps a child that ended, so that its pid is free again.
    pub(crate) fn reap(&self) {
        while waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG)) == Err(Errno::EINTR) {}
    }

    /// Signals the group of the process. Only while it lives or is unreaped: its pid names the group.
    pub(crate) fn signal_group(&self, signal: Signal) {
        let group = Pid::from_raw(self.pid);
        // Between fork and setsid there is no group yet.
        if killpg(group, signal).is_err() {
            let _gone = kill(group, signal);
        }
    }

    pub(crate) fn usage(&self) -> Option<Usage> {
        let stat = Stat::read(self.pid).filter(|stat| stat.start_ticks == self.start_ticks)?;
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 = resident.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        Some(Usage { cpu_seconds: stat.cpu_seconds, memory_bytes: kib * 1024, whole_group: false })
    }
}

/// A living process with a marker of this data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marked {
    pub(crate) pid: i32,
    pub(crate) replica: String,
    pub(crate) launch: String,
}

/// All living processes that a launch of `instance` left, with what they started.
pub(crate) fn marked(instance: &str) -> Vec<Marked> {
    let Ok(entries) = fs::read_dir("/proc") else { return vec![] };
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|&pid| pid != own).filter_map(|pid| marker_of(pid, instance)).collect()
}

/// The environment of a process. It reads as empty for a moment while the process becomes its program; only then has
/// a process an executable and no environment for long enough to be asked again.
fn environ(pid: i32) -> Option<Vec<u8>> {
    let folder = Path::new("/proc").join(pid.to_string());
    for _ in 0..ENVIRON_ATTEMPTS {
        let environ = fs::read(folder.join("environ")).ok()?;
        if !environ.is_empty() || fs::read_link(folder.join("exe")).is_err() {
            return Some(environ);
        }
        std::thread::yield_now();
    }
    None
}

fn marker_of(pid: i32, instance: &str) -> Option<Marked> {
    let environ = environ(pid)?;
    let variable = format!("{MARKER}={instance}/");
    let value = environ.split(|&byte| byte == 0).find_map(|var| var.strip_prefix(variable.as_bytes()))?;
    let (replica, launch) = std::str::from_utf8(value).ok()?.split_once('/')?;
    Some(Marked { pid, replica: replica.into(), launch: launch.into() })
}

/// Ends processes at once.
pub(crate) fn kill_all(pids: impl IntoIterator<Item = i32>) {
    for pid in pids {
        let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let line = "42 (a) b) (c) S 1 42 42 0 -1 0 0 0 0 0 150 50 10 20 20 0 1 0 7777 1 1 1";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.pid, stat.state, stat.start_ticks), (42, 'S', 7777));
        assert_eq!(format!("{:.2}", stat.cpu_seconds), "2.30");
        assert_eq!(Stat::parse("rubbish"), None);
    }

    #[test]
    fn a_reused_pid_or_another_boot_is_another_process() {
        let boot = boot_id().unwrap();
        let own = Stat::read(i32::try_from(std::process::id()).unwrap()).unwrap().identity(&boot);
        assert_eq!(own.life(&boot), Life::Alive);
        assert_eq!(Identity { start_ticks: own.start_ticks + 1, ..own.clone() }.life(&boot), Life::Gone);
        assert_eq!(own.life("another boot"), Life::Gone);
    }
}
