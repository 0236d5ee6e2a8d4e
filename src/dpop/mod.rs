//! DPoP (RFC 9449): a token is bound to a key of its client, so a copy of the token is useless.
//!
//! # How it works
//! 1. A client makes a key pair, and keeps the private key where nobody can copy it from.
//! 2. It gets its session by [device login](crate::device_login), and proves the key there. From then on, the
//!    session is bound to the key. Its token contains the thumbprint of the key (`cnf.jkt`).
//! 3. Each request carries `Authorization: DPoP <token>`, and in the header `DPoP` a proof: a small JWT that the
//!    client signs for this one request. It names the method, the URL and the token.
//!
//! A proof is good for one request. If it is sent again, to any node, it is refused. Three requests do not use their
//! proof up: a logout, a poll of a device that gets nothing yet, and one that takes the request of a device back.
//!
//! Only a device login binds a session. A session that begins with a password or in a browser is not bound.
//!
//! # Turning it on
//! ```no_run
//! use portcullis::config::DeviceClient;
//! use portcullis::{Portcullis, Secret, device_login};
//!
//! # fn set_up(db: sea_orm::DatabaseConnection, secret: Secret) -> Result<axum::Router, portcullis::ConfigErrors> {
//! let auth = Portcullis::builder(db).secret(secret).public_url("https://example.com").configure(|config| {
//!     config.service.bearer = true;
//!     let client = DeviceClient::new("cli", "The program").ceiling(["film:watch"]);
//!     // Without a key, this program gets no token.
//!     config.device_login.clients = vec![client.key_bound()];
//! });
//! let auth = auth.build()?;
//! let app = axum::Router::new()
//!     .nest("/auth", device_login::routes(&auth))
//!     .merge(device_login::well_known(&auth))
//!     .layer(auth.layer());
//! # Ok(app)
//! # }
//! ```
//!
//! A client that is not `key_bound` may prove a key too. Guards and handlers need no change.
//!
//! # What a client sends
//! Libraries for OAuth 2.0 make proofs themselves. A proof is a JWT of at most 4096 bytes:
//!
//! | part | member | value |
//! |---|---|---|
//! | header | `typ` | `dpop+jwt` |
//! | | `alg` | `ES256`, `EdDSA` or `Ed25519` |
//! | | `jwk` | the public key, without private members |
//! | claims | `jti` | an id of 1 to 256 bytes that the client uses only once |
//! | | `htm`, `htu` | the method and the URL of the request; a query does not count |
//! | | `iat` | the time, in seconds |
//! | | `nonce` | the nonce of the latest header `DPoP-Nonce` |
//! | | `ath` | the SHA-256 digest of the token in base64url. Not for the routes of devices |
//!
//! A client makes a new proof for each attempt, also after a lost answer or a 503.
//!
//! # What is checked
//! All of RFC 9449 section 4.3. Up to the last two steps, no statement runs:
//!
//! 1. the token, as always;
//! 2. that there is one proof, its form, its algorithm and its signature;
//! 3. its method, its URL, and that it is for this token;
//! 4. that its key is that of the token;
//! 5. its nonce. It may be as old as [`dpop.lifetime`](crate::config::DpopConfig::lifetime), and `iat` is not compared.
//!    If [`dpop.require_nonce`](crate::config::DpopConfig::require_nonce) is off, `iat` must be as recent instead, and
//!    at most 30 s in the future;
//! 6. the session, which has the thumbprint in its row too;
//! 7. that no request has used this proof before: a row with its digest is added.
//!
//! A bound token is refused as `Bearer` and in a cookie. A token that is not bound is refused as `DPoP`.
//!
//! # Nonces
//! The first request of a client is refused with `use_dpop_nonce`. The header `DPoP-Nonce` of this answer has the nonce
//! to use. It can be used for many requests. When it gets old, the answer to a
//! request with a token brings a new one.
//!
//! Nonces are not stored. Every node accepts those of the others, if it has the same secrets.
//!
//! # The URL
//! The URL in a proof must be the one that the client uses. Its origin must be that of `service.public_url`, or one of
//! [`dpop.origins`](crate::config::DpopConfig::origins). Its path must be that of the request. The prefix of
//! `service.public_url` (or `X-Forwarded-Prefix`, with `proxies.prefix`) may be in it or not. The header `Host` is never
//! used, because the client chooses it.
//!
//! # What it costs
//! The statement of a session, and one `INSERT` for each request. SQLite allows one writer at a time, so use DPoP there
//! only with few clients. Maintenance deletes the rows when their proofs are too old to be accepted.
//!
//! # If proofs are refused
//! Refused proofs are counted and logged as `dpop_proof_refused`, with a `reason`. They are no events of the audit log.
//!
//! | reason | likely cause |
//! |---|---|
//! | `WrongUrl`, for all clients | `service.public_url` is not the address that they use: correct it, or add theirs to `dpop.origins` |
//! | `WrongKey`, `Missing`, `SentAsBearer` | somebody has a copy of a token. It is useless without the key, but find out where it was copied |
//! | `Replayed` | a program sends one proof twice, or somebody has a copy of a request |
//! | `Outdated` | the clock of a device is wrong; turn `dpop.require_nonce` on |
//! | others | the program makes proofs that do not follow the standard |
//!
//! # What it does not do
//! A thief who can run programs on the device can let it sign. DPoP helps against a token that was copied: from a log,
//! a backup, a proxy or a file.
//!
//! # Configuration
//! [`DpopConfig`](crate::config::DpopConfig), and
//! [`DeviceClient::key_bound`](crate::config::DeviceClient::key_bound).
//!
//! # Error codes
//! `invalid_dpop_proof` and `use_dpop_nonce`: 401 for a request, 400 for a device that asks for its token.
//! `invalid_token` (401) for a bound token as `Bearer`, and for another token as `DPoP`. A 401 has
//! `WWW-Authenticate: DPoP algs="ES256 EdDSA Ed25519", error="…"`.
//!
//! # Standard
//! RFC 9449; for the keys RFC 7638, RFC 8037 and RFC 9864.

use std::fmt;

use http::{HeaderMap, HeaderValue, Method, Uri};
use sha2::{Digest, Sha256};

use crate::base::clock::Timestamp;
use crate::base::event::{DPOP_PROOF_REFUSED, count};
pub use crate::base::jwk_thumbprint::{InvalidThumbprint, JwkThumbprint};
use crate::base::public_url::PathPrefix;
use crate::base::same_origin::Origin;
use crate::config::dpop::LONGEST_LIFETIME;
use crate::context::{Context, PerInstance};

pub(crate) mod entity;
mod error;
mod nonce;
mod proof;
pub(crate) mod store;

pub(crate) use error::NONCE_HEADER;
pub use error::{DpopError, DpopRefusal};
pub(crate) use nonce::Nonces;

use nonce::AHEAD;
use proof::Proof;

/// The names of the accepted algorithms, as the metadata and the challenges have them.
pub(crate) const ALGORITHMS: [&str; 3] = ["ES256", "EdDSA", "Ed25519"];

const PROOF_HEADER: &str = "dpop";

/// What proofs are compared with, for one instance.
struct Origins(Vec<Origin>);

impl PerInstance for Origins {
    fn open(context: &Context) -> Self {
        let config = &context.config;
        let more = config.dpop.origins.iter().filter_map(|text| Origin::parse_web(text).ok());
        Self(config.public_url().map(|url| url.origin).into_iter().chain(more).collect())
    }
}

/// What a request shows of its key, and what its proof must fit.
pub(crate) struct ShownProof {
    proof: Header,
    method: Method,
    path: String,
    prefix: PathPrefix,
}

enum Header {
    Missing,
    One(HeaderValue),
    Several,
}

/// A key that a request has proved. The proof counts once it was [spent](store::spend).
#[derive(Clone, Copy)]
pub(crate) struct ProvedKey {
    pub(crate) key: JwkThumbprint,
    /// The digest of the key and the id of the proof.
    digest: [u8; 32],
    /// When the proof is too old for every node.
    expires_at: Timestamp,
    /// True if the client should get a new nonce with the answer.
    pub(crate) nonce_is_old: bool,
}

impl ShownProof {
    /// `uri` is what the service received, with the path before any router removed a part of it. `prefix` is what
    /// a proxy removed.
    pub(crate) fn of(method: &Method, uri: &Uri, prefix: PathPrefix, headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(PROOF_HEADER).iter();
        let proof = match (values.next(), values.next()) {
            (None, _) => Header::Missing,
            (Some(value), None) => Header::One(value.clone()),
            (Some(_), Some(_)) => Header::Several,
        };
        Self { proof, method: method.clone(), path: uri.path().to_owned(), prefix }
    }

    pub(crate) fn is_missing(&self) -> bool {
        matches!(self.proof, Header::Missing)
    }

    /// Checks the proof, for a request with this token or with none. Runs no statement.
    pub(crate) fn check(
        &self,
        context: &Context,
        token: Option<(&[u8], JwkThumbprint)>,
    ) -> Result<ProvedKey, DpopRefusal> {
        self.checked(context, token).map_err(refused)
    }

    fn checked(
        &self,
        context: &Context,
        token: Option<(&[u8], JwkThumbprint)>,
    ) -> Result<ProvedKey, DpopRefusal> {
        let text = match &self.proof {
            Header::Missing => return Err(DpopRefusal::Missing),
            Header::Several => return Err(DpopRefusal::Repeated),
            Header::One(value) => value.as_bytes(),
        };
        let proof = Proof::open(text)?;
        if proof.claims.htm != self.method.as_str() {
            return Err(DpopRefusal::WrongMethod);
        }
        if !self.is_for(context, &proof.claims.htu) {
            return Err(DpopRefusal::WrongUrl);
        }
        let digest =
            token.map(|(token, _)| data_encoding::BASE64URL_NOPAD.encode(&Sha256::digest(token)));
        if proof.claims.ath != digest {
            return Err(DpopRefusal::WrongToken);
        }
        if token.is_some_and(|(_, key)| key != proof.key) {
            return Err(DpopRefusal::WrongKey);
        }
        let now = context.now();
        let config = &context.config.dpop;
        let made_at = if config.require_nonce {
            let nonces = context.per_instance::<Nonces>();
            let nonce = proof.claims.nonce.as_deref().ok_or(DpopRefusal::UseNonce)?;
            nonces.made_at(nonce).ok_or(DpopRefusal::UseNonce)?
        } else {
            proof.made_at()
        };
        let outdated =
            if config.require_nonce { DpopRefusal::UseNonce } else { DpopRefusal::Outdated };
        if made_at > now.plus(AHEAD) || now.since(made_at) > config.lifetime {
            return Err(outdated);
        }
        Ok(ProvedKey {
            key: proof.key,
            digest: proof.digest(),
            // The clock of another node may be behind, and its lifetime longer.
            expires_at: made_at.max(now).plus(LONGEST_LIFETIME).plus(2 * AHEAD),
            nonce_is_old: config.require_nonce && now.since(made_at) > config.lifetime / 2,
        })
    }

    /// True if this is the URL of the request.
    fn is_for(&self, context: &Context, url: &str) -> bool {
        let Some((origin, path)) = proof::origin_and_path(url) else { return false };
        let received = proof::normal_path(&self.path);
        let prefix = self.prefix.as_str();
        let known = context.per_instance::<Origins>().0.contains(&origin);
        // The URL of the root may be `https://example.com/app`.
        let with_prefix = path.strip_prefix(prefix).is_some_and(|rest| {
            rest == received || rest.is_empty() && received == "/" && !prefix.is_empty()
        });
        known && (path == received || with_prefix)
    }
}

/// Counts a refusal. A token that is used without its key may have been copied.
pub(crate) fn refused(reason: DpopRefusal) -> DpopRefusal {
    // A client that follows the standard begins without a nonce.
    if reason != DpopRefusal::UseNonce {
        tracing::info!(target: "portcullis::event", event = DPOP_PROOF_REFUSED, reason = ?reason);
        count(DPOP_PROOF_REFUSED);
    }
    reason
}

// Written by hand: a proof must not be printed.
impl fmt::Debug for ShownProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShownProof(..)")
    }
}

impl fmt::Debug for ProvedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProvedKey").field("key", &self.key).finish_non_exhaustive()
    }
}
