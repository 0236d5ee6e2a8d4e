//! Exporting everything that is kept about an account.

use sea_orm::DbErr;
use serde_json::{Map, Value, json};

use super::OwnAccount;
use super::erase::names;
use super::error::OwnAccountError;
use super::store::{self, ATTEMPTS, CODES_AND_LINKS, MOST_ROWS, PARTS, SESSION_DATA, name_kind};
use crate::account::closing::store as closing_store;
use crate::account::entity::account;
use crate::account::{AccountDetails, Accounts, store as account_store};
use crate::attempt::subjects_about;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::{EnrolledFactors, Factor};
use crate::base::id::{AccountId, LineageId};
use crate::base::transaction::{Db, Fault, Txn, transaction};
use crate::context::Context;
use crate::identity::{AccountOwner, owner};
use crate::one_time;
use crate::session::SessionError;

impl Accounts<'_> {
    /// Returns everything that is kept about an account as one JSON object, without secrets,
    /// password hashes and digests. The [module page](crate::own_account) lists its members. A
    /// closed or deleted account can be exported too.
    ///
    /// The account cannot be erased while it is read. So the result is never a part of the data.
    ///
    /// # Errors
    /// - [`OwnAccountError::NotFound`]: there was never such an account.
    /// - [`OwnAccountError::Erased`]: the account was erased.
    /// - [`OwnAccountError::Fault`]: the infrastructure, or
    ///   [`exported_data`](crate::Builder::exported_data), failed.
    pub async fn export(&self, id: AccountId) -> Result<Value, OwnAccountError> {
        let event = Event::new(EventKind::AccountExported, self.context.now());
        exported(self.context, self.db, id, None, event).await
    }
}

/// Reads everything about an account. With `asks`, fails if the sign-in with this epoch and lineage
/// has ended, because the owner may end all sessions while a thief's export waits.
async fn exported(
    context: &Context,
    db: Db<'_>,
    id: AccountId,
    asks: Option<(i64, LineageId)>,
    event: Event,
) -> Result<Value, OwnAccountError> {
    let now = context.now();
    // The application is asked before the account is locked, because its answer may take long. If
    // the account is erased in between, the next step returns the error.
    let application = application(context, id).await?;
    let mut exported = transaction!(db, |txn| {
        let row = closing_store::lock(txn, id).await?.ok_or(OwnAccountError::NotFound)?;
        if row.erased_at.is_some() {
            return Err(OwnAccountError::Erased);
        }
        if let Some((epoch, lineage)) = asks
            && !super::sign_in_goes_on(txn, &row, epoch, lineage, now).await?
        {
            return Err(SessionError::Ended.into());
        }
        audit_log::record(txn, &event.clone().account(id)).await?;
        Ok(read(txn, context, row, now).await?)
    })?;
    if let Some(application) = application {
        exported.insert("application".to_owned(), application);
    }
    Ok(Value::Object(exported))
}

impl OwnAccount<'_> {
    /// Returns everything that is kept about the account of the owner, as
    /// [`Accounts::export`] does.
    ///
    /// # Errors
    /// No recent factor; the account was erased in the meantime; an outage.
    pub async fn export(
        &self,
        identity: &AccountOwner<owner::Export>,
        client: &ClientInfo,
    ) -> Result<Value, OwnAccountError> {
        super::recent_factor(self.auth.context(), identity)?;
        let (context, account) = (self.auth.context(), identity.account());
        let asks = (account.epoch, identity.session().lineage_id());
        let event = Event::new(EventKind::AccountExported, context.now());
        let event = event.session(identity.session().id()).from_client(client);
        match exported(context, context.db(), account.id(), Some(asks), event).await {
            Err(OwnAccountError::NotFound | OwnAccountError::Erased) => {
                Err(SessionError::Ended.into())
            }
            exported => exported,
        }
    }
}

/// Returns what the application adds.
async fn application(context: &Context, id: AccountId) -> Result<Option<Value>, Fault> {
    let Some(port) = &context.exported_data else { return Ok(None) };
    let limit = context.config.database.hook_timeout;
    let added = port.ask(limit, move |data| data.export(id)).await;
    let added = added.unwrap_or_else(|| Err("exported_data took too long".into()));
    added.map(Some).map_err(Fault::of_hook)
}

async fn read(
    txn: &Txn<'_>,
    context: &Context,
    row: account::Model,
    now: Timestamp,
) -> Result<Map<String, Value>, DbErr> {
    let id = row.id;
    let mut exported = Map::new();
    let mut incomplete = Vec::new();
    let mut add = |name: &'static str, mut rows: Vec<Value>| {
        if rows.len() as u64 > MOST_ROWS {
            rows.truncate(MOST_ROWS as usize);
            incomplete.push(name);
        }
        exported.insert(name.to_owned(), Value::Array(rows));
    };
    let login_names = account_store::names_of(txn, id).await?;
    let login_names = login_names.iter().map(|name| {
        json!({
            "name": name.as_written(&row),
            "kind": name_kind(name.kind),
            "verified_at": name.verified_at,
            "created_at": name.created_at,
        })
    });
    add("login_names", login_names.collect());
    let names = names(txn, &row, &store::challenges(txn, id).await?).await?;
    let asked = one_time::traces_of(context, &names);
    for part in &PARTS {
        let mut rows = part.of(txn, id).await?;
        if part.name == CODES_AND_LINKS {
            // Those that were asked for while the address had no account, or nothing to prove.
            rows.extend(part.without_account(txn, "subject", &asked.subjects).await?);
            rows.extend(part.without_account(txn, "session_id", &asked.addresses).await?);
        }
        add(part.name, rows);
    }
    let lineages = store::lineages(txn, id).await?;
    add(SESSION_DATA.name, SESSION_DATA.with(txn, "lineage_id", &lineages).await?);
    let subjects = subjects_about(context, id, &names);
    add(ATTEMPTS.name, ATTEMPTS.with(txn, "subject", &subjects).await?);
    exported.insert("incomplete".to_owned(), json!(incomplete));
    exported.insert("account".to_owned(), describe(context, row, now));
    exported.insert("exported_at".to_owned(), json!(now));
    Ok(exported)
}

fn describe(context: &Context, row: account::Model, now: Timestamp) -> Value {
    let enrolled = EnrolledFactors(row.enrolled_factors);
    let factors = Factor::ALL.iter().filter(|factor| enrolled.contains(**factor));
    let factors: Vec<_> = factors.map(|factor| factor.as_str()).collect();
    let (rate_limit, password_mailed_at) = (row.rate_limit, row.password_mailed_at);
    let enrolment_due_at = row.enrolment_due_at;
    let details = AccountDetails::of(row, context.config.login.require_verified, now);
    let account = &details.account;
    json!({
        "id": account.id(),
        "username": account.username(),
        "email": account.email(),
        "phone": account.phone(),
        "state": details.state,
        "superuser": account.is_superuser(),
        "has_password": details.has_password,
        "must_change_password": details.must_change_password,
        "enrolled_factors": factors,
        "rate_limit": rate_limit,
        "created_at": details.created_at,
        "verified_at": details.verified_at,
        "last_login_at": details.last_login_at,
        "password_mailed_at": password_mailed_at,
        "enrolment_due_at": enrolment_due_at,
        "disabled_at": details.disabled_at,
        "deleted_at": details.deleted_at,
        "erase_at": details.erase_at,
    })
}
