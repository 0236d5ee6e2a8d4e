//! `Authorization: Basic` (RFC 7617), for your own sign-in handler.

use std::fmt;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::Credentials;
use crate::base::problem::{Rejection, problem};
use crate::password::Password;

/// The name and password of an `Authorization: Basic` header, as an extractor.
///
/// It proves nothing by itself: give it to [`Login::with_password`](super::Login::with_password).
///
/// ```
/// use portcullis::login::BasicCredentials;
/// use portcullis::{ClientInfo, Issued, Portcullis, Rejection};
///
/// async fn sign_in(
///     auth: Portcullis,
///     basic: BasicCredentials,
///     client: ClientInfo,
/// ) -> Result<(Issued, &'static str), Rejection> {
///     let outcome = auth.login().with_password(basic.into(), &client).await?;
///     Ok((outcome.into_issued(), "welcome"))
/// }
/// ```
///
/// A missing header is answered with 401 and the challenge `Basic`, so a browser asks its user.
/// `Option<BasicCredentials>` accepts a request without this header, and also one with
/// `Authorization: Bearer`. A header that is malformed or occurs twice is answered with 400 in both
/// cases.
///
/// Browsers add this header also to requests that another site causes. So a handler that accepts it
/// from browsers must refuse other sites, like any other sign-in: by `replacing(..)`, by a
/// `public()` route, or by [`check_same_origin`](crate::Portcullis::check_same_origin).
#[derive(Clone)]
pub struct BasicCredentials {
    pub(super) login: String,
    pub(super) password: Password,
}

impl BasicCredentials {
    /// Returns the name as it was typed.
    pub fn login(&self) -> &str {
        &self.login
    }

    /// Returns the password.
    pub fn password(&self) -> &str {
        self.password.as_str()
    }

    /// Reads the headers of a request. Returns `None` if there is no such header.
    ///
    /// # Errors
    /// [`BasicError::Invalid`] if the header is malformed or occurs twice.
    pub(super) fn find(headers: &HeaderMap) -> Result<Option<Self>, BasicError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(BasicError::Invalid("there are two headers"));
        }
        let text = value.to_str().map_err(|_| BasicError::Invalid("it is not ASCII"))?;
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("basic") {
            return Ok(None);
        }
        let encoded = rest.trim_matches(' ');
        if encoded.is_empty() {
            return Err(BasicError::Invalid("it is empty"));
        }
        let decoded = data_encoding::BASE64
            .decode(encoded.as_bytes())
            .map_err(|_| BasicError::Invalid("it is not base64"))?;
        let text =
            String::from_utf8(decoded).map_err(|_| BasicError::Invalid("it is not UTF-8"))?;
        let Some((login, password)) = text.split_once(':') else {
            return Err(BasicError::Invalid("there is no colon in it"));
        };
        if login.is_empty() {
            return Err(BasicError::Invalid("the name is empty"));
        }
        if login.chars().any(char::is_control) || password.chars().any(char::is_control) {
            return Err(BasicError::Invalid("it has control characters in it"));
        }
        Ok(Some(Self { login: login.to_owned(), password: Password::from(password.to_owned()) }))
    }
}

impl From<BasicCredentials> for Credentials {
    fn from(basic: BasicCredentials) -> Self {
        Self { password: basic.password, ..Self::password(basic.login, "") }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for BasicCredentials {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Ok(Self::find(&parts.headers)?.ok_or(BasicError::Missing)?)
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for BasicCredentials {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Rejection> {
        Ok(Self::find(&parts.headers)?)
    }
}

impl fmt::Debug for BasicCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BasicCredentials(..)")
    }
}

/// The reason why there are no credentials. The error never contains what the client sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BasicError {
    /// The request has no such header.
    #[error("send a name and a password in an Authorization: Basic header")]
    Missing,
    /// The header is malformed.
    #[error("the Authorization header is not valid Basic authentication: {0}")]
    Invalid(&'static str),
}

problem! {
    BasicError {
        Self::Missing => UNAUTHORIZED, "basic_authorization_required";
        Self::Invalid(_) => BAD_REQUEST, "invalid_basic_authorization";
    }
    passes on {  }
    challenge {
        Self::Missing => "Basic realm=\"sign-in\", charset=\"UTF-8\"".to_owned(),
    }
}
