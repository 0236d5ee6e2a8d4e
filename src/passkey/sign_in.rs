//! Signing in with a passkey alone, without a name.

use std::pin::Pin;

use http::HeaderMap;
use subtle::ConstantTimeEq;

use super::assertion::{CountedUses, RightPasskey, record_failure};
use super::browser::{Browser, PasskeyBrowser};
use super::challenge::{self, ChallengePurpose, Holder};
use super::error::PasskeyError;
use super::options::{self, PasskeyOptions, PasskeySignals, RelyingParty};
use super::store;
use crate::account::entity::account;
use crate::account::{Account, store as account_store};
use crate::base::client::ClientInfo;
use crate::base::factor::{EnrolledFactors, Factor, PassedFactors};
use crate::base::transaction::transaction;
use crate::flow::sign_in::{self, Demands, LoginOutcome, Made, NewSession};
use crate::handle::Portcullis;
use crate::identity::AuthError;
use crate::identity::request_identity::RequestIdentity;
use crate::identity::resolution::Resolved;
use crate::session::{SessionError, Transport};
use crate::webauthn::AuthenticationResponse;

/// Signs in with passkeys. See the [module page](crate::passkey).
#[derive(Debug, Clone)]
pub struct PasskeyLogin<'a> {
    auth: &'a Portcullis,
    browser: Option<Browser>,
    before: Option<Resolved>,
    remember: bool,
    transport: Transport,
}

impl Portcullis {
    /// Returns the flow that signs in with a passkey.
    pub fn passkey_login(&self) -> PasskeyLogin<'_> {
        let (browser, before) = (None, None);
        PasskeyLogin { auth: self, browser, before, remember: true, transport: Transport::Cookie }
    }
}

/// A sign-in with a passkey.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "the client is signed in when it gets this"]
pub struct PasskeySignIn {
    /// The session, or what is still needed.
    pub outcome: LoginOutcome,
    /// What the page tells the browser, if the sign-in is complete.
    pub signals: Option<PasskeySignals>,
}

/// A boxed part of the flow, so that its callers have smaller types.
type Boxed<'f, T> = Pin<Box<dyn Future<Output = Result<T, PasskeyError>> + Send + 'f>>;

impl PasskeyLogin<'_> {
    /// Sets the session that the sign-in replaces: the one of the request. A visitor's session continues as a
    /// session of the account; any other session ends. The mounted route does this. In your own handler, pass
    /// the extensions of its request.
    ///
    /// # Errors
    /// The layer is missing, another site sent the request, or there is an outage.
    pub async fn replacing(mut self, extensions: &http::Extensions) -> Result<Self, AuthError> {
        self.before = Some(RequestIdentity::of(extensions)?.replaced().await?.clone());
        Ok(self)
    }

    /// Identifies the browser by the cookie of its request.
    #[must_use]
    pub fn with_cookie(mut self, headers: &HeaderMap) -> Self {
        self.browser = Browser::shown(self.auth.context(), headers);
        self
    }

    /// Identifies the browser by its [token](PasskeyBrowser::token), for a client that stores the token itself.
    #[must_use]
    pub fn in_browser(mut self, token: &str) -> Self {
        self.browser = Browser::read(token.as_bytes());
        self
    }

    /// Sets whether the session is remembered after the browser closes. The default is `true`.
    #[must_use]
    pub fn remember(mut self, remember: bool) -> Self {
        self.remember = remember;
        self
    }

    /// Sets how the token of the session is sent. The default is the cookie.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Begins a sign-in. It needs no name: the browser shows which passkeys it has. Pass the options to the
    /// browser, and its answer to [`finish`](Self::finish).
    ///
    /// # Errors
    /// [`PasskeyError::RateLimited`], [`PasskeyError::NoDomain`], an outage.
    pub async fn start(
        &self,
        client: &ClientInfo,
    ) -> Result<(PasskeyOptions, PasskeyBrowser), PasskeyError> {
        let context = self.auth.context();
        let party = RelyingParty::of(context)?;
        let quota = context.config.passkey.challenges;
        let limits = self.auth.rate_limits();
        limits.source("passkey_challenges", client.address(), quota).await?;
        // A browser keeps its token, so that two of its tabs can sign in at the same time.
        let browser = self.browser.unwrap_or_else(Browser::new);
        let new = challenge::begin(context, ChallengePurpose::SignIn, &browser.holder()).await?;
        let options = party.request(context, std::iter::empty(), &new);
        Ok((options, PasskeyBrowser::new(context, browser)))
    }

    /// Signs in with the answer of the browser. The challenge is used up, whatever the result is.
    ///
    /// # Errors
    /// - [`PasskeyError::ChallengeEnded`], [`PasskeyError::NotAccepted`], [`PasskeyError::UnknownCredential`],
    ///   [`PasskeyError::Copied`].
    /// - [`PasskeyError::CannotSignIn`] if the account is disabled or deleted, its address is not verified
    ///   although it must be, or it was changed meanwhile.
    /// - [`PasskeyError::Session`] at the limit of sessions; a hook's refusal; an outage.
    pub async fn finish(
        &self,
        response: &AuthenticationResponse,
        client: &ClientInfo,
    ) -> Result<PasskeySignIn, PasskeyError> {
        let finished: Boxed<'_, PasskeySignIn> = Box::pin(self.sign_in(response, client));
        finished.await
    }

    async fn sign_in(
        &self,
        response: &AuthenticationResponse,
        client: &ClientInfo,
    ) -> Result<PasskeySignIn, PasskeyError> {
        let context = self.auth.context();
        let holders: Vec<Holder> = self.browser.iter().map(|browser| browser.holder()).collect();
        let purposes = [ChallengePurpose::SignIn];
        challenge::take(context, response.challenge(), &purposes, &holders).await?;
        let right = RightPasskey::find(context, response).await?;
        let id = right.passkey().account_id;
        let db = context.db();
        let executor = db.executor();
        let handle = db.read(store::handle_of(&executor, id)).await?;
        let shown = response.user_handle();
        let is_user = handle.zip(shown).is_some_and(|(one, other)| one.ct_eq(other).into());
        if !is_user {
            record_failure(context, id, client, "wrong_user").await?;
            return Err(crate::webauthn::PasskeyRefusal::Malformed.into());
        }
        let counted = right.counted();
        if counted == CountedUses::Copied {
            record_failure(context, id, client, "passkey_copied").await?;
            return Err(PasskeyError::Copied);
        }
        let row = db.read(account_store::find(&executor, id)).await?;
        let require_verified = context.config.login.require_verified;
        let now = context.now();
        let row = row.filter(|row| Account::from(row.clone()).is_usable(now, require_verified));
        // An older version on another node may have taken the factor away, and does not know of the rows.
        let row = row.filter(|row| {
            let enrolled = EnrolledFactors(row.enrolled_factors).contains(Factor::Passkey);
            !right.passkey().is_factor || enrolled
        });
        let Some(row) = row else {
            record_failure(context, id, client, "unusable").await?;
            return Err(PasskeyError::CannotSignIn);
        };
        let made = self.make(&row, &right, client).await;
        if let Err(PasskeyError::Refused(_)) = &made {
            sign_in::record_refusal(self.auth, id, client, now).await?;
        }
        let outcome = made?.committed(self.auth).await;
        // Before the second factor, nobody learns the name and the other passkeys of the account.
        let signals = match outcome {
            LoginOutcome::Session(_) => options::signals_after(context, &row).await,
            _ => None,
        };
        Ok(PasskeySignIn { outcome, signals })
    }

    async fn make(
        &self,
        row: &account::Model,
        right: &RightPasskey,
        client: &ClientInfo,
    ) -> Result<Made, PasskeyError> {
        let context = self.auth.context();
        let now = context.now();
        let factor = right.factor(false);
        let proved = PassedFactors::one(factor, now);
        let demands = Demands::read(self.auth, row, now).await?;
        let before = self.before.as_ref();
        let session = NewSession::new(self.auth, row, proved, demands, client, now)
            .remember(self.remember)
            .transport(self.transport)
            .replacing(before.and_then(|before| sign_in::replaces(before, Some(row.id))));
        transaction!(context.db(), |txn| {
            let locked = match session.lock(txn).await {
                // The account has changed since it was read.
                Err(SessionError::Ended) => return Err(PasskeyError::CannotSignIn),
                locked => locked?,
            };
            if !right.spend(txn, false, client, now).await? {
                return Err(PasskeyError::CannotSignIn);
            }
            Ok::<_, PasskeyError>(session.clone().make(txn, locked).await?)
        })
    }
}
