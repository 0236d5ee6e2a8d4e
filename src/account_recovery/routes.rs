//! `GET /account/recovery`, and the routes that object to a recovery and finish it.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::recovery::AccountRecovery;
use crate::base::client::ClientInfo;
use crate::base::problem::Rejection;
use crate::guard::description::{RouteBody, RouteCaller};
use crate::handle::Portcullis;
use crate::identity::{AccountOwner, owner};
use crate::password::Password;
use crate::route::{self, JsonOrForm, mount, row};

/// The routes of owners. They are not part of [`Portcullis::routes`]: mount them if your administrators
/// recover accounts. Administrators use your own handlers.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    let owner = RouteCaller::owner::<owner::Factors>();
    mount(
        auth,
        "account_recovery",
        [
            row(Method::GET, "/account/recovery", list).by(owner),
            row(Method::POST, "/account/recovery/reject", reject)
                .by(owner)
                .answers(&[StatusCode::NO_CONTENT])
                .refuses(&["recovery_not_found"]),
            row(Method::POST, "/account/recovery/object", object)
                .takes(RouteBody::JsonOrForm)
                .answers(&[StatusCode::NO_CONTENT])
                .refuses(&["link_used", "wrong_code"]),
            row(Method::POST, "/account/recovery/finish", finish)
                .takes(RouteBody::JsonOrForm)
                .answers(&[StatusCode::NO_CONTENT])
                .refuses(&["email_taken", "invalid_fields", "link_used", "wrong_code"]),
        ],
    )
}

async fn list(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Factors>,
) -> Result<Response, Rejection> {
    let recoveries = auth.account_recovery().own(&owner).await?;
    let recoveries: Vec<_> = recoveries.iter().map(shown).collect();
    Ok(route::json(&json!({ "recoveries": recoveries })))
}

/// What the owner sees: not who the administrator is, nor what they noted.
fn shown(recovery: &AccountRecovery) -> serde_json::Value {
    json!({
        "id": recovery.id,
        "state": recovery.state.as_str(),
        "new_address": recovery.email.is_some(),
        "opened_at": recovery.opened_at,
        "ready_at": recovery.ready_at,
        "expires_at": recovery.expires_at,
        "ended_at": recovery.ended_at,
    })
}

async fn reject(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Factors>,
    client: ClientInfo,
) -> Result<StatusCode, Rejection> {
    auth.account_recovery().object_in_session(&owner, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenBody {
    token: String,
}

async fn object(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<TokenBody>,
) -> Result<StatusCode, Rejection> {
    auth.account_recovery().object(&body.token, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FinishBody {
    token: String,
    password: Password,
}

async fn finish(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<FinishBody>,
) -> Result<StatusCode, Rejection> {
    auth.account_recovery().finish(&body.token, body.password.as_str(), &client).await?;
    Ok(StatusCode::NO_CONTENT)
}
