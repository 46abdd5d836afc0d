//! Values that must not be seen.

use std::fmt;

use zeroize::Zeroize;

/// A password, a token or an address that holds one. It never appears in `Debug` and is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that sends it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A user with a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Name of the user.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let login = Login { user: "ops".into(), password: Secret::new("hunter2") };
        assert!(!format!("{login:?}").contains("hunter2"));
        assert_eq!(login.password.expose(), "hunter2");
    }
}
