//! The link that puts back the mail address or number of an account, from the address that it has left.

use sea_orm::DbErr;
use serde::{Deserialize, Serialize};

use crate::account::entity::login_name;
use crate::base::transaction::Txn;
use crate::context::Context;
use crate::one_time::{self, Answer, Challenge, Start};
use crate::outstanding::Kind;

/// An address that can be put back, as its challenge stores it, with its sequence in the account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WayBack {
    pub(crate) address: String,
    pub(crate) sequence: i64,
}

impl WayBack {
    pub(crate) fn of(context: &Context, challenge: &Challenge) -> Option<Self> {
        let way: Self = serde_json::from_str(challenge.data()?).ok()?;
        let bound = challenge.is_bound_to(context, &[way.address.as_bytes(), &way.number()]);
        bound.then_some(way)
    }

    fn to_data(&self) -> String {
        serde_json::to_string(self).expect("a text and a number are always JSON")
    }

    fn number(&self) -> [u8; 8] {
        self.sequence.to_be_bytes()
    }
}

/// Creates the link to an address that leaves, unless links are off. `typed` is how its owner wrote it.
pub(crate) async fn link_to(
    txn: &Txn<'_>,
    context: &Context,
    kind: &Kind,
    page: &str,
    leaving: &login_name::Model,
    typed: &str,
) -> Result<Option<String>, DbErr> {
    let Some(lifetime) = context.config.contact.undo_lifetime else { return Ok(None) };
    let way = WayBack { address: typed.to_owned(), sequence: leaving.sequence };
    let start = Start {
        kind,
        account_id: Some(leaving.account_id),
        session_id: None,
        // One link for each address that the account ever had.
        target: Some(&leaving.normal),
        data: Some(&way.to_data()),
        binding: Some(&[way.address.as_bytes(), &way.number()]),
        answer: Answer::TokenOnly,
        lifetime,
        cool_down: std::time::Duration::ZERO,
    };
    let started = one_time::start(txn, context, &start).await?;
    Ok(started.and_then(|started| context.config.link(page, &started.token)))
}
