//! A factor of your own, which the application checks: its challenges, and how it is set up and removed.

use std::time::Duration;

use serde_json::Value;

use super::error::{ExternalFactorError, SecondFactorError};
use super::external::{FACTOR, StateKeys, ask, attempt};
use super::{Boxed, FactorCode, Right, SecondFactor, Use};
use crate::account::enrolled::{ChangingFactors, FactorChange};
use crate::account::has_unproved_mailbox;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::EnrolledFactors;
use crate::base::id::AccountId;
use crate::base::transaction::{Fault, OpenTransaction, transaction};
use crate::flow::enrolling::{self, Changed, FactorOwner};
use crate::flow::factor_undo::NewFactor;
use crate::flow::factors::{self, Recent};
use crate::flow::sign_in::Demands;
use crate::identity::{AccountOwner, enrolment, owner};
use crate::one_time::{self, Answer, Start};
use crate::outstanding::Kind;
use crate::rate_limit::{FACTOR_CHALLENGES, FACTOR_CHALLENGES_DEVICE};
use crate::sent_code::{Asks, CodeHolder, target};
use crate::session::device::Devices;
use crate::session::{Issued, SessionError, store as session_store};

/// The longest state of a challenge. Encrypted, it fits into the smallest column for texts.
const MOST_STATE: usize = 16 * 1024;

/// What a [factor of your own](crate::port::ExternalFactor) asks in one session.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FactorChallenge {
    /// What the factor shows on the page.
    pub shown: Value,
    /// Until when it can be answered.
    pub expires_at: Timestamp,
}

impl<'a> SecondFactor<'a> {
    /// Ends all codes and challenges of second factors of an account that were not used yet, in your
    /// transaction. Call it first in the transaction that replaces what your factor checks, such as the digits
    /// of a card. Otherwise an answer that was right for the old ones could still set up the factor, after they
    /// were replaced.
    ///
    /// # Errors
    /// An outage.
    pub async fn end_challenges(
        &self,
        account: AccountId,
        txn: impl Into<OpenTransaction<'a>>,
    ) -> Result<(), Fault> {
        let context = self.auth.context();
        let (db, kind, now) = (context.db().within(txn), &Kind::FactorCode, context.now());
        transaction!(db, |txn| {
            session_store::lock_account(txn, account).await?;
            one_time::end_of_account(txn, account, Some(kind), now).await?;
            Ok(())
        })
    }
}

impl SecondFactor<'_> {
    /// Starts a [challenge](crate::port::ExternalFactor::challenge) of a factor of your own for a session. The
    /// next one replaces it. `None` means that the factor asks nothing.
    ///
    /// A session must have the factor, except to set it up: then pass the [`FactorOwner`].
    ///
    /// # Errors
    /// - [`ExternalFactorError::NotEnrolled`], also if the builder has no such factor.
    /// - [`ExternalFactorError::TooSoon`] after as many as
    ///   [`challenges`](crate::config::FactorConfig::challenges) allows.
    /// - [`SecondFactorError::Unavailable`] as its cause, if the factor failed.
    /// - [`ExternalFactorError::Session`] if the session has ended or the account was changed meanwhile;
    ///   an outage.
    pub async fn challenge_external<'h>(
        &self,
        holder: impl Into<CodeHolder<'h>>,
        client: &ClientInfo,
    ) -> Result<Option<FactorChallenge>, ExternalFactorError> {
        let holder = holder.into();
        let context = self.auth.context();
        let row = holder.row(context).await?;
        let has_it = match holder.asks {
            Asks::SecondStep(_) => {
                Demands::read(self.auth, &row, context.now()).await?.accepts(FACTOR)
            }
            Asks::StepUp => EnrolledFactors(row.enrolled_factors).contains(FACTOR),
            Asks::SetUp => true,
        };
        if !has_it || context.external_factor.is_none() {
            return Err(ExternalFactorError::NotEnrolled);
        }
        // A stranger who knows the password must not use up what the owner may start.
        let devices = self.auth.per_instance::<Devices>();
        let rule = match devices.recognize(context, client, row.id, row.epoch).known() {
            Some(_) => FACTOR_CHALLENGES_DEVICE,
            None => FACTOR_CHALLENGES,
        };
        let quota = context.config.factor.challenges;
        let limited = self.auth.rate_limits().of_account(rule, row.id, quota).await;
        limited.map_err(|limit| ExternalFactorError::TooSoon { retry_after: limit.retry_after })?;
        let attempt = attempt(&row, holder.session, client);
        let asked =
            ask(context, move |port| Box::pin(async move { port.challenge(&attempt).await }));
        let Some(challenge) = asked.await? else { return Ok(None) };
        if challenge.state.len() > MOST_STATE {
            let reason = "the state of a challenge is longer than 16 KiB";
            return Err(SecondFactorError::Unavailable(reason.into()).into());
        }
        let target = target(holder.session, FACTOR);
        let keys = self.auth.per_instance::<StateKeys>();
        let state = keys.seal(&challenge.state, &target);
        let start = Start {
            kind: &Kind::FactorCode,
            account_id: Some(row.id),
            session_id: Some(holder.session),
            target: Some(&target),
            data: Some(&state),
            binding: None,
            answer: Answer::TokenOnly,
            lifetime: context.config.challenge.code_lifetime,
            cool_down: Duration::ZERO,
        };
        let event = Event::new(EventKind::FactorCodeSent, context.now()).account(row.id);
        let event = event.session(holder.session).from_client(client).detail(FACTOR.as_str());
        let expires_at = transaction!(context.db(), |txn| {
            let started = one_time::start(txn, context, &start).await?;
            // Without a cool-down, only if maintenance has just deleted the time of the last one.
            let retry_after = Duration::from_secs(1);
            let started = started.ok_or(ExternalFactorError::TooSoon { retry_after })?;
            audit_log::record(txn, &event).await?;
            Ok::<_, ExternalFactorError>(started.expires_at)
        })?;
        Ok(Some(FactorChallenge { shown: challenge.shown, expires_at }))
    }

    /// Makes a factor of your own a second factor of the account, with a code of it that is right
    /// now. The session of the owner goes on as a new one, in which the factor is proved. All other
    /// sessions end. A sign-in that had to set up a factor is complete afterwards.
    ///
    /// If the factor asks something, call [`challenge_external`](Self::challenge_external) before, with the
    /// same owner. A wrong code counts as one of all second factors of the account.
    ///
    /// # Errors
    /// - [`ExternalFactorError::StepUp`]: a second factor of the account must be recent, or its mailbox
    ///   must be proved if it has none.
    /// - [`ExternalFactorError::AlreadyEnrolled`], [`ExternalFactorError::AddressNotProved`].
    /// - [`ExternalFactorError::Code`] if the code is wrong, there were too many attempts, or the factor
    ///   failed.
    /// - [`ExternalFactorError::Session`] if the session has ended or the account was changed meanwhile;
    ///   an outage.
    pub async fn enrol_external(
        &self,
        owner: impl Into<FactorOwner>,
        code: impl Into<String>,
        client: &ClientInfo,
    ) -> Result<Issued, ExternalFactorError> {
        let (owner, code) = (&owner.into(), FactorCode::external(code));
        factors::require_recent(self.auth, owner, Recent::SecondFactor)
            .map_err(ExternalFactorError::StepUp)?;
        let (account, id) = (owner.account(), owner.session_id());
        if account.enrolled_factors().contains(FACTOR) {
            return Err(ExternalFactorError::AlreadyEnrolled);
        }
        let asks = (id, owner.passed());
        let right: Boxed<'_, Right> = Box::pin(self.find(account, asks, &code, Use::SetUp, client));
        let right = right.await?;
        let context = self.auth.context();
        let (row, now) = (&right.row, context.now());
        let enrolled = EnrolledFactors(row.enrolled_factors).with(FACTOR);
        let change = FactorChange::Added(FACTOR);
        let changing = ChangingFactors { context, row, enrolled, change, client };
        let passed = owner.passed().clone().with(FACTOR, now);
        let gone_on = transaction!(context.db(), |txn| {
            session_store::lock_account(txn, row.id).await?;
            // Before the change, which ends all challenges of the account.
            right.spend(self.auth, txn, client, now).await?;
            let epoch = changing.apply(txn).await?;
            let epoch = epoch.ok_or(ExternalFactorError::Session(SessionError::Ended))?;
            if has_unproved_mailbox(txn, row.id).await? {
                return Err(ExternalFactorError::AddressNotProved);
            }
            NewFactor { context, owner, row, factor: FACTOR, epoch, client }.tell(txn).await?;
            let changed = Changed { row, enrolled, epoch, passed: passed.clone() };
            Ok::<_, ExternalFactorError>(owner.go_on(self.auth, txn, changed, client).await?)
        });
        if let Err(ExternalFactorError::Refused(_)) = &gone_on {
            owner.record_refusal(self.auth, client).await?;
        }
        let wrong =
            |error: &_| matches!(error, ExternalFactorError::Code(SecondFactorError::WrongCode));
        let gone_on = self.end(right, id, client, gone_on, wrong).await?;
        Ok(gone_on.committed(self.auth).await)
    }

    /// Removes the factor of your own from the account. If only recovery codes are left, they are
    /// removed too. The session of the owner goes on as a new one. All other sessions end.
    ///
    /// Also delete what your application has stored for it.
    ///
    /// # Errors
    /// - [`ExternalFactorError::StepUp`]: a second factor that is no recovery code must be recent.
    /// - [`ExternalFactorError::NotEnrolled`], [`ExternalFactorError::Required`].
    /// - [`ExternalFactorError::Session`] if the session has ended or the account was changed meanwhile;
    ///   an outage.
    pub async fn remove_external(
        &self,
        owner: &AccountOwner<owner::Factors>,
        client: &ClientInfo,
    ) -> Result<Issued, ExternalFactorError> {
        let (asks, context) = (&FactorOwner::from(owner), self.auth.context());
        factors::require_recent(self.auth, asks, Recent::NotRecoveryCode)
            .map_err(ExternalFactorError::StepUp)?;
        let row = &CodeHolder::from(asks).row(context).await?;
        let before = EnrolledFactors(row.enrolled_factors);
        if !before.contains(FACTOR) {
            return Err(ExternalFactorError::NotEnrolled);
        }
        let enrolled = before.left_without(FACTOR);
        if enrolment::would_lack(context, owner, enrolled)
            && !enrolment::would_lack(context, owner, before)
        {
            return Err(ExternalFactorError::Required);
        }
        let change = FactorChange::Removed(FACTOR);
        let changing = ChangingFactors { context, row, enrolled, change, client };
        let passed = owner.session().factors().clone();
        transaction!(context.db(), |txn| {
            let epoch = changing.apply(txn).await?;
            let epoch = epoch.ok_or(ExternalFactorError::Session(SessionError::Ended))?;
            let go_on = enrolling::go_on(self.auth, txn, owner, epoch, passed.clone(), client);
            Ok(Box::pin(go_on).await?)
        })
    }
}
