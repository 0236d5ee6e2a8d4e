//! Attempts at codes. They are counted together with all attempts, see [`attempt`](crate::attempt).

use std::time::Duration;

use super::digest::counted_as;
use super::row::Challenge;
use crate::attempt::{Admission, Subject, Ticket};
use crate::base::client::ClientInfo;
use crate::base::id::{AccountId, SessionId};
use crate::base::transaction::{Fault, MaybeFault};
use crate::config::AttemptKind;
use crate::handle::Portcullis;
use crate::outstanding::Kind;
use crate::session::device::Devices;

/// The result of asking for an attempt at a code.
#[expect(clippy::large_enum_variant, reason = "it is matched where it is returned")]
pub(crate) enum CodeAttempt {
    /// It counts as wrong until its ticket says otherwise.
    Taken(Ticket),
    /// There is none until this time has passed.
    TooMany(Duration),
}

/// Ends an attempt with a correct code. `result` is what the flow did with it. Only a wrong guess
/// counts, so the attempt is withdrawn if something else failed, such as a hook. `is_wrong` is true for
/// the errors that say that the code was not valid any more.
pub(crate) async fn end_right<T, E: MaybeFault>(
    auth: &Portcullis,
    ticket: Ticket,
    result: &Result<T, E>,
    is_wrong: impl Fn(&E) -> bool,
) {
    match result {
        Ok(_) => ticket.end_succeeded(),
        Err(error) if is_wrong(error) => {}
        // A database error of a hook is not an outage, so the attempt is withdrawn too. If the database
        // does not answer, the client does not wait for it once more.
        Err(error) if matches!(error.fault(), Some(Fault::Timeout)) => {}
        Err(_) => auth.attempts().withdraw(ticket).await,
    }
}

/// Takes an attempt at the code that was sent to an address, whether or not a code was sent. The
/// answer must not reveal the difference. So the visible limit counts the address. The account is
/// protected without saying so: its attempt may be one whose result [does not
/// count](Ticket::counts).
pub(crate) async fn take_attempt_at(
    auth: &Portcullis,
    kind: &Kind,
    account: Option<(AccountId, i64)>,
    address: &str,
    client: &ClientInfo,
) -> Result<CodeAttempt, Fault> {
    let devices = auth.per_instance::<Devices>();
    let device = devices.look_up(&devices.read(auth.context(), client), account).known();
    let subject = match account {
        Some((id, _)) => auth.attempts().subject_of(id).typed(auth, address),
        None => auth.attempts().subject(None, address),
    };
    take_attempt(auth, subject.on_device(auth, device), &kind.name(), client).await
}

/// The subject for attempts at an account, from a device that may be known.
fn subject_of(
    auth: &Portcullis,
    id: AccountId,
    epoch: Option<i64>,
    client: &ClientInfo,
) -> Subject {
    let device = epoch.and_then(|epoch| {
        auth.per_instance::<Devices>().recognize(auth.context(), client, id, epoch).known()
    });
    auth.attempts().subject_of(id).on_device(auth, device)
}

async fn take_attempt(
    auth: &Portcullis,
    subject: Subject,
    purpose: &str,
    client: &ClientInfo,
) -> Result<CodeAttempt, Fault> {
    let subject = subject.for_purpose(auth, purpose);
    Ok(match auth.attempts().take(AttemptKind::Challenge, &subject, client).await? {
        Admission::Admitted(ticket) => CodeAttempt::Taken(ticket),
        Admission::TooMany { retry_after } => CodeAttempt::TooMany(retry_after),
    })
}

impl Challenge {
    /// Takes an attempt before the answer is compared. Attempts are counted for the purpose and the
    /// account (`epoch` is its epoch), whatever code or address they are about. Without an account
    /// they are counted for the target. The caller has the session to which the challenge belongs,
    /// so the limit of that account is revealed.
    pub(crate) async fn take_attempt(
        &self,
        auth: &Portcullis,
        epoch: Option<i64>,
        client: &ClientInfo,
    ) -> Result<CodeAttempt, Fault> {
        let row = self.row();
        let attempts = auth.attempts();
        let target = row.target.as_deref().filter(|_| !self.is_shown()).map(counted_as);
        let subject = match (row.account_id, target.filter(|target| !target.is_empty())) {
            (Some(id), _) => subject_of(auth, id, epoch, client).inside(),
            (None, Some(target)) => attempts.subject_of_target(&target),
            (None, None) => {
                let alone = row.session_id.map_or(row.id.as_uuid(), SessionId::as_uuid);
                attempts.subject_of_unnamed(alone)
            }
        };
        take_attempt(auth, subject, &row.purpose, client).await
    }
}
