//! Passwords: which new ones are accepted, and how they are hashed.
//!
//! # A new password
//! 1. It has at least 15 code points ([`min_length`](crate::config::PasswordConfig::min_length); 8
//!    where a second factor is required of everyone), and at most 1024 bytes.
//! 2. It is not the account's username, address or phone number, the local part of the address, or
//!    the name of the service. Digits before or after do not help.
//! 3. It is not one of the 27 579 common passwords that are shipped (`src/password/common.txt`:
//!    Django's list, BSD 3-Clause, with zxcvbn's, MIT). The whole password is compared in a folded
//!    form. Nothing is loaded.
//! 4. There are no rules about which characters it must have, unless
//!    [`composition`](crate::config::PasswordConfig::composition) requires three kinds of four.
//! 5. With the feature `strength` and `config.password.min_strength`, it must be hard enough to
//!    guess. zxcvbn rates its first hundred characters, on a blocking thread behind the gate of the
//!    hashes.
//! 6. With a [`breached_list`](crate::Builder::breached_list), it must not be known from a breach.
//!    This list is asked last and with a time limit. By default an outage of the list does not stop
//!    registrations ([`breached_outage`](crate::config::PasswordConfig::breached_outage)).
//!
//! All reasons of the first five rules are reported together, in the list `errors.password` (or
//! `errors.new_password`) of a 422 `invalid_fields`. Each has a
//! [code](crate::guide::errors#invalid-fields). Passwords do not expire, and there are no password
//! hints.
//!
//! ```no_run
//! # fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! use portcullis::Portcullis;
//! use portcullis::password::BreachedFile;
//!
//! let list = BreachedFile::open("/var/lib/pwned-passwords-sha1-ordered-by-hash.txt")?;
//! let auth = Portcullis::builder(db).secret(secret).breached_list(list).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! Portcullis does not ask Have I Been Pwned over the network. Your application can do it:
//! implement [`BreachedList`] with the HTTP client that you have. Send
//! [`prefix`](crate::port::PasswordSha1::prefix) to `https://api.pwnedpasswords.com/range/` (with
//! the header `Add-Padding: true`), and search the answer for
//! [`suffix`](crate::port::PasswordSha1::suffix) with a count above zero. Only five digits of a
//! digest are sent.
//!
//! # Hashing
//! Passwords are hashed with Argon2id and the OWASP parameters, on blocking threads behind a gate.
//! So many simultaneous sign-ins need limited memory, and leave one core for other requests.
//! Sources (an IPv4 address, an IPv6 /64 and also its /48) are served in turn at the gate. One
//! source has at most a quarter of the places to wait in. A request that waits longer than
//! [`hash_wait`](crate::config::PasswordConfig::hash_wait) is answered with 503 and `Retry-After`.
//!
//! A stored hash that is older than the configuration (parameters, pepper, algorithm) is replaced
//! at the next sign-in.
//!
//! Accounts that are unknown, unusable or without a password cost the same one hash as a wrong
//! password. So the time of an answer does not tell which names have an account.
//!
//! A password is used exactly as it is sent: no trimming, no case folding, no Unicode
//! normalization, no truncation.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::account::StoredPassword;
use crate::account::entity::account;
use crate::base::clock::{Clock, OncePerMinute};
use crate::base::event::count;
use crate::base::invalid_field::InvalidField;
use crate::base::problem::ErrorChain;
use crate::base::secret::{DigestKey, Purpose, random_bytes};
use crate::base::transaction::{Fault, TimedPort};
use crate::config::{BreachedOutage, PasswordConfig};
use crate::context::Context;
use crate::handle::PerInstance;
use crate::port::{BreachedList, PasswordSha1};

mod breached;
#[cfg(feature = "foreign-hashes")]
mod foreign;
mod gate;
mod hash;
mod policy;
mod queue;
#[cfg(feature = "strength")]
mod strength;
mod typed;

pub use breached::BreachedFile;
pub(crate) use policy::Names;
pub(crate) use typed::Password;

use gate::{Gate, GateError};
use hash::{HashParams, Hasher, Peppers, SALT_BYTES, StoredHash, Verdict};
use policy::Policy;

/// The result of comparing a password with the stored one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Checked {
    Right {
        /// True if it would be hashed differently today.
        outdated: bool,
    },
    Wrong,
}

/// The gate for all hashing of one instance, and the rules for new passwords.
pub(crate) struct Passwords {
    gate: Gate,
    /// The key for the salts of names that have no password.
    dummy_salts: DigestKey,
    policy: Policy,
    config: PasswordConfig,
    breached: Option<Arc<TimedPort<dyn BreachedList>>>,
    clock: Arc<dyn Clock>,
    /// Limits the warning about an overload to one a minute.
    warning: OncePerMinute,
}

impl PerInstance for Passwords {
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
        let (places, longest_wait) = (config.hash_queue, config.hash_wait);
        let limits = gate::Limits { permits, places, longest_wait };
        Self {
            gate: Gate::new(limits, hasher, random_bytes),
            dummy_salts: DigestKey::new(&context.config.keys.secrets[0], Purpose::DummySalt),
            policy: Policy::new(&context.config),
            config: config.clone(),
            breached: context.breached_list.clone(),
            clock: Arc::clone(&context.clock),
            warning: OncePerMinute::default(),
        }
    }
}

impl Passwords {
    /// Translates an error of the gate. An overload is also logged, once a minute.
    fn fault(&self, error: GateError) -> Fault {
        let GateError::Overloaded { retry_after_secs } = error else {
            return Fault::Internal(error.to_string().into());
        };
        count("hash_queue_full");
        if self.warning.is_first(self.clock.now()) {
            tracing::warn!(
                target: "portcullis",
                code = "hash_queue_full",
                "the password queue is full or too slow: such requests are answered with 503; see \
                 `password.hash_queue` and `password.hash_wait`",
            );
        }
        Fault::Overloaded { retry_after: Duration::from_secs(retry_after_secs) }
    }

    /// Returns why the new password in `field` is refused for an account with these names. The list
    /// is empty if it is accepted. Here and below, `source` is the address of the client, because
    /// the gate serves sources in turn.
    pub(crate) async fn faults(
        &self,
        field: &'static str,
        password: &Password,
        names: &Names<'_>,
        source: Option<IpAddr>,
    ) -> Result<Vec<InvalidField>, Fault> {
        let mut faults = self.policy.faults(field, password, names);
        #[cfg(not(feature = "strength"))]
        let _ = source;
        #[cfg(feature = "strength")]
        if let Some(least) = self.config.min_strength
            && !password.is_too_long()
        {
            let words = self.policy.words().iter().map(String::as_str);
            let words = names.0.iter().copied().chain(words).map(str::to_owned).collect();
            let judged = self.gate.judge(password.bytes(), words, least, source).await;
            let weak = judged.map_err(|error| self.fault(error))?;
            faults
                .extend(weak.map(|message| InvalidField::new(field, "too_easy_to_guess", message)));
        }
        if faults.is_empty() && self.is_breached(password).await? {
            let message = "must not be one that is known from a breach of another service";
            faults.push(InvalidField::new(field, "breached_password", message));
        }
        Ok(faults)
    }

    async fn is_breached(&self, password: &Password) -> Result<bool, Fault> {
        let Some(list) = &self.breached else { return Ok(false) };
        let digest = PasswordSha1::of(password.as_str());
        let answer = list.ask(self.config.breached_timeout, move |list| {
            Box::pin(async move { list.contains(&digest).await })
        });
        let reason = match answer.await {
            Some(Ok(breached)) => return Ok(breached),
            Some(Err(error)) => ErrorChain(&*error).to_string(),
            None => "it did not answer in time".to_owned(),
        };
        let text = "the list of breached passwords did not answer";
        tracing::error!(target: "portcullis", error = ?reason, "{text}");
        match self.config.breached_outage {
            BreachedOutage::Accept => Ok(false),
            BreachedOutage::Refuse => Err(Fault::Internal(text.into())),
        }
    }

    pub(crate) async fn hash(
        &self,
        password: &Password,
        source: Option<IpAddr>,
    ) -> Result<StoredPassword, Fault> {
        let hashed = self.gate.hash(password.bytes(), source).await;
        let StoredHash { phc, pepper_id } = hashed.map_err(|error| self.fault(error))?;
        Ok(StoredPassword { hash: phc, pepper: pepper_id })
    }

    /// Returns the form in which an imported hash is stored, or why it can never be verified.
    pub(crate) fn adopt(&self, foreign: &str) -> Result<StoredPassword, String> {
        match self.gate.adopt(foreign) {
            Ok(hash) => Ok(StoredPassword { hash: hash.to_owned(), pepper: None }),
            Err(unusable) => Err(unusable.to_string()),
        }
    }

    /// Compares a password with that of an account. It computes exactly one hash, for every account
    /// and also for none. An outdated hash is only reported, because replacing it costs a second
    /// hash. That is done only after the sign-in is allowed; otherwise the time would show that the
    /// password was right.
    /// `name` is the name that was typed for the account.
    pub(crate) async fn check(
        &self,
        password: &Password,
        account: Option<&account::Model>,
        name: &str,
        source: Option<IpAddr>,
    ) -> Result<Checked, Fault> {
        if password.is_too_long() {
            // Nothing else happens for such a password. The time differs, but it is the same for
            // every name.
            return Ok(Checked::Wrong);
        }
        let dummy_salt = dummy_salt(&self.dummy_salts, name);
        let stored = account.and_then(|row| {
            let phc = row.password_hash.clone()?;
            Some(StoredHash { phc, pepper_id: row.password_pepper.clone() })
        });
        let verdict = self.gate.verify(password.bytes(), stored, dummy_salt, source).await;
        match verdict.map_err(|error| self.fault(error))? {
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

/// Returns a salt that stays the same for a name, and that nobody else can compute.
fn dummy_salt(key: &DigestKey, name: &str) -> [u8; SALT_BYTES] {
    let mut salt = [0; SALT_BYTES];
    salt.copy_from_slice(&key.digest(name.as_bytes())[..SALT_BYTES]);
    salt
}

/// Numbers for tests.
#[cfg(feature = "test-util")]
impl crate::handle::Portcullis {
    /// Returns how many password hashes this instance has computed.
    pub fn password_hashes(&self) -> u64 {
        self.per_instance::<Passwords>().gate.hashes()
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
