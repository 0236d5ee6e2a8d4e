//! `GET /totp`, `POST /totp`, `POST /totp/confirm`, `DELETE /totp/{id}`, and the last as a `POST` for
//! forms.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::TotpError;
use crate::base::client::ClientInfo;
use crate::base::id::TotpId;
use crate::base::problem::Rejection;
use crate::flow::enrolling::FactorOwner;
use crate::guard::description::{RouteBody, RouteCaller};
use crate::handle::Portcullis;
use crate::identity::{AccountOwner, owner};
use crate::route::{self, Json, JsonOrForm, Row, row, signed_in};
use crate::session::Stage;

/// The rows of authenticators. The routes of [`second_factor`](crate::second_factor) include them.
pub(crate) fn rows() -> Vec<Row> {
    let owner = RouteCaller::owner::<owner::Factors>();
    let enrolling = RouteCaller::owner_or::<owner::Factors>(Stage::MustEnrol);
    let remove = |row: Row| {
        row.by(owner).refuses(&[
            "authenticator_not_found",
            "factor_required",
            "insufficient_user_authentication",
        ])
    };
    vec![
        row(Method::GET, "/totp", list).by(owner),
        // No form: the redirect that answers one would lose the seed.
        row(Method::POST, "/totp", start)
            .by(enrolling)
            .takes(RouteBody::Json)
            .answers(&[StatusCode::CREATED])
            .refuses(&[
                "address_not_proved",
                "insufficient_user_authentication",
                "invalid_fields",
                "too_many_authenticators",
            ]),
        row(Method::POST, "/totp/confirm", confirm)
            .by(enrolling)
            .takes(RouteBody::JsonOrForm)
            .keeps(&["id"])
            .refuses(&[
                "address_not_proved",
                "authenticator_not_found",
                "factor_too_weak",
                "insufficient_user_authentication",
                "session_limit",
                "too_many_authenticators",
                "wrong_code",
            ]),
        remove(row(Method::DELETE, "/totp/{id}", remove_one)),
        remove(row(Method::POST, "/totp/{id}/remove", remove_one)),
    ]
}

async fn list(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Factors>,
) -> Result<Response, Rejection> {
    let authenticators = auth.totp().list(&owner).await?;
    let listed: Vec<Value> = authenticators
        .iter()
        .map(|one| {
            json!({
                "id": one.id,
                "name": one.name,
                "confirmed_at": one.confirmed_at,
                "last_used_at": one.last_used_at,
            })
        })
        .collect();
    Ok(route::json(&json!({ "authenticators": listed })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StartBody {
    name: String,
    #[cfg(feature = "qr")]
    #[serde(default)]
    qr: bool,
}

async fn start(
    State(auth): State<Portcullis>,
    owner: FactorOwner,
    client: ClientInfo,
    Json(body): Json<StartBody>,
) -> Result<Response, Rejection> {
    let new = auth.totp().start(&owner, &body.name, &client).await?;
    #[cfg_attr(not(feature = "qr"), expect(unused_mut, reason = "the feature adds a member"))]
    let mut answer = json!({
        "id": new.id(),
        "secret": new.secret(),
        "uri": new.uri(),
        "expires_at": new.expires_at(),
    });
    #[cfg(feature = "qr")]
    if body.qr {
        answer["qr_svg"] = new.qr_svg().into();
    }
    Ok((StatusCode::CREATED, route::json(&answer)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmBody {
    id: String,
    code: String,
}

async fn confirm(
    State(auth): State<Portcullis>,
    owner: FactorOwner,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<ConfirmBody>,
) -> Result<Response, Rejection> {
    let id: TotpId = body.id.parse().map_err(|_| TotpError::NotFound)?;
    Ok(signed_in(StatusCode::OK, auth.totp().confirm(&owner, id, &body.code, &client).await?))
}

async fn remove_one(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Factors>,
    client: ClientInfo,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Rejection> {
    let id = id.ok().and_then(|Path(id)| id.parse().ok()).ok_or(TotpError::NotFound)?;
    Ok(signed_in(StatusCode::OK, auth.totp().remove(&owner, id, &client).await?))
}
