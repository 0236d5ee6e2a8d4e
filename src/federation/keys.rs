//! How tokens of providers, and what they told, are encrypted.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::seal::{Sealed, Sealer};
use crate::base::secret::Purpose;
use crate::context::{Context, PerInstance};

/// The keys of this capability.
pub(super) struct FederationKeys {
    tokens: Sealer,
    told: Sealer,
}

impl PerInstance for FederationKeys {
    fn open(context: &Context) -> Self {
        let secrets = &context.config.keys.secrets;
        Self {
            tokens: Sealer::new(secrets, Purpose::ProviderTokens),
            told: Sealer::new(secrets, Purpose::PendingIdentity),
        }
    }
}

impl FederationKeys {
    /// Encrypts tokens for the row of an identity.
    pub(super) fn seal_tokens(&self, tokens: &impl Serialize, row: &[u8]) -> Sealed {
        seal(&self.tokens, tokens, row)
    }

    pub(super) fn open_tokens<T: DeserializeOwned>(
        &self,
        (key, text): (&str, &str),
        row: &[u8],
    ) -> Option<T> {
        serde_json::from_slice(&self.tokens.open(key, text, row)?).ok()
    }

    /// Encrypts what a provider told, for the row of a person who is asked.
    pub(super) fn seal_told(&self, told: &impl Serialize, row: &[u8]) -> Sealed {
        seal(&self.told, told, row)
    }

    pub(super) fn open_told<T: DeserializeOwned>(
        &self,
        (key, text): (&str, &str),
        row: &[u8],
    ) -> Option<T> {
        serde_json::from_slice(&self.told.open(key, text, row)?).ok()
    }
}

fn seal(sealer: &Sealer, value: &impl Serialize, row: &[u8]) -> Sealed {
    let plain = serde_json::to_vec(value).expect("texts, numbers and JSON can be written");
    let plain = zeroize::Zeroizing::new(plain);
    sealer.seal(&plain, row)
}
