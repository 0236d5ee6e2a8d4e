//! `POST /login/mail`, `POST /login/mail/confirm`.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;

use super::{Confirmation, Confirmed, MailLogin};
use crate::base::client::ClientInfo;
use crate::base::problem::Rejection;
use crate::guard::description::RouteBody;
use crate::handle::Portcullis;
use crate::route::{self, FormResult, JsonOrForm, RouteError, mount, row, signed_in};
use crate::session::Transport;

/// The routes of the sign-in by mail.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    if auth.context().notifier.is_none() {
        auth.report_finding(
            "mail_login_without_notifier",
            "the routes of the sign-in by mail are mounted, but there is no notifier to send the mail",
        );
    }
    mount(
        auth,
        "mail_login",
        [
            row(Method::POST, "/login/mail", ask)
                .takes(RouteBody::JsonOrForm)
                .keeps(&["login"])
                .answers(&[StatusCode::ACCEPTED])
                .refuses(&["bearer_not_enabled", "too_many_attempts"]),
            row(Method::POST, "/login/mail/confirm", confirm).takes(RouteBody::JsonOrForm).refuses(
                &[
                    "bearer_not_enabled",
                    "link_used",
                    "multiple_credentials",
                    "session_ended",
                    "session_limit",
                    "too_many_attempts",
                    "wrong_code",
                ],
            ),
        ],
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskBody {
    login: String,
    browser_token: Option<String>,
    #[serde(default)]
    transport: Transport,
}

async fn ask(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    headers: HeaderMap,
    JsonOrForm(body): JsonOrForm<AskBody>,
) -> Result<Response, Rejection> {
    route::check_transport(&auth, body.transport)?;
    let flow = in_browser(auth.mail_login(), &headers, body.browser_token.as_deref());
    let asking = flow.ask(&body.login, &client).await?;
    let mut answer = serde_json::json!({ "result": "accepted" });
    let mut response = match body.transport {
        Transport::Bearer => {
            answer["browser_token"] = asking.token().into();
            (StatusCode::ACCEPTED, route::json(&answer)).into_response()
        }
        Transport::Cookie => (StatusCode::ACCEPTED, asking, route::json(&answer)).into_response(),
    };
    response.extensions_mut().insert(FormResult("mail_sent"));
    Ok(response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmBody {
    token: Option<String>,
    code: Option<String>,
    browser_token: Option<String>,
    remember: Option<bool>,
    #[serde(default)]
    transport: Transport,
}

async fn confirm(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    extensions: http::Extensions,
    headers: HeaderMap,
    JsonOrForm(body): JsonOrForm<ConfirmBody>,
) -> Result<Response, Rejection> {
    route::check_transport(&auth, body.transport)?;
    let confirmation = match (body.token, body.code) {
        (Some(token), None) => Confirmation::token(token),
        (None, Some(code)) => Confirmation::code(code),
        _ => {
            let missing = "missing field: token or code".to_owned();
            return Err(RouteError::InvalidBody(missing).into());
        }
    };
    let remember = route::remembers(body.remember, &headers);
    let confirmation = confirmation.remember(remember).transport(body.transport);
    let flow = auth.mail_login().replacing(&extensions).await?;
    let flow = in_browser(flow, &headers, body.browser_token.as_deref());
    Ok(match flow.confirm(confirmation, &client).await? {
        Confirmed::SignedIn(outcome) => signed_in(StatusCode::OK, outcome.into_issued()),
        Confirmed::OtherBrowser(code) => {
            let body = serde_json::json!({ "result": "other_browser", "code": code.as_str() });
            let mut response = (StatusCode::OK, route::json(&body)).into_response();
            response.extensions_mut().insert(FormResult("other_browser"));
            response
        }
    })
}

/// A client without cookies sends its token in the body.
fn in_browser<'a>(flow: MailLogin<'a>, headers: &HeaderMap, token: Option<&str>) -> MailLogin<'a> {
    match token {
        Some(token) => flow.in_browser(token),
        None => flow.with_cookie(headers),
    }
}
