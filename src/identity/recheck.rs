//! Checks a session again, for a connection that stays open after its request.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::api_key::ApiKeyRefusal;
use crate::base::announcement::Listener;
use crate::handle::Portcullis;
use crate::identity::error::{AuthError, NotSignedIn};
use crate::identity::principal::ApiKeyIdentity;
use crate::identity::resolved::Identity;
use crate::identity::resolver::{Resolver, goes_on};
use crate::identity::store::Found;
use crate::identity::{enrolment, key_check};
use crate::session::judge::Ended;
use crate::session::{Session, Stage};

/// The shortest time between two checks of [`Portcullis::session_end`].
const LEAST_WAIT: Duration = Duration::from_millis(50);

impl Portcullis {
    /// Asks the database again if a session counts, and what its account may do now. An
    /// [`Identity`] says what was true when its request was resolved. So call this before you act
    /// on a message that came later, for example over a WebSocket. It costs the one statement of a
    /// request.
    ///
    /// This does not renew the session. A client that only listens must send a request now and
    /// then, before its idle time has passed.
    ///
    /// # Errors
    /// [`AuthError::NotSignedIn`] if the session has ended. A session that a step-up has replaced
    /// ends at most ten seconds later, and the client must connect again with its new session.
    /// [`AuthError::Fault`] during an outage: then it is not known if the session counts.
    pub async fn recheck(&self, identity: &Identity) -> Result<Identity, AuthError> {
        let context = self.context();
        let resolver = self.per_instance::<Resolver>();
        let over = |reason| AuthError::NotSignedIn(NotSignedIn::Ended(reason));
        let token_id = identity.0.token_id;
        // There is no replay check: the message showed no token, so no old copy of one can be in
        // use.
        let found = resolver.find(context, &token_id.0).await?;
        let now = context.now();
        let Some(Found { mut state, account, authorization, grants }) = found else {
            return Err(over(Ended::Revoked));
        };
        // The connection is still that of its request.
        if identity.session().state.has_moved() {
            state.move_away();
        }
        if let Some(reason) =
            state.ended(now, account.as_ref(), context.config.login.require_verified)
        {
            return Err(over(reason));
        }
        if state.lingers(now) && !goes_on(context, &state, now).await? {
            return Err(over(Ended::Superseded));
        }
        let Some(account) = account.filter(|_| state.stage == Stage::Full) else {
            return Err(over(Ended::Account));
        };
        let grants = resolver.grants(context, &account, authorization, grants).await?;
        if state.idles_longer_than(grants.max_idle(), now) {
            return Err(over(Ended::Expired));
        }
        if enrolment::stand_in_is_over(context, &state, &account, &grants) {
            return Err(over(Ended::Revoked));
        }
        let due = enrolment::due(context, &state, &account, &grants, now).await?;
        if due.is_some_and(|due| due <= now) {
            return Err(AuthError::NotSignedIn(NotSignedIn::EnrolmentRequired));
        }
        let transport = identity.session().transport;
        let session = Session { state: Arc::new(state), transport, just_rotated: false };
        let identity = Identity::new(token_id, session, Arc::new(account), grants, now);
        Ok(identity.with_enrolment_due(due))
    }

    /// The same for an API key.
    ///
    /// # Errors
    /// [`AuthError::NotSignedIn`] if the key does not count any more. [`AuthError::Fault`] during an outage.
    pub async fn recheck_api_key(
        &self,
        program: &ApiKeyIdentity,
    ) -> Result<ApiKeyIdentity, AuthError> {
        let resolver = self.per_instance::<Resolver>();
        let found = key_check::check(self, &resolver, program.digests().to_vec()).await?;
        found.map_err(AuthError::NotSignedIn)
    }

    /// Waits until an API key ends, and returns why. See [`session_end`](Self::session_end).
    pub fn api_key_end(
        &self,
        program: &ApiKeyIdentity,
        every: Duration,
    ) -> impl Future<Output = NotSignedIn> + Send + use<> {
        let (auth, program) = (self.clone(), program.clone());
        let listener = Listener::new(program.account().id(), program.key().id());
        let every = every.max(LEAST_WAIT);
        async move {
            loop {
                let announced = listener.next();
                if auth.context().now() >= program.key().expires_at() {
                    return NotSignedIn::ApiKey(ApiKeyRefusal::Expired);
                }
                if let Err(AuthError::NotSignedIn(reason)) = auth.recheck_api_key(&program).await {
                    return reason;
                }
                let left = program.key().expires_at().since(auth.context().now());
                let _ = tokio::time::timeout(every.min(left), announced).await;
            }
        }
    }

    /// Waits until a session ends, and returns why. Use it to close a connection that is still
    /// open.
    ///
    /// If this process ends the session, the wait ends at once. Examples are signing out, a changed
    /// password and a disabled account. This is not so if you end it inside a transaction that you
    /// opened with `SeaORM`. Portcullis does not see the commit of such a transaction, so the wait
    /// ends at the next check. Use [`begin`](Portcullis::begin) instead. To find what other processes do, this asks the database
    /// after each interval `every`. Choose some seconds; the minimum is 50 milliseconds. Each check
    /// costs the one statement of a request. During an outage the wait continues.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use portcullis::{Identity, Portcullis};
    /// # struct Socket;
    /// # impl Socket {
    /// #     async fn receive(&mut self) -> Option<String> { None }
    /// #     async fn send(&mut self, _: &str) {}
    /// # }
    ///
    /// async fn chat(auth: Portcullis, identity: Identity, mut socket: Socket) {
    ///     let mut ended = std::pin::pin!(auth.session_end(&identity, Duration::from_secs(10)));
    ///     loop {
    ///         tokio::select! {
    ///             _ = &mut ended => return socket.send("signed out").await,
    ///             message = socket.receive() => match message {
    ///                 Some(message) => socket.send(&message).await,
    ///                 None => return,
    ///             },
    ///         }
    ///     }
    /// }
    /// ```
    pub fn session_end(
        &self,
        identity: &Identity,
        every: Duration,
    ) -> impl Future<Output = NotSignedIn> + Send + use<> {
        let (auth, identity) = (self.clone(), identity.clone());
        // Registered at the call. The first check in the future finds what happens before it is
        // polled.
        let listener = Listener::new(identity.account().id(), identity.session().id());
        let every = every.max(LEAST_WAIT);
        async move {
            loop {
                // Before the check, so that no change between the check and the wait is missed.
                let announced = listener.next();
                // Nothing can move the absolute end, so this needs no database.
                if auth.context().now() >= identity.session().expires_at() {
                    return NotSignedIn::Ended(Ended::Expired);
                }
                // Only a known end counts. If an outage counted too, it would close every
                // connection.
                if let Err(AuthError::NotSignedIn(reason)) = auth.recheck(&identity).await {
                    return reason;
                }
                let left = identity.session().expires_at().since(auth.context().now());
                let _ = tokio::time::timeout(every.min(left), announced).await;
            }
        }
    }
}
