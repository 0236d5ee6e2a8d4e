//! Passwords: policy and hashing.
//!
//! Argon2id with the OWASP parameters, on blocking threads behind a gate, so that a storm of
//! logins costs bounded memory and leaves a core to everybody else. A stored hash that is older
//! than the configuration (parameters, pepper, algorithm) is replaced at the next login. Unknown,
//! unusable and passwordless accounts cost the same one hash as a wrong password.
//!
//! A password is used exactly as it is sent: no trimming, no case folding, no Unicode
//! normalization, no truncation.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::account::entity::account;
use crate::account::{Account, InvalidField, LoginId, StoredPassword};
use crate::base::secret::{DigestKey, Purpose, random_bytes};
use crate::base::transaction::Fault;
use crate::config::PasswordConfig;
use crate::context::Context;
use crate::handle::Room;

#[cfg(feature = "foreign-hashes")]
mod foreign;
mod gate;
mod hash;

use gate::{Gate, GateError};
use hash::{HashParams, Hasher, Peppers, SALT_BYTES, StoredHash, Verdict};

/// Longer ones are refused before any hashing.
pub(crate) const MAX_PASSWORD_BYTES: usize = 1024;

/// A password on its way through, wiped when it is dropped and never printed.
#[derive(Clone, serde::Deserialize)]
#[serde(from = "String")]
pub(crate) struct Password(Zeroizing<String>);

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl Password {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.as_bytes().to_vec())
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// What a password must not be, for one account.
pub(crate) struct Names<'a>(pub(crate) Vec<&'a str>);

impl<'a> Names<'a> {
    pub(crate) fn of(account: &'a Account) -> Self {
        let names = [account.username(), account.email(), account.phone()];
        Self(names.into_iter().flatten().collect())
    }
}

/// Why a new password is refused, if so.
pub(crate) fn refused(
    config: &PasswordConfig,
    password: &Password,
    names: &Names<'_>,
) -> Option<InvalidField> {
    let text = password.as_str();
    let reason = if text.len() > MAX_PASSWORD_BYTES {
        format!("must have at most {MAX_PASSWORD_BYTES} bytes")
    } else if text.chars().count() < config.min_length {
        format!("must have at least {} characters", config.min_length)
    } else if names.0.iter().any(|name| is_name(text, name)) {
        "must not be the name you sign in with".to_owned()
    } else {
        return None;
    };
    Some(InvalidField::new("password", reason))
}

/// Whether the password is the name, or the local part of an address, in any spelling that signs
/// in with it.
fn is_name(password: &str, name: &str) -> bool {
    let normal = |text: &str| {
        LoginId::parse(text).map_or_else(|_| text.to_lowercase(), |id| id.normal().to_owned())
    };
    let (password, name) = (normal(password), normal(name));
    password == name || name.split_once('@').is_some_and(|(local, _)| password == local)
}

/// What came of a password check.
#[derive(Debug)]
pub(crate) enum Checked {
    Right {
        /// Whether it would be hashed differently today.
        outdated: bool,
    },
    Wrong,
}

/// The gate all hashing of one instance goes through.
pub(crate) struct Passwords {
    gate: Gate,
    /// Salts for names that have no password.
    dummy_salts: DigestKey,
}

impl Room for Passwords {
    fn open(context: &Context) -> Self {
        let config = &context.config.password;
        let params = HashParams {
            memory_kib: config.memory_kib,
            iterations: config.iterations,
            parallelism: config.parallelism,
        };
        let peppers = config
            .peppers
            .iter()
            .map(|(id, secret)| (id.clone(), secret.derive(Purpose::Pepper).to_vec()))
            .collect();
        let hasher = Peppers::new(peppers)
            .and_then(|peppers| Hasher::new(params, peppers))
            .expect("the configuration was checked by build()");
        let permits = config.concurrent_hashes.unwrap_or_else(gate::default_permits);
        Self {
            gate: Gate::new(permits, config.hash_queue, hasher, random_bytes),
            dummy_salts: DigestKey::new(&context.config.keys.secrets[0], Purpose::DummySalt),
        }
    }
}

impl From<GateError> for Fault {
    fn from(error: GateError) -> Self {
        match error {
            GateError::Overloaded { retry_after_secs } => {
                Self::Overloaded { retry_after: Duration::from_secs(retry_after_secs) }
            }
            GateError::Failed => Self::Internal(error.to_string()),
        }
    }
}

impl Passwords {
    pub(crate) async fn hash(&self, password: &Password) -> Result<StoredPassword, Fault> {
        let StoredHash { phc, pepper_id } = self.gate.hash(password.bytes()).await?;
        Ok(StoredPassword { hash: phc, pepper: pepper_id })
    }

    /// Compares a password with an account's, at the cost of exactly one hash whoever it is and
    /// whether or not there is one. A hash that is out of date is only reported: replacing it
    /// costs one more, which nobody may see who is not let in.
    /// `name` is what the account was asked for by.
    pub(crate) async fn check(
        &self,
        password: &Password,
        account: Option<&account::Model>,
        name: &str,
    ) -> Result<Checked, Fault> {
        if password.as_str().len() > MAX_PASSWORD_BYTES {
            return Ok(Checked::Wrong);
        }
        let dummy_salt = dummy_salt(&self.dummy_salts, name);
        let stored = account.and_then(|row| {
            let phc = row.password_hash.clone()?;
            Some(StoredHash { phc, pepper_id: row.password_pepper.clone() })
        });
        match self.gate.verify(password.bytes(), stored, dummy_salt).await? {
            Verdict::Match { rehash } => Ok(Checked::Right { outdated: rehash }),
            Verdict::NoMatch => Ok(Checked::Wrong),
            Verdict::Unusable(reason) => {
                let account = account.map(|row| tracing::field::display(row.id));
                tracing::error!(target: "portcullis", account, %reason, "a stored password is unusable");
                Ok(Checked::Wrong)
            }
        }
    }
}

/// A salt that stays with a name and that nobody else can compute.
fn dummy_salt(key: &DigestKey, name: &str) -> [u8; SALT_BYTES] {
    let mut salt = [0; SALT_BYTES];
    salt.copy_from_slice(&key.digest(name.as_bytes())[..SALT_BYTES]);
    salt
}

/// What tests look at.
#[cfg(feature = "test-util")]
impl crate::handle::Portcullis {
    /// How many password hashes this instance has computed.
    pub fn password_hashes(&self) -> u64 {
        self.room::<Passwords>().gate.hashes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;

    #[test]
    fn each_name_without_a_password_has_a_salt_that_stays() {
        let key = |secret: &Secret| DigestKey::new(secret, Purpose::DummySalt);
        let secret = Secret::generate();
        let alice = dummy_salt(&key(&secret), "alice");
        assert_eq!(alice, dummy_salt(&key(&secret), "alice"));
        assert_ne!(alice, dummy_salt(&key(&secret), "bob"));
        assert_ne!(alice, dummy_salt(&key(&Secret::generate()), "alice"));
    }
}
