//! Lock-step is a chain of turns: the loop, its adapters and the devices work one after the other. On one core they
//! wake each other without an interrupt from core to core, which takes longer than a turn: on an idle virtual machine
//! a year's replay takes a third less time (`docs/benchmarks.md`).

use std::collections::BTreeSet;

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

/// The core on which a site's loop and those that take turns with it stay.
#[derive(Debug)]
pub(super) struct OneCore {
    /// What was allowed before, and the one core.
    sets: Option<(CpuSet, CpuSet)>,
    joined: BTreeSet<i32>,
}

impl OneCore {
    /// Keeps the calling thread on the core that it is on. Where the system refuses, everything stays as it is.
    pub(super) fn here() -> Self {
        let own = Pid::from_raw(0);
        let keep = || {
            let before = sched_getaffinity(own)?;
            let mut one = CpuSet::new();
            one.set(sched_getcpu()?)?;
            sched_setaffinity(own, &one)?;
            Ok::<_, nix::Error>((before, one))
        };
        let sets = keep().inspect_err(|error| tracing::debug!(%error, "no core can be chosen")).ok();
        Self { sets, joined: BTreeSet::new() }
    }

    /// Lets the main threads of processes, and what they start, join it.
    pub(super) fn join(&mut self, pids: impl Iterator<Item = i32>) {
        let Some((_, one)) = &self.sets else { return };
        let pids: BTreeSet<i32> = pids.collect();
        for pid in pids.difference(&self.joined) {
            // One that is gone needs no core.
            let _gone = sched_setaffinity(Pid::from_raw(*pid), one);
        }
        self.joined = pids;
    }
}

impl Drop for OneCore {
    /// Services may live on: they get back what was allowed.
    fn drop(&mut self) {
        let Some((before, _)) = &self.sets else { return };
        for pid in self.joined.iter().copied().chain([0]) {
            let _gone = sched_setaffinity(Pid::from_raw(pid), before);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn cores(pid: i32) -> usize {
        let set = sched_getaffinity(Pid::from_raw(pid)).unwrap();
        (0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).count()
    }

    #[test]
    fn those_that_take_turns_stay_on_one_core_and_are_let_go() {
        let before = cores(0);
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let mut core = OneCore::here();
        core.join([pid].into_iter());
        assert_eq!((cores(0), cores(pid)), (1, 1));
        drop(core);
        assert_eq!((cores(0), cores(pid)), (before, before));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
