//! The layers of ARCHITECTURE.md as one table, and the rules that hold them.

use super::Problem;
use super::source::{production_lines, rust_files};
use crate::tree::Tree;
use crate::workspace::{Kind, Package, Workspace};

/// Crate (folder `crates/NAME`) → layer. A new crate gets its line here and in ARCHITECTURE.md.
const LAYERS: &[(&str, u8)] = &[
    ("units", 0),
    ("model", 1),
    ("plant", 1),
    ("control", 2),
    ("workflow", 2),
    ("watch", 2),
    ("forecast", 2),
    ("dispatch", 2),
    ("store", 3),
    ("runtime", 3),
    ("call", 3),
    ("device", 3),
    ("engine", 4),
    ("api", 5),
    ("sos", 6),
];

/// Packages outside the layers: they check the workspace, so they depend on none of it.
const TOOLS: &[&str] = &["xtask"];

/// Edges that the layers would allow but a reason forbids: from, to, why. Tests may still cross them.
const FORBIDDEN_EDGES: &[(&str, &str, &str)] = &[(
    "dispatch",
    "plant",
    "the plan's model and the simulated plant would share their errors and hide them",
)];

/// What must not be linked into layers 0–2, with the reason. A name ending in `*` stands for all that begin so.
const IMPURE: &[(&str, &str)] = &[
    ("tokio*", "an async runtime does IO and reads the clock"),
    ("async-std", "an async runtime does IO and reads the clock"),
    ("smol", "an async runtime does IO and reads the clock"),
    ("async-io", "an async runtime does IO and reads the clock"),
    ("mio", "it does network IO"),
    ("socket2", "it does network IO"),
    ("hyper*", "HTTP belongs to layers 3 and above"),
    ("h2", "HTTP belongs to layers 3 and above"),
    ("reqwest", "HTTP belongs to layers 3 and above"),
    ("ureq", "HTTP belongs to layers 3 and above"),
    ("axum*", "HTTP belongs to layers 3 and above"),
    ("tonic*", "gRPC belongs to layers 3 and above"),
    ("rustls", "network security belongs to layers 3 and above"),
    ("rusqlite", "a database belongs to `store`"),
    ("libsqlite3-sys", "a database belongs to `store`"),
    ("sqlx*", "a database belongs to `store`"),
    ("postgres*", "a database belongs to `store`"),
    ("redb", "a database belongs to `store`"),
    ("sled", "a database belongs to `store`"),
    ("getrandom", "randomness of the operating system cannot be repeated; take a seed"),
    ("fastrand", "its generator seeds itself; take a seed"),
    ("tempfile", "it writes files"),
    ("walkdir", "it reads folders"),
    ("ignore", "it reads folders"),
    ("glob", "it reads folders"),
    ("notify", "it watches files"),
    ("memmap2", "it reads files"),
    ("fs-err", "it reads files"),
    ("nix", "it calls the operating system"),
    ("rustix", "it calls the operating system"),
    ("sysinfo", "it reads the machine's state"),
    ("num_cpus", "the result would depend on the machine"),
    ("instant", "it reads the clock"),
    ("web-time", "it reads the clock"),
    ("quanta", "it reads the clock"),
    ("chrono", "time is jiff's, and chrono reads the clock"),
];

/// What a crate may link all the same: crate, dependency, and why nothing that it does depends on it.
const HARMLESS: &[(&str, &str, &str)] = &[(
    "workflow",
    "getrandom",
    "jsonschema seeds its hash maps with it; verdicts do not depend on their order, and its messages are sorted",
)];

/// What must not be written in the sources of layers 0–2 (their tests excepted), with the reason.
const IMPURE_WORDS: &[(&str, &str)] = &[
    ("std::fs", "files are read by layers 3 and above, text is an argument"),
    ("std::net", "the network belongs to layers 3 and above"),
    ("std::process", "processes belong to `runtime`"),
    ("std::env", "the environment is read by the binary"),
    ("Instant::now", "time is an argument"),
    ("SystemTime", "time is an argument"),
    ("Timestamp::now", "time is an argument"),
    ("Zoned::now", "time is an argument"),
    ("TimeZone::system", "the zone of the machine is not the zone of the site"),
    ("HashMap", "its order differs from run to run; take BTreeMap"),
    ("HashSet", "its order differs from run to run; take BTreeSet"),
];

/// The layer of a package (`sos-units` or `sos`), when the table has it.
pub(super) fn layer(package: &str) -> Option<u8> {
    let name = short(package);
    LAYERS.iter().find(|(known, _)| *known == name).map(|(_, layer)| *layer)
}

fn short(package: &str) -> &str {
    package.strip_prefix("sos-").unwrap_or(package)
}

/// Every direct edge inside the workspace goes to a lower layer, and none goes from layer 3 to layer 2.
pub(super) fn edges(workspace: &Workspace) -> Vec<Problem> {
    let mut problems = Vec::new();
    for package in workspace.members() {
        let manifest = format!("{}/Cargo.toml", package.folder);
        if layer(&package.name).is_none() && !TOOLS.contains(&package.name.as_str()) {
            let known: Vec<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
            let message = format!("`{}` has no layer; known are {}", package.name, known.join(", "));
            problems.push(Problem::in_file(&manifest, message));
            continue;
        }
        let inside =
            package.dependencies.iter().filter(|(name, _)| workspace.members().any(|m| m.name == *name));
        problems.extend(
            inside
                .filter_map(|(to, kind)| objection(package, to, *kind))
                .map(|message| Problem::in_file(&manifest, message)),
        );
    }
    problems
}

fn objection(from: &Package, to: &str, kind: Kind) -> Option<String> {
    let name = &from.name;
    let Some(upper) = layer(name) else {
        return Some(format!("`{name}` checks the workspace and must not depend on `{to}`"));
    };
    let Some(lower) = layer(to) else {
        return Some(format!("`{name}` must not depend on the tool `{to}`"));
    };
    if lower >= upper {
        return Some(format!(
            "`{name}` (layer {upper}) must not depend on `{to}` (layer {lower}): arrows point down"
        ));
    }
    if upper == 3 && lower == 2 {
        return Some(format!(
            "`{name}` (layer 3) must not depend on `{to}` (layer 2): the engine joins them"
        ));
    }
    let special = FORBIDDEN_EDGES.iter().find(|(a, b, _)| *a == short(name) && *b == short(to));
    special
        .filter(|_| kind != Kind::Dev)
        .map(|(_, _, why)| format!("`{name}` must not depend on `{to}`: {why}"))
}

/// Nothing impure is linked into layers 0–2, not even through others.
pub(super) fn closures(workspace: &Workspace) -> Vec<Problem> {
    let mut problems = Vec::new();
    for package in workspace.members().filter(|p| layer(&p.name).is_some_and(|layer| layer <= 2)) {
        for dependency in workspace.closures.get(&package.name).into_iter().flatten() {
            let harmless = |(name, linked, _): &(&str, &str, &str)| {
                *name == short(&package.name) && linked == dependency
            };
            if HARMLESS.iter().any(harmless) {
                continue;
            }
            if let Some((_, why)) = IMPURE.iter().find(|(pattern, _)| matches(pattern, dependency)) {
                let message = format!(
                    "`{0}` links `{dependency}`, but layers 0–2 are pure: {why} (path: cargo tree -p {0} -e normal -i {dependency})",
                    package.name
                );
                problems.push(Problem::in_file(&format!("{}/Cargo.toml", package.folder), message));
            }
        }
    }
    problems
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

/// The sources of layers 0–2 name no clock, no file, no network and no container of random order.
pub(super) fn pure_sources(tree: &Tree) -> Vec<Problem> {
    let pure = |path: &str| {
        let name =
            path.strip_prefix("crates/").and_then(|rest| rest.split_once("/src/")).map(|(name, _)| name);
        name.and_then(layer).is_some_and(|layer| layer <= 2)
    };
    let mut problems = Vec::new();
    for (path, text) in rust_files(tree).filter(|(path, _)| pure(path)) {
        for (number, line) in production_lines(path, text) {
            let code = line.split("//").next().unwrap_or_default();
            for (word, why) in IMPURE_WORDS.iter().filter(|(word, _)| code.contains(word)) {
                problems.push(Problem::at(path, number, format!("`{word}` in a pure layer: {why}")));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::member;

    fn of(packages: Vec<Package>) -> Workspace {
        Workspace { packages, ..Workspace::default() }
    }

    fn messages(from: &str, to: &str, kind: Kind) -> Vec<String> {
        let packages = vec![member(from, "crates/from", &[(to, kind)]), member(to, "crates/to", &[])];
        edges(&of(packages)).into_iter().map(|p| p.message).collect()
    }

    #[test]
    fn arrows_point_down() {
        assert!(messages("sos-engine", "sos-store", Kind::Normal).is_empty());
        assert!(messages("sos-units", "sos-model", Kind::Normal)[0].contains("arrows point down"));
        assert!(messages("sos-units", "sos-model", Kind::Dev)[0].contains("arrows point down"));
    }

    #[test]
    fn layer_two_crates_never_depend_on_each_other() {
        assert_eq!(messages("sos-dispatch", "sos-forecast", Kind::Normal).len(), 1);
    }

    #[test]
    fn layer_three_crates_never_depend_on_each_other_or_on_layer_two() {
        assert_eq!(messages("sos-store", "sos-device", Kind::Normal).len(), 1);
        assert!(messages("sos-device", "sos-dispatch", Kind::Normal)[0].contains("the engine joins them"));
        assert!(messages("sos-device", "sos-plant", Kind::Normal).is_empty());
    }

    #[test]
    fn dispatch_sees_the_plant_only_in_its_tests() {
        assert!(messages("sos-dispatch", "sos-plant", Kind::Normal)[0].contains("share their errors"));
        assert!(messages("sos-dispatch", "sos-plant", Kind::Dev).is_empty());
    }

    #[test]
    fn tools_stand_outside() {
        assert_eq!(messages("xtask", "sos-units", Kind::Normal).len(), 1);
        assert_eq!(messages("sos-units", "xtask", Kind::Dev).len(), 1);
    }

    #[test]
    fn a_crate_without_a_layer_is_named() {
        let problems = edges(&of(vec![member("sos-extra", "crates/extra", &[])]));
        assert!(problems[0].message.contains("`sos-extra` has no layer"), "{problems:?}");
    }

    #[test]
    fn a_pure_crate_that_links_a_runtime_through_others_is_found() {
        let mut workspace = of(["model", "store", "workflow"]
            .map(|name| member(&format!("sos-{name}"), &format!("crates/{name}"), &[]))
            .into());
        workspace.closures.insert("sos-workflow".to_owned(), ["getrandom"].map(str::to_owned).into());
        let linked = ["serde", "tokio-util"].map(str::to_owned);
        workspace.closures.insert("sos-model".to_owned(), linked.clone().into());
        workspace.closures.insert("sos-store".to_owned(), linked.into());
        let problems = closures(&workspace);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].message.contains("`sos-model` links `tokio-util`"));
    }

    #[test]
    fn impure_words_are_found_in_pure_sources_but_not_in_their_tests_or_elsewhere() {
        let text = "use std::fs;\n// HashMap is named in a comment\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        let tree = Tree::of(&[("crates/model/src/load.rs", text), ("crates/store/src/lib.rs", text)]);
        let problems = pure_sources(&tree);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!((problems[0].path.as_str(), problems[0].line), ("crates/model/src/load.rs", 1));
    }
}
