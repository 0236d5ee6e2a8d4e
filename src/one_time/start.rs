//! Starting a challenge: a new token and sometimes a new code, which replace the open ones.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use sea_orm::{ConnectionTrait, DbErr};
use zeroize::Zeroizing;

use super::code::{code_of_token, new_code};
use super::digest::{Subject, bindings, code_digests, keys_of_codes, token_digests};
use super::entity::challenge::Model;
use super::row::SHOWN;
use super::store;
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, ChallengeId, SessionId};
use crate::base::secret::random_array;
use crate::context::Context;
use crate::outstanding::Kind;

/// The longest cool-down. Maintenance uses it to decide which old rows may still count.
pub(crate) const LONGEST_COOL_DOWN: Duration = Duration::from_secs(60 * 60);

/// The settings of a new challenge. `target` is the normal form of the address that it proves.
#[derive(Clone)]
pub(crate) struct Start<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) account_id: Option<AccountId>,
    pub(crate) session_id: Option<SessionId>,
    pub(crate) target: Option<&'a str>,
    pub(crate) data: Option<&'a str>,
    /// What must be unchanged when it is used, such as the hash of the password.
    pub(crate) binding: Option<&'a [&'a [u8]]>,
    pub(crate) answer: Answer<'a>,
    pub(crate) lifetime: Duration,
    /// How soon there may be a new challenge after the last one of its subject.
    pub(crate) cool_down: Duration,
}

impl Start<'_> {
    /// Returns the latest time at which the last one of its subject may have started. `None`
    /// without a cool-down.
    fn not_since(&self, now: Timestamp) -> Option<Timestamp> {
        (!self.cool_down.is_zero()).then(|| now.minus(self.cool_down))
    }

    /// True if it proves an address, and no account has this address or has to prove it. Nobody can
    /// use its row, which only keeps the work the same. So the row does not contain the address.
    fn is_for_nobody(&self) -> bool {
        *self.kind == Kind::Verification && self.account_id.is_none()
    }

    fn is_shown(&self) -> bool {
        matches!(self.answer, Answer::Given(_))
    }

    /// Returns the digest of the subject under each secret.
    fn subjects(&self, context: &Context, id: ChallengeId) -> Vec<Vec<u8>> {
        let purpose = self.kind.name();
        // A sign-in by mail belongs to its browser. With one subject per account, a stranger could
        // replace the owner's mail by asking for another one.
        let account = self.account_id.filter(|_| *self.kind != Kind::MailLogin);
        // A consent belongs to its sign-in too. Otherwise a limited session could replace that of the owner.
        let of_session = match (self.kind, self.session_id, self.target) {
            (Kind::ActionProof, Some(session), Some(target)) => Some(format!("{session} {target}")),
            _ => None,
        };
        let target = of_session.as_deref().or(self.target);
        let parts = Subject { purpose: &purpose, account, target, alone: self.is_shown() };
        // Without an account and a target, the subject is the session, or else the challenge
        // itself.
        let alone = self.session_id.map_or(id.as_uuid(), SessionId::as_uuid);
        parts.digests(context, alone.as_bytes())
    }
}

/// What answers a challenge besides its token.
#[derive(Clone, Copy)]
pub(crate) enum Answer<'a> {
    /// Nothing. It is a link only.
    TokenOnly,
    /// A code with the configured length and alphabet.
    Code,
    /// The same, but [derived from the token](super::Challenge::code_of), so that it can be shown
    /// again.
    CodeOfToken,
    /// An answer that the caller set, for example for a picture.
    Given(&'a str),
}

/// A challenge that was started, with what must be sent.
pub(crate) struct Started {
    pub(crate) id: ChallengeId,
    pub(crate) token: Zeroizing<String>,
    pub(crate) code: Option<Zeroizing<String>>,
    pub(crate) expires_at: Timestamp,
}

/// Starts a challenge. It replaces the open ones of the same purpose, account and target. Returns
/// `None` while the last one is younger than the cool-down. That one then stays valid.
pub(crate) async fn start<C: ConnectionTrait>(
    txn: &C,
    context: &Context,
    start: &Start<'_>,
) -> Result<Option<Started>, DbErr> {
    let now = context.now();
    let id = ChallengeId::new(now);
    let subjects = start.subjects(context, id);
    if !store::begin(txn, &subjects[0], start.not_since(now), now).await? {
        return Ok(None);
    }
    insert(txn, context, start, id, subjects).await.map(Some)
}

/// The same work whether or not a challenge is wanted and allowed. Otherwise the time of an answer
/// would tell whether an address has an account. If it is not started, the only result is a row
/// that nobody can use, and the open challenge stays valid.
pub(crate) async fn start_if<C: ConnectionTrait>(
    txn: &C,
    context: &Context,
    wanted: bool,
    start: &Start<'_>,
) -> Result<Option<Started>, DbErr> {
    let now = context.now();
    let id = ChallengeId::new(now);
    let subjects = start.subjects(context, id);
    // No challenge can have started before the year 1970, so the condition is never met.
    let never = Timestamp::from_millis(-1);
    let not_since = if wanted { start.not_since(now) } else { Some(never) };
    if store::begin(txn, &subjects[0], not_since, now).await? {
        return insert(txn, context, start, id, subjects).await.map(Some);
    }
    let nobody = Start { account_id: None, session_id: None, target: None, ..start.clone() };
    let subjects = nobody.subjects(context, id);
    insert(txn, context, &nobody, id, subjects).await?;
    Ok(None)
}

/// Inserts a challenge. It replaces the open ones of these subjects.
async fn insert<C: ConnectionTrait>(
    txn: &C,
    context: &Context,
    start: &Start<'_>,
    id: ChallengeId,
    subjects: Vec<Vec<u8>>,
) -> Result<Started, DbErr> {
    let now = context.now();
    let purpose = start.kind.name();
    match (start.kind, start.session_id) {
        // Another page of the same browser may show the question again, before the answer is used.
        (Kind::Application(_), Some(session)) if start.is_shown() => {
            store::remove_unanswered(txn, subjects.clone(), session, now).await?;
        }
        (Kind::Application(_), _) => store::remove(txn, subjects.clone()).await?,
        // The holder of an older link may learn why it is no longer valid.
        _ => store::supersede(txn, subjects.clone(), now).await?,
    }
    let token = Zeroizing::new(BASE64URL_NOPAD.encode(&*Zeroizing::new(random_array::<32>())));
    let code = match start.answer {
        Answer::TokenOnly => None,
        Answer::Code => Some(new_code(&context.config.challenge)),
        Answer::CodeOfToken => {
            let keys = keys_of_codes(context);
            Some(code_of_token(&context.config.challenge, &keys[0], &token))
        }
        Answer::Given(answer) => Some(Zeroizing::new(answer.to_owned())),
    };
    let expires_at = now.plus(start.lifetime);
    let row = Model {
        id,
        subject: subjects.into_iter().next().expect("there is a secret"),
        account_id: start.account_id,
        session_id: start.session_id,
        target: start.target.filter(|_| !start.is_for_nobody()).map(str::to_owned),
        data: start.data.or(start.is_shown().then_some(SHOWN)).map(str::to_owned),
        token_digest: token_digests(context, &purpose, &token).swap_remove(0),
        code_digest: code
            .as_ref()
            .map(|code| code_digests(context, &purpose, id, code).swap_remove(0)),
        binding: start.binding.map(|parts| bindings(context, parts).swap_remove(0)),
        purpose: purpose.into_owned(),
        created_at: now,
        expires_at,
        answered_at: None,
        used_at: None,
        used_from: None,
        superseded_at: None,
    };
    store::insert(txn, row).await?;
    // The application set the answer and knows it, so it is not returned.
    let code = code.filter(|_| !start.is_shown());
    Ok(Started { id, token, code, expires_at })
}
