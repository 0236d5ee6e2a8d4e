//! Accounts, sessions and authorization for axum and tower services, on the database they already
//! have.
//!
//! Portcullis has routes for signing in, and layers and extractors that find out who sent a
//! request. Its guards decide what a request may do. Its tables (`auth_*`) are in the SQLite,
//! PostgreSQL, MySQL or MariaDB database that the service already uses through sea-orm.
//!
//! # Three lines
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use portcullis::{Account, Portcullis, Requirement, Secret, public};
//! use portcullis_migration::{Migrator, MigratorTrait};
//!
//! # async fn example(db: sea_orm::DatabaseConnection, secret: Secret)
//! # -> Result<Router, Box<dyn std::error::Error>> {
//! Migrator::up(&db, None).await?;
//! let auth = Portcullis::builder(db).secret(secret).build()?; // one
//! let admin = Requirement::permission("admin:read")?;
//! let app: Router = auth.router() // two
//!     .route("/", get(async || "hello"), public())
//!     .route("/me", get(async |me: Account| me.id().to_string()), Requirement::signed_in())
//!     .route("/admin", get(async || "only for administrators"), admin)
//!     .auth_routes("/auth", auth.routes()) // three
//!     .into_router();
//! # Ok(app)
//! # }
//! ```
//!
//! Every route in this router must say who may call it: see [`GuardedRouter`]. In a plain axum
//! router, the second and third line are `.nest("/auth", auth.routes())` and
//! `.layer(auth.layer())`, and guards are layers.
//!
//! The [guide] explains the rest: [how to start](guide::start), [every default with its
//! reason](guide::defaults), [every error code](guide::errors), and [how known attacks are
//! prevented](guide::threats).
//!
//! # What a handler can ask for
//!
//! | extractor | what it is |
//! |---|---|
//! | [`Account`] | the account that is signed in |
//! | [`Session`] | the session: id, times, factors |
//! | [`Identity`] | the account, the session and what they may do |
//! | [`Allowed<P>`](Allowed) | proof that the request has the permission `P` |
//! | [`AccountOwner`] | proof that the session may change its own account |
//! | [`PendingSession`], [`PasswordChangeSession`], [`EnrolmentSession`] | a sign-in that is not finished |
//! | [`AnonymousSession`] | a visitor without an account |
//! | [`Visitor`] | the session of the request; if there is none, an anonymous session is started |
//! | [`Caller`](guard::Caller) | who sent the request, with one variant for each stage |
//! | [`Principal`], [`ApiKeyIdentity`] | a person or a program with an [API key](api_key); only a program |
//! | [`VerifiedProof`](action_proof::VerifiedProof), [`OpenConsent`](action_proof::OpenConsent) | the consent of the person to this action |
//! | [`ClientInfo`] | where the request comes from |
//! | [`Portcullis`] | the handle, for flows of your own |
//!
//! Each extractor of a session rejects sessions in any other stage. `Account`, `Session`,
//! `Identity` and the four other sessions also work as `Option<..>`. The value is then `None` if
//! the request has no such session. An outage, or a request that another site sent, is still an
//! error.
//!
//! # Features
//!
//! A feature makes something available. Compiling it changes no behaviour.
//!
//! | feature | default | brings |
//! |---|---|---|
//! | `routes` | yes | mountable axum routes, guards on path parameters |
//! | `rust_crypto` | yes | token signatures in Rust |
//! | `aws_lc_rs` | | token signatures by aws-lc; if both are on, `rust_crypto` is used |
//! | `foreign-hashes` | | verifies imported bcrypt, PBKDF2 and scrypt hashes, which the next login replaces |
//! | `smtp` | | sends mail by SMTP: [`SmtpNotifier`](message::SmtpNotifier) |
//! | `qr` | | QR codes for authenticator apps, see [`totp`] |
//! | `redis` | | keeps rate limits in Redis, see [`rate_limit`] |
//! | `captcha` | | draws and speaks digits: [`PictureCaptcha`](captcha::PictureCaptcha); the other kinds of [`captcha`] need no feature |
//! | `strength` | | checks how hard a new password is to guess, if this is configured |
//! | `metrics` | | counts events in `portcullis_events_total` through the `metrics` facade |
//! | `test-util` | | mock clock, recording notifier, cheap hashing, [`test_kit`]: see [`guide::testing`] |
//!
//! Without `routes`, portcullis runs on any tower service that uses `http`. One of the two features
//! for signatures must be on; otherwise `build()` fails and says so. Choose the driver, the runtime
//! and the TLS of the database in the `sea-orm` dependency of your service.

pub mod account;
pub mod account_import;
pub mod account_recovery;
pub mod action_proof;
pub mod anonymous;
pub mod api_key;
pub mod attempt;
pub mod audit_log;
pub mod base;
pub mod bootstrap;
pub mod captcha;
pub mod challenge;
pub mod config;
mod confirmation;
pub mod contact;
mod context;
pub mod device_login;
pub mod dpop;
#[cfg(feature = "federation")]
pub mod federation;
/// Without the feature, the tables are still there: nodes with it may share them.
#[cfg(not(feature = "federation"))]
mod federation {
    pub(crate) mod entity;
}
mod flow;
pub mod guard;
pub mod guide;
mod handle;
pub mod hook;
pub mod identity;
pub mod login;
pub mod login_name;
pub mod mail_login;
pub mod maintenance;
pub mod membership;
pub mod message;
pub mod new_device;
#[cfg(feature = "federation")]
mod oidc;
mod one_time;
pub mod outbox;
mod outstanding;
pub mod own_account;
pub mod own_api_key;
pub mod own_session;
#[cfg(feature = "routes")]
pub mod page;
#[cfg(feature = "passkey")]
pub mod passkey;
/// Without the feature, the tables are still there: nodes with it may share them.
#[cfg(not(feature = "passkey"))]
mod passkey {
    pub(crate) mod entity;
}
pub mod password;
pub mod password_change;
pub mod password_reset;
pub mod permission;
pub mod port;
pub mod rate_limit;
pub mod recovery_code;
pub mod registration;
#[cfg(feature = "routes")]
mod route;
pub mod schema;
pub mod second_factor;
pub mod sent_code;
pub mod session;
pub mod session_data;
#[cfg(feature = "test-util")]
pub mod test_kit;
pub mod totp;
pub mod trusted_device;
mod upkeep;
pub mod verification;
#[cfg(feature = "passkey")]
mod webauthn;

pub use account::Account;
pub use base::client::{ClientInfo, ForwardedHeader, PeerAddr, TrustedProxies};
pub use base::clock::{Clock, SystemClock, Timestamp};
pub use base::event::{Event, EventKind};
pub use base::factor::{EnrolledFactors, Factor, PassedFactors};
pub use base::id::{
    AccountId, AccountRecoveryId, ApiKeyId, ChallengeId, DeviceRequestId, EventId, GroupId,
    LineageId, MessageId, PendingIdentityId, ProviderIdentityId, RoleId, SessionId, TotpId,
    TrustedDeviceId,
};
pub use base::invalid_field::{InvalidField, InvalidFields};
pub use base::jwt::{SigningKey, TokenType};
pub use base::page::Page;
pub use base::problem::{Document, PrivateCause, Problem, Refusal, Rejection};
pub use base::secret::{Secret, SecretError};
pub use base::transaction::{Fault, OpenTransaction, Transaction};
pub use config::Config;
pub use config::check::{ConfigError, ConfigErrors, Finding};
#[cfg(feature = "routes")]
pub use guard::{
    Access, GuardedRoute, GuardedRouter, GuardedRoutes, any_session, not_found, public, stage,
    visitor,
};
pub use guard::{Allowed, Explanation, Outcome, Requirement, RequirementError, Visitor};
pub use handle::{Builder, Portcullis};
pub use identity::{
    AccountOwner, ApiKeyIdentity, AuthError, Identity, JobError, JobIdentity, NotSignedIn,
    Principal, StepUp,
};
pub use message::{Message, MessageKind, Notifier, Recipient};
pub use permission::typed::{IntoPermission, TypedPermission};
pub use permission::{Instances, Permission, PermissionError, PermissionSet};
pub use schema::TablesError;
#[cfg(feature = "routes")]
impl Portcullis {
    /// Returns the usual set of routes. Nest them where you like: `.nest("/auth", auth.routes())`.
    ///
    /// - Always: signing in and out, the user's own sessions, registration, verifying an address
    ///   and changing the password.
    /// - If there is a notifier: resetting a forgotten password, changing the mail address, and
    ///   adding or removing sign-in names.
    /// - If text messages can be sent: changing the phone number.
    /// - If there is a [captcha]: the routes that offer it.
    /// - If a source of memberships is set: the user's own [memberships](membership).
    ///
    /// axum answers a path below the prefix that has no route, with 404 and no body. Add
    /// `.fallback(`[`not_found`](not_found())`)` to get problem details.
    ///
    /// You can also merge the `routes` of single capabilities. This is the only way to mount the
    /// routes of [`own_account`] (owners close and export their account), [`account_recovery`], [`action_proof`],
    /// [`device_login`], [`mail_login`], [`second_factor`] and [`anonymous`].
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> axum::Router<S> {
        let mut router = axum::Router::new()
            .merge(login::routes(self))
            .merge(own_session::routes(self))
            .merge(registration::routes(self))
            .merge(password_change::routes(self))
            .merge(verification::routes(self))
            .merge(contact::routes(self))
            .merge(login_name::routes(self));
        if self.context().notifier.is_some() {
            router = router.merge(password_reset::routes(self));
        }
        if self.captchas().are_on() {
            router = router.merge(captcha::routes(self));
        }
        if self.context().membership_source.is_some() {
            router = router.merge(membership::routes(self));
        }
        router
    }
}
pub use session::{
    AnonymousSession, EnrolmentSession, Issued, KnownDevice, PasswordChangeSession, PendingSession,
    Session, SignedOut, Stage, Transport,
};

/// Compiles the example of the README as a test.
#[cfg(all(doctest, feature = "routes"))]
#[doc = include_str!("../README.md")]
struct Readme;
