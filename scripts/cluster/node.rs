//! A node with real pods: containerd and a kubelet in namespaces of their own for processes and mounts, so that all they start
//! ends, and all they mount goes, with one process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::image::{self, IMAGE};
use super::programs::{Running, Tools, wait_until};

/// The name of the node.
pub(crate) const NODE: &str = "n1";

pub(crate) struct Node {
    parts: Running,
    bridge: String,
    group: String,
}

impl Node {
    /// Starts it and loads the image. It is ready some seconds later.
    pub(crate) fn start(tools: &Tools, folder: &Path, kubeconfig: &Path, port: u16) -> Self {
        // A port is of one test at a time, and so are the names and the network that are made of it.
        let bridge = format!("sos{port}");
        let group = format!("sos-test-{port}");
        let network = format!("10.{}.{}", 128 + port % 64, port / 256);
        make_bridge(&bridge, &network);
        make_group(&group);
        write_containerd(tools, folder);
        write_network(folder, &bridge, &network);
        write_kubelet(folder, &group, &network, port);
        let script = script(tools, folder, kubeconfig, &network);
        let mut command = tools.debian("unshare");
        command.args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
            "sh",
            "-c",
            &script,
        ]);
        let mut node = Self { parts: Running::start("node", command, folder), bridge, group };
        node.load(tools, folder);
        node
    }

    fn load(&mut self, tools: &Tools, folder: &Path) {
        let archive = image::write(tools, folder);
        let socket = folder.join("containerd.sock");
        self.parts.until("the image is loaded", || {
            let mut command = tools.debian("ctr");
            command.arg("--address").arg(&socket).args([
                "--namespace",
                "k8s.io",
                "images",
                "import",
                "--snapshotter",
                "native",
            ]);
            let output = command.arg(&archive).output().unwrap();
            output.status.success().then_some(())
        });
    }
}

impl Drop for Node {
    /// Ends all of it: the child of `unshare` is the first process of its namespace, and takes the others with it.
    fn drop(&mut self) {
        self.parts.kill();
        let hierarchies = everywhere();
        let gone = || hierarchies.iter().all(|root| remove_group(&root.join(&self.group))).then_some(());
        if !std::thread::panicking() {
            wait_until("the control groups of the node are empty", gone);
        } else {
            gone();
        }
        let _gone = Command::new("ip").args(["link", "delete", &self.bridge]).status();
    }
}

/// The node's own address is on its bridge: nothing outside this machine reaches it.
fn make_bridge(bridge: &str, network: &str) {
    for arguments in [
        format!("link add name {bridge} type bridge"),
        format!("address add {network}.1/24 dev {bridge}"),
        format!("link set {bridge} up"),
    ] {
        let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
        assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Where control groups are made: one folder in version 2, one for each controller in version 1.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return vec![root.into()];
    }
    let all = fs::read_dir(root).unwrap().flatten().map(|entry| entry.path());
    all.filter(|path| path.join("cgroup.procs").exists() && !path.join("cgroup.controllers").exists())
        .collect()
}

/// Where programs may have made control groups: version 2 may be there beside version 1.
fn everywhere() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let below = fs::read_dir(root).unwrap().flatten().map(|entry| entry.path());
    below.filter(|path| path.join("cgroup.procs").exists()).chain([root.into()]).collect()
}

fn make_group(group: &str) {
    for root in hierarchies() {
        let folder = root.join(group);
        fs::create_dir_all(&folder).unwrap();
        // In version 1 a new group has no processors of its own until they are given.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(all) = fs::read_to_string(root.join(file)) {
                let _fixed = fs::write(folder.join(file), all.trim());
            }
        }
        if let Ok(all) = fs::read_to_string(root.join("cgroup.controllers")) {
            let all: String = all.split_whitespace().map(|name| format!("+{name} ")).collect();
            let _given = fs::write(root.join("cgroup.subtree_control"), all.trim());
            let _given = fs::write(folder.join("cgroup.subtree_control"), all.trim());
        }
    }
}

/// Whether a group and all below it are gone.
fn remove_group(folder: &Path) -> bool {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    fs::remove_dir(folder).is_ok() || !folder.exists()
}

fn script(tools: &Tools, folder: &Path, kubeconfig: &Path, network: &str) -> String {
    let folder = folder.display();
    let kubelet = tools.kubernetes.join("bin/kubelet");
    // What these programs write at fixed places is seen by them alone.
    format!(
        "set -e
for place in /run/containerd /var/log/containers /var/lib/cni /run/netns; do
  mkdir -p $place && mount -t tmpfs none $place
done
containerd --config {folder}/containerd.toml >{folder}/containerd.log 2>&1 &
exec {kubelet} --config={folder}/kubelet.yaml --kubeconfig={kubeconfig} --root-dir={folder}/kubelet \
  --cert-dir={folder}/kubelet-certificates --hostname-override={NODE} --node-ip={network}.1 >{folder}/kubelet.log 2>&1
",
        kubelet = kubelet.display(),
        kubeconfig = kubeconfig.display(),
    )
}

fn write_containerd(tools: &Tools, folder: &Path) {
    let plugins =
        if tools.debian == Path::new("/") { "/usr/lib/cni".into() } else { tools.debian.join("usr/lib/cni") };
    let (folder_text, plugins) = (folder.display(), plugins.display());
    let text = format!(
        r#"version = 2
root = "{folder_text}/containerd"
state = "{folder_text}/containerd-state"
[grpc]
address = "{folder_text}/containerd.sock"
[ttrpc]
address = "{folder_text}/containerd.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{IMAGE}"
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{folder_text}/cni"
"#
    );
    fs::write(folder.join("containerd.toml"), text).unwrap();
}

fn write_network(folder: &Path, bridge: &str, network: &str) {
    fs::create_dir_all(folder.join("cni")).unwrap();
    let data = folder.join("cni-addresses");
    let text = format!(
        r#"{{"cniVersion": "0.4.0", "name": "test", "plugins": [
  {{"type": "bridge", "bridge": "{bridge}", "isGateway": true, "ipMasq": false, "ipam": {{
    "type": "host-local", "dataDir": "{}", "ranges": [[{{"subnet": "{network}.0/24"}}]],
    "routes": [{{"dst": "0.0.0.0/0"}}]}}}}]}}"#,
        data.display()
    );
    fs::write(folder.join("cni/10-test.conflist"), text).unwrap();
}

fn write_kubelet(folder: &Path, group: &str, network: &str, port: u16) {
    let folder_text = folder.display();
    let text = format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {network}.1
port: {port}
healthzPort: 0
failSwapOn: false
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /{group}
enforceNodeAllocatable: []
containerRuntimeEndpoint: unix://{folder_text}/containerd.sock
podLogsDir: {folder_text}/pod-logs
volumePluginDir: {folder_text}/volume-plugins
staticPodPath: ''
authentication: {{ anonymous: {{ enabled: true }}, webhook: {{ enabled: false }} }}
authorization: {{ mode: AlwaysAllow }}
evictionHard: {{ memory.available: 1Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1% }}
nodeStatusUpdateFrequency: 2s
syncFrequency: 5s
"
    );
    fs::write(folder.join("kubelet.yaml"), text).unwrap();
}
