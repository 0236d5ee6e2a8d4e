//! Accounts, sessions and authorization for axum and tower services, on the database they already
//! have.

pub mod account;
pub mod anonymous;
pub mod audit_log;
pub mod base;
pub mod bootstrap;
pub mod config;
mod context;
mod handle;
pub mod identity;
pub mod login;
pub mod own_session;
mod password;
pub mod password_change;
pub mod permission;
pub mod port;
pub mod registration;
#[cfg(feature = "routes")]
mod route;
#[cfg(feature = "test-util")]
pub mod schema;
pub mod session;

pub use account::Account;
pub use base::client::{ClientInfo, ForwardedHeader, PeerAddr, TrustedProxies};
pub use base::clock::{Clock, SystemClock, Timestamp};
pub use base::event::{Event, EventKind};
pub use base::factor::{EnrolledFactors, Factor, PassedFactors};
pub use base::id::{AccountId, EventId, GroupId, LineageId, RoleId, SessionId};
pub use base::jwt::{SigningKey, TokenType};
pub use base::problem::{Problem, Rejection};
pub use base::secret::{Secret, SecretError};
pub use base::transaction::Fault;
pub use config::Config;
pub use config::check::{ConfigError, ConfigErrors, Finding};
pub use handle::{Builder, Portcullis};
pub use identity::{
    Allowed, AuthError, Explanation, Identity, NotSignedIn, Outcome, Requirement, RequirementError,
    StepUp,
};
pub use permission::typed::TypedPermission;
pub use permission::{Instances, Permission, PermissionError, PermissionSet};
#[cfg(feature = "routes")]
impl Portcullis {
    /// The usual set of routes: signing in and out, one's own sessions, registration, changing the
    /// password. Nest them where you like: `.nest("/auth", auth.routes())`.
    ///
    /// Each capability's `routes` can be merged by itself instead.
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> axum::Router<S> {
        axum::Router::new()
            .merge(login::routes(self))
            .merge(own_session::routes(self))
            .merge(registration::routes(self))
            .merge(password_change::routes(self))
    }
}
pub use session::{
    AnonymousSession, EnrolmentSession, Issued, PasswordChangeSession, PendingSession, Session,
    SignedOut, Stage, Transport,
};
