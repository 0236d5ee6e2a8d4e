//! Signed tokens, which a client carries and which point to a session.
//!
//! 1. A token is a compact JWS (RFC 7515, RFC 7519), checked by the rules of RFC 8725.
//! 2. Its header must be byte for byte a header that a configured key writes for a known purpose.
//!    So the algorithm is fixed per key, `kid` only selects a key, and `typ` separates purposes.
//!    `none`, `jku`, `jwk`, `crit`, `b64` and unknown members never reach a parser.
//! 3. Then the signature is checked, and then the claims.

use std::borrow::Cow;
use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};
use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, ChallengeId, LineageId, SessionId};
use crate::base::jwk_thumbprint::JwkThumbprint;
use crate::base::secret::{Purpose, Secret};

/// The purpose of a token, which is the `typ` of its header. A token of one type is never accepted
/// as another type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenType {
    /// A complete session.
    Session,
    /// A sign-in that still needs its second factor.
    SecondFactor,
    /// A sign-in that must change its password first.
    PasswordChange,
    /// A sign-in that must enrol a second factor first.
    Enrolment,
    /// A visitor without an account.
    Anonymous,
    /// A device from which accounts have signed in before. It grants no access.
    Device,
    /// The token of a browser that asked for a sign-in by mail. It grants no access.
    MailLogin,
    /// The consent of a signed-in person to one action. It is no session.
    ActionProof,
}

impl TokenType {
    pub(crate) const ALL: [Self; 8] = [
        Self::Session,
        Self::SecondFactor,
        Self::PasswordChange,
        Self::Enrolment,
        Self::Anonymous,
        Self::Device,
        Self::MailLogin,
        Self::ActionProof,
    ];

    /// Returns the value of the `typ` header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "sess+jwt",
            Self::SecondFactor => "mfa+jwt",
            Self::PasswordChange => "pwc+jwt",
            Self::Enrolment => "enr+jwt",
            Self::Anonymous => "anon+jwt",
            Self::Device => "dev+jwt",
            Self::MailLogin => "mail+jwt",
            Self::ActionProof => "proof+jwt",
        }
    }
}

/// Larger tokens are refused before any cryptography. Tokens of portcullis have about 300 bytes.
pub(crate) const MAX_TOKEN_BYTES: usize = 4096;

/// How far the `nbf` of a token may be in the future, because the clocks of two nodes differ.
const FUTURE_LEEWAY_SECS: i64 = 30;

/// The content of a token. It says nothing about the person or their permissions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claims {
    /// 128 random bits. A keyed digest of them finds the row of the session.
    pub(crate) sid: [u8; 16],
    pub(crate) generation: i64,
    /// Unix seconds.
    pub(crate) issued_at: i64,
    /// Unix seconds.
    pub(crate) expires_at: i64,
    /// The key without which the token is worth nothing.
    pub(crate) bound_to: Option<JwkThumbprint>,
}

impl Claims {
    /// Returns true if the token was issued so far in the future that a clock must be wrong.
    pub(crate) fn is_from_the_future(&self, now: Timestamp) -> bool {
        self.issued_at > now.as_secs().saturating_add(FUTURE_LEEWAY_SECS)
    }
}

/// The content of a device token: the accounts that have signed in there, in a form that only
/// portcullis can read.
pub(crate) struct DeviceClaims {
    pub(crate) accounts: String,
    /// Unix seconds.
    pub(crate) expires_at: i64,
}

/// The content of the token of a browser that asked for a sign-in by mail, in a form that only
/// portcullis can read.
pub(crate) struct MailLoginClaims {
    pub(crate) asked: String,
    /// Unix seconds.
    pub(crate) expires_at: i64,
}

/// The content of the proof that a person consented to one action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActionClaims {
    iss: String,
    aud: String,
    /// The account.
    pub(crate) sub: AccountId,
    /// The session in which the person consented.
    pub(crate) sid: SessionId,
    /// The sign-in to which this session belongs. A step-up replaces the session, but not the sign-in.
    pub(crate) lin: LineageId,
    pub(crate) jti: ChallengeId,
    pub(crate) action: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resource: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) permissions: Vec<String>,
    /// The digest of the payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<String>,
    /// Unix seconds.
    pub(crate) iat: i64,
    /// Unix seconds.
    pub(crate) exp: i64,
}

/// What such a proof says, without what every proof of this service says.
#[derive(Debug, Clone)]
pub(crate) struct ActionStatement {
    pub(crate) account: AccountId,
    pub(crate) session: SessionId,
    pub(crate) lineage: LineageId,
    pub(crate) id: ChallengeId,
    pub(crate) action: String,
    pub(crate) resource: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) permissions: Vec<String>,
    pub(crate) payload: Option<String>,
    pub(crate) issued_at: i64,
    pub(crate) expires_at: i64,
}

/// Why an action proof is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAction {
    /// It is forged, damaged or something else.
    Invalid,
    /// One of our keys signed it, for another issuer or audience.
    OtherService,
}

/// The payload of a device token as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DevicePayload<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    aud: Cow<'a, str>,
    #[serde(borrow)]
    acc: Cow<'a, str>,
    exp: i64,
}

/// The payload of the token of an asking browser as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MailLoginPayload<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    aud: Cow<'a, str>,
    #[serde(borrow)]
    ask: Cow<'a, str>,
    exp: i64,
}

/// The payload of a session token as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    aud: Cow<'a, str>,
    #[serde(borrow)]
    sid: Cow<'a, str>,
    r#gen: i64,
    iat: i64,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    nbf: Option<i64>,
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    cnf: Option<BoundTo<'a>>,
}

/// The key to which a token is bound (RFC 7800, RFC 9449 section 6.1).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BoundTo<'a> {
    #[serde(borrow)]
    jkt: Cow<'a, str>,
}

/// Reads a member that must have a value if it exists. `null` is not the same as a missing member.
fn present<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// How tokens are signed. The newest key signs. Older keys verify until they are removed.
#[derive(Clone)]
pub struct SigningKey(SigningKeyKind);

#[derive(Clone)]
enum SigningKeyKind {
    Derived,
    Pem { algorithm: Algorithm, pem: zeroize::Zeroizing<Vec<u8>> },
}

impl SigningKey {
    /// HS256 with keys that are derived from the configured secrets. This is the default and the
    /// fastest.
    pub fn derived_hs256() -> Self {
        Self(SigningKeyKind::Derived)
    }

    /// EdDSA with an Ed25519 private key (PKCS #8 PEM).
    pub fn ed25519_pem(pem: impl Into<Vec<u8>>) -> Self {
        Self(SigningKeyKind::Pem { algorithm: Algorithm::EdDSA, pem: pem.into().into() })
    }

    /// ES256 with a P-256 private key (PKCS #8 PEM).
    pub fn es256_pem(pem: impl Into<Vec<u8>>) -> Self {
        Self(SigningKeyKind::Pem { algorithm: Algorithm::ES256, pem: pem.into().into() })
    }

    /// RS256 with an RSA private key of at least 2048 bits (PKCS #1 or #8 PEM).
    pub fn rs256_pem(pem: impl Into<Vec<u8>>) -> Self {
        Self(SigningKeyKind::Pem { algorithm: Algorithm::RS256, pem: pem.into().into() })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            SigningKeyKind::Derived => f.write_str("SigningKey(HS256, ..)"),
            SigningKeyKind::Pem { algorithm, .. } => write!(f, "SigningKey({algorithm:?}, ..)"),
        }
    }
}

/// The reason why the configured keys cannot sign tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignerError {
    #[error(
        "no JWT backend is compiled in; enable the feature `rust_crypto` (default) or `aws_lc_rs`"
    )]
    #[cfg_attr(
        any(feature = "rust_crypto", feature = "aws_lc_rs"),
        expect(dead_code, reason = "there is a backend")
    )]
    NoBackend,
    #[error("signing key {index} ({algorithm}) is not usable: {reason}")]
    Key { index: usize, algorithm: String, reason: String },
}

/// One key, with the exact encoded header that it writes for each purpose.
struct Key {
    algorithm: Algorithm,
    encoding: EncodingKey,
    decoding: DecodingKey,
    /// The key of action proofs, if the keys are derived from a secret. It has a label of its own: a proof
    /// orders a payment, so a key that signs sessions must not make one. Of a private key that is configured
    /// no other can be derived. There only `typ` separates the purposes.
    proofs: Option<(EncodingKey, DecodingKey)>,
    headers: Vec<(TokenType, String)>,
}

/// Signs and verifies tokens.
pub(crate) struct Jwt {
    /// Never empty. The first key signs.
    keys: Vec<Key>,
    issuer: String,
    audience: String,
}

impl Jwt {
    pub(crate) fn new(
        signing: &[SigningKey],
        secrets: &[Secret],
        issuer: &str,
        audience: &str,
    ) -> Result<Self, SignerError> {
        install_backend()?;
        let mut keys = Vec::new();
        for (index, key) in signing.iter().enumerate() {
            match &key.0 {
                SigningKeyKind::Derived => {
                    for secret in secrets {
                        let key = Key::derived(secret).map_err(|error| SignerError::Key {
                            index,
                            algorithm: format!("{:?}", Algorithm::HS256),
                            reason: error.to_string(),
                        })?;
                        keys.push(key);
                    }
                }
                SigningKeyKind::Pem { algorithm, pem } => {
                    let key = Key::from_pem(*algorithm, pem).map_err(|reason| {
                        SignerError::Key { index, algorithm: format!("{algorithm:?}"), reason }
                    })?;
                    keys.push(key);
                }
            }
        }
        Ok(Self { keys, issuer: issuer.to_owned(), audience: audience.to_owned() })
    }

    /// Returns a signed token.
    pub(crate) fn sign(&self, token_type: TokenType, claims: &Claims) -> String {
        let payload = Payload {
            iss: Cow::Borrowed(&self.issuer),
            aud: Cow::Borrowed(&self.audience),
            sid: Cow::Owned(BASE64URL_NOPAD.encode(&claims.sid)),
            r#gen: claims.generation,
            iat: claims.issued_at,
            exp: claims.expires_at,
            nbf: None,
            cnf: claims.bound_to.map(|key| BoundTo { jkt: Cow::Owned(key.to_string()) }),
        };
        self.seal(token_type, &payload)
    }

    /// Returns a signed device token.
    pub(crate) fn sign_device(&self, claims: &DeviceClaims) -> String {
        let payload = DevicePayload {
            iss: Cow::Borrowed(&self.issuer),
            aud: Cow::Borrowed(&self.audience),
            acc: Cow::Borrowed(&claims.accounts),
            exp: claims.expires_at,
        };
        self.seal(TokenType::Device, &payload)
    }

    /// Returns a signed token of a browser that asked for a sign-in by mail.
    pub(crate) fn sign_mail_login(&self, claims: &MailLoginClaims) -> String {
        let payload = MailLoginPayload {
            iss: Cow::Borrowed(&self.issuer),
            aud: Cow::Borrowed(&self.audience),
            ask: Cow::Borrowed(&claims.asked),
            exp: claims.expires_at,
        };
        self.seal(TokenType::MailLogin, &payload)
    }

    /// Returns the signed proof of a consent to an action.
    pub(crate) fn sign_action(&self, said: ActionStatement) -> String {
        let payload = ActionClaims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: said.account,
            sid: said.session,
            lin: said.lineage,
            jti: said.id,
            action: said.action,
            resource: said.resource,
            scope: said.scope,
            permissions: said.permissions,
            payload: said.payload,
            iat: said.issued_at,
            exp: said.expires_at,
        };
        self.seal(TokenType::ActionProof, &payload)
    }

    fn seal(&self, token_type: TokenType, payload: &impl Serialize) -> String {
        let key = &self.keys[0];
        let payload = serde_json::to_vec(payload).expect("strings and integers serialize");
        let mut token = key.header(token_type).to_owned();
        token.push('.');
        BASE64URL_NOPAD.encode_append(&payload, &mut token);
        let signature = crypto::sign(token.as_bytes(), key.encoding(token_type), key.algorithm)
            .expect("the key signed a probe when it was configured");
        token.push('.');
        token.push_str(&signature);
        token
    }

    /// Returns true if the token has a header that portcullis writes. It is then meant for
    /// portcullis, whether the signature is valid or not.
    pub(crate) fn is_ours(&self, token: &[u8]) -> bool {
        self.keys.iter().flat_map(|key| &key.headers).any(|(_, header)| {
            token.strip_prefix(header.as_bytes()).is_some_and(|rest| rest.starts_with(b"."))
        })
    }

    /// Returns true if this is a signed token of another service. Either its header is JSON and is
    /// not a header of portcullis, or one of our keys signed it for another issuer or audience.
    pub(crate) fn is_of_somebody_else(&self, token: &[u8]) -> bool {
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(_)) = (parts.next(), parts.next(), parts.next())
        else {
            return false;
        };
        if token.len() > MAX_TOKEN_BYTES {
            return false;
        }
        if self.is_ours(token) {
            // A header, an issuer and an audience of this service: it is forged or damaged.
            let payload = BASE64URL_NOPAD.decode(payload).unwrap_or_default();
            let is_theirs = serde_json::from_slice(&payload)
                .is_ok_and(|said: Payload<'_>| !self.is_named_in(&said));
            let token = std::str::from_utf8(token).ok().filter(|_| is_theirs);
            return token.is_some_and(|token| self.open(token).is_some());
        }
        BASE64URL_NOPAD
            .decode(header)
            .is_ok_and(|header| serde_json::from_slice::<serde_json::Map<_, _>>(&header).is_ok())
    }

    fn is_named_in(&self, payload: &Payload<'_>) -> bool {
        payload.iss == self.issuer && payload.aud == self.audience
    }

    /// Returns the claims of a token that points to a session, in any stage. A token that is bound to a key is
    /// refused. See [`verify`](Self::verify).
    pub(crate) fn verify_session(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Option<(TokenType, Claims)> {
        self.verify_any_session(token, now).filter(|(_, claims)| claims.bound_to.is_none())
    }

    /// Returns the claims of a token that points to a session and is bound to a key. The caller must ask for a
    /// proof of this key.
    pub(crate) fn verify_bound_session(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Option<(TokenType, Claims, JwkThumbprint)> {
        let (token_type, claims) = self.verify_any_session(token, now)?;
        Some((token_type, claims, claims.bound_to?))
    }

    fn verify_any_session(&self, token: &str, now: Timestamp) -> Option<(TokenType, Claims)> {
        let no_session = [TokenType::Device, TokenType::MailLogin, TokenType::ActionProof];
        self.verify(token, now).filter(|(token_type, _)| !no_session.contains(token_type))
    }

    /// Returns the claims of a token, if one of our keys signed it for one of our purposes.
    ///
    /// The caller checks whether it has expired, because the allowed times differ. An `iat` in the
    /// future is not refused: it was issued by a clock that was fast and has been corrected since.
    /// This is safe, because only portcullis signs tokens and the row says whether the session is
    /// active.
    pub(crate) fn verify(&self, token: &str, now: Timestamp) -> Option<(TokenType, Claims)> {
        let (token_type, payload) = self.open(token)?;
        let payload: Payload<'_> = serde_json::from_slice(&payload).ok()?;
        let mut sid = [0; 16];
        let raw = BASE64URL_NOPAD.decode(payload.sid.as_bytes()).ok()?;
        if raw.len() != sid.len() || !self.is_named_in(&payload) {
            return None;
        }
        sid.copy_from_slice(&raw);
        let future = now.as_secs().saturating_add(FUTURE_LEEWAY_SECS);
        let in_order = 0 <= payload.iat && payload.iat <= payload.exp;
        let early = payload.nbf.is_some_and(|nbf| !(0..=future).contains(&nbf));
        if !in_order || early || payload.r#gen < 0 {
            return None;
        }
        let bound_to = payload.cnf.map(|cnf| cnf.jkt.parse()).transpose().ok()?;
        let claims = Claims {
            sid,
            generation: payload.r#gen,
            issued_at: payload.iat,
            expires_at: payload.exp,
            bound_to,
        };
        Some((token_type, claims))
    }

    /// Returns the claims of a device token, if one of our keys signed it. The caller checks
    /// whether it has expired.
    pub(crate) fn verify_device(&self, token: &str) -> Option<DeviceClaims> {
        let (token_type, payload) = self.open(token)?;
        if token_type != TokenType::Device {
            return None;
        }
        let payload: DevicePayload<'_> = serde_json::from_slice(&payload).ok()?;
        let ours = payload.iss == self.issuer && payload.aud == self.audience;
        ours.then(|| DeviceClaims { accounts: payload.acc.into_owned(), expires_at: payload.exp })
    }

    /// Returns the claims of the token of an asking browser, if one of our keys signed it. The
    /// caller checks whether it has expired.
    pub(crate) fn verify_mail_login(&self, token: &str) -> Option<MailLoginClaims> {
        let (token_type, payload) = self.open(token)?;
        if token_type != TokenType::MailLogin {
            return None;
        }
        let payload: MailLoginPayload<'_> = serde_json::from_slice(&payload).ok()?;
        let ours = payload.iss == self.issuer && payload.aud == self.audience;
        ours.then(|| MailLoginClaims { asked: payload.ask.into_owned(), expires_at: payload.exp })
    }

    /// Returns the content of the proof of a consent, if one of our keys signed it for this service. The
    /// caller checks its times.
    pub(crate) fn verify_action(&self, token: &str) -> Result<ActionClaims, NoAction> {
        let (token_type, payload) = self.open(token).ok_or(NoAction::Invalid)?;
        if token_type != TokenType::ActionProof {
            return Err(NoAction::Invalid);
        }
        let claims: ActionClaims =
            serde_json::from_slice(&payload).map_err(|_| NoAction::Invalid)?;
        if claims.iss != self.issuer || claims.aud != self.audience {
            return Err(NoAction::OtherService);
        }
        if claims.iat < 0 || claims.exp < claims.iat {
            return Err(NoAction::Invalid);
        }
        Ok(claims)
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns type and payload of a token that one of our keys signed for one of our purposes.
    fn open(&self, token: &str) -> Option<(TokenType, Vec<u8>)> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (header, payload) = message.split_once('.')?;
        // The header is compared as text with those that our keys write, and selects the key. So
        // the token cannot choose an algorithm (`none`, or HS256 with a public key; RFC 8725,
        // section 3.1).
        let (key, token_type) = self.keys.iter().find_map(|key| {
            key.headers
                .iter()
                .find(|(_, written)| written == header)
                .map(|(token_type, _)| (key, *token_type))
        })?;
        // The signature is checked before anything in the payload is parsed.
        let decoding = key.decoding(token_type);
        let is_ours = crypto::verify(signature, message.as_bytes(), decoding, key.algorithm);
        if !is_ours.unwrap_or(false) {
            return None;
        }
        Some((token_type, BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?))
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jwt({} keys, issuer {:?})", self.keys.len(), self.issuer)
    }
}

impl Key {
    fn new(algorithm: Algorithm, kid: &str, encoding: EncodingKey, decoding: DecodingKey) -> Self {
        let headers = TokenType::ALL
            .iter()
            .map(|token_type| {
                let typ = token_type.as_str();
                let header = format!(r#"{{"alg":"{algorithm:?}","kid":"{kid}","typ":"{typ}"}}"#);
                (*token_type, BASE64URL_NOPAD.encode(header.as_bytes()))
            })
            .collect();
        Self { algorithm, encoding, decoding, proofs: None, headers }
    }

    /// Derives the keys of one secret. Only an empty key is refused, and a derived one is never empty.
    fn derived(secret: &Secret) -> Result<Self, jsonwebtoken::errors::Error> {
        let pair = |purpose| {
            let bytes = secret.derive(purpose);
            let encoding = EncodingKey::from_secret(bytes.as_ref())?;
            Ok::<_, jsonwebtoken::errors::Error>((
                encoding,
                DecodingKey::from_secret(bytes.as_ref())?,
            ))
        };
        let (encoding, decoding) = pair(Purpose::Signature)?;
        let key = Self::new(Algorithm::HS256, &secret.kid(), encoding, decoding);
        Ok(Self { proofs: Some(pair(Purpose::ActionProof)?), ..key })
    }

    fn encoding(&self, token_type: TokenType) -> &EncodingKey {
        match &self.proofs {
            Some((encoding, _)) if token_type == TokenType::ActionProof => encoding,
            _ => &self.encoding,
        }
    }

    fn decoding(&self, token_type: TokenType) -> &DecodingKey {
        match &self.proofs {
            Some((_, decoding)) if token_type == TokenType::ActionProof => decoding,
            _ => &self.decoding,
        }
    }

    fn from_pem(algorithm: Algorithm, pem: &[u8]) -> Result<Self, String> {
        let encoding = match algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem),
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem),
            _ => EncodingKey::from_rsa_pem(pem),
        }
        .map_err(|error| error.to_string())?;
        let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&encoding, algorithm)
            .map_err(|error| error.to_string())?;
        if let jsonwebtoken::jwk::AlgorithmParameters::RSA(rsa) = &jwk.algorithm
            && rsa.n.len() < 342
        {
            return Err("an RSA key needs at least 2048 bits".to_owned());
        }
        let decoding = DecodingKey::from_jwk(&jwk).map_err(|error| error.to_string())?;
        // The thumbprint (RFC 7638) is made of the public part of the key, so it is the same on
        // every node.
        let kid = jwk
            .thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256)
            .map_err(|error| error.to_string())?;
        let key = Self::new(algorithm, &kid, encoding, decoding);
        let probe =
            crypto::sign(b"probe", &key.encoding, algorithm).map_err(|error| error.to_string())?;
        match crypto::verify(&probe, b"probe", &key.decoding, algorithm) {
            Ok(true) => Ok(key),
            Ok(false) => Err("it does not verify what it signs".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn header(&self, token_type: TokenType) -> &str {
        self.headers
            .iter()
            .find(|(candidate, _)| *candidate == token_type)
            .map(|(_, header)| header.as_str())
            .expect("every key writes a header for every token type")
    }
}

/// Selects one backend of jsonwebtoken. Without a selection it panics at first use if several are
/// compiled in. The first selection in a process remains, and every backend works.
#[cfg_attr(
    any(feature = "rust_crypto", feature = "aws_lc_rs"),
    expect(clippy::unnecessary_wraps, reason = "without a backend it is an error")
)]
pub(crate) fn install_backend() -> Result<(), SignerError> {
    #[cfg(feature = "rust_crypto")]
    {
        let _ = crypto::rust_crypto::DEFAULT_PROVIDER.install_default();
        Ok(())
    }
    #[cfg(all(feature = "aws_lc_rs", not(feature = "rust_crypto")))]
    {
        let _ = crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        Ok(())
    }
    #[cfg(not(any(feature = "rust_crypto", feature = "aws_lc_rs")))]
    Err(SignerError::NoBackend)
}

#[cfg(test)]
mod tests;
