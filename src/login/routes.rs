//! `POST /login`, `POST /logout`, `POST /reauthenticate`, `GET /methods`.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;

use super::Credentials;
use super::basic::BasicCredentials;
use crate::base::client::ClientInfo;
use crate::base::problem::Rejection;
use crate::captcha::CaptchaResponse;
use crate::flow::enrolling::Entitled;
use crate::guard::description::{RouteBody, RouteCaller};
use crate::guard::extract::Handle;
use crate::handle::Portcullis;
use crate::password::Password;
use crate::route::{
    self, JsonOrForm, OptionalBody, RouteError, mount, row, signed_in, signed_in_with,
};
use crate::second_factor::{self, CredentialBody, MethodName};
use crate::session::{Stage, Transport};

/// The routes of signing in and out.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    mount(
        auth,
        "login",
        [
            row(Method::GET, "/methods", methods),
            row(Method::POST, "/login", login)
                .takes(RouteBody::OptionalJsonOrForm)
                .keeps(&["login", "remember"])
                .refuses(&[
                    "bearer_not_enabled",
                    "captcha_required",
                    "captcha_unavailable",
                    "invalid_basic_authorization",
                    "invalid_credentials",
                    "multiple_credentials",
                    "session_ended",
                    "session_limit",
                    "too_many_attempts",
                    "wrong_captcha",
                ]),
            row(Method::POST, "/logout", logout).answers(&[StatusCode::NO_CONTENT]).refuses(&[
                "invalid_dpop_proof",
                "invalid_token",
                "multiple_credentials",
                "session_required",
                "use_dpop_nonce",
            ]),
            row(Method::POST, "/reauthenticate", reauthenticate)
                .by(RouteCaller::SignedInOrStage(Stage::MustEnrol))
                .takes(RouteBody::JsonOrForm)
                .refuses(&[
                    "code_ended",
                    "external_factor_unavailable",
                    "factor_not_enrolled",
                    "factor_used_already",
                    "passkey_copied",
                    "passkey_not_accepted",
                    "too_many_attempts",
                    "wrong_code",
                    "wrong_password",
                ]),
        ],
    )
}

async fn methods(State(auth): State<Portcullis>) -> Response {
    let mut methods: Vec<&str> =
        [("login", "password"), ("mail_login", "mail"), ("passkey", "passkey")]
            .into_iter()
            .filter(|(c, _)| auth.is_mounted(c))
            .map(|(_, m)| m)
            .collect();
    let providers = auth.context().config.federation.providers.iter();
    let providers: Vec<_> = providers
        .filter(|provider| auth.is_mounted("federation") && provider.is_offered())
        .map(|provider| {
            serde_json::json!({
                "name": provider.name(),
                "label": provider.shown_as(),
                "registration": provider.registration(),
            })
        })
        .collect();
    if !providers.is_empty() {
        methods.push("provider");
    }
    let registration = if auth.is_mounted("registration") {
        auth.context().config.login.registration.as_str()
    } else {
        "closed"
    };
    route::json(&serde_json::json!({
        "methods": methods,
        "count": methods.len(),
        "registration": registration,
        "providers": providers,
    }))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginBody {
    login: Option<String>,
    password: Option<Password>,
    remember: Option<bool>,
    #[serde(default)]
    transport: Transport,
    #[serde(alias = "altcha", alias = "cf-turnstile-response", alias = "h-captcha-response")]
    captcha: Option<String>,
    captcha_id: Option<String>,
}

async fn login(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    extensions: http::Extensions,
    headers: HeaderMap,
    OptionalBody(body): OptionalBody<LoginBody>,
) -> Result<Response, Rejection> {
    let empty = body.is_none();
    let LoginBody { login, password, remember, transport, captcha, captcha_id } =
        body.unwrap_or_default();
    let (login, password) = match (login, password) {
        (Some(login), Some(password)) => (login, password),
        // Names in the body win: a browser sends what a proxy's own prompt was told to everywhere. So
        // a header is looked at only where the body names nobody.
        (None, None) => match BasicCredentials::find(&headers)? {
            Some(basic) => (basic.login, basic.password),
            None if empty && !headers.contains_key(CONTENT_TYPE) => {
                return Err(RouteError::UnsupportedMediaType("application/json").into());
            }
            None => return Err(missing("login and password")),
        },
        (Some(_), None) => return Err(missing("password")),
        (None, Some(_)) => return Err(missing("login")),
    };
    route::check_transport(&auth, transport)?;
    let captcha = CaptchaResponse::given(captcha, captcha_id);
    let remember = route::remembers(remember, &headers);
    let credentials = Credentials { login, password, remember, transport, captcha };
    let outcome =
        auth.login().replacing(&extensions).await?.with_password(credentials, &client).await?;
    Ok(signed_in(StatusCode::OK, outcome.into_issued()))
}

fn missing(fields: &str) -> Rejection {
    RouteError::InvalidBody(format!("missing field: {fields}")).into()
}

async fn logout(Handle(request_identity): Handle) -> Result<Response, Rejection> {
    let signed_out = request_identity.log_out().await?;
    Ok((signed_out, StatusCode::NO_CONTENT).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReauthenticateBody {
    password: Option<Password>,
    code: Option<String>,
    credential: Option<CredentialBody>,
    method: Option<MethodName>,
}

async fn reauthenticate(
    State(auth): State<Portcullis>,
    entitled: Entitled,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<ReauthenticateBody>,
) -> Result<Response, Rejection> {
    let identity = match entitled {
        Entitled::SignedIn(identity) => identity,
        // It proves the mailbox with a code. To prove a password again, the user signs in again.
        Entitled::Enrolling(session) => {
            if body.password.is_some() {
                return Err(missing("code"));
            }
            let code = second_factor::code_in(body.method, body.code, body.credential)?;
            let flow = auth.second_factor();
            let stepped_up = flow.prove_enrolling(&session, code, &client).await?;
            let mut members = second_factor::left(stepped_up.recovery_codes_left);
            members["result"] = Stage::MustEnrol.as_str().into();
            return Ok(signed_in_with(StatusCode::OK, stepped_up.issued, members));
        }
    };
    let proof = body.code.is_some() || body.credential.is_some();
    match (body.password, proof) {
        (Some(password), false) if body.method.is_none() => {
            let login = auth.login();
            let issued = login.reauthenticate(&identity, password.as_str(), &client).await?;
            Ok(signed_in(StatusCode::OK, issued))
        }
        (None, true) => {
            let code = second_factor::code_in(body.method, body.code, body.credential)?;
            let stepped_up = auth.second_factor().step_up(&identity, code, &client).await?;
            let left = second_factor::left(stepped_up.recovery_codes_left);
            Ok(signed_in_with(StatusCode::OK, stepped_up.issued, left))
        }
        _ => Err(missing("password or code")),
    }
}
