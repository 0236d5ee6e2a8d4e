//! The end of every sign-in: one function makes the session that follows from what was proved.
//!
//! 1. It decides the [stage](Stage) from what the account requires and what was proved. A second
//!    factor comes before a new password. Otherwise a person who only knows the password could set
//!    a new one.
//! 2. It locks the account's row first, unless the flow has already changed that row
//!    ([`Locked::by_the_flow`]). So two sign-ins of one account cannot deadlock. If the epoch of
//!    the account has changed since its row was read, the new session does not count. A complete
//!    sign-in is then refused.
//! 3. A complete sign-in records its time, notifies the owner if the device is new, and runs the
//!    hooks. An incomplete sign-in does none of this. Its last step does.
//! 4. It ends the session that the new one replaces or continues.
//! 5. After the commit, the memberships of the account are requested from the application.
//!
//! All of this is one transaction of the calling flow. The type [`Made`] makes sure that the last
//! step is not forgotten.

// An arm for "everything else" could sign someone in at a stage that is added later.
#![deny(clippy::wildcard_enum_match_arm)]

use crate::account::enrolled::{mailed_code_at, store as enrolled_store};
use crate::account::entity::account;
use crate::account::{Account, recovering, store as account_store};
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::{EnrolledFactors, Factor, PassedFactors};
use crate::base::id::AccountId;
#[cfg(feature = "federation")]
use crate::base::id::LineageId;
use crate::base::transaction::{Fault, Txn, transaction};
use crate::context::Context;
use crate::handle::Portcullis;
use crate::identity::enrolment::{due_at, requires_factor};
use crate::identity::resolution::Resolved;
use crate::identity::resolver::Resolver;
use crate::new_device::NewDevice;
use crate::session::device::{Device, Devices};
use crate::session::issue::Replaces;
use crate::session::judge::SessionState;
use crate::session::trusted::TrustedToken;
use crate::session::{
    Issued, SessionError, Stage, StartSession, Transport, store as session_store,
};

/// The result of a sign-in.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "the client is signed in when it gets this"]
pub enum LoginOutcome {
    /// The user is signed in.
    Session(Issued),
    /// A second factor is still needed.
    SecondFactorRequired(Issued),
    /// A new password must be set first.
    PasswordChangeRequired(Issued),
    /// A second factor must be enrolled first: a role requires it, or the last recovery code was used.
    EnrolmentRequired(Issued),
}

impl LoginOutcome {
    /// Returns what to add to the answer, whichever result it is.
    pub fn into_issued(self) -> Issued {
        match self {
            Self::Session(issued)
            | Self::SecondFactorRequired(issued)
            | Self::PasswordChangeRequired(issued)
            | Self::EnrolmentRequired(issued) => issued,
        }
    }
}

/// What an account requires from a user who signs in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demands {
    enrolled: EnrolledFactors,
    /// True if a second factor is asked for.
    asks: bool,
    /// The enrolled factors that are enough as a second step.
    accepted: EnrolledFactors,
    new_password: bool,
    enrolment: Enrolment,
}

/// Whether a second factor must be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Enrolment {
    /// No role requires one, or the account has one that is strong enough.
    NotNeeded,
    /// Until this time the account may be used without it.
    Due(Timestamp),
    Now,
    /// The last recovery code of the account was used up in this sign-in. It comes before a new password:
    /// the step that ends it looks at the password again.
    LastRecoveryCode,
}

impl Demands {
    /// Returns what the account in `row` requires. This asks for its roles, unless it has only strong
    /// factors, which are enough for every role.
    pub(crate) async fn read(
        auth: &Portcullis,
        row: &account::Model,
        now: Timestamp,
    ) -> Result<Self, Fault> {
        let context = auth.context();
        let config = &context.config.factor;
        let alone = Self::without_roles(context, row);
        let enrolled = alone.enrolled;
        let enough = enrolled.enough(config.least);
        let weak = enrolled.without(Factor::RecoveryCode);
        if !enough.is_empty() && weak == enough && alone.asks {
            return Ok(alone);
        }
        let resolver = auth.per_instance::<Resolver>();
        let found = resolver.account(context, row.id).await?;
        if !found.is_some_and(|(_, grants)| requires_factor(context, row.superuser, &grants)) {
            return Ok(alone);
        }
        if !enough.is_empty() {
            // A weaker factor is not enough for this role, although the account has it. A recovery code
            // stands in for a strong one.
            let accepted = match enrolled.contains(Factor::RecoveryCode) {
                true => enough.with(Factor::RecoveryCode),
                false => enough,
            };
            return Ok(Self { accepted, asks: true, ..alone });
        }
        let due = due_at(context, row.enrolment_due_at, now);
        let enrolment = if due > now { Enrolment::Due(due) } else { Enrolment::Now };
        if enrolment == Enrolment::Now {
            auth.note_enrolment_required();
        }
        Ok(Self { enrolment, ..alone })
    }

    /// Returns what a new account requires. It has no roles yet. If it gets one, the next request looks
    /// at it.
    pub(crate) fn of_new(context: &Context, row: &account::Model) -> Self {
        Self::without_roles(context, row)
    }

    /// Returns what an account requires that goes to another person: only a new password. Everything
    /// else is deleted. If a role requires a factor, that comes after the password.
    pub(crate) fn of_handed_over() -> Self {
        let none = EnrolledFactors::default();
        let enrolment = Enrolment::NotNeeded;
        Self { enrolled: none, asks: false, accepted: none, new_password: true, enrolment }
    }

    /// True if a second factor is all that is missing after the password. Only then a
    /// [trusted device](crate::trusted_device) may stand in for it, or may be made.
    pub(crate) fn only_second_factor(self) -> bool {
        let Self { enrolled: _, asks, accepted: _, new_password, enrolment } = self;
        asks && !new_password && enrolment == Enrolment::NotNeeded
    }

    /// The same, after a new password was set.
    pub(crate) fn with_new_password(self) -> Self {
        Self { new_password: false, ..self }
    }

    /// Returns what is required after a second factor was set up.
    pub(crate) fn after_enrolment(
        context: &Context,
        row: &account::Model,
        enrolled: EnrolledFactors,
    ) -> Self {
        let alone = Self::without_roles(context, row);
        Self { enrolled, asks: true, accepted: enrolled, ..alone }
    }

    /// True if a factor must be set up before the account may be used.
    pub(crate) fn needs_enrolment(self) -> bool {
        match self.enrolment {
            Enrolment::Now | Enrolment::LastRecoveryCode => true,
            Enrolment::NotNeeded | Enrolment::Due(_) => false,
        }
    }

    fn without_roles(context: &Context, row: &account::Model) -> Self {
        let enrolled = EnrolledFactors(row.enrolled_factors);
        // Recovery codes stand in for another factor.
        let others = enrolled.without(Factor::Passkey).without(Factor::RecoveryCode);
        let asks = match context.config.passkey.asked_after_password {
            true => !enrolled.is_empty(),
            false => !others.is_empty(),
        };
        Self {
            enrolled,
            asks,
            accepted: enrolled,
            new_password: row.must_change_password,
            enrolment: Enrolment::NotNeeded,
        }
    }

    /// Returns true if this factor is enough as the second step.
    pub(crate) fn accepts(self, factor: Factor) -> bool {
        self.accepted.contains(factor)
    }

    /// True if an enrolled factor was proved in addition to another one. A password is never a
    /// second factor. One factor alone is never two, except for a passkey, which also verifies the
    /// user, and a sign-in at a provider that is configured to count as two. `further` is true if another step came before
    /// this factor, whatever that step proved.
    fn has_second(self, proved: &PassedFactors, further: bool) -> bool {
        let enrolled = |factor| factor != Factor::Password && self.accepts(factor);
        if proved.passed_at(Factor::ProviderTwoFactors).is_some() {
            return true;
        }
        let several = further || proved.iter().count() > 1;
        proved.iter().any(|(factor, _)| enrolled(factor) && (several || factor == Factor::Passkey))
    }

    /// Returns the stage to which these factors lead.
    fn stage(self, proved: &PassedFactors, further: bool) -> Stage {
        if self.asks && !self.has_second(proved, further) {
            Stage::PendingSecondFactor
        } else if self.enrolment == Enrolment::LastRecoveryCode {
            Stage::MustEnrol
        } else if self.new_password {
            Stage::MustChangePassword
        } else if self.enrolment == Enrolment::Now
            && proved.passed_at(Factor::ProviderTwoFactors).is_none()
        {
            Stage::MustEnrol
        } else {
            Stage::Full
        }
    }
}

/// The session before the new one.
#[derive(Clone, Copy)]
enum Before<'a> {
    /// Whatever session the client had is ended.
    Replaces(Option<Replaces>),
    /// An unfinished sign-in continues. Its session must still be alive, so it can continue only
    /// once.
    Unfinished(&'a SessionState, Transport),
}

/// A session that is about to be made for a user who was identified.
#[derive(Clone)]
#[must_use = "a session is made by `make`"]
pub(crate) struct NewSession<'a> {
    auth: &'a Portcullis,
    row: &'a account::Model,
    epoch: i64,
    client: &'a ClientInfo,
    device: Device,
    proved: PassedFactors,
    demands: Demands,
    before: Before<'a>,
    remember: bool,
    transport: Transport,
    now: Timestamp,
    by_trusted_device: bool,
}

impl<'a> NewSession<'a> {
    /// For the account in `row`, which may be used. `proved` are the factors of this sign-in.
    pub(crate) fn new(
        auth: &'a Portcullis,
        row: &'a account::Model,
        proved: PassedFactors,
        demands: Demands,
        client: &'a ClientInfo,
        now: Timestamp,
    ) -> Self {
        let devices = auth.per_instance::<Devices>();
        Self {
            auth,
            row,
            epoch: row.epoch,
            client,
            device: devices.recognize(auth.context(), client, row.id, row.epoch),
            proved,
            demands,
            before: Before::Replaces(None),
            remember: true,
            transport: Transport::Cookie,
            now,
            by_trusted_device: false,
        }
    }

    /// A device that became trusted after this factor stands in for the second factor. Nothing else is
    /// required (see [`Demands::only_second_factor`]), and the device was used up in this transaction.
    pub(crate) fn by_trusted_device(mut self, trusted_after: Factor) -> Self {
        self.proved = self.proved.by_trusted_device(self.now, trusted_after);
        self.by_trusted_device = self.demands.only_second_factor();
        self
    }

    /// Replaces the session that the client had before.
    pub(crate) fn replacing(mut self, replaces: Option<Replaces>) -> Self {
        self.before = Before::Replaces(replaces);
        self
    }

    /// Continues an unfinished sign-in, with its settings.
    pub(crate) fn finishing(mut self, unfinished: &'a SessionState, transport: Transport) -> Self {
        self.before = Before::Unfinished(unfinished, transport);
        self
    }

    /// Sets the epoch, if the transaction increases it.
    pub(crate) fn at_epoch(mut self, epoch: i64) -> Self {
        self.epoch = epoch;
        self
    }

    pub(crate) fn remember(mut self, remember: bool) -> Self {
        self.remember = remember;
        self
    }

    pub(crate) fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Stops before the session is full, because the sign-in has used up the last recovery code. The
    /// owner has most likely lost the other factor, and would not get in again.
    pub(crate) fn after_last_recovery_code(mut self) -> Self {
        self.demands.enrolment = Enrolment::LastRecoveryCode;
        self
    }

    /// True if the password was proved, and only the second factor of the account is missing.
    pub(crate) fn waits_for_second_factor_alone(&self) -> bool {
        self.proved.passed_at(Factor::Password).is_some()
            && self.demands.only_second_factor()
            && self.stage() == Stage::PendingSecondFactor
    }

    /// Returns true if this factor would be enough as the second step.
    pub(crate) fn accepts(&self, factor: Factor) -> bool {
        self.demands.accepts(factor)
    }

    /// True if the sign-in is complete, and the account requires nothing besides its second factor.
    pub(crate) fn ends_with_second_factor(&self) -> bool {
        self.demands.only_second_factor() && self.stage() == Stage::Full
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.by_trusted_device {
            true => Stage::Full,
            false => self.demands.stage(&self.proved, self.is_further()),
        }
    }

    /// Only a second step is further than the first one. A sign-in that sets up a factor has not taken
    /// one, unless a recovery code was used in it: then this is true even if no earlier factor counts,
    /// because the request comes from another source.
    fn is_further(&self) -> bool {
        match self.before {
            Before::Unfinished(state, _) => {
                state.stage == Stage::PendingSecondFactor || state.has_proved(Factor::RecoveryCode)
            }
            Before::Replaces(_) => false,
        }
    }

    /// Locks the account's row. This must be the first statement of the transaction.
    pub(crate) async fn lock(&self, txn: &Txn<'_>) -> Result<Locked, SessionError> {
        if self.stage() == Stage::Full {
            // If the epoch has changed since the row was read, or the account was disabled, nothing
            // is updated.
            if !account_store::note_login(txn, self.row.id, self.row.epoch, self.now).await? {
                return Err(SessionError::Ended);
            }
        } else {
            session_store::lock_account(txn, self.row.id).await?;
        }
        Ok(Locked(()))
    }

    /// Makes the session. The caller then calls [`committed`](Made::committed).
    pub(crate) async fn make(self, txn: &Txn<'_>, _: Locked) -> Result<Made, SessionError> {
        let context = self.auth.context();
        let stage = self.stage();
        if let (Stage::Full, Enrolment::Due(due)) = (stage, self.demands.enrolment) {
            enrolled_store::set_enrolment_due(txn, self.row.id, due).await?;
        }
        if self.demands.has_second(&self.proved, self.is_further()) {
            // An owner who has a second factor needs no recovery, even if they must set a new password or
            // another factor next.
            recovering::has_factor(txn, context, self.row, self.client, self.now).await?;
        }
        let mut account = Account::from(self.row.clone());
        if stage == Stage::PendingSecondFactor {
            // The methods of the sign-in are those that are enough.
            account.enrolled = self.demands.accepted;
            account.mailed_code_at = mailed_code_at(context, self.row.password_mailed_at);
        }
        if stage == Stage::Full
            && let Some(new) = NewDevice::of(context, self.row, self.client, self.device, self.now)
        {
            new.record(txn).await?;
        }
        let start = StartSession::new(context, context.db(), self.client)
            .of(&account)
            .at_epoch(self.epoch)
            .at_stage(stage)
            .passed(self.proved)
            .event(EventKind::LoginSucceeded);
        let start = match self.before {
            Before::Replaces(replaces) => {
                start.remember(self.remember).transport(self.transport).replaces(replaces)
            }
            Before::Unfinished(state, transport) => start.going_on_from(state, transport),
        };
        let due = match self.demands.enrolment {
            Enrolment::Due(due) => Some(due).filter(|_| stage == Stage::Full),
            Enrolment::NotNeeded | Enrolment::Now | Enrolment::LastRecoveryCode => None,
        };
        let trust = &context.config.trusted_device;
        let offers_trust = trust.enabled && (!self.row.superuser || trust.superusers);
        let issued = start.inside(txn).issue().await?.with_enrolment_due(due);
        Ok(Made { issued: issued.offering_trust(offers_trust), account: account.id(), stage })
    }
}

/// Proves that the transaction has locked the account's row, and that a complete sign-in was
/// recorded.
pub(crate) struct Locked(());

impl Locked {
    /// For a flow that has changed the account's row itself in this transaction. If the sign-in is
    /// complete, that change must have recorded it.
    pub(crate) fn by_the_flow() -> Self {
        Self(())
    }
}

/// A session that was made in a transaction.
#[must_use = "the sign-in ends when this is committed"]
pub(crate) struct Made {
    issued: Issued,
    account: AccountId,
    stage: Stage,
}

impl Made {
    /// Returns the lineage of the session.
    #[cfg(feature = "federation")]
    pub(crate) fn lineage_id(&self) -> Option<LineageId> {
        self.issued.lineage_id()
    }

    /// Adds the token of a trusted device to the answer.
    pub(crate) fn with_trusted_device(self, token: Option<TrustedToken>) -> Self {
        match token {
            Some(token) => Self { issued: self.issued.with_trusted_device(token), ..self },
            None => self,
        }
    }

    /// Does what follows after the commit.
    pub(crate) async fn committed(self, auth: &Portcullis) -> LoginOutcome {
        if self.stage == Stage::Full {
            auth.memberships_at_sign_in(self.account).await;
        }
        auth.watch_upkeep();
        match self.stage {
            Stage::Full => LoginOutcome::Session(self.issued),
            Stage::PendingSecondFactor => LoginOutcome::SecondFactorRequired(self.issued),
            Stage::MustChangePassword => LoginOutcome::PasswordChangeRequired(self.issued),
            // No account signs in as a visitor. If it happened, the user would not be signed in.
            Stage::MustEnrol | Stage::Anonymous => LoginOutcome::EnrolmentRequired(self.issued),
        }
    }
}

/// Records that a hook refused a sign-in, after its transaction was rolled back.
pub(crate) async fn record_refusal(
    auth: &Portcullis,
    account: AccountId,
    client: &ClientInfo,
    now: Timestamp,
) -> Result<(), Fault> {
    let event = Event::new(EventKind::LoginFailed, now).account(account).from_client(client);
    transaction!(auth.context().db(), |txn| {
        audit_log::record(txn, &event.clone().failed("refused")).await?;
        Ok(())
    })
}

/// Decides which session a new one replaces, and whether it continues its lineage. A visitor who
/// signs in keeps the lineage, and so does an `account` that signs in again. Another account gets
/// nothing of the old session.
///
/// A session that was already replaced by a step-up is not continued either. Its data went to its
/// successor, which may live in another tab, and two sign-ins never share a lineage. Without
/// `account` there is nothing to continue: the account is new, or it goes to another person.
pub(crate) fn replaces(before: &Resolved, account: Option<AccountId>) -> Option<Replaces> {
    let same = |id| account == Some(id);
    let (state, goes_on) = match before {
        Resolved::Nobody(_) | Resolved::ApiKey(_) => return None,
        Resolved::Anonymous(session) => (&session.state, true),
        Resolved::Pending(session) => (&session.state, same(session.account().id())),
        Resolved::PasswordChange(session) => (&session.state, same(session.account().id())),
        Resolved::Enrolment(session) => (&session.state, same(session.account().id())),
        Resolved::Full(identity) => (&identity.session().state, same(identity.account().id())),
    };
    let lineage_id = (goes_on && !before.is_superseded()).then_some(state.lineage_id);
    Some(Replaces { id: state.id, lineage_id, promotes: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demands(enrolled: &[Factor], new_password: bool) -> Demands {
        let enrolled: EnrolledFactors = enrolled.iter().copied().collect();
        let enrolment = Enrolment::NotNeeded;
        let asks = !enrolled.is_empty();
        Demands { enrolled, asks, accepted: enrolled, new_password, enrolment }
    }

    #[test]
    fn a_factor_that_must_be_set_up_comes_last_and_a_weak_one_is_not_enough() {
        use Factor::{MailedCode, Password, RecoveryCode, Totp};

        let at = Timestamp::from_millis(1);
        let passed = |proved: &[Factor]| {
            proved.iter().fold(PassedFactors::default(), |passed, one| passed.with(*one, at))
        };
        let now = |enrolled, new| Demands { enrolment: Enrolment::Now, ..demands(enrolled, new) };
        let stage = |demands: Demands, proved: &[Factor]| demands.stage(&passed(proved), false);
        assert_eq!(stage(now(&[], true), &[Password]), Stage::MustChangePassword);
        assert_eq!(stage(now(&[], false), &[Password]), Stage::MustEnrol);
        // The weak factor that the account has is asked first.
        assert_eq!(stage(now(&[MailedCode], false), &[Password]), Stage::PendingSecondFactor);
        assert_eq!(stage(now(&[MailedCode], false), &[Password, MailedCode]), Stage::MustEnrol);
        let due = Demands { enrolment: Enrolment::Due(at), ..demands(&[], false) };
        assert_eq!(stage(due, &[Password]), Stage::Full);
        // After the last recovery code, the new password comes after the factor.
        for new_password in [false, true] {
            let last = demands(&[Totp, RecoveryCode], new_password);
            let last = Demands { enrolment: Enrolment::LastRecoveryCode, ..last };
            assert_eq!(stage(last, &[Password, RecoveryCode]), Stage::MustEnrol);
            assert_eq!(stage(last, &[Password]), Stage::PendingSecondFactor);
        }
        // Of a weak and a strong one, the strong one counts, and so does a recovery code.
        let both = demands(&[MailedCode, Totp, RecoveryCode], false);
        let strong = Demands { accepted: both.enrolled.without(MailedCode), ..both };
        assert_eq!(stage(strong, &[Password, MailedCode]), Stage::PendingSecondFactor);
        assert_eq!(stage(strong, &[Password, Totp]), Stage::Full);
        assert_eq!(stage(strong, &[Password, RecoveryCode]), Stage::Full);
    }

    #[test]
    fn the_stage_follows_from_what_is_demanded_and_proved() {
        use Factor::{External, MailedCode, Passkey, Password, Totp};

        let none: &[Factor] = &[];
        let table: [(&[Factor], bool, &[Factor], Stage); 13] = [
            (none, false, &[Password], Stage::Full),
            (none, false, none, Stage::Full),
            (none, true, &[Password], Stage::MustChangePassword),
            (&[Totp], false, &[Password], Stage::PendingSecondFactor),
            // The factor comes first: a person who only knows the password must not set a new one.
            (&[Totp], true, &[Password], Stage::PendingSecondFactor),
            (&[Totp], true, &[Password, Totp], Stage::MustChangePassword),
            (&[Totp], false, &[Password, Totp], Stage::Full),
            (&[Totp, Passkey], false, &[Passkey], Stage::Full),
            // A factor that the account has not enrolled proves nothing about it.
            (&[Totp], false, &[Password, Passkey], Stage::PendingSecondFactor),
            // A password is no second factor, whatever the row says. No factor is a second one by
            // itself.
            (&[Password], false, &[Password], Stage::PendingSecondFactor),
            (&[Password, Totp], false, &[Password], Stage::PendingSecondFactor),
            (&[MailedCode], false, &[MailedCode], Stage::PendingSecondFactor),
            (&[MailedCode], false, &[External, MailedCode], Stage::Full),
        ];
        for (enrolled, new_password, proved, stage) in table {
            let demands = demands(enrolled, new_password);
            let at = Timestamp::from_millis(1);
            let passed = proved
                .iter()
                .fold(PassedFactors::default(), |passed, factor| passed.with(*factor, at));
            assert_eq!(
                demands.stage(&passed, false),
                stage,
                "{enrolled:?} {new_password} {proved:?}"
            );
        }
    }

    #[test]
    fn a_further_step_is_a_second_factor_whatever_the_first_one_proved() {
        use Factor::{External, Password, Totp};

        let table: [(&[Factor], &[Factor], Stage); 4] = [
            (&[Totp], &[Totp], Stage::Full),
            (&[External], &[External], Stage::Full),
            // Still only one that the account has enrolled, and that is no password.
            (&[Totp], &[External], Stage::PendingSecondFactor),
            (&[Password], &[Password], Stage::PendingSecondFactor),
        ];
        for (enrolled, proved, stage) in table {
            let demands = demands(enrolled, false);
            let at = Timestamp::from_millis(1);
            let passed = PassedFactors::one(proved[0], at);
            assert_eq!(demands.stage(&passed, true), stage, "{enrolled:?} {proved:?}");
        }
    }
}
