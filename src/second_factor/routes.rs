//! `GET /second-factor`, `POST /second-factor/verify`, and the routes of authenticators and recovery
//! codes.

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
use crate::{recovery_code, totp};

/// The routes of second factors: the second step of a sign-in, authenticators, recovery codes, and codes
/// that are sent. They are not part of [`Portcullis::routes`]: mount them when your pages ask for the second step.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    let pending = RouteCaller::Stage(Stage::PendingSecondFactor);
    let mut rows = vec![
        row(Method::GET, "/second-factor", methods).by(pending),
        row(Method::POST, "/second-factor/verify", verify)
            .by(pending)
            .takes(RouteBody::JsonOrForm)
            .refuses(&[
                "code_ended",
                "factor_used_already",
                "mailed_code_after_reset",
                "session_limit",
                "too_many_attempts",
                "wrong_code",
            ]),
    ];
    if auth.context().notifier.is_some() {
        rows.push(
            row(Method::POST, "/second-factor/undo", undo)
                .takes(RouteBody::JsonOrForm)
                .answers(&[StatusCode::NO_CONTENT])
                .refuses(&["link_used", "wrong_code"]),
        );
    }
    rows.extend(totp::rows());
    rows.extend(recovery_code::rows());
    rows.extend(sent_code::rows());
    mount(auth, "second_factor", rows)
}

async fn methods(pending: PendingSession) -> Response {
    route::json(&json!({
        "methods": route::methods(&pending),
        "expires_at": pending.expires_at(),
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
struct TokenBody {
    token: String,
}

async fn undo(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<TokenBody>,
) -> Result<StatusCode, Rejection> {
    auth.second_factor().undo(&body.token, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyBody {
    method: Option<MethodName>,
    code: String,
}

async fn verify(
    State(auth): State<Portcullis>,
    pending: PendingSession,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<VerifyBody>,
) -> Result<Response, Rejection> {
    let code = code_in(body.method, body.code);
    let verified = auth.second_factor().verify(&pending, code, &client).await?;
    let members = left(verified.recovery_codes_left);
    Ok(signed_in_with(StatusCode::OK, verified.outcome.into_issued(), members))
}
