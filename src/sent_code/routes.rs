//! `POST /second-factor/challenge`, `POST /reauthenticate/challenge`, `POST /sent-codes`,
//! `DELETE /sent-codes/{method}`, and the last as a `POST` for forms.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{CodeChannel, SentCode, SentCodeError};
use crate::base::client::ClientInfo;
use crate::base::problem::Rejection;
use crate::flow::enrolling::{Entitled, FactorOwner};
use crate::guard::description::{RouteBody, RouteCaller};
use crate::handle::Portcullis;
use crate::identity::{AccountOwner, owner};
use crate::route::{self, JsonOrForm, Row, row, signed_in};
use crate::session::{PendingSession, Stage};

/// The rows of mailed and texted codes. The routes of [`second_factor`](crate::second_factor) include
/// them.
pub(crate) fn rows() -> Vec<Row> {
    let owner = RouteCaller::owner::<owner::Factors>();
    let remove = |row: Row| {
        row.by(owner).refuses(&[
            "factor_not_enrolled",
            "factor_required",
            "insufficient_user_authentication",
        ])
    };
    vec![
        row(Method::POST, "/second-factor/challenge", second_step)
            .by(RouteCaller::Stage(Stage::PendingSecondFactor))
            .takes(RouteBody::JsonOrForm)
            .answers(&[StatusCode::ACCEPTED])
            .refuses(&[
                "address_not_proved",
                "factor_not_enrolled",
                "factor_used_already",
                "mailed_code_after_reset",
                "no_address",
                "too_soon",
            ]),
        row(Method::POST, "/reauthenticate/challenge", step_up)
            .by(RouteCaller::SignedInOrStage(Stage::MustEnrol))
            .takes(RouteBody::JsonOrForm)
            .answers(&[StatusCode::ACCEPTED])
            .refuses(&["address_not_proved", "no_address", "too_soon"]),
        row(Method::POST, "/sent-codes", enrol)
            .by(RouteCaller::owner_or::<owner::Factors>(Stage::MustEnrol))
            .takes(RouteBody::JsonOrForm)
            .refuses(&[
                "address_not_proved",
                "factor_already_enrolled",
                "factor_too_weak",
                "insufficient_user_authentication",
                "mailed_code_after_reset",
                "no_password",
                "session_limit",
            ]),
        remove(row(Method::DELETE, "/sent-codes/{method}", remove_one)),
        remove(row(Method::POST, "/sent-codes/{method}/remove", remove_one)),
    ]
}

/// The names of the channels. They are those of the factors.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ChannelName {
    MailedCode,
    TextedCode,
}

impl ChannelName {
    fn channel(self) -> CodeChannel {
        match self {
            Self::MailedCode => CodeChannel::Mail,
            Self::TextedCode => CodeChannel::TextMessage,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChannelBody {
    method: ChannelName,
}

fn accepted(sent: &SentCode) -> Response {
    let body = json!({ "target": sent.target, "expires_at": sent.expires_at });
    (StatusCode::ACCEPTED, route::json(&body)).into_response()
}

async fn second_step(
    State(auth): State<Portcullis>,
    pending: PendingSession,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<ChannelBody>,
) -> Result<Response, Rejection> {
    let channel = body.method.channel();
    Ok(accepted(&auth.sent_codes().send(&pending, channel, &client).await?))
}

async fn step_up(
    State(auth): State<Portcullis>,
    entitled: Entitled,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<ChannelBody>,
) -> Result<Response, Rejection> {
    let (codes, channel) = (auth.sent_codes(), body.method.channel());
    Ok(accepted(&match &entitled {
        Entitled::SignedIn(identity) => codes.send(identity, channel, &client).await?,
        Entitled::Enrolling(session) => codes.send(session, channel, &client).await?,
    }))
}

async fn enrol(
    State(auth): State<Portcullis>,
    owner: FactorOwner,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<ChannelBody>,
) -> Result<Response, Rejection> {
    let channel = body.method.channel();
    Ok(signed_in(StatusCode::OK, auth.sent_codes().enrol(&owner, channel, &client).await?))
}

async fn remove_one(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Factors>,
    client: ClientInfo,
    method: Result<Path<ChannelName>, PathRejection>,
) -> Result<Response, Rejection> {
    let Path(method) = method.map_err(|_| SentCodeError::NotEnrolled)?;
    let channel = method.channel();
    Ok(signed_in(StatusCode::OK, auth.sent_codes().remove(&owner, channel, &client).await?))
}
