//! The signature of a passkey: by which one it is, what it proves, and that it is used once.

use data_encoding::BASE64URL_NOPAD;
use sea_orm::DbErr;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::challenge::{self, ChallengePurpose, Holder};
use super::entity::passkey;
use super::error::PasskeyError;
use super::options::RelyingParty;
use super::store::{self, Used};
use crate::account::entity::account;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::Factor;
use crate::base::id::{AccountId, SessionId};
use crate::base::transaction::{Fault, Txn, transaction};
use crate::context::Context;
use crate::webauthn::{Assertion, AuthenticationResponse, PasskeyRefusal};

/// A signature that was found right. It is used up by [`spend`](Self::spend).
pub(crate) struct RightPasskey {
    passkey: passkey::Model,
    seen: Assertion,
}

/// What became of an answer to a challenge of a second factor.
pub(crate) enum Shown {
    Right(Box<RightPasskey>),
    Wrong,
    /// A check failed that says nothing about the person, such as that of the origin.
    NotAccepted(PasskeyRefusal),
    /// There may be a copy of the authenticator.
    Copied,
    /// The challenge was answered before, has expired, or was for another session.
    Ended,
}

impl RightPasskey {
    /// Looks for the passkey that has signed, and checks its signature.
    pub(super) async fn find(
        context: &Context,
        response: &AuthenticationResponse,
    ) -> Result<Self, PasskeyError> {
        let party = RelyingParty::of(context)?;
        // Before the passkey is looked up. Otherwise a page of a wrong origin would learn that a passkey is
        // unknown, and tell the browser to forget it.
        response.check(party.expected())?;
        let db = context.db();
        let digest = digest_of(response.credential_id());
        let passkey = db.read(store::by_credential(&db.executor(), &digest)).await?;
        let Some(passkey) = passkey else {
            // Another service may use the same domain. Its passkeys must not be forgotten.
            let handle = response.user_handle().unwrap_or_default();
            let known = db.read(store::knows_handle(&db.executor(), handle)).await?;
            return Err(if known {
                PasskeyError::UnknownCredential
            } else {
                PasskeyRefusal::UnknownUser.into()
            });
        };
        let public_key = BASE64URL_NOPAD.decode(passkey.public_key.as_bytes());
        let public_key = public_key.map_err(|_| PasskeyRefusal::UnsupportedKey)?;
        let seen = response.verify(party.expected(), &public_key)?;
        // One that can be synchronised may be found to be so later, but not the other way round.
        if passkey.backup_eligible && !seen.backup_eligible {
            return Err(PasskeyRefusal::BackupChanged.into());
        }
        Ok(Self { passkey, seen })
    }

    /// Checks an answer to the challenge of a second factor of this account, in this session.
    pub(crate) async fn of_account(
        context: &Context,
        row: &account::Model,
        session: SessionId,
        response: &AuthenticationResponse,
    ) -> Result<Shown, Fault> {
        let holders = [Holder::Session(row.id, session)];
        let purposes = [ChallengePurpose::SecondFactor];
        let found = async {
            challenge::take(context, response.challenge(), &purposes, &holders).await?;
            Self::find(context, response).await
        };
        let right = match found.await {
            Ok(right) => right,
            Err(PasskeyError::Fault(fault)) => return Err(fault),
            Err(PasskeyError::NotAccepted(PasskeyRefusal::WrongSignature)) => {
                return Ok(Shown::Wrong);
            }
            Err(PasskeyError::NotAccepted(PasskeyRefusal::UnknownUser)) => return Ok(Shown::Wrong),
            Err(PasskeyError::UnknownCredential) => return Ok(Shown::Wrong),
            Err(PasskeyError::NotAccepted(refusal)) => return Ok(Shown::NotAccepted(refusal)),
            // Without a domain no challenge could be started.
            Err(_) => return Ok(Shown::Ended),
        };
        let is_user = match response.user_handle() {
            Some(shown) => {
                let db = context.db();
                let handle = db.read(store::handle_of(&db.executor(), row.id)).await?;
                handle.is_some_and(|handle| handle.ct_eq(shown).into())
            }
            None => true,
        };
        if right.passkey.account_id != row.id || !right.passkey.is_factor || !is_user {
            return Ok(Shown::Wrong);
        }
        if right.counted() == CountedUses::Copied {
            return Ok(Shown::Copied);
        }
        Ok(Shown::Right(Box::new(right)))
    }

    pub(super) fn passkey(&self) -> &passkey::Model {
        &self.passkey
    }

    /// True if the passkey is two factors by itself: what one has, and what one knows or is. A passkey whose
    /// authenticator verifies its user only now is one, until another factor confirms it.
    pub(crate) fn is_two_factors(&self) -> bool {
        self.passkey.is_factor && self.passkey.verified && self.seen.verified
    }

    /// Returns the factor that is proved. With `beside`, another factor was proved too, and then a passkey that is
    /// one factor is the second one.
    pub(crate) fn factor(&self, beside: bool) -> Factor {
        match self.is_two_factors() || self.passkey.is_factor && beside {
            true => Factor::Passkey,
            false => Factor::UnverifiedPasskey,
        }
    }

    /// Says what the count of the authenticator means.
    pub(super) fn counted(&self) -> CountedUses {
        let (before, now) = (self.passkey.sign_count, i64::from(self.seen.sign_count));
        match (now > before || (now == 0 && before == 0), self.seen.backup_eligible) {
            (true, _) => CountedUses::Rising,
            // An authenticator that synchronises may have been imported, and counts anew.
            (false, true) => CountedUses::Fallen,
            (false, false) => CountedUses::Copied,
        }
    }

    /// Records the use. Returns false if another answer was faster, or the passkey was removed. `beside` is true
    /// if another factor was proved too, so that a verification of the user counts from now on.
    pub(crate) async fn spend(
        &self,
        txn: &Txn<'_>,
        beside: bool,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<bool, DbErr> {
        if self.counted() == CountedUses::Fallen {
            let event = Event::new(EventKind::AccountUpdated, now).account(self.passkey.account_id);
            let event = event.from_client(client).detail("passkey counts anew");
            audit_log::record(txn, &event).await?;
        }
        let used = Used {
            sign_count: self.seen.sign_count,
            verified: self.passkey.is_factor && beside && self.seen.verified,
            backup_eligible: self.seen.backup_eligible,
            backed_up: self.seen.backed_up,
            at: now,
        };
        store::record_use(txn, &self.passkey, used).await
    }
}

/// What the count of an authenticator says about copies of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CountedUses {
    Rising,
    /// It counts anew. The audit log has an event, and the passkey is accepted.
    Fallen,
    /// There may be a copy.
    Copied,
}

/// Records that somebody could not sign in with a passkey of this account.
pub(crate) async fn record_failure(
    context: &Context,
    account: AccountId,
    client: &ClientInfo,
    reason: &'static str,
) -> Result<(), Fault> {
    let event = Event::new(EventKind::LoginFailed, context.now()).account(account);
    let event = event.from_client(client).failed(reason);
    transaction!(context.db(), |txn| {
        audit_log::record(txn, &event).await?;
        Ok(())
    })
}

/// Returns the digest under which a passkey is found.
pub(super) fn digest_of(credential_id: &[u8]) -> [u8; 32] {
    Sha256::digest(credential_id).into()
}
