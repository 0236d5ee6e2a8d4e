//! A challenge that was started: how it is found, answered, used up and ended.

use std::fmt;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};
use zeroize::Zeroizing;

use super::code::{code_of_token, tidy_code};
use super::digest::{
    Subject, any_equal, bindings, code_digests, keys_of_codes, token_digests, used_from,
};
use super::entity::challenge::Model;
use super::proof::Proof;
use super::store;
use crate::account::Account;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, ChallengeId, SessionId};
use crate::context::Context;
use crate::outstanding::{self, Ending, Kind};

/// For this time, the browser that used a link or code is told that it worked. Otherwise a second
/// click would say that the link is invalid, and the user would think that nothing had happened.
pub(crate) const USED_JUST_NOW: Duration = Duration::from_secs(60);

/// The data of a challenge whose question was shown and not sent.
pub(super) const SHOWN: &str = "shown";

/// The data of a challenge whose tries are counted, such as `3` or `3:what else is kept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tries<'d> {
    taken: u8,
    /// What else the challenge keeps.
    pub(crate) rest: Option<&'d str>,
}

impl<'d> Tries<'d> {
    /// No try was taken yet.
    pub(crate) fn none_of(rest: &'d str) -> Self {
        Self { taken: 0, rest: Some(rest) }
    }

    pub(crate) fn read(data: Option<&'d str>) -> Self {
        let Some(data) = data else { return Self { taken: 0, rest: None } };
        let (taken, rest) = match data.split_once(':') {
            Some((taken, rest)) => (taken, Some(rest)),
            None => (data, None),
        };
        // A count that cannot be read leaves no try.
        Self { taken: taken.parse().unwrap_or(u8::MAX), rest }
    }
}

impl fmt::Display for Tries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rest {
            Some(rest) => write!(f, "{}:{rest}", self.taken),
            None => write!(f, "{}", self.taken),
        }
    }
}

/// A challenge as its row describes it.
#[derive(Debug, Clone)]
pub(crate) struct Challenge {
    row: Model,
}

impl Challenge {
    pub(super) fn row(&self) -> &Model {
        &self.row
    }

    pub(crate) fn id(&self) -> ChallengeId {
        self.row.id
    }

    pub(crate) fn account_id(&self) -> Option<AccountId> {
        self.row.account_id
    }

    pub(crate) fn session_id(&self) -> Option<SessionId> {
        self.row.session_id
    }

    pub(crate) fn target(&self) -> Option<&str> {
        self.row.target.as_deref()
    }

    pub(crate) fn data(&self) -> Option<&str> {
        self.row.data.as_deref()
    }

    /// True if it was shown in its session, so that it concerns nobody else.
    pub(super) fn is_shown(&self) -> bool {
        self.row.data.as_deref() == Some(SHOWN)
    }

    /// True if it could still be used at `now`. Only [`spend`](Self::spend) decides, because
    /// another request may use it up in between.
    pub(crate) fn is_open(&self, now: Timestamp) -> bool {
        self.row.used_at.is_none() && self.row.superseded_at.is_none() && self.row.expires_at > now
    }

    pub(crate) fn is_used(&self) -> bool {
        self.row.used_at.is_some()
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.row.answered_at.is_some()
    }

    /// True if everything to which it was bound is unchanged.
    pub(crate) fn is_bound_to(&self, context: &Context, parts: &[&[u8]]) -> bool {
        self.row
            .binding
            .as_ref()
            .is_some_and(|binding| any_equal(&bindings(context, parts), binding))
    }

    /// True if this is its code. An attempt must have been taken before.
    pub(crate) fn is_code(&self, context: &Context, code: &str) -> bool {
        let Some(digest) = &self.row.code_digest else { return false };
        let typed = tidy_code(&context.config.challenge, code);
        let same = |code: &str| {
            any_equal(&code_digests(context, &self.row.purpose, self.row.id, code), digest)
        };
        // Both forms are always compared, so that the time does not reveal what was typed.
        same(&typed) | same(code)
    }

    /// Returns its code, for the holder of its token. `None` if its code was not derived from the
    /// token.
    pub(crate) fn code_of(&self, context: &Context, token: &str) -> Option<Zeroizing<String>> {
        let keys = keys_of_codes(context);
        let codes = keys.iter().map(|key| code_of_token(&context.config.challenge, key, token));
        codes.into_iter().find(|code| self.is_code(context, code))
    }

    /// True if there was one of `most` tries left when the challenge was read. See
    /// [`take_try`](Self::take_try).
    pub(crate) fn has_try(&self, most: u8) -> bool {
        Tries::read(self.data()).taken < most
    }

    /// Takes one of `most` tries, before anybody learns whether the code is right. Returns false if there is
    /// none left. The data of the challenge begin with the count, as [`Tries`] says.
    ///
    /// Parallel tries cannot get more: each replaces the data that it has read. If another was faster, it
    /// reads again, at most `most` times, because each of the others took a try too.
    pub(crate) async fn take_try<C: ConnectionTrait>(
        &self,
        db: &C,
        most: u8,
    ) -> Result<bool, DbErr> {
        let mut data = self.row.data.clone();
        loop {
            let tries = Tries::read(data.as_deref());
            if tries.taken >= most {
                return Ok(false);
            }
            let next = Tries { taken: tries.taken + 1, ..tries }.to_string();
            if store::replace_data(db, self.row.id, data.as_deref(), &next).await? {
                return Ok(true);
            }
            let Some(row) = store::find(db, self.row.id).await? else { return Ok(false) };
            data = row.data;
        }
    }

    /// Records that the code was correct, and for how long this is valid. Returns false if another
    /// request was faster, or if it has expired.
    pub(crate) async fn answer<C: ConnectionTrait>(
        &self,
        txn: &C,
        context: &Context,
    ) -> Result<bool, DbErr> {
        let now = context.now();
        let until = now.plus(context.config.challenge.answered_lifetime);
        store::answer(txn, self.row.id, until, now).await
    }

    /// The same, and uses the challenge up.
    pub(crate) async fn answer_and_spend<C: ConnectionTrait>(
        &self,
        txn: &C,
        now: Timestamp,
    ) -> Result<bool, DbErr> {
        store::answer_and_spend(txn, self.row.id, now).await
    }

    /// Uses it up. Of several simultaneous callers, only one gets true.
    pub(crate) async fn spend<C: ConnectionTrait>(
        &self,
        txn: &C,
        now: Timestamp,
    ) -> Result<bool, DbErr> {
        store::spend(txn, self.row.id, now).await
    }

    /// Gives it to the account that its use has created. So it is exported and erased with it.
    pub(crate) async fn give_to<C: ConnectionTrait>(
        &self,
        txn: &C,
        account: AccountId,
    ) -> Result<(), DbErr> {
        store::give_to(txn, self.row.id, account).await
    }

    /// Uses it up as [`spend`](Self::spend) does, and records the client.
    pub(crate) async fn spend_from<C: ConnectionTrait>(
        &self,
        txn: &C,
        context: &Context,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<bool, DbErr> {
        let from = used_from(context, self.row.id, client).map(|mut from| from.swap_remove(0));
        store::spend_from(txn, self.row.id, from, now).await
    }

    /// True if it was used [just now](USED_JUST_NOW), by any client.
    pub(crate) fn was_used_just_now(&self, now: Timestamp) -> bool {
        self.row.used_at.is_some_and(|used_at| now.since(used_at) < USED_JUST_NOW)
    }

    /// True if it was used [just now](USED_JUST_NOW), probably by the same browser: from the same
    /// address and with the same user agent. False if no address is known.
    pub(crate) fn was_used_by(
        &self,
        context: &Context,
        client: &ClientInfo,
        now: Timestamp,
    ) -> bool {
        let (Some(used_at), Some(stored)) = (self.row.used_at, &self.row.used_from) else {
            return false;
        };
        // The clock of this node may be behind the one that recorded the use.
        let recent = now.since(used_at) < USED_JUST_NOW;
        let from = used_from(context, self.row.id, client);
        recent && from.is_some_and(|from| any_equal(&from, stored))
    }
}

/// Returns the challenge of this token, in any state. This does not use it up.
pub(crate) async fn find_by_token<C: ConnectionTrait>(
    db: &C,
    context: &Context,
    kind: &Kind,
    token: &str,
) -> Result<Option<Challenge>, DbErr> {
    // A token always has 43 characters. A huge text is not even digested.
    if token.len() != 43 {
        return Ok(None);
    }
    let purpose = kind.name();
    let digests = token_digests(context, &purpose, token);
    let row = store::find_by_token(db, &purpose, digests).await?;
    Ok(row.map(|row| Challenge { row }))
}

/// Returns the challenge that a token or code is about, in any state. A code belongs to the newest
/// challenge.
pub(crate) async fn find_by_proof<C: ConnectionTrait>(
    db: &C,
    context: &Context,
    kind: &Kind,
    account: AccountId,
    proof: Proof<'_>,
) -> Result<Option<Challenge>, DbErr> {
    match proof {
        Proof::Token(token) => find_by_token(db, context, kind, token).await,
        Proof::Code(_) => newest(db, context, kind, Some(account), "").await,
    }
}

/// True if this browser has used this proof of this account just now. No attempt is taken, because
/// a guess at a code that was used up reveals nothing useful.
pub(crate) fn was_used_by(
    context: &Context,
    challenge: Option<&Challenge>,
    account: AccountId,
    proof: Proof<'_>,
    client: &ClientInfo,
) -> bool {
    let own = challenge.filter(|challenge| challenge.account_id() == Some(account));
    own.is_some_and(|challenge| {
        challenge.was_used_by(context, client, context.now())
            && match proof {
                Proof::Token(_) => true,
                Proof::Code(code) => challenge.is_code(context, code),
            }
    })
}

/// Returns the challenge with this id, if it is of this kind.
pub(crate) async fn find<C: ConnectionTrait>(
    db: &C,
    kind: &Kind,
    id: ChallengeId,
) -> Result<Option<Challenge>, DbErr> {
    let row = store::find(db, id).await?.filter(|row| row.purpose == kind.name());
    Ok(row.map(|row| Challenge { row }))
}

/// Returns the newest challenge of this kind for this account and target, in any state.
pub(crate) async fn newest<C: ConnectionTrait>(
    db: &C,
    context: &Context,
    kind: &Kind,
    account: Option<AccountId>,
    target: &str,
) -> Result<Option<Challenge>, DbErr> {
    let purpose = kind.name();
    let subject = Subject { purpose: &purpose, account, target: Some(target), alone: false };
    let row = store::newest(db, subject.digests(context, &[])).await?;
    Ok(row.map(|row| Challenge { row }))
}

/// Ends the open challenges of an account. With `kind`, only those of that kind. Otherwise all
/// except those that undo a change of its address.
pub(crate) async fn end_of_account<C: ConnectionTrait>(
    txn: &C,
    account: AccountId,
    kind: Option<&Kind>,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let ending = kind.map_or(Ending::All, Ending::Kind);
    outstanding::end(txn, account, ending, now).await
}

/// Ends the challenges that an action in a session of the account invalidates: see
/// [`Ending::BySession`].
pub(crate) async fn end_by_session<C: ConnectionTrait>(
    txn: &C,
    account: &Account,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let ending = Ending::BySession { verified: account.is_verified() };
    outstanding::end(txn, account.id(), ending, now).await
}

/// Returns an answered challenge of this kind and session that was not used yet.
pub(crate) async fn answered<C: ConnectionTrait>(
    db: &C,
    kind: &Kind,
    session: SessionId,
    now: Timestamp,
) -> Result<Option<Challenge>, DbErr> {
    let row = store::answered(db, &kind.name(), session, now).await?;
    Ok(row.map(|row| Challenge { row }))
}
