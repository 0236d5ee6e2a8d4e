//! Codes and links that were sent to an account and not used yet: their kinds, and how they all end
//! at once.
//!
//! This module is below [`account`](crate::account), which ends them in the transaction of a
//! change. [`one_time`](crate::one_time), which owns the rows, needs accounts and sessions, so it
//! is above both.

use std::borrow::Cow;

use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ConnectionTrait, DbErr};

use crate::base::clock::Timestamp;
use crate::base::id::AccountId;
use crate::config::ChallengeConfig;

/// The prefix of your application's purposes in a row.
pub(crate) const APPLICATION: &str = "app:";

/// The purpose of a challenge. A code or link for one purpose is never accepted for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Proving the address of an account.
    Verification,
    /// Setting a new password after the old one was forgotten.
    PasswordReset,
    /// A sign-in by mail. It belongs to the browser that asked, so each browser has its own.
    MailLogin,
    /// Proving a new mail address.
    EmailChange,
    /// Undoing a change of the mail address, from the old one.
    EmailUndo,
    /// Proving a new phone number.
    PhoneChange,
    /// Undoing a change of the phone number, from the old one.
    PhoneUndo,
    /// Proving a further address.
    LoginName,
    /// Undoing the addition of a further name.
    LoginNameUndo,
    /// Reopening a closed account.
    AccountKeep,
    /// A code as a factor, for one session.
    FactorCode,
    /// Undoing the set-up of a second factor.
    FactorUndo,
    /// Objecting to a recovery by an administrator.
    RecoveryObjection,
    /// The last step of a recovery: setting a new password.
    AccountRecovery,
    /// The consent to one action.
    ActionProof,
    /// A purpose of your application.
    Application(ApplicationPurpose),
}

impl Kind {
    /// All kinds except those of the application.
    pub(crate) const OURS: [Self; 15] = [
        Self::Verification,
        Self::PasswordReset,
        Self::MailLogin,
        Self::EmailChange,
        Self::EmailUndo,
        Self::PhoneChange,
        Self::PhoneUndo,
        Self::LoginName,
        Self::LoginNameUndo,
        Self::AccountKeep,
        Self::FactorCode,
        Self::FactorUndo,
        Self::RecoveryObjection,
        Self::AccountRecovery,
        Self::ActionProof,
    ];

    /// Returns the name in the row. The application's names have a prefix, so they never equal
    /// others.
    pub(crate) fn name(&self) -> Cow<'static, str> {
        match self {
            Self::Verification => "verification".into(),
            Self::PasswordReset => "password_reset".into(),
            Self::MailLogin => "mail_login".into(),
            Self::EmailChange => "email_change".into(),
            Self::EmailUndo => "email_undo".into(),
            Self::PhoneChange => "phone_change".into(),
            Self::PhoneUndo => "phone_undo".into(),
            Self::LoginName => "login_name".into(),
            Self::LoginNameUndo => "login_name_undo".into(),
            Self::AccountKeep => "account_keep".into(),
            Self::FactorCode => "factor_code".into(),
            Self::FactorUndo => "factor_undo".into(),
            Self::RecoveryObjection => "recovery_objection".into(),
            Self::AccountRecovery => "account_recovery".into(),
            Self::ActionProof => "action_proof".into(),
            Self::Application(purpose) => format!("{APPLICATION}{}", purpose.0).into(),
        }
    }

    /// Returns true if a row with this purpose contains an address that the account had when the row
    /// was made. All others contain an address that somebody typed, or none. It may be another
    /// person's.
    pub(crate) fn contains_own_address(purpose: &str) -> bool {
        let kind = Self::OURS.iter().find(|kind| kind.name() == purpose);
        kind.is_some_and(|kind| match kind {
            Self::PasswordReset
            | Self::MailLogin
            | Self::EmailUndo
            | Self::PhoneUndo
            | Self::LoginNameUndo
            | Self::AccountKeep
            | Self::RecoveryObjection
            | Self::AccountRecovery => true,
            Self::Verification
            | Self::EmailChange
            | Self::PhoneChange
            | Self::LoginName
            | Self::FactorCode
            | Self::FactorUndo
            | Self::ActionProof
            | Self::Application(_) => false,
        })
    }

    /// Returns true if it stays valid when the outstanding codes and links of its account end.
    ///
    /// A link that undoes a change always stays. Otherwise a thief who took over the account could
    /// end the owner's link by changing something. Whether such a link still works is decided by
    /// what the account remembers, and not by its row: see [`former`](crate::account::former).
    /// The same applies to a link that reopens a closed account: see
    /// [`closing`](crate::account::closing). And to the links of a recovery, which objects to it or finishes
    /// it: see [`recovering`](crate::account::recovering). Otherwise a thief could end the recovery of the
    /// owner with a new password, and nobody would see it. A link that undoes the set-up of a factor is bound to the
    /// address to which it was sent.
    fn outlives(&self, ending: Ending<'_>) -> bool {
        match (self, ending) {
            (_, Ending::Kind(_)) => false,
            (
                Self::EmailUndo
                | Self::PhoneUndo
                | Self::LoginNameUndo
                | Self::AccountKeep
                | Self::FactorUndo
                | Self::RecoveryObjection
                | Self::AccountRecovery,
                _,
            ) => true,
            (Self::Verification, Ending::BySession { verified }) => !verified,
            _ => false,
        }
    }
}

/// The name of a purpose of your application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApplicationPurpose(String);

impl ApplicationPurpose {
    /// Accepts 1 to 48 lower-case ASCII letters, digits, dashes or underscores.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        ChallengeConfig::is_purpose(text).then(|| Self(text.to_owned()))
    }
}

/// What is to end.
#[derive(Clone, Copy)]
pub(crate) enum Ending<'a> {
    /// Everything, except links that undo a change.
    All,
    /// The same, if a session of the account causes it. As long as nobody has proved the account's
    /// address, a code or link that proves it stays valid. The session may belong to someone who
    /// registered with another person's address. They could otherwise stop that person by changing
    /// the password again and again.
    BySession {
        /// True if its address was ever proved.
        verified: bool,
    },
    /// Everything of one kind.
    Kind(&'a Kind),
}

/// Ends the outstanding codes and links of an account. Returns how many there were.
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
    match ending {
        Ending::Kind(kind) => update.and_where(Expr::col("purpose").eq(&*kind.name())),
        Ending::All | Ending::BySession { .. } => {
            let outlive = Kind::OURS.iter().filter(|kind| kind.outlives(ending));
            update.and_where(Expr::col("purpose").is_not_in(outlive.map(Kind::name)))
        }
    };
    Ok(db.execute(&update).await?.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_of_the_applications_is_a_plain_word() {
        for good in ["transfer", "a", "delete-account", "step_2", &"x".repeat(48)] {
            assert!(ApplicationPurpose::parse(good).is_some(), "{good}");
        }
        for bad in ["", "Transfer", "app:transfer", "a b", "é", "a.b", &"x".repeat(49)] {
            assert!(ApplicationPurpose::parse(bad).is_none(), "{bad}");
        }
        let ours = Kind::Application(ApplicationPurpose::parse("verification").expect("a word"));
        assert_ne!(ours.name(), Kind::Verification.name());
    }

    #[test]
    fn what_undoes_a_change_outlives_every_ending_and_a_proof_some() {
        let table = [
            (
                Ending::All,
                vec![
                    "email_undo",
                    "phone_undo",
                    "login_name_undo",
                    "account_keep",
                    "factor_undo",
                    "recovery_objection",
                    "account_recovery",
                ],
            ),
            (
                Ending::BySession { verified: true },
                vec![
                    "email_undo",
                    "phone_undo",
                    "login_name_undo",
                    "account_keep",
                    "factor_undo",
                    "recovery_objection",
                    "account_recovery",
                ],
            ),
            (
                Ending::BySession { verified: false },
                vec![
                    "verification",
                    "email_undo",
                    "phone_undo",
                    "login_name_undo",
                    "account_keep",
                    "factor_undo",
                    "recovery_objection",
                    "account_recovery",
                ],
            ),
            (Ending::Kind(&Kind::EmailUndo), vec![]),
        ];
        for (ending, names) in table {
            let outlive = Kind::OURS.iter().filter(|kind| kind.outlives(ending));
            assert_eq!(outlive.map(Kind::name).collect::<Vec<_>>(), names);
        }
    }
}
