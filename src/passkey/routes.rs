//! The routes of passkeys.

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    AuthenticationResponse, PasskeyError, PasskeyLogin, PasskeyOptions, RegistrationResponse,
};
use crate::base::client::ClientInfo;
use crate::base::id::PasskeyId;
use crate::base::problem::Rejection;
use crate::config::passkey::is_domain;
use crate::flow::enrolling::FactorOwner;
use crate::guard::description::{RouteBody, RouteCaller};
use crate::handle::Portcullis;
use crate::identity::{AccountOwner, owner};
use crate::route::{self, Json, JsonOrForm, Row, mount, row, signed_in_with};
use crate::session::{Stage, Transport};

/// The routes of passkeys. They are not part of [`Portcullis::routes`]: mount them when your pages offer passkeys.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    if !auth.context().config.rp_id().is_some_and(|id| is_domain(&id)) {
        auth.report_finding(
            "passkeys_without_domain",
            "the routes of passkeys are mounted, but service.public_url is not set, or its host is an address; \
             passkeys belong to a domain, such as localhost",
        );
    }
    let owner = RouteCaller::owner::<owner::Factors>();
    let enrolling = RouteCaller::owner_or::<owner::Factors>(Stage::MustEnrol);
    let starts = |row: Row| {
        row.refuses(&[
            "address_not_proved",
            "insufficient_user_authentication",
            "passkeys_not_configured",
            "too_many_passkeys",
        ])
    };
    let remove = |row: Row| {
        row.by(owner).refuses(&[
            "factor_required",
            "insufficient_user_authentication",
            "last_way_in",
            "passkey_not_found",
        ])
    };
    mount(
        auth,
        "passkey",
        [
            row(Method::POST, "/login/passkey/challenge", begin)
                .takes(RouteBody::JsonOrForm)
                .refuses(&["bearer_not_enabled", "passkeys_not_configured"]),
            row(Method::POST, "/login/passkey", sign_in).takes(RouteBody::JsonOrForm).refuses(&[
                "bearer_not_enabled",
                "multiple_credentials",
                "passkey_cannot_sign_in",
                "passkey_challenge_ended",
                "passkey_copied",
                "passkey_not_accepted",
                "passkeys_not_configured",
                "session_ended",
                "session_limit",
                "unknown_credential",
            ]),
            row(Method::GET, "/passkeys", list).by(owner),
            starts(row(Method::POST, "/passkeys/challenge", start).by(enrolling)),
            starts(
                row(Method::POST, "/passkeys/challenge/conditional", start_by_browser).by(owner),
            ),
            row(Method::POST, "/passkeys", add)
                .by(enrolling)
                .takes(RouteBody::JsonOrForm)
                .answers(&[StatusCode::CREATED])
                .refuses(&[
                    "address_not_proved",
                    "insufficient_user_authentication",
                    "invalid_fields",
                    "passkey_already_added",
                    "passkey_challenge_ended",
                    "passkey_not_accepted",
                    "passkeys_not_configured",
                    "session_limit",
                    "too_many_passkeys",
                ]),
            row(Method::PUT, "/passkeys/{id}/name", rename)
                .by(owner)
                .takes(RouteBody::Json)
                .answers(&[StatusCode::NO_CONTENT])
                .refuses(&["invalid_fields", "passkey_not_found"]),
            row(Method::POST, "/passkeys/{id}/name", rename_by_form)
                .by(owner)
                .takes(RouteBody::JsonOrForm)
                .answers(&[StatusCode::NO_CONTENT])
                .refuses(&["invalid_fields", "passkey_not_found"]),
            remove(row(Method::DELETE, "/passkeys/{id}", remove_one)),
            remove(row(Method::POST, "/passkeys/{id}/remove", remove_one)),
        ],
    )
}

/// The routes that browsers and password managers ask for at the root of the host of
/// [`rp_id`](crate::config::PasskeyConfig::rp_id): `GET /.well-known/webauthn`, which lists the
/// [`related_origins`](crate::config::PasskeyConfig::related_origins). Without related origins there is no
/// route. Merge it at the root: `Router::new().merge(passkey::well_known(&auth))`.
pub fn well_known<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    let needed = !auth.context().config.passkey.related_origins.is_empty();
    let rows = [row(Method::GET, "/.well-known/webauthn", related)];
    mount(auth, "passkey_well_known", rows.into_iter().filter(|_| needed))
}

async fn related(State(auth): State<Portcullis>) -> Response {
    let origins = &auth.context().config.passkey.related_origins;
    let public = auth.context().config.public_url().map(|url| url.origin.to_string());
    let origins: Vec<&String> = public.iter().chain(origins).collect();
    route::json(&json!({ "origins": origins }))
}

fn options(answer: &PasskeyOptions) -> Value {
    json!({ "options": answer.options, "expires_at": answer.expires_at })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BeginBody {
    browser_token: Option<String>,
    #[serde(default)]
    transport: Transport,
}

async fn begin(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    headers: HeaderMap,
    JsonOrForm(body): JsonOrForm<BeginBody>,
) -> Result<Response, Rejection> {
    route::check_transport(&auth, body.transport)?;
    let flow =
        in_browser(auth.passkey_login(), &headers, body.transport, body.browser_token.as_deref());
    let (answer, browser) = flow.start(&client).await?;
    let mut answer = options(&answer);
    Ok(match body.transport {
        Transport::Bearer => {
            answer["browser_token"] = browser.token().into();
            route::json(&answer)
        }
        Transport::Cookie => (browser, route::json(&answer)).into_response(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignInBody {
    credential: AuthenticationResponse,
    browser_token: Option<String>,
    remember: Option<bool>,
    #[serde(default)]
    transport: Transport,
}

async fn sign_in(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    extensions: http::Extensions,
    headers: HeaderMap,
    JsonOrForm(body): JsonOrForm<SignInBody>,
) -> Result<Response, Rejection> {
    route::check_transport(&auth, body.transport)?;
    let flow = auth.passkey_login().replacing(&extensions).await?;
    let flow = in_browser(flow, &headers, body.transport, body.browser_token.as_deref())
        .remember(route::remembers(body.remember, &headers))
        .transport(body.transport);
    let signed_in = flow.finish(&body.credential, &client).await?;
    let signals = json!({ "signals": signed_in.signals });
    Ok(signed_in_with(StatusCode::OK, signed_in.outcome.into_issued(), signals))
}

/// A client that keeps its tokens itself sends this one in the body. For all others only the cookie counts, which no
/// other site can set.
fn in_browser<'a>(
    flow: PasskeyLogin<'a>,
    headers: &HeaderMap,
    transport: Transport,
    token: Option<&str>,
) -> PasskeyLogin<'a> {
    match (transport, token) {
        (Transport::Bearer, Some(token)) => flow.in_browser(token),
        (Transport::Bearer, None) => flow,
        (Transport::Cookie, _) => flow.with_cookie(headers),
    }
}

async fn list(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Factors>,
) -> Result<Response, Rejection> {
    let flow = auth.passkeys();
    let passkeys: Vec<Value> = flow
        .list(&owner)
        .await?
        .iter()
        .map(|one| {
            json!({
                "id": one.id,
                "name": one.name,
                "created_at": one.created_at,
                "last_used_at": one.last_used_at,
                "second_factor": one.second_factor,
                "synced": one.synced,
                "aaguid": one.aaguid,
            })
        })
        .collect();
    let signals = flow.signals(&owner).await?;
    Ok(route::json(&json!({ "passkeys": passkeys, "signals": signals })))
}

async fn start(State(auth): State<Portcullis>, owner: FactorOwner) -> Result<Response, Rejection> {
    Ok(route::json(&options(&auth.passkeys().start(&owner).await?)))
}

async fn start_by_browser(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Factors>,
) -> Result<Response, Rejection> {
    Ok(route::json(&options(&auth.passkeys().start_by_browser(&owner).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddBody {
    name: String,
    credential: RegistrationResponse,
}

async fn add(
    State(auth): State<Portcullis>,
    owner: FactorOwner,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<AddBody>,
) -> Result<Response, Rejection> {
    let added = auth.passkeys().add(&owner, &body.name, &body.credential, &client).await?;
    let members = json!({ "id": added.id, "signals": added.signals });
    Ok(match added.issued {
        Some(issued) => signed_in_with(StatusCode::CREATED, issued, members),
        None => (StatusCode::CREATED, route::json(&members)).into_response(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RenameBody {
    name: String,
}

type Id = Result<Path<String>, PathRejection>;

fn parsed(id: Id) -> Result<PasskeyId, PasskeyError> {
    id.ok().and_then(|Path(id)| id.parse().ok()).ok_or(PasskeyError::NotFound)
}

async fn rename(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Factors>,
    client: ClientInfo,
    id: Id,
    Json(body): Json<RenameBody>,
) -> Result<StatusCode, Rejection> {
    auth.passkeys().rename(&owner, parsed(id)?, &body.name, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn rename_by_form(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Factors>,
    client: ClientInfo,
    id: Id,
    JsonOrForm(body): JsonOrForm<RenameBody>,
) -> Result<StatusCode, Rejection> {
    auth.passkeys().rename(&owner, parsed(id)?, &body.name, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_one(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Factors>,
    client: ClientInfo,
    id: Id,
) -> Result<Response, Rejection> {
    let removed = auth.passkeys().remove(&owner, parsed(id)?, &client).await?;
    Ok(signed_in_with(StatusCode::OK, removed.issued, json!({ "signals": removed.signals })))
}
