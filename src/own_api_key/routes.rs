//! `GET /api-keys`, `POST /api-keys`, `PUT /api-keys/{id}/scopes`, `POST /api-keys/{id}/rotate`,
//! `DELETE /api-keys/{id}`, and the last as a `POST` for forms.

use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiKeyError, IssuedApiKey, NewApiKey};
use crate::api_key::ApiKey;
use crate::base::client::ClientInfo;
use crate::base::id::ApiKeyId;
use crate::base::problem::Rejection;
use crate::guard::description::{RouteBody, RouteCaller};
use crate::handle::Portcullis;
use crate::identity::{AccountOwner, owner};
use crate::route::{self, Json, mount, row};

/// Mounts the routes of API keys. They are not part of [`Portcullis::routes`].
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    let owner = RouteCaller::owner::<owner::ApiKeys>();
    const STEP_UP: &str = "insufficient_user_authentication";
    let rows = [
        row(Method::GET, "/api-keys", list).by(owner),
        // No form: the redirect that answers one would lose the key.
        row(Method::POST, "/api-keys", issue)
            .by(owner)
            .takes(RouteBody::Json)
            .answers(&[StatusCode::CREATED])
            .refuses(&[
                "api_key_name_taken",
                "api_keys_off",
                "invalid_fields",
                STEP_UP,
                "too_many_api_keys",
            ]),
        row(Method::PUT, "/api-keys/{id}/scopes", set_scopes)
            .by(owner)
            .takes(RouteBody::Json)
            .answers(&[StatusCode::NO_CONTENT])
            .refuses(&["api_key_not_found", "invalid_fields", STEP_UP]),
        row(Method::POST, "/api-keys/{id}/rotate", rotate)
            .by(owner)
            .takes(RouteBody::Json)
            .answers(&[StatusCode::CREATED])
            .refuses(&["api_key_not_found", "api_keys_off", "denied", "invalid_fields", STEP_UP]),
        row(Method::DELETE, "/api-keys/{id}", revoke)
            .by(owner)
            .answers(&[StatusCode::NO_CONTENT])
            .refuses(&["api_key_not_found"]),
        row(Method::POST, "/api-keys/{id}/revoke", revoke)
            .by(owner)
            .answers(&[StatusCode::NO_CONTENT])
            .refuses(&["api_key_not_found"]),
    ];
    mount(auth, "own_api_key", rows)
}

fn shown(key: &ApiKey) -> Value {
    json!({
        "id": key.id(),
        "first_id": key.first_id(),
        "name": key.name(),
        "hint": key.hint(),
        "scopes": key.scopes().collect::<Vec<_>>(),
        "created_at": key.created_at(),
        "expires_at": key.expires_at(),
        "rotated_at": key.rotated_at(),
        "last_used_at": key.last_used_at(),
        "last_used_from": key.last_used_from(),
    })
}

fn made(issued: &IssuedApiKey) -> Response {
    let mut body = shown(issued.key());
    body["key"] = issued.secret().into();
    (StatusCode::CREATED, route::json(&body)).into_response()
}

async fn list(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::ApiKeys>,
) -> Result<Response, Rejection> {
    let keys = auth.own_api_keys(&owner).list().await?;
    let keys: Vec<Value> = keys.iter().map(shown).collect();
    Ok(route::json(&json!({ "api_keys": keys })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssueBody {
    name: String,
    scopes: Vec<String>,
    lifetime: Option<u64>,
}

async fn issue(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::ApiKeys>,
    client: ClientInfo,
    Json(body): Json<IssueBody>,
) -> Result<Response, Rejection> {
    let mut new = NewApiKey::new(body.name).scopes(body.scopes);
    if let Some(seconds) = body.lifetime {
        new = new.lifetime(Duration::from_secs(seconds));
    }
    Ok(made(&auth.own_api_keys(&owner).issue(new, &client).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopesBody {
    scopes: Vec<String>,
}

type Id = Result<Path<String>, PathRejection>;

fn id_of(id: Id) -> Result<ApiKeyId, ApiKeyError> {
    id.ok().and_then(|Path(id)| id.parse().ok()).ok_or(ApiKeyError::NotFound)
}

async fn set_scopes(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::ApiKeys>,
    client: ClientInfo,
    id: Id,
    Json(body): Json<ScopesBody>,
) -> Result<Response, Rejection> {
    auth.own_api_keys(&owner).set_scopes(id_of(id)?, &body.scopes, &client).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateBody {
    overlap: Option<u64>,
}

async fn rotate(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::ApiKeys>,
    client: ClientInfo,
    id: Id,
    Json(body): Json<RotateBody>,
) -> Result<Response, Rejection> {
    let overlap = body.overlap.unwrap_or_default();
    let keys = auth.own_api_keys(&owner);
    Ok(made(&keys.rotate(id_of(id)?, Duration::from_secs(overlap), &client).await?))
}

async fn revoke(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::ApiKeys>,
    client: ClientInfo,
    id: Id,
) -> Result<Response, Rejection> {
    auth.own_api_keys(&owner).revoke(id_of(id)?, &client).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
