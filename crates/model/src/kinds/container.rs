//! What a `Service` needs to run in a container. A manifest may hold it beside a `command`: moving the service between
//! runtimes is changing one word.

use std::collections::{BTreeMap, BTreeSet};

use super::service::{Runtime, ServiceSpec};
use crate::declare::{choice, record, words};
use crate::field::Cx;
use crate::node::Node;
use crate::scalar::Name;

record! {
    /// How an image is made from a folder.
    pub struct Build {
        /// The folder, relative to the manifest. What its `.dockerignore` lists is left out; at most 1 GiB is read.
        context: String;
        /// File with the instructions, relative to the folder.
        dockerfile: String = "Dockerfile".to_owned();
        /// Values of its `ARG`s. Everybody who has the image can read them: no place for secrets.
        args: BTreeMap<String, String> = BTreeMap::new();
        /// The stage to build. Default: the last.
        target: Option<String>;
    }
}

record! {
    /// How a container is set up.
    pub struct Container {
        /// When the image is fetched from its registry.
        pull: Pull = Pull::Missing;
        /// Whether the working directory is seen inside, under the same path, and is where the program starts. Default:
        /// `readWrite` with a `command`, else `none`.
        working_dir: Option<WorkingDirMount>;
        /// What else is seen inside.
        mounts: Vec<Mount> = Vec::new();
        /// A network that services with the same name here share, such as one for each site; `host` for that of the machine,
        /// `none` for none. Default: one that all services share.
        network: Option<Name>;
        /// `USER` or `USER:GROUP`, names or numbers. Default: that of the image.
        user: Option<String>;
        /// Whether the files of the image cannot be written.
        read_only_root: bool = false;
        /// Whether a small first process hands on signals and cleans up. Images that bring one themselves need `false`.
        init: bool = true;
    }
}

words! {
    /// When an image is fetched.
    pub enum Pull as "pull policy" {
        /// When it is not on this machine.
        Missing,
        /// Before each start.
        Always,
        /// Never: it has to be on this machine.
        Never,
    }
}

words! {
    /// How a container sees the working directory.
    pub enum WorkingDirMount as "way to mount" {
        /// Not at all.
        None,
        /// It can be read.
        ReadOnly,
        /// It can be read and written.
        ReadWrite,
    }
}

record! {
    /// Something from outside that a container sees.
    pub struct Mount {
        ..source: MountSource;
        /// Where it is seen, an absolute path inside.
        target: String;
        /// Whether it cannot be written.
        read_only: bool = false;
    }
}

choice! {
    /// What a container sees.
    pub enum MountSource {
        /// A file or folder that exists, relative to the manifest.
        Path(String),
        /// A volume of this name; made when there is none, shared by services of this data directory, kept when they go.
        Volume(Name),
    }
}

impl ServiceSpec {
    /// How its container is set up, with the defaults where nothing is declared.
    #[must_use]
    pub fn container_settings(&self) -> Container {
        self.container.clone().unwrap_or(Container {
            pull: Pull::Missing,
            working_dir: None,
            mounts: Vec::new(),
            network: None,
            user: None,
            read_only_root: false,
            init: true,
        })
    }
}

/// What of a container contradicts itself or the runtime.
pub(super) fn check_container(service: &ServiceSpec, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    let attached = service.kubernetes.as_ref().is_some_and(|cluster| cluster.attach.is_some());
    let runtime = match service.runtime {
        Runtime::Docker => Some("docker"),
        Runtime::Kubernetes if !attached => Some("kubernetes"),
        _ => None,
    };
    if let Some(runtime) = runtime
        && service.external.is_none()
        && service.image.is_none()
        && service.build.is_none()
    {
        let message = format!("runtime {runtime} without an image");
        cx.report(at("runtime"), message, "expected image or build beside it");
    }
    if attached && service.runtime != Runtime::Kubernetes {
        let help = "set runtime: kubernetes, or remove it";
        cx.report(at("kubernetes"), "attach belongs to runtime kubernetes", help);
    }
    if service.image.is_some() && service.build.is_some() {
        cx.report(at("build"), "image and build cannot stand together", "remove one");
    }
    for key in ["image", "build", "container"] {
        if service.external.is_some() && node.get(key).is_some() {
            let help = "an external service is not deployed; remove one";
            cx.report(at(key), format!("{key} and external cannot stand together"), help);
        }
    }
    if service.image.as_ref().is_some_and(|image| !is_reference(image)) {
        cx.report(at("image"), "image is not a reference", "expected text such as registry.example/name:1.2");
    }
    if let Some(build) = &service.build {
        check_build(build, node.get("build").unwrap_or(node), cx);
    }
    if let Some(container) = &service.container {
        check_settings(service, container, node.get("container").unwrap_or(node), cx);
    }
    let fixed = service.ports.iter().find(|port| port.container_port.is_some());
    let shared = service.container.as_ref().and_then(|container| container.network.as_deref());
    if let (Some(port), Some(network @ ("host" | "none"))) = (fixed, shared) {
        let message = format!("containerPort of \"{}\" in network {network}", port.name);
        cx.report(at("ports"), message, "remove containerPort, or the network");
    }
}

/// The characters of references; the daemon knows the rest of their rules.
fn is_reference(image: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "._-/:@+".contains(c);
    image.starts_with(|c: char| c.is_ascii_alphanumeric()) && image.len() <= 512 && image.chars().all(known)
}

fn check_build(build: &Build, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    if build.context.is_empty() || build.context.contains('\0') {
        cx.report(at("context"), "context is no folder", "expected a folder such as . or app");
    }
    let within = !build.dockerfile.is_empty()
        && !build.dockerfile.starts_with('/')
        && build.dockerfile.split('/').all(|part| part != "..");
    if !within || build.dockerfile.contains('\0') {
        cx.report(
            at("dockerfile"),
            "dockerfile is not within the folder",
            "expected a path such as Dockerfile",
        );
    }
    if build.args.keys().any(|name| name.is_empty() || name.contains(['=', ' ', '\0'])) {
        cx.report(at("args"), "args holds a name of no ARG", "expected names without = and spaces");
    }
}

fn check_settings(service: &ServiceSpec, container: &Container, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    let odd = |c: char| c.is_whitespace() || c.is_control();
    if container.user.as_ref().is_some_and(|user| user.is_empty() || user.contains(odd)) {
        cx.report(at("user"), "user is none", "expected USER or USER:GROUP, names or numbers");
    }
    let mut seen = BTreeSet::new();
    for mount in &container.mounts {
        let target = mount.target.trim_end_matches('/');
        let plain = target.starts_with('/') && !target.contains('\0');
        if !plain || target.split('/').any(|part| part == "." || part == "..") {
            cx.report(
                at("mounts"),
                "a target is not an absolute path below /",
                "expected a path such as /var/lib/data",
            );
        } else if !seen.insert(target) {
            let message = format!("two mounts have the target {}", crate::problem::shown(target));
            cx.report(at("mounts"), message, "expected different targets");
        }
        if matches!(&mount.source, MountSource::Path(path) if path.is_empty() || path.contains('\0')) {
            cx.report(at("mounts"), "a path is empty", "expected a file or folder relative to the manifest");
        }
    }
    if container.network.as_deref() == Some("none") && !service.ports.is_empty() {
        cx.report(at("network"), "ports without a network", "expected another network, or no ports");
    }
}
