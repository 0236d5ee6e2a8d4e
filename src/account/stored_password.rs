//! A hashed password.

/// A hashed password that is about to be stored.
#[derive(Clone)]
pub(crate) struct StoredPassword {
    pub(crate) hash: String,
    pub(crate) pepper: Option<String>,
}

impl std::fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoredPassword(..)")
    }
}
