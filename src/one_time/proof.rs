//! The proof that answers a challenge.

/// Proves a new address with what was sent to it.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Proof<'a> {
    /// The token of the link.
    Token(&'a str),
    /// The code.
    Code(&'a str),
}

impl std::fmt::Debug for Proof<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proof(..)")
    }
}
