//! The differences between the mail address and the phone number.

use crate::account::entity::account::{Column, Model};
use crate::account::former::Standing;
use crate::account::store::Name;
use crate::account::{Account, Email, LoginIdError, LoginIdKind, Phone};
use crate::base::clock::Timestamp;
use crate::base::event::EventKind;
use crate::base::factor::Factor;
use crate::base::id::AccountId;
use crate::base::invalid_field::InvalidField;
use crate::message::{MessageKind, Recipient};
use crate::outstanding::Kind;

/// A kind of address at which the owner of an account can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Email,
    Phone,
}

impl Channel {
    /// The factor whose codes go to an address of this kind.
    pub(super) fn codes(self) -> Factor {
        match self {
            Self::Email => Factor::MailedCode,
            Self::Phone => Factor::TextedCode,
        }
    }

    /// The name of the field in a request body and in an account.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
        }
    }

    pub(super) fn column(self) -> Column {
        match self {
            Self::Email => Column::Email,
            Self::Phone => Column::Phone,
        }
    }

    pub(super) fn kind(self) -> LoginIdKind {
        match self {
            Self::Email => LoginIdKind::Email,
            Self::Phone => LoginIdKind::Phone,
        }
    }

    pub(super) fn change(self) -> Kind {
        match self {
            Self::Email => Kind::EmailChange,
            Self::Phone => Kind::PhoneChange,
        }
    }

    pub(super) fn undo(self) -> Kind {
        match self {
            Self::Email => Kind::EmailUndo,
            Self::Phone => Kind::PhoneUndo,
        }
    }

    pub(super) fn requested(self) -> EventKind {
        match self {
            Self::Email => EventKind::EmailChangeRequested,
            Self::Phone => EventKind::PhoneChangeRequested,
        }
    }

    pub(super) fn changed(self) -> EventKind {
        match self {
            Self::Email => EventKind::EmailChanged,
            Self::Phone => EventKind::PhoneChanged,
        }
    }

    pub(super) fn undone(self) -> EventKind {
        match self {
            Self::Email => EventKind::EmailChangeUndone,
            Self::Phone => EventKind::PhoneChangeUndone,
        }
    }

    /// The message to the new address, with the link or code.
    pub(super) fn confirm_message(self) -> MessageKind {
        match self {
            Self::Email => MessageKind::EmailChangeConfirm,
            Self::Phone => MessageKind::PhoneChangeConfirm,
        }
    }

    /// The message to the owner of an address that is taken.
    pub(super) fn taken_message(self) -> MessageKind {
        match self {
            Self::Email => MessageKind::EmailChangeTaken,
            Self::Phone => MessageKind::PhoneChangeTaken,
        }
    }

    /// The message to the old address, with the link that undoes the change.
    pub(super) fn undo_message(self) -> MessageKind {
        match self {
            Self::Email => MessageKind::EmailChangedUndo,
            Self::Phone => MessageKind::PhoneChangedUndo,
        }
    }

    /// The message to the old address after the change was undone.
    pub(super) fn undone_message(self) -> MessageKind {
        match self {
            Self::Email => MessageKind::EmailChangeUndone,
            Self::Phone => MessageKind::PhoneChangeUndone,
        }
    }

    /// Returns the address of an account.
    pub(super) fn of(self, account: &Account) -> Option<&str> {
        match self {
            Self::Email => account.email(),
            Self::Phone => account.phone(),
        }
    }

    /// Returns the address in the row of an account.
    pub(super) fn of_row(self, row: &Model) -> Option<&str> {
        match self {
            Self::Email => row.email.as_deref(),
            Self::Phone => row.phone.as_deref(),
        }
    }

    /// The name of an account that proved this address, as its main name of this kind.
    pub(super) fn proved(
        self,
        account_id: AccountId,
        normal: &str,
        now: Timestamp,
        standing: Standing,
    ) -> Name<'_> {
        let kind = self.kind();
        Name { account_id, kind, normal, typed: None, verified_at: Some(now), standing }
    }

    /// Returns the normal form of an address in a row.
    pub(super) fn normal(self, typed: &str) -> Option<String> {
        self.parse(typed).ok().map(|address| address.normal().to_owned())
    }

    pub(super) fn recipient(self, typed: &str) -> Option<Recipient> {
        match self {
            Self::Email => Recipient::email(typed),
            Self::Phone => Recipient::phone(typed),
        }
    }

    pub(super) fn parse(self, typed: &str) -> Result<Address, LoginIdError> {
        match self {
            Self::Email => Email::parse(typed).map(Address::Email),
            Self::Phone => Phone::parse(typed).map(Address::Phone),
        }
    }

    /// The same for what a user typed.
    pub(super) fn parse_field(self, typed: &str) -> Result<Address, InvalidField> {
        self.parse(typed).map_err(|error| error.in_field(self.field()))
    }
}

/// A mail address or a phone number.
pub(super) enum Address {
    Email(Email),
    Phone(Phone),
}

impl Address {
    /// Returns the address as it was typed.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Email(email) => email.as_str(),
            Self::Phone(phone) => phone.as_str(),
        }
    }

    /// Returns the normal form, which is unique.
    pub(super) fn normal(&self) -> &str {
        match self {
            Self::Email(email) => email.normal(),
            Self::Phone(phone) => phone.normal(),
        }
    }
}
