//! What a page passes to the browser: options for a new passkey or for a signature, and signals about those
//! that exist.

use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use serde_json::{Value, json};

use super::challenge::{ChallengePurpose, NewChallenge};
use super::entity::{passkey, user};
use super::error::PasskeyError;
use super::store;
use crate::account::entity::account;
use crate::base::clock::Timestamp;
use crate::base::id::AccountId;
use crate::base::problem::ErrorChain;
use crate::base::secret::random_array;
use crate::base::transaction::Fault;
use crate::config::UserVerification;
use crate::config::passkey::is_domain;
use crate::context::Context;
use crate::webauthn::{ALGORITHMS, Expected};

/// What a page asks the browser for.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PasskeyOptions {
    /// The options, for `PublicKeyCredential.parseCreationOptionsFromJSON` or
    /// `PublicKeyCredential.parseRequestOptionsFromJSON`.
    pub options: Value,
    /// Until when the answer is accepted.
    pub expires_at: Timestamp,
}

/// What a page passes to the methods of `PublicKeyCredential` with these names, each with the word `signal`
/// before it. The browser then hides the passkeys that do not work any more, and shows the present name of the
/// account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PasskeySignals {
    /// For `signalAllAcceptedCredentials`.
    pub all_accepted_credentials: AcceptedPasskeys,
    /// For `signalCurrentUserDetails`.
    pub current_user_details: PasskeyUser,
}

/// Which passkeys of an account work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AcceptedPasskeys {
    /// The domain.
    pub rp_id: String,
    /// What authenticators know of the account.
    pub user_id: String,
    /// The ids of authenticators, of all passkeys of the account.
    pub all_accepted_credential_ids: Vec<String>,
}

/// What authenticators show of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PasskeyUser {
    /// The domain.
    pub rp_id: String,
    /// What authenticators know of the account.
    pub user_id: String,
    /// The name of the account.
    pub name: String,
    /// The same.
    pub display_name: String,
}

/// The domain and the origins of this service.
pub(super) struct RelyingParty {
    pub(super) id: String,
    origins: Vec<String>,
    verification: bool,
}

impl RelyingParty {
    pub(super) fn of(context: &Context) -> Result<Self, PasskeyError> {
        let config = &context.config;
        let id = config.rp_id().filter(|id| is_domain(id)).ok_or(PasskeyError::NoDomain)?;
        let verification = config.passkey.user_verification == UserVerification::Required;
        Ok(Self { id, origins: config.passkey_origins(), verification })
    }

    pub(super) fn expected(&self) -> Expected<'_> {
        Expected { rp_id: &self.id, origins: &self.origins, verification: self.verification }
    }

    fn verification(&self) -> &'static str {
        if self.verification { "required" } else { "preferred" }
    }

    /// Returns the options for a new passkey. The browser makes none on an authenticator that has one of
    /// `existing`.
    pub(super) fn creation(
        &self,
        context: &Context,
        row: &account::Model,
        handle: &[u8],
        existing: &[passkey::Model],
        purpose: ChallengePurpose,
        new: &NewChallenge,
    ) -> PasskeyOptions {
        let name = name_of(row);
        // Where nobody is asked, a browser that must verify its user makes no passkey (section 5.1.3).
        let verification = match purpose {
            ChallengePurpose::AddByBrowser => "preferred",
            _ => self.verification(),
        };
        let parameters: Vec<Value> =
            ALGORITHMS.iter().map(|alg| json!({ "type": "public-key", "alg": alg })).collect();
        let options = json!({
            "rp": { "id": self.id, "name": context.config.service_name() },
            "user": { "id": BASE64URL_NOPAD.encode(handle), "name": name, "displayName": name },
            "challenge": new.text,
            "pubKeyCredParams": parameters,
            "timeout": timeout(context),
            "excludeCredentials": descriptors(existing.iter()),
            "authenticatorSelection": {
                "residentKey": "required",
                "requireResidentKey": true,
                "userVerification": verification,
            },
            "attestation": "none",
            "extensions": { "credProps": true },
        });
        PasskeyOptions { options, expires_at: new.expires_at }
    }

    /// Returns the options for a signature by one of these passkeys, or by any.
    pub(super) fn request<'p>(
        &self,
        context: &Context,
        allowed: impl Iterator<Item = &'p passkey::Model>,
        new: &NewChallenge,
    ) -> PasskeyOptions {
        let options = json!({
            "challenge": new.text,
            "timeout": timeout(context),
            "rpId": self.id,
            "allowCredentials": descriptors(allowed),
            "userVerification": self.verification(),
        });
        PasskeyOptions { options, expires_at: new.expires_at }
    }
}

fn timeout(context: &Context) -> u64 {
    u64::try_from(context.config.passkey.challenge_lifetime.as_millis()).unwrap_or(300_000)
}

fn descriptors<'p>(passkeys: impl Iterator<Item = &'p passkey::Model>) -> Vec<Value> {
    let descriptor = |one: &passkey::Model| {
        let transports: Vec<&str> = one.transports.split_whitespace().collect();
        json!({ "type": "public-key", "id": one.credential_id, "transports": transports })
    };
    passkeys.map(descriptor).collect()
}

/// Returns the name that authenticators show.
fn name_of(row: &account::Model) -> String {
    let name = row.email.as_ref().or(row.username.as_ref()).or(row.phone.as_ref());
    name.cloned().unwrap_or_else(|| row.id.to_string())
}

/// Returns what authenticators know of an account. The first one asks for it to be made.
pub(super) async fn handle(context: &Context, account: AccountId) -> Result<Vec<u8>, Fault> {
    let db = context.db();
    let executor = db.executor();
    if let Some(handle) = db.read(store::handle_of(&executor, account)).await? {
        return Ok(handle);
    }
    let handle = random_array::<32>().to_vec();
    let new = user::Model { account_id: account, handle, created_at: context.now() };
    db.retry(|| store::give_handle(&executor, new.clone())).await?;
    // Another request may have been faster.
    Ok(db.read(store::handle_of(&executor, account)).await?.unwrap_or(new.handle))
}

/// Returns the signals for an answer to a change that is committed already. A failure must not take its new session
/// away.
pub(super) async fn signals_after(
    context: &Context,
    row: &account::Model,
) -> Option<PasskeySignals> {
    match signals(context, row).await {
        Ok(signals) => signals,
        Err(error) => {
            let error = ErrorChain(&error);
            tracing::debug!(target: "portcullis", %error, "the signals of passkeys cannot be read");
            None
        }
    }
}

/// Returns the signals of an account that has ever had a passkey here.
pub(super) async fn signals(
    context: &Context,
    row: &account::Model,
) -> Result<Option<PasskeySignals>, Fault> {
    // Without a domain there is nothing to tell a browser.
    let Ok(RelyingParty { id: rp_id, .. }) = RelyingParty::of(context) else { return Ok(None) };
    let db = context.db();
    let executor = db.executor();
    let Some(handle) = db.read(store::handle_of(&executor, row.id)).await? else { return Ok(None) };
    let passkeys = db.read(store::of_account(&executor, row.id)).await?;
    let user_id = BASE64URL_NOPAD.encode(&handle);
    let ids = passkeys.into_iter().map(|one| one.credential_id).collect();
    let name = name_of(row);
    Ok(Some(PasskeySignals {
        all_accepted_credentials: AcceptedPasskeys {
            rp_id: rp_id.clone(),
            user_id: user_id.clone(),
            all_accepted_credential_ids: ids,
        },
        current_user_details: PasskeyUser { rp_id, user_id, display_name: name.clone(), name },
    }))
}
