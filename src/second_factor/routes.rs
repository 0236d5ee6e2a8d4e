//! `GET /second-factor`, `POST /second-factor/challenge`, `POST /second-factor/verify`,
//! `POST /reauthenticate/challenge`, and the routes of authenticators, recovery codes and sent codes.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{FactorChallenge, FactorCode};
use crate::base::client::ClientInfo;
use crate::base::problem::Rejection;
use crate::flow::enrolling::Entitled;
use crate::guard::description::{RouteBody, RouteCaller};
use crate::handle::Portcullis;
use crate::route::{self, JsonOrForm, RouteError, mount, row, signed_in_with};
use crate::sent_code::{self, CodeChannel, CodeHolder};
use crate::session::{PendingSession, Stage};
use crate::{recovery_code, totp, trusted_device};

/// The routes of second factors: the second step of a sign-in, authenticators, recovery codes, codes
/// that are sent, and trusted devices. They are not part of [`Portcullis::routes`]: mount them when your pages ask for the second step.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    let pending = RouteCaller::Stage(Stage::PendingSecondFactor);
    let mut rows = vec![
        row(Method::GET, "/second-factor", methods).by(pending),
        row(Method::POST, "/second-factor/challenge", challenge)
            .by(pending)
            .takes(RouteBody::JsonOrForm)
            .answers(&[StatusCode::ACCEPTED])
            .refuses(&[
                "address_not_proved",
                "external_factor_unavailable",
                "factor_not_enrolled",
                "factor_used_already",
                "mailed_code_after_reset",
                "no_address",
                "passkeys_not_configured",
                "too_soon",
            ]),
        row(Method::POST, "/reauthenticate/challenge", challenge_again)
            .by(RouteCaller::SignedInOrStage(Stage::MustEnrol))
            .takes(RouteBody::JsonOrForm)
            .answers(&[StatusCode::ACCEPTED])
            .refuses(&[
                "address_not_proved",
                "external_factor_unavailable",
                "factor_not_enrolled",
                "no_address",
                "passkeys_not_configured",
                "too_soon",
            ]),
        row(Method::POST, "/second-factor/verify", verify)
            .by(pending)
            .takes(RouteBody::JsonOrForm)
            .refuses(&[
                "code_ended",
                "external_factor_unavailable",
                "factor_not_enrolled",
                "factor_used_already",
                "mailed_code_after_reset",
                "passkey_copied",
                "passkey_not_accepted",
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

/// The names of the methods that need a challenge.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ChallengeMethod {
    MailedCode,
    TextedCode,
    External,
    #[cfg(feature = "passkey")]
    Passkey,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChallengeBody {
    method: ChallengeMethod,
}

async fn challenge(
    State(auth): State<Portcullis>,
    pending: PendingSession,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<ChallengeBody>,
) -> Result<Response, Rejection> {
    start(&auth, CodeHolder::from(&pending), body.method, &client).await
}

async fn challenge_again(
    State(auth): State<Portcullis>,
    entitled: Entitled,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<ChallengeBody>,
) -> Result<Response, Rejection> {
    let holder = match &entitled {
        Entitled::SignedIn(identity) => CodeHolder::from(identity),
        Entitled::Enrolling(session) => CodeHolder::from(session),
    };
    start(&auth, holder, body.method, &client).await
}

async fn start(
    auth: &Portcullis,
    holder: CodeHolder<'_>,
    method: ChallengeMethod,
    client: &ClientInfo,
) -> Result<Response, Rejection> {
    let channel = match method {
        ChallengeMethod::MailedCode => CodeChannel::Mail,
        ChallengeMethod::TextedCode => CodeChannel::TextMessage,
        #[cfg(feature = "passkey")]
        ChallengeMethod::Passkey => {
            let started = auth.second_factor().challenge_passkey(holder, client).await?;
            return Ok(accepted(
                &json!({ "options": started.options, "expires_at": started.expires_at }),
            ));
        }
        ChallengeMethod::External => {
            let started = auth.second_factor().challenge_external(holder, client).await?;
            return Ok(accepted(&match started {
                Some(FactorChallenge { shown, expires_at }) => {
                    json!({ "challenge": shown, "expires_at": expires_at })
                }
                None => json!({ "challenge": null }),
            }));
        }
    };
    let sent = auth.sent_codes().send(holder, channel, client).await?;
    Ok(accepted(&json!({ "target": sent.target, "expires_at": sent.expires_at })))
}

fn accepted(body: &Value) -> Response {
    (StatusCode::ACCEPTED, route::json(body)).into_response()
}

/// The names of the methods that are checked here.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MethodName {
    Totp,
    RecoveryCode,
    MailedCode,
    TextedCode,
    External,
    #[cfg(feature = "passkey")]
    Passkey,
}

/// What a browser returned for a passkey.
#[cfg(feature = "passkey")]
pub(crate) type CredentialBody = crate::passkey::AuthenticationResponse;

/// Nothing is accepted in its place.
#[cfg(not(feature = "passkey"))]
#[derive(Deserialize)]
pub(crate) enum CredentialBody {}

/// What proves a second factor in the body of a request. The method says which check is made. Without it, the form
/// of the code decides.
pub(crate) fn code_in(
    method: Option<MethodName>,
    code: Option<String>,
    credential: Option<CredentialBody>,
) -> Result<FactorCode, Rejection> {
    let code = match (code, credential) {
        (Some(code), None) => code,
        #[cfg(feature = "passkey")]
        (None, Some(credential)) if matches!(method, None | Some(MethodName::Passkey)) => {
            return Ok(FactorCode::passkey(credential));
        }
        _ => return Err(RouteError::InvalidBody("missing field: code".to_owned()).into()),
    };
    Ok(match method {
        Some(MethodName::Totp) => FactorCode::totp(code),
        Some(MethodName::RecoveryCode) => FactorCode::recovery_code(code),
        Some(MethodName::MailedCode) => FactorCode::sent(CodeChannel::Mail, code),
        Some(MethodName::TextedCode) => FactorCode::sent(CodeChannel::TextMessage, code),
        Some(MethodName::External) => FactorCode::external(code),
        #[cfg(feature = "passkey")]
        Some(MethodName::Passkey) => {
            let missing = "missing field: credential".to_owned();
            return Err(RouteError::InvalidBody(missing).into());
        }
        None => FactorCode::any(code),
    })
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
    code: Option<String>,
    credential: Option<CredentialBody>,
    #[serde(default)]
    trust_device: bool,
}

async fn verify(
    State(auth): State<Portcullis>,
    pending: PendingSession,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<VerifyBody>,
) -> Result<Response, Rejection> {
    let code = code_in(body.method, body.code, body.credential)?;
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
