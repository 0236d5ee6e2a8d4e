//! The challenge of a second factor, for a session.

use super::Passkeys;
use super::challenge::{self, ChallengePurpose, Holder};
use super::error::PasskeyError;
use super::options::{PasskeyOptions, RelyingParty};
use super::store;
use crate::account::entity::account;
use crate::base::client::ClientInfo;
use crate::base::id::{AccountId, SessionId};
use crate::rate_limit::{PASSKEY_CHALLENGES, PASSKEY_CHALLENGES_DEVICE};
use crate::session::device::Devices;

impl Passkeys<'_> {
    /// Begins the second step of a sign-in, or a step-up, with the passkeys of this account. With `alone`, only those
    /// that are two factors count, because the sign-in began with one that is one factor.
    pub(crate) async fn start_second_factor(
        &self,
        row: &account::Model,
        session: SessionId,
        alone: bool,
        client: &ClientInfo,
    ) -> Result<PasskeyOptions, PasskeyError> {
        let context = self.auth.context();
        let party = RelyingParty::of(context)?;
        // A thief of the password must not use up what the owner may start.
        let devices = self.auth.per_instance::<Devices>();
        let rule = match devices.recognize(context, client, row.id, row.epoch).known() {
            Some(_) => PASSKEY_CHALLENGES_DEVICE,
            None => PASSKEY_CHALLENGES,
        };
        self.count(rule, row.id).await?;
        let db = context.db();
        let passkeys = db.read(store::of_account(&db.executor(), row.id)).await?;
        let factors =
            || passkeys.iter().filter(move |one| one.is_factor && (one.verified || !alone));
        if factors().next().is_none() {
            return Err(match alone {
                true => PasskeyError::FactorUsedAlready,
                false => PasskeyError::NotEnrolled,
            });
        }
        let holder = Holder::Session(row.id, session);
        let new = challenge::begin(context, ChallengePurpose::SecondFactor, &holder).await?;
        Ok(party.request(context, factors(), &new))
    }

    /// Limits how many challenges are started for an account, because each is a row.
    pub(super) async fn count(
        &self,
        rule: &'static str,
        account: AccountId,
    ) -> Result<(), PasskeyError> {
        let quota = self.auth.context().config.passkey.challenges;
        Ok(self.auth.rate_limits().of_account(rule, account, quota).await?)
    }
}
