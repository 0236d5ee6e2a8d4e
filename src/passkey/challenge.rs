//! Challenges: each is for one purpose, for one session or browser, and ends with its first answer.

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use super::entity::challenge;
use super::error::PasskeyError;
use super::store;
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, SessionId};
use crate::base::secret::random_array;
use crate::context::Context;
use crate::webauthn::CHALLENGE;

/// What the answer to a challenge is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChallengePurpose {
    /// The owner adds a passkey.
    Add,
    /// The browser makes a passkey by itself.
    AddByBrowser,
    SignIn,
    /// A second step, or a step-up.
    SecondFactor,
}

impl ChallengePurpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::AddByBrowser => "add_by_browser",
            Self::SignIn => "sign_in",
            Self::SecondFactor => "second_factor",
        }
    }
}

/// Who may answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holder {
    Session(AccountId, SessionId),
    /// The digest of what a browser was given.
    Browser([u8; 32]),
}

/// A new challenge, for the options of a browser.
pub(super) struct NewChallenge {
    pub(super) text: String,
    pub(super) expires_at: Timestamp,
}

pub(super) async fn begin(
    context: &Context,
    purpose: ChallengePurpose,
    holder: &Holder,
) -> Result<NewChallenge, PasskeyError> {
    let challenge: [u8; CHALLENGE] = random_array();
    let now = context.now();
    let expires_at = now.plus(context.config.passkey.challenge_lifetime);
    let (account_id, session_id, browser) = match holder {
        Holder::Session(account, session) => (Some(*account), Some(*session), None),
        Holder::Browser(digest) => (None, None, Some(digest.to_vec())),
    };
    let row = challenge::Model {
        digest: Sha256::digest(challenge).to_vec(),
        purpose: purpose.as_str().to_owned(),
        account_id,
        session_id,
        browser,
        created_at: now,
        expires_at,
    };
    let db = context.db();
    let executor = db.executor();
    db.retry(|| store::insert_challenge(&executor, row.clone())).await?;
    Ok(NewChallenge { text: BASE64URL_NOPAD.encode(&challenge), expires_at })
}

/// Uses up the challenge that was answered. This is final, whatever the answer is. Returns for which of these
/// purposes it was, if one of these holders may answer it.
pub(super) async fn take(
    context: &Context,
    challenge: Option<[u8; CHALLENGE]>,
    purposes: &[ChallengePurpose],
    holders: &[Holder],
) -> Result<ChallengePurpose, PasskeyError> {
    let challenge = challenge.ok_or(PasskeyError::ChallengeEnded)?;
    let digest: [u8; 32] = Sha256::digest(challenge).into();
    let db = context.db();
    let executor = db.executor();
    let row = db.read(store::find_challenge(&executor, &digest)).await?;
    let row = row.ok_or(PasskeyError::ChallengeEnded)?;
    // Of several answers at once, one goes on.
    if !db.retry(|| store::take_challenge(&executor, &row.digest)).await? {
        return Err(PasskeyError::ChallengeEnded);
    }
    let holder = match (row.account_id, row.session_id, &row.browser) {
        (Some(account), Some(session), None) => Some(Holder::Session(account, session)),
        (None, None, Some(digest)) => {
            <[u8; 32]>::try_from(digest.as_slice()).ok().map(Holder::Browser)
        }
        _ => None,
    };
    let in_time = context.now() < row.expires_at;
    let purpose = purposes.iter().copied().find(|purpose| purpose.as_str() == row.purpose);
    let may = holder.is_some_and(|holder| holders.contains(&holder));
    purpose.filter(|_| in_time && may).ok_or(PasskeyError::ChallengeEnded)
}
