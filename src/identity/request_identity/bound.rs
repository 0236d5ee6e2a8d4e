//! Tokens that are bound to a key of their client, and the proofs of these keys.

use std::sync::atomic::Ordering;

use http::HeaderValue;

use super::token::Token;
use super::{RequestIdentity, Use};
use crate::base::clock::Timestamp;
use crate::base::jwt::{Claims, TokenType};
use crate::base::transaction::Fault;
use crate::dpop::{DpopRefusal, Nonces, ProvedKey, store as dpop_store};
use crate::identity::credential::{BoundToken, bearer_token, bound_token};
use crate::identity::error::NotSignedIn;
use crate::session::Transport;

/// What this request has done with its proof. 0: nothing yet.
const SPENT: u8 = 1;
const UNKNOWN: u8 = 2;

impl RequestIdentity {
    /// Returns the token that was sent with a proof, if both are good. Runs no statement.
    pub(super) fn bound_token(
        &self,
        bound: &BoundToken,
        purpose: Use,
        now: Timestamp,
    ) -> Result<Token, NotSignedIn> {
        let (token_type, claims, proved) = self.verified_bound(bound, now)?;
        let token = self.in_time(Some((token_type, claims)), Transport::Bearer, purpose, now)?;
        Ok(Token { proved: Some(proved), ..token })
    }

    /// Verifies the signature of the token, and then the proof of its key.
    pub(super) fn verified_bound(
        &self,
        bound: &BoundToken,
        now: Timestamp,
    ) -> Result<(TokenType, Claims, ProvedKey), NotSignedIn> {
        let context = self.auth.context();
        let shown = bound_token(&bound.value).unwrap_or_default();
        let text = std::str::from_utf8(shown).ok();
        let verified = text.and_then(|text| context.jwt.verify_bound_session(text, now));
        let (token_type, claims, key) = verified.ok_or(NotSignedIn::InvalidToken)?;
        let checked = bound.proof.check(context, Some((shown, key)));
        let needs_nonce = match &checked {
            Ok(proved) => proved.nonce_is_old,
            Err(reason) => *reason == DpopRefusal::UseNonce,
        };
        if needs_nonce {
            self.brings_nonce.store(true, Ordering::Relaxed);
        }
        Ok((token_type, claims, checked.map_err(NotSignedIn::Dpop)?))
    }

    /// True if the token of a `Bearer` header is bound to a key.
    pub(super) fn is_bound(&self, header: &HeaderValue, now: Timestamp) -> bool {
        let text = std::str::from_utf8(bearer_token(header).unwrap_or_default()).ok();
        text.is_some_and(|text| self.auth.context().jwt.verify_bound_session(text, now).is_some())
    }

    /// Uses the proof of this request up. Returns false if another request has used it.
    pub(super) async fn spend_proof(&self, proved: &ProvedKey) -> Result<bool, Fault> {
        // After an outage, or after another request was faster, the same request asks again.
        let before = self.spending.load(Ordering::Acquire);
        if before == SPENT {
            return Ok(true);
        }
        let db = self.auth.context().db();
        let executor = db.executor();
        match db.retry(|| dpop_store::spend(&executor, proved)).await {
            Ok(true) => {
                self.spending.store(SPENT, Ordering::Release);
                Ok(true)
            }
            // It may have been this request: the statement can have run after its time was over.
            Ok(false) if before == UNKNOWN => Err(Fault::Timeout),
            Ok(false) => Ok(false),
            Err(fault) => {
                self.spending.store(UNKNOWN, Ordering::Release);
                Err(fault)
            }
        }
    }

    /// True if the token of the request was sent as one that is bound to a key.
    pub(crate) fn shows_bound_token(&self) -> bool {
        self.credential.is_bound()
    }

    /// Returns the nonce that the answer brings, if the client needs one.
    pub(crate) fn next_nonce(&self) -> Option<HeaderValue> {
        let needed = self.brings_nonce.load(Ordering::Relaxed);
        let context = self.auth.context();
        let nonce = needed.then(|| context.per_instance::<Nonces>().make(context.now()))?;
        HeaderValue::try_from(nonce).ok()
    }
}
