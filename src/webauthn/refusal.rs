//! Why a credential was not accepted.

/// The reason why what a browser sent for a passkey was not accepted. The first check that fails decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasskeyRefusal {
    /// A part cannot be read, or two parts contradict each other.
    #[error("the credential cannot be read")]
    Malformed,
    /// A new credential was sent where an existing one signs, or the other way round.
    #[error("the credential is of another kind of request")]
    WrongType,
    /// The page that asked the browser has an origin that is not allowed.
    #[error("the origin of the page is not allowed to use these passkeys")]
    WrongOrigin,
    /// The page that asked the browser was embedded in a page of another origin.
    #[error("the page was embedded in a page of another origin")]
    Embedded,
    /// The credential belongs to another relying party.
    #[error("the credential belongs to another domain")]
    WrongRelyingParty,
    /// The authenticator did not ask for the presence of a person.
    #[error("the authenticator did not ask anybody to confirm")]
    NotPresent,
    /// The authenticator did not verify its user, by a PIN, a fingerprint or a face.
    #[error("the authenticator did not verify its user")]
    NotVerified,
    /// The key is of an algorithm that was not asked for, on another curve, or too short.
    #[error("the key of the credential is of a kind that was not asked for")]
    UnsupportedKey,
    /// The key of the credential did not sign this.
    #[error("the signature is wrong")]
    WrongSignature,
    /// No account here has ever had a passkey of this user. It may belong to another service with the same domain.
    #[error("the credential belongs to nobody here")]
    UnknownUser,
    /// The credential can suddenly not be synchronised any more.
    #[error("the credential contradicts what it said before about synchronisation")]
    BackupChanged,
}
