//! `POST /verification`, `POST /verification/confirm`.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde::Deserialize;

use super::{Confirmation, Confirmed};
use crate::base::client::ClientInfo;
use crate::base::problem::Rejection;
use crate::guard::description::{RouteBody, RouteCaller};
use crate::guard::extract::Before;
use crate::handle::Portcullis;
use crate::identity::resolution::Resolved;
use crate::password::Password;
use crate::route::{self, JsonOrForm, OptionalBody, RouteError, mount, row, signed_in};
use crate::session::Transport;

/// The routes of verification.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    mount(
        auth,
        "verification",
        [
            row(Method::POST, "/verification", send)
                .takes(RouteBody::OptionalJsonOrForm)
                .keeps(&["email"])
                .answers(&[StatusCode::ACCEPTED])
                .refuses(&["already_verified", "invalid_fields"])
                // Without an address in the body, it is for accounts that are signed in.
                .refuses(&RouteCaller::SignedIn.errors()),
            row(Method::POST, "/verification/confirm", confirm)
                .takes(RouteBody::JsonOrForm)
                .keeps(&["email"])
                .refuses(&[
                    "already_verified",
                    "bearer_not_enabled",
                    "invalid_fields",
                    "multiple_credentials",
                    "not_signed_in",
                    "session_ended",
                    "session_limit",
                    "too_many_attempts",
                    "wrong_code",
                    "wrong_password",
                ]),
        ],
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendBody {
    email: Option<String>,
}

async fn send(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    before: Before,
    OptionalBody(body): OptionalBody<SendBody>,
) -> Result<Response, Rejection> {
    let flow = auth.verification();
    match (body.and_then(|body| body.email), before.resolved()) {
        (Some(email), _) => flow.send(&email, &client).await?,
        (None, Some(Resolved::Full(identity))) => flow.send_own(identity).await?,
        (None, Some(other)) => return Err(other.no_session().into()),
        (None, None) => return Err(missing("email")),
    }
    let body = serde_json::json!({ "result": "sent_if_needed" });
    Ok((StatusCode::ACCEPTED, route::json(&body)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmBody {
    token: Option<String>,
    email: Option<String>,
    code: Option<String>,
    password: Option<Password>,
    #[serde(default)]
    transport: Transport,
}

async fn confirm(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    extensions: http::Extensions,
    JsonOrForm(body): JsonOrForm<ConfirmBody>,
) -> Result<Response, Rejection> {
    route::check_transport(&auth, body.transport)?;
    let confirmation = match (body.token, body.email, body.code) {
        (Some(token), None, None) => Confirmation::token(token),
        (None, Some(email), Some(code)) => Confirmation::code(email, code),
        (None, None, Some(code)) => Confirmation::own_code(code),
        _ => return Err(missing("token, or code, or email and code")),
    };
    let confirmation = Confirmation { password: body.password, ..confirmation };
    let confirmation = confirmation.transport(body.transport);
    let flow = auth.verification().replacing(&extensions).await?;
    Ok(match flow.confirm(confirmation, &client).await? {
        Confirmed::Verified(verified) => {
            let mut body = serde_json::json!({ "result": "verified" });
            if verified.username_taken {
                body["username_taken"] = true.into();
            }
            (StatusCode::OK, route::json(&body)).into_response()
        }
        Confirmed::PasswordRequired(issued) => signed_in(StatusCode::OK, *issued),
    })
}

fn missing(fields: &str) -> Rejection {
    RouteError::InvalidBody(format!("missing field: {fields}")).into()
}
