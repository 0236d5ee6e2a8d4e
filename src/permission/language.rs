//! The permission language: `domain:action:instance`, with `*` and lists.
//!
//! # What it is for
//!
//! A permission is a text that a person can read in a table and a program can check:
//! `printer:print`, `dashboard:info,delete`, `doc:edit:42`. The same language is used for three
//! things: what an account *has* (a grant), what a route *requires* (a requirement), and the most
//! that a session may do (a ceiling).
//!
//! ```text
//! permission  = part *7( ":" part )               ; at most 256 bytes
//! part        = alternative *31( "," alternative )
//! alternative = "*" / token
//! token       = 1*( any character but ":" "," "*", white space, control and invisible characters )
//! ```
//!
//! # How a check works
//!
//! 1. Grants are parsed once into a [`PermissionSet`], when an identity is loaded.
//! 2. A requirement is parsed once into its [`Atoms`], when a route is built:
//!    `dashboard:info,delete` requires `dashboard:info` and `dashboard:delete`.
//! 3. [`PermissionSet::allows`] needs, for each atom, a grant that implies it. It does not
//!    allocate.
//!
//! A grant implies a request if each part of the grant contains `*` or every alternative of the
//! request's part. A grant with fewer parts implies everything below it (`a` implies `a:b`). If a
//! grant has more parts, the additional ones must contain `*` (`a:*` implies `a`, `a:b` does not).
//! A `*` in the *request* is an ordinary alternative, so it never widens a grant: `a:b` does not
//! imply `a:*`.
//!
//! # Example
//!
//! ```rust
//! use portcullis::{Permission, PermissionSet};
//!
//! let printing = Permission::parse("printer:query,print")?;
//! assert!(printing.implies(&Permission::parse("printer:print:laser-3")?));
//! assert!(!printing.implies(&Permission::parse("printer:*")?));
//!
//! // The two halves of a requirement may come from two grants.
//! let cancelling = Permission::parse("printer:cancel:laser-3")?;
//! let held: PermissionSet = [printing, cancelling].into_iter().collect();
//! let wanted = Permission::parse("printer:print,cancel")?.on("laser-3")?;
//! assert!(held.allows(&wanted.atoms()?));
//! assert!(held.grant_for(&wanted).is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Ids that come from users must go through [`Permission::on`]. Never build a permission by
//! formatting a string:
//!
//! ```rust
//! use portcullis::Permission;
//!
//! let edit = Permission::parse("doc:edit")?;
//! assert_eq!(edit.on("42")?.as_str(), "doc:edit:42");
//! assert!(edit.on("*").is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it does not do
//!
//! - It repairs nothing. Nothing is trimmed or folded: `Doc` and `doc` differ, and so do two
//!   Unicode spellings of `é`. A malformed permission is refused when it is written. In an old row
//!   it is reported and never granted ([`parse_list`]).
//! - It has no negation. A grant only adds rights. To take a right away, revoke the grant.
//! - It has no patterns inside a token: `edit*` is refused, and not taken literally.
//!
//! # Limits
//!
//! The limits are not configurable, so every node can read what another node wrote:
//! [`Permission::MAX_BYTES`], [`Permission::MAX_PARTS`], [`Permission::MAX_ALTERNATIVES`],
//! [`Permission::MAX_ATOMS`].
//!
//! # Standard
//!
//! Apache Shiro's `WildcardPermission`, but stricter. [`Permission::implies`] gives the same result
//! as Shiro for everything that parses here. Shiro also accepts `a:` (and then grants all of `a`)
//! and `*:` (and then grants everything).

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use crate::base::problem::problem;

const ANY: &str = "*";

/// One parsed permission: a grant, a request or a ceiling.
///
/// Every value is well formed. Cloning is cheap. Two permissions are equal if their parts are equal
/// as sets (`a:b,c` is `a:c,b`). `Display` writes the original text.
#[derive(Clone)]
pub struct Permission(Arc<Parsed>);

struct Parsed {
    text: Box<str>,
    /// The alternatives of all parts, one part after the other. Within a part they are sorted by
    /// text and occur once.
    alternatives: Box<[Span]>,
    parts: Box<[PartSpan]>,
}

/// A range of bytes of `text`.
#[derive(Clone, Copy)]
struct Span {
    start: u16,
    end: u16,
}

/// A range of elements of `alternatives`.
struct PartSpan {
    start: u16,
    end: u16,
    any: bool,
}

impl Permission {
    /// The longest text, in bytes. An id fits (a uuid has 36), and every database can index a
    /// column of this length.
    pub const MAX_BYTES: usize = 256;

    /// The largest number of parts. Domain, action and instance are three; more are for deeper
    /// trees.
    pub const MAX_PARTS: usize = 8;

    /// The largest number of alternatives in one part, counted as written. For a longer list, use a
    /// role.
    pub const MAX_ALTERNATIVES: usize = 32;

    /// The largest number of atoms of a requirement. Alternatives multiply, so 256 bytes could
    /// demand billions of checks.
    pub const MAX_ATOMS: usize = 64;

    /// Parses the written form, strictly.
    ///
    /// # Errors
    ///
    /// The text does not follow the grammar of this module. A text that is too long is refused
    /// before any character is read.
    pub fn parse(text: &str) -> Result<Self, PermissionError> {
        if text.len() > Self::MAX_BYTES {
            return Err(PermissionError::TooLong { bytes: text.len() });
        }
        if text.is_empty() {
            return Err(PermissionError::Empty);
        }
        if let Some(error) = text.char_indices().find_map(|(at, found)| unprintable(found, at)) {
            return Err(error);
        }

        let mut alternatives = Vec::new();
        let mut parts = Vec::new();
        let mut tokens = Vec::new();
        let mut at = 0;
        for (written, part) in text.split(':').zip(1..) {
            if part > Self::MAX_PARTS {
                return Err(PermissionError::TooManyParts);
            }
            if written.is_empty() {
                return Err(PermissionError::EmptyPart { part });
            }
            for token in written.split(',') {
                if tokens.len() == Self::MAX_ALTERNATIVES {
                    return Err(PermissionError::TooManyAlternatives { part });
                }
                if token.is_empty() {
                    return Err(PermissionError::EmptyAlternative { part });
                }
                if token != ANY && token.contains(ANY) {
                    return Err(PermissionError::StarInToken { part });
                }
                tokens.push((token, span(at, at + token.len())));
                at += token.len() + 1;
            }
            tokens.sort_unstable_by_key(|(token, _)| *token);
            tokens.dedup_by_key(|(token, _)| *token);

            let any = tokens.iter().any(|(token, _)| *token == ANY);
            let start = alternatives.len();
            alternatives.extend(tokens.drain(..).map(|(_, span)| span));
            let Span { start, end } = span(start, alternatives.len());
            parts.push(PartSpan { start, end, any });
        }
        Ok(Self(Arc::new(Parsed {
            text: text.into(),
            alternatives: alternatives.into(),
            parts: parts.into(),
        })))
    }

    /// Returns the text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Returns true if this grant alone implies the whole of `requested`.
    ///
    /// Several grants together may allow what none of them implies: see [`PermissionSet::allows`].
    #[must_use]
    pub fn implies(&self, requested: &Permission) -> bool {
        // If the grant has fewer parts, `zip` ends and nothing is left over. If the request has
        // fewer, the other parts of the grant must be `*`.
        self.parts().zip(requested.parts()).all(|(granted, asked)| granted.covers(asked))
            && self.parts().skip(requested.0.parts.len()).all(|left_over| left_over.any)
    }

    /// Returns true if this pattern implies everything that `narrower` implies.
    ///
    /// It is the same check as [`implies`](Self::implies), for two patterns. Use it for ceilings,
    /// for narrowing, and for "may this person grant that".
    #[must_use]
    pub fn covers(&self, narrower: &Permission) -> bool {
        self.implies(narrower)
    }

    /// Returns true if both agree in every part that both have.
    pub(crate) fn overlaps(&self, other: &Permission) -> bool {
        self.parts().zip(other.parts()).all(|(mine, theirs)| {
            let share = || mine.tokens().any(|mine| theirs.tokens().any(|theirs| mine == theirs));
            mine.any || theirs.any || share()
        })
    }

    /// Returns the permission that implies exactly what both imply, or `None` if they share
    /// nothing.
    ///
    /// # Errors
    /// The text would be too long. Each has many alternatives where the other has `*`.
    pub(crate) fn intersection(&self, other: &Permission) -> Option<Result<Self, PermissionError>> {
        let mut text = String::new();
        let (mut mine, mut theirs) = (self.parts(), other.parts());
        loop {
            // A missing part at the end means `*`.
            let (one, both) = match (mine.next(), theirs.next()) {
                (None, None) => break,
                (Some(part), None) | (None, Some(part)) => (part, None),
                (Some(mine), Some(theirs)) if theirs.any => (mine, None),
                (Some(mine), Some(theirs)) if mine.any => (theirs, None),
                (Some(mine), Some(theirs)) => (mine, Some(theirs)),
            };
            if !text.is_empty() {
                text.push(':');
            }
            if one.any {
                text.push_str(ANY);
                continue;
            }
            let shared = |token: &&str| {
                both.is_none_or(|part: Part<'_>| part.tokens().any(|other| other == *token))
            };
            let tokens: Vec<_> = one.tokens().filter(shared).collect();
            if tokens.is_empty() {
                return None;
            }
            text.push_str(&tokens.join(","));
        }
        Some(Self::parse(&text))
    }

    /// Returns this permission with `id` as one more part: `doc:edit` on `42` is `doc:edit:42`.
    ///
    /// Use this for ids that come from users. The id becomes the next part, whatever that is. On
    /// `doc` alone it would become the action, so write `doc:*` for all actions on one document.
    ///
    /// # Errors
    ///
    /// The id is empty or contains a forbidden character, or the result is too long or has too many
    /// parts. Forbidden are characters that are syntax, so `*` cannot mean all, and `1,2` cannot
    /// mean two. Characters that no token may contain are forbidden too. No other id fails because
    /// of its content.
    pub fn on(&self, id: &str) -> Result<Self, PermissionError> {
        let bytes = self.as_str().len() + 1 + id.len();
        if bytes > Self::MAX_BYTES {
            return Err(PermissionError::TooLong { bytes });
        }
        if id.is_empty() {
            return Err(PermissionError::EmptyId);
        }
        let refused = |found| matches!(found, ':' | ',' | '*') || unprintable(found, 0).is_some();
        if let Some((at, found)) = id.char_indices().find(|(_, found)| refused(*found)) {
            return Err(PermissionError::IdCharacter { found, at });
        }
        Self::parse(&format!("{self}:{id}"))
    }

    /// Returns what this permission of a role gives when the role is granted on one resource only.
    ///
    /// On `list` `7`, `list` gives `list:*:7` and `list:read,edit` gives `list:read,edit:7`.
    /// Everything else gives `None`, which must be reported when the role is granted: another
    /// domain, several domains, `*` (otherwise a role with `*` would give everything), three or
    /// more parts, and an id that [`on`](Self::on) refuses.
    #[must_use]
    pub fn on_resource(&self, resource: &str, id: &str) -> Option<Self> {
        let mut parts = self.parts();
        let domain = parts.next()?;
        if domain.any || !domain.tokens().eq([resource]) {
            return None;
        }
        match parts.count() {
            0 => Self::parse(&format!("{self}:{ANY}")).ok()?.on(id).ok(),
            1 => self.on(id).ok(),
            _ => None,
        }
    }

    /// Returns the requirement that this permission stands for.
    ///
    /// # Errors
    ///
    /// Only [`PermissionError::TooManyAtoms`].
    pub fn atoms(&self) -> Result<Atoms, PermissionError> {
        // Most requirements have one alternative in each part, and so are their own atom.
        if self.0.alternatives.len() == self.0.parts.len() {
            return Ok(Atoms { permission: self.clone(), all: [self.clone()].into() });
        }
        let mut texts = vec![String::new()];
        for part in self.parts() {
            if texts.len() * part.spans.len() > Self::MAX_ATOMS {
                return Err(PermissionError::TooManyAtoms);
            }
            let extended = texts.iter().flat_map(|text| {
                let colon = if text.is_empty() { "" } else { ":" };
                part.tokens().map(move |token| format!("{text}{colon}{token}"))
            });
            texts = extended.collect();
        }
        let all = texts.iter().map(|text| Self::parse(text)).collect::<Result<_, _>>()?;
        Ok(Atoms { permission: self.clone(), all })
    }

    /// Returns the ids in the place after `atom` for which this grant alone implies `atom:id`;
    /// `None` if there are none.
    fn ids_after(&self, atom: &Permission) -> Option<Ids<'_>> {
        let place = atom.0.parts.len();
        let fits = self.parts().zip(atom.parts()).all(|(granted, asked)| granted.covers(asked))
            && self.parts().skip(place + 1).all(|left_over| left_over.any);
        fits.then(|| match self.parts().nth(place) {
            Some(part) if !part.any => Ids::Of(part),
            _ => Ids::All,
        })
    }

    fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.0.parts.iter().map(|part| Part {
            text: &self.0.text,
            spans: &self.0.alternatives[usize::from(part.start)..usize::from(part.end)],
            any: part.any,
        })
    }
}

/// Makes a span. Neither position is beyond [`Permission::MAX_BYTES`], so both fit.
fn span(start: usize, end: usize) -> Span {
    Span { start: start as u16, end: end as u16 }
}

/// Returns why a character is not allowed in tokens and ids, if it is not.
fn unprintable(found: char, at: usize) -> Option<PermissionError> {
    match found {
        _ if found.is_whitespace() => Some(PermissionError::WhiteSpace { found, at }),
        _ if found.is_control() => Some(PermissionError::ControlCharacter { found, at }),
        // Zero-width and direction characters. Two grants that look the same in a review must be
        // the same.
        '\u{200B}'..='\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{2064}'
        | '\u{2066}'..='\u{2069}'
        | '\u{FEFF}' => Some(PermissionError::InvisibleCharacter { found, at }),
        _ => None,
    }
}

/// One part of a permission, as a set.
#[derive(Clone, Copy)]
struct Part<'a> {
    text: &'a str,
    spans: &'a [Span],
    any: bool,
}

impl<'a> Part<'a> {
    /// Returns the tokens, sorted by text, each once.
    fn tokens(self) -> impl Iterator<Item = &'a str> {
        self.spans
            .iter()
            .map(move |span| &self.text[usize::from(span.start)..usize::from(span.end)])
    }

    fn covers(self, asked: Part<'_>) -> bool {
        // Both are sorted. So tokens that were skipped for one token are not needed for the next.
        let mut mine = self.tokens();
        self.any || asked.tokens().all(|wanted| mine.any(|token| token == wanted))
    }

    /// Returns any one of its tokens. A part that covers this one lists all its tokens, so a search
    /// for one is enough.
    fn one(self) -> &'a str {
        self.tokens().next().unwrap_or(ANY)
    }
}

impl PartialEq for Permission {
    fn eq(&self, other: &Self) -> bool {
        self.0.parts.len() == other.0.parts.len()
            && self
                .parts()
                .zip(other.parts())
                .all(|(mine, theirs)| mine.tokens().eq(theirs.tokens()))
    }
}

impl Eq for Permission {}

impl Hash for Permission {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for part in self.parts() {
            part.spans.len().hash(state);
            part.tokens().for_each(|token| token.hash(state));
        }
    }
}

impl FromStr for Permission {
    type Err = PermissionError;

    fn from_str(text: &str) -> Result<Self, PermissionError> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for Permission {
    type Error = PermissionError;

    fn try_from(text: &str) -> Result<Self, PermissionError> {
        Self::parse(text)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permission").field(&self.as_str()).finish()
    }
}

/// A compiled requirement: a permission as the set of its atoms. An atom has one alternative in
/// each part.
///
/// [`Permission::atoms`] makes it. It has at least one atom and at most [`Permission::MAX_ATOMS`].
#[derive(Debug, Clone)]
pub struct Atoms {
    permission: Permission,
    all: Box<[Permission]>,
}

impl Atoms {
    /// Returns the permission that was compiled.
    #[must_use]
    pub fn permission(&self) -> &Permission {
        &self.permission
    }

    /// Returns the atoms. For an explanation, `set.grant_for(atom)` returns the grant for each.
    pub fn iter(&self) -> impl Iterator<Item = &Permission> {
        self.all.iter()
    }
}

/// The grants of one identity, compiled so that a check looks at only a few of them, even if there
/// are many.
///
/// Equal grants are kept once, in the order in which they came.
#[derive(Clone, Default)]
pub struct PermissionSet {
    grants: Vec<Permission>,
    /// Positions in `grants`, by a hash of tokens that a request must have to be implied. If two
    /// hashes are equal, `implies` decides.
    index: HashMap<u64, Vec<usize>>,
    /// The parts from which keys are made, one bit for each of the at most eight parts. These are
    /// all parts except `*`. The domain alone is not enough: a thousand grants on documents would
    /// then share one key. There are few different values, because most grants have `*` in the same
    /// places.
    shapes: Vec<u8>,
}

impl PermissionSet {
    /// Returns true if every atom of the requirement is implied by some grant. Different atoms may
    /// be implied by different grants.
    ///
    /// An empty set allows nothing.
    #[must_use]
    pub fn allows(&self, atoms: &Atoms) -> bool {
        atoms.iter().all(|atom| self.implying(atom).next().is_some())
    }

    /// Does the same as [`allows`](Self::allows), for a permission that is checked once, such as
    /// one with an id.
    ///
    /// # Errors
    ///
    /// Only [`PermissionError::TooManyAtoms`].
    pub fn allows_permission(&self, requested: &Permission) -> Result<bool, PermissionError> {
        Ok(self.allows(&requested.atoms()?))
    }

    /// Returns the first grant that implies the whole of `requested`, for explanations.
    #[must_use]
    pub fn grant_for(&self, requested: &Permission) -> Option<&Permission> {
        self.implying(requested).min().map(|position| &self.grants[position])
    }

    /// Returns the ids for which `prefix:id` is allowed, to filter a list in the database:
    /// `doc:edit` may give all, or `1` and `2`.
    ///
    /// An id counts only if every atom of the prefix is allowed on it. A prefix with more than
    /// [`Permission::MAX_ATOMS`] atoms cannot be a requirement, so it gives no id.
    pub fn instances(&self, prefix: &Permission) -> Instances {
        let Ok(atoms) = prefix.atoms() else {
            return Instances::Only(BTreeSet::new());
        };
        atoms.iter().fold(Instances::All, |so_far, atom| so_far.intersection(self.ids_after(atom)))
    }

    fn ids_after(&self, atom: &Permission) -> Instances {
        let mut only = BTreeSet::new();
        for ids in self.grants.iter().filter_map(|grant| grant.ids_after(atom)) {
            match ids {
                Ids::All => return Instances::All,
                Ids::Of(part) => only.extend(part.tokens().map(String::from)),
            }
        }
        Instances::Only(only)
    }

    /// Returns true if there are no grants.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    /// Returns the number of different grants.
    #[must_use]
    pub fn len(&self) -> usize {
        self.grants.len()
    }

    /// Returns the grants in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &Permission> {
        self.grants.iter()
    }

    /// Returns the positions of the grants that imply `requested`, in no order, and possibly more
    /// than once.
    fn implying(&self, requested: &Permission) -> impl Iterator<Item = usize> {
        let candidates = self.shapes.iter().filter_map(|shape| {
            // A grant that limits a part which the request does not have cannot imply it.
            if u16::from(*shape) >> requested.0.parts.len() != 0 {
                return None;
            }
            let mut hasher = self.index.hasher().build_hasher();
            for (part, place) in requested.parts().zip(0..) {
                if shape & (1 << place) != 0 {
                    part.one().hash(&mut hasher);
                }
            }
            self.index.get(&hasher.finish())
        });
        candidates.flatten().copied().filter(|position| self.grants[*position].implies(requested))
    }

    fn insert(&mut self, grant: Permission) {
        if self.implying(&grant).any(|position| self.grants[position] == grant) {
            return;
        }
        let mut shape = 0;
        let mut hashers = vec![self.index.hasher().build_hasher()];
        for (part, place) in grant.parts().zip(0..) {
            // `*` fits any token. If the alternatives of a part would make too many keys, the part
            // is left out. The other parts still find the grant, and `implies` decides.
            if part.any || hashers.len() * part.spans.len() > Permission::MAX_ATOMS {
                continue;
            }
            shape |= 1 << place;
            let extended = hashers.iter().flat_map(|hasher| {
                part.tokens().map(move |token| {
                    let mut hasher = hasher.clone();
                    token.hash(&mut hasher);
                    hasher
                })
            });
            hashers = extended.collect();
        }

        let position = self.grants.len();
        for hasher in hashers {
            self.index.entry(hasher.finish()).or_default().push(position);
        }
        if !self.shapes.contains(&shape) {
            self.shapes.push(shape);
        }
        self.grants.push(grant);
    }
}

impl Extend<Permission> for PermissionSet {
    fn extend<I: IntoIterator<Item = Permission>>(&mut self, grants: I) {
        grants.into_iter().for_each(|grant| self.insert(grant));
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = Permission>>(grants: I) -> Self {
        let mut set = Self::default();
        set.extend(grants);
        set
    }
}

impl fmt::Debug for PermissionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.grants).finish()
    }
}

/// The ids for which something is allowed.
///
/// This enum is not `non_exhaustive` on purpose. Otherwise a list filter with a default arm could
/// show too much.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Instances {
    /// Every id, including those that do not exist yet.
    All,
    /// These ids; the set may be empty.
    Only(BTreeSet<String>),
}

impl Instances {
    /// Returns the ids that are in both, for example to apply a ceiling.
    pub fn intersection(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, ids) | (ids, Self::All) => ids,
            (Self::Only(mut ids), Self::Only(other)) => {
                ids.retain(|id| other.contains(id));
                Self::Only(ids)
            }
        }
    }
}

/// The [`Instances`] of one grant, borrowed.
enum Ids<'a> {
    All,
    Of(Part<'a>),
}

/// Reads the permissions of a role's row, which are separated by one ASCII white space character
/// each.
///
/// Returns the valid ones, and the refused ones with their reasons. Refused texts are cut to
/// [`Permission::MAX_BYTES`], because they are logged. A refused permission grants nothing and does
/// not affect the others. Nothing is trimmed: between two spaces is an empty permission, which is
/// refused. An empty text is an empty list.
#[must_use]
pub(crate) fn parse_list(text: &str) -> (Vec<Permission>, Vec<(String, PermissionError)>) {
    let (mut good, mut refused) = (Vec::new(), Vec::new());
    if text.is_empty() {
        return (good, refused);
    }
    for written in text.split(|found: char| found.is_ascii_whitespace()) {
        match Permission::parse(written) {
            Ok(permission) => good.push(permission),
            Err(error) => {
                let end = written.floor_char_boundary(Permission::MAX_BYTES);
                refused.push((written[..end].to_owned(), error));
            }
        }
    }
    (good, refused)
}

/// Writes a list that [`parse_list`] can read.
#[must_use]
pub(crate) fn write_list(permissions: &[Permission]) -> String {
    permissions.iter().map(Permission::as_str).collect::<Vec<_>>().join(" ")
}

/// The reason why a text is not a permission. Parts count from 1, bytes from 0. The error never
/// contains the text itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PermissionError {
    /// The text is empty.
    #[error("the permission is empty")]
    Empty,
    /// The text is longer than [`Permission::MAX_BYTES`].
    #[error("the permission has {bytes} bytes, more than {}", Permission::MAX_BYTES)]
    TooLong {
        /// The length in bytes.
        bytes: usize,
    },
    /// There are more parts than [`Permission::MAX_PARTS`].
    #[error("the permission has more than {} parts", Permission::MAX_PARTS)]
    TooManyParts,
    /// A part has more alternatives than [`Permission::MAX_ALTERNATIVES`].
    #[error("part {part} has more than {} alternatives", Permission::MAX_ALTERNATIVES)]
    TooManyAlternatives {
        /// The number of the part.
        part: usize,
    },
    /// There is a `:` at the start or the end, or two in a row.
    #[error("part {part} is empty")]
    EmptyPart {
        /// The number of the part.
        part: usize,
    },
    /// There is a `,` at the start or the end of a part, or two in a row.
    #[error("part {part} has an empty alternative")]
    EmptyAlternative {
        /// The number of the part.
        part: usize,
    },
    /// A `*` is not alone, for example `b*` or `**`.
    #[error("part {part} has a `*` that does not stand alone")]
    StarInToken {
        /// The number of the part.
        part: usize,
    },
    /// There is white space, which includes Unicode white space.
    #[error("white space {found:?} at byte {at}")]
    WhiteSpace {
        /// The character.
        found: char,
        /// Its position in bytes.
        at: usize,
    },
    /// There is a control character.
    #[error("control character {found:?} at byte {at}")]
    ControlCharacter {
        /// The character.
        found: char,
        /// Its position in bytes.
        at: usize,
    },
    /// There is a zero-width or direction character.
    #[error("invisible character {found:?} at byte {at}")]
    InvisibleCharacter {
        /// The character.
        found: char,
        /// Its position in bytes.
        at: usize,
    },
    /// The requirement has more atoms than [`Permission::MAX_ATOMS`].
    #[error("the permission stands for more than {} single ones", Permission::MAX_ATOMS)]
    TooManyAtoms,
    /// The requirement cannot be checked for one instance.
    #[error("{what} cannot be limited to one instance")]
    NotOnInstance {
        /// The part of the requirement that makes this impossible.
        what: &'static str,
    },
    /// The id of an instance is empty.
    #[error("the id is empty")]
    EmptyId,
    /// The id contains syntax, white space, a control character or an invisible character.
    #[error("an id must not contain {found:?}, found at its byte {at}")]
    IdCharacter {
        /// The character.
        found: char,
        /// Its position in bytes of the id.
        at: usize,
    },
}

problem! {
    PermissionError {
        _ => UNPROCESSABLE_ENTITY, "invalid_permission";
    }
    passes on {}
}

#[cfg(test)]
mod tests {
    use super::{Instances, Permission, PermissionError, PermissionSet, parse_list, write_list};
    use PermissionError::{
        ControlCharacter, Empty, EmptyAlternative, EmptyId, EmptyPart, IdCharacter,
        InvisibleCharacter, StarInToken, TooLong, TooManyAlternatives, TooManyAtoms, TooManyParts,
        WhiteSpace,
    };
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, proptest};
    use proptest::sample::select;
    use std::collections::HashSet;

    fn permission(text: &str) -> Permission {
        Permission::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn set(texts: &[&str]) -> PermissionSet {
        texts.iter().map(|text| permission(text)).collect()
    }

    fn allows(set: &PermissionSet, requested: &str) -> bool {
        set.allows(&permission(requested).atoms().unwrap())
    }

    fn only(ids: &[&str]) -> Instances {
        Instances::Only(ids.iter().copied().map(String::from).collect())
    }

    /// The rules of the module page, written as plainly as possible: sets, built for each call.
    mod reference {
        use std::collections::BTreeSet;

        pub(super) type Sets<'a> = Vec<BTreeSet<&'a str>>;

        pub(super) fn sets(text: &str) -> Sets<'_> {
            text.split(':').map(|part| part.split(',').collect()).collect()
        }

        pub(super) fn implies(grant: &str, requested: &str) -> bool {
            sets_imply(&sets(grant), &sets(requested))
        }

        pub(super) fn sets_imply(grant: &Sets<'_>, requested: &Sets<'_>) -> bool {
            for (place, asked) in requested.iter().enumerate() {
                let Some(granted) = grant.get(place) else {
                    return true;
                };
                if !granted.contains("*") && !granted.is_superset(asked) {
                    return false;
                }
            }
            let mut left_over = grant.iter().skip(requested.len());
            left_over.all(|granted| granted.contains("*"))
        }

        pub(super) fn atoms(requested: &str) -> Vec<String> {
            let Some((first, rest)) = requested.split_once(':') else {
                return requested.split(',').map(String::from).collect();
            };
            let rest = atoms(rest);
            let below = |token| rest.iter().map(move |rest| format!("{token}:{rest}"));
            first.split(',').flat_map(below).collect()
        }

        pub(super) fn distinct_atoms(requested: &str) -> usize {
            sets(requested).iter().map(BTreeSet::len).product()
        }

        pub(super) fn allows(grants: &[String], requested: &str) -> bool {
            let granted = |atom: &String| grants.iter().any(|grant| implies(grant, atom));
            atoms(requested).iter().all(granted)
        }
    }

    #[test]
    fn a_grant_implies_what_the_manual_says() {
        let table = [
            // The shorter one implies the longer one.
            ("a", "a", true),
            ("a", "a:b", true),
            ("a", "a:b:c", true),
            ("a:b", "a", false),
            ("a:b", "a:b:c", true),
            ("a:b:c", "a:b", false),
            ("a", "b", false),
            ("a", "ab", false),
            ("ab", "a", false),
            // Alternatives.
            ("one,two", "one", true),
            ("one,two", "two,one", true),
            ("one", "one,two", false),
            ("one,two,three", "three,one", true),
            ("one,two", "one,three", false),
            ("dashboard:info,delete", "dashboard:info", true),
            ("dashboard:info,delete", "dashboard:delete:7", true),
            ("dashboard:info,delete", "dashboard", false),
            ("a,a", "a", true),
            // `*` in the grant.
            ("*", "a", true),
            ("*", "*", true),
            ("*", "a,b:c,d:*", true),
            ("*:*:*", "a", true),
            ("a:*", "a", true),
            ("a:*", "a:b", true),
            ("a:*", "a:b:c", true),
            ("a:*", "b:c", false),
            ("a:*:*", "a", true),
            ("a:b:*", "a:b", true),
            ("a:b:*", "a", false),
            ("*:b", "a:b", true),
            ("*:b", "a:c", false),
            ("*:b", "a", false),
            ("*:b", "*", false),
            ("a:x,*", "a:b", true),
            ("a:x,*", "a", true),
            ("newsletter:*:read", "newsletter:123:read", true),
            ("newsletter:*:read", "newsletter:123:read:9", true),
            ("newsletter:*:read", "newsletter:123,456:read", true),
            ("newsletter:*:read", "newsletter:123,456:read,write", false),
            ("newsletter:*:read", "newsletter:read", false),
            ("newsletter:*:read", "newsletter", false),
            ("newsletter:*:read:*", "newsletter:123:read", true),
            ("newsletter:*:read:*", "newsletter:123:read:write", true),
            // `*` in the request never widens.
            ("a:b", "a:*", false),
            ("a:b", "a:b,*", false),
            ("a:b", "*", false),
            ("a:b", "*:b", false),
            ("a:b:c", "a:b:*", false),
            ("a:b", "a:b:*", true),
            ("a", "a:*", true),
            ("a:*", "a:*", true),
            ("a:*", "*:*", false),
            // Nothing is folded or trimmed.
            ("a", "A", false),
            ("stra\u{df}e", "STRASSE", false),
            ("title", "t\u{131}tle", false),
            ("caf\u{e9}", "cafe\u{301}", false),
            ("caf\u{e9}:\u{1f511}", "caf\u{e9}:\u{1f511}", true),
            ("doc:edit:Ab", "doc:edit:aB", false),
        ];
        for (grant, requested, expected) in table {
            let (granted, asked) = (permission(grant), permission(requested));
            assert_eq!(granted.implies(&asked), expected, "{grant} -> {requested}");
            assert_eq!(granted.covers(&asked), expected, "{grant} covers {requested}");
            assert_eq!(
                reference::implies(grant, requested),
                expected,
                "reference: {grant} -> {requested}"
            );
        }
    }

    /// Checks more than two million pairs.
    #[test]
    fn every_pair_of_a_small_language_agrees_with_the_reference() {
        let parts = ["*", "a", "b", "a,b", "b,c", "b,*"];
        let mut language: Vec<String> = parts.iter().copied().map(String::from).collect();
        for shorter in 0..parts.len() + parts.len().pow(2) + parts.len().pow(3) {
            for part in parts {
                language.push(format!("{}:{part}", language[shorter]));
            }
        }
        let pairs: Vec<_> =
            language.iter().map(|text| (permission(text), reference::sets(text))).collect();
        for (granted, grant) in &pairs {
            for (asked, requested) in &pairs {
                let expected = reference::sets_imply(grant, requested);
                assert_eq!(granted.implies(asked), expected, "{granted} -> {asked}");
            }
        }
    }

    /// Makes permissions with so few tokens that about every fourth pair matches.
    #[test]
    fn an_intersection_of_long_lists_can_be_too_long() {
        let many = |prefix: &str| {
            (10..40).map(|number| format!("{prefix}{number}")).collect::<Vec<_>>().join(",")
        };
        let one = permission(&format!("{}:*", many("abcde")));
        let other = permission(&format!("*:{}", many("fghij")));
        let too_long = one.intersection(&other).expect("they share all");
        assert!(matches!(too_long, Err(TooLong { .. })), "{too_long:?}");
        for (one, other, expected) in [
            ("doc", "doc:read:7", Some("doc:read:7")),
            ("doc:*:7", "*:read", Some("doc:read:7")),
            ("doc:read,edit", "doc:edit,delete", Some("doc:edit")),
            ("*", "*", Some("*")),
            ("*,doc", "*:read", Some("*:read")),
            ("doc:read", "list", None),
            ("doc:read:7", "doc:read:8", None),
        ] {
            let found = permission(one).intersection(&permission(other));
            let found = found.map(|found| found.expect("it is short"));
            assert_eq!(found, expected.map(permission), "{one} and {other}");
        }
    }

    fn few_tokens() -> impl Strategy<Value = String> {
        let part = vec(select(vec!["*", "a", "b", "c"]), 1..=3);
        let part = part.prop_map(|tokens| tokens.join(","));
        vec(part, 1..=4).prop_map(|parts| parts.join(":"))
    }

    fn cases(cases: u32) -> ProptestConfig {
        ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
    }

    proptest! {
        #![proptest_config(cases(10_000))]

        #[test]
        fn random_sets_agree_with_the_reference(
            grants in vec(few_tokens(), 0..12),
            requests in vec(few_tokens(), 4),
        ) {
            let set: PermissionSet = grants.iter().map(|grant| permission(grant)).collect();
            for requested in &requests {
                let asked = permission(requested);
                let expected = if reference::distinct_atoms(requested) > Permission::MAX_ATOMS {
                    Err(TooManyAtoms)
                } else {
                    Ok(reference::allows(&grants, requested))
                };
                let found = set.allows_permission(&asked);
                prop_assert_eq!(found, expected, "{:?} -> {}", &grants, requested);

                let first = grants.iter().find(|grant| reference::implies(grant, requested));
                let first = first.map(|grant| permission(grant));
                let found = set.grant_for(&asked).cloned();
                prop_assert_eq!(found, first, "{:?} -> {}", &grants, requested);
            }
        }
    }

    proptest! {
        #![proptest_config(cases(500))]

        #[test]
        fn random_pairs_agree_with_the_reference(
            grants in vec(few_tokens(), 16),
            requests in vec(few_tokens(), 16),
        ) {
            for grant in &grants {
                for requested in &requests {
                    let found = permission(grant).implies(&permission(requested));
                    let expected = reference::implies(grant, requested);
                    prop_assert_eq!(found, expected, "{} -> {}", grant, requested);
                }
            }
        }

        #[test]
        fn an_instance_is_listed_exactly_when_it_is_allowed(
            grants in vec(few_tokens(), 0..6),
            prefix in vec(few_tokens(), 16),
        ) {
            let set: PermissionSet = grants.iter().map(|grant| permission(grant)).collect();
            for prefix in prefix.iter().map(|prefix| permission(prefix)) {
                if prefix.atoms().is_err() {
                    continue;
                }
                let instances = set.instances(&prefix);
                for id in ["a", "b", "c", "named-by-no-grant"] {
                    let listed = match &instances {
                        Instances::All => true,
                        Instances::Only(ids) => ids.contains(id),
                    };
                    let allowed = set.allows_permission(&prefix.on(id).unwrap()).unwrap();
                    prop_assert_eq!(listed, allowed, "{:?} -> {} on {}", &grants, prefix, id);
                }
            }
        }

        #[test]
        fn an_intersection_implies_exactly_what_both_imply(
            pair in vec(few_tokens(), 2),
            requests in vec(few_tokens(), 16),
        ) {
            let [one, other] = [permission(&pair[0]), permission(&pair[1])];
            let both = one.intersection(&other).map(|both| both.expect("these are short"));
            for requested in requests.iter().map(|requested| permission(requested)) {
                let expected = one.implies(&requested) && other.implies(&requested);
                let found = both.as_ref().is_some_and(|both| both.implies(&requested));
                prop_assert_eq!(found, expected, "{} and {} -> {}", one, other, requested);
            }
        }

        #[test]
        fn covering_passes_on(texts in vec(few_tokens(), 12)) {
            let all: Vec<_> = texts.iter().map(|text| permission(text)).collect();
            for wide in &all {
                for middle in all.iter().filter(|middle| wide.covers(middle)) {
                    for narrow in all.iter().filter(|narrow| middle.covers(narrow)) {
                        assert!(wide.covers(narrow), "{wide} -> {middle} -> {narrow}");
                    }
                }
            }
        }

        #[test]
        fn any_text_is_refused_or_printed_back(
            text in "[a*:, \u{200b}\u{e9}]{0,12}",
            other in any::<String>(),
        ) {
            for text in [text, other] {
                if let Ok(parsed) = Permission::parse(&text) {
                    prop_assert_eq!(parsed.as_str(), &text);
                    prop_assert_eq!(&permission(&parsed.to_string()), &parsed);
                    let list = [parsed.clone(), parsed];
                    prop_assert_eq!(parse_list(&write_list(&list)), (list.to_vec(), vec![]));
                }
            }
        }

        #[test]
        fn an_id_is_refused_or_stays_one_token(id in "[a*:, \u{200b}\u{e9}]{0,4}") {
            if let Ok(on_it) = permission("doc:edit").on(&id) {
                let held = set(&[on_it.as_str()]);
                prop_assert_eq!(held.instances(&permission("doc:edit")), only(&[&id]));
            }
        }
    }

    #[test]
    fn each_malformed_text_is_refused_and_its_neighbour_is_not() {
        let table = [
            ("", Empty, "a"),
            (":", EmptyPart { part: 1 }, "a:b"),
            ("a:", EmptyPart { part: 2 }, "a"),
            ("*:", EmptyPart { part: 2 }, "*"),
            (":a", EmptyPart { part: 1 }, "a"),
            ("a::b", EmptyPart { part: 2 }, "a:*:b"),
            (",", EmptyAlternative { part: 1 }, "a,b"),
            ("a,", EmptyAlternative { part: 1 }, "a,b"),
            ("a:b,", EmptyAlternative { part: 2 }, "a:b"),
            ("a:,b", EmptyAlternative { part: 2 }, "a:b"),
            ("a:b,,c", EmptyAlternative { part: 2 }, "a:b,c"),
            ("a,:b", EmptyAlternative { part: 1 }, "a:b"),
            ("**", StarInToken { part: 1 }, "*"),
            ("a:b*", StarInToken { part: 2 }, "a:b,*"),
            ("a:*b", StarInToken { part: 2 }, "a:*"),
            ("a:b*c", StarInToken { part: 2 }, "a:b.c"),
            (" a", WhiteSpace { found: ' ', at: 0 }, "a"),
            ("a ", WhiteSpace { found: ' ', at: 1 }, "a"),
            ("a: b", WhiteSpace { found: ' ', at: 2 }, "a:b"),
            ("a:b c", WhiteSpace { found: ' ', at: 3 }, "a:b-c"),
            ("a\n", WhiteSpace { found: '\n', at: 1 }, "a"),
            ("a\u{a0}b", WhiteSpace { found: '\u{a0}', at: 1 }, "a_b"),
            ("a\u{3000}b", WhiteSpace { found: '\u{3000}', at: 1 }, "a\u{3001}b"),
            ("a\0b", ControlCharacter { found: '\0', at: 1 }, "a0b"),
            ("a:\u{7f}", ControlCharacter { found: '\u{7f}', at: 2 }, "a:~"),
            ("a\u{9b}", ControlCharacter { found: '\u{9b}', at: 1 }, "a\u{a1}"),
            ("\u{e9}\u{200b}", InvisibleCharacter { found: '\u{200b}', at: 2 }, "\u{e9}"),
            ("a\u{200f}", InvisibleCharacter { found: '\u{200f}', at: 1 }, "a\u{2010}"),
            ("a\u{202e}b", InvisibleCharacter { found: '\u{202e}', at: 1 }, "a\u{2030}b"),
            ("a\u{2060}", InvisibleCharacter { found: '\u{2060}', at: 1 }, "a\u{2070}"),
            ("a\u{2066}", InvisibleCharacter { found: '\u{2066}', at: 1 }, "a\u{2070}"),
            ("\u{feff}a", InvisibleCharacter { found: '\u{feff}', at: 0 }, "a"),
        ];
        for (malformed, error, neighbour) in table {
            assert_eq!(Permission::parse(malformed), Err(error), "{malformed:?}");
            permission(neighbour);
        }
    }

    #[test]
    fn each_limit_is_reached_and_not_passed() {
        let list = |token: &str, count: usize, separator: &str| vec![token; count].join(separator);
        let distinct = |count| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");

        permission(&"a".repeat(256));
        assert_eq!(Permission::parse(&"a".repeat(257)), Err(TooLong { bytes: 257 }));
        permission(&"\u{e9}".repeat(128));
        assert_eq!(Permission::parse(&"\u{e9}".repeat(129)), Err(TooLong { bytes: 258 }));

        permission(&list("a", 8, ":"));
        assert_eq!(Permission::parse(&list("a", 9, ":")), Err(TooManyParts));

        permission(&format!("a:{}", distinct(32)));
        let too_many = TooManyAlternatives { part: 2 };
        assert_eq!(Permission::parse(&format!("a:{}", distinct(33))), Err(too_many));
        let repeated = TooManyAlternatives { part: 1 };
        assert_eq!(Permission::parse(&list("a", 33, ",")), Err(repeated));

        let atoms = |text: &str| permission(text).atoms().map(|atoms| atoms.iter().count());
        assert_eq!(atoms(&format!("a,b:{}", distinct(32))), Ok(64));
        assert_eq!(atoms(&format!("a,b,c:{}", distinct(22))), Err(TooManyAtoms));
        assert_eq!(atoms(&list("a,b", 6, ":")), Ok(64));
        assert_eq!(atoms(&list("a,b", 7, ":")), Err(TooManyAtoms));
        assert_eq!(atoms(&list("a,a", 8, ":")), Ok(1));
    }

    #[test]
    fn a_megabyte_is_refused_for_its_length_alone() {
        for filling in ["a", "*", ":", ",", " ", "\0", "a:", "a,"] {
            let text = filling.repeat(1_000_000 / filling.len());
            let bytes = text.len();
            assert_eq!(Permission::parse(&text), Err(TooLong { bytes }), "{filling:?}");

            let bytes = bytes + "doc:edit:".len();
            assert_eq!(permission("doc:edit").on(&text), Err(TooLong { bytes }), "{filling:?}");
            assert_eq!(permission("doc").on_resource("doc", &text), None);
        }
        let (good, refused) = parse_list(&format!("a {} b", "\u{e9}a".repeat(300_000)));
        assert_eq!(good, [permission("a"), permission("b")]);
        assert_eq!(refused[0].1, TooLong { bytes: 900_000 });
        // The cut is before the two bytes that exceed the limit, not between them.
        assert_eq!(refused[0].0.len(), 255);
    }

    #[test]
    fn a_message_says_what_is_wrong_and_where() {
        let table = [
            ("", "the permission is empty"),
            ("a::b", "part 2 is empty"),
            ("a:b,", "part 2 has an empty alternative"),
            ("a:b:c*", "part 3 has a `*` that does not stand alone"),
            ("a b", "white space ' ' at byte 1"),
            ("a\0", r"control character '\0' at byte 1"),
            ("a\u{200b}", r"invisible character '\u{200b}' at byte 1"),
            ("a:a:a:a:a:a:a:a:a", "the permission has more than 8 parts"),
            (&"a".repeat(300), "the permission has 300 bytes, more than 256"),
            (&"a,".repeat(33), "part 1 has more than 32 alternatives"),
        ];
        for (text, message) in table {
            assert_eq!(Permission::parse(text).unwrap_err().to_string(), message);
        }
        let message = permission("a:b").on("4:2").unwrap_err().to_string();
        assert_eq!(message, "an id must not contain ':', found at its byte 1");
        assert_eq!(TooManyAtoms.to_string(), "the permission stands for more than 64 single ones");
    }

    #[test]
    fn the_written_form_is_given_back() {
        for text in ["a", "*", "b,a,b:*,x:c", "doc:edit:\u{e9}"] {
            let parsed: Permission = text.parse().unwrap();
            assert_eq!(parsed.as_str(), text);
            assert_eq!(parsed.to_string(), text);
            assert_eq!(format!("{parsed:?}"), format!("Permission({text:?})"));
            assert_eq!(Permission::try_from(text), Ok(parsed));
        }
        assert_eq!(format!("{:?}", set(&["a", "b:c"])), r#"{Permission("a"), Permission("b:c")}"#);
    }

    #[test]
    fn permissions_are_equal_when_their_parts_are_equal_as_sets() {
        let table = [
            ("a:b,c", "a:c,b", true),
            ("a,a:b", "a:b", true),
            ("a:*,b", "a:b,*", true),
            ("a:*", "a:*,b", false),
            ("a", "a:*", false),
            ("a:b", "b:a", false),
            ("a,b", "a:b", false),
            ("a:b,c", "a:b", false),
            ("a", "A", false),
        ];
        for (one, other, equal) in table {
            assert_eq!(permission(one) == permission(other), equal, "{one} {other}");
            let different = HashSet::from([permission(one), permission(other)]);
            assert_eq!(different.len() == 1, equal, "hash of {one} {other}");
        }
    }

    #[test]
    fn an_id_with_syntax_in_it_is_refused() {
        let edit = permission("doc:edit");
        let at = |found, at| Err(IdCharacter { found, at });
        assert_eq!(edit.on(""), Err(EmptyId));
        assert_eq!(edit.on("*"), at('*', 0));
        assert_eq!(edit.on("1,2"), at(',', 1));
        assert_eq!(edit.on("x:y"), at(':', 1));
        assert_eq!(edit.on("4 2"), at(' ', 1));
        assert_eq!(edit.on("\u{e9}\n"), at('\n', 2));
        assert_eq!(edit.on("42\0"), at('\0', 2));
        assert_eq!(edit.on("42\u{200b}"), at('\u{200b}', 2));
        for id in
            ["42", "a.b", "x;y", "%2a", "../..", "\u{e9}", "0193e5a4-7c1e-7000-8000-000000000000"]
        {
            assert_eq!(edit.on(id).unwrap().as_str(), format!("doc:edit:{id}"));
        }
    }

    #[test]
    fn an_id_that_does_not_fit_is_refused() {
        let edit = permission("doc:edit");
        assert_eq!(edit.on(&"7".repeat(247)).unwrap().as_str().len(), 256);
        assert_eq!(edit.on(&"7".repeat(248)), Err(TooLong { bytes: 257 }));
        assert_eq!(permission("a:a:a:a:a:a:a").on("7"), Ok(permission("a:a:a:a:a:a:a:7")));
        assert_eq!(permission("a:a:a:a:a:a:a:a").on("7"), Err(TooManyParts));
    }

    #[test]
    fn a_role_on_a_resource_gives_only_what_is_of_that_resource() {
        let table = [
            ("list", "7", Some("list:*:7")),
            ("list:edit", "7", Some("list:edit:7")),
            ("list:read,edit", "7", Some("list:read,edit:7")),
            ("list:*", "7", Some("list:*:7")),
            ("*", "7", None),
            ("*:edit", "7", None),
            ("list,*:edit", "7", None),
            ("list,doc", "7", None),
            ("list,doc:edit", "7", None),
            ("doc", "7", None),
            ("doc:edit", "7", None),
            ("lists:edit", "7", None),
            ("List:edit", "7", None),
            ("list:edit:7", "7", None),
            ("list:edit:*", "7", None),
            ("list:edit", "", None),
            ("list:edit", "*", None),
            ("list", "7,8", None),
            ("list", "7:8", None),
            ("list", "7 8", None),
        ];
        for (role, id, expected) in table {
            let given = permission(role).on_resource("list", id);
            assert_eq!(given.as_ref().map(Permission::as_str), expected, "{role} on list {id}");
        }
        // A resource whose name is syntax is not a resource.
        assert_eq!(permission("*:edit").on_resource("*", "7"), None);
        assert_eq!(permission("list,doc:edit").on_resource("list,doc", "7"), None);
        assert_eq!(permission("list").on_resource("", "7"), None);
    }

    #[test]
    fn a_set_allows_what_no_single_grant_implies() {
        let held = set(&["dashboard:info", "dashboard:delete"]);
        let both = permission("dashboard:info,delete");
        assert!(held.iter().all(|grant| !grant.implies(&both)));
        assert_eq!(held.grant_for(&both), None);
        assert!(held.allows(&both.atoms().unwrap()));
        assert!(!allows(&held, "dashboard:info,delete,send"));

        // The halves of two grants do not make a third permission either.
        assert!(!allows(&set(&["a:b", "c:d"]), "a:d"));
        assert!(!allows(&set(&["a:b", "c:d"]), "a,c:b,d"));
        assert!(allows(&set(&["a:b", "a:d", "c:b", "c:d"]), "a,c:b,d"));
        // Many grants do not make a `*` either.
        assert!(!allows(&set(&["a:b", "a:c"]), "a:*"));
    }

    #[test]
    fn the_empty_set_allows_nothing() {
        let nothing = PermissionSet::default();
        assert!(nothing.is_empty());
        for requested in ["a", "*", "a:b:c"] {
            assert!(!allows(&nothing, requested));
            assert!(allows(&set(&["*"]), requested));
            assert_eq!(nothing.instances(&permission(requested)), only(&[]));
        }
    }

    #[test]
    fn a_requirement_is_taken_apart_into_its_atoms() {
        let table = [
            ("a", vec!["a"]),
            ("a:b:c", vec!["a:b:c"]),
            ("a:c,b,c", vec!["a:b", "a:c"]),
            ("a:*,b", vec!["a:*", "a:b"]),
            ("b,a:d,c", vec!["a:c", "a:d", "b:c", "b:d"]),
        ];
        for (requested, expected) in table {
            let atoms = permission(requested).atoms().unwrap();
            assert_eq!(atoms.permission().as_str(), requested);
            assert_eq!(atoms.iter().map(Permission::as_str).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn equal_grants_are_kept_once_and_in_order() {
        let mut held = set(&["b:y,x", "a", "b:x,y", "c,d:e"]);
        held.extend([permission("d,c:e"), permission("*"), permission("*")]);
        let texts: Vec<_> = held.iter().map(Permission::as_str).collect();
        assert_eq!(texts, ["b:y,x", "a", "c,d:e", "*"]);
        assert_eq!(held.len(), 4);
        assert_eq!(held.grant_for(&permission("b:x")), Some(&permission("b:x,y")));
        assert_eq!(held.grant_for(&permission("z")), Some(&permission("*")));
        // Implied is not equal: if `a` is revoked, `a:b` must stay.
        assert_eq!(set(&["a", "a:b"]).len(), 2);
    }

    #[test]
    fn a_grant_of_billions_of_atoms_is_held_like_any_other() {
        let part = "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p";
        let held = set(&[&[part; 8].join(":")]);
        assert!(allows(&held, "a:b:c:d:e:f:o:p"));
        assert!(!allows(&held, "a:b:c:d:e:f:o:q"));
        assert!(!allows(&held, "a:b:c:d:e:f:o"));
    }

    #[test]
    fn a_thousand_grants_are_each_found_and_not_their_neighbours() {
        let shapes: [fn(usize) -> String; 7] = [
            |n| format!("domain-{n}:edit"),
            |n| format!("doc:edit:{n}"),
            |n| format!("doc:read,edit:{n}"),
            |n| format!("doc:action-{n}:7"),
            |n| format!("doc:*:{n}"),
            |n| format!("*:*:{n}"),
            // There are more alternatives than keys.
            |n| format!("{}:{}:{n}", "a,b,c,d,e,f,g,h,i", "j,k,l,m,n,o,p,q,r"),
        ];
        for shape in shapes {
            let grants: PermissionSet = (0..1_000).map(|n| permission(&shape(n))).collect();
            assert_eq!(grants.len(), 1_000);
            for n in 0..1_000 {
                assert_eq!(grants.grant_for(&permission(&shape(n))), Some(&permission(&shape(n))));
            }
            assert_eq!(grants.grant_for(&permission(&shape(1_000))), None);
        }
    }

    #[test]
    fn the_ids_of_an_action_are_all_or_listed() {
        let all = [
            "doc:edit",
            "doc",
            "doc:*",
            "*",
            "doc:edit:*",
            "*:edit",
            "doc:edit:*:*",
            "doc:edit:7,*",
        ];
        for grant in all {
            let held = set(&[grant, "doc:edit:1"]);
            assert_eq!(held.instances(&permission("doc:edit")), Instances::All, "{grant}");
        }
        let table = [
            (vec!["doc:edit:2,1"], "doc:edit", only(&["1", "2"])),
            (vec!["doc:edit:1", "doc:*:2", "*:edit:3"], "doc:edit", only(&["1", "2", "3"])),
            (vec!["doc:edit:1:*"], "doc:edit", only(&["1"])),
            (vec!["doc:edit:1:x", "doc:read:2", "list:edit:3"], "doc:edit", only(&[])),
            // With several atoms, an id counts only if all of them allow it.
            (vec!["doc:edit:1,2", "doc:read:2,3"], "doc:edit,read", only(&["2"])),
            (vec!["doc:edit:1,2", "doc:read"], "doc:edit,read", only(&["1", "2"])),
            (vec!["doc:edit:1,2"], "doc:edit,read", only(&[])),
            (vec!["doc:edit", "doc:read"], "doc:edit,read", Instances::All),
            // A `*` in the request does not mean every action that is granted.
            (vec!["doc:edit:1"], "doc:*", only(&[])),
            (vec!["doc:*:1"], "doc:*", only(&["1"])),
        ];
        for (grants, prefix, expected) in table {
            assert_eq!(
                set(&grants).instances(&permission(prefix)),
                expected,
                "{grants:?}, {prefix}"
            );
        }
        let too_many = permission(&["a,b"; 7].join(":"));
        assert_eq!(set(&["*"]).instances(&too_many), only(&[]));
    }

    #[test]
    fn a_ceiling_leaves_the_ids_that_are_in_both() {
        assert_eq!(Instances::All.intersection(Instances::All), Instances::All);
        assert_eq!(Instances::All.intersection(only(&["1"])), only(&["1"]));
        assert_eq!(only(&["1"]).intersection(Instances::All), only(&["1"]));
        assert_eq!(only(&["1", "2"]).intersection(only(&["2", "3"])), only(&["2"]));
    }

    #[test]
    fn an_old_row_gives_its_good_permissions_and_reports_the_others() {
        let (good, refused) = parse_list("a:b *: c:d,e b* *");
        assert_eq!(write_list(&good), "a:b c:d,e *");
        let expected =
            [("*:".into(), EmptyPart { part: 2 }), ("b*".into(), StarInToken { part: 1 })];
        assert_eq!(refused, expected);

        assert_eq!(parse_list(""), (vec![], vec![]));
        assert_eq!(parse_list("a\tb\nc").0.len(), 3);
        let table = [
            ("a  b", 2, Empty),
            ("a b ", 2, Empty),
            (" a b", 2, Empty),
            ("a\u{a0}b", 0, WhiteSpace { found: '\u{a0}', at: 1 }),
        ];
        for (row, count, error) in table {
            let (good, refused) = parse_list(row);
            let reasons: Vec<_> = refused.into_iter().map(|(_, reason)| reason).collect();
            assert_eq!((good.len(), reasons), (count, vec![error]), "{row:?}");
        }
    }
}
