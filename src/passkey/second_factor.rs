//! The challenge of a second factor, for a session.

use super::Passkeys;
use super::challenge::{self, ChallengePurpose, Holder};
use super::error::PasskeyError;
use super::options::{PasskeyOptions, RelyingParty};
use super::store;
use crate::account::entity::account;
use crate::base::id::{AccountId, SessionId};
use crate::rate_limit::{PASSKEY_CHALLENGES, Quota};

impl Passkeys<'_> {
    /// Begins the second step of a sign-in, or a step-up, with the passkeys of this account.
    pub(crate) async fn start_second_factor(
        &self,
        row: &account::Model,
        session: SessionId,
    ) -> Result<PasskeyOptions, PasskeyError> {
        let context = self.auth.context();
        let party = RelyingParty::of(context)?;
        self.count(row.id).await?;
        let db = context.db();
        let passkeys = db.read(store::of_account(&db.executor(), row.id)).await?;
        let factors = || passkeys.iter().filter(|one| one.is_factor);
        if factors().next().is_none() {
            return Err(PasskeyError::NotEnrolled);
        }
        let holder = Holder::Session(row.id, session);
        let new = challenge::begin(context, ChallengePurpose::SecondFactor, &holder).await?;
        Ok(party.request(context, factors(), &new))
    }

    /// Limits how many challenges are started for an account, because each is a row.
    pub(super) async fn count(&self, account: AccountId) -> Result<(), PasskeyError> {
        let quota = Quota::per_minute(self.auth.context().config.passkey.challenges_per_minute);
        let limits = self.auth.rate_limits();
        Ok(limits.of_account(PASSKEY_CHALLENGES, account, quota).await?)
    }
}
