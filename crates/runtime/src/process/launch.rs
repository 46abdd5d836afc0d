//! Starting a process so that no moment exists at which it runs and nothing is known of it.
//!
//! The new process itself writes who it is (its line of `/proc/self/stat`) to the launch file before it becomes the
//! program. The launch file is locked by the caller and, because a lock belongs to the open file that both share, by
//! the new process until it becomes the program. So whoever takes the lock after a crash of the caller knows that
//! no start is under way, and reads from the file what was started.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::{OFlag, open};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::Mode;
use nix::unistd::{read, setsid, write};

use super::identity::{EXIT_FILE, Identity, MARKER, Stat};
use crate::{Deployment, EnvValue, SecretValues};

/// Variables that a process inherits from `sos`; nothing else is, tokens least of all.
const INHERITED: [&str; 7] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// The locked launch file of a replica.
#[derive(Debug)]
pub(crate) struct LaunchFile(File);

impl LaunchFile {
    /// Locks the file after a start that is under way has become the program or failed. That takes as long as a
    /// `fork` and an `exec`. Processes forked meanwhile for another purpose hold the lock as briefly.
    pub(crate) fn lock(path: &Path) -> io::Result<Self> {
        let file = Self::open(path)?;
        file.lock()?;
        Ok(Self(file))
    }

    fn open(path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
    }

    /// Empties the file and states which launch follows.
    fn announce(&self, launch: &str) -> io::Result<()> {
        use std::io::{Seek, Write};
        let mut file = &self.0;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(format!("{launch}\n").as_bytes())
    }

    /// What this launch started, whether it lives or not; nothing if it did not get that far.
    pub(crate) fn identity(&self, launch: &str, boot_id: &str) -> io::Result<Option<Identity>> {
        use std::io::{Read, Seek};
        let mut file = &self.0;
        file.rewind()?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let stat =
            text.split_once('\n').filter(|(of, _)| *of == launch).and_then(|(_, line)| Stat::parse(line));
        Ok(stat.map(|stat| stat.identity(boot_id)))
    }
}

/// What a process is started with, apart from its description.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    /// Names this launch, unlike any other of the replica.
    pub(crate) launch: String,
    /// The value of the marker variable.
    pub(crate) marker: String,
    /// Opened `cgroup.procs` files to enter.
    pub(crate) groups: Vec<File>,
    /// Limit of the address space in bytes, where no control group holds the memory limit.
    pub(crate) address_space: Option<u64>,
    /// Where the program may leave its exit code.
    pub(crate) exit_file: &'a Path,
    pub(crate) secrets: &'a SecretValues,
}

/// Starts the process. Returns when it has become the program.
pub(crate) fn launch(
    deployment: &Deployment,
    setup: &Setup<'_>,
    file: &LaunchFile,
    boot_id: &str,
) -> io::Result<Identity> {
    file.announce(&setup.launch)?;
    let log = OpenOptions::new().append(true).create(true).open(&deployment.log)?;
    let mut command = Command::new(&deployment.program);
    command.args(&deployment.args).current_dir(&deployment.workdir).env_clear();
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    for var in &deployment.env {
        match &var.value {
            EnvValue::Plain(text) => command.env(&var.name, text),
            EnvValue::Secret { .. } => command.env(&var.name, setup.secrets.get(&var.name).unwrap_or("")),
        };
    }
    command.env(MARKER, &setup.marker).env(EXIT_FILE, setup.exit_file);
    let groups: Vec<RawFd> = setup.groups.iter().map(AsRawFd::as_raw_fd).collect();
    let (introduction, address_space) = (file.0.as_raw_fd(), setup.address_space);
    #[expect(unsafe_code, reason = "there is no safe way to act between fork and exec")]
    // SAFETY: the closure runs in the forked child. It makes system calls only (setsid, write, open, read,
    // setrlimit), neither allocates nor locks, and its descriptors stay open in the parent until `spawn` returns.
    unsafe {
        command.pre_exec(move || prepare(&groups, introduction, address_space));
    }
    let child = command.spawn()?;
    let known = file.identity(&setup.launch, boot_id)?;
    // Dropping the child neither ends nor reaps it: children and adopted processes are treated alike.
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    known
        .filter(|identity| identity.pid == pid)
        .ok_or_else(|| io::Error::other("the new process did not say who it is"))
}

/// Runs in the new process before it becomes the program.
fn prepare(groups: &[RawFd], introduction: RawFd, address_space: Option<u64>) -> io::Result<()> {
    // A session of its own: signals to the terminal of `sos` do not reach it.
    setsid()?;
    for &group in groups {
        write(borrow(group), b"0")?;
    }
    if let Some(bytes) = address_space {
        setrlimit(Resource::RLIMIT_AS, bytes, bytes)?;
    }
    let stat = open(c"/proc/self/stat", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut line = [0_u8; 1024];
    let length = read(&stat, &mut line)?;
    write(borrow(introduction), &line[..length])?;
    Ok(())
}

fn borrow<'a>(descriptor: RawFd) -> BorrowedFd<'a> {
    #[expect(unsafe_code, reason = "a file cannot be moved into the child, its number can")]
    // SAFETY: `launch` keeps the file open until the child has become the program.
    unsafe {
        BorrowedFd::borrow_raw(descriptor)
    }
}
