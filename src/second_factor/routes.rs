//! `GET /second-factor`, `POST /second-factor/verify`, and the routes of authenticators, recovery codes,
//! codes that are sent, and trusted devices.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::FactorCode;
use crate::base::client::ClientInfo;
use crate::base::problem::Rejection;
use crate::guard::description::{RouteBody, RouteCaller};
use crate::handle::Portcullis;
use crate::route::{self, JsonOrForm, mount, row, signed_in_with};
use crate::sent_code::{self, CodeChannel};
use crate::session::{PendingSession, Stage};
use crate::{recovery_code, totp, trusted_device};

/// The routes of second factors: the second step of a sign-in, authenticators, recovery codes, codes
/// that are sent, and trusted devices. They are not part of [`Portcullis::routes`]: mount them when your pages ask for the second step.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    let pending = RouteCaller::Stage(Stage::PendingSecondFactor);
    let mut rows = vec![
        row(Method::GET, "/second-factor", methods).by(pending),
        row(Method::POST, "/second-factor/verify", verify)
            .by(pending)
            .takes(RouteBody::JsonOrForm)
            .refuses(&[
                "factor_used_already",
                "mailed_code_after_reset",
                "session_limit",
                "too_many_attempts",
                "wrong_code",
            ]),
    ];
    rows.extend(totp::rows());
    rows.extend(recovery_code::rows());
    rows.extend(sent_code::rows());
    rows.extend(trusted_device::rows());
    mount(auth, "second_factor", rows)
}

async fn methods(pending: PendingSession) -> Response {
    route::json(&json!({
        "methods": route::methods(&pending),
        "expires_at": pending.expires_at(),
        "offers_trust": pending.offers_trust(),
    }))
}

/// The names of the methods that are checked here.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MethodName {
    Totp,
    RecoveryCode,
    MailedCode,
    TextedCode,
}

/// A code in the body of a request. The method says which check is made. Without it, the form of the
/// code decides.
pub(crate) fn code_in(method: Option<MethodName>, code: String) -> FactorCode {
    match method {
        Some(MethodName::Totp) => FactorCode::totp(code),
        Some(MethodName::RecoveryCode) => FactorCode::recovery_code(code),
        Some(MethodName::MailedCode) => FactorCode::sent(CodeChannel::Mail, code),
        Some(MethodName::TextedCode) => FactorCode::sent(CodeChannel::TextMessage, code),
        None => FactorCode::any(code),
    }
}

/// The member of an answer that says how many recovery codes are left.
pub(crate) fn left(recovery_codes: Option<u64>) -> Value {
    match recovery_codes {
        Some(left) => json!({ "recovery_codes_left": left }),
        None => json!({}),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyBody {
    method: Option<MethodName>,
    code: String,
    #[serde(default)]
    trust_device: bool,
}

async fn verify(
    State(auth): State<Portcullis>,
    pending: PendingSession,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<VerifyBody>,
) -> Result<Response, Rejection> {
    let code = code_in(body.method, body.code);
    let flow = auth.second_factor();
    let verified = match body.trust_device {
        true => flow.verify_and_trust(&pending, code, &client).await?,
        false => flow.verify(&pending, code, &client).await?,
    };
    let mut members = left(verified.recovery_codes_left);
    let issued = verified.outcome.into_issued();
    if body.trust_device {
        members["trusted_device"] = issued.trusts_device().into();
    }
    Ok(signed_in_with(StatusCode::OK, issued, members))
}
