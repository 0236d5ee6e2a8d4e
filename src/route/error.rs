//! Why a mounted route could not answer a request.

use crate::base::problem::problem;

/// The maximum size of a body.
pub(super) const MAX_BODY_BYTES: usize = 16 * 1024;

/// Why a mounted route could not read or answer a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RouteError {
    /// 415.
    #[error("send {0}")]
    UnsupportedMediaType(&'static str),
    /// 413.
    #[error("the body may have at most {MAX_BODY_BYTES} bytes")]
    TooLarge,
    /// 400.
    #[error("{0}")]
    InvalidBody(String),
    /// 400.
    #[error("renewing tokens is switched off; sign in again after the token expires")]
    RefreshOff,
    /// 405.
    #[error("this path does not take this method")]
    MethodNotAllowed,
    /// 500.
    #[error("an internal error occurred")]
    Internal,
}

problem! {
    RouteError {
        Self::UnsupportedMediaType(_) => UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type";
        Self::TooLarge => PAYLOAD_TOO_LARGE, "body_too_large";
        Self::InvalidBody(_) => BAD_REQUEST, "invalid_body";
        Self::RefreshOff => BAD_REQUEST, "refresh_not_enabled";
        Self::MethodNotAllowed => METHOD_NOT_ALLOWED, "method_not_allowed";
        Self::Internal => INTERNAL_SERVER_ERROR, "internal_error";
    }
    passes on {  }
}
