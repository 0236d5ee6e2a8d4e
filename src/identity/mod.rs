//! Identity: who sent a request, and what they may do.
//!
//! # How it works
//!
//! 1. [`auth.layer()`](Portcullis::layer) puts a lazy handle into each request. This runs no
//!    statement.
//! 2. The first guard or extractor that needs the identity resolves the handle. It verifies the
//!    signature of the token first. Then one statement reads the session, the account and the
//!    versions of its grants. A forged token never reaches the database.
//! 3. All later guards and extractors of the same request read this result. So they share one
//!    consistent view.
//! 4. When the answer leaves, the layer adds at most one `Set-Cookie` for the session.
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
//! # What it does not do
//!
//! - The layer rejects no request. Guards and extractors do. A route without them is public.
//! - It does not answer 401 during an outage. The answer is 503, so that no client discards its
//!   session because a database was down.
//! - It caches no sessions. Only compiled grants are kept in memory, under their versions.
//!
//! # Configuration
//!
//! - [`service.bearer`](crate::config::ServiceConfig::bearer): whether tokens in the
//!   `Authorization` header are accepted.
//! - [`service.no_store`](crate::config::ServiceConfig::no_store): whether answers to signed-in
//!   users get `Cache-Control: no-store`.
//! - [`session.binding`](crate::config::SessionConfig::binding): what happens if a session is used
//!   from another network or browser. See [`guide::sessions`](crate::guide::sessions#a-session-that-moves).
//! - [`database.remembered_grants`](crate::config::DatabaseConfig::remembered_grants): for how many
//!   accounts compiled grants are kept in memory.
//!
//! # Events and error codes
//!
//! The events are `session_theft_suspected`, `session_source_changed`, `session_shared` and
//! `session_suspicious`. A rotation is traced and counted as `session_rotated`. The variants of
//! [`AuthError`] have the error codes.
//!
//! # Standard
//!
//! RFC 6750 (bearer tokens and their challenge), RFC 9470 (step-up), RFC 6455 and RFC 8441
//! (WebSocket handshakes).

use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::problem::Rejection;
use crate::base::same_origin::Facts;
use crate::handle::Portcullis;
use crate::identity::refused::{Compared, Refused};
use crate::identity::request_identity::RequestIdentity;
use crate::identity::resolver::Resolver;
use crate::session::SignedOut;

pub(crate) mod credential;
mod effective;
pub(crate) mod enrolment;
mod error;
mod grant_cache;
mod job;
mod key_check;
mod layer;
pub mod owner;
pub(crate) mod principal;
mod recheck;
pub(crate) mod refused;
pub(crate) mod request_identity;
pub(crate) mod resolution;
pub(crate) mod resolved;
pub(crate) mod resolver;
pub(crate) mod step_up;
mod store;

pub use effective::EffectivePermissions;
pub use error::{AuthError, NotSignedIn};
pub use job::{JobError, JobIdentity};
pub use layer::{AuthLayer, AuthService, ResponseFuture};
pub use owner::AccountOwner;
pub use principal::{ApiKeyIdentity, Principal};
pub use resolved::Identity;
pub use step_up::StepUp;

impl Identity {
    /// Returns who is signed in with a request, from its extensions. A handler without the
    /// extractor can use this.
    ///
    /// # Errors
    /// Nobody is signed in, or the sign-in is not finished; the layer is missing; another site sent
    /// the request; the request carries several credentials; the account sends too many requests;
    /// an outage.
    pub async fn of(extensions: &http::Extensions) -> Result<Self, AuthError> {
        RequestIdentity::of(extensions)?.full().await
    }
}

/// The content of a token, read without the database. It does not say whether the token still
/// counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peeked {
    /// The type of the token: a full session, an unfinished sign-in or a visitor.
    pub token_type: crate::base::jwt::TokenType,
    /// When the token was signed, in whole seconds.
    pub issued_at: Timestamp,
    /// When the token must be renewed, in whole seconds.
    pub expires_at: Timestamp,
}

impl Portcullis {
    /// Checks the same-origin rule, for your own route that signs someone in or acts without a
    /// session. Portcullis applies the rule itself when a session cookie is used with an unsafe
    /// method, on mounted routes, on the `public()` routes of [`auth.router()`](Self::router), and in
    /// `replacing(..)` and `log_out(..)`. A request whose only credential is a bearer token of
    /// portcullis passes, because no browser adds such a token on its own.
    ///
    /// # Errors
    /// 403 `cross_site_request` if another site sent the request.
    pub fn check_same_origin(&self, parts: &http::request::Parts) -> Result<(), Rejection> {
        let resolver = self.per_instance::<Resolver>();
        let http::request::Parts { method, uri, headers, extensions, .. } = parts;
        let credential =
            credential::credential(self, &resolver.cookie, method, uri, headers, extensions);
        if credential.is_only_a_token(self.context()) {
            return Ok(());
        }
        Ok(self.check_origin(&parts.method, &Facts::of(&parts.uri, &parts.headers))?)
    }

    /// Checks the same-origin rule, whatever credential the request carries. Tells the operator
    /// about a refusal.
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

    /// Returns where a request comes from. A handler without the extractor can use this.
    pub fn client_info(&self, parts: &http::request::Parts) -> ClientInfo {
        credential::client_of(self, &parts.headers, &parts.extensions)
    }

    /// Signs out the client of a request, from its extensions. This ends a session, an unfinished
    /// sign-in or the session of a visitor, even if the token has expired. It is no error if there
    /// is nothing to end. Add the returned value to the answer. It is `None` for a client with a
    /// bearer token, because that client stores its token itself.
    ///
    /// # Errors
    /// The layer is missing; another site sent the request; the request carries a bearer token
    /// beside another credential; a hook refused; an outage.
    pub async fn log_out(
        &self,
        extensions: &http::Extensions,
    ) -> Result<Option<SignedOut>, AuthError> {
        RequestIdentity::of(extensions)?.log_out().await
    }

    /// Reads the session cookie of a request without a statement. Use it to decide whether a page
    /// shows "sign in". Never use it to grant access. Returns `None` for a forged or expired token,
    /// and if several cookies are valid.
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
        // If two cookies are valid, nobody can tell which one counts.
        match (good.next(), good.next(), verified.too_many) {
            (Some(peeked), None, false) => Some(peeked),
            _ => None,
        }
    }

    /// The texts of the statements of a request: short and full for a session, grants, short and full for
    /// an API key.
    #[cfg(feature = "test-util")]
    pub fn statements(&self) -> [String; 5] {
        self.per_instance::<Resolver>().texts().map(str::to_owned)
    }
}
