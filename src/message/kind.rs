//! The kinds of messages, each with its templates and the values they may use.

use std::borrow::Cow;

/// The prefix of an application's kind in the outbox. The purposes of its challenges have it too. So a
/// built-in kind that is added later cannot have the name of an application's kind.
const APPLICATION: &str = "app:";

/// The prefix of its file names. No kind has a `-` in its name.
const APPLICATION_FILE: &str = "app-";

/// The built-in templates of a kind.
pub(crate) struct BuiltIn {
    /// `Subject: …`, an empty line, and the text.
    pub(crate) text: &'static str,
    pub(crate) html: &'static str,
    /// The names of the values that it can use, besides those that every message has.
    pub(crate) values: &'static [&'static str],
}

/// Tells whether strangers can cause a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Anyone who types an address can cause it. So each recipient has a minimum time between
    /// messages, and a limit per hour.
    Asked,
    /// It tells of something that happened to the account. It is always sent. Otherwise an attacker
    /// could hide it by using up a limit.
    Happened,
}

macro_rules! message_kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $cause:ident, [$($value:literal),*];)+) => {
        /// What a message is about. Its name is also the name of its templates.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum MessageKind {
            $($(#[$doc])* $name,)+
            /// A kind of your application, by its name: 1 to 60 lower-case letters, digits and `_`.
            /// To declare it, pass its templates to
            /// [`Builder::template`](crate::Builder::template). To send it, use
            /// [`Outbox::send`](crate::outbox::Outbox::send).
            Own(&'static str),
        }

        impl MessageKind {
            /// Every kind that portcullis sends itself.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Returns the stable name, used in the outbox, in the log and for the files of the
            /// templates. A kind of your application has the prefix `app:` there, and its files the
            /// prefix `app-`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ Self::Own(name) => name }
            }

            pub(crate) const fn cause(self) -> Cause {
                match self {
                    $(Self::$name => Cause::$cause,)+
                    // Portcullis does not know who can cause it, so its recipients are protected by
                    // limits.
                    Self::Own(_) => Cause::Asked,
                }
            }

            /// Returns `None` for a kind of the application.
            pub(crate) const fn built_in(self) -> Option<BuiltIn> {
                match self { $(Self::$name => Some(BuiltIn {
                    text: include_str!(concat!("templates/", $text, ".txt")),
                    html: include_str!(concat!("templates/", $text, ".html")),
                    values: &[$($value),*],
                }),)+ Self::Own(_) => None }
            }
        }
    };
}

message_kinds! {
    /// Asks to prove an address, by a link or a code.
    VerifyAddress = "verify_address", Asked, ["link", "code", "minutes"];
    /// Someone wanted to register with the address of an account.
    AlreadyRegistered = "already_registered", Asked, [];
    /// Contains the link to replace a forgotten password.
    PasswordReset = "password_reset", Asked, ["link", "minutes"];
    /// Contains a link and a code to sign in.
    MailLogin = "mail_login", Asked, ["link", "code", "minutes"];
    /// The password was changed or replaced.
    PasswordChanged = "password_changed", Happened, ["address"];
    /// Asks to prove a new address of an account.
    EmailChangeConfirm = "email_change_confirm", Asked, ["link", "code", "minutes"];
    /// Tells the owner of an address that someone wants to use it for another account.
    EmailChangeTaken = "email_change_taken", Asked, [];
    /// Tells the old address that the address was changed, with a link to undo it.
    EmailChangedUndo = "email_changed_undo", Happened, ["address", "link", "days"];
    /// Tells the restored address that a change was undone.
    EmailChangeUndone = "email_change_undone", Happened, ["address"];
    /// Asks to prove a new phone number of an account.
    PhoneChangeConfirm = "phone_change_confirm", Asked, ["code", "minutes"];
    /// Tells the owner of a phone number that someone wants to use it for another account.
    PhoneChangeTaken = "phone_change_taken", Asked, [];
    /// Tells the old phone number that the number was changed or removed, with a link to undo it.
    PhoneChangedUndo = "phone_changed_undo", Happened, ["address", "link", "days"];
    /// Tells the restored phone number that a change was undone.
    PhoneChangeUndone = "phone_change_undone", Happened, ["address"];
    /// Tells the mail address that a phone number was added, changed, removed or restored.
    PhoneChanged = "phone_changed", Happened, ["address"];
    /// Asks to prove a further address of an account.
    LoginNameConfirm = "login_name_confirm", Asked, ["link", "code", "minutes"];
    /// Tells the account's own address that a username or an address was added, with a link to undo
    /// it.
    LoginNameAdded = "login_name_added", Happened, ["address", "link", "days"];
    /// Tells the account's own address that a username or an address was removed.
    LoginNameRemoved = "login_name_removed", Happened, ["address"];
    /// Tells a further address that it was removed.
    AddressRemoved = "address_removed", Happened, ["address"];
    /// A second factor was added.
    FactorAdded = "factor_added", Happened, ["address", "factor", "link", "days", "by_browser", "linked"];
    /// A second factor was removed.
    FactorRemoved = "factor_removed", Happened, ["address", "factor", "linked"];
    /// A recovery code was used.
    RecoveryCodeUsed = "recovery_code_used", Happened, ["address", "left"];
    /// A device was trusted to skip the second factor.
    TrustedDeviceAdded = "trusted_device_added", Happened, ["address", "days"];
    /// The account got an API key.
    ApiKeyIssued = "api_key_issued", Happened, ["address", "name"];
    /// An API key of the account got more scopes.
    ApiKeyChanged = "api_key_changed", Happened, ["address", "name"];
    /// An API key of the account ends soon.
    ApiKeyExpires = "api_key_expires", Happened, ["name", "days"];
    /// Someone signed in from a device that the account does not know.
    NewDevice = "new_device", Happened, ["address"];
    /// Tells of the sign-ins of a day from unknown devices, in networks and browsers that were told
    /// of before.
    NewDeviceDigest = "new_device_digest", Happened, ["count", "first", "last", "address"];
    /// A retired session token was used again; the session was ended.
    SessionTheftSuspected = "session_theft_suspected", Happened, ["address"];
    /// The account was locked after failed sign-ins.
    AccountLocked = "account_locked", Happened, ["address", "minutes"];
    /// Codes of second factors are refused for a while, after many wrong ones.
    SecondFactorLocked = "second_factor_locked", Happened, ["address", "minutes"];
    /// The account was closed, with a link that reopens it until it is erased.
    AccountClosed = "account_closed", Happened, ["address", "link", "days"];
    /// An administrator wants to recover the account, with a link to object.
    RecoveryOpened = "recovery_opened", Happened, ["link", "hours"];
    /// An administrator has sent the link of a recovery. It has another link to object.
    RecoveryCompleted = "recovery_completed", Happened, ["link"];
    /// Contains the link of a recovery, which sets a new password.
    RecoveryLink = "recovery_link", Happened, ["link", "hours"];
    /// A code for something that the account is about to do.
    ChallengeCode = "challenge_code", Asked, ["code", "purpose", "minutes"];
    /// A device was signed in, because a session of the account approved it.
    DeviceLogin = "device_login", Happened, ["address", "client"];
    /// A code as a second factor, or for a step-up.
    FactorCode = "factor_code", Asked, ["code", "minutes"];
}

impl MessageKind {
    /// Returns true if a person must wait for it before they can continue: a link to reset a
    /// password or to sign in, or a code for an action. Verification mails of new registrations are
    /// not included, because anyone can request hundreds of them.
    pub(crate) const fn is_awaited(self) -> bool {
        matches!(
            self,
            Self::PasswordReset
                | Self::MailLogin
                | Self::ChallengeCode
                | Self::FactorCode
                | Self::EmailChangeConfirm
                | Self::PhoneChangeConfirm
                | Self::LoginNameConfirm
        )
    }

    /// Returns true if it contains a link that undoes a change, reopens a closed account, or belongs to
    /// a recovery of the account. No later message contains this link.
    pub(crate) const fn has_way_back(self) -> bool {
        matches!(
            self,
            Self::AccountClosed
                | Self::EmailChangedUndo
                | Self::PhoneChangedUndo
                | Self::LoginNameAdded
                | Self::FactorAdded
                | Self::RecoveryOpened
                | Self::RecoveryCompleted
                | Self::RecoveryLink
        )
    }

    /// Returns the name in the outbox, in limits and in the log.
    pub(crate) fn stored(self) -> Cow<'static, str> {
        match self {
            Self::Own(name) => format!("{APPLICATION}{name}").into(),
            built_in => built_in.as_str().into(),
        }
    }

    /// Returns the name of the template files, without the extension.
    pub(crate) fn file(self) -> Cow<'static, str> {
        match self {
            Self::Own(name) => format!("{APPLICATION_FILE}{name}").into(),
            built_in => built_in.as_str().into(),
        }
    }

    /// Returns the name of an application's kind from its name in the outbox.
    pub(crate) fn own_name(stored: &str) -> Option<&str> {
        stored.strip_prefix(APPLICATION)
    }

    /// True if this can be the name of an application's kind.
    pub(crate) fn is_own_name(name: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        // The column holds 64 characters, including the prefix.
        (1..=60).contains(&name.len()) && name.bytes().all(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_with_a_link_is_not_given_up() {
        for kind in MessageKind::ALL {
            let built_in = kind.built_in().expect("it is built in");
            let told = kind.cause() == Cause::Happened && built_in.values.contains(&"link");
            assert_eq!(kind.has_way_back(), told, "{kind:?}");
        }
    }
}
