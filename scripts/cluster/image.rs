//! An image without a registry: a static busybox as an archive that containerd and Docker load.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::programs::Tools;

/// The name of the image.
pub(crate) const IMAGE: &str = "localhost/sos-test:1";

/// Writes the archive into a folder: busybox with all its programs in `/bin`, and a page for its web server in `/www`.
pub(crate) fn write(tools: &Tools, folder: &Path) -> PathBuf {
    let root = folder.join("image-root");
    for part in ["bin", "www", "tmp", "etc"] {
        fs::create_dir_all(root.join(part)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").unwrap();
    fs::write(root.join("www/index.html"), "it works\n").unwrap();
    let busybox = tools.debian.join("bin/busybox");
    fs::copy(&busybox, root.join("bin/busybox")).unwrap();
    let list = Command::new(&busybox).arg("--list").output().unwrap().stdout;
    for program in String::from_utf8(list).unwrap().lines().filter(|name| *name != "busybox") {
        symlink("busybox", root.join("bin").join(program)).unwrap();
    }
    let layer = folder.join("layer.tar");
    tar(&layer, &root, &["."]);
    let hash: String =
        Sha256::digest(fs::read(&layer).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
    let architecture = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    let config = format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{{"Env":["PATH=/bin"],"Cmd":["sleep","2147483647"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:{hash}"]}}}}"#
    );
    fs::write(folder.join("config.json"), config).unwrap();
    let manifest = format!(r#"[{{"Config":"config.json","RepoTags":["{IMAGE}"],"Layers":["layer.tar"]}}]"#);
    fs::write(folder.join("manifest.json"), manifest).unwrap();
    let archive = folder.join("image.tar");
    tar(&archive, folder, &["manifest.json", "config.json", "layer.tar"]);
    archive
}

fn tar(archive: &Path, folder: &Path, names: &[&str]) {
    let mut command = Command::new("tar");
    command.args(["--owner=0", "--group=0", "-cf"]).arg(archive).arg("-C").arg(folder).args(names);
    assert!(command.status().unwrap().success(), "tar failed");
}
