//! `POST /email`, `/email/confirm`, `/email/undo`, and alike for phones.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::Proof;
use crate::base::client::ClientInfo;
use crate::base::problem::Rejection;
use crate::guard::description::{RouteBody, RouteCaller};
use crate::handle::Portcullis;
use crate::identity::{AccountOwner, owner};
use crate::route::{self, JsonOrForm, RouteError, Row, mount, row, signed_in};

/// The routes of changing one's address: those of mail where there is a notifier, those of phones
/// where there is a sender of text messages.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    let context = auth.context();
    let owner = RouteCaller::owner::<owner::Contact>();
    let change = |row: Row| {
        let row = row.by(owner).takes(RouteBody::JsonOrForm).keeps(&["email", "phone"]);
        row.answers(&[StatusCode::ACCEPTED]).refuses(&[
            "insufficient_user_authentication",
            "invalid_fields",
            "too_soon",
        ])
    };
    let confirm = |row: Row| {
        let errors = &["link_used", "too_many_attempts", "wrong_code"];
        row.by(owner).takes(RouteBody::JsonOrForm).refuses(errors)
    };
    let undo = |row: Row| {
        row.takes(RouteBody::JsonOrForm)
            .answers(&[StatusCode::NO_CONTENT])
            .refuses(&["link_used", "wrong_code"])
    };
    let mut rows = Vec::new();
    if context.notifier.is_some() {
        let taken = &["email_taken"];
        rows.extend([
            change(row(Method::POST, "/email", change_email)),
            confirm(row(Method::POST, "/email/confirm", confirm_email)).refuses(taken),
            undo(row(Method::POST, "/email/undo", undo_email)).refuses(taken),
        ]);
    }
    if context.text_messages.is_some() {
        let taken = &["phone_taken"];
        rows.extend([
            change(row(Method::POST, "/phone", change_phone)),
            row(Method::DELETE, "/phone", remove_phone)
                .by(owner)
                .answers(&[StatusCode::OK, StatusCode::NO_CONTENT])
                .refuses(&["factor_in_use", "insufficient_user_authentication", "only_login_name"]),
            confirm(row(Method::POST, "/phone/confirm", confirm_phone)).refuses(taken),
            undo(row(Method::POST, "/phone/undo", undo_phone)).refuses(taken),
        ]);
    }
    mount(auth, "contact", rows)
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
