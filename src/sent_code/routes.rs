//! `POST /sent-codes`, `DELETE /sent-codes/{method}`, and the latter as a `POST` for forms.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{Method, StatusCode};
use serde::Deserialize;

use super::{CodeChannel, SentCodeError};
use crate::base::client::ClientInfo;
use crate::base::problem::Rejection;
use crate::flow::enrolling::FactorOwner;
use crate::guard::description::{RouteBody, RouteCaller};
use crate::handle::Portcullis;
use crate::identity::{AccountOwner, owner};
use crate::route::{JsonOrForm, Row, row, signed_in};
use crate::session::Stage;

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
