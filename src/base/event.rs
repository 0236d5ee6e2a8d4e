//! Events: what happened, to whom, when, from where, and how it ended.
//!
//! An event is written to the audit table in the transaction of the change it tells of, so there is
//! never one without the other, and to `tracing` (target `portcullis::event`) once that committed.
//! It carries ids, never secrets, codes, passwords or tokens.

use std::net::IpAddr;

use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, SessionId};

macro_rules! event_kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// What happened. The names follow the OWASP logging vocabulary where it has one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum EventKind { $($(#[$doc])* $name),+ }

        impl EventKind {
            /// The stable name in the audit table and in traces.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

event_kinds! {
    /// Someone signed in.
    LoginSucceeded = "authn_login_success",
    /// A sign-in failed.
    LoginFailed = "authn_login_fail",
    /// A sign-in succeeded after others of the same name had failed; the detail says how many.
    LoginSucceededAfterFailures = "authn_login_successafterfail",
    /// Someone signed in from a browser that the account had not signed in from before.
    NewDevice = "authn_new_device",
    /// Too many tries failed: more are refused for a while, whoever makes them.
    LoginLocked = "authn_login_lock",
    /// Many sign-ins fail that no limit of one account or source stops; the detail says what was seen.
    SprayingSuspected = "authn_spraying_suspected",
    /// Records of tries were removed, which lifts the locks that they made.
    AttemptsPurged = "attempts_purged",
    /// A signed-in person proved the password again.
    Reauthenticated = "authn_reauthenticated",
    /// A password was changed.
    PasswordChanged = "authn_password_change",
    /// A password change was refused.
    PasswordChangeFailed = "authn_password_change_fail",
    /// A challenge was answered rightly.
    ChallengeAnswered = "authn_challenge_success",
    /// A challenge was answered wrongly.
    ChallengeFailed = "authn_challenge_fail",
    /// A link to set a forgotten password anew was asked for.
    PasswordResetRequested = "authn_password_reset_request",
    /// A forgotten password was set anew.
    PasswordReset = "authn_password_reset",
    /// A link to set a forgotten password anew was wrong, or not good any more.
    PasswordResetFailed = "authn_password_reset_fail",
    /// A change of the mail address was asked for.
    EmailChangeRequested = "email_change_requested",
    /// The mail address was changed, or the first one was set.
    EmailChanged = "email_changed",
    /// A change of the mail address was undone from the old one.
    EmailChangeUndone = "email_change_undone",
    /// A change of the phone number was asked for.
    PhoneChangeRequested = "phone_change_requested",
    /// The phone number was changed, or the first one was set.
    PhoneChanged = "phone_changed",
    /// The phone number was removed.
    PhoneRemoved = "phone_removed",
    /// A change of the phone number was undone from the old one.
    PhoneChangeUndone = "phone_change_undone",
    /// A further address was asked for.
    LoginNameRequested = "login_name_requested",
    /// An account got a further username or address.
    LoginNameAdded = "login_name_added",
    /// A username or address was removed from an account.
    LoginNameRemoved = "login_name_removed",
    /// The addition of a username or address was undone.
    LoginNameUndone = "login_name_undone",
    /// A session was made without a login of ours.
    SessionStarted = "session_created",
    /// A session was ended by its owner.
    SessionEnded = "session_ended",
    /// Sessions of an account were ended together.
    SessionsEnded = "sessions_ended",
    /// A retired token was used again; the session was ended.
    SessionTheftSuspected = "session_theft_suspected",
    /// A session came from elsewhere and the binding policy ended it.
    SessionSourceChanged = "session_source_changed",
    /// What one client rotated was handed to another network and another browser: two share a session.
    SessionShared = "session_shared",
    /// A session was marked suspicious.
    SessionSuspected = "session_suspicious",
    /// A session is not suspicious any more.
    SessionCleared = "session_cleared",
    /// Somebody asked too often: the first refusal of a rule and subject in a minute.
    RateLimitExceeded = "excess_rate_limit_exceeded",
    /// An account was made.
    AccountCreated = "user_created",
    /// Somebody tried to register with an address, a username or a number of an account.
    RegistrationFailed = "user_create_fail",
    /// The first administrator was made.
    AdministratorBootstrapped = "administrator_bootstrapped",
    /// An address of an account was proved.
    AddressVerified = "user_verified",
    /// An account was changed (disabled, enabled, verified, deleted, required to change its password).
    AccountUpdated = "user_updated",
    /// An account that a stranger made was removed, because nobody ever proved it.
    AccountRemoved = "user_removed",
    /// Maintenance removed what was over; the detail says how much of what.
    Maintained = "maintenance",
    /// A backup was restored, and what it brought back to life was ended.
    BackupRestored = "backup_restored",
    /// A message could not be delivered and was given up.
    MessageFailed = "message_failed",
    /// A role was made.
    RoleCreated = "role_created",
    /// A role's permissions or description changed.
    RoleChanged = "role_changed",
    /// A role was deleted.
    RoleDeleted = "role_deleted",
    /// A role was granted.
    RoleGranted = "authz_granted",
    /// A role was revoked.
    RoleRevoked = "authz_revoked",
    /// A permission was granted to an account.
    PermissionGranted = "permission_granted",
    /// A permission was revoked from an account.
    PermissionRevoked = "permission_revoked",
    /// A group was made.
    GroupCreated = "group_created",
    /// A group was deleted.
    GroupDeleted = "group_deleted",
    /// An account joined a group.
    GroupJoined = "group_joined",
    /// An account left a group.
    GroupLeft = "group_left",
    /// Permissions were added to the catalogue, described or pruned.
    CatalogueChanged = "catalogue_changed",
    /// A level on one resource was given by hand.
    MembershipGranted = "membership_granted",
    /// A level on one resource was taken by hand.
    MembershipRevoked = "membership_revoked",
    /// What the source of memberships says differed from what was stored.
    MembershipsRefreshed = "memberships_refreshed",
}

/// The name of what is too frequent for the audit table: the next generation of a token.
pub(crate) const ROTATED: &str = "session_rotated";

/// The name of what is only counted there: a requirement that was not met.
pub(crate) const DENIED: &str = "authz_fail";

/// Counts something that happened, in `portcullis_events_total` with its name as a label.
pub(crate) fn count(event: &'static str) {
    #[cfg(feature = "metrics")]
    metrics::counter!("portcullis_events_total", "event" => event).increment(1);
    #[cfg(not(feature = "metrics"))]
    let _ = event;
}

/// One event.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub at: Timestamp,
    /// Whose account it is about.
    pub account_id: Option<AccountId>,
    /// Which session it is about or came from.
    pub session_id: Option<SessionId>,
    /// Where it came from.
    pub address: Option<IpAddr>,
    /// Whether it went through.
    pub succeeded: bool,
    /// A short fixed word or name that tells more: the reason of a failure, the name of a role.
    pub detail: Option<String>,
}

macro_rules! event_line {
    ($event:expr, $target:literal) => {
        tracing::info!(
            target: $target,
            event = $event.kind.as_str(),
            account = $event.account_id.map(tracing::field::display),
            session = $event.session_id.map(tracing::field::display),
            address = $event.address.map(tracing::field::display),
            succeeded = $event.succeeded,
            detail = $event.detail.as_deref().map(tracing::field::debug),
        )
    };
}

impl Event {
    pub(crate) fn new(kind: EventKind, at: Timestamp) -> Self {
        Self {
            kind,
            at,
            account_id: None,
            session_id: None,
            address: None,
            succeeded: true,
            detail: None,
        }
    }

    pub(crate) fn account(mut self, id: AccountId) -> Self {
        self.account_id = Some(id);
        self
    }

    pub(crate) fn session(mut self, id: SessionId) -> Self {
        self.session_id = Some(id);
        self
    }

    #[expect(clippy::wrong_self_convention, reason = "where it came from, not what it is made of")]
    pub(crate) fn from_client(mut self, client: &ClientInfo) -> Self {
        self.address = client.address();
        self
    }

    pub(crate) fn failed(mut self, reason: &str) -> Self {
        self.succeeded = false;
        self.detail = Some(reason.to_owned());
        self
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Tells `tracing` and counts. For what was recorded this is done by the transaction, after its
    /// commit. Every text goes through `Debug`, which escapes line breaks, control characters and
    /// invisible formatting, so a value cannot forge a line or a field.
    pub(crate) fn trace(&self) {
        event_line!(self, "portcullis::event");
        count(self.kind.as_str());
    }

    /// Tells `tracing` that this was written down in a transaction whose end is not known, and counts
    /// nothing.
    pub(crate) fn trace_uncommitted(&self) {
        event_line!(self, "portcullis::event::uncommitted");
    }
}
