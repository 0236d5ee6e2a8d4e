//! What every flow needs: database, configuration, keys, clock, notices, hooks.

use std::fmt;
use std::sync::Arc;

use sea_orm::DatabaseConnection;

use crate::base::clock::{Clock, Timestamp};
use crate::base::jwt::Jwt;
use crate::base::notify::{Notice, Notifier};
use crate::base::problem::ErrorChain;
use crate::base::same_origin::SameOrigin;
use crate::base::secret::DigestKey;
use crate::base::transaction::Db;
use crate::config::Config;
use crate::port::{BreachedList, HookList, OnSessionReplaced, SessionInfo};

/// Shared by all flows of one instance.
pub(crate) struct Context {
    pub(crate) database: DatabaseConnection,
    pub(crate) config: Config,
    pub(crate) jwt: Jwt,
    /// Digests of session ids, newest secret first. A row found under an older one moves to the
    /// newest at its next rotation.
    pub(crate) session_digests: Vec<DigestKey>,
    pub(crate) same_origin: SameOrigin,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) notifier: Option<Arc<dyn Notifier>>,
    pub(crate) hooks: HookList,
    pub(crate) on_session_replaced: Vec<Arc<dyn OnSessionReplaced>>,
    pub(crate) session_info: Option<Arc<dyn SessionInfo>>,
    pub(crate) breached_list: Option<Arc<dyn BreachedList>>,
}

impl Context {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn db(&self) -> Db<'_> {
        Db::new(&self.database, self.config.database.timeout)
    }

    /// Sends a notice in a task of its own: what happened is committed, and the answer must not
    /// wait for a mail server.
    pub(crate) fn notify(&self, notice: Notice) {
        let Some(notifier) = self.notifier.clone() else { return };
        tokio::spawn(async move {
            if let Err(error) = notifier.notify(&notice).await {
                tracing::error!(
                    target: "portcullis",
                    account = %notice.account_id,
                    kind = ?notice.kind,
                    error = ?ErrorChain(&*error).to_string(),
                    "a notice could not be sent",
                );
            }
        });
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("config", &self.config).finish_non_exhaustive()
    }
}
