//! Roles that the code defines.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::entity::role;
use super::error::{GrantError, InvalidRole};
use super::language::{parse_list, write_list};
use super::level::Levels;
use super::role::{Roles, check_idle, check_name, parse, same_set};
use super::store;
use crate::audit_log;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::id::RoleId;
use crate::base::transaction::transaction;

/// The longest description that is stored, in bytes.
const MAX_DESCRIPTION: usize = 4096;

/// How often the comparison is repeated if someone creates or deletes one of the roles at the same
/// time.
const RACES: usize = 5;

/// A role that the code defines, for [`Roles::define`].
#[derive(Debug, Clone)]
#[must_use]
pub struct RoleDefinition {
    name: String,
    permissions: Vec<String>,
    description: Option<String>,
    requires_factor: Option<bool>,
    trusted_devices: Option<bool>,
    max_idle: Option<Option<Duration>>,
}

impl RoleDefinition {
    /// Creates the definition of a role with this name and exactly these permissions.
    pub fn new<P: AsRef<str>>(
        name: impl Into<String>,
        permissions: impl IntoIterator<Item = P>,
    ) -> Self {
        let permissions = permissions.into_iter().map(|text| text.as_ref().to_owned());
        Self {
            name: name.into(),
            permissions: permissions.collect(),
            description: None,
            requires_factor: None,
            trusted_devices: None,
            max_idle: None,
        }
    }

    /// Sets the description: the first 4096 bytes. An empty text removes it. Without this call, the
    /// description stays as it is.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Sets whether the holders need a second factor. Without this call, this stays as it is. See
    /// [`Roles::require_factor`].
    pub fn requires_factor(mut self, required: bool) -> Self {
        self.requires_factor = Some(required);
        self
    }

    /// Sets whether the holders may trust devices. Without this call, this stays as it is. See
    /// [`Roles::allow_trusted_devices`].
    pub fn trusted_devices(mut self, allowed: bool) -> Self {
        self.trusted_devices = Some(allowed);
        self
    }

    /// Sets how long sessions of the holders may be idle. `None` sets no special limit. Without
    /// this call, the limit stays as it is. See [`Roles::limit_idle`].
    pub fn max_idle(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.max_idle = Some(idle.into());
        self
    }
}

/// What [`Roles::define`] did, by the names of the roles, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DefinedRoles {
    /// The roles that are new.
    pub created: Vec<String>,
    /// The roles that were different.
    pub changed: Vec<String>,
    /// The roles that already matched.
    pub unchanged: Vec<String>,
}

impl Roles<'_> {
    /// Makes the stored roles match the code, and reports what was different. Call it at every
    /// start.
    ///
    /// 1. A missing role is created. A role with other permissions is changed, and so is one with
    ///    another description, idle limit, need of a second factor or rule about trusted devices, if the
    ///    definition names it.
    /// 2. All changes are one transaction, and take effect on the next request. If nothing is
    ///    different, nothing is written.
    /// 3. Other roles are not changed. To remove a role, call [`delete`](Self::delete).
    ///
    /// Several nodes may start at the same time. If nodes with different code run during a release,
    /// the node that starts last decides.
    ///
    /// ```no_run
    /// # async fn example(auth: portcullis::Portcullis) -> Result<(), portcullis::permission::GrantError> {
    /// use portcullis::permission::RoleDefinition;
    ///
    /// let defined = auth
    ///     .roles()
    ///     .define([
    ///         RoleDefinition::new("reader", ["doc:read"]),
    ///         RoleDefinition::new("editor", ["doc:read", "doc:write"]).description("Writes texts."),
    ///     ])
    ///     .await?;
    /// for name in &defined.changed {
    ///     println!("the role {name} was different");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GrantError::Role`] names the role and the reason: an invalid name, permission or idle
    /// limit, or a role that is defined twice. Also an outage. After an error nothing is written.
    pub async fn define(
        &self,
        roles: impl IntoIterator<Item = RoleDefinition>,
    ) -> Result<DefinedRoles, GrantError> {
        let wanted = self.check(roles)?;
        if wanted.is_empty() {
            return Ok(DefinedRoles::default());
        }
        let mut races = 0;
        loop {
            match self.bring_about(&wanted).await {
                // A transaction of the caller cannot be repeated here.
                Err(GrantError::Exists { .. } | GrantError::RoleNotFound)
                    if races < RACES && !self.db.is_inside() =>
                {
                    races += 1;
                }
                defined => return defined,
            }
        }
    }

    /// Checks all definitions before anything is written.
    fn check(
        &self,
        roles: impl IntoIterator<Item = RoleDefinition>,
    ) -> Result<BTreeMap<String, Wanted>, GrantError> {
        let mut wanted = BTreeMap::new();
        for definition in roles {
            let name = definition.name.clone();
            let refused = |error| GrantError::Role(InvalidRole::new(&name, error));
            let checked = self.checked(definition).map_err(refused)?;
            if wanted.insert(name.clone(), checked).is_some() {
                return Err(refused(GrantError::DefinedTwice));
            }
        }
        Ok(wanted)
    }

    fn checked(&self, definition: RoleDefinition) -> Result<Wanted, GrantError> {
        let config = &self.context.config;
        check_name(&definition.name)?;
        if Levels::new(&config.permission.levels).reserve(&definition.name) {
            return Err(GrantError::ReservedName);
        }
        let max_idle = match definition.max_idle {
            Some(idle) => Some(check_idle(self.context, idle)?),
            None => None,
        };
        let description = definition.description.map(|text| {
            let text = &text[..text.floor_char_boundary(MAX_DESCRIPTION)];
            (!text.is_empty()).then(|| text.to_owned())
        });
        let permissions = write_list(&parse(&definition.permissions)?);
        let RoleDefinition { requires_factor, trusted_devices, .. } = definition;
        Ok(Wanted { permissions, description, requires_factor, trusted_devices, max_idle })
    }

    async fn bring_about(
        &self,
        wanted: &BTreeMap<String, Wanted>,
    ) -> Result<DefinedRoles, GrantError> {
        let now = self.context.now();
        // Not in a transaction of the caller: on MySQL, the second read would see the same old
        // state.
        if !self.db.is_inside() {
            let db = self.db.executor();
            let stored = self.db.read(store::roles_named(&db, wanted.keys())).await?;
            let changes = Changes::between(stored, wanted, now);
            if changes.is_empty() {
                return Ok(changes.defined);
            }
        }
        transaction!(self.db, |txn| {
            // The lock makes nodes that start at the same time wait for each other. Each node sees
            // the changes of the previous one.
            store::lock_epoch(txn).await?;
            let changes =
                Changes::between(store::roles_named(txn, wanted.keys()).await?, wanted, now);
            if changes.is_empty() {
                return Ok(changes.defined);
            }
            for row in changes.created {
                let name = row.name.clone();
                if !store::insert_role(txn, row).await? {
                    return Err(GrantError::Exists { role: name });
                }
            }
            for row in changes.changed {
                if !store::write_role(txn, row).await? {
                    return Err(GrantError::RoleNotFound);
                }
            }
            store::bump_epoch(txn).await?;
            audit_log::record_all(txn, &changes.events).await?;
            Ok(changes.defined)
        })
    }
}

/// A definition that was checked, in the form of the columns. `None` leaves a column as it is.
struct Wanted {
    permissions: String,
    description: Option<Option<String>>,
    requires_factor: Option<bool>,
    trusted_devices: Option<bool>,
    max_idle: Option<Option<i64>>,
}

impl Wanted {
    fn apply(&self, row: &mut role::Model) {
        // The order of the permissions does not matter.
        let (stored, refused) = parse_list(&row.permissions);
        if !refused.is_empty() || !same_set(&stored, &parse_list(&self.permissions).0) {
            row.permissions.clone_from(&self.permissions);
        }
        if let Some(description) = &self.description {
            row.description.clone_from(description);
        }
        if let Some(requires_factor) = self.requires_factor {
            row.requires_factor = requires_factor;
        }
        if self.trusted_devices.is_some() {
            row.trusted_devices = self.trusted_devices;
        }
        if let Some(max_idle) = self.max_idle {
            row.max_idle_ms = max_idle;
        }
    }
}

/// The changes that make the table match the code.
struct Changes {
    created: Vec<role::Model>,
    changed: Vec<role::Model>,
    events: Vec<Event>,
    defined: DefinedRoles,
}

impl Changes {
    fn between(
        stored: Vec<role::Model>,
        wanted: &BTreeMap<String, Wanted>,
        now: Timestamp,
    ) -> Self {
        let mut stored: HashMap<_, _> =
            stored.into_iter().map(|row| (row.name.clone(), row)).collect();
        let (mut created, mut changed, mut events) = (Vec::new(), Vec::new(), Vec::new());
        let mut defined = DefinedRoles::default();
        for (name, wanted) in wanted {
            let found = stored.remove(name);
            let mut row = found.clone().unwrap_or_else(|| role::Model {
                id: RoleId::new(now),
                name: name.clone(),
                description: None,
                permissions: String::new(),
                requires_factor: false,
                max_idle_ms: None,
                created_at: now,
                trusted_devices: None,
            });
            wanted.apply(&mut row);
            let (rows, names, kind) = match &found {
                None => (&mut created, &mut defined.created, EventKind::RoleCreated),
                Some(found) if *found == row => {
                    defined.unchanged.push(name.clone());
                    continue;
                }
                Some(_) => (&mut changed, &mut defined.changed, EventKind::RoleChanged),
            };
            rows.push(row);
            names.push(name.clone());
            events.push(Event::new(kind, now).detail(name));
        }
        Self { created, changed, events, defined }
    }

    fn is_empty(&self) -> bool {
        self.created.is_empty() && self.changed.is_empty()
    }
}
