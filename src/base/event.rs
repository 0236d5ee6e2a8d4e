//! Events: what happened, to which account, when, from where, and with which result.
//!
//! An event is written to the audit table in the transaction of the change that it describes. So
//! neither exists without the other. After the commit the event is also written to `tracing`
//! (target `portcullis::event`).
//!
//! An event contains ids, but never secrets, codes, passwords or tokens.

use std::net::IpAddr;

use crate::base::announcement::announce;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, SessionId};

macro_rules! event_kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// The kind of an event. The names follow the OWASP logging vocabulary where it has one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum EventKind { $($(#[$doc])* $name),+ }

        impl EventKind {
            /// Returns the stable name, as in the audit table and in traces.
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
    /// A sign-in succeeded after others with the same name had failed. The detail says how many.
    LoginSucceededAfterFailures = "authn_login_successafterfail",
    /// Someone signed in from a browser that was new to the account.
    NewDevice = "authn_new_device",
    /// Too many attempts failed. Further attempts are refused for a while, even correct ones.
    LoginLocked = "authn_login_lock",
    /// Many sign-ins fail that no limit per account or source stops. The detail says what was seen.
    SprayingSuspected = "authn_spraying_suspected",
    /// Records of attempts were removed. This ends the locks that they caused.
    AttemptsPurged = "attempts_purged",
    /// A signed-in person proved a factor again.
    Reauthenticated = "authn_reauthenticated",
    /// A password was changed.
    PasswordChanged = "authn_password_change",
    /// A password change was refused.
    PasswordChangeFailed = "authn_password_change_fail",
    /// A challenge was answered correctly.
    ChallengeAnswered = "authn_challenge_success",
    /// A challenge was answered incorrectly.
    ChallengeFailed = "authn_challenge_fail",
    /// A signed-in person consented to one action. The detail has the text that they agreed to.
    ActionProofIssued = "action_proof_issued",
    /// The consent to an action was used up. The detail names the action.
    ActionProofSpent = "action_proof_spent",
    /// The owner took back a consent that was not used yet.
    ActionProofRevoked = "action_proof_revoked",
    /// A code was sent as a second factor or for a step-up, or a factor of your own asked for one.
    FactorCodeSent = "authn_factor_code_sent",
    /// A device was trusted to skip the second factor.
    TrustedDeviceAdded = "trusted_device_added",
    /// Devices are no longer trusted. The detail says why, or nothing if their owner removed one.
    TrustedDeviceRemoved = "trusted_device_removed",
    /// An account got an API key. The detail has its id and its beginning.
    ApiKeyIssued = "api_key_issued",
    /// An API key was replaced by one with a new secret. The detail has the id and the beginning of the new one.
    ApiKeyRotated = "api_key_rotated",
    /// The scopes of an API key were changed. The detail has its id and the new scopes.
    ApiKeyScoped = "api_key_scoped",
    /// API keys were revoked. The detail has the id and the beginning of the key, or says why several were.
    ApiKeyRevoked = "api_key_revoked",
    /// Someone asked for a sign-in by mail.
    MailLoginRequested = "authn_mail_login_request",
    /// Someone requested a link to reset a forgotten password.
    PasswordResetRequested = "authn_password_reset_request",
    /// A forgotten password was reset.
    PasswordReset = "authn_password_reset",
    /// A link to reset a forgotten password was wrong or no longer valid.
    PasswordResetFailed = "authn_password_reset_fail",
    /// Someone requested a change of the mail address.
    EmailChangeRequested = "email_change_requested",
    /// The mail address was changed, or the first one was set.
    EmailChanged = "email_changed",
    /// The old mail address was restored.
    EmailChangeUndone = "email_change_undone",
    /// Someone requested a change of the phone number.
    PhoneChangeRequested = "phone_change_requested",
    /// The phone number was changed, or the first one was set.
    PhoneChanged = "phone_changed",
    /// The phone number was removed.
    PhoneRemoved = "phone_removed",
    /// The old phone number was restored.
    PhoneChangeUndone = "phone_change_undone",
    /// Someone requested an additional address.
    LoginNameRequested = "login_name_requested",
    /// An account got an additional username or address.
    LoginNameAdded = "login_name_added",
    /// A username or address was removed from an account.
    LoginNameRemoved = "login_name_removed",
    /// The addition of a username or address was undone.
    LoginNameUndone = "login_name_undone",
    /// The application started a session without a sign-in through portcullis.
    SessionStarted = "session_created",
    /// The owner ended a session.
    SessionEnded = "session_ended",
    /// Several sessions of an account were ended together.
    SessionsEnded = "sessions_ended",
    /// A retired token was used again, and the session was ended.
    SessionTheftSuspected = "session_theft_suspected",
    /// A session was used from elsewhere, and the binding policy ended it.
    SessionSourceChanged = "session_source_changed",
    /// One client rotated the token, and another network and browser received it: two clients share
    /// the session.
    SessionShared = "session_shared",
    /// A session was marked suspicious.
    SessionSuspected = "session_suspicious",
    /// A session is no longer suspicious.
    SessionCleared = "session_cleared",
    /// Someone sent too many requests. Only the first refusal per rule and subject in a minute is
    /// recorded.
    RateLimitExceeded = "excess_rate_limit_exceeded",
    /// An account was created.
    AccountCreated = "user_created",
    /// Someone wanted to register with an address, a username or a number of an existing account.
    RegistrationFailed = "user_create_fail",
    /// The first administrator was created.
    AdministratorBootstrapped = "administrator_bootstrapped",
    /// An address of an account was verified.
    AddressVerified = "user_verified",
    /// An account was changed (disabled, enabled, verified, deleted, required to change its password).
    AccountUpdated = "user_updated",
    /// An account that a stranger created was removed, because nobody ever verified it.
    AccountRemoved = "user_removed",
    /// An account was closed. It will be erased after the waiting time.
    AccountClosed = "user_closed",
    /// A closed account was reopened.
    AccountKept = "user_kept",
    /// An account was erased: only its id is left.
    AccountErased = "user_erased",
    /// Everything that is kept about an account was exported.
    AccountExported = "user_exported",
    /// An administrator opened the recovery of an account. The detail says who.
    AccountRecoveryOpened = "account_recovery_opened",
    /// The owner of an account objected to its recovery.
    AccountRecoveryObjected = "account_recovery_objected",
    /// A recovery was cancelled. The detail says by whom, or that the owner signed in.
    AccountRecoveryCancelled = "account_recovery_cancelled",
    /// An administrator sent the link of a recovery after its delay. The detail says who.
    AccountRecoveryCompleted = "account_recovery_completed",
    /// The person set a new password with the link. The second factors of the account are gone.
    AccountRecovered = "account_recovered",
    /// Maintenance removed expired rows. The detail says how many of which kind.
    Maintained = "maintenance",
    /// A backup was restored, and what it had made valid again was ended.
    BackupRestored = "backup_restored",
    /// A message could not be delivered, and delivery was given up.
    MessageFailed = "message_failed",
    /// A role was created.
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
    /// A group was created.
    GroupCreated = "group_created",
    /// A group was deleted.
    GroupDeleted = "group_deleted",
    /// An account joined a group.
    GroupJoined = "group_joined",
    /// An account left a group.
    GroupLeft = "group_left",
    /// Permissions were added to the catalogue, described or pruned.
    CatalogueChanged = "catalogue_changed",
    /// A level on one resource was granted manually, not by the source of memberships.
    MembershipGranted = "membership_granted",
    /// A level on one resource was revoked manually, not by the source of memberships.
    MembershipRevoked = "membership_revoked",
    /// The source of memberships returned something else than what was stored.
    MembershipsRefreshed = "memberships_refreshed",
    /// A device asked to be signed in.
    DeviceLoginRequested = "device_login_requested",
    /// A person approved it.
    DeviceLoginApproved = "device_login_approved",
    /// A person denied it, or the device sent wrong digits.
    DeviceLoginDenied = "device_login_denied",
    /// A person reported it.
    DeviceLoginReported = "device_login_reported",
    /// The device got its session.
    DeviceLoginSucceeded = "device_login_success",
    /// The device took its request back, or the approval did not count any more.
    DeviceLoginEnded = "device_login_ended",
}

/// The name of a token rotation. This is too frequent for the audit table.
pub(crate) const ROTATED: &str = "session_rotated";

/// The name of a requirement that was not met. The audit log only counts these.
pub(crate) const DENIED: &str = "authz_fail";

/// The name of a well-formed API key that was refused. It changes no row.
pub(crate) const API_KEY_REFUSED: &str = "api_key_refused";

/// The name of a proof of a key that was refused. It changes no row.
pub(crate) const DPOP_PROOF_REFUSED: &str = "dpop_proof_refused";

/// Counts an event in `portcullis_events_total`, with its name as a label.
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
    /// The time of the event.
    pub at: Timestamp,
    /// The account that the event is about.
    pub account_id: Option<AccountId>,
    /// The session that the event is about or came from.
    pub session_id: Option<SessionId>,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// True if the action succeeded.
    pub succeeded: bool,
    /// A short fixed word or name with more detail: the reason of a failure, or the name of a role.
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

    /// Writes the event to `tracing` and counts it. For a recorded event, the transaction does this
    /// after its commit.
    ///
    /// Every text is written with `Debug`, which escapes line breaks, control characters and
    /// invisible formatting. So a value cannot forge a line or a field in the log.
    pub(crate) fn trace(&self) {
        event_line!(self, "portcullis::event");
        count(self.kind.as_str());
        // A failed attempt changes nothing, and strangers can cause any number of them.
        if self.succeeded {
            announce(self.account_id, self.session_id);
        }
    }

    /// Writes to `tracing` that the event was recorded in a transaction whose end is not known. It
    /// counts nothing.
    pub(crate) fn trace_uncommitted(&self) {
        event_line!(self, "portcullis::event::uncommitted");
    }
}
