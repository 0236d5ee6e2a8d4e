//! How every way to sign in ends: one function makes the session that follows from what was proved.
//!
//! 1. It decides the [stage](Stage) from what the account demands and what was proved. A second factor
//!    comes before a new password, because somebody who only knows the password must not set a new one.
//! 2. It locks the account's row first, or the flow has changed that row before ([`Locked::by_the_flow`]).
//!    So two sign-ins of one account never wait for each other in a circle. If the account was changed
//!    since its row was read, nothing is made.
//! 3. A sign-in that goes all the way notes when it was, tells the owner of a device that is new, and runs
//!    the hooks. A sign-in that still needs something does none of this: its last step will.
//! 4. It ends the session that the new one takes the place of, or goes on from.
//! 5. After the commit the memberships of the account are asked for.
//!
//! All of it is one transaction of the flow that calls it. [`Made`] is how the compiler makes sure that
//! the last step is not forgotten.

use crate::account::entity::account;
use crate::account::{Account, store as account_store};
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::{EnrolledFactors, Factor, PassedFactors};
use crate::base::id::AccountId;
use crate::base::transaction::{Fault, Txn, transaction};
use crate::handle::Portcullis;
use crate::identity::resolved::Resolved;
use crate::new_device::NewDevice;
use crate::session::device::{Device, Devices};
use crate::session::issue::Replaces;
use crate::session::judge::SessionState;
use crate::session::{
    Issued, SessionError, Stage, StartSession, Transport, store as session_store,
};

/// What a sign-in leads to.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "the client is signed in when it gets this"]
pub enum LoginOutcome {
    /// Signed in.
    Session(Issued),
    /// A second factor is still needed.
    SecondFactorRequired(Issued),
    /// A new password has to be set first.
    PasswordChangeRequired(Issued),
    /// A second factor has to be enrolled first.
    EnrolmentRequired(Issued),
}

impl LoginOutcome {
    /// What to add to the answer, whichever it is.
    pub fn into_issued(self) -> Issued {
        match self {
            Self::Session(issued)
            | Self::SecondFactorRequired(issued)
            | Self::PasswordChangeRequired(issued)
            | Self::EnrolmentRequired(issued) => issued,
        }
    }
}

/// What an account asks of somebody who signs in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demands {
    pub(crate) enrolled: EnrolledFactors,
    pub(crate) new_password: bool,
}

impl Demands {
    pub(crate) fn of(row: &account::Model) -> Self {
        Self {
            enrolled: EnrolledFactors(row.enrolled_factors),
            new_password: row.must_change_password,
        }
    }

    /// Whether a factor that the account has enrolled comes on top of something else. A password is never
    /// a second factor, and one factor alone is none, whichever it is. A passkey is both: it asks for the
    /// person too. `further` says that another step came before the last factor, whatever it proved.
    fn has_second(self, proved: &PassedFactors, further: bool) -> bool {
        let enrolled = |factor| factor != Factor::Password && self.enrolled.contains(factor);
        let several = further || proved.iter().count() > 1;
        proved.iter().any(|(factor, _)| enrolled(factor) && (several || factor == Factor::Passkey))
    }

    /// How far these factors lead.
    fn stage(self, proved: &PassedFactors, further: bool) -> Stage {
        if !self.enrolled.is_empty() && !self.has_second(proved, further) {
            Stage::PendingSecondFactor
        } else if self.new_password {
            Stage::MustChangePassword
        } else {
            Stage::Full
        }
    }
}

/// What the new session comes after.
#[derive(Clone, Copy)]
enum Before<'a> {
    /// Whatever the client had is swept aside.
    Replaces(Option<Replaces>),
    /// A sign-in that was not finished goes on. It must still be alive, so it goes on only once.
    Unfinished(&'a SessionState, Transport),
}

/// A session about to be made for somebody who has proved who they are.
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
}

impl<'a> NewSession<'a> {
    /// For the account in `row`, which may be used, and whose sign-in `proved` these factors.
    pub(crate) fn new(
        auth: &'a Portcullis,
        row: &'a account::Model,
        proved: PassedFactors,
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
            demands: Demands::of(row),
            before: Before::Replaces(None),
            remember: true,
            transport: Transport::Cookie,
            now,
        }
    }

    /// In the place of what the client had before.
    pub(crate) fn replacing(mut self, replaces: Option<Replaces>) -> Self {
        self.before = Before::Replaces(replaces);
        self
    }

    /// Goes on from a sign-in that was not finished, and keeps what it was. The factor that was proved
    /// now is another one than before: the caller has checked that.
    pub(crate) fn finishing(mut self, unfinished: &'a SessionState, transport: Transport) -> Self {
        self.before = Before::Unfinished(unfinished, transport);
        self
    }

    /// For an account that the transaction changes, so that it asks something else by then.
    pub(crate) fn demands(mut self, demands: Demands) -> Self {
        self.demands = demands;
        self
    }

    /// For an account whose epoch the transaction moves on.
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

    pub(crate) fn stage(&self) -> Stage {
        self.demands.stage(&self.proved, matches!(self.before, Before::Unfinished(..)))
    }

    /// Locks the account's row, as the first thing that the transaction does.
    pub(crate) async fn lock(&self, txn: &Txn<'_>) -> Result<Locked, SessionError> {
        if self.stage() == Stage::Full {
            // What changed the account since its row was read has moved the epoch, or disabled it.
            if !account_store::note_login(txn, self.row.id, self.row.epoch, self.now).await? {
                return Err(SessionError::Over);
            }
        } else {
            session_store::lock_account(txn, self.row.id).await?;
        }
        Ok(Locked(()))
    }

    /// Makes the session. To be [committed](Made::committed).
    pub(crate) async fn make(self, txn: &Txn<'_>, _: Locked) -> Result<Made, SessionError> {
        let context = self.auth.context();
        let stage = self.stage();
        let account = Account::from(self.row.clone());
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
        Ok(Made { issued: start.inside(txn).issue().await?, account: account.id(), stage })
    }
}

/// That the transaction has locked the account's row, and noted the sign-in if it goes all the way.
pub(crate) struct Locked(());

impl Locked {
    /// For a flow that has changed the account's row itself in this transaction, and noted the sign-in in it
    /// if it goes all the way.
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
    /// What follows once the transaction has committed.
    pub(crate) async fn committed(self, auth: &Portcullis) -> LoginOutcome {
        if self.stage == Stage::Full {
            auth.memberships_at_sign_in(self.account).await;
        }
        auth.watch_upkeep();
        match self.stage {
            Stage::Full => LoginOutcome::Session(self.issued),
            Stage::PendingSecondFactor => LoginOutcome::SecondFactorRequired(self.issued),
            Stage::MustChangePassword => LoginOutcome::PasswordChangeRequired(self.issued),
            // No account signs in to become a visitor; if it did, it would not be signed in.
            Stage::MustEnrol | Stage::Anonymous => LoginOutcome::EnrolmentRequired(self.issued),
        }
    }
}

/// Writes down that a hook refused a sign-in, whose transaction is rolled back.
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

/// What a new session takes the place of. A visitor who signs in stays the same visitor, and so does
/// an `account` that signs in again; for another account nothing of the old session goes on. Nor does
/// anything go on from a session that was replaced and only lingers: what hung on it went to its
/// successor, which may live on in another tab, and no two sign-ins are one lineage. Without an account
/// none can be the same: it is new, or it goes to another person.
pub(crate) fn replaces(before: &Resolved, account: Option<AccountId>) -> Option<Replaces> {
    let same = |id| account == Some(id);
    let (state, goes_on) = match before {
        Resolved::Nobody(_) => return None,
        Resolved::Anonymous(session) => (&session.state, true),
        Resolved::Pending(session) => (&session.state, same(session.account().id())),
        Resolved::PasswordChange(session) => (&session.state, same(session.account().id())),
        Resolved::Enrolment(session) => (&session.state, same(session.account().id())),
        Resolved::Full(identity) => {
            let same = same(identity.account().id()) && !identity.is_superseded();
            (&identity.session().state, same)
        }
    };
    let lineage_id = goes_on.then_some(state.lineage_id);
    Some(Replaces { id: state.id, lineage_id, promotes: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stage_follows_from_what_is_demanded_and_proved() {
        use Factor::{External, MailedCode, Passkey, Password, Totp};

        let none: &[Factor] = &[];
        let table: [(&[Factor], bool, &[Factor], Stage); 13] = [
            (none, false, &[Password], Stage::Full),
            (none, false, none, Stage::Full),
            (none, true, &[Password], Stage::MustChangePassword),
            (&[Totp], false, &[Password], Stage::PendingSecondFactor),
            // First the factor: who only knows the password sets no new one.
            (&[Totp], true, &[Password], Stage::PendingSecondFactor),
            (&[Totp], true, &[Password, Totp], Stage::MustChangePassword),
            (&[Totp], false, &[Password, Totp], Stage::Full),
            (&[Totp, Passkey], false, &[Passkey], Stage::Full),
            // A factor that the account has not enrolled proves nothing about it.
            (&[Totp], false, &[Password, Passkey], Stage::PendingSecondFactor),
            // A password is no second factor, whatever the row says, and nothing is one by itself.
            (&[Password], false, &[Password], Stage::PendingSecondFactor),
            (&[Password, Totp], false, &[Password], Stage::PendingSecondFactor),
            (&[MailedCode], false, &[MailedCode], Stage::PendingSecondFactor),
            (&[MailedCode], false, &[External, MailedCode], Stage::Full),
        ];
        for (enrolled, new_password, proved, stage) in table {
            let demands = Demands { enrolled: enrolled.iter().copied().collect(), new_password };
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
            let demands =
                Demands { enrolled: enrolled.iter().copied().collect(), new_password: false };
            let at = Timestamp::from_millis(1);
            let passed = PassedFactors::one(proved[0], at);
            assert_eq!(demands.stage(&passed, true), stage, "{enrolled:?} {proved:?}");
        }
    }
}
