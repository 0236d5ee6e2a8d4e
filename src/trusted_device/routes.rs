//! `GET /trusted-devices`, `DELETE /trusted-devices`, `DELETE /trusted-devices/{id}`, and the last two as a
//! `POST` for forms.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::TrustedDeviceError;
use crate::base::client::ClientInfo;
use crate::base::problem::Rejection;
use crate::guard::description::RouteCaller;
use crate::handle::Portcullis;
use crate::identity::{AccountOwner, owner};
use crate::route::{self, Row, row};

/// The rows of trusted devices. The routes of [`second_factor`](crate::second_factor) include them.
pub(crate) fn rows() -> Vec<Row> {
    let owner = RouteCaller::owner::<owner::Factors>();
    let remove = |row: Row| {
        row.by(owner).answers(&[StatusCode::NO_CONTENT]).refuses(&["trusted_device_not_found"])
    };
    vec![
        row(Method::GET, "/trusted-devices", list).by(owner),
        row(Method::DELETE, "/trusted-devices", remove_all).by(owner),
        remove(row(Method::DELETE, "/trusted-devices/{id}", remove_one)),
        row(Method::POST, "/trusted-devices/remove", remove_all).by(owner),
        remove(row(Method::POST, "/trusted-devices/{id}/remove", remove_one)),
    ]
}

async fn list(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Factors>,
    client: ClientInfo,
) -> Result<Response, Rejection> {
    let devices = auth.trusted_devices().list(&owner, &client).await?;
    let listed: Vec<Value> = devices
        .iter()
        .map(|one| {
            json!({
                "id": one.id,
                "current": one.current,
                "created_at": one.created_at,
                "last_used_at": one.last_used_at,
                "expires_at": one.expires_at,
                "address": one.address,
                "user_agent": one.user_agent,
            })
        })
        .collect();
    Ok(route::json(&json!({ "trusted_devices": listed })))
}

async fn remove_one(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Factors>,
    client: ClientInfo,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Rejection> {
    let id = id.ok().and_then(|Path(id)| id.parse().ok()).ok_or(TrustedDeviceError::NotFound)?;
    auth.trusted_devices().remove(&owner, id, &client).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn remove_all(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Factors>,
    client: ClientInfo,
) -> Result<Response, Rejection> {
    let removed = auth.trusted_devices().remove_all(&owner, &client).await?;
    Ok(route::json(&json!({ "removed": removed })))
}
