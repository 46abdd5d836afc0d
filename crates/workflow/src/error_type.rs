//! The standard types of errors, and when two types are the same.

/// The types of errors that the DSL defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorType {
    /// The workflow or the runtime is set up wrongly.
    Configuration,
    /// Data is not what a schema wants.
    Validation,
    /// An expression failed.
    Expression,
    /// Who asks is not known.
    Authentication,
    /// Who asks may not.
    Authorization,
    /// Something took too long.
    Timeout,
    /// Another system did not answer, or with an error.
    Communication,
    /// The runtime failed.
    Runtime,
}

/// The organisation was renamed in June 2026; documents have both names.
const HOSTS: [&str; 2] = ["https://open-workflow-specification.org", "https://serverlessworkflow.io"];
/// The specification has the first, its conformance kit the second.
const FOLDERS: [&str; 2] = ["/spec/1.0.0/errors/", "/dsl/errors/types/"];

impl ErrorType {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Configuration,
        Self::Validation,
        Self::Expression,
        Self::Authentication,
        Self::Authorization,
        Self::Timeout,
        Self::Communication,
        Self::Runtime,
    ];

    /// The last part of its URI.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Validation => "validation",
            Self::Expression => "expression",
            Self::Authentication => "authentication",
            Self::Authorization => "authorization",
            Self::Timeout => "timeout",
            Self::Communication => "communication",
            Self::Runtime => "runtime",
        }
    }

    /// Its URI, in the form that the specification has now.
    #[must_use]
    pub fn uri(self) -> String {
        format!("{}{}{}", HOSTS[0], FOLDERS[0], self.name())
    }

    /// The status it has unless a cause brings its own (an answer of HTTP does).
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Configuration | Self::Validation | Self::Expression => 400,
            Self::Authentication => 401,
            Self::Authorization => 403,
            Self::Timeout => 408,
            Self::Communication | Self::Runtime => 500,
        }
    }

    /// The standard type that a URI names, in any of its four forms.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        let name = standard_name(uri)?;
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// Whether two URIs name the same type of error: equal, or forms of the same standard one.
#[must_use]
pub fn same_error_type(a: &str, b: &str) -> bool {
    a == b || standard_name(a).is_some_and(|name| standard_name(b) == Some(name))
}

/// What follows the host and folder of standard types.
fn standard_name(uri: &str) -> Option<&str> {
    let path = HOSTS.iter().find_map(|host| uri.strip_prefix(host))?;
    let name = FOLDERS.iter().find_map(|folder| path.strip_prefix(folder))?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_forms_name_the_same_type() {
        for host in HOSTS {
            for folder in FOLDERS {
                let uri = format!("{host}{folder}timeout");
                assert_eq!(ErrorType::from_uri(&uri), Some(ErrorType::Timeout), "{uri}");
                assert!(same_error_type(&uri, &ErrorType::Timeout.uri()));
                assert!(!same_error_type(&uri, &ErrorType::Runtime.uri()));
            }
        }
    }

    #[test]
    fn other_types_are_the_same_only_when_equal() {
        let mine = "https://example.com/spec/1.0.0/errors/timeout";
        assert_eq!(ErrorType::from_uri(mine), None);
        assert!(same_error_type(mine, mine));
        assert!(!same_error_type(mine, &ErrorType::Timeout.uri()));
        assert_eq!(ErrorType::from_uri("https://serverlessworkflow.io/spec/1.0.0/errors/"), None);
        assert_eq!(ErrorType::from_uri("https://serverlessworkflow.io/spec/1.0.0/errors/a/timeout"), None);
    }

    #[test]
    fn every_type_comes_back_from_its_uri() {
        for known in ErrorType::ALL {
            assert_eq!(ErrorType::from_uri(&known.uri()), Some(known));
            assert!((400..=500).contains(&known.status()));
        }
    }
}
