//! The build folder on its way to the daemon: an archive of bounded size, and what tells its content from others.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::ignore::{self, Ignore};
use crate::ImageBuild;
use crate::shared::hex;

/// Most bytes that a build folder may hold after `.dockerignore`.
const MAX_BYTES: u64 = 1 << 30;
/// Most files and folders.
const MAX_ENTRIES: u64 = 100_000;
/// Most folders within each other.
const MAX_DEPTH: usize = 64;
/// What to do about a folder that is too large.
const SMALLER: &str = "list what the image does not need in .dockerignore, or build from a smaller folder";

/// A build folder as an archive.
#[derive(Debug)]
pub(super) struct Context {
    /// The archive, at its beginning. No path leads to it.
    pub(super) archive: File,
    /// Hash of everything that the image is made from: files, instructions, arguments; without times. 32 hexadecimal
    /// digits.
    pub(super) hash: String,
}

/// Packs the folder. `scratch` is a path at which a file may be made for a moment.
///
/// # Errors
/// What is wrong with the folder, for people.
pub(super) fn pack(build: &ImageBuild, scratch: &Path) -> Result<Context, String> {
    let root = &build.context;
    let metadata = fs::metadata(root).map_err(|error| format!("build folder {}: {error}", root.display()))?;
    if !metadata.is_dir() {
        return Err(format!("build folder {} is not a folder", root.display()));
    }
    if !fs::metadata(root.join(&build.dockerfile)).is_ok_and(|found| found.is_file()) {
        return Err(format!("there is no file {} in {}", build.dockerfile, root.display()));
    }
    let mut packer = Packer {
        build,
        ignore: read_ignore(root)?,
        hasher: Sha256::new(),
        tar: Builder::new(unlinked(scratch).map_err(|error| format!("{}: {error}", scratch.display()))?),
        bytes: 0,
        entries: 0,
    };
    packer.tar.mode(tar::HeaderMode::Complete);
    packer.settings();
    packer.folder(Path::new(""), 0)?;
    let digest = packer.hasher.finalize();
    let mut archive = packer.tar.into_inner().map_err(|error| error.to_string())?;
    archive.rewind().map_err(|error| error.to_string())?;
    Ok(Context { archive, hash: hex(&digest[..16]) })
}

/// A file that is gone when it is closed.
fn unlinked(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    fs::remove_file(path)?;
    Ok(file)
}

fn read_ignore(root: &Path) -> Result<Ignore, String> {
    let path = root.join(".dockerignore");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ignore::default()),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let mut text = String::new();
    let read = file.take(ignore::MAX_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    if text.len() as u64 > ignore::MAX_BYTES {
        return Err(format!("{} is larger than {} bytes", path.display(), ignore::MAX_BYTES));
    }
    Ignore::parse(&text)
}

struct Packer<'a> {
    build: &'a ImageBuild,
    ignore: Ignore,
    hasher: Sha256,
    tar: Builder<File>,
    bytes: u64,
    entries: u64,
}

impl Packer<'_> {
    /// What the image depends on beside the files.
    fn settings(&mut self) {
        let build = self.build;
        let words = build.args.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        for word in words.chain([build.dockerfile.as_str()]).chain(build.target.as_deref()) {
            self.note(word.as_bytes());
        }
    }

    /// Adds to the hash so that no two lists of parts give the same.
    fn note(&mut self, part: &[u8]) {
        self.hasher.update((part.len() as u64).to_le_bytes());
        self.hasher.update(part);
    }

    /// Packs what is in a folder, given by its path from the root on, in the order of names.
    fn folder(&mut self, inner: &Path, depth: usize) -> Result<(), String> {
        let path = self.build.context.join(inner);
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        if depth > MAX_DEPTH {
            return Err(format!("{} lies more than {MAX_DEPTH} folders deep", path.display()));
        }
        let mut names: Vec<_> = vec![];
        for entry in fs::read_dir(&path).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
            if names.len() as u64 > MAX_ENTRIES {
                return Err(self.too_many());
            }
        }
        names.sort();
        names.into_iter().try_for_each(|name| self.entry(&inner.join(name), depth))
    }

    fn entry(&mut self, inner: &Path, depth: usize) -> Result<(), String> {
        let path = self.build.context.join(inner);
        let metadata = fs::symlink_metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        if self.left_out(inner) {
            // What is taken back lies in folders that are not.
            let go_on = metadata.is_dir() && self.ignore.takes_back();
            return if go_on { self.folder(inner, depth + 1) } else { Ok(()) };
        }
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(self.too_many());
        }
        let packed = self.pack(inner, &path, &metadata);
        packed.map_err(|error| format!("{}: {error}", path.display()))?;
        if metadata.is_dir() { self.folder(inner, depth + 1) } else { Ok(()) }
    }

    /// The instructions are always needed.
    fn left_out(&self, inner: &Path) -> bool {
        let shown = inner.to_string_lossy();
        shown != self.build.dockerfile && shown != ".dockerignore" && self.ignore.leaves_out(&shown)
    }

    fn too_many(&self) -> String {
        format!(
            "build folder {} holds more than {MAX_ENTRIES} files; {SMALLER}",
            self.build.context.display()
        )
    }

    fn pack(&mut self, inner: &Path, path: &Path, metadata: &Metadata) -> Result<(), String> {
        let failed = |error: io::Error| error.to_string();
        let kind = metadata.file_type();
        let mut header = Header::new_gnu();
        header.set_mode(metadata.permissions().mode() & 0o7777);
        header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
        self.note(inner.as_os_str().as_encoded_bytes());
        self.note(&(metadata.permissions().mode() & 0o7777).to_le_bytes());
        if kind.is_dir() {
            self.note(b"folder");
            header.set_entry_type(EntryType::Directory);
            header.set_size(0);
            return self.tar.append_data(&mut header, inner, io::empty()).map_err(failed);
        }
        if kind.is_symlink() {
            let target = fs::read_link(path).map_err(failed)?;
            self.note(b"link");
            self.note(target.as_os_str().as_encoded_bytes());
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            return self.tar.append_link(&mut header, inner, target).map_err(failed);
        }
        if !kind.is_file() {
            return Err("is neither file, folder nor link; list it in .dockerignore".into());
        }
        self.note(b"file");
        self.file(inner, path, &mut header)
    }

    fn file(&mut self, inner: &Path, path: &Path, header: &mut Header) -> Result<(), String> {
        let failed = |error: io::Error| error.to_string();
        let file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > MAX_BYTES {
            let context = self.build.context.display();
            return Err(format!(
                "build folder {context} holds more than {} MiB up to here; {SMALLER}",
                MAX_BYTES >> 20
            ));
        }
        header.set_entry_type(EntryType::Regular);
        header.set_size(size);
        self.hasher.update(size.to_le_bytes());
        let mut reader = Hashed { inner: file.take(size), hasher: &mut self.hasher, read: 0 };
        self.tar.append_data(header, inner, &mut reader).map_err(failed)?;
        if reader.read == size { Ok(()) } else { Err("became shorter while it was read; try again".into()) }
    }
}

/// Hashes what is read.
struct Hashed<'a, R> {
    inner: R,
    hasher: &'a mut Sha256,
    read: u64,
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        self.read += length as u64;
        Ok(length)
    }
}

/// A path for a scratch file that no other build uses.
pub(super) fn scratch(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("build-{}-{number}.tar", std::process::id()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn build(context: &Path) -> ImageBuild {
        ImageBuild {
            context: context.into(),
            dockerfile: "Dockerfile".into(),
            args: BTreeMap::new(),
            target: None,
        }
    }

    fn names(context: Context) -> Vec<String> {
        let mut archive = tar::Archive::new(context.archive);
        let entries = archive.entries().unwrap();
        entries.map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned()).collect()
    }

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("src/deep")).unwrap();
        fs::create_dir_all(dir.path().join("target/x")).unwrap();
        for (name, text) in [
            ("Dockerfile", "FROM scratch"),
            ("src/main.c", "int main;"),
            ("src/deep/x", "x"),
            ("target/x/keep", "keep"),
            ("target/x/lose", "lose"),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        std::os::unix::fs::symlink("main.c", dir.path().join("src/link")).unwrap();
        dir
    }

    #[test]
    fn what_is_ignored_is_left_out_and_what_is_taken_back_is_there() {
        let dir = folder();
        let scratch = dir.path().join("scratch");
        fs::write(dir.path().join(".dockerignore"), "target\n!target/x/keep\nDockerfile\n").unwrap();
        let packed = names(pack(&build(dir.path()), &scratch).unwrap());
        assert_eq!(
            packed,
            [
                ".dockerignore",
                "Dockerfile",
                "src",
                "src/deep",
                "src/deep/x",
                "src/link",
                "src/main.c",
                "target/x/keep"
            ]
        );
        assert!(!scratch.exists());
    }

    #[test]
    fn the_hash_follows_the_content_and_not_the_times() {
        let dir = folder();
        let other = folder();
        let scratch = tempfile::tempdir().unwrap();
        let hash = |dir: &Path, change: &dyn Fn(&mut ImageBuild)| {
            let mut build = build(dir);
            change(&mut build);
            pack(&build, &scratch.path().join("s")).unwrap().hash
        };
        let first = hash(dir.path(), &|_| {});
        assert_eq!(first, hash(other.path(), &|_| {}), "another folder with the same content");
        assert_ne!(first, hash(dir.path(), &|build| drop(build.args.insert("A".into(), "1".into()))));
        assert_ne!(first, hash(dir.path(), &|build| build.target = Some("A".into())));
        fs::write(other.path().join("src/deep/x"), "y").unwrap();
        let changed = hash(other.path(), &|_| {});
        assert_ne!(first, changed);
        fs::set_permissions(other.path().join("src/deep/x"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(changed, hash(other.path(), &|_| {}));
    }

    #[test]
    fn folders_that_cannot_be_sent_are_refused_with_what_to_do() {
        let dir = folder();
        let scratch = tempfile::tempdir().unwrap();
        let refused = |build: &ImageBuild| pack(build, &scratch.path().join("s")).unwrap_err();
        assert!(refused(&build(Path::new("/no/such/folder"))).contains("/no/such/folder"));
        let mut other = build(dir.path());
        other.dockerfile = "Containerfile".into();
        assert!(refused(&other).contains("Containerfile"));
        // A hole, not a gigabyte.
        let large = File::create(dir.path().join("large")).unwrap();
        large.set_len(MAX_BYTES + 1).unwrap();
        let error = refused(&build(dir.path()));
        assert!(error.contains("1024 MiB") && error.contains(".dockerignore"), "{error}");
        fs::remove_file(dir.path().join("large")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("sock")).unwrap();
        assert!(refused(&build(dir.path())).contains("sock"));
        fs::remove_file(dir.path().join("sock")).unwrap();
        let mut deep = dir.path().to_owned();
        (0..70).for_each(|_| deep.push("d"));
        fs::create_dir_all(&deep).unwrap();
        assert!(refused(&build(dir.path())).contains("64 folders"));
    }
}
