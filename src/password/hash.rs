//! Argon2id: makes password hashes, compares passwords with stored ones, and tells when one is
//! outdated.
//!
//! Every function here depends on its arguments only, and uses one core for about 20 ms. Async code
//! must go through the [gate](super::gate).
//!
//! 1. [`Hasher::hash`] makes a PHC string with the current parameters, keyed with the first pepper.
//! 2. [`Hasher::verify`] reads a stored string and limits what it may demand. It computes one hash
//!    with the parameters of the string and the pepper that the row names. It compares in constant
//!    time.
//! 3. If the password matches, but [`Hasher::hash`] would now make another kind of hash, the
//!    verdict asks for a rehash.
//! 4. [`Hasher::dummy`] does the same work for an account that has nothing to compare with.
//!
//! Each call of `verify` and `dummy` computes exactly one hash, whatever the result is. If a stored
//! string cannot be used, a dummy hash is computed instead. Otherwise the time of the answer would
//! tell an attacker which accounts exist or have a password.
//!
//! What it does not do:
//!
//! - It does not normalise, trim or cut passwords. The NFC and the NFD form of a text are two
//!   passwords.
//! - It does not check any password policy.
//! - It does not wipe the working memory if there were two passes or more; the next hash overwrites
//!   it. To test a guess against this memory takes half of the work of a hash.
//! - It does not hide that a row has other parameters than the current ones. Such a row takes its
//!   own time until it is rehashed.
//!
//! Configuration: [`HashParams`] (19 MiB, two passes, parallelism 1) and [`Peppers`] (none). To
//! rotate a pepper, put a new one first, and keep the old ones until no row names them. If the
//! pepper of a row is lost, its password can only be reset.
//!
//! Standards: RFC 9106, the PHC string format, OWASP Password Storage Cheat Sheet, ASVS 5 §11.4.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use data_encoding::BASE64_NOPAD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

#[cfg(feature = "foreign-hashes")]
use crate::password::foreign::{self, Foreign};

/// The length of the salt in new hashes, in bytes.
pub(crate) const SALT_BYTES: usize = 16;

/// The length of the output in new hashes, in bytes.
const OUTPUT_BYTES: usize = 32;

/// The minimum length of a pepper, in bytes: 128 bits.
const PEPPER_BYTES: usize = 16;

/// Limits for stored strings. A row may come from an import. It must not be able to demand
/// unlimited memory or time.
const STORED_ITERATIONS: RangeInclusive<u32> = 1..=64;
const STORED_PARALLELISM: RangeInclusive<u32> = 1..=16;
const STORED_SALT: RangeInclusive<usize> = 8..=64;
const STORED_OUTPUT: RangeInclusive<usize> = 16..=64;

/// The memory limit for stored strings: 256 MiB. This is libsodium's "moderate", and the most that
/// is common in hashes of other systems.
const STORED_MEMORY_KIB: u32 = 256 * 1024;

/// The cost limit for one stored hash, in KiB of memory times passes: 1 GiB, about a second of one
/// core. Without it, memory and passes within their own limits could together demand 16 times as
/// much. Hashes of other systems fit: libsodium's "moderate" has 768 MiB, the second choice of RFC
/// 9106 192 MiB.
const STORED_COST: u64 = 1024 * 1024;

/// The cost limit for the configured parameters: 4 GiB, which libsodium calls "sensitive".
pub(crate) const MAX_COST: u64 = 4 * STORED_COST;

/// Makes and verifies password hashes.
///
/// Clones share the count of hashes.
#[derive(Clone)]
pub(crate) struct Hasher {
    params: HashParams,
    peppers: Peppers,
    hashes: Arc<AtomicU64>,
}

impl Hasher {
    /// Returns a hasher for the given parameters. It does not enforce the minimum for production,
    /// so that tests can be cheap.
    ///
    /// # Errors
    /// [`HashError::Params`] when Argon2 or the limits for stored hashes do not allow the
    /// parameters. So every hash that is made here can also be verified here.
    pub(crate) fn new(params: HashParams, peppers: Peppers) -> Result<Self, HashError> {
        let bounded = STORED_ITERATIONS.contains(&params.iterations)
            && STORED_PARALLELISM.contains(&params.parallelism);
        if !bounded || params.cost() > MAX_COST || params.with_output(OUTPUT_BYTES).is_none() {
            return Err(HashError::Params);
        }
        Ok(Self { params, peppers, hashes: Arc::default() })
    }

    /// Hashes a new password. `salt` must be fresh and random.
    ///
    /// # Errors
    /// [`HashError::OutOfMemory`] when the working memory cannot be allocated. Nothing else fails.
    pub(crate) fn hash(
        &self,
        password: &[u8],
        salt: [u8; SALT_BYTES],
        memory: &mut Memory,
    ) -> Result<StoredHash, HashError> {
        let pepper = self.peppers.current();
        let output = self.compute_current(password, &salt, memory)?;
        let HashParams { memory_kib, iterations, parallelism } = self.params;
        let phc = format!(
            "$argon2id$v=19$m={memory_kib},t={iterations},p={parallelism}${}${}",
            BASE64_NOPAD.encode(&salt),
            BASE64_NOPAD.encode(output.as_ref()),
        );
        Ok(StoredHash { phc, pepper_id: pepper.map(|pepper| pepper.id.clone()) })
    }

    /// Compares a password with the stored hash of an account. Computes exactly one hash. For
    /// `dummy_salt` see [`dummy`](Self::dummy).
    pub(crate) fn verify(
        &self,
        password: &[u8],
        stored: &StoredHash,
        dummy_salt: [u8; SALT_BYTES],
        memory: &mut Memory,
    ) -> Verdict {
        self.compare(password, stored, memory).unwrap_or_else(|reason| {
            // Only the work matters here; the result would be the same.
            let _ = self.dummy(password, dummy_salt, memory);
            Verdict::Unusable(reason)
        })
    }

    /// Returns the form in which an imported hash is stored: without the prefix that names its
    /// kind. Checks that it can be verified, but computes no hash.
    pub(crate) fn adopt<'a>(&self, foreign: &'a str) -> Result<&'a str, Unusable> {
        let stored = without_kind(foreign);
        self.examine(stored)?;
        Ok(stored)
    }

    fn examine(&self, stored: &str) -> Result<(), Unusable> {
        if stored.starts_with("$argon2") {
            let row = Row::parse(stored, self.limits())?;
            return row
                .params
                .with_output(row.output.len())
                .map(|_| ())
                .ok_or(Unusable::OutOfBounds);
        }
        #[cfg(feature = "foreign-hashes")]
        return match foreign::examine(stored) {
            Some(Ok(())) => Ok(()),
            Some(Err(Foreign::OutOfBounds)) => Err(Unusable::OutOfBounds),
            Some(Err(Foreign::TooCostly)) => Err(Unusable::TooCostly),
            Some(Err(_)) => Err(Unusable::Malformed),
            None => Err(Unusable::UnknownFormat),
        };
        #[cfg(not(feature = "foreign-hashes"))]
        Err(Unusable::UnknownFormat)
    }

    /// Does the work of a comparison with a current hash, for an account that does not exist or has
    /// no password. Always returns [`Verdict::NoMatch`].
    ///
    /// The salt must stay the same for the name that was typed, and nobody else may be able to
    /// compute it. Password and salt decide which blocks Argon2id reads, and so change the time by
    /// about a percent. If all unknown names shared one salt, they would all show the same times,
    /// and known names would not.
    pub(crate) fn dummy(
        &self,
        password: &[u8],
        salt: [u8; SALT_BYTES],
        memory: &mut Memory,
    ) -> Verdict {
        // Without memory there is nothing to report. The result is never compared, so no password
        // can match.
        let _ = std::hint::black_box(self.compute_current(password, &salt, memory));
        Verdict::NoMatch
    }

    /// Returns the parameters of new hashes.
    pub(crate) fn params(&self) -> HashParams {
        self.params
    }

    /// Returns how many hashes have been computed so far, by all clones.
    pub(crate) fn hashes(&self) -> u64 {
        self.hashes.load(Ordering::Relaxed)
    }

    /// Computes one hash and returns the verdict, or computes nothing and returns the reason.
    fn compare(
        &self,
        password: &[u8],
        stored: &StoredHash,
        memory: &mut Memory,
    ) -> Result<Verdict, Unusable> {
        if !stored.phc.starts_with("$argon2") {
            return self.compare_foreign(password, stored);
        }
        let row = Row::parse(&stored.phc, self.limits())?;
        let pepper = match &stored.pepper_id {
            // To compute the hash without the pepper would be wrong: a lost pepper would then look
            // like a wrong password of every user, and nobody would notice the loss.
            Some(id) => Some(self.peppers.find(id).ok_or(Unusable::MissingPepper)?),
            None => None,
        };
        let params = row.params.with_output(row.output.len()).ok_or(Unusable::OutOfBounds)?;
        let argon2 = keyed(pepper, row.algorithm, row.version, params);
        let mut computed = Zeroizing::new(vec![0; row.output.len()]);
        self.compute(&argon2, password, &row.salt, &mut computed, memory)
            .map_err(|_| Unusable::OutOfMemory)?;
        if !bool::from(computed.ct_eq(&row.output)) {
            return Ok(Verdict::NoMatch);
        }
        // A rehash is also due if the stored parameters cost more: all rows should take the same
        // time as the dummy, so that the time does not tell accounts apart.
        let current = row.algorithm == Algorithm::Argon2id
            && row.version == Version::V0x13
            && row.params == self.params
            && row.salt.len() >= SALT_BYTES
            && row.output.len() == OUTPUT_BYTES
            && stored.pepper_id.as_deref() == self.peppers.current().map(|pepper| &*pepper.id);
        Ok(Verdict::Match { rehash: !current })
    }

    #[cfg(feature = "foreign-hashes")]
    fn compare_foreign(&self, password: &[u8], stored: &StoredHash) -> Result<Verdict, Unusable> {
        // Imported hashes never have a pepper. A row that names one is broken.
        if stored.pepper_id.is_some() {
            return Err(Unusable::Malformed);
        }
        let verdict = match foreign::verify(password, &stored.phc) {
            Some(Foreign::Match) => Verdict::Match { rehash: true },
            Some(Foreign::MatchTrimmed) => Verdict::Match { rehash: false },
            Some(Foreign::NoMatch) => Verdict::NoMatch,
            Some(Foreign::Malformed) => return Err(Unusable::Malformed),
            Some(Foreign::OutOfBounds) => return Err(Unusable::OutOfBounds),
            Some(Foreign::TooCostly) => return Err(Unusable::TooCostly),
            Some(Foreign::OutOfMemory) => return Err(Unusable::OutOfMemory),
            None => return Err(Unusable::UnknownFormat),
        };
        self.hashes.fetch_add(1, Ordering::Relaxed);
        Ok(verdict)
    }

    #[cfg(not(feature = "foreign-hashes"))]
    #[expect(clippy::unused_self, reason = "the same call with and without the feature")]
    fn compare_foreign(&self, _: &[u8], _: &StoredHash) -> Result<Verdict, Unusable> {
        Err(Unusable::UnknownFormat)
    }

    fn compute_current(
        &self,
        password: &[u8],
        salt: &[u8],
        memory: &mut Memory,
    ) -> Result<Zeroizing<[u8; OUTPUT_BYTES]>, HashError> {
        let params = self.params.with_output(OUTPUT_BYTES).ok_or(HashError::Params)?;
        let argon2 = keyed(self.peppers.current(), Algorithm::Argon2id, Version::V0x13, params);
        let mut output = Zeroizing::new([0; OUTPUT_BYTES]);
        self.compute(&argon2, password, salt, output.as_mut(), memory)?;
        Ok(output)
    }

    fn compute(
        &self,
        argon2: &Argon2<'_>,
        password: &[u8],
        salt: &[u8],
        output: &mut [u8],
        memory: &mut Memory,
    ) -> Result<(), HashError> {
        let blocks = memory.at_least(argon2.params().block_count())?;
        argon2
            .hash_password_into_with_memory(password, salt, output, &mut *blocks)
            .map_err(|_| HashError::Params)?;
        if argon2.params().t_cost() == 1 {
            // After a single pass the first blocks still hold what was derived from the password.
            // An attacker who reads this memory could test each guess with one BLAKE2b.
            blocks.fill(Block::new());
        }
        self.hashes.fetch_add(1, Ordering::Relaxed);
        memory.at_most(self.params.memory_kib);
        Ok(())
    }

    /// Returns the limits for stored strings. They are four times the configured values if these
    /// are higher than the fixed limits. So hashes stay valid when the configuration is lowered
    /// step by step.
    fn limits(&self) -> Limits {
        Limits {
            memory_kib: self.params.memory_kib.saturating_mul(4).max(STORED_MEMORY_KIB),
            cost: (self.params.cost().saturating_mul(4)).clamp(STORED_COST, MAX_COST),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher")
            .field("params", &self.params)
            .field("peppers", &self.peppers)
            .field("hashes", &self.hashes())
            .finish()
    }
}

/// Removes the prefix that some systems write before a complete hash: `{bcrypt}` (Spring),
/// `{CRYPT}` (LDAP), `{BLF-CRYPT}` (Dovecot), `bcrypt$` and `argon2` (Django). The rest shows its
/// own kind.
fn without_kind(foreign: &str) -> &str {
    const IN_BRACES: [&str; 7] = [
        "bcrypt",
        "crypt",
        "blf-crypt",
        "argon2",
        "argon2id",
        "argon2@springsecurity_v5_2",
        "argon2@springsecurity_v5_8",
    ];
    let in_braces = foreign.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    let rest = match in_braces {
        Some((kind, rest)) => {
            IN_BRACES.iter().any(|known| kind.eq_ignore_ascii_case(known)).then_some(rest)
        }
        None => foreign.strip_prefix("bcrypt$").or_else(|| foreign.strip_prefix("argon2")),
    };
    let complete = |rest: &&str| ["$2", "$argon2"].iter().any(|start| rest.starts_with(start));
    rest.filter(complete).unwrap_or(foreign)
}

fn keyed(
    pepper: Option<&Pepper>,
    algorithm: Algorithm,
    version: Version,
    params: Params,
) -> Argon2<'_> {
    match pepper {
        Some(pepper) => Argon2::new_with_secret(&pepper.secret, algorithm, version, params)
            .expect("`Peppers::new` bounds the secret"),
        None => Argon2::new(algorithm, version, params),
    }
}

/// The cost parameters of an Argon2 hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HashParams {
    /// Memory in KiB.
    pub(crate) memory_kib: u32,
    /// The number of passes over the memory.
    pub(crate) iterations: u32,
    /// The degree of parallelism (RFC 9106 §3.1), which Argon2 calls `p`. It is part of the hash,
    /// but this implementation never uses more than one core for a hash.
    pub(crate) parallelism: u32,
}

impl HashParams {
    /// Memory times passes; the time of a hash is proportional to it. The parallelism only divides
    /// the memory.
    pub(crate) fn cost(self) -> u64 {
        u64::from(self.memory_kib) * u64::from(self.iterations)
    }

    fn with_output(self, bytes: usize) -> Option<Params> {
        Params::new(self.memory_kib, self.iterations, self.parallelism, Some(bytes)).ok()
    }
}

impl Default for HashParams {
    /// 19 MiB, two passes, parallelism 1. OWASP lists equal choices. One with more memory per hash
    /// would halve the number of sign-ins that fit in the same memory.
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2, parallelism: 1 }
    }
}

/// Secrets that key every hash and are not stored in the database. Each has an id, by which rows
/// name it. The first one is the current one.
#[derive(Clone, Default)]
pub(crate) struct Peppers(Arc<[Pepper]>);

struct Pepper {
    id: String,
    secret: Zeroizing<Vec<u8>>,
}

impl Peppers {
    /// Takes pairs of id and secret, the current one first. An empty list means no pepper.
    ///
    /// # Errors
    /// [`HashError::PepperId`] for an empty or repeated id, [`HashError::PepperLength`] for a
    /// secret outside 16 to 1024 bytes. So an unset variable cannot pass as a pepper.
    pub(crate) fn new(peppers: Vec<(String, Vec<u8>)>) -> Result<Self, HashError> {
        let peppers: Vec<Pepper> = peppers
            .into_iter()
            .map(|(id, secret)| Pepper { id, secret: Zeroizing::new(secret) })
            .collect();
        for (index, pepper) in peppers.iter().enumerate() {
            let repeated = peppers[..index].iter().any(|earlier| earlier.id == pepper.id);
            if pepper.id.is_empty() || repeated {
                return Err(HashError::PepperId { id: pepper.id.clone() });
            }
            if !(PEPPER_BYTES..=1024).contains(&pepper.secret.len()) {
                return Err(HashError::PepperLength { id: pepper.id.clone() });
            }
        }
        Ok(Self(peppers.into()))
    }

    fn current(&self) -> Option<&Pepper> {
        self.0.first()
    }

    fn find(&self, id: &str) -> Option<&Pepper> {
        self.0.iter().find(|pepper| pepper.id == id)
    }
}

impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|pepper| (&pepper.id, ".."))).finish()
    }
}

/// The stored password of an account. It is never printed.
#[derive(Clone)]
pub(crate) struct StoredHash {
    /// The PHC string, or an imported hash without changes.
    pub(crate) phc: String,
    /// The id of the pepper that it was keyed with.
    pub(crate) pepper_id: Option<String>,
}

impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredHash(..)")
    }
}

/// The result of comparing a password with a stored hash. A client cannot tell `NoMatch` from
/// `Unusable`.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The password is right.
    Match {
        /// True if a new hash should be stored, because this one is not as it would be made now. If
        /// that fails, the sign-in still succeeds, and the next one repeats it.
        rehash: bool,
    },
    /// The password is wrong.
    NoMatch,
    /// No password can match this row. It should be logged: only a reset helps, or the missing
    /// pepper.
    Unusable(Unusable),
}

/// The reason why no password can be compared with a stored hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    /// Its format is not known here, or the feature for it is off.
    #[error("the stored hash is in no known format")]
    UnknownFormat,
    /// Its format is known, but the string is broken.
    #[error("the stored hash is malformed")]
    Malformed,
    /// A parameter or a length is outside its own limit.
    #[error("the stored hash has parameters out of bounds")]
    OutOfBounds,
    /// Each parameter is within its limit, but together they demand too much work.
    #[error("the stored hash asks for too much work; its owner needs a new password (a reset)")]
    TooCostly,
    /// The pepper that it names is not configured.
    #[error("the stored hash names a pepper that is not configured")]
    MissingPepper,
    /// Its working memory cannot be allocated.
    #[error("there is no memory to compute the stored hash")]
    OutOfMemory,
}

/// The reason why a hasher cannot be configured, or a hash cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HashError {
    /// The parameters cannot be computed, or could not be verified again.
    #[error(
        "argon2 parameters out of range: 1 to 64 iterations, parallelism 1 to 16, at least 8 KiB of \
         memory for each"
    )]
    Params,
    /// The id of a pepper is empty or repeated.
    #[error("pepper ids must be distinct and not empty: `{id}`")]
    PepperId {
        /// The id.
        id: String,
    },
    /// A pepper is shorter than 16 bytes or longer than 1024.
    #[error("pepper `{id}` must have 16 to 1024 bytes")]
    PepperLength {
        /// The id.
        id: String,
    },
    /// The working memory cannot be allocated.
    #[error("there is no memory to compute the hash")]
    OutOfMemory,
}

/// The working memory of Argon2, kept between hashes. New pages for every hash would cost a quarter
/// of the throughput.
///
/// It is empty at first and grows with the first hash. If a stored hash needed more than the
/// configured parameters, it shrinks again afterwards.
#[derive(Default)]
pub(crate) struct Memory(Vec<Block>);

impl Memory {
    fn at_least(&mut self, blocks: usize) -> Result<&mut [Block], HashError> {
        if self.0.len() < blocks {
            // The old contents are not needed. Clearing them first avoids a copy.
            self.0.clear();
            self.0.try_reserve_exact(blocks).map_err(|_| HashError::OutOfMemory)?;
            self.0.resize(blocks, Block::new());
        }
        Ok(&mut self.0[..blocks])
    }

    /// Shrinks the memory to this size. A block is one KiB.
    fn at_most(&mut self, memory_kib: u32) {
        let blocks = usize::try_from(memory_kib).unwrap_or(usize::MAX);
        if self.0.len() > blocks {
            self.0.truncate(blocks);
            self.0.shrink_to_fit();
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("blocks", &self.0.len()).finish_non_exhaustive()
    }
}

/// What a stored Argon2 string may demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    memory_kib: u32,
    /// Memory times passes.
    cost: u64,
}

/// A stored Argon2 string within the limits.
struct Row {
    algorithm: Algorithm,
    version: Version,
    params: HashParams,
    salt: Vec<u8>,
    output: Vec<u8>,
}

impl Row {
    /// Parses `$argon2id$v=19$m=19456,t=2,p=1$salt$output`, strictly in the order that every
    /// implementation writes. Only `v` may be missing; it is then 16 (version 1.0).
    fn parse(phc: &str, limits: Limits) -> Result<Self, Unusable> {
        let rest = phc.strip_prefix('$').ok_or(Unusable::Malformed)?;
        let (algorithm, rest) = rest.split_once('$').ok_or(Unusable::Malformed)?;
        let algorithm = match algorithm {
            "argon2id" => Algorithm::Argon2id,
            "argon2i" => Algorithm::Argon2i,
            "argon2d" => Algorithm::Argon2d,
            _ => return Err(Unusable::UnknownFormat),
        };
        let (version, rest) = if let Some(rest) = rest.strip_prefix("v=19$") {
            (Version::V0x13, rest)
        } else {
            (Version::V0x10, rest.strip_prefix("v=16$").unwrap_or(rest))
        };
        let mut fields = rest.split('$');
        let mut field = || fields.next().ok_or(Unusable::Malformed);
        let (params, salt, output) = (field()?, field()?, field()?);
        if fields.next().is_some() {
            return Err(Unusable::Malformed);
        }
        Ok(Self {
            algorithm,
            version,
            params: parse_params(params, limits)?,
            salt: decode(salt, &STORED_SALT)?,
            output: decode(output, &STORED_OUTPUT)?,
        })
    }
}

fn parse_params(text: &str, limits: Limits) -> Result<HashParams, Unusable> {
    let mut pairs = text.split(',');
    let mut number = |key: &str, bounds: RangeInclusive<u32>| {
        let digits = pairs.next().and_then(|pair| pair.strip_prefix(key));
        let digits = digits.ok_or(Unusable::Malformed)?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Unusable::Malformed);
        }
        digits.parse().ok().filter(|number| bounds.contains(number)).ok_or(Unusable::OutOfBounds)
    };
    let params = HashParams {
        memory_kib: number("m=", Params::MIN_M_COST..=limits.memory_kib)?,
        iterations: number("t=", STORED_ITERATIONS)?,
        parallelism: number("p=", STORED_PARALLELISM)?,
    };
    if pairs.next().is_some() {
        return Err(Unusable::Malformed);
    }
    if params.cost() > limits.cost {
        return Err(Unusable::TooCostly);
    }
    Ok(params)
}

fn decode(text: &str, lengths: &RangeInclusive<usize>) -> Result<Vec<u8>, Unusable> {
    // Base64 has four characters for three bytes. A longer text is refused before it is decoded.
    if text.len() > lengths.end().div_ceil(3) * 4 {
        return Err(Unusable::OutOfBounds);
    }
    let bytes = BASE64_NOPAD.decode(text.as_bytes()).map_err(|_| Unusable::Malformed)?;
    if lengths.contains(&bytes.len()) { Ok(bytes) } else { Err(Unusable::OutOfBounds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: HashParams = HashParams { memory_kib: 64, iterations: 2, parallelism: 1 };
    const SALT: [u8; 16] = *b"0123456789abcdef";
    const STAPLE: &str = "correct horse battery staple";
    const MATCH: Verdict = Verdict::Match { rehash: false };
    const OUTDATED: Verdict = Verdict::Match { rehash: true };

    // Made with Python's argon2-cffi (the reference implementation). The last one was made through
    // its context with a secret.
    const ARGON2ID: &str = "$argon2id$v=19$m=64,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$gAwJW5vx5itn2V9KHlEUjyUCrpDYgKyQf0gMaHGx1h4";
    const ARGON2I: &str = "$argon2i$v=19$m=64,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$tTEGqyzWgE8XeFIcVmGNBy2ro7tX1aVB4Lm/p52JsIo";
    const ARGON2D: &str = "$argon2d$v=19$m=64,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$ieoA3l7PS/I3ikiFn012V+F3IzsQbtSPrjbzufF2dPM";
    const TWO_LANES: &str = "$argon2id$v=19$m=64,t=2,p=2$MDEyMzQ1Njc4OWFiY2RlZg$ZU7BdSwuAT2NJbDWfJmIGFAdzu32uX5r6jw2TuRMaj4";
    const VERSION_16: &str = "$argon2id$v=16$m=64,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$qE2NAJv+l00hufrIZfQRUx+K4huY0JAVlc2AoCy4oc4";
    const NO_VERSION: &str =
        "$argon2id$m=64,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$qE2NAJv+l00hufrIZfQRUx+K4huY0JAVlc2AoCy4oc4";
    const SHORT_SALT: &str = "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHQ$K/AJNFH8hUC5otTqUI10VA";
    const PEPPERED: &str = "$argon2id$v=19$m=64,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$W2zTdhGSdI+UJstqOo/3gmhX3+tg2VO6uneIEYhc1m0";
    const PEPPER: &[u8] = b"pepper-of-sixteen-bytes-or-more";

    fn hasher(params: HashParams, peppers: &[(&str, &[u8])]) -> Hasher {
        let peppers = peppers.iter().map(|(id, secret)| ((*id).into(), secret.to_vec())).collect();
        Hasher::new(params, Peppers::new(peppers).unwrap()).unwrap()
    }

    fn row(phc: &str) -> StoredHash {
        StoredHash { phc: phc.into(), pepper_id: None }
    }

    fn made(hasher: &Hasher, password: impl AsRef<[u8]>) -> StoredHash {
        hasher.hash(password.as_ref(), SALT, &mut Memory::default()).unwrap()
    }

    /// Verifies, and checks that this cost one hash and kept no memory beyond the configured size.
    #[track_caller]
    fn check(hasher: &Hasher, password: impl AsRef<[u8]>, stored: &StoredHash, expected: Verdict) {
        let mut memory = Memory::default();
        let before = hasher.hashes();
        assert_eq!(hasher.verify(password.as_ref(), stored, SALT, &mut memory), expected);
        assert_eq!(hasher.hashes() - before, 1, "one hash of work");
        assert!(memory.0.capacity() <= hasher.params.memory_kib as usize);
    }

    #[test]
    fn only_the_right_password_matches() {
        let hasher = hasher(CHEAP, &[]);
        let stored = made(&hasher, STAPLE);
        assert_eq!(stored.phc, ARGON2ID);
        check(&hasher, STAPLE, &stored, MATCH);
        for wrong in ["", "Correct horse battery staple", "correct horse battery staple "] {
            check(&hasher, wrong, &stored, Verdict::NoMatch);
        }
    }

    #[test]
    fn a_password_is_verified_to_its_last_byte() {
        let hasher = hasher(CHEAP, &[]);
        for (password, neighbour) in [
            (format!("{}b", "a".repeat(72)), format!("{}c", "a".repeat(72))),
            ("a".repeat(72), "a".repeat(73)),
            (format!("{}b", "a".repeat(1023)), format!("{}c", "a".repeat(1023))),
            ("a\0b".into(), "a\0c".into()),
            ("a".into(), "a\0".into()),
            ("a".into(), "a\0a".into()),
            // The same letter, composed and decomposed.
            ("caf\u{e9}".into(), "cafe\u{301}".into()),
            ("x".into(), "X".into()),
        ] {
            let stored = made(&hasher, &password);
            check(&hasher, &password, &stored, MATCH);
            check(&hasher, &neighbour, &stored, Verdict::NoMatch);
        }
    }

    #[test]
    fn a_match_made_otherwise_than_now_asks_for_a_rehash() {
        let now = hasher(CHEAP, &[]);
        check(&now, STAPLE, &row(ARGON2ID), MATCH);
        for stored in [ARGON2I, ARGON2D, TWO_LANES, VERSION_16, NO_VERSION, SHORT_SALT] {
            check(&now, STAPLE, &row(stored), OUTDATED);
            check(&now, "wrong", &row(stored), Verdict::NoMatch);
        }
        for params in [
            HashParams { memory_kib: 128, ..CHEAP },
            HashParams { iterations: 3, ..CHEAP },
            HashParams { memory_kib: 32, iterations: 1, ..CHEAP },
        ] {
            let changed = hasher(params, &[]);
            check(&changed, STAPLE, &row(ARGON2ID), OUTDATED);
            check(&changed, STAPLE, &made(&changed, STAPLE), MATCH);
        }
    }

    #[test]
    fn peppers_rotate_and_old_rows_keep_working() {
        let old = hasher(CHEAP, &[("1", PEPPER)]);
        let stored = made(&old, STAPLE);
        assert_eq!((&*stored.phc, stored.pepper_id.as_deref()), (PEPPERED, Some("1")));
        check(&old, STAPLE, &stored, MATCH);
        check(&old, STAPLE, &row(ARGON2ID), OUTDATED);

        let rotated = hasher(CHEAP, &[("2", b"another pepper, also long enough"), ("1", PEPPER)]);
        check(&rotated, STAPLE, &stored, OUTDATED);
        check(&rotated, "wrong", &stored, Verdict::NoMatch);
        let renewed = made(&rotated, STAPLE);
        assert_eq!(renewed.pepper_id.as_deref(), Some("2"));
        check(&rotated, STAPLE, &renewed, MATCH);
    }

    #[test]
    fn a_row_whose_pepper_is_missing_fails_closed() {
        let stored = StoredHash { phc: PEPPERED.into(), pepper_id: Some("1".into()) };
        let missing = Verdict::Unusable(Unusable::MissingPepper);
        check(&hasher(CHEAP, &[]), STAPLE, &stored, missing);
        check(&hasher(CHEAP, &[("2", PEPPER)]), STAPLE, &stored, missing);
        check(&hasher(CHEAP, &[("1", PEPPER)]), STAPLE, &stored, MATCH);
        // The same id with another secret looks like a wrong password.
        let other = hasher(CHEAP, &[("1", b"another pepper, also long enough")]);
        check(&other, STAPLE, &stored, Verdict::NoMatch);
        // A row that lost or gained the name of its pepper does not match either.
        check(&hasher(CHEAP, &[("1", PEPPER)]), STAPLE, &row(PEPPERED), Verdict::NoMatch);
    }

    #[test]
    fn a_row_that_asks_for_too_much_is_refused_without_allocating() {
        let hasher = hasher(CHEAP, &[]);
        let tail = "$MDEyMzQ1Njc4OWFiY2RlZg$gAwJW5vx5itn2V9KHlEUjyUCrpDYgKyQf0gMaHGx1h4";
        for params in [
            "m=4194304,t=2,p=1",
            "m=4194304,t=64,p=16",
            "m=262145,t=2,p=1",
            "m=99999999999,t=2,p=1",
            "m=64,t=65,p=1",
            "m=64,t=0,p=1",
            "m=64,t=2,p=17",
            "m=64,t=2,p=0",
            "m=7,t=2,p=1",
            "m=64,t=2,p=9",
        ] {
            let stored = row(&format!("$argon2id$v=19${params}{tail}"));
            check(&hasher, STAPLE, &stored, Verdict::Unusable(Unusable::OutOfBounds));
        }
        let long = BASE64_NOPAD.encode(&[7; 65]);
        for (salt, output) in
            [("c2FsdHM", ARGON2ID), ("c2FsdHNhbHQ", "K/AJNFH8hUC5otTqUI10"), (&long, &long)]
        {
            let stored = row(&format!("$argon2id$v=19$m=64,t=2,p=1${salt}${output}"));
            let verdict = hasher.verify(STAPLE.as_bytes(), &stored, SALT, &mut Memory::default());
            assert!(matches!(verdict, Verdict::Unusable(_)), "{salt} {output}");
        }
    }

    #[test]
    fn the_bound_on_memory_follows_the_configuration_upwards() {
        let cheap = hasher(CHEAP, &[]);
        assert_eq!(cheap.limits(), Limits { memory_kib: 256 * 1024, cost: STORED_COST });
        let dear = hasher(HashParams { memory_kib: 192 * 1024, ..CHEAP }, &[]);
        let limits = Limits { memory_kib: 768 * 1024, cost: 4 * 2 * 192 * 1024 };
        assert_eq!(dear.limits(), limits);
        let dearest =
            hasher(HashParams { memory_kib: 1024 * 1024, iterations: 4, parallelism: 1 }, &[]);
        assert_eq!(dearest.limits(), Limits { memory_kib: 4 * 1024 * 1024, cost: MAX_COST });
        // Every hash that is made can be verified again.
        assert!(dearest.params.cost() <= dearest.limits().cost);
    }

    #[test]
    fn a_row_whose_memory_and_passes_together_ask_for_too_much_is_refused_before_the_work() {
        let hasher = hasher(CHEAP, &[]);
        let tail = "$MDEyMzQ1Njc4OWFiY2RlZg$gAwJW5vx5itn2V9KHlEUjyUCrpDYgKyQf0gMaHGx1h4";
        let row = |params: &str| row(&format!("$argon2id$v=19${params}{tail}"));
        for params in
            ["m=262144,t=64,p=1", "m=262144,t=5,p=1", "m=65536,t=17,p=16", "m=16385,t=64,p=1"]
        {
            check(&hasher, STAPLE, &row(params), Verdict::Unusable(Unusable::TooCostly));
            assert_eq!(hasher.examine(&row(params).phc), Err(Unusable::TooCostly), "{params}");
        }
        // These are still allowed: libsodium's "moderate", RFC 9106's second choice, and the limit
        // itself.
        for params in
            ["m=262144,t=3,p=1", "m=65536,t=3,p=4", "m=262144,t=4,p=1", "m=16384,t=64,p=1"]
        {
            assert_eq!(hasher.examine(&row(params).phc), Ok(()), "{params}");
        }
    }

    #[test]
    fn a_broken_row_is_unusable_and_costs_one_hash() {
        let hasher = hasher(CHEAP, &[]);
        let tail = "MDEyMzQ1Njc4OWFiY2RlZg$gAwJW5vx5itn2V9KHlEUjyUCrpDYgKyQf0gMaHGx1h4";
        for stored in [
            "$argon2id",
            "$argon2id$",
            "$argon2id$v=19$m=64,t=2,p=1",
            "$argon2id$v=19$m=64,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg",
            &format!("$argon2id$v=19$m=64,t=2,p=1${tail}="),
            &format!("$argon2id$v=19$m=64,t=2,p=1${tail}$"),
            &format!("$argon2id$v=20$m=64,t=2,p=1${tail}"),
            &format!("$argon2id$v=19$t=2,m=64,p=1${tail}"),
            &format!("$argon2id$v=19$m=+64,t=2,p=1${tail}"),
            &format!("$argon2id$v=19$m=,t=2,p=1${tail}"),
            &format!("$argon2id$v=19$m=64,t=2${tail}"),
            &format!("$argon2id$v=19$m=64,t=2,p=1,keyid=AA${tail}"),
        ] {
            check(&hasher, STAPLE, &row(stored), Verdict::Unusable(Unusable::Malformed));
        }
        for stored in ["", "!", STAPLE, "$argon2$v=19$m=64,t=2,p=1$x$y", "$argon2x$", "$yescrypt$"]
        {
            check(&hasher, STAPLE, &row(stored), Verdict::Unusable(Unusable::UnknownFormat));
        }
        // No password matches an empty row, not even the empty password.
        check(&hasher, "", &row(""), Verdict::Unusable(Unusable::UnknownFormat));
    }

    #[test]
    fn every_outcome_costs_one_hash() {
        let hasher = hasher(CHEAP, &[]);
        let mut memory = Memory::default();
        assert_eq!(hasher.dummy(STAPLE.as_bytes(), SALT, &mut memory), Verdict::NoMatch);
        assert_eq!(hasher.hashes(), 1);
        hasher.hash(STAPLE.as_bytes(), SALT, &mut memory).unwrap();
        assert_eq!(hasher.hashes(), 2);
        for (index, stored) in
            [ARGON2ID, ARGON2I, SHORT_SALT, PEPPERED, "$2b$", ""].iter().enumerate()
        {
            let _ = hasher.verify(STAPLE.as_bytes(), &row(stored), SALT, &mut memory);
            assert_eq!(hasher.clone().hashes(), 3 + index as u64, "{stored}");
        }
    }

    #[test]
    fn memory_is_kept_and_shrinks_back_after_a_dearer_row() {
        let cheap = hasher(CHEAP, &[]);
        let dear = hasher(HashParams { memory_kib: 256, ..CHEAP }, &[]);
        let stored = made(&dear, STAPLE);
        let mut memory = Memory::default();
        assert_eq!(cheap.verify(STAPLE.as_bytes(), &row(ARGON2ID), SALT, &mut memory), MATCH);
        assert_eq!(memory.0.len(), 64);
        let kept = memory.0.as_ptr();
        assert_eq!(cheap.verify(b"wrong", &row(ARGON2ID), SALT, &mut memory), Verdict::NoMatch);
        assert_eq!(memory.0.as_ptr(), kept);
        assert_eq!(cheap.verify(STAPLE.as_bytes(), &stored, SALT, &mut memory), OUTDATED);
        assert_eq!((memory.0.len(), memory.0.capacity()), (64, 64));
    }

    #[test]
    fn a_single_pass_leaves_nothing_in_kept_memory() {
        for (iterations, wiped) in [(1, true), (2, false)] {
            let hasher = hasher(HashParams { iterations, ..CHEAP }, &[]);
            let mut memory = Memory::default();
            hasher.hash(STAPLE.as_bytes(), SALT, &mut memory).unwrap();
            let zero = memory.0.iter().all(|block| block.as_ref().iter().all(|word| *word == 0));
            assert_eq!(zero, wiped);
        }
    }

    #[test]
    fn parameters_that_could_not_be_verified_again_are_refused() {
        for params in [
            HashParams { memory_kib: 7, ..CHEAP },
            HashParams { parallelism: 9, ..CHEAP },
            HashParams { parallelism: 0, ..CHEAP },
            HashParams { memory_kib: 1024, parallelism: 17, ..CHEAP },
            HashParams { iterations: 0, ..CHEAP },
            HashParams { iterations: 65, ..CHEAP },
            HashParams { memory_kib: 1024 * 1024, iterations: 5, parallelism: 1 },
            HashParams { memory_kib: u32::MAX, ..CHEAP },
        ] {
            assert_eq!(Hasher::new(params, Peppers::default()).unwrap_err(), HashError::Params);
        }
        for params in
            [HashParams { iterations: 64, ..CHEAP }, HashParams { parallelism: 8, ..CHEAP }]
        {
            let hasher = hasher(params, &[]);
            check(&hasher, STAPLE, &made(&hasher, STAPLE), MATCH);
        }
    }

    #[test]
    fn an_unset_or_repeated_pepper_is_refused() {
        let peppers = |list: &[(&str, usize)]| {
            Peppers::new(list.iter().map(|(id, n)| ((*id).into(), vec![7; *n])).collect())
        };
        assert!(peppers(&[]).is_ok());
        assert!(peppers(&[("1", 16), ("2", 1024)]).is_ok());
        for bytes in [0, 15, 1025] {
            let refused = peppers(&[("2", 32), ("1", bytes)]).unwrap_err();
            assert_eq!(refused, HashError::PepperLength { id: "1".into() });
        }
        for id in ["", "2"] {
            let refused = peppers(&[("2", 32), (id, 32)]).unwrap_err();
            assert_eq!(refused, HashError::PepperId { id: id.into() });
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        let hasher = hasher(CHEAP, &[("id-1", PEPPER)]);
        let stored = made(&hasher, STAPLE);
        let mut memory = Memory::default();
        let _ = hasher.dummy(STAPLE.as_bytes(), SALT, &mut memory);
        assert_eq!(format!("{stored:?}"), "StoredHash(..)");
        assert_eq!(format!("{memory:?}"), "Memory { blocks: 64, .. }");
        let printed = format!("{hasher:?}");
        assert!(printed.contains("id-1"), "{printed}");
        let bytes = format!("{:?}", &PEPPER[..4]);
        assert!(
            !printed.contains("pepper-of") && !printed.contains(bytes.trim_matches(['[', ']']))
        );
    }

    #[test]
    fn the_kind_before_a_complete_hash_is_not_stored() {
        let argon2 = made(&hasher(CHEAP, &[]), STAPLE).phc;
        let bcrypt = "$2b$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS";
        for (kind, hash) in [
            ("{argon2}", argon2.as_str()),
            ("{argon2@SpringSecurity_v5_8}", &argon2),
            ("{ARGON2ID}", &argon2),
            ("argon2", &argon2),
            ("{bcrypt}", bcrypt),
            ("{BLF-CRYPT}", bcrypt),
            ("{CRYPT}", bcrypt),
            ("bcrypt$", bcrypt),
            ("", bcrypt),
        ] {
            assert_eq!(without_kind(&format!("{kind}{hash}")), hash, "{kind}");
        }
        assert_eq!(hasher(CHEAP, &[]).adopt(&format!("{{argon2}}{argon2}")), Ok(argon2.as_str()));
        for unknown in [
            "{bcrypt}",
            "{bcrypt}plain text",
            "{bcrypt",
            "{noop}$2b$05$abcdefghijklmnopqrstuu",
            "{bcrypt}{bcrypt}$2b$05$abc",
            "argon2",
            "bcrypt$x",
            "",
        ] {
            assert_eq!(without_kind(unknown), unknown);
            let refused = hasher(CHEAP, &[]).adopt(unknown);
            assert_eq!(refused, Err(Unusable::UnknownFormat), "{unknown}");
        }
    }

    #[cfg(feature = "foreign-hashes")]
    #[test]
    fn white_space_that_wordpress_ignores_does_not_replace_the_hash() {
        let wordpress = row("$wp$2y$05$lJpPqEoPMABcGP.Vus2Ng.10E/xnScRRxE7jVbgjK6yLRkl3SKfuK");
        let hasher = hasher(CHEAP, &[]);
        check(&hasher, STAPLE, &wordpress, OUTDATED);
        let spaced = Verdict::Match { rehash: false };
        check(&hasher, format!(" {STAPLE}\t"), &wordpress, spaced);
        check(&hasher, STAPLE.replace(' ', "  "), &wordpress, Verdict::NoMatch);
    }

    #[cfg(feature = "foreign-hashes")]
    #[test]
    fn imported_hashes_match_once_and_ask_for_a_rehash() {
        let hasher = hasher(CHEAP, &[("1", PEPPER)]);
        let bcrypt = "$2b$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS";
        let pbkdf2 =
            "pbkdf2_sha256$1000$0123456789abcdef$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI=";
        for stored in [bcrypt, pbkdf2] {
            check(&hasher, STAPLE, &row(stored), OUTDATED);
            check(&hasher, "wrong", &row(stored), Verdict::NoMatch);
            let peppered = StoredHash { pepper_id: Some("1".into()), ..row(stored) };
            check(&hasher, STAPLE, &peppered, Verdict::Unusable(Unusable::Malformed));
        }
        let dear = bcrypt.replace("$05$", "$15$");
        check(&hasher, STAPLE, &row(&dear), Verdict::Unusable(Unusable::OutOfBounds));
        check(&hasher, STAPLE, &row("$2b$05$"), Verdict::Unusable(Unusable::Malformed));
    }

    #[cfg(not(feature = "foreign-hashes"))]
    #[test]
    fn imported_hashes_are_unknown_without_the_feature() {
        let bcrypt = "$2b$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS";
        let unknown = Verdict::Unusable(Unusable::UnknownFormat);
        check(&hasher(CHEAP, &[]), STAPLE, &row(bcrypt), unknown);
    }
}
