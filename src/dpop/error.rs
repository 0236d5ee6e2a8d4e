//! Why a DPoP proof is refused.

use http::{HeaderName, StatusCode};

use crate::base::problem::Problem;

/// The header with the nonce that a client must use.
pub(crate) const NONCE_HEADER: HeaderName = HeaderName::from_static("dpop-nonce");

/// Why a DPoP proof is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DpopRefusal {
    /// There is no proof.
    #[error("a DPoP proof is needed, in the header DPoP")]
    Missing,
    /// There are two headers `DPoP`.
    #[error("the header DPoP was sent twice")]
    Repeated,
    /// It is not a JWT with the members of a DPoP proof, or it is too long.
    #[error(
        "the proof is not a JWT of at most 4096 bytes, of the type dpop+jwt, with a public key, jti, htm, htu \
         and iat"
    )]
    Malformed,
    /// The algorithm is not accepted, or does not fit the key.
    #[error("the algorithm of the proof must be ES256 or Ed25519, and must fit its key")]
    UnsupportedAlgorithm,
    /// The signature is wrong.
    #[error("the signature of the proof is wrong")]
    WrongSignature,
    /// The proof is for another method.
    #[error("htm is not the method of this request")]
    WrongMethod,
    /// The proof is for another URL.
    #[error("htu is not the URL of this request, as the service is known to the public")]
    WrongUrl,
    /// The proof is for another token, or for none.
    #[error("ath is not the SHA-256 digest of the token")]
    WrongToken,
    /// The proof is of another key.
    #[error("the key of the proof is not the key to which this is bound")]
    WrongKey,
    /// The proof is too old, or from the future.
    #[error("iat is not the present time")]
    Outdated,
    /// The proof has no nonce of this service, or an old one.
    #[error("send it again, with the nonce of the header DPoP-Nonce")]
    UseNonce,
    /// The proof was used before.
    #[error("the proof was used before; make one for each request")]
    Replayed,
    /// The token is bound to a key, and was sent as if it were not.
    #[error("this token is bound to a key; send it as `Authorization: DPoP`, with a proof")]
    SentAsBearer,
}

impl DpopRefusal {
    /// Returns the code of RFC 9449 sections 5 and 7, and of RFC 6750.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::UseNonce => "use_dpop_nonce",
            Self::SentAsBearer => "invalid_token",
            _ => "invalid_dpop_proof",
        }
    }
}

/// The refusal of a device that asks for its token, with a nonce to use from then on.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct DpopError {
    pub(crate) reason: DpopRefusal,
    pub(crate) nonce: String,
}

impl DpopError {
    /// Returns the reason.
    pub fn reason(&self) -> DpopRefusal {
        self.reason
    }
}

impl Problem for DpopError {
    fn status(&self) -> StatusCode {
        StatusCode::BAD_REQUEST
    }

    fn code(&self) -> &'static str {
        self.reason.code()
    }

    fn headers(&self) -> Vec<(HeaderName, String)> {
        vec![(NONCE_HEADER, self.nonce.clone())]
    }
}
