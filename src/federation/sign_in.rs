//! Signing in with an identity that was checked: the account that has it, or one that gets it.

use serde_json::Value;

use super::entity::{identity, session};
use super::error::FederationError;
use super::exchange::{KeptTokens, Told};
use super::keys::FederationKeys;
use super::remote::Remote;
use super::store::{self, Used};
use crate::account::entity::account;
use crate::account::{Account, AccountError, Email, NewAccount, store as account_store, way_in};
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::{Factor, PassedFactors};
use crate::base::id::{AccountId, ProviderIdentityId};
use crate::base::transaction::{Fault, Txn, transaction};
use crate::config::federation::ProviderPolicy;
use crate::config::{LoginIds, Registration};
use crate::flow::hand_over::{HandOver, claiming};
use crate::flow::new_account;
use crate::flow::sign_in::{self, Demands, Locked, Made, NewSession};
use crate::handle::Portcullis;
use crate::hook::{HookList, ProviderUse, Registering, RegistrationCause, UsingProvider};
use crate::identity::resolution::Resolved;
use crate::message::{MessageKind, Recipient, Values};
use crate::outbox::{self, Outgoing};
use crate::session::SessionError;

/// A sign-in with an identity that was checked.
#[derive(Clone, Copy)]
pub(super) struct ProviderSignIn<'a> {
    pub(super) auth: &'a Portcullis,
    pub(super) remote: &'a Remote,
    pub(super) told: &'a Told,
    pub(super) remember: bool,
    pub(super) before: Option<&'a Resolved>,
    pub(super) client: &'a ClientInfo,
    pub(super) now: Timestamp,
}

/// The result of a sign-in.
pub(super) enum SignedIn {
    Session(Box<Made>),
    /// The person is asked what happens with the identity.
    Asks,
}

/// Who gets an identity that no account has.
enum Gets {
    /// The account that has proved the same mail address.
    Account(account::Model, Email),
    /// The account that has not proved the mail address of the person. It goes to them.
    HandedOver(account::Model, Email),
    /// A new account, with the mail address for which the provider is trusted.
    New(Option<Email>),
    Asks,
}

/// What a person chose for a new account.
pub(super) struct Chosen<'a> {
    pub(super) username: Option<&'a str>,
    pub(super) profile: &'a Value,
}

impl ProviderSignIn<'_> {
    pub(super) async fn run(&self) -> Result<SignedIn, FederationError> {
        let mut attempts = 2;
        loop {
            attempts -= 1;
            match self.attempt().await {
                // Another request linked the identity at the same moment. The next round finds it.
                Err(FederationError::OfOtherAccount) if attempts > 0 => {}
                other => return other,
            }
        }
    }

    async fn attempt(&self) -> Result<SignedIn, FederationError> {
        let db = self.auth.context().db();
        let found = db.read(store::by_digest(&db.executor(), &self.told.digest())).await?;
        let made = match found {
            Some(identity) => self.known(&identity).await,
            None => match self.gets().await? {
                Gets::Asks => return Ok(SignedIn::Asks),
                Gets::Account(row, email) => self.link_by_mail(&row, &email).await,
                Gets::HandedOver(row, email) => self.hand_over(&row, &email).await,
                Gets::New(email) => {
                    self.create(email.as_ref(), &Chosen { username: None, profile: &Value::Null })
                        .await
                }
            },
        };
        Ok(SignedIn::Session(Box::new(made?)))
    }

    /// Decides who gets an identity that no account has. A mail address decides only if the provider is trusted for it.
    async fn gets(&self) -> Result<Gets, FederationError> {
        let policy = self.remote.provider.policy;
        match policy {
            ProviderPolicy::OnRequest => return Ok(Gets::Asks),
            ProviderPolicy::Closed => return Err(FederationError::NotLinked),
            ProviderPolicy::Automatic | ProviderPolicy::Open => {}
        }
        let config = &self.auth.context().config;
        if let Some(email) = self.trusted_email() {
            let db = self.auth.context().db();
            let executor = db.executor();
            let found = account_store::find_with_name(&executor, email.normal());
            if let Some((name, row)) = db.read(found).await? {
                let account = Account::from(row.clone());
                if name.verified_at.is_some() && row.verified_at.is_some() {
                    // The owner of an account with a second factor, and a superuser, links it in a session.
                    let is_plain = row.enrolled_factors == 0 && !row.superuser;
                    return match policy == ProviderPolicy::Automatic && is_plain {
                        true => Ok(Gets::Account(row, email)),
                        false => Err(FederationError::AccountExists),
                    };
                }
                // Nobody gets an account that may do everything by the word of a provider.
                if row.verified_at.is_some() || row.superuser {
                    return Err(FederationError::AccountExists);
                }
                if account.is_usable(self.now, false) {
                    return Ok(Gets::HandedOver(row, email));
                }
                // Nobody has a claim to it, so a new account takes the address.
                if !account.has_no_claim(self.now) {
                    return Err(FederationError::CannotSignIn);
                }
            }
            self.may_register()?;
            return Ok(Gets::New(Some(email)));
        }
        self.may_register()?;
        if config.login.require_verified {
            return Err(FederationError::AddressNeeded);
        }
        Ok(Gets::New(None))
    }

    fn may_register(&self) -> Result<(), FederationError> {
        match self.auth.context().config.login.registration {
            Registration::Closed => Err(FederationError::NotLinked),
            Registration::Automatic | Registration::Open | Registration::Strict => Ok(()),
        }
    }

    /// Returns the mail address, if the word of the provider is enough for it.
    fn trusted_email(&self) -> Option<Email> {
        let email = self.told.email.as_deref().filter(|_| self.told.email_trusted)?;
        Email::parse(email).ok()
    }

    /// Returns what the sign-in proves, and when. If the provider does not tell the time, it proves nothing recent, except in
    /// an account that nobody can enter another way: its owner has nothing else to prove.
    fn proved(&self, is_only_way: bool) -> PassedFactors {
        let longest = self.auth.context().config.session.absolute_lifetime;
        let at = match self.told.auth_time {
            Some(seconds) => Timestamp::from_millis(seconds.saturating_mul(1000)).min(self.now),
            None if is_only_way => self.now,
            None => self.now.minus(longest),
        };
        PassedFactors::one(factor_of(self.told), at)
    }

    fn session<'s>(
        &'s self,
        row: &'s account::Model,
        account: Option<AccountId>,
        is_only_way: bool,
        demands: Demands,
    ) -> NewSession<'s> {
        let replaces = self.before.and_then(|before| sign_in::replaces(before, account));
        NewSession::new(self.auth, row, self.proved(is_only_way), demands, self.client, self.now)
            .remember(self.remember)
            .replacing(replaces)
    }

    fn using<'s>(
        &'s self,
        account: Option<&'s Account>,
        purpose: ProviderUse,
    ) -> UsingProvider<'s> {
        using(self.auth, self.remote, self.told, account, purpose, self.client, self.now)
    }

    /// Signs in to the account that has the identity.
    async fn known(&self, identity: &identity::Model) -> Result<Made, FederationError> {
        let context = self.auth.context();
        let db = context.db();
        let id = identity.account_id;
        let row = db.read(account_store::find(&db.executor(), id)).await?;
        let Some(row) = row.filter(|row| self.is_usable(row)) else {
            self.record_failure(id, "unusable").await?;
            return Err(FederationError::CannotSignIn);
        };
        let demands = Demands::read(self.auth, &row, self.now).await?;
        let session = self.session(&row, Some(row.id), self.is_only_way(&row).await?, demands);
        let account = Account::from(row.clone());
        let hooks = self.auth.per_instance::<HookList>();
        let used = used(self.auth, self.told, identity.id, Some(identity), self.now);
        let made = transaction!(db, |txn| {
            let locked = match session.lock(txn).await {
                // The account has changed since it was read.
                Err(SessionError::Ended) => return Err(FederationError::CannotSignIn),
                locked => locked?,
            };
            hooks.before_provider(self.using(Some(&account), ProviderUse::SignIn), txn).await?;
            if !store::record_use(txn, identity, used.clone()).await? {
                return Err(FederationError::CannotSignIn);
            }
            let made = session.clone().make(txn, locked).await?;
            self.note_session(txn, &made, row.id).await?;
            Ok(made)
        });
        self.ended(made, Some(row.id)).await
    }

    /// Links the identity to the account that has proved the same mail address, and signs in to it.
    async fn link_by_mail(
        &self,
        row: &account::Model,
        email: &Email,
    ) -> Result<Made, FederationError> {
        let context = self.auth.context();
        if !self.is_usable(row) {
            self.record_failure(row.id, "unusable").await?;
            return Err(FederationError::CannotSignIn);
        }
        let demands = Demands::read(self.auth, row, self.now).await?;
        let session = self.session(row, Some(row.id), false, demands);
        let account = Account::from(row.clone());
        let hooks = self.auth.per_instance::<HookList>();
        let new = new_identity(self.auth, self.remote, self.told, row.id, row.epoch, self.now);
        let event = Event::new(EventKind::AccountUpdated, self.now).account(row.id);
        let event = event.from_client(self.client).detail("identity linked by its mail address");
        let to = row.email.as_deref().and_then(Recipient::email);
        let values = Values::new().with("factor", Factor::Provider.in_words()).with("linked", true);
        let values = values.with_some("address", self.client.address());
        let notice = Outgoing::new(MessageKind::FactorAdded, to).account(row.id).values(values);
        let made = transaction!(context.db(), |txn| {
            let locked = match session.lock(txn).await {
                Err(SessionError::Ended) => return Err(FederationError::CannotSignIn),
                locked => locked?,
            };
            // Again, now that nobody else can change the account.
            let found = account_store::find_with_name(txn, email.normal()).await?;
            let is_theirs = found.is_some_and(|(name, now)| {
                now.id == row.id && now.epoch == row.epoch && name.verified_at.is_some()
            });
            if !is_theirs {
                return Err(FederationError::CannotSignIn);
            }
            let others = store::of_account(txn, row.id).await?;
            if others.iter().any(|other| other.provider == new.provider) {
                return Err(FederationError::AlreadyLinked);
            }
            hooks.before_provider(self.using(Some(&account), ProviderUse::LinkByMail), txn).await?;
            if !store::insert(txn, new.clone()).await? {
                return Err(FederationError::OfOtherAccount);
            }
            audit_log::record(txn, &event).await?;
            outbox::put(txn, context, &notice).await?;
            let made = session.clone().make(txn, locked).await?;
            self.note_session(txn, &made, row.id).await?;
            Ok(made)
        });
        self.ended(made, Some(row.id)).await
    }

    /// Hands an account with an unproved address over to the person who has proved it to the provider.
    async fn hand_over(
        &self,
        row: &account::Model,
        email: &Email,
    ) -> Result<Made, FederationError> {
        let context = self.auth.context();
        // By then, everything that the creator of the account has set is deleted.
        let demands = Demands::of_handed_over().with_new_password();
        // For its new owner this is the first sign-in, which never counts as a new device.
        let fresh = account::Model { last_login_at: None, ..row.clone() };
        let session = self.session(&fresh, None, true, demands);
        let account = Account::from(row.clone());
        let hooks = self.auth.per_instance::<HookList>();
        let taking = HandOver {
            auth: self.auth,
            row,
            normal: email.normal(),
            client: self.client,
            now: self.now,
            new_password: false,
        };
        let new = new_identity(self.auth, self.remote, self.told, row.id, row.epoch, self.now);
        let made = claiming(row, || {
            let (taking, session, hooks, new) = (&taking, &session, &hooks, &new);
            let account = &account;
            async move {
                transaction!(context.db(), |txn| {
                    let epoch = taking.run::<FederationError>(txn).await?;
                    let epoch = epoch.ok_or(FederationError::CannotSignIn)?;
                    let using = self.using(Some(account), ProviderUse::Register);
                    hooks.before_provider(using, txn).await?;
                    let new = identity::Model { epoch, ..new.clone() };
                    if !store::insert(txn, new).await? {
                        return Err(FederationError::OfOtherAccount);
                    }
                    account_store::set_last_login(txn, row.id, self.now).await?;
                    let session = session.clone().at_epoch(epoch);
                    let made = session.make(txn, Locked::by_the_flow()).await?;
                    self.note_session(txn, &made, row.id).await?;
                    Ok(made)
                })
            }
        });
        let made = made.await;
        self.ended(made, Some(row.id)).await
    }

    /// Creates an account for the identity, and signs it in.
    pub(super) async fn create(
        &self,
        email: Option<&Email>,
        chosen: &Chosen<'_>,
    ) -> Result<Made, FederationError> {
        self.may_register()?;
        let context = self.auth.context();
        if email.is_none() && context.config.login.require_verified {
            return Err(FederationError::AddressNeeded);
        }
        new_account::count(self.auth, self.client).await?;
        let id = AccountId::new(self.now);
        let username = chosen.username.filter(|_| context.config.login.id != LoginIds::Email);
        let new = NewAccount {
            username: username.map(str::to_owned),
            email: email.map(|email| email.as_str().to_owned()),
            verified: email.is_some(),
            id: Some(id),
            signs_in: true,
            nameless: true,
            ..NewAccount::default()
        };
        let registering = Registering {
            auth: self.auth,
            account: None,
            account_id: id,
            username,
            email: email.map(Email::as_str),
            phone: None,
            cause: RegistrationCause::Provider,
            client: self.client,
            at: self.now,
            profile: chosen.profile,
        };
        let hooks = self.auth.per_instance::<HookList>();
        let accounts = self.auth.accounts();
        let linked = new_identity(self.auth, self.remote, self.told, id, 0, self.now);
        let made = transaction!(context.db(), |txn| {
            hooks.before_provider(self.using(None, ProviderUse::Register), txn).await?;
            hooks.before_register(registering, txn).await?;
            if let Some(email) = email {
                new_account::free::<FederationError>(self.auth, txn, email, self.client, self.now)
                    .await?;
            }
            let row = match accounts.inside(txn).create_row(new.clone()).await {
                Ok(row) => row,
                // The address got an account in between.
                Err(AccountError::Taken(crate::account::LoginIdKind::Email)) => {
                    return Err(FederationError::AccountExists);
                }
                Err(error) => return Err(error.into()),
            };
            if !store::insert(txn, linked.clone()).await? {
                return Err(FederationError::OfOtherAccount);
            }
            let account = Account::from(row.clone());
            hooks
                .after_register(Registering { account: Some(&account), ..registering }, txn)
                .await?;
            // This is the account's first sign-in, which never counts as a new device.
            let row = account::Model { last_login_at: None, ..row };
            let session = self.session(&row, None, true, Demands::of_new(context, &row));
            let made = session.make(txn, Locked::by_the_flow()).await?;
            self.note_session(txn, &made, id).await?;
            Ok::<_, FederationError>(made)
        });
        self.ended(made, None).await
    }

    /// True if the account has no second factor, and nobody can enter it without a provider. Asked only if it matters.
    async fn is_only_way(&self, row: &account::Model) -> Result<bool, Fault> {
        let context = self.auth.context();
        let has_other = row.enrolled_factors != 0 || way_in::by_password_or_mail(context, row);
        if self.told.auth_time.is_some() || has_other {
            return Ok(false);
        }
        let db = context.db();
        Ok(!db.read(way_in::by_passkey(&db.executor(), row)).await?)
    }

    fn is_usable(&self, row: &account::Model) -> bool {
        let require_verified = self.auth.context().config.login.require_verified;
        Account::from(row.clone()).is_usable(self.now, require_verified)
    }

    /// Notes with which identity the sign-in began, so that the provider can end it.
    async fn note_session(
        &self,
        txn: &Txn<'_>,
        made: &Made,
        account_id: AccountId,
    ) -> Result<(), FederationError> {
        let Some(lineage_id) = made.lineage_id() else { return Ok(()) };
        let longest = self.auth.context().config.session.absolute_lifetime;
        let row = session::Model {
            lineage_id,
            account_id,
            identity: self.told.digest().to_vec(),
            provider_session: self.told.session_digest().map(|digest| digest.to_vec()),
            created_at: self.now,
            expires_at: self.now.plus(longest),
        };
        Ok(store::note_session(txn, row).await?)
    }

    async fn ended(
        &self,
        made: Result<Made, FederationError>,
        account: Option<AccountId>,
    ) -> Result<Made, FederationError> {
        if let (Err(FederationError::Refused(_)), Some(account)) = (&made, account) {
            sign_in::record_refusal(self.auth, account, self.client, self.now).await?;
        }
        made
    }

    async fn record_failure(&self, account: AccountId, reason: &str) -> Result<(), Fault> {
        let event = Event::new(EventKind::LoginFailed, self.now).account(account);
        let event = event.from_client(self.client).failed(reason);
        transaction!(self.auth.context().db(), |txn| {
            audit_log::record(txn, &event).await?;
            Ok(())
        })
    }
}

/// Returns what a sign-in with an identity proves.
pub(super) fn factor_of(told: &Told) -> Factor {
    if told.two_factors { Factor::ProviderTwoFactors } else { Factor::Provider }
}

/// Returns what the hooks are told.
pub(super) fn using<'s>(
    auth: &'s Portcullis,
    remote: &'s Remote,
    told: &'s Told,
    account: Option<&'s Account>,
    purpose: ProviderUse,
    client: &'s ClientInfo,
    at: Timestamp,
) -> UsingProvider<'s> {
    UsingProvider {
        auth,
        account,
        purpose,
        provider: &remote.provider.name,
        issuer: &told.issuer,
        subject: &told.subject,
        email: told.email.as_deref(),
        email_trusted: told.email_trusted,
        claims: &told.claims,
        client,
        at,
    }
}

/// Returns what a use of an identity changes in its row.
/// Many providers give a refresh token only at the first
/// sign-in, so the one in the row stays until there is another one.
pub(super) fn used(
    auth: &Portcullis,
    told: &Told,
    id: ProviderIdentityId,
    row: Option<&identity::Model>,
    now: Timestamp,
) -> Used {
    let keys = auth.per_instance::<FederationKeys>();
    let tokens = told.tokens.as_ref().map(|tokens| {
        let mut tokens = tokens.clone();
        if tokens.refresh_token.is_none() {
            let kept = row.and_then(|row| row.tokens_key_id.as_deref().zip(row.tokens.as_deref()));
            let kept = kept.and_then(|kept| keys.open_tokens(kept, id.as_uuid().as_bytes()));
            tokens.refresh_token = kept.and_then(|kept: KeptTokens| kept.refresh_token);
        }
        let sealed = keys.seal_tokens(&tokens, id.as_uuid().as_bytes());
        (sealed.text, sealed.key_id)
    });
    Used { email: told.email.clone(), display_name: told.display_name.clone(), tokens, at: now }
}

/// Returns the row of an identity that is about to be linked.
pub(super) fn new_identity(
    auth: &Portcullis,
    remote: &Remote,
    told: &Told,
    account_id: AccountId,
    epoch: i64,
    now: Timestamp,
) -> identity::Model {
    let id = ProviderIdentityId::new(now);
    let Used { email, display_name, tokens, at } = used(auth, told, id, None, now);
    let (tokens, tokens_key_id) = tokens.unzip();
    identity::Model {
        id,
        account_id,
        provider: remote.provider.name.clone(),
        digest: told.digest().to_vec(),
        issuer: told.issuer.clone(),
        subject: told.subject.clone(),
        email,
        display_name,
        epoch,
        tokens,
        tokens_key_id,
        tokens_version: 0,
        refreshing_at: None,
        created_at: now,
        last_used_at: Some(at),
    }
}
