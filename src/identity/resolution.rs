//! What was found out about a request, at any stage of a sign-in.

use super::error::{AuthError, NotSignedIn};
use super::principal::ApiKeyIdentity;
use super::resolved::Identity;
use crate::account::Account;
use crate::base::id::{LineageId, SessionId};
use crate::session::{
    AnonymousSession, EnrolmentSession, PasswordChangeSession, PendingSession, Stage,
};

/// Who sent a request, at any stage.
#[derive(Debug, Clone)]
pub(crate) enum Resolved {
    Nobody(NotSignedIn),
    Anonymous(AnonymousSession),
    Pending(PendingSession),
    PasswordChange(PasswordChangeSession),
    Enrolment(EnrolmentSession),
    Full(Identity),
    /// A program with an API key. It is never a session.
    ApiKey(ApiKeyIdentity),
}

impl Resolved {
    /// Returns the id of the session, at any stage.
    pub(crate) fn session_id(&self) -> Option<SessionId> {
        match self {
            Self::Nobody(_) | Self::ApiKey(_) => None,
            Self::Anonymous(session) => Some(session.id()),
            Self::Pending(session) => Some(session.id()),
            Self::PasswordChange(session) => Some(session.id()),
            Self::Enrolment(session) => Some(session.id()),
            Self::Full(identity) => Some(identity.session().id()),
        }
    }

    /// Returns the lineage of the session, at any stage.
    pub(crate) fn lineage_id(&self) -> Option<LineageId> {
        match self {
            Self::Nobody(_) | Self::ApiKey(_) => None,
            Self::Anonymous(session) => Some(session.state.lineage_id),
            Self::Pending(session) => Some(session.state.lineage_id),
            Self::PasswordChange(session) => Some(session.state.lineage_id),
            Self::Enrolment(session) => Some(session.state.lineage_id),
            Self::Full(identity) => Some(identity.session().lineage_id()),
        }
    }

    /// Returns the stage of the session, if there is one.
    #[cfg(feature = "routes")]
    pub(crate) fn stage(&self) -> Option<Stage> {
        match self {
            Self::Nobody(_) | Self::ApiKey(_) => None,
            Self::Anonymous(_) => Some(Stage::Anonymous),
            Self::Pending(_) => Some(Stage::PendingSecondFactor),
            Self::PasswordChange(_) => Some(Stage::MustChangePassword),
            Self::Enrolment(_) => Some(Stage::MustEnrol),
            Self::Full(_) => Some(Stage::Full),
        }
    }

    /// Returns the account of the session, at any stage, or that of the API key.
    pub(crate) fn account(&self) -> Option<&Account> {
        match self {
            Self::Nobody(_) | Self::Anonymous(_) => None,
            Self::Pending(session) => Some(session.account()),
            Self::PasswordChange(session) => Some(session.account()),
            Self::Enrolment(session) => Some(session.account()),
            Self::Full(identity) => Some(identity.account()),
            Self::ApiKey(program) => Some(program.account()),
        }
    }

    /// Returns the account and the id of a session whose sign-in was complete. Such a session may have
    /// to set up a second factor meanwhile, because its account got a role. It still belongs to the owner.
    pub(crate) fn signed_in(&self) -> Option<(&Account, SessionId)> {
        match self {
            Self::Full(identity) => Some((identity.account(), identity.session().id())),
            Self::Enrolment(session) if session.state.stage == Stage::Full => {
                Some((session.account(), session.id()))
            }
            Self::Nobody(_)
            | Self::Anonymous(_)
            | Self::Pending(_)
            | Self::PasswordChange(_)
            | Self::Enrolment(_)
            | Self::ApiKey(_) => None,
        }
    }

    /// True if a step-up has replaced this session. It only lets requests finish that other tabs have
    /// already sent.
    pub(crate) fn is_superseded(&self) -> bool {
        match self {
            Self::Full(identity) => identity.is_superseded(),
            Self::Enrolment(session) => session.state.ended.is_some(),
            Self::Nobody(_)
            | Self::Anonymous(_)
            | Self::Pending(_)
            | Self::PasswordChange(_)
            | Self::ApiKey(_) => false,
        }
    }

    /// Returns the error where a full session is needed and this is none.
    pub(crate) fn no_session(&self) -> AuthError {
        AuthError::NotSignedIn(match self {
            Self::Nobody(reason) => *reason,
            Self::Anonymous(_) => NotSignedIn::Anonymous,
            Self::Pending(_) => NotSignedIn::SecondFactorRequired,
            Self::PasswordChange(_) => NotSignedIn::PasswordChangeRequired,
            Self::Enrolment(_) => NotSignedIn::EnrolmentRequired,
            Self::Full(_) => NotSignedIn::NoCredential,
            Self::ApiKey(_) => return AuthError::SessionRequired,
        })
    }
}
