//! The API key of a request, and when it was last used.

use std::time::Duration;

use super::RequestIdentity;
use crate::api_key::{self, ApiKey, ApiKeyRefusal, Digests, store as api_key_store};
use crate::base::client::network;
use crate::base::clock::Timestamp;
use crate::base::event::{API_KEY_REFUSED, count};
use crate::base::transaction::Fault;
use crate::identity::credential::ShownKey;
use crate::identity::error::{AuthError, NotSignedIn};
use crate::identity::key_check::check;
use crate::identity::resolution::Resolved;

/// How often a use is recorded.
const LAST_USE_EVERY: Duration = Duration::from_secs(60);

impl RequestIdentity {
    /// Finds out whose API key this is. A key that is malformed costs no statement.
    pub(super) async fn by_api_key(&self, shown: &ShownKey) -> Result<Resolved, AuthError> {
        let context = self.auth.context();
        let text = shown.text();
        let prefix = context.config.api_key.prefix.as_deref();
        if !prefix.is_some_and(|prefix| api_key::is_well_formed(prefix, text)) {
            return Ok(Resolved::Nobody(NotSignedIn::ApiKey(ApiKeyRefusal::Invalid)));
        }
        let secrets = self.auth.per_instance::<Digests>();
        let program = match check(&self.auth, &self.resolver, secrets.all(text)).await? {
            Ok(program) => program,
            Err(reason) => {
                // A key that was given up and is still used may have leaked.
                tracing::info!(target: "portcullis::event", event = API_KEY_REFUSED, reason = ?reason);
                count(API_KEY_REFUSED);
                return Ok(Resolved::Nobody(reason));
            }
        };
        let used = self.mark_used(&secrets, program.key(), text, program.resolved_at()).await;
        if let Err(error) = used {
            // The request was allowed. A list that is not up to date is no reason to refuse it.
            self.resolver.used_keys.remove(&program.key().id());
            tracing::warn!(target: "portcullis", error = ?error.to_string(), "the use of an API key could not be recorded");
        }
        Ok(Resolved::ApiKey(program))
    }

    /// Records the use at most once a minute. This also replaces a digest under an older secret. While nodes have
    /// different newest secrets, each of them replaces the digest of the other, but no more often than that.
    async fn mark_used(
        &self,
        secrets: &Digests,
        key: &ApiKey,
        text: &[u8],
        now: Timestamp,
    ) -> Result<(), Fault> {
        let recently = |at: Timestamp| now.since(at) < LAST_USE_EVERY;
        let known = || self.resolver.used_keys.get(&key.id);
        if key.last_used_at.is_some_and(recently) || known().is_some_and(recently) {
            return Ok(());
        }
        // Before the statement, so that few of many requests at once write.
        self.resolver.used_keys.insert(key.id, now);
        let from = self.client().address().map(|address| network(address).to_string());
        let (key_id, digest) = secrets.newest(text);
        let used = api_key_store::Use {
            id: key.id,
            at: now,
            from: from.as_deref(),
            digest: &digest,
            key_id,
        };
        let db = self.auth.context().db();
        let executor = db.executor();
        db.retry(|| api_key_store::mark_used(&executor, &used)).await
    }
}
