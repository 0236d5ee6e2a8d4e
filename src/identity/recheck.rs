//! Asks again who somebody is, for a connection that is open for longer than its request.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::base::announcement::Listener;
use crate::handle::Portcullis;
use crate::identity::error::{AuthError, NotSignedIn};
use crate::identity::resolved::Identity;
use crate::identity::resolver::{Resolver, goes_on};
use crate::identity::store::Found;
use crate::session::judge::Ended;
use crate::session::{Session, Stage};

/// The shortest time between two checks of [`Portcullis::session_end`].
const LEAST_WAIT: Duration = Duration::from_millis(50);

impl Portcullis {
    /// Asks the database again whether a session counts, and what its account may do now. An
    /// [`Identity`] is what was true when its request arrived, so ask before you act on a message
    /// that came later, over a WebSocket for example. It costs the one statement of a request.
    ///
    /// The session is not renewed by this. A client that only listens for longer than the idle time
    /// has to send a request now and then.
    ///
    /// # Errors
    /// [`AuthError::NotSignedIn`] if the session has ended; also if a step-up has replaced it, and
    /// then the client connects again with its new session. An outage.
    pub async fn recheck(&self, identity: &Identity) -> Result<Identity, AuthError> {
        let context = self.context();
        let resolver = self.per_instance::<Resolver>();
        let over = |reason| AuthError::NotSignedIn(NotSignedIn::Ended(reason));
        let token_id = identity.0.token_id;
        let found = resolver.find(context, &token_id.0).await?;
        let now = context.now();
        let Some(Found { state, account, authorization, grants }) = found else {
            return Err(over(Ended::Revoked));
        };
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
        let transport = identity.session().transport;
        let session = Session { state: Arc::new(state), transport, just_rotated: false };
        Ok(Identity::new(token_id, session, Arc::new(account), grants, now))
    }

    /// Waits until a session ends, and returns why. Use it to close a connection that is still open.
    ///
    /// A session that is ended in this process ends the wait at once: by signing out, by a changed
    /// password, or because the account was disabled. For what other processes do, it asks the
    /// database every `every`, which should be some seconds (the shortest is 50 milliseconds). Each
    /// time costs the one statement of a request. During an outage it goes on waiting.
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
        // From now on, also if the future is polled later.
        let listener = Listener::new(identity.account().id(), identity.session().id());
        let every = every.max(LEAST_WAIT);
        async move {
            loop {
                let announced = listener.next();
                // Nothing can move the absolute end, so this needs no database.
                if auth.context().now() >= identity.session().expires_at() {
                    return NotSignedIn::Ended(Ended::Expired);
                }
                if let Err(AuthError::NotSignedIn(reason)) = auth.recheck(&identity).await {
                    return reason;
                }
                let left = identity.session().expires_at().since(auth.context().now());
                let _ = tokio::time::timeout(every.min(left), announced).await;
            }
        }
    }
}
