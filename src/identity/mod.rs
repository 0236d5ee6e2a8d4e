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

use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::problem::Rejection;
use crate::base::same_origin::Facts;
use crate::handle::Portcullis;
use crate::identity::refused::{Compared, Refused};
use crate::identity::request_identity::{RequestIdentity, Resolver};
use crate::session::SignedOut;

pub(crate) mod credential;
mod error;
mod grant_cache;
mod layer;
pub mod owner;
pub(crate) mod refused;
pub(crate) mod request_identity;
pub(crate) mod resolved;
pub(crate) mod step_up;
mod store;

pub use error::{AuthError, NotSignedIn};
pub use layer::{AuthLayer, AuthService, ResponseFuture};
pub use owner::AccountOwner;
pub use resolved::Identity;
pub use step_up::StepUp;

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
        let resolver = self.per_instance::<Resolver>();
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

        let resolver = self.per_instance::<Resolver>();
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
        self.per_instance::<Resolver>().texts().map(str::to_owned)
    }
}
