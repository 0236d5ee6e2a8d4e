//! Errors of device logins: those of the standard for the device, and our own for the person.

use crate::base::problem::{Refusal, problem};
use crate::base::transaction::{Fault, may_fault};
use crate::dpop::DpopError;
use crate::identity::AuthError;
use crate::rate_limit::RateLimited;
use crate::session::{SessionError, from_session};

/// The answer to a device that gets nothing, or nothing yet (RFC 6749 section 5.2, RFC 8628 section 3.5).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceTokenError {
    /// A parameter is missing, was sent twice, or has a form that is not accepted.
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// There is no such client.
    #[error("this client_id is not known")]
    InvalidClient,
    /// The client may not ask for this.
    #[error("the scope is not a list of permissions that this client may have")]
    InvalidScope,
    /// The code is wrong, of another client, used up or taken back.
    #[error("the device_code is not valid; start again")]
    InvalidGrant,
    /// It is another grant type.
    #[error("the grant_type must be urn:ietf:params:oauth:grant-type:device_code")]
    UnsupportedGrantType,
    /// Nobody has decided yet. Ask again.
    #[error("nobody has approved it yet")]
    AuthorizationPending,
    /// The device asks too often. From now on, it must wait five seconds longer.
    #[error("asked too soon; wait five seconds longer from now on")]
    SlowDown,
    /// It was denied.
    #[error("it was denied")]
    AccessDenied,
    /// Its time is over.
    #[error("the device_code has expired; start again")]
    ExpiredToken,
    /// It is approved, and the device must send the digits that the person reads.
    #[error("send the two digits that the approving person reads, as confirmation")]
    ConfirmationRequired,
    /// The proof of the device's [key](crate::dpop) is missing or refused. The code stays good.
    #[error(transparent)]
    Dpop(#[from] DpopError),
    /// The source starts too many requests.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The account cannot have another session.
    #[error(transparent)]
    Session(SessionError),
    /// A hook of the application refused.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(DeviceTokenError);
from_session!(DeviceTokenError);

problem! {
    DeviceTokenError {
        Self::InvalidRequest(_) => BAD_REQUEST, "invalid_request";
        Self::InvalidClient => BAD_REQUEST, "invalid_client";
        Self::InvalidScope => BAD_REQUEST, "invalid_scope";
        Self::InvalidGrant => BAD_REQUEST, "invalid_grant";
        Self::UnsupportedGrantType => BAD_REQUEST, "unsupported_grant_type";
        Self::AuthorizationPending => BAD_REQUEST, "authorization_pending";
        Self::SlowDown => BAD_REQUEST, "slow_down";
        Self::AccessDenied => BAD_REQUEST, "access_denied";
        Self::ExpiredToken => BAD_REQUEST, "expired_token";
        Self::ConfirmationRequired => BAD_REQUEST, "confirmation_required";
    }
    passes on { Dpop, RateLimited, Session, Refused, Fault }
}

/// Why a person cannot look at the request of a device, or decide about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceLoginError {
    /// There is no request with this code, or another account has decided about it.
    #[error("there is no request with this code; compare it with the code on the device")]
    NotFound,
    /// Somebody has decided, or its time is over. The request shows which.
    #[error("this request can no longer be decided")]
    Decided,
    /// The person has not seen what they decide about, or it has changed since.
    #[error("look at the request again before you decide")]
    ViewOutdated,
    /// The device has asked for another account.
    #[error("this device wants to be signed in to another account")]
    OtherAccount,
    /// The device is the browser of the person.
    #[error("this browser has asked itself; a device login is for another device")]
    SameBrowser,
    /// The device is in another network, and both must be in one.
    #[error("the device is in another network")]
    OtherNetwork,
    /// The device did not ask for all these permissions, or one is no permission.
    #[error("the device did not ask for all these permissions")]
    WiderScope,
    /// Too many wrong codes.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The session may not decide, for example because its factor is too old.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(DeviceLoginError);

problem! {
    DeviceLoginError {
        Self::NotFound => NOT_FOUND, "device_request_not_found";
        Self::Decided => CONFLICT, "device_request_decided";
        Self::ViewOutdated => CONFLICT, "device_view_outdated";
        Self::OtherAccount => FORBIDDEN, "device_of_other_account";
        Self::SameBrowser => FORBIDDEN, "device_in_same_browser";
        Self::OtherNetwork => FORBIDDEN, "device_on_other_network";
        Self::WiderScope => UNPROCESSABLE_ENTITY, "device_scope_refused";
    }
    passes on { RateLimited, Auth, Fault }
}
