//! Identity: who a request is and what it may do.
//!
//! 1. [`auth.layer()`](Portcullis::layer) puts a lazy handle into each request. It asks nothing.
//! 2. The first guard or extractor that needs to know resolves it: the token's signature, then one
//!    statement for session, account and versions. A forged token never reaches the database.
//! 3. Everything after that in the same request reads what was found: one consistent view.
//! 4. On the way out the layer adds at most one `Set-Cookie`.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use portcullis::{Account, Portcullis, Requirement};
//!
//! # fn example(auth: Portcullis) -> Result<(), portcullis::PermissionError> {
//! let app: Router = Router::new()
//!     .route("/docs/{id}", get(|| async { "a document" }))
//!     .route_layer(auth.require(Requirement::permission("doc:read")?).on_path("id"))
//!     .route("/me", get(|account: Account| async move { account.id().to_string() }))
//!     .layer(auth.layer());
//! # Ok(())
//! # }
//! ```
//!
//! An outage is 503, never 401: a client must not throw its session away because a database was
//! down.

use std::sync::Arc;

use crate::account::Account;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::problem::Rejection;
use crate::base::same_origin::Facts;
use crate::context::Context;
use crate::handle::Portcullis;
use crate::identity::refused::{Compared, Refused};
use crate::identity::request_identity::{RequestIdentity, Resolver};
use crate::permission::typed::IntoPermission;
use crate::permission::{Atoms, Grants, Instances, Permission, PermissionSet};
use crate::session::{Session, SignedOut};

pub(crate) mod credential;
mod error;
mod grant_cache;
mod layer;
pub mod owner;
pub(crate) mod refused;
pub(crate) mod request_identity;
pub(crate) mod step_up;
mod store;

pub use error::{AuthError, NotSignedIn};
pub use layer::{AuthLayer, AuthService, ResponseFuture};
pub use owner::AccountOwner;
pub use step_up::StepUp;

/// Who a request is: session, account and what it may do, as one statement saw them.
#[derive(Debug, Clone)]
pub struct Identity(pub(crate) Arc<IdentityData>);

#[derive(Debug)]
pub(crate) struct IdentityData {
    pub(crate) session: Session,
    pub(crate) account: Arc<Account>,
    pub(crate) grants: Arc<Grants>,
    /// What the session is limited to, if it is.
    pub(crate) ceiling: Option<PermissionSet>,
    /// When the statement was asked: ages of factors are counted to this moment.
    pub(crate) resolved_at: Timestamp,
}

impl Identity {
    /// Whoever is signed in with a request, from its extensions: what the extractor does, for a
    /// handler without one.
    ///
    /// # Errors
    /// Nobody is signed in, or not fully; the layer is missing; another site sent the request; an
    /// outage.
    pub async fn of(extensions: &http::Extensions) -> Result<Self, AuthError> {
        RequestIdentity::of(extensions)?.full().await
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.0.session
    }

    /// The account.
    pub fn account(&self) -> &Account {
        &self.0.account
    }

    /// What the account was granted. A superuser may do everything besides, and a session with a
    /// ceiling may do less: to decide, ask [`meets`](Self::meets).
    pub fn grants(&self) -> &Grants {
        &self.0.grants
    }

    /// The permissions the session is limited to, if it is.
    pub fn ceiling(&self) -> Option<&PermissionSet> {
        self.0.ceiling.as_ref()
    }

    /// When this was found out; ages of factors are counted to this moment.
    pub fn resolved_at(&self) -> Timestamp {
        self.0.resolved_at
    }

    /// Whether another session has taken the place of this one by a step-up, and what is left of it is
    /// to let requests end that other tabs had under way. Account flows refuse it.
    pub(crate) fn is_superseded(&self) -> bool {
        self.session().is_superseded()
    }

    /// Whether a factor was shown recently enough for a change of the account itself.
    pub(crate) fn has_recent_factor(&self, context: &Context) -> bool {
        if self.is_superseded() {
            return false;
        }
        let max_age = context.config.session.recent_factor;
        let latest = self.session().factors().latest();
        latest.is_some_and(|at| context.now().since(at) < max_age)
    }

    /// The ids on which a permission is given, to filter a list in SQL: `doc:edit` may be given on
    /// all documents or on some. Limited by the session's ceiling, like every other answer.
    ///
    /// ```
    /// # use portcullis::{Identity, Instances};
    /// portcullis::permissions! { doc: Read, Edit; }
    ///
    /// fn filter(identity: &Identity) -> Option<Vec<String>> {
    ///     match identity.instances(doc::Edit) {
    ///         Instances::All => None,                                 // no condition
    ///         Instances::Only(ids) => Some(ids.into_iter().collect()), // `id IN (..)`
    ///     }
    /// }
    /// ```
    ///
    /// A text that is not a permission, or asks for more than 64 at once, is given on no id; the
    /// first is traced as an error.
    pub fn instances(&self, permission: impl IntoPermission) -> Instances {
        let permission = match permission.into_permission() {
            Ok(permission) => permission,
            Err(error) => {
                tracing::error!(target: "portcullis", %error, "asked for instances of no permission");
                return Instances::Only(std::collections::BTreeSet::new());
            }
        };
        let permission = &permission;
        let granted = if self.0.account.is_superuser() {
            Instances::All
        } else {
            self.0.grants.permissions().instances(permission)
        };
        match &self.0.ceiling {
            Some(ceiling) => granted.intersection(ceiling.instances(permission)),
            None => granted,
        }
    }

    /// What is asked must be implied by the account and, if the session has one, by its ceiling.
    pub(crate) fn allows(&self, atoms: &Atoms) -> bool {
        self.granted(atoms) && self.0.ceiling.as_ref().is_none_or(|ceiling| ceiling.allows(atoms))
    }

    /// What the account may do, whatever its session is limited to.
    pub(crate) fn granted(&self, atoms: &Atoms) -> bool {
        self.0.account.is_superuser() || self.0.grants.permissions().allows(atoms)
    }

    /// Whether the account has the role of this name, or the [level](crate::permission::Roles) that is
    /// named so. A ceiling hides a role unless it covers `role:<name>`.
    pub fn has_role(&self, name: &str) -> bool {
        self.0.grants.has_role(name)
            && self.0.ceiling.as_ref().is_none_or(|ceiling| {
                Permission::parse("role")
                    .and_then(|role| role.on(name))
                    .and_then(|role| ceiling.allows_permission(&role))
                    .unwrap_or(false)
            })
    }
}

/// A token that was read without asking the database: what it says, not whether it still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peeked {
    /// What the token is for.
    pub token_type: crate::base::jwt::TokenType,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it is to be renewed.
    pub expires_at: Timestamp,
}

impl Portcullis {
    /// The same-origin rule, for a route of the application's own that signs someone in or acts
    /// without a session. Where a session's cookie is used for an unsafe method it runs by itself,
    /// and on mounted routes always. A request whose only credential is a bearer token of ours
    /// passes: no browser adds one by itself.
    ///
    /// # Errors
    /// 403 `cross_site_request` when another site sent the request.
    pub fn check_same_origin(&self, parts: &http::request::Parts) -> Result<(), Rejection> {
        let resolver = self.room::<Resolver>();
        let credential = credential::credential(self.context(), &resolver.cookie, &parts.headers);
        if credential.is_only_a_token(self.context()) {
            return Ok(());
        }
        Ok(self.check_origin(&parts.method, &Facts::of(&parts.uri, &parts.headers))?)
    }

    /// The same-origin rule, whatever credential the request carries. A refusal is told.
    pub(crate) fn check_origin(
        &self,
        method: &http::Method,
        facts: &Facts<'_>,
    ) -> Result<(), AuthError> {
        self.context().same_origin.check(method, facts).map_err(|cross_site| {
            self.note_refused(Refused::CrossSite, &Compared::of(facts));
            AuthError::CrossSite(cross_site)
        })
    }

    /// Where a request comes from: what the extractor does, for a handler without one.
    pub fn client_info(&self, parts: &http::request::Parts) -> ClientInfo {
        credential::client_of(self, &parts.headers, &parts.extensions)
    }

    /// Signs out whoever a request is, from its extensions: a session, a sign-in that was not
    /// finished, a visitor, also with an expired token. Nothing to end is no error. Add what comes
    /// back to the answer; it is none for a client that keeps its token itself.
    ///
    /// # Errors
    /// The layer is missing; another site sent the request; a hook's refusal; an outage.
    pub async fn log_out(
        &self,
        extensions: &http::Extensions,
    ) -> Result<Option<SignedOut>, AuthError> {
        RequestIdentity::of(extensions)?.log_out().await
    }

    /// Reads the session cookie of a request without a statement: good for deciding whether a page
    /// shows "sign in", never for letting anyone in. None for a forged or expired token.
    pub fn peek(&self, headers: &http::HeaderMap) -> Option<Peeked> {
        use crate::session::cookie::Found;

        let resolver = self.room::<Resolver>();
        let pairs = match resolver.cookie.find(headers) {
            Found::Nothing => return None,
            Found::One(pair) => vec![pair],
            Found::Several(pairs) => pairs,
        };
        let now = self.context().now();
        let verified = credential::verified_cookies(self.context(), &pairs, now);
        let seconds = |secs: i64| Timestamp::from_millis(secs.saturating_mul(1000));
        let mut good = verified.found.into_iter().filter_map(|(token_type, claims)| {
            let peeked = Peeked {
                token_type,
                issued_at: seconds(claims.issued_at),
                expires_at: seconds(claims.expires_at),
            };
            (peeked.expires_at > now).then_some(peeked)
        });
        // Of two that are good nobody can tell which one counts.
        match (good.next(), good.next(), verified.too_many) {
            (Some(peeked), None, false) => Some(peeked),
            _ => None,
        }
    }

    /// The texts of the request's statements: short, full, grants.
    #[cfg(feature = "test-util")]
    pub fn statements(&self) -> [String; 3] {
        self.room::<Resolver>().texts().map(str::to_owned)
    }
}
