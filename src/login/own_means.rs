//! Signing in a user that your application has identified: by LDAP, another service or a hardware
//! key.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use super::{Login, LoginError};
use crate::account::closing::store as closing_store;
use crate::account::{Account, recovering};
use crate::base::client::ClientInfo;
use crate::base::event::{Event, EventKind};
use crate::base::factor::{EnrolledFactors, Factor, PassedFactors};
use crate::base::transaction::transaction;
use crate::flow::factors::Reauthentication;
use crate::flow::sign_in::{Demands, LoginOutcome, NewSession};
use crate::handle::Portcullis;
use crate::identity::{AuthError, Identity};
use crate::sent_code::{CodeChannel, is_after_reset};
use crate::session::{Issued, PendingSession, SessionError, Transport};
use crate::trusted_device::{NewTrust, StandIn, end_after_recovery};

/// A sign-in of an account that your application has identified. See [`Portcullis::sign_in`].
#[derive(Debug, Clone)]
#[must_use = "a sign-in happens when it is awaited"]
pub struct SignIn<'a> {
    login: Login<'a>,
    account: &'a Account,
    client: &'a ClientInfo,
    proved: PassedFactors,
    remember: bool,
    transport: Transport,
}

impl Portcullis {
    /// Signs in an account whose owner your application has identified. It does everything that a
    /// sign-in with a password does. One transaction runs the hooks and writes the event, the known
    /// device and the notice of a new device. Memberships are read after the commit. Pass the
    /// request with [`replacing`](SignIn::replacing). Otherwise the old session of the client stays
    /// valid, and a visitor loses the data of their session.
    ///
    /// ```no_run
    /// use portcullis::{Account, ClientInfo, Factor, Issued, Portcullis, Rejection};
    ///
    /// async fn signed_in_by_ldap(
    ///     auth: &Portcullis,
    ///     account: &Account,
    ///     client: &ClientInfo,
    ///     request: &http::request::Parts,
    /// ) -> Result<Issued, Rejection> {
    ///     let sign_in = auth.sign_in(account, client).proved(Factor::Password);
    ///     Ok(sign_in.replacing(&request.extensions).await?.await?.into_issued())
    /// }
    /// ```
    ///
    /// The result depends on the account:
    /// - If the account has enrolled second factors, one of them must be [proved](SignIn::proved)
    ///   in addition to another factor. A passkey is enough alone. Otherwise the sign-in is not
    ///   finished yet, and [`Login::finish`] is the next step.
    /// - If the account must set a new password, that is the next step.
    ///
    /// This does not count attempts. Count them with [`begin`](crate::attempt::Attempts::begin)
    /// before you compare anything.
    pub fn sign_in<'a>(&'a self, account: &'a Account, client: &'a ClientInfo) -> SignIn<'a> {
        SignIn {
            login: self.login(),
            account,
            client,
            proved: PassedFactors::default(),
            remember: true,
            transport: Transport::Cookie,
        }
    }
}

impl SignIn<'_> {
    /// Adds a factor that was proved just now. If another service has identified the person, pass
    /// [`Factor::Password`]. [`Factor::External`] is a second factor of your own: a guard that requires
    /// it would accept this sign-in.
    pub fn proved(mut self, factor: Factor) -> Self {
        let now = self.login.auth.context().now();
        self.proved = self.proved.with(factor, now);
        self
    }

    /// Sets the session that the sign-in replaces: the one of the request. A visitor's session
    /// continues as the account's; any other ends.
    ///
    /// A provider may send its answer as a form from its own site (SAML, or `form_post` of OpenID
    /// Connect). Such a request is refused here, because it looks like an attack. Check the state of
    /// the provider's protocol and leave `replacing` out. Browsers send no session cookie with such a
    /// form, so there is nothing to replace.
    ///
    /// # Errors
    /// The layer is missing, another site sent the request, or there is an outage.
    pub async fn replacing(mut self, extensions: &http::Extensions) -> Result<Self, AuthError> {
        self.login = self.login.replacing(extensions).await?;
        Ok(self)
    }

    /// Sets whether the session is remembered after the browser closes. The default is `true`.
    pub fn remember(mut self, remember: bool) -> Self {
        self.remember = remember;
        self
    }

    /// Sets how the token is sent. The default is the cookie.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    async fn run(self) -> Result<LoginOutcome, LoginError> {
        let Self { login, account, client, proved, remember, transport } = self;
        let context = login.auth.context();
        let now = context.now();
        let Some(row) = login.usable(account.id(), account.epoch, now).await? else {
            let event = Event::new(EventKind::LoginFailed, now).account(account.id());
            login.record(event.from_client(client).failed("invalid_credentials")).await?;
            return Err(LoginError::InvalidCredentials);
        };
        let by_recovery_code = proved.passed_at(Factor::RecoveryCode).is_some();
        let demands = Demands::read(login.auth, &row, now).await?;
        let session = NewSession::new(login.auth, &row, proved, demands, client, now)
            .remember(remember)
            .transport(transport)
            .replacing(login.replaces(row.id));
        let device = StandIn::find(login.auth, &row, &session, client, now).await?;
        let made = transaction!(context.db(), |txn| {
            let locking = StandIn::lock(device.as_ref(), txn, session.clone());
            let (session, locked, trusted) = locking.await?;
            if by_recovery_code {
                end_after_recovery(login.auth, txn, (row.id, row.epoch), client, now).await?;
            }
            let made = session.make(txn, locked).await?;
            Ok::<_, LoginError>(made.with_trusted_device(trusted))
        });
        login.signed_in(made, row.id, client, now).await
    }
}

impl Login<'_> {
    /// Finishes a sign-in with a second factor that your application has checked. It does
    /// everything that a sign-in with a password does: hooks, the event, memberships, the known
    /// device and the notice of a new device. A sign-in can be finished only once. If two requests
    /// finish it at the same time, one of them is refused.
    ///
    /// The account must have [enrolled](crate::account::Accounts) the factor, and the sign-in must
    /// have begun with another one. Only [`Factor::External`] may be both, because it stands for
    /// different things. For example, a service first identifies the person, and then the person
    /// uses a hardware key.
    ///
    /// If the account must set a new password, that is the next step.
    ///
    /// If a person types or sends a code, an [`ExternalFactor`](crate::port::ExternalFactor) is less work:
    /// see [`second_factor`](crate::second_factor#a-factor-of-your-own).
    ///
    /// This does not count attempts. Count them with [`begin`](crate::attempt::Attempts::begin)
    /// before you compare anything.
    ///
    /// # Errors
    /// - [`LoginError::FactorNotEnrolled`], always for [`Factor::Password`], which is never a
    ///   second factor.
    /// - [`LoginError::FactorUsedAlready`].
    /// - [`LoginError::MailedCodeAfterReset`]: see [`sent_code`](crate::sent_code).
    /// - [`LoginError::Session`] if the sign-in has ended or was already finished, or if the
    ///   account can no longer be used or has changed.
    /// - A hook's refusal; an outage.
    pub async fn finish(
        &self,
        pending: &PendingSession,
        factor: Factor,
        client: &ClientInfo,
    ) -> Result<LoginOutcome, LoginError> {
        self.finished(pending, factor, false, client).await
    }

    /// Does the same for a person who asked that this device skips the second factor from now on. If this is
    /// [not allowed](crate::trusted_device#who-gets-one), the sign-in succeeds without it.
    /// [`Issued::trusts_device`] tells.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub async fn finish_and_trust(
        &self,
        pending: &PendingSession,
        factor: Factor,
        client: &ClientInfo,
    ) -> Result<LoginOutcome, LoginError> {
        self.finished(pending, factor, true, client).await
    }

    async fn finished(
        &self,
        pending: &PendingSession,
        factor: Factor,
        trusts: bool,
        client: &ClientInfo,
    ) -> Result<LoginOutcome, LoginError> {
        let (state, account) = (&pending.state, pending.account());
        let context = self.auth.context();
        let now = context.now();
        let row = self.usable(account.id(), account.epoch, now).await?;
        let row = row.ok_or(LoginError::Session(SessionError::Ended))?;
        let demands = Demands::read(self.auth, &row, now).await?;
        if factor == Factor::Password || !demands.accepts(factor) {
            return Err(LoginError::FactorNotEnrolled);
        }
        if factor == Factor::MailedCode && is_after_reset(context, &row, CodeChannel::Mail) {
            return Err(LoginError::MailedCodeAfterReset);
        }
        let unverified = factor == Factor::Passkey && state.has_proved(Factor::UnverifiedPasskey);
        if state.began_with(factor) || unverified {
            return Err(LoginError::FactorUsedAlready);
        }
        let proved = state.factors.clone().with(factor, now);
        let session = NewSession::new(self.auth, &row, proved, demands, client, now)
            .finishing(state, pending.transport());
        let trusting = match trusts {
            true => {
                let of = (pending, &session);
                NewTrust::offered(self.auth, &row, of, factor, client, now).await?
            }
            false => None,
        };
        let made = transaction!(context.db(), |txn| {
            let locked = session.lock(txn).await?;
            if factor == Factor::RecoveryCode {
                end_after_recovery(self.auth, txn, (row.id, row.epoch), client, now).await?;
            }
            let made = session.clone().make(txn, locked).await?;
            let token = match &trusting {
                Some(trusting) => Some(trusting.add(txn).await?),
                None => None,
            };
            Ok::<_, LoginError>(made.with_trusted_device(token))
        });
        self.signed_in(made, row.id, client, now).await
    }

    /// Records that a session has proved a factor again. Your application has checked the factor,
    /// for example a password in its directory or the code of a hardware key. A new session
    /// replaces this one, with the same end and the same ceiling.
    /// [`reauthenticate`](Self::reauthenticate) does this for a password that portcullis knows.
    ///
    /// This does not count attempts. Count them with [`begin`](crate::attempt::Attempts::begin)
    /// before you compare anything.
    ///
    /// ```no_run
    /// use portcullis::login::{Guess, LoginError, Verdict};
    /// use portcullis::{ClientInfo, Factor, Identity, Issued, Portcullis, Rejection};
    /// # async fn directory_accepts(_: &str, _: &str) -> bool { false }
    ///
    /// async fn confirm_by_directory(
    ///     auth: Portcullis,
    ///     identity: Identity,
    ///     client: ClientInfo,
    ///     password: String,
    /// ) -> Result<Issued, Rejection> {
    ///     let guess = Guess::PasswordOf(identity.account());
    ///     let attempt = auth.attempts().begin(guess, &client).await?;
    ///     let name = identity.account().username().unwrap_or_default();
    ///     match attempt.judge(directory_accepts(name, &password).await).await? {
    ///         Verdict::Right => Ok(auth.login().step_up(&identity, Factor::Password, &client).await?),
    ///         Verdict::Wrong => Err(LoginError::WrongPassword.into()),
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// [`LoginError::FactorNotEnrolled`] for a factor that the account has not enrolled. A password
    /// and [`Factor::External`] need not be enrolled. [`LoginError::Session`] if the session has
    /// ended meanwhile; a hook's refusal; an outage.
    pub async fn step_up(
        &self,
        identity: &Identity,
        factor: Factor,
        client: &ClientInfo,
    ) -> Result<Issued, LoginError> {
        let known = matches!(factor, Factor::Password | Factor::External);
        if !known && !identity.account().enrolled_factors().contains(factor) {
            return Err(LoginError::FactorNotEnrolled);
        }
        let again = Reauthentication::of(self.auth, identity)?;
        let context = self.auth.context();
        let now = context.now();
        let account = (identity.account().id(), identity.account().epoch);
        transaction!(context.db(), |txn| {
            if factor == Factor::Password {
                again.lock(txn).await?;
            } else if let Some(row) = closing_store::lock(txn, account.0).await?
                && EnrolledFactors(row.enrolled_factors).contains(factor)
            {
                // An owner who has a second factor needs no recovery.
                recovering::has_factor(txn, context, &row, client, now).await?;
            }
            if factor == Factor::RecoveryCode {
                end_after_recovery(self.auth, txn, account, client, now).await?;
            }
            Ok::<_, LoginError>(again.make(txn, factor, client, now).await?)
        })
    }
}

impl<'a> IntoFuture for SignIn<'a> {
    type Output = Result<LoginOutcome, LoginError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    /// # Errors
    /// [`LoginError::InvalidCredentials`] if the account cannot be used, or has changed since it
    /// was read; a hook's refusal; the limit of sessions; an outage.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
