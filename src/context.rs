//! What every flow needs: the database, configuration, keys, clock, messages, hooks, and state per
//! instance.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::clock::{Clock, Timestamp};
use crate::base::jwt::Jwt;
use crate::base::same_origin::SameOrigin;
use crate::base::secret::DigestKey;
use crate::base::transaction::{Database, Db, TimedPort};
use crate::config::Config;
use crate::message::template::Templates;
use crate::message::{Notifier, TextMessages};
use crate::port::{
    BreachedList, ExportedData, ExternalFactor, MembershipSource, OnSuspicion, RateLimiter,
    SessionInfo,
};

/// Shared by all flows of one instance. A clone refers to the same instance, so that a task can own
/// one.
#[derive(Clone)]
pub(crate) struct Context(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) database: Database,
    pub(crate) config: Config,
    pub(crate) jwt: Jwt,
    /// Keys for the digests of session ids, newest secret first. A row with a digest under an older
    /// secret gets one under the newest at its next rotation.
    pub(crate) session_digests: Vec<DigestKey>,
    pub(crate) same_origin: SameOrigin,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) templates: Templates,
    pub(crate) notifier: Option<Arc<dyn Notifier>>,
    pub(crate) text_messages: Option<Arc<dyn TextMessages>>,
    pub(crate) session_info: Option<TimedPort<dyn SessionInfo>>,
    pub(crate) exported_data: Option<TimedPort<dyn ExportedData>>,
    pub(crate) breached_list: Option<Arc<TimedPort<dyn BreachedList>>>,
    pub(crate) membership_source: Option<TimedPort<dyn MembershipSource>>,
    pub(crate) rate_limiter: Option<Arc<TimedPort<dyn RateLimiter>>>,
    pub(crate) on_suspicion: Option<TimedPort<dyn OnSuspicion>>,
    pub(crate) external_factor: Option<TimedPort<dyn ExternalFactor>>,
    /// State that a capability keeps per instance. It is created when it is first needed.
    pub(crate) per_instance: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

/// State that a capability keeps per instance, such as the queue for password hashes. It is
/// declared in that capability, so the context does not need to know any of them.
pub(crate) trait PerInstance: Any + Send + Sync {
    fn open(context: &Context) -> Self;
}

impl Context {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// True if both belong to the same instance.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn db(&self) -> Db<'_> {
        Db::new(&self.database, self.config.database.timeout)
    }

    /// Returns the state of one capability. Creates it at the first call.
    pub(crate) fn per_instance<S: PerInstance>(&self) -> Arc<S> {
        let mut per_instance = self.per_instance.lock().unwrap_or_else(PoisonError::into_inner);
        let state =
            per_instance.entry(TypeId::of::<S>()).or_insert_with(|| Arc::new(S::open(self)));
        Arc::clone(state).downcast().expect("state is kept under its own type")
    }
}

impl Deref for Context {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("config", &self.config).finish_non_exhaustive()
    }
}
