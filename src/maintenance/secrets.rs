//! What is left under older secrets of the keyring, and encrypting it again.

use std::collections::BTreeMap;

use super::{BATCH, Maintenance, Stopped, Sweep};
use crate::api_key::store as api_key_store;
use crate::base::secret::Secret;
use crate::base::transaction::Fault;
use crate::outbox::store as outbox_store;
use crate::recovery_code::store as recovery_code_store;
use crate::totp::{self, store as totp_store};

/// How many rows still need a secret that is not the newest one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OldSecret {
    /// The public name of the secret. It is the `kid` of the tokens that it signed.
    pub key_id: String,
    /// True if the secret is configured. If it is not, nobody can use what is left under it.
    pub configured: bool,
    /// Authenticators. The next maintenance encrypts their seeds again, if the secret is configured.
    pub authenticators: u64,
    /// Unused recovery codes. Their owners must make new ones: only a digest of them is stored.
    pub recovery_codes: u64,
    /// API keys that count. A key is stored under the newest secret when it is next used. If it is not used
    /// before the old secret is removed, it is lost.
    pub api_keys: u64,
    /// Messages that wait to be sent.
    pub messages: u64,
}

impl Maintenance<'_> {
    /// Returns what is left under each secret that is not the newest one, so that you know when an old
    /// one can be removed. It does not count what expires by itself: sessions, known and trusted devices,
    /// codes and links. See [deployment](crate::guide::deployment).
    ///
    /// # Errors
    /// An outage.
    pub async fn old_secrets(&self) -> Result<Vec<OldSecret>, Fault> {
        let context = self.auth.context();
        let db = context.db();
        let executor = db.executor();
        let names: Vec<String> = context.config.keys.secrets.iter().map(Secret::kid).collect();
        let mut found: BTreeMap<String, OldSecret> = BTreeMap::new();
        let mut add = |rows: Vec<(String, i64)>, count: fn(&mut OldSecret) -> &mut u64| {
            for (key_id, rows) in rows {
                if names.first() == Some(&key_id) {
                    continue;
                }
                let secret = found.entry(key_id.clone()).or_insert_with(|| OldSecret {
                    configured: names.contains(&key_id),
                    key_id,
                    authenticators: 0,
                    recovery_codes: 0,
                    api_keys: 0,
                    messages: 0,
                });
                *count(secret) += u64::try_from(rows).unwrap_or_default();
            }
        };
        add(db.read(totp_store::by_secret(&executor)).await?, |old| &mut old.authenticators);
        let codes = db.read(recovery_code_store::by_secret(&executor)).await?;
        add(codes, |old| &mut old.recovery_codes);
        let keys = db.read(api_key_store::by_secret(&executor, context.now())).await?;
        add(keys, |old| &mut old.api_keys);
        add(db.read(outbox_store::by_secret(&executor)).await?, |old| &mut old.messages);
        Ok(found.into_values().collect())
    }
}

impl Sweep<'_> {
    /// Encrypts the seeds of authenticators with the newest secret. Without an older secret in the
    /// configuration it asks nothing.
    pub(super) async fn seeds(&self, count: &mut u64) -> Result<(), Stopped> {
        for old in self.auth.context().config.keys.secrets.iter().skip(1) {
            let (key_id, mut after) = (old.kid(), None);
            loop {
                let (changed, next) = totp::reseal(self.auth, &key_id, after, BATCH).await?;
                *count += changed;
                if next.is_none() {
                    break;
                }
                after = next;
                self.pause().await?;
            }
        }
        Ok(())
    }
}
