//! `POST /password/forgot`, `POST /password/reset/check`, `POST /password/reset`.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;

use crate::base::client::ClientInfo;
use crate::base::problem::Rejection;
use crate::captcha::CaptchaResponse;
use crate::guard::description::RouteBody;
use crate::handle::Portcullis;
use crate::password::Password;
use crate::route::{self, JsonOrForm, mount, row};
use crate::session::Transport;

/// The routes of forgotten passwords.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    if auth.context().notifier.is_none() {
        auth.report_finding(
            "password_reset_without_notifier",
            "the password reset routes are mounted, but there is no notifier to send the link",
        );
    }
    mount(
        auth,
        "password_reset",
        [
            row(Method::POST, "/password/forgot", forgot)
                .takes(RouteBody::JsonOrForm)
                .keeps(&["login"])
                .answers(&[StatusCode::ACCEPTED])
                .refuses(&[
                    "captcha_required",
                    "captcha_unavailable",
                    "too_many_attempts",
                    "wrong_captcha",
                ]),
            row(Method::POST, "/password/reset/check", check)
                .takes(RouteBody::JsonOrForm)
                .answers(&[StatusCode::NO_CONTENT])
                .refuses(&["invalid_reset_token", "reset_token_used", "too_many_attempts"]),
            row(Method::POST, "/password/reset", reset)
                .takes(RouteBody::JsonOrForm)
                .answers(&[StatusCode::OK, StatusCode::NO_CONTENT])
                .refuses(&[
                    "bearer_not_enabled",
                    "invalid_fields",
                    "invalid_reset_token",
                    "reset_token_used",
                    "too_many_attempts",
                ]),
        ],
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForgotBody {
    login: String,
    #[serde(alias = "altcha", alias = "cf-turnstile-response", alias = "h-captcha-response")]
    captcha: Option<String>,
    captcha_id: Option<String>,
}

async fn forgot(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<ForgotBody>,
) -> Result<Response, Rejection> {
    let captcha = CaptchaResponse::given(body.captcha, body.captcha_id);
    auth.password_reset().forgot_with_captcha(&body.login, captcha.as_ref(), &client).await?;
    let body = serde_json::json!({ "result": "accepted" });
    Ok((StatusCode::ACCEPTED, route::json(&body)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckBody {
    token: String,
}

async fn check(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<CheckBody>,
) -> Result<StatusCode, Rejection> {
    auth.password_reset().check(&body.token, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetBody {
    token: String,
    password: Password,
    remember: Option<bool>,
    #[serde(default)]
    transport: Transport,
}

async fn reset(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    headers: HeaderMap,
    JsonOrForm(body): JsonOrForm<ResetBody>,
) -> Result<Response, Rejection> {
    route::check_transport(&auth, body.transport)?;
    let done = auth.password_reset().reset(&body.token, body.password.as_str(), &client).await?;
    let known = done.remember(route::remembers(body.remember, &headers));
    Ok(match (body.transport, known.token()) {
        (Transport::Bearer, Some(token)) => {
            route::json(&serde_json::json!({ "device_token": token }))
        }
        (Transport::Bearer, None) => StatusCode::NO_CONTENT.into_response(),
        _ => (known, StatusCode::NO_CONTENT).into_response(),
    })
}
