//! What portcullis needs to resolve a request: the statements, the caches and the cookie.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use quick_cache::sync::Cache;

use crate::account::Account;
use crate::api_key::ApiKey;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, ApiKeyId, SessionId};
use crate::base::transaction::{Db, Fault};
use crate::context::Context;
use crate::handle::PerInstance;
use crate::identity::error::AuthError;
use crate::identity::grant_cache::{GrantCache, Versions};
use crate::identity::store::{Found, Granted, Statements};
use crate::permission::{GrantRow, Grants, Levels};
use crate::session::cookie::SessionCookie;
use crate::session::judge::SessionState;
use crate::session::store as session_store;

/// What portcullis needs to resolve a request. It is made once per instance.
pub(crate) struct Resolver {
    pub(crate) cookie: SessionCookie,
    statements: Statements,
    memory: Option<GrantCache>,
    /// Sessions whose changed source was already traced, with that source. Without this, a session
    /// that stays at the new source would write one log line per request.
    pub(super) moved: Cache<SessionId, ClientInfo>,
    /// Sessions that were used from another network, if that asks for a step-up. Each is recorded only
    /// once. The browser is left out, because a client can invent any number of them, and would fill
    /// the audit log.
    pub(super) must_step_up: Cache<(SessionId, Option<i64>), ()>,
    /// The generations that were given to another client than the one that made them. Each is
    /// recorded only once.
    pub(super) shared: Cache<(SessionId, i64), ()>,
    /// Findings that were already reported. Each is reported once, and reporting takes a lock.
    pub(super) found_foreign_cookie: AtomicBool,
    pub(super) found_clock_skew: AtomicBool,
    /// API keys whose use was recorded, with the time. So of many requests at once, few write.
    pub(super) used_keys: Cache<ApiKeyId, Timestamp>,
}

/// The maximum number of entries in each of the three caches above.
const MOVED_SESSIONS: usize = 10_000;

/// The maximum number of API keys in the cache of uses.
const USED_KEYS: usize = 10_000;

impl PerInstance for Resolver {
    fn open(context: &Context) -> Self {
        Self {
            cookie: SessionCookie::new(&context.config),
            statements: Statements::new(
                context.database.backend(),
                context.session_digests.len(),
                Levels::new(&context.config.permission.levels),
            ),
            memory: GrantCache::new(context.config.database.remembered_grants),
            moved: Cache::new(MOVED_SESSIONS),
            must_step_up: Cache::new(MOVED_SESSIONS),
            shared: Cache::new(MOVED_SESSIONS),
            found_foreign_cookie: AtomicBool::new(false),
            found_clock_skew: AtomicBool::new(false),
            used_keys: Cache::new(USED_KEYS),
        }
    }
}

impl Resolver {
    /// Returns the session that belongs to the id in a token, and its account. It also returns the
    /// grants, if keeping grants in memory is switched off. The id is looked up by its digests, one
    /// for each configured secret.
    pub(super) async fn find(
        &self,
        context: &Context,
        sid: &[u8; 16],
    ) -> Result<Option<Found>, AuthError> {
        let digests: Vec<_> = context.session_digests.iter().map(|key| key.digest(sid)).collect();
        let statements = &self.statements;
        let db = context.db();
        let found = if self.memory.is_some() {
            db.read(statements.find(&context.database, &digests)).await?
        } else {
            Box::pin(db.read(statements.find_with_grants(&context.database, &digests))).await?
        };
        Ok(found)
    }

    /// Returns the API key with one of these digests, and its account. See [`find`](Self::find).
    pub(super) async fn find_key(
        &self,
        context: &Context,
        digests: &[[u8; 32]],
    ) -> Result<Option<Found<ApiKey>>, AuthError> {
        let (db, statements) = (context.db(), &self.statements);
        Ok(if self.memory.is_some() {
            db.read(statements.find_key(&context.database, digests)).await?
        } else {
            db.read(statements.find_key_with_grants(&context.database, digests)).await?
        })
    }

    /// Returns the grants of the account. They come from the full statement, from memory, or from
    /// one more statement.
    pub(super) async fn grants(
        &self,
        context: &Context,
        account: &Account,
        authorization: Option<i64>,
        rows: Vec<GrantRow>,
    ) -> Result<Arc<Grants>, AuthError> {
        let Some(memory) = &self.memory else {
            let levels = Levels::new(&context.config.permission.levels);
            return Ok(Arc::new(Grants::compile(rows, levels)));
        };
        let versions =
            authorization.map(|authorization| Versions { account: account.version, authorization });
        if let Some(grants) = versions.and_then(|versions| memory.find(account.id, versions)) {
            return Ok(grants);
        }
        let db = context.db();
        let found = db.read(self.statements.grants(&context.database, account.id));
        // These versions were read in the same state of the database as the rows. Under the
        // versions of the earlier statement, the memory could keep rows that do not belong to them.
        Ok(self.compiled(context, account.id, Box::pin(found).await?))
    }

    /// Returns an account and its grants, which one statement reads. `None` if there is no such
    /// account.
    pub(crate) async fn account(
        &self,
        context: &Context,
        id: AccountId,
    ) -> Result<Option<(Account, Arc<Grants>)>, Fault> {
        self.account_in(context.db(), context, id).await
    }

    /// Does the same in a transaction of the caller, if `db` has one.
    pub(crate) async fn account_in(
        &self,
        db: Db<'_>,
        context: &Context,
        id: AccountId,
    ) -> Result<Option<(Account, Arc<Grants>)>, Fault> {
        let executor = db.executor();
        let found = db.read(self.statements.grants(&executor, id));
        let mut found = Box::pin(found).await?;
        let account = found.account.take();
        Ok(account.map(|account| (account, self.compiled(context, id, found))))
    }

    /// Returns the grants that belong to these rows, and keeps them in memory.
    fn compiled(&self, context: &Context, account: AccountId, found: Granted) -> Arc<Grants> {
        let kept = self.memory.as_ref().zip(found.versions);
        if let Some(grants) = kept.and_then(|(memory, versions)| memory.find(account, versions)) {
            return grants;
        }
        let levels = Levels::new(&context.config.permission.levels);
        let grants = Arc::new(Grants::compile(found.rows, levels));
        if let Some((memory, versions)) = kept {
            memory.keep(account, versions, Arc::clone(&grants));
        }
        grants
    }

    /// The texts of the statements. A test asks the database for their query plans.
    #[cfg(feature = "test-util")]
    pub(crate) fn texts(&self) -> [&str; 5] {
        self.statements.texts()
    }
}

/// Returns true if the session that replaced this one still counts. If it does not, the remaining
/// rights of this one end too. Otherwise they would stay valid for seconds after a sign-out.
pub(super) async fn goes_on(
    context: &Context,
    state: &SessionState,
    now: Timestamp,
) -> Result<bool, Fault> {
    let Some(account) = state.account_id else { return Ok(false) };
    let db = context.db();
    let executor = db.executor();
    db.read(session_store::goes_on(&executor, account, state.lineage_id, now)).await
}
