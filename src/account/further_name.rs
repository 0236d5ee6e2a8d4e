//! Names that the application adds to an account.

use super::entity::login_name;
use super::former::{self, Standing};
use super::login_id::{Email, LoginId, LoginIdKind, Username};
use super::store::{self, Name};
use super::{AccountError, Accounts};
use crate::audit_log;
use crate::base::event::{Event, EventKind};
use crate::base::id::AccountId;
use crate::base::invalid_field::InvalidField;
use crate::base::transaction::{is_unique_violation, transaction};

/// An additional name with which an account signs in.
#[derive(Clone)]
#[must_use]
pub struct FurtherName {
    kind: LoginIdKind,
    text: String,
    verified: bool,
}

impl FurtherName {
    /// Creates a username.
    pub fn username(username: impl Into<String>) -> Self {
        Self { kind: LoginIdKind::Username, text: username.into(), verified: false }
    }

    /// Creates a mail address. It can be used to sign in. It gets no mail before it is marked
    /// [verified](Self::verified) or its owner has [verified](crate::login_name) it.
    pub fn email(address: impl Into<String>) -> Self {
        Self { kind: LoginIdKind::Email, text: address.into(), verified: false }
    }

    /// Marks the address as verified.
    pub fn verified(mut self) -> Self {
        self.verified = true;
        self
    }

    fn parse(&self) -> Result<LoginId, InvalidField> {
        let (field, parsed) = match self.kind {
            LoginIdKind::Email => ("email", Email::parse(&self.text).map(LoginId::Email)),
            _ => ("username", Username::parse(&self.text).map(LoginId::Username)),
        };
        parsed.map_err(|error| error.in_field(field))
    }
}

// Names are personal data and must not appear in a log by accident.
impl std::fmt::Debug for FurtherName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FurtherName").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Accounts<'_> {
    /// Adds a name to an account, for seeding or for a form of an administrator. Users add their
    /// names with [`login_names`](crate::Portcullis::login_names).
    ///
    /// The account's sessions end. If the account has no username, the first added username becomes
    /// its own. The number of names is not limited here, and no message is sent.
    ///
    /// ```no_run
    /// # async fn example(auth: portcullis::Portcullis, id: portcullis::AccountId)
    /// # -> Result<(), portcullis::account::AccountError> {
    /// use portcullis::account::FurtherName;
    ///
    /// let address = FurtherName::email("alice@work.example").verified();
    /// auth.accounts().add_name(id, address).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// - The text cannot be such a name.
    /// - The name already belongs to this account or another one.
    /// - The account does not exist.
    /// - The infrastructure failed.
    pub async fn add_name(&self, id: AccountId, name: FurtherName) -> Result<(), AccountError> {
        let parsed = name.parse().map_err(|field| AccountError::Invalid(vec![field]))?;
        let kind = name.kind;
        let now = self.context.now();
        let event = Event::new(EventKind::LoginNameAdded, now).account(id);
        let event = event.detail(if kind == LoginIdKind::Email { "email" } else { "username" });
        transaction!(self.db, |txn| {
            if !store::lock_and_end_sessions(txn, id).await? {
                return Err(AccountError::NotFound);
            }
            let row = store::find(txn, id).await?.ok_or(AccountError::NotFound)?;
            // Checked before the insert, so that the caller's transaction survives a taken name.
            // PostgreSQL aborts a transaction when a key is violated. The key still decides.
            if !store::taken(txn, &[parsed.normal().to_owned()]).await?.is_empty() {
                return Err(AccountError::Taken(kind));
            }
            let own = kind == LoginIdKind::Username
                && store::set_first_username(txn, id, parsed.as_str()).await?;
            let former = former::find(txn, self.context, id, parsed.normal(), now).await?;
            let name = Name {
                account_id: id,
                kind,
                normal: parsed.normal(),
                typed: (!own).then_some(parsed.as_str()),
                verified_at: (kind == LoginIdKind::Email && name.verified).then_some(now),
                standing: Standing::from_epoch(row.epoch).added_again(former.as_ref()),
            };
            store::insert_name(txn, name, now).await.map_err(|error| {
                if is_unique_violation(&error) { AccountError::Taken(kind) } else { error.into() }
            })?;
            audit_log::record(txn, &event).await?;
            Ok(())
        })?;
        Ok(())
    }
}

impl login_name::Model {
    /// Returns the name in the spelling of its owner.
    pub(crate) fn as_written<'a>(&'a self, account: &'a super::entity::account::Model) -> &'a str {
        let own = match LoginIdKind::from_number(self.kind) {
            Some(LoginIdKind::Username) => account.username.as_deref(),
            Some(LoginIdKind::Email) => account.email.as_deref(),
            Some(LoginIdKind::Phone) => account.phone.as_deref(),
            None => None,
        };
        self.typed.as_deref().or(own).unwrap_or(&self.normal)
    }
}
