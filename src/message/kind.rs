//! The kinds of messages, each with its templates and the values they may use.

use std::borrow::Cow;

/// Before the name of a kind of the application's own in the outbox, as before their purposes of challenges:
/// a built-in one that comes later takes no name from anybody.
const APPLICATION: &str = "app:";

/// The same before the name of its files. No kind has a `-` in its name.
const APPLICATION_FILE: &str = "app-";

/// What a kind's built-in templates say.
pub(crate) struct BuiltIn {
    /// `Subject: …`, an empty line, and the text.
    pub(crate) text: &'static str,
    pub(crate) html: &'static str,
    /// The names of the values it can use, besides those that every message has.
    pub(crate) values: &'static [&'static str],
}

/// Whether strangers can bring a message about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Anyone who types an address: a cool-down and a cap hold for each recipient.
    Asked,
    /// Something that happened to the account. It is always told, or a flood of the other sort
    /// would hide it.
    Happened,
}

macro_rules! message_kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $cause:ident, [$($value:literal),*];)+) => {
        /// What a message is about. Its name is the name of its templates.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum MessageKind {
            $($(#[$doc])* $name,)+
            /// A kind of the application's own, by its name: 1 to 60 lower case letters, digits and `_`.
            /// It is declared by giving its templates to [`Builder::template`](crate::Builder::template),
            /// and sent by [`Outbox::send`](crate::outbox::Outbox::send).
            Own(&'static str),
        }

        impl MessageKind {
            /// Every kind that portcullis sends itself.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The stable name in the outbox, in the log and of the templates' files. There a kind of the
            /// application's own has `app:` before its name, and `app-` before that of its files.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ Self::Own(name) => name }
            }

            pub(crate) const fn cause(self) -> Cause {
                match self {
                    $(Self::$name => Cause::$cause,)+
                    // Who brings it about is not known here, so its recipients are protected.
                    Self::Own(_) => Cause::Asked,
                }
            }

            /// None for a kind of the application's own.
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
    /// An address is to be proved, by a link or a code.
    VerifyAddress = "verify_address", Asked, ["link", "code", "minutes"];
    /// Somebody tried to register with the address of an account.
    AlreadyRegistered = "already_registered", Asked, [];
    /// A forgotten password is to be replaced.
    PasswordReset = "password_reset", Asked, ["link", "minutes"];
    /// The password was changed or replaced.
    PasswordChanged = "password_changed", Happened, ["address"];
    /// A new address of an account is to be proved.
    EmailChangeConfirm = "email_change_confirm", Asked, ["link", "code", "minutes"];
    /// Somebody wants to use the address of another account for their own: told to its owner.
    EmailChangeTaken = "email_change_taken", Asked, [];
    /// The address was changed: told to the old one, with a way back.
    EmailChangedUndo = "email_changed_undo", Happened, ["address", "link", "days"];
    /// A change of the address was undone: told to the one that is back.
    EmailChangeUndone = "email_change_undone", Happened, ["address"];
    /// A new phone number of an account is to be proved.
    PhoneChangeConfirm = "phone_change_confirm", Asked, ["code", "minutes"];
    /// Somebody wants to use the number of another account for their own: told to its owner.
    PhoneChangeTaken = "phone_change_taken", Asked, [];
    /// The phone number was changed or removed: told to the old one, with a way back.
    PhoneChangedUndo = "phone_changed_undo", Happened, ["address", "link", "days"];
    /// A change of the phone number was undone: told to the one that is back.
    PhoneChangeUndone = "phone_change_undone", Happened, ["address"];
    /// A phone number was added, changed, removed or brought back: told to the mail address.
    PhoneChanged = "phone_changed", Happened, ["address"];
    /// A further address of an account is to be proved.
    LoginNameConfirm = "login_name_confirm", Asked, ["link", "code", "minutes"];
    /// A username or an address was added: told to the account's own address, with a way back.
    LoginNameAdded = "login_name_added", Happened, ["address", "link", "days"];
    /// A username or an address was removed: told to the account's own address.
    LoginNameRemoved = "login_name_removed", Happened, ["address"];
    /// A further address was removed: told to that one.
    AddressRemoved = "address_removed", Happened, ["address"];
    /// A second factor was added.
    FactorAdded = "factor_added", Happened, ["address", "factor"];
    /// A second factor was removed.
    FactorRemoved = "factor_removed", Happened, ["address", "factor"];
    /// A recovery code was used.
    RecoveryCodeUsed = "recovery_code_used", Happened, ["address", "left"];
    /// Somebody signed in from a device that was not seen before.
    NewDevice = "new_device", Happened, ["address"];
    /// Sign-ins of a day from devices that were not seen before, in places that were told before.
    NewDeviceDigest = "new_device_digest", Happened, ["count", "first", "last", "address"];
    /// A retired session token was used again; the session was ended.
    SessionTheftSuspected = "session_theft_suspected", Happened, ["address"];
    /// The account was locked after failed sign-ins.
    AccountLocked = "account_locked", Happened, ["address", "minutes"];
    /// A code for something that the account is about to do.
    ChallengeCode = "challenge_code", Asked, ["code", "purpose", "minutes"];
}

impl MessageKind {
    /// Whether somebody waits for it before they can go on: a link to a new password, a code for
    /// what they are about to do. The proof of a fresh registration is none of these: anyone can ask
    /// for hundreds of them.
    pub(crate) const fn is_awaited(self) -> bool {
        matches!(
            self,
            Self::PasswordReset
                | Self::ChallengeCode
                | Self::EmailChangeConfirm
                | Self::PhoneChangeConfirm
                | Self::LoginNameConfirm
        )
    }

    /// The name in the outbox, in limits and in the log.
    pub(crate) fn stored(self) -> Cow<'static, str> {
        match self {
            Self::Own(name) => format!("{APPLICATION}{name}").into(),
            built_in => built_in.as_str().into(),
        }
    }

    /// The name of the templates' files, without its end.
    pub(crate) fn file(self) -> Cow<'static, str> {
        match self {
            Self::Own(name) => format!("{APPLICATION_FILE}{name}").into(),
            built_in => built_in.as_str().into(),
        }
    }

    /// The name of a kind of the application's own, of the one in the outbox.
    pub(crate) fn own_name(stored: &str) -> Option<&str> {
        stored.strip_prefix(APPLICATION)
    }

    /// Whether this can be the name of a kind of the application's own.
    pub(crate) fn is_own_name(name: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        // The column has room for 64, with what is before the name.
        (1..=60).contains(&name.len()) && name.bytes().all(plain)
    }
}
