//! Accounts, sessions and authorization for axum and tower services, on the database they already
//! have.

pub mod account;
pub mod audit_log;
pub mod base;
pub mod config;
mod context;
mod handle;
pub mod identity;
mod password;
pub mod permission;
pub mod port;
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
    Allowed, AuthError, Identity, NotSignedIn, Outcome, Requirement, TypedPermission,
};
pub use permission::{Instances, Permission, PermissionError, PermissionSet};
pub use session::{
    AnonymousSession, EnrolmentSession, Issued, PasswordChangeSession, PendingSession, Session,
    SignedOut, Stage, Transport,
};
