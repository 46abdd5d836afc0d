//! Decisions: one short file each, always the same four headings, and an index that is made from them.

use std::collections::BTreeMap;
use std::path::Path;

use super::Problem;
use crate::Outcome;
use crate::tree::Tree;

const FOLDER: &str = "docs/decisions/";
const INDEX: &str = "docs/decisions/README.md";
const HEADINGS: [&str; 4] = ["Question", "Answer", "Alternatives", "Consequences"];
const BEGIN: &str = "<!-- index: written by `cargo xtask decisions` -->";
const END: &str = "<!-- end of index -->";

fn decisions(tree: &Tree) -> impl Iterator<Item = (&str, &str)> {
    tree.texts().filter(|(path, _)| path.starts_with(FOLDER) && *path != INDEX && path.ends_with(".md"))
}

/// Every decision is called `NNNN-name.md`, has a number of its own, a title and the four headings in order.
pub(super) fn headings(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut numbers: BTreeMap<&str, &str> = BTreeMap::new();
    for (path, text) in decisions(tree) {
        let name = path.strip_prefix(FOLDER).unwrap_or(path);
        let number = name.split('-').next().unwrap_or_default();
        if number.len() != 4 || !number.chars().all(|c| c.is_ascii_digit()) {
            problems.push(Problem::in_file(path, "a decision's file is called NNNN-name.md"));
        } else if let Some(other) = numbers.insert(number, path) {
            problems.push(Problem::in_file(path, format!("number {number} is taken by {other}")));
        }
        if title(text).is_none() {
            problems.push(Problem::at(path, 1, "a decision starts with its title, `# …`"));
        }
        let found: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("## ")).map(str::trim).collect();
        if found != HEADINGS {
            let message = format!("the headings must be {}; found {}", HEADINGS.join(", "), found.join(", "));
            problems.push(Problem::in_file(path, message));
        }
    }
    problems
}

fn title(text: &str) -> Option<&str> {
    text.lines().next()?.strip_prefix("# ").map(str::trim).filter(|title| !title.is_empty())
}

/// The index lists exactly the decisions there are.
pub(super) fn index(tree: &Tree) -> Vec<Problem> {
    let text = tree.text(INDEX).unwrap_or_default();
    match with_index(text, tree) {
        Some(wanted) if wanted == text => Vec::new(),
        Some(_) => vec![Problem::in_file(INDEX, "the index is out of date: run `cargo xtask decisions`")],
        None => vec![Problem::in_file(INDEX, format!("the index must stand between `{BEGIN}` and `{END}`"))],
    }
}

/// The page with a fresh index; `None` when the page lacks the marks around it.
fn with_index(page: &str, tree: &Tree) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    let entry = |(path, text): (&str, &str)| {
        let name = path.strip_prefix(FOLDER).unwrap_or(path);
        format!("- [{}]({name})\n", title(text).unwrap_or(name))
    };
    let list: String = decisions(tree).map(entry).collect();
    Some(format!("{before}{BEGIN}\n{list}{END}{after}"))
}

/// `cargo xtask decisions`: writes the index anew.
///
/// # Errors
/// When the page is missing, lacks the marks or cannot be written.
pub(crate) fn rewrite_index(root: &Path) -> Result<Outcome, String> {
    let tree = Tree::load(root)?;
    let page = tree.text(INDEX).ok_or_else(|| format!("{INDEX} is missing"))?;
    let fresh =
        with_index(page, &tree).ok_or_else(|| format!("{INDEX} lacks the marks `{BEGIN}` and `{END}`"))?;
    std::fs::write(root.join(INDEX), fresh).map_err(|e| format!("cannot write {INDEX}: {e}"))?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# 1. Layers\n\n## Question\n\n## Answer\n\n## Alternatives\n\n## Consequences\n";

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        headings(&Tree::of(files)).into_iter().map(|p| p.message).collect()
    }

    #[test]
    fn a_decision_without_its_alternatives_is_found() {
        assert!(found(&[("docs/decisions/0001-layers.md", GOOD)]).is_empty());
        let bad = GOOD.replace("## Alternatives\n", "");
        let messages = found(&[("docs/decisions/0001-layers.md", bad.as_str())]);
        assert!(messages[0].ends_with("found Question, Answer, Consequences"), "{messages:?}");
    }

    #[test]
    fn bad_names_double_numbers_and_missing_titles_are_found() {
        assert_eq!(found(&[("docs/decisions/layers.md", GOOD)]).len(), 1);
        let twins = [("docs/decisions/0001-a.md", GOOD), ("docs/decisions/0001-b.md", GOOD)];
        assert_eq!(found(&twins), ["number 0001 is taken by docs/decisions/0001-a.md"]);
        assert_eq!(found(&[("docs/decisions/0001-a.md", &GOOD[3..])]).len(), 1);
    }

    #[test]
    fn a_stale_index_is_found_and_a_fresh_one_passes() {
        let stale = format!("# Decisions\n{BEGIN}\n{END}\nMore.\n");
        let files = |page: &str| Tree::of(&[(INDEX, page), ("docs/decisions/0001-layers.md", GOOD)]);
        assert!(index(&files(&stale))[0].message.contains("out of date"));
        let fresh = with_index(&stale, &files(&stale)).unwrap();
        assert!(fresh.contains("- [1. Layers](0001-layers.md)\n") && fresh.ends_with("More.\n"), "{fresh}");
        assert!(index(&files(&fresh)).is_empty());
        assert!(index(&files("no marks"))[0].message.contains("must stand between"));
    }
}
