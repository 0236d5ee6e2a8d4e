//! Further names of an account: other usernames and mail addresses to sign in with.
//!
//! 1. A user who has proved a factor within the last five minutes adds a username. The account gets
//!    it at once, or the answer is 409 if it is taken. Usernames are public, as at registration.
//! 2. Or the user names a mail address. The answer is always 202, whether the address is free or
//!    not. A free address gets a link and a code. If the address is taken, its owner is told by
//!    mail. An address is not reserved before it is proved. When it is proved, the unique key
//!    decides whether it is still free. An account that cannot be used and never proved the address
//!    does not keep it from others.
//! 3. The link opens a page of your application. Opening it changes nothing. The page posts the
//!    token in a session of the same account.
//! 4. To add or remove a name changes how the account can be accessed. So it ends all other
//!    sessions and all outstanding codes and links of the account. The user continues in a new
//!    session.
//! 5. The account's own address gets a message each time. After an addition this message contains a
//!    link that removes exactly that name, if this address may undo anything. The link is valid for
//!    seven days. An address that is removed gets a message too.
//!
//! An account can sign in with each of its names. Failed attempts count for the account, whichever
//! name was typed. A link for a forgotten password goes to the address that was typed, if that one
//! is proved. In all other cases it goes to the account's own address, like all other mail.
//!
//! The account's own username and address are those that it shows. If its own username is removed,
//! the oldest of the others becomes its own. If an account has no username, the first one that it
//! adds becomes its own. So to change the own username, add another one and remove the first. The
//! own address cannot be removed here; [`contact`](crate::contact) changes it, and a further
//! address can then take its place. The only name that the account can sign in with cannot be
//! removed.
//!
//! **Who may add names.** An account whose own address was never verified cannot add any. Otherwise
//! an attacker could register with another person's address and add a name. When the owner proves
//! the address later, the attacker could still sign in. If the application itself has
//! [added](crate::account::Accounts::add_name) names before, they are removed together with
//! everything else from that time.
//!
//! An address that was the account's own, and was replaced within the last 30 days, can be added
//! too. It keeps its link and may be [put back](crate::contact) as before. No later address gets a
//! link to remove it.
//!
//! **Undoing** needs no session and works once. It removes the name, even if it has become the
//! account's own. It ends all sessions and all outstanding codes and links. Only two kinds of
//! addresses get such a link: the first one that was ever verified, and one that has been
//! there for `contact.undo_lifetime`. So if a thief's address is the account's own for a while, the
//! thief cannot remove what the owner adds.
//!
//! The link is valid as long as the address that received it is the account's own, or may be [put
//! back](crate::contact). So a thief's link ends when the owner's address is back, and the owner's
//! link stays valid whatever a thief does.
//!
//! To undo a change of the address also removes the names that were added since. The account's
//! counter decides what "since" means, and not the time. It does not remove names that a thief
//! added *before* they changed the address. For each of those, the owner's mailbox has a link of
//! its own, and each is in the list.
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis, identity: portcullis::Identity)
//! # -> Result<(), portcullis::Rejection> {
//! use portcullis::ClientInfo;
//! use portcullis::challenge::Proof;
//!
//! let owner = identity.owner()?;
//! let (names, client) = (auth.login_names(), ClientInfo::default());
//! names.add_email(&owner, "alice@work.example", &client).await?;
//! // … with what that address was sent:
//! let issued = names.confirm_email(&owner, Proof::Code("12345678"), &client).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//! - It adds no phone numbers, because nobody signs in with one.
//! - It does not reserve a removed name for its former owner. Anyone can take it.
//! - Undoing sets no new password. Show the user the page for a forgotten one next.
//!
//! # Routes
//! With a notifier: `GET /login-names`; `POST /login-names` with `{username}` (returns the new
//! session) or `{email}` (202); `POST /login-names/confirm` with `{token}` or `{code}` (returns the
//! new session); `DELETE /login-names/{name}` (percent-encoded, in any spelling; returns the new
//! session); `POST /login-names/undo` with `{token}` (204).
//!
//! # Configuration
//! `login.max_names`, `session.recent_factor`, `contact.confirm_lifetime` and
//! `contact.undo_lifetime` as for a [change](crate::contact) of address, `mail.links`.
//!
//! # Events
//! `login_name_requested`, `login_name_added`, `login_name_removed`, `login_name_undone`, each with
//! the kind of the name; `authn_challenge_fail` for a wrong code.
//!
//! # Errors
//! `insufficient_user_authentication` (401), `address_not_proved` (403), `invalid_fields` (422),
//! `username_taken` (409), `too_many_names` (409), `name_not_found` (404), `own_address` (409),
//! `only_login_name` (409), `wrong_code` (403), `link_used` (409: a second click after a success;
//! [only the same browser gets it, for one minute](crate::password_reset)), `too_many_attempts`
//! (429), `too_soon` (429).
//!
//! # Standard
//! ASVS 5.0 6.3.5 to 6.3.7, NIST SP 800-63B-4 4.1 and 4.6.

use sea_orm::DbErr;
use serde::{Deserialize, Serialize};

use crate::account::closing::reopen_and_end_sessions;
use crate::account::entity::former_address::Model as Former;
use crate::account::entity::login_name::Model;
use crate::account::former::{self, Standing};
use crate::account::store::{self as account_store, Name};
use crate::account::{Account, Email, LoginId, LoginIdError, LoginIdKind, NameProbe, Username};
use crate::api_key;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::id::{AccountId, LineageId};
use crate::base::invalid_field::InvalidField;
use crate::base::transaction::{Txn, is_unique_violation, transaction};
use crate::config::LoginIds;
use crate::context::Context;
use crate::flow::address::{self, Asking, Confirming, Undoing, Yields, recent_factor};
use crate::handle::Portcullis;
use crate::hook::{NamesBefore, NamesCause, NamesChange};
use crate::identity::{AccountOwner, owner};
use crate::message::{MessageKind, Recipient, Values};
use crate::one_time::{self, Answer, Challenge, Proof, Start};
use crate::outbox::{self, Outgoing};
use crate::outstanding::Kind;
use crate::session::{Issued, SessionError};

mod error;
#[cfg(feature = "routes")]
mod routes;
mod store;

pub use error::LoginNameError;
#[cfg(feature = "routes")]
pub use routes::routes;

/// A name of an account, as its owner sees it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoginName {
    /// The name as it was typed.
    pub name: String,
    /// The kind of the name.
    pub kind: LoginIdKind,
    /// True if it is the name that the account shows, false if it is a further one.
    pub own: bool,
    /// When this address was verified. It is `None` for a username, which needs no proof.
    pub verified_at: Option<Timestamp>,
    /// When the account got it.
    pub created_at: Timestamp,
}

// Written by hand: names are personal data and must not get into a log by accident.
impl std::fmt::Debug for LoginName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginName").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Lists, adds and removes an account's names. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct LoginNames<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Returns the flows for the names of an account.
    pub fn login_names(&self) -> LoginNames<'_> {
        LoginNames { auth: self }
    }
}

/// An address that is to be added, as a challenge stores it. The token is bound to all fields.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Addition {
    address: String,
    /// The sign-in that asked for it.
    lineage: LineageId,
}

impl address::Change for Addition {
    fn binding(&self, epoch: i64) -> Vec<Vec<u8>> {
        let lineage = self.lineage.as_uuid().as_bytes().to_vec();
        vec![self.address.clone().into_bytes(), lineage, epoch.to_be_bytes().to_vec()]
    }

    fn leads_where(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

/// The receiver of the link that removes a name: the account's own address at that time, in its
/// normal form, and its sequence number. The link is valid as long as this address may undo
/// anything.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Told {
    address: String,
    sequence: i64,
}

impl Told {
    /// Reads it from the challenge of a link about the name `added`.
    fn of(context: &Context, challenge: &Challenge, added: &str) -> Option<Self> {
        let told: Self = serde_json::from_str(challenge.data()?).ok()?;
        challenge.is_bound_to(context, &told.binding(added, &told.number())).then_some(told)
    }

    fn to_data(&self) -> String {
        serde_json::to_string(self).expect("a text and a number are always JSON")
    }

    fn number(&self) -> [u8; 8] {
        self.sequence.to_be_bytes()
    }

    fn binding<'a>(&'a self, added: &'a str, number: &'a [u8; 8]) -> [&'a [u8]; 3] {
        [added.as_bytes(), self.address.as_bytes(), number]
    }

    /// Returns true if the address is still the account's own, or may be put back.
    async fn may_undo(
        &self,
        txn: &Txn<'_>,
        context: &Context,
        id: AccountId,
        names: &[Model],
    ) -> Result<bool, DbErr> {
        let present = own_address(names).filter(|own| own.normal == self.address);
        if let Some(own) = present {
            return Ok(own.sequence == self.sequence);
        }
        let former = former::find(txn, context, id, &self.address, context.now()).await?;
        Ok(former.is_some_and(|former| former.settled && former.sequence == self.sequence))
    }
}

/// Returns the row of the account's own mail address.
fn own_address(names: &[Model]) -> Option<&Model> {
    names.iter().find(|name| name.kind == LoginIdKind::Email.number() && name.typed.is_none())
}

impl LoginNames<'_> {
    /// Lists the names of an account, the oldest first.
    ///
    /// # Errors
    /// An outage.
    pub async fn list(&self, account: &Account) -> Result<Vec<LoginName>, LoginNameError> {
        let db = self.auth.context().db();
        let rows = db.read(account_store::names_of(&db.executor(), account.id())).await?;
        let names = rows.into_iter().filter_map(|row| {
            let kind = LoginIdKind::from_number(row.kind)?;
            let own = match kind {
                LoginIdKind::Username => account.username(),
                LoginIdKind::Email => account.email(),
                LoginIdKind::Phone => account.phone(),
            };
            Some(LoginName {
                own: row.typed.is_none(),
                name: row.typed.unwrap_or_else(|| own.unwrap_or(&row.normal).to_owned()),
                kind,
                verified_at: row.verified_at,
                created_at: row.created_at,
            })
        });
        Ok(names.collect())
    }

    /// Adds a username. The other sessions of the account end.
    ///
    /// # Errors
    /// No recent factor; the account's address was never verified; the text cannot be a username, or
    /// is already a name of the account; the username is taken; too many names; an outage. After an
    /// error nothing is changed.
    pub async fn add_username(
        &self,
        identity: &AccountOwner<owner::LoginNames>,
        username: &str,
        client: &ClientInfo,
    ) -> Result<Issued, LoginNameError> {
        let context = self.auth.context();
        recent_factor::<LoginNameError>(context, identity)?;
        let account = identity.account();
        // An account without an address cannot be handed over to the owner of one, so it needs no
        // proof.
        let nobodys = account.email().is_none() && account.phone().is_none();
        if !account.is_verified() && !nobodys {
            return Err(LoginNameError::AddressNotProved);
        }
        let invalid = |error: LoginIdError| LoginNameError::invalid(error.in_field("username"));
        let username = Username::parse(username).map_err(invalid)?;
        let probe = NameProbe::begin(self.auth, client)
            .map_err(|limited| LoginNameError::too_soon(&limited))?;
        let now = context.now();
        let kind = LoginIdKind::Username;
        let change = Changing { context, identity, client, now };
        let event = change.event(EventKind::LoginNameAdded, kind);
        let added = transaction!(context.db(), |txn| {
            change.hold(txn, identity.session().lineage_id()).await?;
            let before = NamesBefore::read(self.auth, txn, account.id()).await?;
            let names = account_store::names_of(txn, account.id()).await?;
            if names.iter().any(|name| name.normal == username.normal()) {
                return Err(own_already("username"));
            }
            change.admit(&names)?;
            if !account_store::taken(txn, &[username.normal().to_owned()]).await?.is_empty() {
                return Err(LoginNameError::UsernameTaken);
            }
            let typed = username.as_str();
            let own = account_store::set_first_username(txn, account.id(), typed).await?;
            let name = Name {
                account_id: account.id(),
                kind,
                normal: username.normal(),
                typed: (!own).then_some(typed),
                verified_at: None,
                standing: change.standing(),
            };
            // Another request can take the name after the check above. The unique key decides then.
            account_store::insert_name(txn, name, now).await.map_err(|error| {
                if is_unique_violation(&error) {
                    LoginNameError::UsernameTaken
                } else {
                    error.into()
                }
            })?;
            change.tell_hooks(txn, before, NamesCause::Added).await?;
            change.added(txn, username.normal(), &names, None, &event).await
        });
        if let Err(LoginNameError::UsernameTaken) = added {
            let event = change.event(EventKind::LoginNameAdded, kind).failed("username_taken");
            probe.found_taken(event).await?;
        }
        added
    }

    /// Requests a further mail address. Success does not tell whether the address is free.
    ///
    /// # Errors
    /// No recent factor; the account's own address was never verified; the text cannot be an address,
    /// or is already one of the account's; too many names; too soon after the last request; an
    /// outage.
    pub async fn add_email(
        &self,
        identity: &AccountOwner<owner::LoginNames>,
        address: &str,
        client: &ClientInfo,
    ) -> Result<(), LoginNameError> {
        let context = self.auth.context();
        recent_factor::<LoginNameError>(context, identity)?;
        let account = identity.account();
        if !account.is_verified() || account.email().is_none() {
            return Err(LoginNameError::AddressNotProved);
        }
        let invalid = |error: LoginIdError| LoginNameError::invalid(error.in_field("email"));
        let address = Email::parse(address).map_err(invalid)?;
        let recipient = Recipient::email(address.as_str()).ok_or_else(|| {
            let message = "is not a single plain address";
            LoginNameError::invalid(InvalidField::new("email", "undeliverable", message))
        })?;
        let limited = self.auth.count_message(client).await;
        limited.map_err(|limited| LoginNameError::too_soon(&limited))?;
        let change = Changing { context, identity, client, now: context.now() };
        let event = change.event(EventKind::LoginNameRequested, LoginIdKind::Email);
        transaction!(context.db(), |txn| {
            let names = account_store::names_of(txn, account.id()).await?;
            match names.iter().find(|name| name.normal == address.normal()) {
                None => change.admit(&names)?,
                // An address that the application added without a proof may be proved now.
                Some(name) if name.typed.is_some() && name.verified_at.is_none() => {}
                Some(_) => return Err(own_already("email")),
            }
            change.ask(txn, &address, &recipient).await?;
            audit_log::record(txn, &event).await?;
            Ok(())
        })
    }

    /// Adds the mail address that was requested. The other sessions of the account end.
    ///
    /// # Errors
    /// See [`LoginNameError`]. After an error nothing is changed.
    pub async fn confirm_email(
        &self,
        identity: &AccountOwner<owner::LoginNames>,
        proof: Proof<'_>,
        client: &ClientInfo,
    ) -> Result<Issued, LoginNameError> {
        let context = self.auth.context();
        let (kind, now) = (&Kind::LoginName, context.now());
        let confirming = Confirming { auth: self.auth, identity, kind, proof, client, now };
        let (challenge, addition) = confirming.find::<Addition, LoginNameError>().await?;
        let address = Email::parse(&addition.address).map_err(|_| LoginNameError::WrongCode)?;
        let change = Changing { context, identity, client, now };
        let event = change.event(EventKind::LoginNameAdded, LoginIdKind::Email);
        let ticket = confirming.attempt::<LoginNameError>(&challenge).await?;
        let done = transaction!(context.db(), |txn| {
            confirming.spend::<LoginNameError>(txn, &challenge, ticket.as_ref()).await?;
            change.add_proved(txn, &address, addition.lineage, &event).await
        });
        confirming.end(ticket, done).await
    }

    /// Removes a name, typed in any spelling. The other sessions of the account end.
    ///
    /// # Errors
    /// No recent factor; [`LoginNameError::NotFound`], also for a name of another account;
    /// [`LoginNameError::OwnAddress`]; [`LoginNameError::OnlyLoginName`]; an outage. After an error
    /// nothing is changed.
    pub async fn remove(
        &self,
        identity: &AccountOwner<owner::LoginNames>,
        name: &str,
        client: &ClientInfo,
    ) -> Result<Issued, LoginNameError> {
        let context = self.auth.context();
        recent_factor::<LoginNameError>(context, identity)?;
        let name = LoginId::parse(name).map_err(|_| LoginNameError::NotFound)?;
        let account = identity.account();
        let change = Changing { context, identity, client, now: context.now() };
        let event = change.event(EventKind::LoginNameRemoved, name.kind());
        transaction!(context.db(), |txn| {
            change.hold(txn, identity.session().lineage_id()).await?;
            let before = NamesBefore::read(self.auth, txn, account.id()).await?;
            let names = account_store::names_of(txn, account.id()).await?;
            let gone = names.iter().find(|row| row.normal == name.normal());
            let gone = gone.ok_or(LoginNameError::NotFound)?;
            if gone.typed.is_none() && name.kind() != LoginIdKind::Username {
                return Err(LoginNameError::OwnAddress);
            }
            if is_last(&names, gone, context.config.login.id) {
                return Err(LoginNameError::OnlyLoginName);
            }
            take(txn, account.id(), &names, gone).await?;
            change.tell_hooks(txn, before, NamesCause::Removed).await?;
            change.tell(txn, MessageKind::LoginNameRemoved, account.email(), Values::new()).await?;
            if gone.verified_at.is_some() {
                let to = gone.typed.as_deref();
                change.tell(txn, MessageKind::AddressRemoved, to, Values::new()).await?;
            }
            change.finish(txn, &event).await
        })
    }

    /// Removes the name that was added, with the token that was sent to the account's own address.
    /// All sessions end.
    ///
    /// # Errors
    /// [`LoginNameError::WrongCode`] for anything wrong with the token, and if the account no
    /// longer has the name; [`LoginNameError::UsedJustNow`]; [`LoginNameError::OnlyLoginName`] for
    /// a username that is the only sign-in name; an outage. After an error nothing is changed.
    pub async fn undo(&self, token: &str, client: &ClientInfo) -> Result<(), LoginNameError> {
        let context = self.auth.context();
        let (kind, now) = (&Kind::LoginNameUndo, context.now());
        let undoing = Undoing { context, kind, token, client, now };
        let challenge = undoing.find::<LoginNameError>().await?;
        let id = challenge.account_id().ok_or(LoginNameError::WrongCode)?;
        let normal = challenge.target().ok_or(LoginNameError::WrongCode)?;
        let told = Told::of(context, &challenge, normal).ok_or(LoginNameError::WrongCode)?;
        let event = Event::new(EventKind::LoginNameUndone, now).account(id).from_client(client);
        let done = transaction!(context.db(), |txn| {
            let spent = challenge.spend_from(txn, context, client, now).await?;
            if !spent || !reopen_and_end_sessions(txn, id, client, now).await? {
                return Err(LoginNameError::WrongCode);
            }
            let row = account_store::find(txn, id).await?.ok_or(LoginNameError::WrongCode)?;
            let names = account_store::names_of(txn, id).await?;
            if !told.may_undo(txn, context, id, &names).await? {
                return Err(LoginNameError::WrongCode);
            }
            let gone = names.iter().find(|name| name.normal == normal);
            let gone = gone.ok_or(LoginNameError::WrongCode)?;
            let username = gone.kind == LoginIdKind::Username.number();
            // A username alone gives no access, and without one nobody could sign in to this
            // account. An address does give access, because links are sent to it. So an address can
            // always be removed; another mail has the link to the address before it.
            if username && is_last(&names, gone, context.config.login.id) {
                return Err(LoginNameError::OnlyLoginName);
            }
            let before = NamesBefore::read(self.auth, txn, id).await?;
            take(txn, id, &names, gone).await?;
            let cause = NamesCause::Undone;
            let change = NamesChange { auth: self.auth, cause, session_id: None, client, at: now };
            before.changed(txn, change).await?;
            one_time::end_of_account(txn, id, None, now).await?;
            // The person who made the change may have made a key too.
            api_key::end_all(txn, id, "change undone", now).await?;
            let own = row.email.as_deref().filter(|_| username || gone.typed.is_some());
            let values = Values::new().with_some("address", client.address());
            let notice =
                Outgoing::new(MessageKind::LoginNameRemoved, own.and_then(Recipient::email))
                    .account(id)
                    .values(values);
            outbox::put(txn, context, &notice).await?;
            let kind = LoginIdKind::from_number(gone.kind).map_or("", word);
            audit_log::record(txn, &event.clone().detail(kind)).await?;
            Ok(())
        });
        undoing.end(done).await
    }
}

/// A change of names by the owner of the account.
struct Changing<'a> {
    context: &'a Context,
    identity: &'a AccountOwner<owner::LoginNames>,
    client: &'a ClientInfo,
    now: Timestamp,
}

impl Changing<'_> {
    fn id(&self) -> AccountId {
        self.identity.account().id()
    }

    /// Returns the epoch that begins with the change.
    fn epoch(&self) -> i64 {
        self.identity.account().epoch + 1
    }

    fn standing(&self) -> Standing {
        Standing::from_epoch(self.epoch())
    }

    fn event(&self, kind: EventKind, name: LoginIdKind) -> Event {
        Event::new(kind, self.now)
            .account(self.id())
            .session(self.identity.session().id())
            .from_client(self.client)
            .detail(word(name))
    }

    /// Ends the sessions of the account and locks its row, so nobody else can change it meanwhile.
    async fn hold(&self, txn: &Txn<'_>, lineage: LineageId) -> Result<(), LoginNameError> {
        let epoch = self.identity.account().epoch;
        if store::lock_and_end_sessions(txn, self.id(), epoch, lineage, self.now).await? {
            return Ok(());
        }
        Err(LoginNameError::Session(SessionError::Ended))
    }

    /// Checks that the account may have one more name.
    fn admit(&self, names: &[Model]) -> Result<(), LoginNameError> {
        if names.len() < self.context.config.login.max_names {
            return Ok(());
        }
        Err(LoginNameError::TooManyNames)
    }

    /// Sends a code and a link that prove a further address.
    async fn ask(
        &self,
        txn: &Txn<'_>,
        address: &Email,
        recipient: &Recipient,
    ) -> Result<(), LoginNameError> {
        let config = &self.context.config;
        let session = self.identity.session();
        let asking = Asking {
            context: self.context,
            account: self.identity.account(),
            session: session.id(),
            kind: &Kind::LoginName,
            confirm: MessageKind::LoginNameConfirm,
            taken: MessageKind::EmailChangeTaken,
            page: Some(&config.mail.links.login_name_confirm),
            normal: address.normal(),
            recipient,
            recipient_of: Recipient::email,
            yields: Yields::Unclaimed,
            lifetime: config.contact.confirm_lifetime,
        };
        let addition =
            Addition { address: address.as_str().to_owned(), lineage: session.lineage_id() };
        address::ask(txn, &asking, &addition).await
    }

    /// Adds an address that has just been proved.
    async fn add_proved(
        &self,
        txn: &Txn<'_>,
        address: &Email,
        lineage: LineageId,
        event: &Event,
    ) -> Result<Issued, LoginNameError> {
        match self.hold(txn, lineage).await {
            // Another account may have the address, or the addition has ended. The answer does not
            // say which.
            Err(LoginNameError::Session(_)) => return Err(LoginNameError::WrongCode),
            held => held?,
        }
        let before = NamesBefore::read(&Portcullis::of(self.context), txn, self.id()).await?;
        let names = account_store::names_of(txn, self.id()).await?;
        let cause = match names.iter().find(|name| name.normal == address.normal()) {
            None => {
                self.admit(&names)?;
                NamesCause::Added
            }
            Some(own) if own.typed.is_some() => NamesCause::Proved,
            Some(_) => return Err(LoginNameError::WrongCode),
        };
        let former = former::find(txn, self.context, self.id(), address.normal(), self.now).await?;
        let name = Name {
            account_id: self.id(),
            kind: LoginIdKind::Email,
            normal: address.normal(),
            typed: Some(address.as_str()),
            verified_at: Some(self.now),
            standing: self.standing().added_again(former.as_ref()),
        };
        let claimed = account_store::claim_name(txn, name, self.now).await?;
        if !claimed {
            self.free(txn, address.normal()).await?;
            if !account_store::claim_name(txn, name, self.now).await? {
                return Err(LoginNameError::WrongCode);
            }
        }
        self.tell_hooks(txn, before, cause).await?;
        self.added(txn, address.normal(), &names, former.as_ref(), event).await
    }

    /// Removes the address from an account that never proved it and can no longer be used.
    async fn free(&self, txn: &Txn<'_>, normal: &str) -> Result<(), LoginNameError> {
        let holder = account_store::find_by_name(txn, normal).await?;
        let holder = holder.filter(|row| Account::from(row.clone()).has_no_claim(self.now));
        if let Some(holder) = holder {
            let auth = Portcullis::of(self.context);
            let before = NamesBefore::read(&auth, txn, holder.id).await?;
            account_store::evict(txn, &holder, normal).await?;
            before.changed(txn, NamesChange::lost(&auth, self.client, self.now)).await?;
        }
        Ok(())
    }

    /// Does what follows every addition. `former` is the remembered row of the address, if it was
    /// once the account's own.
    async fn added(
        &self,
        txn: &Txn<'_>,
        normal: &str,
        names: &[Model],
        former: Option<&Former>,
        event: &Event,
    ) -> Result<Issued, LoginNameError> {
        let own = self.identity.account().email();
        let settled = own_address(names).filter(|own| own.is_settled(self.context, self.now));
        // An address that came later may belong to the person who replaced the one that is added.
        // So only an earlier address gets the link.
        let may_undo =
            settled.filter(|own| former.is_none_or(|former| own.sequence < former.sequence));
        let values = match may_undo {
            Some(own) => self.way_back(txn, normal, own).await?,
            None => Values::new(),
        };
        self.tell(txn, MessageKind::LoginNameAdded, own, values).await?;
        self.finish(txn, event).await
    }

    /// Makes the link that removes the name again, for the account's own address.
    async fn way_back(
        &self,
        txn: &Txn<'_>,
        normal: &str,
        own: &Model,
    ) -> Result<Values, LoginNameError> {
        let config = &self.context.config;
        let Some(lifetime) = config.contact.undo_lifetime else { return Ok(Values::new()) };
        let told = Told { address: own.normal.clone(), sequence: own.sequence };
        let number = told.number();
        let start = Start {
            kind: &Kind::LoginNameUndo,
            account_id: Some(self.id()),
            session_id: None,
            target: Some(normal),
            data: Some(&told.to_data()),
            binding: Some(&told.binding(normal, &number)),
            answer: Answer::TokenOnly,
            lifetime,
            cool_down: std::time::Duration::ZERO,
        };
        let started = one_time::start(txn, self.context, &start).await?;
        let page = &config.mail.links.login_name_undo;
        let link = started.and_then(|started| config.link(page, &started.token));
        let days = lifetime.as_secs() / (24 * 60 * 60);
        Ok(Values::new().with_some("link", link).with("days", days))
    }

    /// Tells the hooks what has changed. A hook may refuse it.
    async fn tell_hooks(
        &self,
        txn: &Txn<'_>,
        before: NamesBefore,
        cause: NamesCause,
    ) -> Result<(), LoginNameError> {
        let auth = &Portcullis::of(self.context);
        let session_id = Some(self.identity.session().id());
        let change = NamesChange { auth, cause, session_id, client: self.client, at: self.now };
        Ok(before.changed(txn, change).await?)
    }

    async fn tell(
        &self,
        txn: &Txn<'_>,
        kind: MessageKind,
        to: Option<&str>,
        values: Values,
    ) -> Result<(), LoginNameError> {
        let values = values.with_some("address", self.client.address());
        let to = to.and_then(Recipient::email);
        let undo_lifetime = self.context.config.contact.undo_lifetime;
        let undo_lifetime = undo_lifetime.filter(|_| values.get("link").is_some());
        let mut message = Outgoing::new(kind, to).account(self.id()).values(values);
        if let Some(lifetime) = undo_lifetime {
            message = message.undone_within(lifetime);
        }
        outbox::put(txn, self.context, &message).await?;
        Ok(())
    }

    /// Ends outstanding codes and links, records the event, and continues in a new session.
    async fn finish(&self, txn: &Txn<'_>, event: &Event) -> Result<Issued, LoginNameError> {
        let (context, identity) = (self.context, self.identity);
        one_time::end_by_session(txn, identity.account(), self.now).await?;
        audit_log::record(txn, event).await?;
        let passed = identity.session().factors().clone();
        Ok(address::go_on(txn, context, identity, passed, self.client).await?)
    }
}

/// Removes a name from an account whose row is locked. If it was its own username, the oldest of
/// the others becomes its own.
async fn take(
    txn: &Txn<'_>,
    id: AccountId,
    names: &[Model],
    gone: &Model,
) -> Result<(), LoginNameError> {
    if !store::remove(txn, id, &gone.normal).await? {
        return Err(LoginNameError::NotFound);
    }
    if gone.typed.is_some() {
        return Ok(());
    }
    if gone.kind == LoginIdKind::Username.number() {
        let next = names.iter().find(|name| name.kind == gone.kind && name.typed.is_some());
        account_store::set_username(txn, id, next).await?;
    } else {
        store::clear_email(txn, id).await?;
    }
    Ok(())
}

/// Returns true if the account could not sign in without this name.
fn is_last(names: &[Model], gone: &Model, ids: LoginIds) -> bool {
    let signs_in =
        |name: &Model| LoginIdKind::from_number(name.kind).is_some_and(|kind| kind.signs_in(ids));
    let others = names.iter().filter(|name| name.normal != gone.normal);
    signs_in(gone) && !others.into_iter().any(signs_in)
}

fn own_already(field: &'static str) -> LoginNameError {
    LoginNameError::invalid(InvalidField::new(field, "already_yours", "is the account's already"))
}

/// Returns the word for a kind of name, as events use it.
fn word(kind: LoginIdKind) -> &'static str {
    match kind {
        LoginIdKind::Username => "username",
        LoginIdKind::Email => "email",
        LoginIdKind::Phone => "phone",
    }
}
