//! `POST /email`, `/email/confirm`, `/email/undo`, and alike for phones.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::Proof;
use crate::base::client::ClientInfo;
use crate::base::problem::Rejection;
use crate::handle::Portcullis;
use crate::identity::{AccountOwner, owner};
use crate::route::{self, JsonOrForm, RouteError, mount, signed_in};

/// The routes of changing one's address: those of mail where there is a notifier, those of phones
/// where there is a sender of text messages.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    let context = auth.context();
    let mut router = Router::new();
    if context.notifier.is_some() {
        router = router
            .route("/email", post(change_email))
            .route("/email/confirm", post(confirm_email))
            .route("/email/undo", post(undo_email));
    }
    if context.text_messages.is_some() {
        router = router
            .route("/phone", post(change_phone).merge(delete(remove_phone)))
            .route("/phone/confirm", post(confirm_phone))
            .route("/phone/undo", post(undo_phone));
    }
    mount(auth, "contact", router)
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, route::json(&json!({ "result": "accepted" }))).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmailBody {
    email: String,
}

async fn change_email(
    State(auth): State<Portcullis>,
    identity: AccountOwner<owner::Contact>,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<EmailBody>,
) -> Result<Response, Rejection> {
    auth.contact().change_email(&identity, &body.email, &client).await?;
    Ok(accepted())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProofBody {
    token: Option<String>,
    code: Option<String>,
}

async fn confirm_email(
    State(auth): State<Portcullis>,
    identity: AccountOwner<owner::Contact>,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<ProofBody>,
) -> Result<Response, Rejection> {
    let proof = match (&body.token, &body.code) {
        (Some(token), None) => Proof::Token(token),
        (None, Some(code)) => Proof::Code(code),
        _ => return Err(RouteError::InvalidBody("send a token or a code".to_owned()).into()),
    };
    let issued = auth.contact().confirm_email(&identity, proof, &client).await?;
    Ok(signed_in(StatusCode::OK, issued))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenBody {
    token: String,
}

async fn undo_email(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<TokenBody>,
) -> Result<StatusCode, Rejection> {
    auth.contact().undo_email(&body.token, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PhoneBody {
    phone: String,
}

async fn change_phone(
    State(auth): State<Portcullis>,
    identity: AccountOwner<owner::Contact>,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<PhoneBody>,
) -> Result<Response, Rejection> {
    auth.contact().change_phone(&identity, &body.phone, &client).await?;
    Ok(accepted())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeBody {
    code: String,
}

async fn confirm_phone(
    State(auth): State<Portcullis>,
    identity: AccountOwner<owner::Contact>,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<CodeBody>,
) -> Result<Response, Rejection> {
    let issued = auth.contact().confirm_phone(&identity, &body.code, &client).await?;
    Ok(signed_in(StatusCode::OK, issued))
}

async fn undo_phone(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<TokenBody>,
) -> Result<StatusCode, Rejection> {
    auth.contact().undo_phone(&body.token, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_phone(
    State(auth): State<Portcullis>,
    identity: AccountOwner<owner::Contact>,
    client: ClientInfo,
) -> Result<Response, Rejection> {
    match auth.contact().remove_phone(&identity, &client).await? {
        Some(issued) => Ok(signed_in(StatusCode::OK, issued)),
        None => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}
