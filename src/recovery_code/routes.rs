//! `GET /recovery-codes`, `POST /recovery-codes`.

use axum::extract::State;
use axum::response::Response;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::base::client::ClientInfo;
use crate::base::problem::Rejection;
use crate::flow::enrolling::FactorOwner;
use crate::guard::description::{RouteBody, RouteCaller};
use crate::handle::Portcullis;
use crate::identity::{AccountOwner, owner};
use crate::route::{self, Json, Row, row, signed_in_with};
use crate::session::Stage;

/// The rows of recovery codes. The routes of [`second_factor`](crate::second_factor) include them.
pub(crate) fn rows() -> Vec<Row> {
    let owner = RouteCaller::owner::<owner::Factors>();
    vec![
        row(Method::GET, "/recovery-codes", left).by(owner),
        // No form: the redirect that answers one would lose the codes.
        row(Method::POST, "/recovery-codes", generate)
            .by(RouteCaller::owner_or::<owner::Factors>(Stage::MustEnrol))
            .takes(RouteBody::Json)
            .answers(&[StatusCode::CREATED])
            .refuses(&[
                "address_not_proved",
                "factor_too_weak",
                "insufficient_user_authentication",
                "no_other_factor",
                "session_limit",
            ]),
    ]
}

async fn left(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Factors>,
) -> Result<Response, Rejection> {
    let left = auth.recovery_codes().left(&owner).await?;
    Ok(route::json(&json!({ "left": left })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerateBody {}

async fn generate(
    State(auth): State<Portcullis>,
    owner: FactorOwner,
    client: ClientInfo,
    Json(GenerateBody {}): Json<GenerateBody>,
) -> Result<Response, Rejection> {
    let new = auth.recovery_codes().generate(&owner, &client).await?;
    let codes = json!({ "codes": new.codes() });
    Ok(signed_in_with(StatusCode::CREATED, new.into_issued(), codes))
}
