//! `GET /login-names`, `POST /login-names`, `/login-names/confirm`, `/login-names/undo`, and
//! `DELETE /login-names/{name}`.

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::LoginNameError;
use crate::account::LoginIdKind;
use crate::base::client::ClientInfo;
use crate::base::problem::Rejection;
use crate::guard::description::{RouteBody, RouteCaller};
use crate::handle::Portcullis;
use crate::identity::{AccountOwner, owner};
use crate::one_time::Proof;
use crate::route::{self, JsonOrForm, RouteError, Row, mount, row, signed_in};

/// The routes of an account's names, where there is a notifier.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    if auth.context().notifier.is_none() {
        return mount(auth, "login_name", []);
    }
    let owner = RouteCaller::owner::<owner::LoginNames>();
    let removes = |row: Row| {
        row.by(owner).refuses(&[
            "insufficient_user_authentication",
            "name_not_found",
            "only_login_name",
            "own_address",
        ])
    };
    mount(
        auth,
        "login_name",
        [
            row(Method::GET, "/login-names", list).by(owner),
            row(Method::POST, "/login-names", add)
                .by(owner)
                .takes(RouteBody::JsonOrForm)
                .keeps(&["username", "email"])
                .answers(&[StatusCode::OK, StatusCode::ACCEPTED])
                .refuses(&[
                    "address_not_proved",
                    "insufficient_user_authentication",
                    "invalid_fields",
                    "too_many_names",
                    "too_soon",
                    "username_taken",
                ]),
            row(Method::POST, "/login-names/confirm", confirm)
                .by(owner)
                .takes(RouteBody::JsonOrForm)
                .refuses(&["link_used", "too_many_attempts", "too_many_names", "wrong_code"]),
            row(Method::POST, "/login-names/undo", undo)
                .takes(RouteBody::JsonOrForm)
                .answers(&[StatusCode::NO_CONTENT])
                .refuses(&["link_used", "only_login_name", "wrong_code"]),
            removes(row(Method::DELETE, "/login-names/{name}", remove)),
            removes(row(Method::DELETE, "/login-names/confirm", remove_confirm)),
            removes(row(Method::DELETE, "/login-names/undo", remove_undo)),
        ],
    )
}

async fn list(
    State(auth): State<Portcullis>,
    identity: AccountOwner<owner::LoginNames>,
) -> Result<Response, Rejection> {
    let names = auth.login_names().list(identity.account()).await?;
    let names: Vec<Value> = names
        .iter()
        .map(|name| {
            json!({
                "name": name.name,
                "kind": match name.kind {
                    LoginIdKind::Username => "username",
                    LoginIdKind::Email => "email",
                    LoginIdKind::Phone => "phone",
                },
                "own": name.own,
                "verified": name.verified_at.is_some(),
                "created_at": name.created_at,
            })
        })
        .collect();
    Ok(route::json(&json!({ "names": names })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NameBody {
    username: Option<String>,
    email: Option<String>,
}

async fn add(
    State(auth): State<Portcullis>,
    identity: AccountOwner<owner::LoginNames>,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<NameBody>,
) -> Result<Response, Rejection> {
    match (&body.username, &body.email) {
        (Some(username), None) => {
            let issued = auth.login_names().add_username(&identity, username, &client).await?;
            Ok(signed_in(StatusCode::OK, issued))
        }
        (None, Some(email)) => {
            auth.login_names().add_email(&identity, email, &client).await?;
            let accepted = route::json(&json!({ "result": "accepted" }));
            Ok((StatusCode::ACCEPTED, accepted).into_response())
        }
        _ => Err(RouteError::InvalidBody("send a username or an email".to_owned()).into()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProofBody {
    token: Option<String>,
    code: Option<String>,
}

async fn confirm(
    State(auth): State<Portcullis>,
    identity: AccountOwner<owner::LoginNames>,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<ProofBody>,
) -> Result<Response, Rejection> {
    let proof = match (&body.token, &body.code) {
        (Some(token), None) => Proof::Token(token),
        (None, Some(code)) => Proof::Code(code),
        _ => return Err(RouteError::InvalidBody("send a token or a code".to_owned()).into()),
    };
    let issued = auth.login_names().confirm_email(&identity, proof, &client).await?;
    Ok(signed_in(StatusCode::OK, issued))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenBody {
    token: String,
}

async fn undo(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<TokenBody>,
) -> Result<StatusCode, Rejection> {
    auth.login_names().undo(&body.token, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(
    State(auth): State<Portcullis>,
    identity: AccountOwner<owner::LoginNames>,
    client: ClientInfo,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Rejection> {
    // What is not even text is no name.
    let Path(name) = name.map_err(|_| LoginNameError::NotFound)?;
    removed(&auth, &identity, &name, &client).await
}

/// The path of another route can be a username as well.
async fn remove_confirm(
    State(auth): State<Portcullis>,
    identity: AccountOwner<owner::LoginNames>,
    client: ClientInfo,
) -> Result<Response, Rejection> {
    removed(&auth, &identity, "confirm", &client).await
}

/// The same.
async fn remove_undo(
    State(auth): State<Portcullis>,
    identity: AccountOwner<owner::LoginNames>,
    client: ClientInfo,
) -> Result<Response, Rejection> {
    removed(&auth, &identity, "undo", &client).await
}

async fn removed(
    auth: &Portcullis,
    identity: &AccountOwner<owner::LoginNames>,
    name: &str,
    client: &ClientInfo,
) -> Result<Response, Rejection> {
    let issued = auth.login_names().remove(identity, name, client).await?;
    Ok(signed_in(StatusCode::OK, issued))
}
