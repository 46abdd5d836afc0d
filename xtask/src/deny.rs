//! The fast half of `deny.toml`: licences and banned crates, from `cargo metadata` in about a second.
//! `cargo deny` reads the same file and adds advisories and sources (`./test --all`).

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use spdx::{Expression, Licensee, ParseMode};

use crate::Outcome;
use crate::workspace::{Package, Workspace};

#[derive(Debug, Deserialize)]
struct Policy {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

/// A licence that one crate may have and others may not.
#[derive(Debug, Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

/// Checks every package of the graph.
///
/// # Errors
/// When `deny.toml` cannot be read or cargo cannot be asked.
pub(crate) fn run(root: &Path) -> Result<Outcome, String> {
    let path = root.join("deny.toml");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let workspace = Workspace::load(root, |_| false)?;
    let problems = check(&text, &workspace)?;
    for problem in &problems {
        println!("{problem}");
    }
    if !problems.is_empty() {
        return Ok(Outcome::Failed);
    }
    println!("licences: {} packages pass deny.toml", workspace.packages.len());
    Ok(Outcome::Done)
}

fn check(policy: &str, workspace: &Workspace) -> Result<Vec<String>, String> {
    let policy: Policy = toml::from_str(policy).map_err(|e| format!("deny.toml: {e}"))?;
    let allowed = licensees(&policy.licenses.allow)?;
    let mut exceptions = BTreeMap::new();
    for exception in &policy.licenses.exceptions {
        exceptions.insert(exception.name.as_str(), licensees(&exception.allow)?);
    }
    let mut problems = Vec::new();
    for package in &workspace.packages {
        let name = package.name.as_str();
        if let Some(ban) = policy.bans.deny.iter().find(|ban| ban.name == name) {
            problems.push(format!("{name} {} is banned: {}", package.version, ban.reason));
        }
        let extra = exceptions.get(name).map_or(&[][..], Vec::as_slice);
        problems.extend(licence_problem(package, &allowed, extra));
    }
    Ok(problems)
}

fn licensees(names: &[String]) -> Result<Vec<Licensee>, String> {
    let parse = |name: &String| {
        Licensee::parse(name).map_err(|e| format!("deny.toml: licence `{name}`: {}", e.reason))
    };
    names.iter().map(parse).collect()
}

fn licence_problem(package: &Package, allowed: &[Licensee], extra: &[Licensee]) -> Option<String> {
    let subject = format!("{} {}", package.name, package.version);
    let Some(text) = &package.license else {
        return Some(format!("{subject} states no licence expression"));
    };
    let expression = match Expression::parse_mode(text, ParseMode::LAX) {
        Ok(expression) => expression,
        Err(e) => {
            return Some(format!(
                "{subject} has the licence `{text}`, which is no SPDX expression: {}",
                e.reason
            ));
        }
    };
    let fits = expression.evaluate(|wanted| allowed.iter().chain(extra).any(|known| known.satisfies(wanted)));
    (!fits).then(|| format!("{subject} has the licence `{text}`, which deny.toml does not allow"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::member;

    const POLICY: &str = r#"
        [licenses]
        allow = ["Apache-2.0", "MIT", "Apache-2.0 WITH LLVM-exception"]
        exceptions = [{ crate = "data", allow = ["CC0-1.0"] }]
        [bans]
        deny = [{ crate = "rodbus", reason = "its licence forbids commercial use" }]
    "#;

    fn problems(name: &str, license: Option<&str>) -> Vec<String> {
        let package = Package { license: license.map(str::to_owned), ..member(name, "", &[]) };
        check(POLICY, &Workspace { packages: vec![package], ..Workspace::default() }).unwrap()
    }

    #[test]
    fn allowed_expressions_pass() {
        for fine in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "MIT AND Apache-2.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(problems("a", Some(fine)).is_empty(), "{fine}");
        }
        assert!(problems("data", Some("CC0-1.0")).is_empty());
    }

    #[test]
    fn other_licences_missing_ones_and_banned_crates_are_named() {
        assert!(problems("a", Some("GPL-3.0"))[0].contains("does not allow"));
        assert!(problems("a", Some("MIT AND GPL-3.0"))[0].contains("does not allow"));
        assert!(problems("a", Some("CC0-1.0"))[0].contains("does not allow"));
        assert!(problems("a", Some("my own"))[0].contains("no SPDX expression"));
        assert!(problems("a", None)[0].contains("states no licence"));
        assert!(problems("rodbus", Some("MIT"))[0].contains("forbids commercial use"));
    }

    #[test]
    fn the_shipped_policy_is_read_and_bans_what_the_project_bans() {
        let text = std::fs::read_to_string(crate::repository_root().join("deny.toml")).unwrap();
        let banned = ["dnp3", "rodbus", "serde_yaml", "openssl"];
        let packages = banned.iter().map(|name| member(name, "", &[])).collect();
        let problems = check(&text, &Workspace { packages, ..Workspace::default() }).unwrap();
        assert_eq!(problems.len(), banned.len(), "{problems:?}");
    }
}
