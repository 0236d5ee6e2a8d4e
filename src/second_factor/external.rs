//! How a code of a factor of your own is found right: the question to the application, and the
//! state of a challenge.

use zeroize::Zeroizing;

use super::error::SecondFactorError;
use crate::account::entity::account;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::factor::Factor;
use crate::base::id::SessionId;
use crate::base::problem::ErrorChain;
use crate::base::seal::{Sealed, Sealer};
use crate::base::secret::Purpose;
use crate::base::transaction::Txn;
use crate::context::{Context, PerInstance};
use crate::handle::Portcullis;
use crate::hook::caught;
use crate::one_time::{self, Challenge, Tries};
use crate::outstanding::Kind;
use crate::port::{ExternalAttempt, ExternalFactor, ExternalVerdict, HookFuture};
use crate::sent_code::{TRIES, target};

pub(super) const FACTOR: Factor = Factor::External;

pub(super) fn attempt(
    row: &account::Model,
    session_id: SessionId,
    client: &ClientInfo,
) -> ExternalAttempt {
    ExternalAttempt { account_id: row.id, session_id, address: client.address() }
}

/// Asks the application, with the time limit.
pub(super) async fn ask<T: Send + 'static>(
    context: &Context,
    question: impl for<'p> FnOnce(&'p (dyn ExternalFactor + 'static)) -> HookFuture<'p, T>
    + Send
    + 'static,
) -> Result<T, SecondFactorError> {
    let Some(port) = &context.external_factor else {
        return Err(SecondFactorError::NoExternalFactor);
    };
    let limit = context.config.factor.external_timeout;
    let asked = port.ask(limit, move |port| {
        Box::pin(async move { caught("the external factor", || question(port)).await })
    });
    let failed = match asked.await {
        Some(Ok(answer)) => return Ok(answer),
        Some(Err(error)) => ErrorChain(&*error).to_string(),
        None => format!("the external factor did not answer within {limit:?}"),
    };
    Err(SecondFactorError::Unavailable(failed.into()))
}

/// What became of a code that somebody typed.
pub(super) enum TypedExternal {
    Right(Box<RightExternal>),
    Wrong,
    /// There were too many wrong ones. The challenge is worth nothing any more.
    Ended,
}

/// A code that the application found right. It is used up by [`spend`](Self::spend).
pub(super) struct RightExternal(Option<Challenge>);

impl RightExternal {
    /// Asks the application about what a person typed, with the newest challenge of this session.
    pub(super) async fn find(
        auth: &Portcullis,
        row: &account::Model,
        session: SessionId,
        typed: &Zeroizing<String>,
        client: &ClientInfo,
    ) -> Result<TypedExternal, SecondFactorError> {
        let context = auth.context();
        let db = context.db();
        let target = target(session, FACTOR);
        let (executor, kind) = (db.executor(), &Kind::FactorCode);
        let newest = one_time::newest(&executor, context, kind, Some(row.id), &target);
        let found = db.read(newest).await.map_err(SecondFactorError::Fault)?;
        let found = found.filter(|found| found.is_open(context.now()));
        let keys = auth.per_instance::<StateKeys>();
        let state = found.as_ref().and_then(|found| keys.open(found.data(), &target));
        // A challenge that cannot be read is none.
        let challenge = found.filter(|_| state.is_some());
        if challenge.as_ref().is_some_and(|challenge| !challenge.has_try(TRIES)) {
            return Ok(TypedExternal::Ended);
        }
        let (attempt, typed) = (attempt(row, session, client), typed.clone());
        let verdict = ask(context, move |port| {
            Box::pin(async move {
                let state = state.as_ref().map(|state| state.as_str());
                port.verify(&attempt, state, &typed).await
            })
        });
        let verdict = verdict.await?;
        // After the question, because a factor that fails must not cost a try. Nobody learns the verdict of
        // a request that got no try, so parallel requests learn no more than this many.
        if let Some(challenge) = &challenge
            && !db.retry(|| challenge.take_try(&executor, TRIES)).await?
        {
            return Ok(TypedExternal::Ended);
        }
        Ok(match verdict {
            ExternalVerdict::Right => TypedExternal::Right(Box::new(Self(challenge))),
            ExternalVerdict::Wrong => TypedExternal::Wrong,
        })
    }

    /// Uses up the challenge. Returns false if another request used it first. Without one, only the
    /// application knows whether the code was used.
    pub(super) async fn spend(
        &self,
        txn: &Txn<'_>,
        now: Timestamp,
    ) -> Result<bool, sea_orm::DbErr> {
        match &self.0 {
            Some(challenge) => challenge.answer_and_spend(txn, now).await,
            None => Ok(true),
        }
    }
}

/// Encrypts the state of challenges, which may reveal the answer.
pub(super) struct StateKeys(Sealer);

impl PerInstance for StateKeys {
    fn open(context: &Context) -> Self {
        Self(Sealer::new(&context.config.keys.secrets, Purpose::ExternalChallenge))
    }
}

impl StateKeys {
    /// Returns the data of a challenge.
    pub(super) fn seal(&self, state: &str, target: &str) -> String {
        let Sealed { key_id, text } = self.0.seal(state.as_bytes(), target.as_bytes());
        Tries::none_of(&format!("{key_id}:{text}")).to_string()
    }

    fn open(&self, data: Option<&str>, target: &str) -> Option<Zeroizing<String>> {
        let (key_id, text) = Tries::read(data).rest?.rsplit_once(':')?;
        let state = self.0.open(key_id, text, target.as_bytes())?;
        String::from_utf8(state.to_vec()).ok().map(Zeroizing::new)
    }
}
