//! Attempts at codes. They are counted together with all attempts, see [`attempt`](crate::attempt).

use std::time::Duration;

use super::row::Challenge;
use crate::attempt::{Admission, Subject, Ticket};
use crate::base::client::ClientInfo;
use crate::base::id::{AccountId, SessionId};
use crate::base::transaction::Fault;
use crate::config::AttemptKind;
use crate::handle::Portcullis;
use crate::outstanding::Kind;
use crate::session::device::Devices;

/// The result of asking for an attempt at a code.
#[expect(clippy::large_enum_variant, reason = "it is matched where it is returned")]
pub(crate) enum Try {
    /// It counts as wrong until its ticket says otherwise.
    Taken(Ticket),
    /// There is none until this time has passed.
    TooMany(Duration),
}

/// Takes an attempt at the code that was sent to an address, whether or not a code was sent. The
/// answer must not reveal the difference. So the visible limit counts the address. The account is
/// protected without saying so: its attempt may be one whose result [does not
/// count](Ticket::is_judged).
pub(crate) async fn take_try_at(
    auth: &Portcullis,
    kind: &Kind,
    account: Option<(AccountId, i64)>,
    address: &str,
    client: &ClientInfo,
) -> Result<Try, Fault> {
    let devices = auth.per_instance::<Devices>();
    let device = devices.look_up(&devices.read(auth.context(), client), account).known();
    let subject = match account {
        Some((id, _)) => auth.attempts().subject_of(id).typed(auth, address),
        None => auth.attempts().subject(None, address),
    };
    take_try(auth, subject.on_device(auth, device), &kind.name(), client).await
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

async fn take_try(
    auth: &Portcullis,
    subject: Subject,
    purpose: &str,
    client: &ClientInfo,
) -> Result<Try, Fault> {
    let subject = subject.for_purpose(auth, purpose);
    Ok(match auth.attempts().take(AttemptKind::Challenge, &subject, client).await? {
        Admission::Admitted(ticket) => Try::Taken(ticket),
        Admission::TooMany { retry_after } => Try::TooMany(retry_after),
    })
}

impl Challenge {
    /// Takes an attempt before the answer is compared. Attempts are counted for the purpose and the
    /// account (`epoch` is its epoch), whatever code or address they are about. Without an account
    /// they are counted for the target. The caller has the session to which the challenge belongs,
    /// so the limit of that account is revealed.
    pub(crate) async fn take_try(
        &self,
        auth: &Portcullis,
        epoch: Option<i64>,
        client: &ClientInfo,
    ) -> Result<Try, Fault> {
        let row = self.row();
        let attempts = auth.attempts();
        let subject = match (row.account_id, &row.target) {
            (Some(id), _) => subject_of(auth, id, epoch, client).inside(),
            (None, Some(target)) if !self.is_shown() => attempts.subject_of_target(target),
            (None, _) => {
                let alone = row.session_id.map_or(row.id.as_uuid(), SessionId::as_uuid);
                attempts.subject_of_unnamed(alone)
            }
        };
        take_try(auth, subject, &row.purpose, client).await
    }
}
