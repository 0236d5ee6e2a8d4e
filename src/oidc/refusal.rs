//! Why what a provider sent was not accepted.

/// What a provider sent was not accepted: the check that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderRefusal {
    /// The answer to the browser has a parameter twice, or has neither a code nor an error.
    #[error("the answer of the provider is incomplete or ambiguous")]
    Answer,
    /// The answer to the browser lacks the issuer, or names another one (RFC 9207).
    #[error("the answer came from another provider")]
    AnswerIssuer,
    /// The discovery document cannot be read.
    #[error("the discovery document of the provider cannot be read")]
    Metadata,
    /// The discovery document is that of another issuer.
    #[error("the discovery document names another issuer")]
    MetadataIssuer,
    /// The discovery document names an endpoint that must not be asked.
    #[error("an endpoint in the discovery document is missing, or is no https URL")]
    Endpoint,
    /// The key set cannot be read, or has too many keys.
    #[error("the key set of the provider cannot be read")]
    KeySet,
    /// The answer of the token endpoint cannot be read.
    #[error("the answer of the token endpoint cannot be read")]
    TokenAnswer,
    /// The provider did not accept the code.
    #[error("the provider did not accept the code")]
    Code,
    /// The provider did not accept the client id or the client secret.
    #[error("the provider did not accept the client id or the secret")]
    Client,
    /// There is no ID token.
    #[error("the provider sent no ID token")]
    NoIdToken,
    /// A token is not a signed JWT.
    #[error("the token is malformed")]
    Token,
    /// A token has another algorithm than the configured one.
    #[error("the token is signed with another algorithm than the configured one")]
    Algorithm,
    /// A token is for something else.
    #[error("the token is of another type")]
    Type,
    /// No key of the provider fits.
    #[error("the provider has no key with the name in the token")]
    UnknownKey,
    /// The signature is wrong.
    #[error("the signature of the token is wrong")]
    Signature,
    /// The token is of another issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// The token is for another client.
    #[error("the token is for another client")]
    Audience,
    /// The token has expired.
    #[error("the token has expired")]
    Expired,
    /// The token is from the future, or was issued before the sign-in began.
    #[error("the token was not issued for this sign-in, or a clock is wrong")]
    IssuedAt,
    /// The nonce is missing or of another sign-in.
    #[error("the token belongs to another sign-in")]
    Nonce,
    /// The subject is missing, empty or too long.
    #[error("the token does not say who the person is")]
    Subject,
    /// A claim has another type than the standard says.
    #[error("a claim of the token has the wrong type")]
    Claim,
    /// The ID token was made for another access token.
    #[error("the ID token does not belong to the access token")]
    AccessToken,
    /// What the provider tells about the person cannot be read.
    #[error("what the provider tells about the person cannot be read")]
    Userinfo,
    /// It is longer than 24 KiB.
    #[error("the provider tells more about the person than is read")]
    TooManyClaims,
    /// It is about another person than the ID token.
    #[error("what the provider tells is about another person")]
    UserinfoSubject,
    /// A [required claim](crate::config::Provider::requires_claim) is missing or has another value.
    #[error("this service accepts other people of this provider only")]
    RequiredClaim,
    /// A logout token lacks what one must have, or has what it must not have.
    #[error("this is no logout token")]
    LogoutToken,
    /// A logout token was used before.
    #[error("the logout token was used before")]
    Replayed,
}
