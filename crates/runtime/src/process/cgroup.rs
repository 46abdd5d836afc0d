//! Control groups, version 1 and 2. Groups are made below the one that `sos` itself is in, so that all limits that
//! hold for `sos` hold for what it starts.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::identity::kill_all;
use crate::{Enforcement, InPlaceLimits, Limits, Usage};

/// Length of the period in which processor time is shared out, microseconds.
const CPU_PERIOD_US: u64 = 100_000;

/// A controller and where its groups can be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Version {
    V1,
    V2,
}

/// What the machine offers: for each controller the version and the folder below which groups can be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cgroups {
    controllers: BTreeMap<&'static str, (Version, PathBuf)>,
    why_not: String,
}

/// The groups of one replica; none where the machine offers none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplicaCgroup {
    groups: BTreeMap<String, (Version, PathBuf)>,
}

const CONTROLLERS: [&str; 3] = ["memory", "cpu", "cpuacct"];

impl Cgroups {
    /// Looks at the machine and tries whether groups can really be made under `sos/INSTANCE`.
    pub(crate) fn detect(instance: &str) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let found = locate(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        let mut usable = Self { why_not: "this machine has no control groups".into(), ..Self::default() };
        for (name, version, own) in found {
            match make_parent(name, &version, &own, instance) {
                Ok(parent) => {
                    usable.controllers.entry(name).or_insert((version, parent));
                }
                Err(error) => usable.why_not = format!("control groups may not be made: {error}"),
            }
        }
        usable
    }

    pub(crate) fn enforcement(&self, controller: &str) -> Enforcement {
        match self.controllers.get(controller) {
            Some((Version::V1, _)) => Enforcement::CgroupV1,
            Some((Version::V2, _)) => Enforcement::CgroupV2,
            None if controller == "memory" => Enforcement::AddressSpace,
            None => Enforcement::NotEnforced(self.why_not.clone()),
        }
    }

    /// Which limits can be changed while a replica runs.
    pub(crate) fn in_place_limits(&self) -> InPlaceLimits {
        let (cpu, memory) = (self.controllers.contains_key("cpu"), self.controllers.contains_key("memory"));
        let why = if self.why_not.is_empty() { "control groups are not used" } else { &self.why_not };
        InPlaceLimits { cpu, memory, why_not: (!(cpu && memory)).then(|| why.to_owned()) }
    }

    /// Makes the groups of a replica with its limits.
    pub(crate) fn create(&self, replica: &str, limits: &Limits) -> io::Result<Option<ReplicaCgroup>> {
        if self.controllers.is_empty() {
            return Ok(None);
        }
        let mut groups = BTreeMap::new();
        for (name, (version, parent)) in &self.controllers {
            let path = parent.join(replica);
            make_dir(&path)?;
            groups.insert((*name).to_owned(), (version.clone(), path));
        }
        let group = ReplicaCgroup { groups };
        if let Err(error) = group.limit(limits) {
            group.remove();
            return Err(error);
        }
        Ok(Some(group))
    }

    /// Names of replicas that have a group.
    pub(crate) fn existing(&self) -> Vec<String> {
        let folders = self.controllers.values().filter_map(|(_, parent)| fs::read_dir(parent).ok());
        let entries = folders.flatten().filter_map(Result::ok);
        let entries = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The groups that a replica of this name has or would have.
    pub(crate) fn of(&self, replica: &str) -> ReplicaCgroup {
        let group = |(name, (version, parent)): (&&str, &(Version, PathBuf))| {
            ((*name).to_owned(), (version.clone(), parent.join(replica)))
        };
        ReplicaCgroup { groups: self.controllers.iter().map(group).collect() }
    }

    /// Removes the folders of this data directory where they are empty.
    pub(crate) fn remove_parents(&self) {
        for (_, parent) in self.controllers.values() {
            let _in_use = fs::remove_dir(parent);
            let _in_use = parent.parent().map(fs::remove_dir);
        }
    }

    /// Makes the parents again after [`Cgroups::remove_parents`].
    pub(crate) fn ensure_parents(&self) -> io::Result<()> {
        self.controllers.values().try_for_each(|(_, parent)| make_all(parent))
    }
}

impl ReplicaCgroup {
    fn path(&self, controller: &str) -> Option<(&Version, &Path)> {
        self.groups.get(controller).map(|(version, path)| (version, path.as_path()))
    }

    /// Whether the machine offers no group.
    pub(crate) fn is_none(&self) -> bool {
        self.groups.is_empty()
    }

    fn limit(&self, limits: &Limits) -> io::Result<()> {
        self.change(&Limits::default(), limits)
    }

    /// Sets those limits that differ from `old`; where there is none any more, takes it away.
    pub(crate) fn change(&self, old: &Limits, new: &Limits) -> io::Result<()> {
        if let Some((version, path)) = self.path("memory").filter(|_| new.memory_bytes != old.memory_bytes) {
            limit_memory(version, path, new.memory_bytes)?;
        }
        if let Some((version, path)) = self.path("cpu").filter(|_| new.cpu_millis != old.cpu_millis) {
            limit_cpu(version, path, new.cpu_millis)?;
        }
        Ok(())
    }

    /// How a limit of this controller is held; `None` where the group is none of it.
    pub(crate) fn enforcement(&self, controller: &str) -> Option<Enforcement> {
        self.path(controller).map(|(version, _)| match version {
            Version::V1 => Enforcement::CgroupV1,
            Version::V2 => Enforcement::CgroupV2,
        })
    }

    /// Memory that the kernel cannot take back by dropping what it caches of files, bytes.
    pub(crate) fn held_memory(&self) -> Option<u64> {
        let (version, path) = self.path("memory")?;
        let (total, prefix) = match version {
            Version::V1 => ("memory.usage_in_bytes", "total_"),
            Version::V2 => ("memory.current", ""),
        };
        let all: u64 = fs::read_to_string(path.join(total)).ok()?.trim().parse().ok()?;
        let stat = path.join("memory.stat");
        let cached =
            ["inactive_file", "active_file"].map(|key| number_after(&stat, &format!("{prefix}{key}")));
        Some(all.saturating_sub(cached.into_iter().flatten().sum()))
    }

    /// The files by which a process enters.
    pub(crate) fn entrances(&self) -> io::Result<Vec<File>> {
        let mut paths: Vec<_> = self.groups.values().map(|(_, path)| path.join("cgroup.procs")).collect();
        paths.sort();
        paths.dedup();
        paths.iter().map(|path| OpenOptions::new().write(true).open(path)).collect()
    }

    /// Ends every process inside.
    pub(crate) fn kill(&self) {
        for (_, path) in self.groups.values() {
            let inside = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
            kill_all(inside.lines().filter_map(|line| line.parse().ok()).filter(|&pid: &i32| pid > 0));
        }
    }

    /// Whether the kernel ended a process inside because of the memory limit.
    pub(crate) fn out_of_memory(&self) -> bool {
        let Some((version, path)) = self.path("memory") else { return false };
        let file = match version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        number_after(&path.join(file), "oom_kill").is_some_and(|kills| kills > 0)
    }

    pub(crate) fn usage(&self) -> Option<Usage> {
        let (version, memory) = self.path("memory")?;
        let memory_bytes = match version {
            Version::V1 => number_after(&memory.join("memory.stat"), "total_rss")?,
            Version::V2 => number_after(&memory.join("memory.stat"), "anon")?,
        };
        let cpu_seconds = match (self.path("cpuacct"), self.path("cpu")) {
            (Some((_, path)), _) => {
                let text = fs::read_to_string(path.join("cpuacct.usage")).ok()?;
                text.trim().parse::<u64>().ok()? as f64 / 1e9
            }
            (None, Some((Version::V2, path))) => {
                number_after(&path.join("cpu.stat"), "usage_usec")? as f64 / 1e6
            }
            _ => return None,
        };
        Some(Usage { cpu_seconds, memory_bytes, whole_group: true })
    }

    /// Removes the groups. False while something is still inside.
    pub(crate) fn remove(&self) -> bool {
        let gone = |path: &Path| match fs::remove_dir(path) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        // No short cut: each one is tried.
        self.groups.values().filter(|(_, path)| !gone(path)).count() == 0
    }
}

fn limit_memory(version: &Version, path: &Path, bytes: Option<u64>) -> io::Result<()> {
    let (file, swap) = match version {
        Version::V1 => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
        Version::V2 => ("memory.max", "memory.swap.max"),
    };
    let (limit, swap_limit) = match (version, bytes) {
        (Version::V1, Some(bytes)) => (bytes.to_string(), bytes.to_string()),
        (Version::V1, None) => ("-1".into(), "-1".into()),
        (Version::V2, Some(bytes)) => (bytes.to_string(), "0".into()),
        (Version::V2, None) => ("max".into(), "max".into()),
    };
    let swap = path.join(swap);
    // In version 1 memory with swap must never be limited to less than memory: the larger one goes first.
    let before: Option<u64> = fs::read_to_string(&swap).ok().and_then(|text| text.trim().parse().ok());
    let rises =
        *version == Version::V1 && before.is_some_and(|before| bytes.is_none_or(|bytes| bytes > before));
    if rises {
        fs::write(&swap, &swap_limit)?;
    }
    fs::write(path.join(file), limit)?;
    if !rises {
        // Swap accounting is optional in the kernel; without it the limit on memory holds all the same.
        let _optional = fs::write(&swap, swap_limit);
    }
    Ok(())
}

fn limit_cpu(version: &Version, path: &Path, millis: Option<u64>) -> io::Result<()> {
    // The kernel refuses quotas below 1 ms.
    let quota = millis.map(|millis| (millis.saturating_mul(CPU_PERIOD_US) / 1000).max(1000));
    match (version, quota) {
        (Version::V1, None) => fs::write(path.join("cpu.cfs_quota_us"), "-1"),
        (Version::V1, Some(quota)) => {
            fs::write(path.join("cpu.cfs_period_us"), CPU_PERIOD_US.to_string())?;
            fs::write(path.join("cpu.cfs_quota_us"), quota.to_string())
        }
        (Version::V2, None) => fs::write(path.join("cpu.max"), format!("max {CPU_PERIOD_US}")),
        (Version::V2, Some(quota)) => fs::write(path.join("cpu.max"), format!("{quota} {CPU_PERIOD_US}")),
    }
}

/// Finds, for each controller, the folder of the group that this process is in.
fn locate(mountinfo: &str, own: &str) -> Vec<(&'static str, Version, PathBuf)> {
    let mut found = vec![];
    for line in mountinfo.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
        let mount: Vec<&str> = mount.split(' ').collect();
        let filesystem: Vec<&str> = filesystem.split(' ').collect();
        let (Some(root), Some(point)) = (mount.get(3), mount.get(4)) else { continue };
        let options = filesystem.get(2).copied().unwrap_or_default();
        for name in CONTROLLERS {
            let (version, path) = match filesystem.first() {
                Some(&"cgroup") if options.split(',').any(|option| option == name) => {
                    (Version::V1, own_path(own, |controllers| controllers.split(',').any(|c| c == name)))
                }
                // Version 2 counts processor time within `cpu`.
                Some(&"cgroup2") if name != "cpuacct" => (Version::V2, own_path(own, str::is_empty)),
                _ => continue,
            };
            let Some(path) = path else { continue };
            let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
            found.push((name, version, Path::new(point).join(below)));
        }
    }
    found
}

fn own_path(own: &str, is: impl Fn(&str) -> bool) -> Option<&str> {
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        is(controllers).then_some(path)
    })
}

/// Makes `sos/INSTANCE` below the own group; in version 2, whose groups hold either processes or groups, beside it
/// where it must be.
fn make_parent(name: &str, version: &Version, own: &Path, instance: &str) -> io::Result<PathBuf> {
    let under = |base: &Path| base.join("sos").join(instance);
    if *version == Version::V1 {
        let parent = under(own);
        make_all(&parent)?;
        return Ok(parent);
    }
    let available = fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
    if !available.split_whitespace().any(|controller| controller == name) {
        return Err(io::Error::other(format!("controller {name} is not delegated to {}", own.display())));
    }
    let beside = own.parent().filter(|parent| parent.join("cgroup.procs").exists());
    let mut result = Err(io::Error::other("no group to make one in"));
    for base in [Some(own), beside].into_iter().flatten() {
        result = delegate(name, base, &under(base));
        if result.is_ok() {
            return Ok(under(base));
        }
    }
    result.map(|()| PathBuf::new())
}

fn delegate(name: &str, base: &Path, parent: &Path) -> io::Result<()> {
    let middle = parent.parent().unwrap_or(base);
    for folder in [base, middle, parent] {
        make_all(folder)?;
        fs::write(folder.join("cgroup.subtree_control"), format!("+{name}"))?;
    }
    Ok(())
}

/// Makes a folder and those above it, also while a `sos` on another data directory removes the empty ones.
fn make_all(path: &Path) -> io::Result<()> {
    let mut result = Ok(());
    for _ in 0..100 {
        result = fs::create_dir_all(path);
        if !matches!(&result, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            break;
        }
    }
    result
}

fn make_dir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// The number in the line `KEY NUMBER` of a file.
fn number_after(path: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_and_2_are_found_at_the_own_group() {
        let mountinfo = "30 25 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                         31 25 0:27 /outer /sys/fs/cgroup/cpu rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n\
                         rubbish\n\
                         32 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let own = "4:memory:/a\n3:cpu,cpuacct:/outer/b\n0::/c\n";
        let found = locate(mountinfo, own);
        let text: Vec<_> = found
            .iter()
            .map(|(name, version, path)| format!("{name} {version:?} {}", path.display()))
            .collect();
        assert_eq!(
            text,
            [
                "memory V1 /sys/fs/cgroup/memory/a",
                "cpu V1 /sys/fs/cgroup/cpu/b",
                "cpuacct V1 /sys/fs/cgroup/cpu/b",
                "memory V2 /sys/fs/cgroup/unified/c",
                "cpu V2 /sys/fs/cgroup/unified/c"
            ]
        );
    }

    /// A group of a replica in a folder of plain files, which stand for those of the kernel.
    fn played(version: &Version, dir: &Path) -> ReplicaCgroup {
        let groups = ["memory", "cpu"].map(|name| {
            let path = dir.join(name);
            fs::create_dir_all(&path).unwrap();
            (name.to_owned(), (version.clone(), path))
        });
        ReplicaCgroup { groups: groups.into_iter().collect() }
    }

    fn limits(cpu_millis: Option<u64>, memory_bytes: Option<u64>) -> Limits {
        Limits { cpu_millis, memory_bytes }
    }

    #[test]
    fn limits_are_changed_and_taken_away_in_both_versions() {
        for (version, files, set, free) in [
            (
                Version::V1,
                [
                    "memory/memory.limit_in_bytes",
                    "memory/memory.memsw.limit_in_bytes",
                    "cpu/cpu.cfs_quota_us",
                ],
                ["1000", "1000", "25000"],
                ["-1", "-1", "-1"],
            ),
            (
                Version::V2,
                ["memory/memory.max", "memory/memory.swap.max", "cpu/cpu.max"],
                ["1000", "0", "25000 100000"],
                ["max", "max", "max 100000"],
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let group = played(&version, dir.path());
            let read = || files.map(|file| fs::read_to_string(dir.path().join(file)).unwrap());
            group.change(&limits(None, None), &limits(Some(250), Some(1000))).unwrap();
            assert_eq!(read(), set);
            fs::write(dir.path().join(files[2]), "untouched").unwrap();
            group.change(&limits(Some(250), Some(1000)), &limits(Some(250), Some(5000))).unwrap();
            assert_eq!(read()[2], "untouched", "what stays is not written");
            group.change(&limits(Some(250), Some(5000)), &limits(None, None)).unwrap();
            assert_eq!(read(), free);
        }
    }

    #[test]
    fn cached_files_are_no_held_memory() {
        for (version, total, stat) in [
            (
                Version::V1,
                "memory.usage_in_bytes",
                "inactive_file 1\ntotal_inactive_file 300\ntotal_active_file 200\n",
            ),
            (Version::V2, "memory.current", "anon 5\ninactive_file 300\nactive_file 200\n"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let group = played(&version, dir.path());
            assert_eq!(group.held_memory(), None);
            fs::write(dir.path().join("memory").join(total), "1500\n").unwrap();
            fs::write(dir.path().join("memory/memory.stat"), stat).unwrap();
            assert_eq!(group.held_memory(), Some(1000));
        }
    }
}
