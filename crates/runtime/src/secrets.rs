//! Secret values on their way into a process.

use std::collections::BTreeMap;

/// Values of secret environment variables by variable name. They are no part of a deployment description, have no
/// serialised form, and are never printed.
#[derive(Clone, Default)]
pub struct SecretValues(BTreeMap<String, String>);

impl SecretValues {
    /// No values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the value of a variable.
    #[must_use]
    pub fn with(mut self, variable: &str, value: impl Into<String>) -> Self {
        self.0.insert(variable.into(), value.into());
        self
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, variable: &str) -> Option<&str> {
        self.0.get(variable).map(String::as_str)
    }
}

impl std::fmt::Debug for SecretValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printing_shows_names_only() {
        let text = format!("{:?}", SecretValues::new().with("TOKEN", "hunter2"));
        assert!(text.contains("TOKEN") && !text.contains("hunter2"));
    }
}
