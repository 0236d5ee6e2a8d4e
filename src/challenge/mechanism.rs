//! The mechanism that every flow with a code or a link shares.
//!
//! A challenge has a token of 256 random bits, for a link, and maybe a short code, for a person
//! who types. Of both the row keeps keyed digests only. A token is found by its digest; a code is
//! compared in constant time with the one challenge it can belong to, after one of the subject's
//! few tries was taken. Those are counted where all tries are: see [`attempt`](crate::attempt).

use std::borrow::Cow;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use sea_orm::{ConnectionTrait, DbErr};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::entity::challenge::Model;
use super::{Proof, store};
use crate::account::Account;
use crate::attempt::{Admission, Subject as TrySubject, Ticket};
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, ChallengeId, SessionId};
use crate::base::secret::{DigestKey, Purpose as KeyPurpose, random_array, random_bytes};
use crate::base::transaction::Fault;
use crate::config::{AttemptKind, ChallengeConfig};
use crate::context::Context;
use crate::handle::Portcullis;
use crate::outstanding::{self, EMAIL_UNDO, Ending, LOGIN_NAME_UNDO, PHONE_UNDO, VERIFICATION};
use crate::session::device::Devices;

/// How long a browser is told that it has used a link or code itself: a second click would be told that
/// the link is bad, and the person would think that nothing came of it.
pub(crate) const USED_JUST_NOW: Duration = Duration::from_secs(60);

/// What a challenge is for. Each is a world of its own: nothing made for one is worth anything
/// for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Proving the address of an account.
    Verification,
    /// Setting a forgotten password anew.
    PasswordReset,
    /// Proving a new mail address.
    EmailChange,
    /// Undoing a change of the mail address, from the old one.
    EmailUndo,
    /// Proving a new phone number.
    PhoneChange,
    /// Undoing a change of the phone number, from the old one.
    PhoneUndo,
    /// Proving a further address.
    LoginName,
    /// Undoing the addition of a further name.
    LoginNameUndo,
    /// A purpose of the application's own.
    Application(ApplicationPurpose),
}

impl Kind {
    /// The name in the row. The application's names have a prefix, so they never meet ours.
    pub(crate) fn name(&self) -> Cow<'static, str> {
        match self {
            Self::Verification => VERIFICATION.into(),
            Self::PasswordReset => "password_reset".into(),
            Self::EmailChange => "email_change".into(),
            Self::EmailUndo => EMAIL_UNDO.into(),
            Self::PhoneChange => "phone_change".into(),
            Self::PhoneUndo => PHONE_UNDO.into(),
            Self::LoginName => "login_name".into(),
            Self::LoginNameUndo => LOGIN_NAME_UNDO.into(),
            Self::Application(purpose) => format!("app:{}", purpose.0).into(),
        }
    }
}

/// The name of a purpose of the application's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApplicationPurpose(String);

impl ApplicationPurpose {
    /// 1 to 48 lower-case ASCII letters, digits, dashes or underscores.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        };
        let good = (1..=48).contains(&text.len()) && text.bytes().all(allowed);
        good.then(|| Self(text.to_owned()))
    }
}

/// A new challenge. `target` is the normal form of the address it proves.
#[derive(Clone)]
pub(crate) struct Start<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) account_id: Option<AccountId>,
    pub(crate) session_id: Option<SessionId>,
    pub(crate) target: Option<&'a str>,
    pub(crate) data: Option<&'a str>,
    /// What must be the same when it is used, such as the hash of the password.
    pub(crate) binding: Option<&'a [&'a [u8]]>,
    pub(crate) answer: Answer<'a>,
    pub(crate) lifetime: Duration,
    /// How soon after the last one of its subject there may be a new one.
    pub(crate) cool_down: Duration,
}

impl Start<'_> {
    /// When the last one of its subject must have been started at the latest, if that matters.
    fn not_since(&self, now: Timestamp) -> Option<Timestamp> {
        (!self.cool_down.is_zero()).then(|| now.minus(self.cool_down))
    }

    /// What it is about, under each secret.
    fn subjects(&self, context: &Context, id: ChallengeId) -> Vec<Vec<u8>> {
        let purpose = self.kind.name();
        let parts = Subject { purpose: &purpose, account: self.account_id, target: self.target };
        // A challenge about nobody and nothing is about the session, or only about itself.
        let alone = self.session_id.map_or(id.as_uuid(), SessionId::as_uuid);
        parts.digests(context, alone.as_bytes())
    }
}

/// What answers a challenge besides its token.
#[derive(Clone, Copy)]
pub(crate) enum Answer<'a> {
    /// Nothing: it is a link.
    TokenOnly,
    /// A code as configured.
    Code,
    /// What the caller says, for a picture that they draw.
    Given(&'a str),
}

/// A challenge that was started, with what is to be sent.
pub(crate) struct Started {
    pub(crate) id: ChallengeId,
    pub(crate) token: Zeroizing<String>,
    pub(crate) code: Option<Zeroizing<String>>,
    pub(crate) expires_at: Timestamp,
}

/// Starts a challenge in the place of those of the same purpose, account and target that are
/// open. None while the last one is younger than the cool-down: that one stays good then.
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

/// The same at the same cost whether or not it is wanted and not too soon: otherwise a row that
/// nobody can use is all that comes of it, and what is open stays good.
pub(crate) async fn start_if<C: ConnectionTrait>(
    txn: &C,
    context: &Context,
    wanted: bool,
    start: &Start<'_>,
) -> Result<Option<Started>, DbErr> {
    let now = context.now();
    let id = ChallengeId::new(now);
    let subjects = start.subjects(context, id);
    // Nothing was started before there was time.
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

/// Puts a challenge in the place of those of these subjects that are open.
async fn insert<C: ConnectionTrait>(
    txn: &C,
    context: &Context,
    start: &Start<'_>,
    id: ChallengeId,
    subjects: Vec<Vec<u8>>,
) -> Result<Started, DbErr> {
    let now = context.now();
    let purpose = start.kind.name();
    store::supersede(txn, subjects.clone(), now).await?;
    let token = Zeroizing::new(BASE64URL_NOPAD.encode(&*Zeroizing::new(random_array::<32>())));
    let code = match start.answer {
        Answer::TokenOnly => None,
        Answer::Code => Some(new_code(&context.config.challenge)),
        Answer::Given(answer) => Some(Zeroizing::new(answer.to_owned())),
    };
    let expires_at = now.plus(start.lifetime);
    let row = Model {
        id,
        subject: subjects.into_iter().next().expect("there is a secret"),
        account_id: start.account_id,
        session_id: start.session_id,
        target: start.target.map(str::to_owned),
        data: start.data.map(str::to_owned),
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
    // Whoever gave the answer knows it; it is not handed on.
    let code = code.filter(|_| matches!(start.answer, Answer::Code));
    Ok(Started { id, token, code, expires_at })
}

/// A challenge as its row tells it.
#[derive(Debug, Clone)]
pub(crate) struct Challenge {
    row: Model,
}

impl Challenge {
    pub(crate) fn id(&self) -> ChallengeId {
        self.row.id
    }

    pub(crate) fn account_id(&self) -> Option<AccountId> {
        self.row.account_id
    }

    pub(crate) fn session_id(&self) -> Option<SessionId> {
        self.row.session_id
    }

    pub(crate) fn target(&self) -> Option<&str> {
        self.row.target.as_deref()
    }

    pub(crate) fn data(&self) -> Option<&str> {
        self.row.data.as_deref()
    }

    /// Whether it could still be used at `now`. Only [`spend`] decides.
    pub(crate) fn is_open(&self, now: Timestamp) -> bool {
        self.row.used_at.is_none() && self.row.superseded_at.is_none() && self.row.expires_at > now
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.row.answered_at.is_some()
    }

    /// Whether what it was bound to is still the same.
    pub(crate) fn is_bound_to(&self, context: &Context, parts: &[&[u8]]) -> bool {
        self.row
            .binding
            .as_ref()
            .is_some_and(|binding| any_equal(&bindings(context, parts), binding))
    }

    /// Whether this is its code. A try must have been taken before.
    pub(crate) fn is_code(&self, context: &Context, code: &str) -> bool {
        let Some(digest) = &self.row.code_digest else { return false };
        let typed = tidy_code(&context.config.challenge, code);
        let same = |code: &str| {
            any_equal(&code_digests(context, &self.row.purpose, self.row.id, code), digest)
        };
        // Both are computed, so that what is typed does not show in the time it takes.
        same(&typed) | same(code)
    }

    /// Takes one of the tries there are, before its answer is looked at. They are counted by the
    /// purpose and the account (`epoch` is its), whichever code or address it is about; where there is
    /// no account by what it is about instead. The caller has a session that the challenge belongs to,
    /// and is told how that account stands.
    pub(crate) async fn take_try(
        &self,
        auth: &Portcullis,
        epoch: Option<i64>,
        client: &ClientInfo,
    ) -> Result<Try, Fault> {
        let row = &self.row;
        let attempts = auth.attempts();
        let subject = match (row.account_id, &row.target) {
            (Some(id), _) => subject_of(auth, id, epoch, client).inside(),
            (None, Some(target)) => attempts.subject_of_target(target),
            (None, None) => {
                let alone = row.session_id.map_or(row.id.as_uuid(), SessionId::as_uuid);
                attempts.subject_of_unnamed(alone)
            }
        };
        take_try(auth, subject, &row.purpose, client).await
    }

    /// Notes that the code was right, and for how long that is good. False when somebody else was
    /// faster, or it is too late.
    pub(crate) async fn answer<C: ConnectionTrait>(
        &self,
        txn: &C,
        context: &Context,
    ) -> Result<bool, DbErr> {
        let now = context.now();
        let until = now.plus(context.config.challenge.answered_lifetime);
        store::answer(txn, self.row.id, until, now).await
    }

    /// Uses it up. Of any number of callers at once one gets true.
    pub(crate) async fn spend<C: ConnectionTrait>(
        &self,
        txn: &C,
        now: Timestamp,
    ) -> Result<bool, DbErr> {
        store::spend(txn, self.row.id, now).await
    }
}

impl Challenge {
    /// Uses it up as [`spend`](Self::spend) does, and remembers from where.
    pub(crate) async fn spend_from<C: ConnectionTrait>(
        &self,
        txn: &C,
        context: &Context,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<bool, DbErr> {
        let from = used_from(context, self.row.id, client).map(|mut from| from.swap_remove(0));
        store::spend_from(txn, self.row.id, from, now).await
    }

    /// Whether it was used [just now](USED_JUST_NOW), and by the browser that asks as far as can be told:
    /// from the same address and by the same program. Without an address nothing can be told.
    pub(crate) fn was_used_by(
        &self,
        context: &Context,
        client: &ClientInfo,
        now: Timestamp,
    ) -> bool {
        let (Some(used_at), Some(stored)) = (self.row.used_at, &self.row.used_from) else {
            return false;
        };
        // Of two nodes the one that asks may be behind.
        let recent = now.since(used_at) < USED_JUST_NOW;
        let from = used_from(context, self.row.id, client);
        recent && from.is_some_and(|from| any_equal(&from, stored))
    }
}

/// Where a challenge is used from, under each secret. With its id, so that the digests of one browser do
/// not look equal.
fn used_from(context: &Context, id: ChallengeId, client: &ClientInfo) -> Option<Vec<Vec<u8>>> {
    let address = client.address()?.to_string();
    // No cookie: the answer to the first use may set one, and a second click may come before it.
    let program = client.user_agent().unwrap_or_default();
    let id = id.as_uuid();
    let parts: [&[u8]; 3] = [id.as_bytes(), address.as_bytes(), program.as_bytes()];
    Some(digests(context, KeyPurpose::UsedFrom, &parts))
}

/// A try at a code.
#[expect(clippy::large_enum_variant, reason = "it is matched where it is returned")]
pub(crate) enum Try {
    /// It counts as wrong until its ticket says otherwise.
    Taken(Ticket),
    /// There is none for so long.
    TooMany(Duration),
}

/// Takes a try at the code that an address was sent, whether or not there is one: that must not show.
/// So what is told is counted by the address, and the account is protected silently: its try may be one
/// whose verdict [does not count](Ticket::is_judged).
pub(crate) async fn take_try_at(
    auth: &Portcullis,
    kind: &Kind,
    account: Option<(AccountId, i64)>,
    address: &str,
    client: &ClientInfo,
) -> Result<Try, Fault> {
    let devices = auth.room::<Devices>();
    let device = devices.look_up(&devices.read(auth.context(), client), account).known();
    let subject = match account {
        Some((id, _)) => auth.attempts().subject_of(id).typed(auth, address),
        None => auth.attempts().subject(None, address),
    };
    take_try(auth, subject.on_device(auth, device), &kind.name(), client).await
}

/// Tries of an account, from a device that it may be known to sign in from.
fn subject_of(
    auth: &Portcullis,
    id: AccountId,
    epoch: Option<i64>,
    client: &ClientInfo,
) -> TrySubject {
    let device = epoch.and_then(|epoch| {
        auth.room::<Devices>().recognize(auth.context(), client, id, epoch).known()
    });
    auth.attempts().subject_of(id).on_device(auth, device)
}

async fn take_try(
    auth: &Portcullis,
    subject: TrySubject,
    purpose: &str,
    client: &ClientInfo,
) -> Result<Try, Fault> {
    let subject = subject.for_purpose(auth, purpose);
    Ok(match auth.attempts().begin(AttemptKind::Challenge, &subject, client).await? {
        Admission::Admitted(ticket) => Try::Taken(ticket),
        Admission::TooMany { retry_after } => Try::TooMany(retry_after),
    })
}

/// The challenge of this token, in whatever state it is: looking does not spend it.
pub(crate) async fn find_by_token<C: ConnectionTrait>(
    db: &C,
    context: &Context,
    kind: &Kind,
    token: &str,
) -> Result<Option<Challenge>, DbErr> {
    // Nothing else can be one; what is huge is not digested.
    if token.len() != 43 {
        return Ok(None);
    }
    let purpose = kind.name();
    let digests = token_digests(context, &purpose, token);
    let row = store::find_by_token(db, &purpose, digests).await?;
    Ok(row.map(|row| Challenge { row }))
}

/// The challenge that a token or code is about, in whatever state it is. A code is that of the newest one.
pub(crate) async fn find_by_proof<C: ConnectionTrait>(
    db: &C,
    context: &Context,
    kind: &Kind,
    account: AccountId,
    proof: Proof<'_>,
) -> Result<Option<Challenge>, DbErr> {
    match proof {
        Proof::Token(token) => find_by_token(db, context, kind, token).await,
        Proof::Code(_) => newest(db, context, kind, Some(account), "").await,
    }
}

/// Whether this browser has used this proof of this account just now. Nobody learns anything by guessing
/// a code that was used, so no try is taken.
pub(crate) fn was_used_by(
    context: &Context,
    challenge: Option<&Challenge>,
    account: AccountId,
    proof: Proof<'_>,
    client: &ClientInfo,
) -> bool {
    let own = challenge.filter(|challenge| challenge.account_id() == Some(account));
    own.is_some_and(|challenge| {
        challenge.was_used_by(context, client, context.now())
            && match proof {
                Proof::Token(_) => true,
                Proof::Code(code) => challenge.is_code(context, code),
            }
    })
}

/// Uses up the challenge of this token. None when there is none that is open: unknown, expired,
/// superseded, used before, or made for another purpose.
#[expect(dead_code, reason = "the flows that send links alone stand on it")]
pub(crate) async fn spend_token<C: ConnectionTrait>(
    txn: &C,
    context: &Context,
    kind: &Kind,
    token: &str,
) -> Result<Option<Challenge>, DbErr> {
    let Some(challenge) = find_by_token(txn, context, kind, token).await? else { return Ok(None) };
    let spent = challenge.spend(txn, context.now()).await?;
    Ok(spent.then_some(challenge))
}

/// The challenge of this id, if it is of this kind.
pub(crate) async fn find<C: ConnectionTrait>(
    db: &C,
    kind: &Kind,
    id: ChallengeId,
) -> Result<Option<Challenge>, DbErr> {
    let row = store::find(db, id).await?.filter(|row| row.purpose == kind.name());
    Ok(row.map(|row| Challenge { row }))
}

/// The newest challenge of this kind about this account and target, in whatever state it is.
pub(crate) async fn newest<C: ConnectionTrait>(
    db: &C,
    context: &Context,
    kind: &Kind,
    account: Option<AccountId>,
    target: &str,
) -> Result<Option<Challenge>, DbErr> {
    let purpose = kind.name();
    let subject = Subject { purpose: &purpose, account, target: Some(target) };
    let row = store::newest(db, subject.digests(context, &[])).await?;
    Ok(row.map(|row| Challenge { row }))
}

/// Ends the open challenges of an account: those of one kind, or all but what undoes a change of
/// its address.
pub(crate) async fn end_of_account<C: ConnectionTrait>(
    txn: &C,
    account: AccountId,
    kind: Option<&Kind>,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let purpose = kind.map(Kind::name);
    let ending = purpose.as_deref().map_or(Ending::All, Ending::Purpose);
    outstanding::end(txn, account, ending, now).await
}

/// Ends them for something that a session of the account did: see [`Ending::BySession`].
pub(crate) async fn end_by_session<C: ConnectionTrait>(
    txn: &C,
    account: &Account,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let ending = Ending::BySession { verified: account.is_verified() };
    outstanding::end(txn, account.id(), ending, now).await
}

/// An answered challenge of this kind and session that was not used yet.
pub(crate) async fn answered<C: ConnectionTrait>(
    db: &C,
    kind: &Kind,
    session: SessionId,
    now: Timestamp,
) -> Result<Option<Challenge>, DbErr> {
    let row = store::answered(db, &kind.name(), session, now).await?;
    Ok(row.map(|row| Challenge { row }))
}

struct Subject<'a> {
    purpose: &'a str,
    account: Option<AccountId>,
    target: Option<&'a str>,
}

impl Subject<'_> {
    /// The digest under each secret, newest first. `alone` stands for a subject that has neither
    /// account nor target.
    fn digests(&self, context: &Context, alone: &[u8]) -> Vec<Vec<u8>> {
        let account = self.account.map(AccountId::as_uuid);
        let account = account.as_ref().map_or(&[][..], |id| id.as_bytes());
        let target = self.target.unwrap_or_default().as_bytes();
        let alone = if account.is_empty() && target.is_empty() { alone } else { &[] };
        digests(
            context,
            KeyPurpose::ChallengeSubject,
            &[self.purpose.as_bytes(), account, target, alone],
        )
    }
}

fn digests(context: &Context, purpose: KeyPurpose, parts: &[&[u8]]) -> Vec<Vec<u8>> {
    let secrets = context.config.keys.secrets.iter();
    secrets.map(|secret| DigestKey::new(secret, purpose).digest_parts(parts).to_vec()).collect()
}

fn token_digests(context: &Context, purpose: &str, token: &str) -> Vec<Vec<u8>> {
    digests(context, KeyPurpose::ChallengeToken, &[purpose.as_bytes(), token.as_bytes()])
}

/// With the challenge's id, so that a code is good for one challenge and equal codes do not look
/// equal.
fn code_digests(context: &Context, purpose: &str, id: ChallengeId, code: &str) -> Vec<Vec<u8>> {
    let id = id.as_uuid();
    digests(
        context,
        KeyPurpose::ChallengeCode,
        &[purpose.as_bytes(), id.as_bytes(), code.as_bytes()],
    )
}

fn bindings(context: &Context, parts: &[&[u8]]) -> Vec<Vec<u8>> {
    digests(context, KeyPurpose::ChallengeBinding, parts)
}

/// Whether one of them is the stored one; the time it takes does not tell which, or how nearly.
fn any_equal(computed: &[Vec<u8>], stored: &[u8]) -> bool {
    computed.iter().fold(false, |equal, digest| equal | bool::from(digest.ct_eq(stored)))
}

/// A code of the configured length, each character as likely as any other.
fn new_code(config: &ChallengeConfig) -> Zeroizing<String> {
    let alphabet = config.code_alphabet.as_bytes();
    let mut code = Zeroizing::new(String::with_capacity(config.code_length));
    let mut random = Zeroizing::new([0; 32]);
    while code.len() < config.code_length {
        random_bytes(random.as_mut());
        for byte in random.iter() {
            if code.len() < config.code_length
                && let Some(at) = below(alphabet.len(), *byte)
            {
                code.push(char::from(alphabet[at]));
            }
        }
    }
    code
}

/// A number below `count` from a random byte; none for the bytes at the end that would make some
/// numbers likelier than others.
fn below(count: usize, byte: u8) -> Option<usize> {
    let byte = usize::from(byte);
    (byte < 256 - 256 % count).then_some(byte % count)
}

/// What someone typed, as it would be printed: without the spaces and dashes that people group
/// characters with, and in the alphabet's case if it has only one.
fn tidy_code(config: &ChallengeConfig, typed: &str) -> Zeroizing<String> {
    let lower = config.code_alphabet.bytes().any(|byte| byte.is_ascii_lowercase());
    let upper = config.code_alphabet.bytes().any(|byte| byte.is_ascii_uppercase());
    let tidy = typed.chars().filter(|c| !c.is_ascii_whitespace() && *c != '-').map(|c| {
        match (lower, upper) {
            (true, false) => c.to_ascii_lowercase(),
            (false, true) => c.to_ascii_uppercase(),
            _ => c,
        }
    });
    Zeroizing::new(tidy.take(128).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_character_of_a_code_is_as_likely_as_any_other() {
        for count in 2..=62 {
            let mut seen = vec![0; count];
            for byte in 0..=u8::MAX {
                if let Some(at) = below(count, byte) {
                    seen[at] += 1;
                }
            }
            assert!(seen[0] > 0 && seen.iter().all(|times| *times == seen[0]), "{count}: {seen:?}");
        }
    }

    #[test]
    fn a_code_has_the_configured_length_and_alphabet() {
        for (length, alphabet) in [(8, "0123456789"), (6, "0123456789"), (40, "ab"), (12, "BCDF")] {
            let config = ChallengeConfig {
                code_length: length,
                code_alphabet: alphabet.to_owned(),
                ..ChallengeConfig::default()
            };
            let code = new_code(&config);
            assert_eq!(code.len(), length);
            assert!(code.chars().all(|c| alphabet.contains(c)), "a character is not of {alphabet}");
            assert_ne!(*new_code(&config), *code);
        }
    }

    #[test]
    fn what_people_add_when_they_type_a_code_is_taken_away() {
        let config = |alphabet: &str| ChallengeConfig {
            code_alphabet: alphabet.to_owned(),
            ..ChallengeConfig::default()
        };
        for (alphabet, typed, code) in [
            ("0123456789", " 1234 5678\n", "12345678"),
            ("0123456789", "1234-5678", "12345678"),
            ("BCDFGH", "bcd-fgh", "BCDFGH"),
            ("bcdfgh", "BCDfgh", "bcdfgh"),
            ("abcDEF", "aBcDeF", "aBcDeF"),
            ("0123456789", "１２３４", "１２３４"),
        ] {
            assert_eq!(*tidy_code(&config(alphabet), typed), code);
        }
    }

    #[test]
    fn a_purpose_of_the_applications_is_a_plain_word() {
        for good in ["transfer", "a", "delete-account", "step_2", &"x".repeat(48)] {
            assert!(ApplicationPurpose::parse(good).is_some(), "{good}");
        }
        for bad in ["", "Transfer", "app:transfer", "a b", "é", "a.b", &"x".repeat(49)] {
            assert!(ApplicationPurpose::parse(bad).is_none(), "{bad}");
        }
        let ours = Kind::Application(ApplicationPurpose::parse("verification").expect("a word"));
        assert_ne!(ours.name(), Kind::Verification.name());
    }
}
