//! What cargo says about the workspace: its crates, their direct edges, closures and every package's licence.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

/// The platform whose dependencies are checked; crates for other systems never reach the product.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// One package of the dependency graph, workspace members included.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// SPDX expression, when the manifest states one.
    pub(crate) license: Option<String>,
    pub(crate) description: Option<String>,
    /// Whether it belongs to this workspace.
    pub(crate) member: bool,
    /// Folder from the repository's root; empty for packages from elsewhere.
    pub(crate) folder: String,
    /// Direct dependencies as declared: name and kind (`normal`, `dev`, `build`).
    pub(crate) dependencies: Vec<(String, Kind)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Dev,
    Build,
}

#[derive(Debug, Default)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
    /// Member name → names of all packages that are linked into it, itself excluded (normal edges only).
    pub(crate) closures: BTreeMap<String, BTreeSet<String>>,
}

impl Workspace {
    /// Asks `cargo metadata` for packages and edges, and `cargo tree` for the closure of each crate named by `pure`
    /// (metadata unites the features of all members, which would blame one crate for the features of another).
    ///
    /// # Errors
    /// When cargo fails, for example because `Cargo.lock` is not up to date.
    pub(crate) fn load(root: &Path, pure: impl Fn(&str) -> bool) -> Result<Self, String> {
        let text = cargo(
            root,
            &[
                "metadata",
                "--format-version",
                "1",
                "--locked",
                "--filter-platform",
                PLATFORM,
                "--all-features",
            ],
        )?;
        let raw: RawMetadata =
            serde_json::from_str(&text).map_err(|e| format!("cannot read cargo metadata's answer: {e}"))?;
        let packages = packages(raw);
        let mut closures = BTreeMap::new();
        for member in packages.iter().filter(|p| p.member && pure(&p.name)) {
            closures.insert(member.name.clone(), closure(root, &member.name)?);
        }
        Ok(Self { packages, closures })
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|p| p.member)
    }
}

fn closure(root: &Path, package: &str) -> Result<BTreeSet<String>, String> {
    let text = cargo(
        root,
        &[
            "tree",
            "--locked",
            "--package",
            package,
            "--edges",
            "normal,no-proc-macro",
            "--target",
            PLATFORM,
            "--prefix",
            "none",
            "--format",
            "{p}",
        ],
    )?;
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.filter(|name| *name != package).map(str::to_owned).collect())
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<String, String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .output()
        .map_err(|e| format!("cannot run cargo {}: {e}", arguments[0]))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo {} failed: {}", arguments.join(" "), why.trim()));
    }
    String::from_utf8(output.stdout)
        .map_err(|e| format!("cargo {} did not answer in UTF-8: {e}", arguments[0]))
}

fn packages(raw: RawMetadata) -> Vec<Package> {
    let members: BTreeSet<String> = raw.workspace_members.into_iter().collect();
    let root = format!("{}/", raw.workspace_root);
    let linked: Option<BTreeSet<String>> = raw.resolve.map(|r| r.nodes.into_iter().map(|n| n.id).collect());
    let used = |id: &String| linked.as_ref().is_none_or(|linked| linked.contains(id));
    let package = |p: RawPackage| Package {
        member: members.contains(&p.id),
        folder: folder(&p.manifest_path, &root),
        dependencies: p.dependencies.into_iter().map(|d| (d.name, kind(d.kind.as_deref()))).collect(),
        name: p.name,
        version: p.version,
        license: p.license,
        description: p.description,
    };
    raw.packages.into_iter().filter(|p| used(&p.id)).map(package).collect()
}

fn folder(manifest: &str, root: &str) -> String {
    let inside = manifest.strip_prefix(root).unwrap_or_default();
    inside.strip_suffix("/Cargo.toml").unwrap_or_default().to_owned()
}

fn kind(raw: Option<&str>) -> Kind {
    match raw {
        Some("dev") => Kind::Dev,
        Some("build") => Kind::Build,
        _ => Kind::Normal,
    }
}

#[derive(Deserialize)]
struct RawMetadata {
    packages: Vec<RawPackage>,
    workspace_members: Vec<String>,
    workspace_root: String,
    resolve: Option<RawResolve>,
}

#[derive(Deserialize)]
struct RawResolve {
    nodes: Vec<RawNode>,
}

#[derive(Deserialize)]
struct RawNode {
    id: String,
}

#[derive(Deserialize)]
struct RawPackage {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    description: Option<String>,
    manifest_path: String,
    dependencies: Vec<RawDependency>,
}

#[derive(Deserialize)]
struct RawDependency {
    name: String,
    kind: Option<String>,
}

#[cfg(test)]
pub(crate) fn member(name: &str, folder: &str, dependencies: &[(&str, Kind)]) -> Package {
    Package {
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        license: Some("Apache-2.0".to_owned()),
        description: Some("A crate for a test".to_owned()),
        member: true,
        folder: folder.to_owned(),
        dependencies: dependencies.iter().map(|(n, k)| ((*n).to_owned(), *k)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_is_read_with_its_edges_and_closures() {
        let root = crate::repository_root();
        let workspace = Workspace::load(&root, |name| name == "sos-units").unwrap();
        let xtask = workspace.members().find(|p| p.name == "xtask").unwrap();
        assert_eq!(xtask.folder, "xtask");
        assert!(xtask.dependencies.contains(&("tempfile".to_owned(), Kind::Dev)));
        assert!(workspace.packages.iter().any(|p| p.name == "serde" && !p.member && p.license.is_some()));
        assert!(workspace.closures["sos-units"].contains("jiff"));
        assert!(!workspace.closures["sos-units"].contains("sos-units"));
    }
}
