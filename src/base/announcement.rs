//! Wakes the tasks of this process that wait for a change of an account or a session.
//!
//! An open connection must end when its session ends. It asks the database from time to time,
//! because another process may end the session. A change in this process is announced, so that the
//! connection asks at once. An announcement is only a reason to ask: the database decides.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::Notify;
use uuid::Uuid;

use crate::base::id::{AccountId, SessionId};

/// The listeners, by the id of an account or a session. All instances of portcullis in the process
/// share them. Ids are unique, and a listener that is woken without need only runs one statement
/// more.
static LISTENERS: LazyLock<Mutex<HashMap<Uuid, Arc<Notify>>>> = LazyLock::new(Mutex::default);

fn listeners() -> MutexGuard<'static, HashMap<Uuid, Arc<Notify>>> {
    LISTENERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Announces that something about this account or session has changed. Call it after the commit.
pub(crate) fn announce(account: Option<AccountId>, session: Option<SessionId>) {
    let ids = [account.map(AccountId::as_uuid), session.map(SessionId::as_uuid)];
    let listeners = listeners();
    for notify in ids.into_iter().flatten().filter_map(|id| listeners.get(&id)) {
        notify.notify_waiters();
    }
}

/// Waits for changes of a session and its account.
#[derive(Debug)]
pub(crate) struct Listener(Vec<(Uuid, Arc<Notify>)>);

impl Listener {
    /// Registers a listener for this account and this session or API key.
    pub(crate) fn new(account: AccountId, credential: impl Into<Uuid>) -> Self {
        let mut listeners = listeners();
        let mut listen = |id: Uuid| (id, Arc::clone(listeners.entry(id).or_default()));
        Self(vec![listen(account.as_uuid()), listen(credential.into())])
    }

    /// Completes at the next announcement after this call. Call it before a check, so that nothing is
    /// missed between the check and the wait.
    pub(crate) fn next(&self) -> impl Future<Output = ()> + Send + use<> {
        let [account, session] = [0, 1].map(|at| Arc::clone(&self.0[at].1).notified_owned());
        async move {
            let (mut account, mut session) = (pin!(account), pin!(session));
            poll_fn(|cx| match account.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => session.as_mut().poll(cx),
            })
            .await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut listeners = listeners();
        for (id, notify) in self.0.drain(..) {
            // While the map is locked: of two listeners that are dropped at once, the second one
            // sees that nobody else is left. A future of `next` has a reference too, so drop it
            // before the listener. Otherwise the entry stays in the map.
            drop(notify);
            if listeners.get(&id).is_some_and(|kept| Arc::strong_count(kept) == 1) {
                listeners.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::clock::Timestamp;

    fn account() -> AccountId {
        AccountId::new(Timestamp::from_millis(1))
    }

    fn session() -> SessionId {
        SessionId::new(Timestamp::from_millis(1))
    }

    async fn is_woken(next: impl Future<Output = ()>) -> bool {
        tokio::time::timeout(Duration::from_millis(20), next).await.is_ok()
    }

    #[tokio::test]
    async fn an_announcement_wakes_the_listeners_of_its_account_and_session_and_no_other() {
        let (alice, bob) = (account(), account());
        let (first, second, third) = (session(), session(), session());
        let listeners = [(alice, first), (alice, second), (bob, third)];
        let listeners = listeners.map(|(account, session)| Listener::new(account, session));
        for (account, session, woken) in [
            (Some(alice), None, [true, true, false]),
            (None, Some(second), [false, true, false]),
            (Some(bob), Some(first), [true, false, true]),
            (None, None, [false, false, false]),
        ] {
            let waiting = listeners.each_ref().map(Listener::next);
            announce(account, session);
            for (next, expected) in waiting.into_iter().zip(woken) {
                assert_eq!(is_woken(next).await, expected, "{account:?} {session:?}");
            }
        }
        // An announcement before the call of `next` does not complete its future.
        announce(Some(alice), None);
        assert!(!is_woken(listeners[0].next()).await);
    }

    #[test]
    fn a_listener_that_is_gone_leaves_nothing_behind() {
        let (account, one, two) = (account(), session(), session());
        let ids = [account.as_uuid(), one.as_uuid(), two.as_uuid()];
        let known = || ids.map(|id| listeners().contains_key(&id));
        let (first, second) = (Listener::new(account, one), Listener::new(account, two));
        let waiting = first.next();
        assert_eq!(known(), [true; 3]);
        drop(waiting);
        drop(first);
        assert_eq!(known(), [true, false, true]);
        drop(second);
        assert_eq!(known(), [false; 3]);
        announce(Some(account), Some(one));
    }
}
