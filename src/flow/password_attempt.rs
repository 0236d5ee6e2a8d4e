//! One attempt at a password: counted before it is compared, and compared at the cost of one hash.
//!
//! The verdict of an attempt that was refused is thrown away here, after the same work: see
//! [`attempt`](crate::attempt). An attempt that could not be judged is taken back. What is left to the flow
//! is what follows: [`Attempts::end`](crate::attempt::Attempts) for a right password, and
//! [`Attempts::fail`](crate::attempt::Attempts) for a wrong one.

use std::time::Duration;

use crate::account::entity::account;
use crate::attempt::{Admission, Subject, Ticket};
use crate::base::client::ClientInfo;
use crate::base::id::AccountId;
use crate::base::transaction::Fault;
use crate::config::AttemptKind;
use crate::handle::Portcullis;
use crate::password::{Checked, Password, Passwords};
use crate::session::device::Devices;

/// What became of an attempt.
#[expect(clippy::large_enum_variant, reason = "it is matched where it is returned")]
pub(crate) enum Attempted {
    /// It is counted and was compared.
    Judged(Ticket, Checked),
    /// There were too many, and that is told.
    TooMany(Duration),
}

/// Whose password it is said to be.
#[derive(Clone, Copy)]
pub(crate) struct Whose<'a> {
    pub(crate) row: Option<&'a account::Model>,
    /// What the salt of a name without a password is made from.
    pub(crate) name: &'a str,
}

/// An attempt that is counted under this subject.
pub(crate) async fn attempt(
    auth: &Portcullis,
    subject: &Subject,
    whose: Whose<'_>,
    password: &Password,
    client: &ClientInfo,
) -> Result<Attempted, Fault> {
    let attempts = auth.attempts();
    let ticket = match attempts.take(AttemptKind::Login, subject, client).await? {
        Admission::Admitted(ticket) => ticket,
        Admission::TooMany { retry_after } => return Ok(Attempted::TooMany(retry_after)),
    };
    let passwords = auth.per_instance::<Passwords>();
    match passwords.check(password, whose.row, whose.name, client.address()).await {
        Ok(checked) => {
            let checked = if ticket.is_judged() { checked } else { Checked::Wrong };
            Ok(Attempted::Judged(ticket, checked))
        }
        Err(fault) => {
            attempts.withdraw(ticket).await;
            Err(fault)
        }
    }
}

/// An attempt at the password of an account by somebody who has shown otherwise that it is theirs: in a
/// session of it, or with a link that was sent to its address.
pub(crate) async fn attempt_inside(
    auth: &Portcullis,
    account: AccountId,
    row: Option<&account::Model>,
    password: &Password,
    client: &ClientInfo,
) -> Result<Attempted, Fault> {
    let devices = auth.per_instance::<Devices>();
    let device =
        row.and_then(|row| devices.recognize(auth.context(), client, row.id, row.epoch).known());
    let name = account.to_string();
    let subject = auth.attempts().subject(row, &name).on_device(auth, device).inside();
    attempt(auth, &subject, Whose { row, name: &name }, password, client).await
}
