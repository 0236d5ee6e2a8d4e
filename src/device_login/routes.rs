//! The routes of device logins, and the document that names them to programs.

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{DeviceLoginError, DeviceRequest, DeviceTokenError};
use crate::base::client::ClientInfo;
use crate::base::problem::{Rejection, as_oauth};
use crate::dpop::ALGORITHMS;
use crate::guard::description::{RouteBody, RouteCaller};
use crate::guard::not_found;
use crate::handle::Portcullis;
use crate::identity::AccountOwner;
use crate::identity::owner::Devices;
use crate::permission::Permission;
use crate::route::{self, JsonOrForm, Parameters, Row, mount, row};

/// The only grant type.
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The path of the metadata (RFC 8414, section 3).
const METADATA: &str = "/.well-known/oauth-authorization-server";

/// Returns the routes for devices, and for the people who decide about them.
///
/// # Panics
/// Panics if the ceiling of a client has a text that is no permission.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    for client in &auth.context().config.device_login.clients {
        for text in &client.ceiling {
            assert!(
                Permission::parse(text).is_ok(),
                "`{text}` of `{}` is no permission",
                client.id
            );
        }
    }
    let devices = mount(
        auth,
        "device_login",
        [
            row(Method::POST, "/device", start).takes(RouteBody::Form).refuses(&[
                "invalid_client",
                "invalid_dpop_proof",
                "invalid_request",
                "invalid_scope",
                "multiple_credentials",
                "use_dpop_nonce",
            ]),
            row(Method::POST, "/device/token", poll).takes(RouteBody::Form).refuses(&[
                "access_denied",
                "authorization_pending",
                "bearer_not_enabled",
                "confirmation_required",
                "expired_token",
                "invalid_client",
                "invalid_dpop_proof",
                "invalid_grant",
                "invalid_request",
                "session_limit",
                "slow_down",
                "unsupported_grant_type",
                "use_dpop_nonce",
            ]),
            row(Method::POST, "/device/end", end)
                .takes(RouteBody::Form)
                .answers(&[StatusCode::NO_CONTENT])
                .refuses(&[
                    "invalid_client",
                    "invalid_dpop_proof",
                    "invalid_grant",
                    "invalid_request",
                    "use_dpop_nonce",
                ]),
        ],
    );
    let devices: Router<S> =
        devices.layer(map_response(|response: Response| async { as_oauth(response) }));
    let owner = RouteCaller::owner::<Devices>();
    let decides = |row: Row| {
        row.by(owner).takes(RouteBody::JsonOrForm).refuses(&[
            "device_of_other_account",
            "device_request_decided",
            "device_request_not_found",
            "device_view_outdated",
            "insufficient_user_authentication",
        ])
    };
    let people = mount(
        auth,
        "device_login_people",
        [
            row(Method::GET, "/device/{user_code}", look)
                .by(owner)
                .refuses(&["device_of_other_account", "device_request_not_found"]),
            decides(row(Method::POST, "/device/{user_code}/deny", deny))
                .answers(&[StatusCode::NO_CONTENT]),
            decides(row(Method::POST, "/device/{user_code}/report", report))
                .answers(&[StatusCode::NO_CONTENT]),
            decides(row(Method::POST, "/device/{user_code}/approve", approve)).refuses(&[
                "device_in_same_browser",
                "device_on_other_network",
                "device_scope_refused",
            ]),
        ],
    );
    devices.merge(people)
}

/// Returns the metadata document for programs (RFC 8414), for the root of the host:
/// `Router::new().merge(device_login::well_known(&auth))`. It also answers if the path of the public URL is
/// added to its address, as the standard says. Without a client, there is no route.
pub fn well_known<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    let rows = [
        row(Method::GET, METADATA, metadata),
        row(Method::GET, "/.well-known/oauth-authorization-server/{*path}", metadata_of)
            .refuses(&["route_not_found"]),
    ];
    let needed = !auth.context().config.device_login.clients.is_empty();
    mount(auth, "device_login_well_known", rows.into_iter().filter(|_| needed))
}

fn take(
    parameters: &mut Parameters,
    name: &str,
    missing: &'static str,
) -> Result<String, DeviceTokenError> {
    parameters.take(name).ok_or(DeviceTokenError::InvalidRequest(missing))
}

fn client_id(parameters: &mut Parameters) -> Result<String, DeviceTokenError> {
    if parameters.has_repeated() {
        return Err(DeviceTokenError::InvalidRequest("a parameter was sent twice"));
    }
    take(parameters, "client_id", "client_id is missing")
}

async fn start(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    parts: Parts,
    mut parameters: Parameters,
) -> Result<Response, Rejection> {
    let client_id = client_id(&mut parameters)?;
    let start = auth.device_login().start(client_id).asked_in(&parts.extensions).await?;
    let mut start = start.proved_in(&parts)?;
    if let Some(key) = parameters.take("dpop_jkt") {
        let wrong = "dpop_jkt is the SHA-256 thumbprint of a key in base64url";
        let key = key.parse().map_err(|_| DeviceTokenError::InvalidRequest(wrong))?;
        start = start.dpop_jkt(key);
    }
    if let Some(scope) = parameters.take("scope") {
        start = start.scope(scope);
    }
    if let Some(hint) = parameters.take("login_hint") {
        start = start.login_hint(hint);
    }
    if let Some(name) = parameters.take("device_name") {
        start = start.device_name(name);
    }
    if let Some(message) = parameters.take("message") {
        start = start.message(message);
    }
    let started = start.begin(&client).await?;
    let mut body = json!({
        "device_code": started.device_code(),
        "user_code": started.user_code(),
        "verification_uri": started.verification_uri(),
        "verification_uri_complete": started.verification_uri_complete(),
        "expires_in": started.expires_in().as_secs(),
        "interval": started.interval().as_secs(),
        "phrase": started.phrase(),
    });
    if started.confirms() {
        body["confirmation"] = true.into();
    }
    Ok(route::json(&body))
}

async fn poll(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    parts: Parts,
    mut parameters: Parameters,
) -> Result<Response, Rejection> {
    let client_id = client_id(&mut parameters)?;
    if take(&mut parameters, "grant_type", "grant_type is missing")? != GRANT_TYPE {
        return Err(DeviceTokenError::UnsupportedGrantType.into());
    }
    let device_code = take(&mut parameters, "device_code", "device_code is missing")?;
    let mut poll = auth.device_login().poll(client_id, device_code).proved_in(&parts)?;
    if let Some(digits) = parameters.take("confirmation") {
        poll = poll.confirmation(digits);
    }
    let token = poll.send(&client).await?;
    let mut body = json!({
        "access_token": token.token(),
        "token_type": token.token_scheme(),
        "expires_in": token.expires_in().as_secs(),
        "session_id": token.session_id(),
    });
    if let Some(scope) = token.scope() {
        body["scope"] = scope.into();
    }
    Ok(route::json(&body))
}

async fn end(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    parts: Parts,
    mut parameters: Parameters,
) -> Result<Response, Rejection> {
    let client_id = client_id(&mut parameters)?;
    let device_code = take(&mut parameters, "device_code", "device_code is missing")?;
    auth.device_login().poll(client_id, device_code).proved_in(&parts)?.end(&client).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A path that is not valid text is no code.
fn code(path: Result<Path<String>, PathRejection>) -> Result<String, DeviceLoginError> {
    path.map(|Path(code)| code).map_err(|_| DeviceLoginError::NotFound)
}

async fn look(
    State(auth): State<Portcullis>,
    owner: AccountOwner<Devices>,
    client: ClientInfo,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Rejection> {
    let request = auth.device_login().look(&owner, &code(path)?, &client).await?;
    Ok(route::json(&shown(&request)))
}

fn shown(request: &DeviceRequest) -> Value {
    let mut shown = json!({
        "id": request.id,
        "state": request.state.as_str(),
        "client": request.client_name,
        "phrase": request.phrase,
        // What the device says about itself. Nobody has checked it.
        "claimed": { "name": request.claimed_name, "message": request.claimed_message },
        "address": request.address,
        "user_agent": request.user_agent,
        "created_at": request.created_at,
        "expires_at": request.expires_at,
        "permissions": request.permissions,
        "network": {
            "result": request.networks.as_str(),
            "text": request.networks.in_words(),
            "name": request.network_name,
        },
        "confirmation": request.confirms,
    });
    if let Some(at) = request.decided_at {
        shown["decided_at"] = json!(at);
        shown["decided_in"] = json!(request.decided_in);
    }
    if let Some(granted) = &request.granted {
        shown["granted"] = json!(granted);
    }
    if let Some(at) = request.redeemed_at {
        shown["redeemed_at"] = json!(at);
        shown["session_id"] = json!(request.session_id);
    }
    if let Some(view) = request.view() {
        shown["view"] = view.into();
    }
    shown
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    view: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApproveDecision {
    view: String,
    /// Permissions that are separated by blanks, if they are not all that the device asks for.
    scope: Option<String>,
}

async fn deny(
    State(auth): State<Portcullis>,
    owner: AccountOwner<Devices>,
    client: ClientInfo,
    path: Result<Path<String>, PathRejection>,
    JsonOrForm(Decision { view }): JsonOrForm<Decision>,
) -> Result<StatusCode, Rejection> {
    auth.device_login().deny(&owner, &code(path)?, &view, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn report(
    State(auth): State<Portcullis>,
    owner: AccountOwner<Devices>,
    client: ClientInfo,
    path: Result<Path<String>, PathRejection>,
    JsonOrForm(Decision { view }): JsonOrForm<Decision>,
) -> Result<StatusCode, Rejection> {
    auth.device_login().report(&owner, &code(path)?, &view, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn approve(
    State(auth): State<Portcullis>,
    owner: AccountOwner<Devices>,
    client: ClientInfo,
    path: Result<Path<String>, PathRejection>,
    JsonOrForm(ApproveDecision { view, scope }): JsonOrForm<ApproveDecision>,
) -> Result<Response, Rejection> {
    let named = scope.map(|scope| scope.split(' ').map(str::to_owned).collect::<Vec<_>>());
    let flow = auth.device_login();
    let approved = flow.approve(&owner, &code(path)?, &view, named.as_deref(), &client).await?;
    let mut body = json!({ "result": "approved" });
    if let Some(digits) = approved.digits() {
        body["confirmation"] = digits.into();
    }
    Ok(route::json(&body))
}

async fn metadata(State(auth): State<Portcullis>) -> Response {
    let config = &auth.context().config;
    let url = |path: &str| config.public_path(&format!("{}{path}", config.device_login.routes_at));
    // The issuer of this document is the address at which it is found, whatever tokens say.
    route::json(&json!({
        "issuer": config.public_path(""),
        "device_authorization_endpoint": url("/device"),
        "token_endpoint": url("/device/token"),
        "grant_types_supported": [GRANT_TYPE],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["none"],
        "dpop_signing_alg_values_supported": ALGORITHMS,
    }))
}

/// The path of the public URL, behind the address of the document.
async fn metadata_of(
    state: State<Portcullis>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Rejection> {
    let prefix = state.context().config.public_url().map(|url| url.prefix);
    let named = path.map(|Path(path)| format!("/{path}")).unwrap_or_default();
    match prefix {
        Some(prefix) if prefix.as_str() == named => Ok(metadata(state).await),
        _ => Err(not_found().await),
    }
}
