//! Where a mail goes, and what it is bound to.

use crate::account::entity::account::Model;
use crate::account::entity::login_name;
use crate::account::{Email, LoginIdKind};

/// The address of an account that gets a mail, and whether the account has proved it.
pub(super) struct Destination {
    pub(super) normal: String,
    pub(super) mailbox: String,
    pub(super) is_proved: bool,
}

impl Destination {
    /// Chooses the address. It is the further address that was typed, if this one and the account's own
    /// address are both proved. In all other cases it is the account's own address. This one need not
    /// be proved if the account has never proved any address.
    pub(super) fn choose(row: &Model, names: &[login_name::Model], typed: &str) -> Option<Self> {
        let own = Email::parse(row.email.as_deref()?).ok()?;
        let named = |normal: &str| {
            let kind = LoginIdKind::Email.number();
            names.iter().find(|name| name.normal == normal && name.kind == kind)
        };
        let is_proved = named(own.normal())?.verified_at.is_some();
        let further = named(typed).filter(|name| is_proved && name.verified_at.is_some());
        match further {
            Some(name) => {
                let mailbox = name.as_written(row).to_owned();
                Some(Self { normal: name.normal.clone(), mailbox, is_proved: true })
            }
            None if is_proved || row.verified_at.is_none() => {
                let normal = own.normal().to_owned();
                Some(Self { normal, mailbox: own.as_str().to_owned(), is_proved })
            }
            None => None,
        }
    }

    /// True if it is the account's own address and no further one.
    pub(super) fn is_main(&self, row: &Model) -> bool {
        let own = row.email.as_deref().and_then(|email| Email::parse(email).ok());
        own.is_some_and(|own| own.normal() == self.normal)
    }

    /// Returns the address to which a mail went, if the account could still be sent one there.
    pub(super) fn again(row: &Model, names: &[login_name::Model], normal: &str) -> Option<Self> {
        Self::choose(row, names, normal).filter(|chosen| chosen.normal == normal)
    }
}

/// The values to which a mail is bound. If one of them changes, its link and its code become invalid.
pub(super) struct Binding([Vec<u8>; 5]);

impl Binding {
    pub(super) fn of(row: &Model, to: &str) -> Self {
        let last_login = row.last_login_at.map(|at| at.as_millis().to_be_bytes().to_vec());
        Self([
            row.email.clone().unwrap_or_default().into_bytes(),
            row.password_hash.clone().unwrap_or_default().into_bytes(),
            last_login.unwrap_or_default(),
            row.epoch.to_be_bytes().to_vec(),
            to.as_bytes().to_vec(),
        ])
    }

    /// Returns the binding of a mail for a name without an account.
    pub(super) fn of_nobody() -> Self {
        Self(Default::default())
    }

    pub(super) fn parts(&self) -> [&[u8]; 5] {
        std::array::from_fn(|at| self.0[at].as_slice())
    }
}
