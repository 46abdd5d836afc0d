//! Documents name what exists.

use super::Problem;
use crate::tree::Tree;
use crate::workspace::Workspace;

/// Folders at the repository's root: `code` that starts with one of them is a path.
const ROOTS: &[&str] = &[".cargo", ".ci", "cases", "crates", "docs", "examples", "scripts", "web", "xtask"];

/// What a build makes: documents may name it although it is not in the repository.
const BUILT: &[&str] = &["web/dist", "web/node_modules"];

fn is_built(path: &str) -> bool {
    BUILT
        .iter()
        .any(|built| path.strip_prefix(built).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

fn documents(tree: &Tree) -> impl Iterator<Item = (&str, &str)> {
    tree.texts()
        .filter(|(path, _)| path.ends_with(".md") && (!path.contains('/') || path.starts_with("docs/")))
}

/// ARCHITECTURE.md names every crate, so that the code map is whole.
pub(super) fn code_map(workspace: &Workspace, tree: &Tree) -> Vec<Problem> {
    let Some(text) = tree.text("ARCHITECTURE.md") else {
        return vec![Problem::in_file("ARCHITECTURE.md", "the file is missing; it holds the code map")];
    };
    let named = |folder: &str| text.contains(&format!("`{folder}`")) || text.contains(&format!("`{folder}/"));
    let missing = workspace.members().filter(|package| !named(&package.folder));
    missing
        .map(|package| {
            Problem::in_file("ARCHITECTURE.md", format!("the code map lacks `{}`", package.folder))
        })
        .collect()
}

/// Every repository path in a document exists: `code` that looks like one, and relative links.
pub(super) fn paths(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (document, text) in documents(tree) {
        let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (number, line) in prose(text) {
            let code = code_spans(line).filter_map(repository_path).map(str::to_owned);
            let links = links(line).filter_map(|link| relative_link(folder, link));
            for path in code.chain(links).filter(|path| !tree.exists(path) && !is_built(path)) {
                problems.push(Problem::at(document, number, format!("`{path}` does not exist")));
            }
        }
    }
    problems
}

/// Numbered lines outside fenced code blocks.
pub(super) fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((index + 1, line))
    })
}

fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The part of a `code` span that must exist: placeholders such as `NAME`, `*` or `…` end it.
fn repository_path(code: &str) -> Option<&str> {
    let (first, _) = code.split_once('/')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/*{}…".contains(c);
    if !ROOTS.contains(&first) || !code.chars().all(plain) {
        return None;
    }
    let mut end = 0;
    for part in code.split_inclusive('/') {
        if is_placeholder(part.trim_end_matches('/')) {
            break;
        }
        end += part.len();
    }
    (end > 0).then(|| &code[..end])
}

fn is_placeholder(part: &str) -> bool {
    let stem = part.split(['.', '-']).next().unwrap_or(part);
    let shouted = stem.len() > 1 && stem.chars().all(|c| c.is_ascii_uppercase()) && !part.ends_with(".md");
    part.is_empty() || part.contains(['*', '{', '…']) || shouted || part.starts_with("NNNN")
}

fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(link, _)| link))
}

fn relative_link(folder: &str, link: &str) -> Option<String> {
    let path = link.split('#').next().unwrap_or_default();
    if path.is_empty() || path.contains(':') {
        return None;
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::member;

    #[test]
    fn a_crate_missing_from_the_code_map_is_found() {
        let packages =
            vec![member("sos-units", "crates/units", &[]), member("sos-model", "crates/model", &[])];
        let workspace = Workspace { packages, ..Workspace::default() };
        let problems =
            code_map(&workspace, &Tree::of(&[("ARCHITECTURE.md", "| `crates/units` | quantities |")]));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].message.contains("`crates/model`"));
        assert_eq!(code_map(&workspace, &Tree::default()).len(), 1);
    }

    #[test]
    fn paths_in_documents_must_exist() {
        let text = "See `crates/gone/src/lib.rs`, `crates/units` and [how](scripts/gone.sh).\n```\ncrates/none/x\n```\n";
        let tree = Tree::of(&[("README.md", text), ("crates/units/src/lib.rs", "")]);
        let found: Vec<String> = paths(&tree).into_iter().map(|p| p.message).collect();
        assert_eq!(found, ["`crates/gone/src/lib.rs` does not exist", "`scripts/gone.sh` does not exist"]);
    }

    #[test]
    fn what_a_build_makes_may_be_named() {
        let tree = Tree::of(&[("README.md", "`web/dist`, `web/dist/.sources`, `web/distance`\n")]);
        let found: Vec<String> = paths(&tree).into_iter().map(|p| p.message).collect();
        assert_eq!(found, ["`web/distance` does not exist"]);
    }

    #[test]
    fn placeholders_are_checked_up_to_where_they_start() {
        assert_eq!(repository_path("crates/NAME/Cargo.toml"), Some("crates/"));
        assert_eq!(repository_path("docs/decisions/NNNN-name.md"), Some("docs/decisions/"));
        assert_eq!(repository_path("docs/README.md"), Some("docs/README.md"));
        assert_eq!(repository_path("cost/hour"), None);
        assert_eq!(repository_path("crates/units && true"), None);
    }

    #[test]
    fn links_are_followed_from_their_document() {
        assert_eq!(relative_link("docs/decisions", "../../README.md#why").as_deref(), Some("README.md"));
        assert_eq!(relative_link("docs", "https://example.org/a"), None);
        assert_eq!(relative_link("", "#here"), None);
    }
}
