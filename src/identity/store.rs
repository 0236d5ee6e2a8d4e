//! The identity statement: it reads everything that a request needs, by the digest of its token.
//!
//! It has two forms. Each is a fixed text per database, so that the driver keeps it prepared.
//!
//! - **short** (the usual one): session ⋈ account ⋈ the version of all authorization. If the grants
//!   are cached under their versions, a request needs nothing else. Grants that are not cached are
//!   loaded by a second statement. It reads the versions again, because only versions from the same
//!   statement belong to these grants.
//! - **full** (if nothing is cached): the same with the grants, in one `UNION ALL`. Every branch
//!   starts at the digest of the session. A join of all tables would multiply the rows instead.
//!
//! `a` is LEFT joined: an anonymous session has no account and is still a session.
//!
//! # What it must not do
//!
//! - **It is not asked for a forged token.** The signature is checked before. So nobody can make
//!   the database work without a token that portcullis signed.
//! - **The database holds no token.** The row has a digest of the session's random id, under a key
//!   that is not in the database. So a stolen backup opens no session.
//! - **It selects by the digest alone**, and not by `ended_at IS NULL` or by times. A session that
//!   has ended must be found, because the answer says why it ended, and because a replay is
//!   recognised by comparing with its row. With such conditions, both would look like an unknown
//!   token. They would also be a second copy of the rules in [`judge`](crate::session::judge).

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement, Value};

use crate::account::Account;
use crate::api_key::ApiKey;
use crate::base::clock::Timestamp;
use crate::base::factor::{EnrolledFactors, PassedFactors};
use crate::base::id::AccountId;
use crate::base::transaction::Database;
use crate::identity::grant_cache::Versions;
use crate::permission::{GrantRow, Levels, RoleRow};
use crate::session::Stage;
use crate::session::judge::{ClientMark, Ended, SessionState, lingers_until};

/// A column of the short statement: the expression, its type on PostgreSQL (for typed NULLs in the other
/// branches), and what the row of a grant has in this column.
type Column = (&'static str, &'static str, Option<&'static str>);

/// The table in which the credential of a request is looked up, by its digest.
#[derive(Clone, Copy)]
struct Anchor {
    table: &'static str,
    columns: &'static [Column],
}

const SESSION: Anchor = Anchor {
    table: "auth_session",
    columns: &[
        ("s.id", "uuid", None),
        ("s.lineage_id", "uuid", None),
        ("s.account_id", "uuid", None),
        ("s.account_epoch", "bigint", None),
        ("s.stage", "smallint", None),
        ("s.generation", "bigint", None),
        ("s.rotated_at", "bigint", None),
        ("s.late_use_at", "bigint", None),
        ("s.previous_late_use_at", "bigint", None),
        ("s.rotated_network", "bigint", None),
        ("s.rotated_browser", "bigint", None),
        ("s.created_at", "bigint", None),
        ("s.expires_at", "bigint", None),
        ("s.idle_ms", "bigint", Some("r.max_idle_ms")),
        ("s.persistent", "boolean", Some("r.requires_factor")),
        ("s.factors", "text", None),
        ("s.ceiling", "text", Some("r.permissions")),
        ("s.address", "text", Some("g.resource")),
        ("s.user_agent", "text", Some("g.resource_id")),
        ("s.ended_at", "bigint", None),
        ("s.end_reason", "text", None),
        ("s.suspicious_at", "bigint", None),
        ("s.approved_in", "uuid", None),
        ("s.bound_to", "text", None),
    ],
};

const API_KEY: Anchor = Anchor {
    table: "auth_api_key",
    columns: &[
        ("s.id", "uuid", None),
        ("s.first_id", "uuid", None),
        ("s.account_id", "uuid", None),
        ("s.created_at", "bigint", Some("r.max_idle_ms")),
        ("s.expires_at", "bigint", None),
        ("s.rotated_at", "bigint", None),
        ("s.ended_at", "bigint", None),
        ("s.last_used_at", "bigint", None),
        ("s.name", "text", Some("g.resource")),
        ("s.hint", "text", Some("g.resource_id")),
        ("s.scopes", "text", Some("r.permissions")),
        ("s.key_id", "text", None),
        // A key has no column of this type.
        (NO_FLAG, "boolean", Some("r.requires_factor")),
    ],
};

/// Stands for a NULL of the type of its column.
const NO_FLAG: &str = "NULL";

/// The columns of the account. They follow those of the anchor.
const ACCOUNT_COLUMNS: [Column; 13] = [
    ("a.username", "text", Some("r.name")),
    ("a.email", "text", None),
    ("a.phone", "text", None),
    ("a.superuser", "boolean", Some("r.trusted_devices")),
    ("a.epoch", "bigint", None),
    ("a.version", "bigint", None),
    ("a.enrolled_factors", "bigint", None),
    ("a.verified_at", "bigint", None),
    ("a.disabled_at", "bigint", None),
    ("a.deleted_at", "bigint", None),
    ("a.rate_limit", "bigint", None),
    (AUTHORIZATION_VERSION, "bigint", None),
    ("a.id", "uuid", None),
];

/// What the row of a grant has, in the order in which [`grant`] reads it.
const GRANT: [&str; 7] = [
    "r.name",
    "r.permissions",
    "g.resource",
    "g.resource_id",
    "r.requires_factor",
    "r.max_idle_ms",
    "r.trusted_devices",
];

/// The version of all authorization. Cached grants are kept under it and under the version of their
/// account.
///
/// It is a subselect and not a join. If its row is missing, a join would find no session at all,
/// and everybody would be signed out. So it is only NULL then, and nothing is cached.
const AUTHORIZATION_VERSION: &str = "(SELECT e.version FROM auth_epoch e WHERE e.id = 1)";

/// The kinds of the other rows. 0 is the row of the session. The database does not promise the
/// order of a `UNION ALL`, so each row says what it is.
const ROLE: i32 = 1;
const PERMISSION: i32 = 2;
const MEMBERSHIP: i32 = 3;
const LEVEL_ROLE: i32 = 4;
const ACCOUNT: i32 = 5;

/// The fixed texts for one database.
#[derive(Debug)]
pub(crate) struct Statements {
    backend: DbBackend,
    session: Lookup,
    api_key: Lookup,
    grants: String,
    /// How many branches the statement of the grants has, so how often it contains the account. The
    /// full statement contains the digests once more than that.
    branches: usize,
}

/// The two forms of the statement for one anchor.
#[derive(Debug)]
struct Lookup {
    short: String,
    full: String,
    /// The positions of [`GRANT`] in a row of the full form.
    grant: [usize; 7],
}

/// A credential and its account, as one statement read them.
#[derive(Debug)]
pub(crate) struct Found<S = SessionState> {
    pub(crate) state: S,
    pub(crate) account: Option<Account>,
    /// The version of all authorization. If its row is missing, this is `None` and nothing is
    /// cached.
    pub(crate) authorization: Option<i64>,
    /// The grants, if the full statement was used.
    pub(crate) grants: Vec<GrantRow>,
}

/// An account and its grants, read from the same state of the database.
#[derive(Debug, Default)]
pub(crate) struct Granted {
    /// `None` if there is no such account.
    pub(crate) account: Option<Account>,
    pub(crate) rows: Vec<GrantRow>,
    /// The versions to which the rows belong. `None` if there is no such account, or if the version
    /// of all authorization is missing.
    pub(crate) versions: Option<Versions>,
}

impl Statements {
    /// `digests` is the number of secrets: a row may have been stored under the digest of any of
    /// them. Memberships are read only if levels are configured, because they give no rights
    /// without them.
    pub(crate) fn new(backend: DbBackend, digests: usize, levels: Levels<'_>) -> Self {
        // The names are part of the text. This is safe, because the configuration accepts only
        // letters, digits and `_`.
        let names: Vec<_> = levels.all().into_iter().map(|level| format!("'{level}'")).collect();
        let names = names.join(", ");
        let mut placeholders = Placeholders { backend, next: 1 };
        let mut account = || {
            placeholders.start_branch();
            placeholders.one()
        };
        let null = |kind: &str| typed_null(backend, kind);
        let (text, number) = (null("text"), null("bigint"));
        // The columns that only the row of the account has, and one that only a role has.
        let numbers = [number.as_str(); 7].join(", ");
        let (rest, no_flag) = (format!("{numbers}, r.trusted_devices"), null("boolean"));
        let role = format!(
            "r.name, r.permissions, g.resource, g.resource_id, r.requires_factor, r.max_idle_ms, {rest}"
        );
        let no_role = format!("{no_flag}, {number}, {numbers}, {no_flag}");
        let mut grants = format!(
            "SELECT {ROLE} AS kind, {role} FROM auth_account_role g \
             JOIN auth_role r ON r.id = g.role_id WHERE g.account_id = {} \
             UNION ALL SELECT {ROLE}, {role} FROM auth_account_group m \
             JOIN auth_group_role g ON g.group_id = m.group_id JOIN auth_role r ON r.id = g.role_id \
             WHERE m.account_id = {} \
             UNION ALL SELECT {PERMISSION}, {text}, p.permission, {text}, {text}, {no_role} \
             FROM auth_account_permission p WHERE p.account_id = {}",
            account(),
            account(),
            account(),
        );
        if !names.is_empty() {
            grants.push_str(&format!(
                " UNION ALL SELECT {MEMBERSHIP}, g.level, {text}, g.resource, g.resource_id, {no_role} \
                 FROM auth_membership g WHERE g.account_id = {} \
                 UNION ALL SELECT {LEVEL_ROLE}, r.name, r.permissions, {text}, {text}, \
                 r.requires_factor, r.max_idle_ms, {rest} FROM auth_role r WHERE r.name IN ({names}) \
                 AND EXISTS (SELECT 1 FROM auth_membership g WHERE g.account_id = {})",
                account(),
                account(),
            ));
        }
        // One statement sees one state of the database. So this account, its versions and these
        // grants belong together.
        grants.push_str(&format!(
            " UNION ALL SELECT {ACCOUNT}, a.username, a.email, a.phone, {text}, a.superuser, a.epoch, \
             a.version, {AUTHORIZATION_VERSION}, a.enrolled_factors, a.verified_at, \
             a.disabled_at, a.deleted_at, a.rate_limit, {no_flag} FROM auth_account a WHERE a.id = {}",
            account(),
        ));
        let branches = if names.is_empty() { 3 } else { 5 };
        let lookup = |anchor| Lookup::new(backend, digests, &names, anchor);
        let (session, api_key) = (lookup(SESSION), lookup(API_KEY));
        Self { backend, session, api_key, grants, branches }
    }

    /// Returns the session with this token, its account and the version of all authorization.
    pub(crate) async fn find(
        &self,
        db: &Database,
        digests: &[[u8; 32]],
    ) -> Result<Option<Found>, DbErr> {
        self.short(db, &self.session, digests, session).await
    }

    /// The same, with the grants of the account.
    pub(crate) async fn find_with_grants(
        &self,
        db: &Database,
        digests: &[[u8; 32]],
    ) -> Result<Option<Found>, DbErr> {
        self.full(db, &self.session, digests, session).await
    }

    /// Returns the API key with one of these digests, its account and the version of all authorization.
    pub(crate) async fn find_key(
        &self,
        db: &Database,
        digests: &[[u8; 32]],
    ) -> Result<Option<Found<ApiKey>>, DbErr> {
        self.short(db, &self.api_key, digests, api_key).await
    }

    /// The same, with the grants of the account.
    pub(crate) async fn find_key_with_grants(
        &self,
        db: &Database,
        digests: &[[u8; 32]],
    ) -> Result<Option<Found<ApiKey>>, DbErr> {
        self.full(db, &self.api_key, digests, api_key).await
    }

    async fn short<S>(
        &self,
        db: &Database,
        lookup: &Lookup,
        digests: &[[u8; 32]],
        read: impl Fn(&QueryResult, usize) -> Result<Found<S>, DbErr>,
    ) -> Result<Option<Found<S>>, DbErr> {
        let statement =
            Statement::from_sql_and_values(self.backend, &lookup.short, bytes(digests, 1));
        db.query_one_raw(statement).await?.map(|row| read(&row, 0)).transpose()
    }

    async fn full<S>(
        &self,
        db: &Database,
        lookup: &Lookup,
        digests: &[[u8; 32]],
        read: impl Fn(&QueryResult, usize) -> Result<Found<S>, DbErr>,
    ) -> Result<Option<Found<S>>, DbErr> {
        // MySQL and MariaDB have no numbered placeholders, so each branch needs the values again.
        let times = if self.backend == DbBackend::MySql { self.branches + 1 } else { 1 };
        let statement =
            Statement::from_sql_and_values(self.backend, &lookup.full, bytes(digests, times));
        let mut found = None;
        let mut grants = Vec::new();
        for row in db.query_all_raw(statement).await? {
            match row.try_get_by_index::<i32>(0)? {
                0 => found = Some(read(&row, 1)?),
                kind => grants.push(grant(&row, kind, lookup.grant)?),
            }
        }
        // The branches of the grants look for the credential themselves. Without one there are no grants
        // either.
        Ok(found.map(|found| Found { grants, ..found }))
    }

    /// Returns the grants of an account, and the account. A request that read versions earlier may
    /// get newer grants here.
    pub(crate) async fn grants<C: ConnectionTrait>(
        &self,
        db: &C,
        id: AccountId,
    ) -> Result<Granted, DbErr> {
        let times = if self.backend == DbBackend::MySql { self.branches + 1 } else { 1 };
        let values = vec![Value::from(id.as_uuid()); times];
        let statement = Statement::from_sql_and_values(self.backend, &self.grants, values);
        let mut found = Granted::default();
        for row in db.query_all_raw(statement).await? {
            match row.try_get_by_index(0)? {
                ACCOUNT => {
                    let account = account(&row, id)?;
                    let authorization: Option<i64> = row.try_get_by_index(8)?;
                    found.versions = authorization
                        .map(|authorization| Versions { account: account.version, authorization });
                    found.account = Some(account);
                }
                kind => found.rows.push(grant(&row, kind, [1, 2, 3, 4, 5, 6, 14])?),
            }
        }
        Ok(found)
    }

    /// The texts. A test asks the database for their query plans.
    #[cfg(feature = "test-util")]
    pub(crate) fn texts(&self) -> [&str; 5] {
        let Self { session, api_key, grants, .. } = self;
        [&session.short, &session.full, grants, &api_key.short, &api_key.full]
    }
}

impl Lookup {
    /// `names` are the names of the levels, quoted.
    fn new(backend: DbBackend, digests: usize, names: &str, anchor: Anchor) -> Self {
        let mut placeholders = Placeholders { backend, next: 1 };
        let null = |kind: &str| typed_null(backend, kind);
        let table = anchor.table;
        let all = anchor.columns.iter().chain(&ACCOUNT_COLUMNS);
        let columns: Vec<_> = all
            .clone()
            .map(|(expression, kind, _)| match *expression {
                NO_FLAG => null(kind),
                expression => expression.to_owned(),
            })
            .collect();
        let session = format!(
            "FROM {table} s LEFT JOIN auth_account a ON a.id = s.account_id \
             WHERE s.token_digest{}",
            placeholders.digests(digests),
        );
        let short = format!("SELECT {} {session}", columns.join(", "));

        let mut full = format!("SELECT 0 AS kind, {} {session}", columns.join(", "));
        let mut branches = vec![
            (
                ROLE,
                "JOIN auth_account_role g ON g.account_id = s.account_id JOIN auth_role r ON r.id = g.role_id",
            ),
            (
                ROLE,
                "JOIN auth_account_group m ON m.account_id = s.account_id JOIN auth_group_role g ON g.group_id = m.group_id JOIN auth_role r ON r.id = g.role_id",
            ),
            (PERMISSION, "JOIN auth_account_permission p ON p.account_id = s.account_id"),
        ];
        if !names.is_empty() {
            branches.push((MEMBERSHIP, "JOIN auth_membership g ON g.account_id = s.account_id"));
        }
        let columns_of = |kind: i32| {
            // All branches of a UNION must have the same columns. So the values of a grant are put
            // into columns of the session that have the same type, and the other columns are NULL.
            let columns = all.clone().map(|(_, column, grant)| match (*grant, kind) {
                (Some(grant), ROLE) => grant.to_owned(),
                (Some("r.permissions"), PERMISSION) => "p.permission".to_owned(),
                (Some("r.name"), MEMBERSHIP) => "g.level".to_owned(),
                (Some(grant), MEMBERSHIP) if grant.starts_with("g.") => grant.to_owned(),
                (Some(grant), LEVEL_ROLE) if grant.starts_with("r.") => grant.to_owned(),
                _ => null(column),
            });
            columns.collect::<Vec<_>>().join(", ")
        };
        for (kind, joins) in &branches {
            placeholders.start_branch();
            full.push_str(&format!(
                " UNION ALL SELECT {kind}, {} FROM {table} s {joins} WHERE s.token_digest{}",
                columns_of(*kind),
                placeholders.digests(digests),
            ));
        }
        if !names.is_empty() {
            placeholders.start_branch();
            // EXISTS and not a join: each role is read once, and not once for each membership. An
            // account can have thousands of memberships.
            full.push_str(&format!(
                " UNION ALL SELECT {LEVEL_ROLE}, {} FROM auth_role r WHERE r.name IN ({names}) \
                 AND EXISTS (SELECT 1 FROM {table} s JOIN auth_membership g \
                 ON g.account_id = s.account_id WHERE s.token_digest{})",
                columns_of(LEVEL_ROLE),
                placeholders.digests(digests),
            ));
        }
        // Plus one for `kind`.
        let grant = GRANT.map(|wanted| {
            let mut columns = all.clone();
            let at = columns.position(|(_, _, grant)| *grant == Some(wanted));
            at.expect("every part of a grant has a column") + 1
        });
        Self { short, full, grant }
    }
}

fn typed_null(backend: DbBackend, kind: &str) -> String {
    match backend {
        DbBackend::Postgres => format!("NULL::{kind}"),
        _ => "NULL".to_owned(),
    }
}

/// Reads a row of one of the kinds above. `columns` are its name, permissions, resource, resource
/// id, required factor, idle time and rule about trusted devices.
fn grant(row: &QueryResult, kind: i32, columns: [usize; 7]) -> Result<GrantRow, DbErr> {
    let [name, permissions, resource, resource_id, requires_factor, max_idle, trusted] = columns;
    // A column is NULL only if this kind of row does not use it. This matters for `resource`: an
    // empty one means every resource. Its columns are NOT NULL in the tables, so a NULL never
    // widens a grant.
    let string = |column| row.try_get_by_index::<Option<String>>(column).map(text);
    let role = || {
        Ok::<_, DbErr>(RoleRow {
            name: string(name)?,
            permissions: string(permissions)?,
            requires_factor: row
                .try_get_by_index::<Option<bool>>(requires_factor)?
                .unwrap_or(false),
            trusted_devices: row.try_get_by_index(trusted)?,
            max_idle: duration(row.try_get_by_index(max_idle)?),
        })
    };
    Ok(match kind {
        ROLE => GrantRow::Role {
            role: role()?,
            resource: string(resource)?,
            resource_id: string(resource_id)?,
        },
        PERMISSION => GrantRow::Permission(string(permissions)?),
        MEMBERSHIP => GrantRow::Membership {
            resource: string(resource)?,
            resource_id: string(resource_id)?,
            level: string(name)?,
        },
        LEVEL_ROLE => GrantRow::LevelRole(role()?),
        // An error, and not a row that is skipped: grants that are not complete would be cached.
        _ => return Err(DbErr::Type(format!("a grant has the unknown kind {kind}"))),
    })
}

/// Reads the row of an account in the statement of the grants.
fn account(row: &QueryResult, id: AccountId) -> Result<Account, DbErr> {
    Ok(Account {
        id,
        username: row.try_get_by_index(1)?,
        email: row.try_get_by_index(2)?,
        phone: row.try_get_by_index(3)?,
        superuser: row.try_get_by_index(5)?,
        epoch: row.try_get_by_index(6)?,
        version: row.try_get_by_index(7)?,
        enrolled: EnrolledFactors(row.try_get_by_index(9)?),
        verified_at: row.try_get_by_index(10)?,
        disabled_at: row.try_get_by_index(11)?,
        deleted_at: row.try_get_by_index(12)?,
        rate_limit: row.try_get_by_index(13)?,
        mailed_code_at: None,
    })
}

/// Placeholders in the syntax of the database.
struct Placeholders {
    backend: DbBackend,
    next: usize,
}

impl Placeholders {
    /// Starts another branch, which uses the same values again.
    fn start_branch(&mut self) {
        self.next = 1;
    }

    fn one(&mut self) -> String {
        let number = self.next;
        self.next += 1;
        match self.backend {
            DbBackend::Postgres => format!("${number}"),
            DbBackend::Sqlite => format!("?{number}"),
            _ => "?".to_owned(),
        }
    }

    fn digests(&mut self, count: usize) -> String {
        if count == 1 {
            return format!(" = {}", self.one());
        }
        let list: Vec<_> = (0..count).map(|_| self.one()).collect();
        format!(" IN ({})", list.join(", "))
    }
}

fn bytes(digests: &[[u8; 32]], times: usize) -> Vec<Value> {
    let mut values = Vec::with_capacity(digests.len() * times);
    for _ in 0..times {
        values.extend(digests.iter().map(|digest| Value::from(digest.to_vec())));
    }
    values
}

fn text(value: Option<String>) -> String {
    value.unwrap_or_default()
}

fn duration(millis: Option<i64>) -> Option<Duration> {
    millis.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis)
}

/// Reads the row of a session, whose first column is `at`.
fn session(row: &QueryResult, at: usize) -> Result<Found, DbErr> {
    let mut next = at;
    macro_rules! column {
        () => {{
            next += 1;
            row.try_get_by_index(next - 1)?
        }};
    }
    let id = column!();
    let lineage_id = column!();
    let account_id = column!();
    let account_epoch = column!();
    let stage: i16 = column!();
    let generation = column!();
    let rotated_at = column!();
    let late_use_at = column!();
    let previous_late_use_at = column!();
    let rotated_by = ClientMark { network: column!(), browser: column!() };
    let created_at = column!();
    let expires_at = column!();
    let idle: i64 = column!();
    let persistent = column!();
    let factors: String = column!();
    let ceiling = column!();
    let address = column!();
    let user_agent = column!();
    let ended_at: Option<Timestamp> = column!();
    let end_reason: Option<String> = column!();
    let suspicious_at: Option<i64> = column!();
    let approved_in = column!();
    let bound_to: Option<String> = column!();
    let state = SessionState {
        id,
        lineage_id,
        account_id,
        account_epoch,
        // An error, so the answer is 503. Any default would guess how far the sign-in is.
        stage: Stage::from_number(stage)
            .ok_or_else(|| DbErr::Type(format!("a session has the unknown stage {stage}")))?,
        generation,
        rotated_at,
        late_use_at,
        previous_late_use_at,
        rotated_by,
        created_at,
        expires_at,
        idle: duration(Some(idle)).unwrap_or_default(),
        persistent,
        factors: PassedFactors::from_column(&factors),
        proved_elsewhere: None,
        ceiling,
        address,
        user_agent,
        ended_at,
        ended: ended_at.map(|_| Ended::from_column(end_reason.as_deref())),
        lingers_until: lingers_until(ended_at, end_reason.as_deref()),
        suspicious: suspicious_at.is_some(),
        approved_in,
        // An error too. Otherwise the session would count as one without a key.
        bound_to: bound_to
            .map(|key| key.parse())
            .transpose()
            .map_err(|_| DbErr::Type("a session is bound to an unreadable key".to_owned()))?,
    };
    let (account, authorization) = found_account(row, at + SESSION.columns.len())?;
    Ok(Found { state, account, authorization, grants: Vec::new() })
}

/// Reads the row of an API key, whose first column is `at`.
fn api_key(row: &QueryResult, at: usize) -> Result<Found<ApiKey>, DbErr> {
    let mut next = at;
    macro_rules! column {
        () => {{
            next += 1;
            row.try_get_by_index(next - 1)?
        }};
    }
    let state = ApiKey {
        id: column!(),
        first_id: column!(),
        account_id: column!(),
        created_at: column!(),
        expires_at: column!(),
        rotated_at: column!(),
        ended_at: column!(),
        last_used_at: column!(),
        name: column!(),
        hint: column!(),
        scopes: column!(),
        key_id: column!(),
        last_used_from: None,
    };
    let (account, authorization) = found_account(row, at + API_KEY.columns.len())?;
    Ok(Found { state, account, authorization, grants: Vec::new() })
}

/// Reads the account, whose first column is `at`, and the version of all authorization.
fn found_account(row: &QueryResult, at: usize) -> Result<(Option<Account>, Option<i64>), DbErr> {
    let mut next = at;
    macro_rules! column {
        () => {{
            next += 1;
            row.try_get_by_index(next - 1)?
        }};
    }
    // The id of the account decides whether there is an account. Its other columns can be null. It
    // is not `s.account_id`, which only says that there should be one. Without its row the credential
    // counts for nobody (see `SessionState::ended`).
    let present: Option<AccountId> = row.try_get_by_index(at + ACCOUNT_COLUMNS.len() - 1)?;
    let authorization = row.try_get_by_index(at + ACCOUNT_COLUMNS.len() - 2)?;
    let account = match present {
        None => None,
        Some(id) => Some(Account {
            id,
            username: column!(),
            email: column!(),
            phone: column!(),
            superuser: column!(),
            epoch: column!(),
            version: column!(),
            enrolled: EnrolledFactors(column!()),
            verified_at: column!(),
            disabled_at: column!(),
            deleted_at: column!(),
            rate_limit: column!(),
            mailed_code_at: None,
        }),
    };
    Ok((account, authorization))
}
