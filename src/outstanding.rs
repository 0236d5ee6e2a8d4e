//! What was sent to an account and waits for its answer, codes and links: how all of it ends at once.
//!
//! It stands below [`account`](crate::account), which ends it in the transaction of a change, while
//! [`challenge`](crate::challenge), which has the rows, stands on accounts and sessions.

use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ConnectionTrait, DbErr};

use crate::base::clock::Timestamp;
use crate::base::id::AccountId;

pub(crate) const EMAIL_UNDO: &str = "email_undo";
pub(crate) const PHONE_UNDO: &str = "phone_undo";
pub(crate) const LOGIN_NAME_UNDO: &str = "login_name_undo";
pub(crate) const VERIFICATION: &str = "verification";

/// What outlives everything else that ends: whoever took an account over would otherwise end the
/// owner's way back by changing something. Whether such a link is still good is not said by its row but
/// by what the account remembers: see [`former`](crate::account::former).
const UNDO: [&str; 3] = [EMAIL_UNDO, PHONE_UNDO, LOGIN_NAME_UNDO];

/// What is to end.
#[derive(Clone, Copy)]
pub(crate) enum Ending<'a> {
    /// All but what undoes a change.
    All,
    /// The same for what a session of the account can bring about. Where nobody has proved the account's
    /// address yet, the proof of it goes on: the session may be of somebody who registered with another
    /// person's address, and would keep that person from it by changing the password again and again.
    BySession {
        /// Whether its address was ever proved.
        verified: bool,
    },
    Purpose(&'a str),
}

/// Ends what is outstanding of an account. Says how many there were.
pub(crate) async fn end<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    ending: Ending<'_>,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let mut update = Query::update();
    update
        .table("auth_challenge")
        .value("superseded_at", Expr::value(Some(now)))
        .and_where(Expr::col("account_id").eq(account))
        .and_where(Expr::col("used_at").is_null())
        .and_where(Expr::col("superseded_at").is_null());
    let spared = match ending {
        Ending::BySession { verified: false } => Some(VERIFICATION),
        _ => None,
    };
    match ending {
        Ending::Purpose(purpose) => update.and_where(Expr::col("purpose").eq(purpose)),
        Ending::All | Ending::BySession { .. } => {
            update.and_where(Expr::col("purpose").is_not_in(UNDO.into_iter().chain(spared)))
        }
    };
    Ok(db.execute(&update).await?.rows_affected())
}
