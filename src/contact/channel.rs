//! What differs between the mail address and the phone number.

use crate::account::entity::account::{Column, Model};
use crate::account::former::Standing;
use crate::account::store::Name;
use crate::account::{Account, Email, LoginIdError, LoginIdKind, Phone};
use crate::base::clock::Timestamp;
use crate::base::event::EventKind;
use crate::base::id::AccountId;
use crate::base::invalid_field::InvalidField;
use crate::message::{MessageKind, Recipient};
use crate::outstanding::Kind;

/// A way to reach the owner of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Email,
    Phone,
}

impl Channel {
    /// The field of a body, and of an account.
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

    /// To the new one, with what proves it.
    pub(super) fn confirm_message(self) -> MessageKind {
        match self {
            Self::Email => MessageKind::EmailChangeConfirm,
            Self::Phone => MessageKind::PhoneChangeConfirm,
        }
    }

    /// To the owner of one that is taken.
    pub(super) fn taken_message(self) -> MessageKind {
        match self {
            Self::Email => MessageKind::EmailChangeTaken,
            Self::Phone => MessageKind::PhoneChangeTaken,
        }
    }

    /// To the old one, with the way back.
    pub(super) fn undo_message(self) -> MessageKind {
        match self {
            Self::Email => MessageKind::EmailChangedUndo,
            Self::Phone => MessageKind::PhoneChangedUndo,
        }
    }

    /// To the old one that is back.
    pub(super) fn undone_message(self) -> MessageKind {
        match self {
            Self::Email => MessageKind::EmailChangeUndone,
            Self::Phone => MessageKind::PhoneChangeUndone,
        }
    }

    /// What an account has.
    pub(super) fn of(self, account: &Account) -> Option<&str> {
        match self {
            Self::Email => account.email(),
            Self::Phone => account.phone(),
        }
    }

    /// The same of its row.
    pub(super) fn of_row(self, row: &Model) -> Option<&str> {
        match self {
            Self::Email => row.email.as_deref(),
            Self::Phone => row.phone.as_deref(),
        }
    }

    /// The name of an account that proved it, to be its own and no further one.
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

    /// The normal form of what a row has.
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

    /// The same of what a person typed.
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
    /// As it was typed.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Email(email) => email.as_str(),
            Self::Phone(phone) => phone.as_str(),
        }
    }

    /// The one form that is unique.
    pub(super) fn normal(&self) -> &str {
        match self {
            Self::Email(email) => email.normal(),
            Self::Phone(phone) => phone.normal(),
        }
    }
}
