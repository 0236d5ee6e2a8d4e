//! Action proofs: a person consents to one action, and the action happens once.
//!
//! # How it works
//!
//! 1. A signed-in person with a recent factor consents to an action, such as the payment of one invoice. They
//!    get a signed proof. It names the account, the session, the action, what it is about, and when it was
//!    made. If you wish, it also has a digest of the details, such as the amount.
//! 2. The request that does the action brings the proof, in the header `Portcullis-Action-Proof`. It is checked: this action, this resource, this
//!    session, not too old, and the session still goes on.
//! 3. The handler compares the details, and uses the proof up in the transaction of the action. If that is
//!    rolled back, the proof can be used again. If it is committed, no second request can use it, on any node.
//!
//! These are three types: the token, the [`VerifiedProof`] and the [`SpentProof`]. A function that takes a
//! `SpentProof` cannot be called without a proof that was used up.
//!
//! ```no_run
//! use axum::Json;
//! use axum::extract::Path;
//! use portcullis::action_proof::{Payload, SpentProof, VerifiedProof};
//! use portcullis::{ClientInfo, Fault, Identity, Portcullis, Rejection};
//!
//! fn details(amount: &str) -> Payload {
//!     Payload::new().field("amount", amount)
//! }
//!
//! // The page has shown "Pay 100.00 EUR for invoice 42", and the person has pressed the button.
//! async fn consent(
//!     auth: Portcullis,
//!     identity: Identity,
//!     client: ClientInfo,
//!     Path(invoice): Path<String>,
//! ) -> Result<String, Rejection> {
//!     let issue = auth.action_proofs().issue("pay", &identity).resource(invoice);
//!     let issued = issue.over(&details("100.00")).agreed_to("Pay 100.00 EUR").sign(&client).await?;
//!     Ok(issued.token().to_owned())
//! }
//!
//! // Its route in `auth.router()` has this access. The outer guard decides who may pay:
//! // auth.require_action_proof("pay").on_path("invoice").behind(auth.require(invoice::Pay).on_path("invoice"))
//! //
//! // In a plain axum router: `.route_layer(auth.require_action_proof("pay").on_path("invoice"))`, and after it
//! // `.route_layer(auth.require(invoice::Pay).on_path("invoice"))`.
//! async fn pay(
//!     auth: Portcullis,
//!     client: ClientInfo,
//!     proof: VerifiedProof,
//!     Json(amount): Json<String>,
//! ) -> Result<&'static str, Rejection> {
//!     let proof = proof.check_payload(&details(&amount))?;
//!     let txn = auth.begin().await?;
//!     let spent = proof.spend_within(&txn, &client).await?;
//!     book(&txn, spent);
//!     txn.commit().await.map_err(Fault::from)?;
//!     Ok("paid")
//! }
//!
//! # fn book(_: &portcullis::Transaction, _: SpentProof) {}
//! ```
//!
//! # What a proof is worth
//! - It is no session and no factor. Without the session, it opens no route behind
//!   [`require_action_proof`](Portcullis::require_action_proof). Put the guard that decides who may do this
//!   around it: a proof shows that somebody consented, not that they may.
//! - It ends with its sign-in, and with a change that ends the codes and links of the account, such as a new
//!   password. A step-up does not end it, nor does a new sign-in of the same account that replaces the session.
//!   A new proof in the same sign-in, about the same action and resource,
//!   replaces it.
//! - Its permissions and its scope narrow what it is for. The account must have each permission when the proof
//!   is made, within the ceiling of the session. [`Expected::permission`] and [`Expected::scope`] refuse a proof that does not name them.
//! - The guard does not use the proof up, because only your handler has the transaction. A handler that does
//!   not spend the proof can be called with it again. The finding `action_proof_not_spent` reports it.
//! - A `SpentProof` has no type for its action. Actions are names that your configuration or your pages may
//!   bring, and the guard has compared the name. A function that does one action asks
//!   [`is_about`](SpentProof::is_about).
//! - A session that is limited by a ceiling can consent too. The guards of the route decide what it may do.
//! - A resource is compared as a whole. Put the details into the [`Payload`], and the id alone into the
//!   resource. If you must accept one word of a longer resource, see
//!   [`danger_accept_component`](Expected::danger_accept_component).
//!
//! # Several requests under one consent
//! Some consents are not to one change, but to looking at something for a while, such as the salaries of a
//! department. For them the guard has [`for_reading`](RequireActionProof::for_reading), and a handler of your
//! own has [`check_open`](ActionProofs::check_open). They return an [`OpenConsent`], which is another type and
//! cannot be used up. So nothing that happens once can depend on it.
//!
//! Such a check costs one statement, because the request has already shown that its session and its account
//! count. `config.action_proof.remember_open` saves this statement too, for a short time that you choose. Then a
//! proof that was used up or taken back on another node counts as open for at most that time. It is off by
//! default. [`verify`](ActionProofs::verify) and [`spend`](VerifiedProof::spend) never use what was remembered.
//!
//! # Routes
//! `action_proof::routes(&auth, ["pay"])` mounts them, for the actions that you name.
//!
//! | route | what |
//! |---|---|
//! | `POST /action-proofs` | consents to an action: `action`, and if you wish `resource`, `fields` (such as `[["amount", "100.00"]]`), `scope`, `permissions`. The answer has `action_proof`, `id`, `expires_at` and the text `agreed_to` |
//! | `GET /action-proofs` | lists the open proofs of the account, 100 at a time; `?after=` with the `next` of the answer continues |
//! | `DELETE /action-proofs/{id}` | takes one back |
//!
//! # Configuration
//! [`ActionProofConfig`](crate::config::ActionProofConfig). A proof is valid for 10 minutes.
//! [`lifetime`](IssueProof::lifetime) changes this for one proof, up to two hours. A sign-in has at most 50 open
//! proofs; one more ends the oldest. How recent the factor must be: `session.recent_factor`.
//!
//! Proofs are signed with keys of their own, which are derived from the secrets of the service
//! (`keys.secrets`). So no other token of the service can become a proof. If you configure a private key
//! (`keys.signing`), the same key signs sessions and proofs, and the type in the signed header separates them.
//! There is no other key: without a secret, the service does not start.
//!
//! # Events
//! `action_proof_issued`, with the text to which the person agreed; `action_proof_spent`;
//! `action_proof_revoked`. The detail of each begins with the id of the proof.
//!
//! # Error codes
//! `action_proof_required` (401), with `action` and `resource`; `action_proof_invalid`,
//! `action_proof_of_other_service`, `action_proof_of_other_action`, `action_proof_of_other_resource`,
//! `action_proof_of_other_payload`, `action_proof_of_other_scope`, `action_proof_lacks_permission`,
//! `action_proof_of_other_session`, `action_proof_stale`, `action_proof_from_the_future`, `action_proof_ended`
//! (403); `action_proof_used` (409); `action_proof_not_found` (404); `unknown_action`,
//! `invalid_action_proof`, `invalid_page` (422); `denied` (403); `too_soon` (429); `insufficient_user_authentication` (401).
//!
//! # Standard
//! RFC 7519 and RFC 8725 for the token. OWASP Transaction Authorization Cheat Sheet. The error
//! `action_proof_required` in the challenge has the form of RFC 9470, and is our own. A page on another origin
//! must be allowed to send the header: `Access-Control-Allow-Headers: portcullis-action-proof`.

use std::fmt;
use std::time::Duration;

use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::jwt::{ActionStatement, MAX_TOKEN_BYTES};
use crate::base::page::Page;
use crate::base::transaction::{Db, OpenTransaction, transaction};
use crate::config::action_proof::LONGEST_LIFETIME;
use crate::guard::Requirement;
use crate::handle::Portcullis;
use crate::identity::{AccountOwner, AuthError, Identity, owner};
use crate::one_time::store::OpenOfAccount;
use crate::one_time::{self, Answer, Start, store as one_time_store};
use crate::outstanding::{ApplicationPurpose, Kind};
use crate::session::store as session_store;

mod error;
mod guard;
mod open;
mod payload;
#[cfg(feature = "routes")]
mod routes;
mod verify;

pub use crate::base::id::ChallengeId as ActionProofId;
pub use error::ActionProofError;
pub use guard::{HEADER, RequireActionProof, RequireActionProofService};
pub use open::{OpenConsent, Recheck};
pub use payload::Payload;
#[cfg(feature = "routes")]
pub use routes::routes;
pub use verify::{Expected, SpentProof, VerifiedProof};

/// How soon the same consent may be given again.
const COOL_DOWN: Duration = Duration::from_secs(1);

/// The lengths of what a proof names, in bytes. The id of the proof, the action, the resource and the text
/// share a column of 255 bytes. The id has 36, and there is a blank after it.
const LONGEST_TEXT: usize = 255 - 37;
const LONGEST_RESOURCE: usize = 160;
const LONGEST_SCOPE: usize = 256;
const MOST_PERMISSIONS: usize = 16;

/// Issues, checks and ends action proofs. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct ActionProofs<'a> {
    auth: &'a Portcullis,
    db: Db<'a>,
}

impl Portcullis {
    /// Returns the flows of action proofs.
    pub fn action_proofs(&self) -> ActionProofs<'_> {
        ActionProofs { auth: self, db: self.context().db() }
    }
}

/// A proof that is about to be issued.
#[derive(Debug, Clone)]
#[must_use = "a proof is issued by `sign`"]
pub struct IssueProof<'a> {
    auth: &'a Portcullis,
    db: Db<'a>,
    identity: Identity,
    action: String,
    resource: Option<String>,
    scope: Option<String>,
    permissions: Vec<String>,
    payload: Option<String>,
    agreed_to: Option<String>,
    lifetime: Duration,
}

/// A proof that was issued. The client gets the token.
#[must_use = "the token is the proof"]
pub struct IssuedProof {
    id: ActionProofId,
    token: String,
    expires_at: Timestamp,
    agreed_to: String,
}

/// An open proof of an account, for a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenProof {
    /// The id with which it can be taken back.
    pub id: ActionProofId,
    /// The action, and what it is about.
    pub about: String,
    /// When the person consented.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A page of open proofs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenProofs {
    /// The proofs, the newest first.
    pub proofs: Vec<OpenProof>,
    /// Where the next page begins, see [`Page::after`]. `None` if this is the last one.
    pub next: Option<String>,
}

impl<'a> ActionProofs<'a> {
    /// Does everything in a transaction of the caller.
    pub fn within(mut self, txn: impl Into<OpenTransaction<'a>>) -> Self {
        self.db = self.db.within(txn);
        self
    }

    /// Begins a proof that the person of this session consented to an action. Its name has 1 to 48 lower-case
    /// letters, digits, dashes or underscores.
    pub fn issue(&self, action: impl Into<String>, identity: &Identity) -> IssueProof<'a> {
        IssueProof {
            auth: self.auth,
            db: self.db,
            identity: identity.clone(),
            action: action.into(),
            resource: None,
            scope: None,
            permissions: Vec::new(),
            payload: None,
            agreed_to: None,
            lifetime: self.auth.context().config.action_proof.lifetime,
        }
    }

    /// Returns the open proofs of an account, of all its sign-ins that go on, the newest first.
    ///
    /// # Errors
    /// [`ActionProofError::InvalidPage`] for a place that no page has returned; an outage.
    pub async fn open(
        &self,
        owner: &AccountOwner<owner::Sessions>,
        page: Page,
    ) -> Result<OpenProofs, ActionProofError> {
        let context = self.auth.context();
        let (executor, now, account) = (self.db.executor(), context.now(), owner.account().id());
        let verified = context.config.login.require_verified;
        let kind = Kind::ActionProof.name();
        let which = OpenOfAccount {
            account,
            purpose: &kind,
            sessions: session_store::live_sign_ins(account, now, verified),
            after: page.place()?,
            // One more than a page shows whether there is another page.
            most: page.limit() + 1,
        };
        let rows = self.db.read(one_time_store::open_of_account(&executor, which, now)).await?;
        let more = rows.len() > page.limit();
        let open = rows.into_iter().take(page.limit()).map(|row| OpenProof {
            id: row.id,
            about: row.target.unwrap_or_default(),
            created_at: row.created_at,
            expires_at: row.expires_at,
        });
        let proofs: Vec<_> = open.collect();
        let next = proofs.last().filter(|_| more).map(|last| last.id.to_string());
        Ok(OpenProofs { proofs, next })
    }

    /// Takes back a proof of an account, of any of its sessions, that was not used yet.
    ///
    /// # Errors
    /// [`ActionProofError::NotFound`]; an outage.
    pub async fn revoke(
        &self,
        owner: &AccountOwner<owner::Sessions>,
        id: ActionProofId,
        client: &ClientInfo,
    ) -> Result<(), ActionProofError> {
        let (account, now) = (owner.account().id(), self.auth.context().now());
        let kind = Kind::ActionProof.name();
        let event = Event::new(EventKind::ActionProofRevoked, now).account(account);
        let event = event.session(owner.session().id()).from_client(client);
        transaction!(self.db, |txn| {
            let row = one_time::find(txn, &Kind::ActionProof, id).await?;
            let about = row.as_ref().and_then(|row| row.target()).unwrap_or_default().to_owned();
            if !one_time_store::end_one(txn, id, account, &kind, now).await? {
                return Err(ActionProofError::NotFound);
            }
            audit_log::record(txn, &event.clone().detail(format!("{id} {about}"))).await?;
            Ok(())
        })?;
        self.forget(id);
        Ok(())
    }
}

impl<'a> IssueProof<'a> {
    /// Says what the action is about, such as the id of an invoice: at most 160 bytes.
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Binds the proof to details.
    pub fn over(mut self, payload: &Payload) -> Self {
        self.payload = Some(payload.digest());
        self
    }

    /// Says which text the person has read and agreed to. The event records it after the action and the
    /// resource. All three have at most 218 bytes together.
    pub fn agreed_to(mut self, text: impl Into<String>) -> Self {
        self.agreed_to = Some(text.into());
        self
    }

    /// Names scopes, separated by blanks.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Names permissions that the proof is for. The session must have each of them.
    pub fn permissions(mut self, permissions: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.permissions = permissions.into_iter().map(Into::into).collect();
        self
    }

    /// Sets how long the proof is valid: at least one second and at most two hours. Default:
    /// `config.action_proof.lifetime`, which is ten minutes.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Issues the proof. It replaces an open one of the same sign-in about the same action and resource, and
    /// the oldest ones above `config.action_proof.max_per_sign_in`.
    ///
    /// # Errors
    /// [`ActionProofError::Auth`] if the factor of the session is too old, or a step-up has replaced it;
    /// [`ActionProofError::InvalidProof`]; [`ActionProofError::MoreRights`]; [`ActionProofError::TooSoon`]; an
    /// outage.
    pub async fn sign(self, client: &ClientInfo) -> Result<IssuedProof, ActionProofError> {
        self.check()?;
        let context = self.auth.context();
        let (identity, now) = (&self.identity, context.now());
        let (account, session) = (identity.account().id(), identity.session());
        let about = match &self.resource {
            Some(resource) => format!("{} {resource}", self.action),
            None => self.action.clone(),
        };
        let agreed_to = match &self.agreed_to {
            Some(text) => format!("{about}: {text}"),
            None => about.clone(),
        };
        if agreed_to.len() > LONGEST_TEXT {
            let text = "the action, the resource and the text have at most 218 bytes together";
            return Err(ActionProofError::InvalidProof(text));
        }
        let event = Event::new(EventKind::ActionProofIssued, now).account(account);
        let event = event.session(session.id()).from_client(client);
        let sign_in = session.lineage_id().as_uuid().into();
        let others = u64::from(context.config.action_proof.max_per_sign_in).saturating_sub(1);
        let start = Start {
            kind: &Kind::ActionProof,
            account_id: Some(account),
            // A second consent after a step-up replaces the first one, so it is not the id of the session.
            session_id: Some(sign_in),
            target: Some(&about),
            data: None,
            binding: None,
            answer: Answer::TokenOnly,
            // The token says when it ends. At that second, it is still valid.
            lifetime: self.lifetime + Duration::from_secs(1),
            cool_down: COOL_DOWN,
        };
        let expires_at = now.plus(self.lifetime);
        transaction!(self.db, |txn| {
            // Parallel consents of one account wait here, so that none is above the limit.
            session_store::lock_account(txn, account).await?;
            let started = one_time::start(txn, context, &start).await?;
            let started = started.ok_or(ActionProofError::TooSoon { retry_after: COOL_DOWN })?;
            let kind = Kind::ActionProof.name();
            one_time_store::end_above(txn, &kind, sign_in, started.id, others, now).await?;
            let token = context.jwt.sign_action(ActionStatement {
                account,
                session: session.id(),
                lineage: session.lineage_id(),
                id: started.id,
                action: self.action.clone(),
                resource: self.resource.clone(),
                scope: self.scope.clone(),
                permissions: self.permissions.clone(),
                payload: self.payload.clone(),
                issued_at: now.as_secs(),
                expires_at: expires_at.as_secs(),
            });
            if token.len() > MAX_TOKEN_BYTES {
                let text = "the permissions of the proof are too long together";
                return Err(ActionProofError::InvalidProof(text));
            }
            let recorded = event.clone().detail(format!("{} {agreed_to}", started.id));
            audit_log::record(txn, &recorded).await?;
            Ok(IssuedProof { id: started.id, token, expires_at, agreed_to: agreed_to.clone() })
        })
    }

    fn check(&self) -> Result<(), ActionProofError> {
        let Self { identity, .. } = self;
        let invalid = |text| Err(ActionProofError::InvalidProof(text));
        if identity.is_superseded() {
            return Err(AuthError::superseded().into());
        }
        if ApplicationPurpose::parse(&self.action).is_none() {
            return invalid(
                "an action has 1 to 48 lower-case letters, digits, dashes or underscores",
            );
        }
        // PostgreSQL does not accept a NUL byte in a text.
        let fits = |text: &str, most| (1..=most).contains(&text.len()) && !text.contains('\0');
        if !self.resource.as_deref().is_none_or(|text| fits(text, LONGEST_RESOURCE)) {
            return invalid("a resource has 1 to 160 bytes and no NUL");
        }
        if !self.scope.as_deref().is_none_or(|text| fits(text, LONGEST_SCOPE)) {
            return invalid("the scopes have 1 to 256 bytes and no NUL");
        }
        if !self.agreed_to.as_deref().is_none_or(|text| fits(text, LONGEST_TEXT)) {
            return invalid("the text that a person agrees to must not be empty, and has no NUL");
        }
        if !(Duration::from_secs(1)..=LONGEST_LIFETIME).contains(&self.lifetime) {
            return invalid("a proof is valid for one second to two hours");
        }
        if self.permissions.len() > MOST_PERMISSIONS {
            return invalid("a proof has at most 16 permissions");
        }
        for permission in &self.permissions {
            let Ok(requirement) = Requirement::permission(permission.as_str()) else {
                return invalid("this is not a permission");
            };
            if !identity.meets(&requirement) {
                return Err(ActionProofError::MoreRights);
            }
        }
        let context = self.auth.context();
        if !identity.has_recent_factor(context) {
            let requirement = Requirement::within(context.config.session.recent_factor);
            return Err(AuthError::StepUp(requirement.step_up(identity)).into());
        }
        Ok(())
    }
}

impl IssuedProof {
    /// Returns the id, with which it can be [taken back](ActionProofs::revoke). It is not a secret.
    pub fn id(&self) -> ActionProofId {
        self.id
    }

    /// Returns the proof, for the header `Portcullis-Action-Proof`.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Returns when it ends.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns the text that was recorded: the action, the resource, and the text to which the person agreed.
    pub fn agreed_to(&self) -> &str {
        &self.agreed_to
    }
}

// Written by hand: the token must not be printed.
impl fmt::Debug for IssuedProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedProof").field("id", &self.id).finish_non_exhaustive()
    }
}
