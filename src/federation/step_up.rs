//! A step-up of a session: the provider asks the person again.

use std::time::Duration;

use super::entity::flow;
use super::error::FederationError;
use super::exchange::Told;
use super::remote::Remote;
use super::sign_in::{factor_of, used, using};
use super::store;
use crate::account::Account;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::transaction::transaction;
use crate::flow::factors::Reauthentication;
use crate::handle::Portcullis;
use crate::hook::{HookList, ProviderUse};
use crate::identity::Identity;
use crate::session::Issued;

/// How far the clock of a provider may be behind.
const SKEW: Duration = Duration::from_secs(10);

/// Records that the person has just signed in at the provider again. A new session replaces this one.
///
/// Only `auth_time` tells whether the provider has asked the person. One that does not tell, or has not asked, proves
/// nothing: the person may have left the browser.
pub(super) async fn step_up(
    auth: &Portcullis,
    remote: &Remote,
    told: &Told,
    began: &flow::Model,
    identity: &Identity,
    client: &ClientInfo,
) -> Result<Issued, FederationError> {
    let context = auth.context();
    let again = Reauthentication::of(auth, identity)?;
    let db = context.db();
    let found = db.read(store::by_digest(&db.executor(), &told.digest())).await?;
    let linked = found.filter(|linked| linked.account_id == identity.account().id());
    let linked = linked.ok_or(FederationError::NotFound)?;
    let asked_at =
        told.auth_time.map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1000)));
    // Seconds are rounded down.
    let least = began.created_at.minus(SKEW);
    if asked_at.is_none_or(|at| at < least) {
        return Err(FederationError::NotAskedAgain);
    }
    let now = context.now();
    let factor = factor_of(told);
    let account: &Account = identity.account();
    let hooks = auth.per_instance::<HookList>();
    let used = used(auth, told, linked.id, Some(&linked), now);
    let issued = transaction!(db, |txn| {
        again.lock(txn).await?;
        let using = using(auth, remote, told, Some(account), ProviderUse::StepUp, client, now);
        hooks.before_provider(using, txn).await?;
        if !store::record_use(txn, &linked, used.clone()).await? {
            return Err(FederationError::NotFound);
        }
        Ok::<_, FederationError>(again.make(txn, factor, client, now).await?)
    })?;
    Ok(issued)
}
