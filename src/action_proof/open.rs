//! Asking whether a consent is still open, without using it up.

use std::fmt;

use quick_cache::sync::Cache;

use super::{ActionProofError, ActionProofs, Expected};
use crate::base::clock::Timestamp;
use crate::base::id::{ChallengeId, SessionId};
use crate::base::jwt::ActionClaims;
use crate::context::Context;
use crate::handle::PerInstance;
use crate::identity::{AuthError, Identity};

/// Whether a check may rely on an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recheck {
    /// It may, for as long as `config.action_proof.remember_open` says.
    WhenDue,
    /// It must ask the database.
    Now,
}

/// A consent that was open when it was checked. It cannot be used up, so nothing that must happen only once
/// may depend on it. For that, there is [`verify`](ActionProofs::verify).
///
/// ```compile_fail,E0599
/// async fn handler(consent: portcullis::action_proof::OpenConsent) {
///     consent.spend(&portcullis::ClientInfo::default()).await;
/// }
/// ```
#[derive(Clone)]
pub struct OpenConsent {
    claims: ActionClaims,
}

impl ActionProofs<'_> {
    /// Checks that a proof of this request's sign-in is still open, for actions that may happen several times
    /// under one consent, such as reading page after page of confidential data.
    ///
    /// It checks everything that [`verify`](Self::verify) checks. The request has just shown that its sign-in
    /// goes on and that its account can be used, so one statement is enough: it reads whether the proof was
    /// used up, taken back or replaced. With `config.action_proof.remember_open`, this process also
    /// remembers the answer, and a further check within that time costs no statement. It asks again at once:
    ///
    /// - with [`Recheck::Now`];
    /// - if another session of the sign-in asks, for example after a step-up;
    /// - if the epoch of the account has changed, for example by a new password or a new factor;
    /// - if this process has used the proof up or taken it back, or its clock was set back.
    ///
    /// Only that a proof is open is remembered, for at most 10 000 proofs. The times in the proof, the session
    /// and the account are compared each time.
    ///
    /// # Errors
    /// As for [`verify`](Self::verify).
    pub async fn check_open(
        &self,
        token: &str,
        expected: &Expected<'_>,
        identity: &Identity,
        recheck: Recheck,
    ) -> Result<OpenConsent, ActionProofError> {
        if identity.is_superseded() {
            return Err(AuthError::superseded().into());
        }
        let claims = self.read(token, &expected.clone().of(identity))?;
        let context = self.auth.context();
        let remembered = context.config.action_proof.remember_open;
        let seen = Seen {
            session: identity.session().id(),
            epoch: identity.account().epoch,
            at: context.now(),
        };
        // What a transaction of the caller shows may be rolled back.
        let memory = (!remembered.is_zero() && !self.db.is_inside())
            .then(|| self.auth.per_instance::<Remembered>());
        let known = memory.as_ref().filter(|_| recheck == Recheck::WhenDue);
        let known = known.and_then(|memory| memory.0.get(&claims.jti)).is_some_and(|known| {
            (known.session, known.epoch) == (seen.session, seen.epoch)
                && known.at <= seen.at
                && seen.at.since(known.at) < remembered
        });
        if !known {
            if let Err(error) = self.open_row(&claims).await {
                self.forget(claims.jti);
                return Err(error);
            }
            if let Some(memory) = &memory {
                memory.0.insert(claims.jti, seen);
            }
        }
        Ok(OpenConsent { claims })
    }

    /// Forgets that a proof was open.
    pub(super) fn forget(&self, id: ChallengeId) {
        self.auth.per_instance::<Remembered>().0.remove(&id);
    }
}

/// What a check has seen of a proof that was open.
#[derive(Debug, Clone, Copy)]
struct Seen {
    session: SessionId,
    epoch: i64,
    at: Timestamp,
}

/// The proofs that were open at the last check.
struct Remembered(Cache<ChallengeId, Seen>);

/// A proof needs about a hundred bytes here.
const MOST_REMEMBERED: usize = 10_000;

impl PerInstance for Remembered {
    fn open(_: &Context) -> Self {
        Self(Cache::new(MOST_REMEMBERED))
    }
}

impl OpenConsent {
    /// Returns the id of the proof. It is not a secret.
    pub fn id(&self) -> ChallengeId {
        self.claims.jti
    }

    /// Returns the action.
    pub fn action(&self) -> &str {
        &self.claims.action
    }

    /// Returns what the action is about.
    pub fn resource(&self) -> Option<&str> {
        self.claims.resource.as_deref()
    }
}

// Written by hand: the claims are long.
impl fmt::Debug for OpenConsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("OpenConsent");
        shown.field("id", &self.claims.jti).field("action", &self.claims.action);
        shown.finish_non_exhaustive()
    }
}
