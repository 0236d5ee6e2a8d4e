//! The permissions that the code knows, in a table. People who create roles can read it. It also
//! shows grants that name what no code asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::entity::{known, role};
use super::error::GrantError;
use super::language::{Permission, PermissionError, parse_list};
use crate::audit_log;
use crate::base::event::{Event, EventKind};
use crate::base::transaction::transaction;
use crate::handle::Portcullis;

mod store;

/// The longest description that is stored, in bytes.
const MAX_DESCRIPTION: usize = 4096;

/// The largest number of different direct grants that are checked.
const MAX_DIRECT: u64 = 10_000;

/// The largest number of grants that a finding names.
const MAX_NAMED: usize = 10;

/// A permission as the code declares it: its text, and optionally its description.
///
/// It can be made from a text, from a pair of text and description, or from an element of the `ALL`
/// and `CATALOGUE` of [`permissions!`](crate::permissions).
#[derive(Debug, Clone, Copy)]
pub struct Declared<'a> {
    text: &'a str,
    description: Option<&'a str>,
}

impl<'a> From<&'a str> for Declared<'a> {
    fn from(text: &'a str) -> Self {
        Self { text, description: None }
    }
}

impl<'a> From<&&'a str> for Declared<'a> {
    fn from(text: &&'a str) -> Self {
        Self::from(*text)
    }
}

impl<'a> From<(&'a str, &'a str)> for Declared<'a> {
    fn from((text, description): (&'a str, &'a str)) -> Self {
        let description = description.trim();
        let description = &description[..description.floor_char_boundary(MAX_DESCRIPTION)];
        Self { text, description: Some(description).filter(|text| !text.is_empty()) }
    }
}

impl<'a> From<&(&'a str, &'a str)> for Declared<'a> {
    fn from(pair: &(&'a str, &'a str)) -> Self {
        Self::from(*pair)
    }
}

/// A permission in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownPermission {
    /// The permission.
    pub permission: Permission,
    /// What it is for.
    pub description: Option<String>,
}

/// The result of [`sync`](Catalogue::sync).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "it says which grants mention what no code asks for"]
pub struct Synced {
    /// The permissions that are new in the table, sorted.
    pub added: Vec<String>,
    /// The permissions in the table that were not declared, sorted. Another version of the code may
    /// know them.
    pub undeclared: Vec<String>,
    /// Grants of what no code can ask for.
    pub doubtful: Vec<Doubtful>,
}

/// A grant of what no code can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Doubtful {
    /// The role that contains it; `None` for a permission that was granted directly.
    pub role: Option<String>,
    /// The text, shortened.
    pub permission: String,
    /// Why it cannot be parsed, if it cannot. Otherwise a part of it is not in the catalogue.
    pub malformed: Option<PermissionError>,
}

impl fmt::Display for Doubtful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Quoted and escaped, because a row that another program wrote may contain anything.
        write!(f, "{:?}", self.permission)?;
        match &self.role {
            Some(role) => write!(f, " in role {role:?}"),
            None => f.write_str(" granted directly"),
        }
    }
}

/// The permissions that the code knows.
///
/// 1. At each start the application [syncs](Self::sync) what its code declares. New permissions are
///    added and descriptions are updated. Nothing is deleted, because another version of the code
///    may still be running.
/// 2. Grants that name something outside the catalogue, or that cannot be parsed, become a
///    [finding](Portcullis::audit) and a warning in the log.
/// 3. [`prune`](Self::prune) deletes what is not declared any more, if an operator calls it.
///
/// The catalogue grants and refuses nothing. A grant of something unknown only has no effect,
/// because no code asks for it.
///
/// ```no_run
/// portcullis::permissions! {
///     doc: /// Reads documents.
///          Read, /// Changes documents.
///          Edit;
/// }
///
/// # async fn example(auth: portcullis::Portcullis) -> Result<(), portcullis::permission::GrantError> {
/// let synced = auth.catalogue().sync(CATALOGUE).await?;
/// for grant in &synced.doubtful {
///     println!("nobody asks for {grant}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Catalogue<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Returns the catalogue of permissions that the code knows.
    pub fn catalogue(&self) -> Catalogue<'_> {
        Catalogue { auth: self }
    }
}

impl Catalogue<'_> {
    /// Adds new permissions and updates descriptions. A missing description stays as it was.
    /// Nothing is deleted. Then all grants are [checked](Self::check).
    ///
    /// # Errors
    /// A text that is not a permission, and then nothing is written; an outage.
    pub async fn sync<'p, D: Into<Declared<'p>>>(
        &self,
        declared: impl IntoIterator<Item = D>,
    ) -> Result<Synced, GrantError> {
        let declared = parse(declared)?;
        let context = self.auth.context();
        let db = context.db();
        let stored = db.read(store::all(&db.executor())).await?;
        let mut added = Vec::new();
        if !Changes::between(&stored, &declared).is_empty() {
            let now = context.now();
            let changes = transaction!(db, |txn| {
                // The lock makes nodes that start at the same time wait for each other. Each one
                // sees what the one before has written.
                super::store::lock_epoch(txn).await?;
                let changes = Changes::between(&store::all(txn).await?, &declared);
                if changes.is_empty() {
                    return Ok(changes);
                }
                store::add(txn, &changes.added, now).await?;
                for (permission, description) in &changes.described {
                    store::describe(txn, permission, description).await?;
                }
                let event = Event::new(EventKind::CatalogueChanged, now).detail(format!(
                    "{} added, {} described",
                    changes.added.len(),
                    changes.described.len()
                ));
                audit_log::record(txn, &event).await?;
                Ok::<_, GrantError>(changes)
            })?;
            added = changes.added.into_iter().map(|(permission, _)| permission).collect();
        }
        let undeclared = stored.into_iter().map(|row| row.permission);
        let undeclared = undeclared.filter(|text| !declared.contains_key(text)).collect();
        Ok(Synced { added, undeclared, doubtful: self.check().await? })
    }

    /// Deletes from the catalogue what is not among these permissions, and returns what was
    /// deleted. Grants stay as they are. The next [check](Self::check) finds those that name a
    /// deleted permission.
    ///
    /// # Errors
    /// A text that is not a permission; an outage.
    pub async fn prune<'p, D: Into<Declared<'p>>>(
        &self,
        declared: impl IntoIterator<Item = D>,
    ) -> Result<Vec<String>, GrantError> {
        let declared = parse(declared)?;
        let context = self.auth.context();
        let now = context.now();
        let gone = transaction!(context.db(), |txn| {
            super::store::lock_epoch(txn).await?;
            let gone = store::all(txn).await?.into_iter().map(|row| row.permission);
            let gone: Vec<_> = gone.filter(|text| !declared.contains_key(text)).collect();
            if gone.is_empty() {
                return Ok(gone);
            }
            store::remove(txn, &gone).await?;
            let detail = format!("{} pruned", gone.len());
            let event = Event::new(EventKind::CatalogueChanged, now).detail(detail);
            audit_log::record(txn, &event).await?;
            Ok::<_, GrantError>(gone)
        })?;
        Ok(gone)
    }

    /// Lists the catalogue, sorted by text.
    ///
    /// # Errors
    /// An outage.
    pub async fn list(&self) -> Result<Vec<KnownPermission>, GrantError> {
        let db = self.auth.context().db();
        let rows = db.read(store::all(&db.executor())).await?;
        let known = rows.into_iter().filter_map(|row| {
            let permission = Permission::parse(&row.permission).ok()?;
            Some(KnownPermission { permission, description: row.description })
        });
        Ok(known.collect())
    }

    /// Checks all roles and the direct grants (the first 10 000 different ones). It finds
    /// permissions that cannot be parsed, and permissions that match nothing in the catalogue. If
    /// the catalogue is empty, it only finds the first kind. The result becomes a
    /// [finding](Portcullis::audit), which replaces the earlier one.
    ///
    /// # Errors
    /// An outage.
    pub async fn check(&self) -> Result<Vec<Doubtful>, GrantError> {
        let db = self.auth.context().db();
        let known: Vec<_> = self.list().await?.into_iter().map(|known| known.permission).collect();
        let roles = db.read(super::store::roles(&db.executor())).await?;
        let direct = db.read(store::direct(&db.executor(), MAX_DIRECT)).await?;
        let mut doubtful = Vec::new();
        for role::Model { name, permissions, .. } in &roles {
            look(&known, Some(name), permissions, &mut doubtful);
        }
        for permission in &direct {
            look(&known, None, permission, &mut doubtful);
        }
        let (malformed, unknown): (Vec<_>, Vec<_>) =
            doubtful.iter().partition(|grant| grant.malformed.is_some());
        self.auth.update_finding(
            "malformed_permissions",
            told("cannot be read and grant nothing", &malformed),
        );
        self.auth
            .update_finding("unknown_permissions", told("mention what no code asks for", &unknown));
        Ok(doubtful)
    }
}

/// The description of each permission, by its text.
type Parsed = BTreeMap<String, Option<String>>;

fn parse<'p, D: Into<Declared<'p>>>(
    declared: impl IntoIterator<Item = D>,
) -> Result<Parsed, GrantError> {
    let mut parsed = Parsed::new();
    for Declared { text, description } in declared.into_iter().map(Into::into) {
        let permission = Permission::parse(text).map_err(|error| {
            GrantError::InvalidPermission { permission: text.chars().take(64).collect(), error }
        })?;
        GrantError::check_domain(&permission)?;
        let entry = parsed.entry(text.to_owned()).or_default();
        if description.is_some() {
            *entry = description.map(str::to_owned);
        }
    }
    Ok(parsed)
}

/// The changes that bring the table to what is declared.
struct Changes {
    added: Vec<(String, Option<String>)>,
    described: Vec<(String, String)>,
}

impl Changes {
    fn between(stored: &[known::Model], declared: &Parsed) -> Self {
        let stored: BTreeMap<_, _> = stored
            .iter()
            .map(|row| (row.permission.as_str(), row.description.as_deref()))
            .collect();
        let mut changes = Self { added: Vec::new(), described: Vec::new() };
        for (text, description) in declared {
            match (stored.get(text.as_str()), description) {
                (None, _) => changes.added.push((text.clone(), description.clone())),
                (Some(old), Some(new)) if *old != Some(new) => {
                    changes.described.push((text.clone(), new.clone()));
                }
                _ => {}
            }
        }
        changes
    }

    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.described.is_empty()
    }
}

/// Checks the permissions of one row.
fn look(known: &[Permission], role: Option<&String>, text: &str, doubtful: &mut Vec<Doubtful>) {
    let shortened = |text: &str| text.chars().take(64).collect::<String>();
    let (permissions, refused) = parse_list(text);
    doubtful.extend(refused.into_iter().map(|(text, error)| Doubtful {
        role: role.cloned(),
        permission: shortened(&text),
        malformed: Some(error),
    }));
    let unknown = permissions.iter().filter(|permission| !is_known(known, permission));
    doubtful.extend(unknown.map(|permission| Doubtful {
        role: role.cloned(),
        permission: shortened(permission.as_str()),
        malformed: None,
    }));
}

/// Returns true if each alternative of a grant matches something in the catalogue. A grant with
/// more alternatives than a requirement may have is checked as a whole.
fn is_known(known: &[Permission], granted: &Permission) -> bool {
    let overlaps = |part: &Permission| known.iter().any(|known| known.overlaps(part));
    known.is_empty()
        || match granted.atoms() {
            Ok(atoms) => atoms.iter().all(overlaps),
            Err(_) => overlaps(granted),
        }
}

fn told(what: &str, doubtful: &[&Doubtful]) -> Option<String> {
    let different: BTreeSet<_> = doubtful.iter().map(ToString::to_string).collect();
    if different.is_empty() {
        return None;
    }
    let named: Vec<_> = different.iter().take(MAX_NAMED).map(String::as_str).collect();
    let more = match different.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!("some stored permissions {what}: {}{more}", named.join(", ")))
}
