//! The way to a value of a document: for people (`do[2].callPet`) and as JSON pointer (`/do/2/callPet`).

use std::fmt;

/// One step into a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'n> {
    /// The value of a key.
    Key(&'n str),
    /// An item of a list, from zero.
    Index(usize),
}

/// The path for people. Keys that are no plain words stand in brackets and quotes.
pub(crate) fn dotted(steps: &[Step<'_>]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Index(index) => path.push_str(&format!("[{index}]")),
            Step::Key(key) if is_plain(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
            }
            Step::Key(key) => path.push_str(&format!("[\"{}\"]", sos_model::shown(key))),
        }
    }
    path
}

fn is_plain(key: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '$');
    !key.is_empty() && key.len() <= 60 && key.chars().all(word)
}

/// A JSON pointer that is built from the root (RFC 6901).
#[derive(Clone, Debug, Default)]
pub(crate) struct Pointer(String);

impl Pointer {
    /// The pointer to the value of a key.
    pub(crate) fn key(&self, key: &str) -> Self {
        Self(format!("{}/{}", self.0, key.replace('~', "~0").replace('/', "~1")))
    }

    /// The pointer to an item of a list, from zero.
    pub(crate) fn index(&self, index: usize) -> Self {
        Self(format!("{}/{index}", self.0))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_dotted_for_people_and_escaped_as_pointers() {
        let steps = [Step::Key("do"), Step::Index(2), Step::Key("call pet"), Step::Key("with")];
        assert_eq!(dotted(&steps), "do[2][\"call pet\"].with");
        assert_eq!(dotted(&[]), "");
        let pointer = Pointer::default().key("do").index(2).key("a/b~c");
        assert_eq!(pointer.to_string(), "/do/2/a~1b~0c");
    }
}
