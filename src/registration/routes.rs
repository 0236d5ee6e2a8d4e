//! `POST /register`.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::Application;
use crate::account::NewAccount;
use crate::base::client::ClientInfo;
use crate::base::problem::Rejection;
use crate::captcha::CaptchaResponse;
use crate::config::Registration as Policy;
use crate::guard::description::RouteBody;
use crate::handle::Portcullis;
use crate::hook::HookList;
use crate::password::Password;
use crate::route::{self, JsonOrForm, RouteError, mount, row, signed_in};
use crate::session::Transport;

/// The routes of registration.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    mount(
        auth,
        "registration",
        [row(Method::POST, "/register", register)
            .takes(RouteBody::JsonOrForm)
            .keeps(&["username", "email", "phone", "remember"])
            .answers(&[StatusCode::CREATED, StatusCode::ACCEPTED])
            .refuses(&[
                "bearer_not_enabled",
                "captcha_required",
                "captcha_unavailable",
                "email_taken",
                "invalid_fields",
                "multiple_credentials",
                "phone_taken",
                "registration_closed",
                "session_ended",
                "username_taken",
                "wrong_captcha",
            ])],
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisterBody {
    username: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    password: Password,
    remember: Option<bool>,
    #[serde(default)]
    transport: Transport,
    /// For the application's hooks.
    profile: Option<Value>,
    #[serde(alias = "altcha", alias = "cf-turnstile-response", alias = "h-captcha-response")]
    captcha: Option<String>,
    captcha_id: Option<String>,
}

async fn register(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    extensions: http::Extensions,
    headers: HeaderMap,
    JsonOrForm(body): JsonOrForm<RegisterBody>,
) -> Result<Response, Rejection> {
    route::check_transport(&auth, body.transport)?;
    if body.profile.is_some() && !auth.per_instance::<HookList>().read_profile() {
        return Err(RouteError::InvalidBody("unknown field `profile`".to_owned()).into());
    }
    // An empty field of a form is one that was left out.
    let given = |field: Option<String>| field.filter(|text| !text.is_empty());
    let account = NewAccount {
        username: given(body.username),
        email: given(body.email),
        phone: given(body.phone),
        ..NewAccount::default()
    };
    let application = Application {
        account,
        password: body.password,
        remember: route::remembers(body.remember, &headers),
        transport: body.transport,
        profile: body.profile.unwrap_or_default(),
        captcha: CaptchaResponse::given(body.captcha, body.captcha_id),
    };
    let registration = auth.registration().replacing(&extensions).await?;
    if auth.context().config.login.registration == Policy::Strict {
        registration.apply(application, &client).await?;
        let body = serde_json::json!({ "result": "verification_required" });
        return Ok((StatusCode::ACCEPTED, route::json(&body)).into_response());
    }
    let registered = registration.register(application, &client).await?;
    Ok(match registered.session {
        Some(issued) => signed_in(StatusCode::CREATED, issued),
        None => {
            let body = serde_json::json!({
                "result": "verification_required",
                "account_id": registered.account.id(),
            });
            (StatusCode::CREATED, route::json(&body)).into_response()
        }
    })
}
