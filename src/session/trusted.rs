//! The tokens of [trusted devices](crate::trusted_device): how a client shows and stores them.
//!
//! A token is a kind of its own, in a cookie of its own. It is no session, no known device and no code:
//! its form, its keys and its table belong to no other kind. It contains random bytes, when it ends, and a
//! mark of its account. The mark is a keyed digest, so the token does not tell who they are, and a token
//! that portcullis did not make costs no statement.
//!
//! The cookie holds tokens of up to five accounts, the one that was used last first. A sixth replaces the
//! one at the end. Each account has one token in a browser.
//!
//! If two accounts sign in at the same time in one browser, the later answer wins, and the other account is
//! asked for its second factor again.

use data_encoding::BASE64URL_NOPAD;
use http::{HeaderMap, HeaderName};
use sea_orm::DbErr;

use super::cookie::{CookieAction, Found, SessionCookie};
use crate::account::enrolled::store as enrolled_store;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::id::AccountId;
use crate::base::secret::{DigestKey, Purpose, random_array};
use crate::base::transaction::Txn;
use crate::context::{Context, PerInstance};

/// The header in which a client that stores its tokens itself sends its `trusted_device_token`.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("portcullis-trusted-device");

/// The maximum number of accounts of one cookie.
const MOST: usize = 5;

/// What is said before the values of each kind of digest, so that none is taken for another kind.
const MARK: &[u8] = b"mark";
const TOKEN: &[u8] = b"token";

/// The token of one account.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    random: [u8; 32],
    /// When the trust ends, in Unix seconds. The row decides; this is only for the age of the cookie.
    expires_at: i64,
    mark: [u8; 8],
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    const BYTES: usize = 48;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..32].copy_from_slice(&self.random);
        bytes[32..40].copy_from_slice(&self.expires_at.to_be_bytes());
        bytes[40..].copy_from_slice(&self.mark);
        bytes
    }

    fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let part = |from: usize| bytes[from..from + 8].try_into().expect("eight of 48 bytes");
        Self {
            random: bytes[..32].try_into().expect("32 of 48 bytes"),
            expires_at: i64::from_be_bytes(part(32)),
            mark: part(40),
        }
    }
}

/// Reads the tokens of a text. `None` if it is not as `write` makes it.
fn read(text: &str) -> Option<Vec<Token>> {
    // A text that is longer than five tokens is not decoded.
    if text.len() > BASE64URL_NOPAD.encode_len(MOST * Token::BYTES) {
        return None;
    }
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    let (tokens, rest) = bytes.as_chunks();
    rest.is_empty().then(|| tokens.iter().map(Token::from_bytes).collect())
}

fn write(tokens: &[Token]) -> String {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_bytes()).collect();
    BASE64URL_NOPAD.encode(&bytes)
}

/// The cookie of trusted devices, and the keys of the digests.
pub(crate) struct TrustedTokens {
    cookie: SessionCookie,
    /// The newest secret comes first.
    keys: Vec<DigestKey>,
    /// True if clients may store their tokens themselves.
    bearer: bool,
}

impl PerInstance for TrustedTokens {
    fn open(context: &Context) -> Self {
        let secrets = context.config.keys.secrets.iter();
        Self {
            cookie: SessionCookie::of_trusted_devices(&context.config),
            keys: secrets.map(|secret| DigestKey::new(secret, Purpose::TrustedDevice)).collect(),
            bearer: context.config.service.bearer,
        }
    }
}

impl TrustedTokens {
    /// Returns the tokens of a request, from its header or else from its cookie. `None` if there is not
    /// exactly one text, or if it is too long.
    pub(crate) fn shown(&self, headers: &HeaderMap) -> Option<String> {
        let text = |bytes: &[u8]| {
            let longest = BASE64URL_NOPAD.encode_len(MOST * Token::BYTES);
            let bytes = (bytes.len() <= longest).then_some(bytes)?;
            std::str::from_utf8(bytes).ok().map(str::to_owned)
        };
        if self.bearer && headers.contains_key(HEADER) {
            let mut values = headers.get_all(HEADER).iter();
            let (Some(value), None) = (values.next(), values.next()) else { return None };
            return text(value.as_bytes());
        }
        let Found::One(pair) = self.cookie.find(headers) else { return None };
        text(pair.value())
    }

    /// Returns the token of this account, if the client has one that has not expired. Runs no statement.
    pub(crate) fn find(
        &self,
        client: &ClientInfo,
        account: AccountId,
        now: Timestamp,
    ) -> Option<Token> {
        let tokens = tokens(client, now);
        tokens.into_iter().find(|token| self.belongs(token, account))
    }

    /// Returns the digests of a token, one for each secret, the newest first. They contain the account, so
    /// a row that is moved to another account is worth nothing.
    pub(crate) fn digests(&self, token: Token, account: AccountId) -> Vec<Vec<u8>> {
        let account = account.as_uuid();
        let parts: [&[u8]; 3] = [TOKEN, account.as_bytes(), &token.to_bytes()];
        self.keys.iter().map(|key| key.digest_parts(&parts).to_vec()).collect()
    }

    /// Makes a new token for this account.
    pub(crate) fn new_token(&self, account: AccountId, expires_at: Timestamp) -> Token {
        let random = random_array();
        // Always under the newest secret, because the older ones will be removed.
        let mark = mark(&self.keys[0], account, &random);
        Token { random, expires_at: expires_at.as_secs(), mark }
    }

    /// Returns what gives the client this token, together with those of other accounts that it has shown.
    pub(crate) fn give(
        &self,
        client: &ClientInfo,
        account: AccountId,
        token: Token,
        now: Timestamp,
    ) -> TrustedToken {
        let mut tokens = tokens(client, now);
        tokens.retain(|other| !self.belongs(other, account));
        tokens.insert(0, token);
        tokens.truncate(MOST);
        let last = tokens.iter().map(|token| token.expires_at).max().unwrap_or_default();
        let end = Timestamp::from_millis(last.saturating_mul(1000));
        let token = write(&tokens);
        let action = self.cookie.set(&token, Some(end.since(now)));
        TrustedToken { cookie: self.cookie.clone(), token, action }
    }

    fn belongs(&self, token: &Token, account: AccountId) -> bool {
        // What a match is worth is decided by the row, so this need not take the same time.
        self.keys.iter().any(|key| mark(key, account, &token.random) == token.mark)
    }
}

/// The tokens that the client has shown and that have not expired. A client can change when its token
/// ends. Then its digest is another one.
fn tokens(client: &ClientInfo, now: Timestamp) -> Vec<Token> {
    let mut tokens = client.trusted_device().and_then(read).unwrap_or_default();
    // Browsers keep a cookie for 400 days at most.
    let latest = now.as_secs().saturating_add(400 * 24 * 60 * 60);
    tokens.retain(|token| (now.as_secs()..latest).contains(&token.expires_at));
    tokens
}

fn mark(key: &DigestKey, account: AccountId, random: &[u8; 32]) -> [u8; 8] {
    let account = account.as_uuid();
    let digest = key.digest_parts(&[MARK, account.as_bytes(), random]);
    digest[..8].try_into().expect("eight of 32 bytes")
}

/// A token for the answer.
pub(crate) struct TrustedToken {
    cookie: SessionCookie,
    token: String,
    action: CookieAction,
}

impl TrustedToken {
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Adds the cookie to the headers of an answer.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        self.cookie.apply(headers, self.action.clone());
    }
}

/// Returns the account of a session whose cookies may have been copied, if it can have trusted devices. Its
/// row must then be locked before the session is changed. While the feature is off, nothing counts, and this
/// costs nothing.
pub(crate) fn of_copied(context: &Context, account: Option<AccountId>) -> Option<AccountId> {
    account.filter(|_| context.config.trusted_device.enabled)
}

/// Ends the trusted devices of the account of `event`, after something happened to one of its sessions that
/// means that its cookies may have been copied. Records it with `cause`, if there were any. The transaction
/// has locked the row of the account.
pub(crate) async fn end_copied(
    txn: &Txn<'_>,
    account: AccountId,
    event: &Event,
    cause: &'static str,
) -> Result<(), DbErr> {
    if enrolled_store::end_trusted_devices(txn, account, event.at).await? {
        let kind = EventKind::TrustedDeviceRemoved;
        let event = Event { kind, account_id: Some(account), ..event.clone() };
        audit_log::record(txn, &event.detail(cause)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

    use super::{BASE64URL_NOPAD, MOST, Token, read, write};

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read_again(
            parts in proptest::collection::vec((any::<[u8; 32]>(), any::<i64>(), any::<[u8; 8]>()), 0..=MOST),
        ) {
            let tokens: Vec<_> =
                parts.into_iter().map(|(random, expires_at, mark)| Token { random, expires_at, mark }).collect();
            prop_assert_eq!(read(&write(&tokens)), Some(tokens));
        }

        #[test]
        fn whatever_is_read_is_written_the_same_and_is_never_more_than_five(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            text in "[A-Za-z0-9_=+/-]{0,400}",
        ) {
            for text in [BASE64URL_NOPAD.encode(&bytes), text] {
                let Some(tokens) = read(&text) else { continue };
                prop_assert!(tokens.len() <= MOST);
                prop_assert_eq!(write(&tokens), text);
            }
        }
    }

    #[test]
    fn a_sixth_token_and_half_a_token_are_not_read() {
        let token = Token { random: [7; 32], expires_at: 5, mark: [9; 8] };
        let full = write(&[token; MOST]);
        assert_eq!(read(&full), Some(vec![token; MOST]));
        assert_eq!(read(&write(&[token; MOST + 1])), None);
        assert_eq!(read(&BASE64URL_NOPAD.encode(&[7; Token::BYTES + 1])), None);
        assert_eq!(read(&format!("{full}=")), None);
        assert_eq!(read(""), Some(Vec::new()));
    }
}
