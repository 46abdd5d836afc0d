//! The files of the repository as text, so that every rule is a function from text to problems.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Files above this size are data; their text is not searched for words, lengths or paths.
const LARGEST_TEXT: u64 = 1 << 20;

/// Every file that is or would be committed, by its path from the repository's root (with `/`).
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Text of each file; `None` for binary files and data files above [`LARGEST_TEXT`] bytes.
    files: BTreeMap<String, Option<String>>,
}

impl Tree {
    /// Reads what git tracks or would track (untracked files that no ignore rule names).
    ///
    /// # Errors
    /// When `root` is no git checkout, git is not installed or a file cannot be read.
    pub(crate) fn load(root: &Path) -> Result<Self, String> {
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .map_err(|e| format!("cannot run git to list the files of {}: {e}", root.display()))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            return Err(format!("git ls-files failed in {}: {}", root.display(), why.trim()));
        }
        let mut files = BTreeMap::new();
        for path in String::from_utf8_lossy(&output.stdout).split('\0').filter(|p| !p.is_empty()) {
            let full = root.join(path);
            if !full.is_file() {
                continue; // deleted but not yet committed, or a link to a folder
            }
            files.insert(path.to_owned(), read_text(&full)?);
        }
        Ok(Self { files })
    }

    /// Path and text of every text file, in the order of paths.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    /// The text of one file, when it exists and is text.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    /// Whether a file or a folder with this path exists (a trailing `/` is allowed).
    pub(crate) fn exists(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let folder = format!("{path}/");
        self.files.contains_key(path)
            || self.files.range(folder.clone()..).next().is_some_and(|(p, _)| p.starts_with(&folder))
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(p, t)| ((*p).to_owned(), Some((*t).to_owned()))).collect();
        Self { files }
    }
}

fn read_text(path: &Path) -> Result<Option<String>, String> {
    let failed = |e: std::io::Error| format!("cannot read {}: {e}", path.display());
    if std::fs::metadata(path).map_err(failed)?.len() > LARGEST_TEXT {
        return Ok(None);
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    Ok(if bytes.contains(&0) { None } else { String::from_utf8(bytes).ok() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_exist_when_a_file_lies_in_them() {
        let tree = Tree::of(&[("crates/units/src/lib.rs", ""), ("run", "")]);
        assert!(tree.exists("crates/units") && tree.exists("crates/units/") && tree.exists("run"));
        assert!(!tree.exists("crates/unit") && !tree.exists("runs"));
    }

    #[test]
    fn binary_files_have_no_text() {
        let folder = tempfile::tempdir().unwrap();
        let (binary, text) = (folder.path().join("a.png"), folder.path().join("b.txt"));
        std::fs::write(&binary, [1, 0, 2]).unwrap();
        std::fs::write(&text, "fine").unwrap();
        assert_eq!(read_text(&binary).unwrap(), None);
        assert_eq!(read_text(&text).unwrap().as_deref(), Some("fine"));
    }

    #[test]
    fn a_folder_without_git_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let message = Tree::load(folder.path()).unwrap_err();
        assert!(message.contains(&folder.path().display().to_string()), "{message}");
    }
}
