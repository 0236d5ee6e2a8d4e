//! One attempt at a password. It is counted before the comparison. The comparison costs one hash,
//! whether or not there is an account.
//!
//! If the attempt was refused, the same work is done and its result is discarded here: see
//! [`attempt`](crate::attempt). So a refusal cannot be told from a wrong password. If the password
//! could not be checked, the attempt is taken back. The flow does what follows:
//! [`Attempts::end`](crate::attempt::Attempts) after a correct password, and
//! [`Attempts::fail`](crate::attempt::Attempts) after a wrong one.

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

/// The result of an attempt.
#[expect(clippy::large_enum_variant, reason = "it is matched where it is returned")]
pub(crate) enum Attempted {
    /// The attempt was counted and the password was compared.
    Judged(Ticket, Checked),
    /// There were too many attempts, and the client is told so.
    TooMany(Duration),
}

/// The account whose password is checked.
#[derive(Clone, Copy)]
pub(crate) struct Whose<'a> {
    pub(crate) row: Option<&'a account::Model>,
    /// The salt is made from this name if there is no password. So the work is the same for unknown
    /// names.
    pub(crate) name: &'a str,
}

/// Makes an attempt that is counted for this subject.
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
            // A refused attempt never succeeds, not even with the correct password. Otherwise
            // guessing could continue during a lock.
            let checked = if ticket.counts() { checked } else { Checked::Wrong };
            Ok(Attempted::Judged(ticket, checked))
        }
        Err(fault) => {
            // An outage is not the fault of the user, so it does not count as a failure.
            attempts.withdraw(ticket).await;
            Err(fault)
        }
    }
}

/// Makes an attempt at the password of an account by a user who is already identified: by a session
/// of the account, or by a link that was sent to its address.
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
