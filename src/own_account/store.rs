//! Queries on everything that is kept about one account, in the tables of all modules. The tables
//! are named as text, because some of them belong to other leaves. A test checks that this file
//! covers each table with an account, or that there is a reason why not.

use sea_orm::sea_query::{Expr, ExprTrait, Order, Query};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use crate::account::LoginIdKind;
use crate::account::recovering::RecoveryState;
use crate::attempt::Outcome;
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, LineageId};
use crate::config::AttemptKind;
use crate::permission::MembershipOrigin;
use crate::session::Stage;

/// The number of values in one statement.
const AT_ONCE: usize = 500;

/// The largest number of rows of one kind in an export.
pub(super) const MOST_ROWS: u64 = 10_000;

/// The tables whose rows are removed when an account is erased. Sessions come last, because they
/// lead to the rows that belong to them.
const ERASED: [&str; 26] = [
    "auth_login_name",
    "auth_former_address",
    "auth_account_role",
    "auth_account_group",
    "auth_account_permission",
    "auth_membership",
    "auth_membership_turn",
    "auth_told_place",
    "auth_device_digest",
    "auth_denial",
    "auth_totp",
    "auth_recovery_code",
    "auth_passkey",
    "auth_passkey_user",
    "auth_passkey_challenge",
    "auth_provider_identity",
    "auth_provider_flow",
    "auth_pending_identity",
    "auth_provider_session",
    "auth_trusted_device",
    "auth_api_key",
    "auth_account_recovery",
    "auth_device_request",
    "auth_challenge",
    "auth_outbox",
    "auth_session",
];

/// Removes all rows of an account.
pub(super) async fn remove_all<C: ConnectionTrait>(db: &C, id: AccountId) -> Result<(), DbErr> {
    for table in ERASED {
        let mut delete = Query::delete();
        delete.from_table(table).and_where(Expr::col("account_id").eq(id));
        db.execute(&delete).await?;
    }
    Ok(())
}

/// Removes the rows of a table with one of these values in a column, which must have an index.
pub(super) async fn remove_with<C: ConnectionTrait, V: Into<Value> + Clone>(
    db: &C,
    table: &'static str,
    column: &'static str,
    values: &[V],
) -> Result<(), DbErr> {
    for values in values.chunks(AT_ONCE) {
        let mut delete = Query::delete();
        delete.from_table(table).and_where(Expr::col(column).is_in(values.iter().cloned()));
        db.execute(&delete).await?;
    }
    Ok(())
}

/// A code or link of an account.
pub(super) struct Challenge {
    pub(super) purpose: String,
    /// The digest of its subject.
    pub(super) subject: Vec<u8>,
    /// The address for which it was made.
    pub(super) target: Option<String>,
    /// The data of its flow, such as an address that is not proved yet.
    pub(super) data: Option<String>,
}

/// Returns the codes and links of an account.
pub(super) async fn challenges<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
) -> Result<Vec<Challenge>, DbErr> {
    let mut select = Query::select();
    select
        .columns(["purpose", "subject", "target", "data"])
        .from("auth_challenge")
        .and_where(Expr::col("account_id").eq(id));
    let rows = db.query_all(&select).await?;
    let challenge = |row: &QueryResult| {
        Ok(Challenge {
            purpose: row.try_get_by_index(0)?,
            subject: row.try_get_by_index(1)?,
            target: row.try_get_by_index(2)?,
            data: row.try_get_by_index(3)?,
        })
    };
    rows.iter().map(challenge).collect()
}

/// Returns the subjects of the codes and links with one of these values in `session_id`.
pub(super) async fn subjects_with<C: ConnectionTrait>(
    db: &C,
    values: &[Uuid],
) -> Result<Vec<Vec<u8>>, DbErr> {
    let mut found = Vec::new();
    for values in values.chunks(AT_ONCE) {
        let mut select = Query::select();
        select
            .column("subject")
            .from("auth_challenge")
            .and_where(Expr::col("session_id").is_in(values.iter().copied()));
        for row in db.query_all(&select).await? {
            found.push(row.try_get_by_index(0)?);
        }
    }
    Ok(found)
}

/// Returns the lineages of the sessions of an account.
pub(super) async fn lineages<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
) -> Result<Vec<Uuid>, DbErr> {
    let mut select = Query::select();
    select
        .distinct()
        .column("lineage_id")
        .from("auth_session")
        .and_where(Expr::col("account_id").eq(id));
    ids(&db.query_all(&select).await?)
}

/// Returns true if a session of another account continues this lineage.
pub(super) async fn belongs_to_another<C: ConnectionTrait>(
    db: &C,
    lineage: LineageId,
    id: AccountId,
) -> Result<bool, DbErr> {
    let mut select = Query::select();
    select
        .expr(Expr::val(1))
        .from("auth_session")
        .and_where(Expr::col("lineage_id").eq(lineage))
        .and_where(Expr::col("account_id").is_not_null())
        .and_where(Expr::col("account_id").ne(id))
        .limit(1);
    Ok(db.query_one(&select).await?.is_some())
}

/// Returns the sessions of visitors in these lineages. A visitor who signs in keeps the lineage, so
/// these sessions belonged to the same browser.
pub(super) async fn visitors<C: ConnectionTrait>(
    db: &C,
    lineages: &[Uuid],
) -> Result<Vec<Uuid>, DbErr> {
    let mut found = Vec::new();
    for lineages in lineages.chunks(AT_ONCE) {
        let mut select = Query::select();
        select
            .column("id")
            .from("auth_session")
            .and_where(Expr::col("lineage_id").is_in(lineages.iter().copied()))
            .and_where(Expr::col("account_id").is_null());
        found.extend(ids(&db.query_all(&select).await?)?);
    }
    Ok(found)
}

fn ids(rows: &[QueryResult]) -> Result<Vec<Uuid>, DbErr> {
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// How a column is shown.
#[derive(Clone, Copy)]
enum Shown {
    Text,
    Id,
    Time,
    /// A duration in milliseconds, or a count.
    Number,
    Flag,
    /// The number of an enum variant, shown as a word.
    Word(fn(i16) -> &'static str),
    /// The number of a minute.
    Minute,
}

use Shown::{Flag, Id, Minute, Number, Text, Time, Word};

/// The rows of one table in an export.
pub(super) struct Part {
    /// The name in the export.
    pub(super) name: &'static str,
    pub(super) table: &'static str,
    /// The order, newest or first one first.
    order: (&'static str, Order),
    /// The expression and the name of each column. Secrets and digests are left out.
    columns: &'static [(&'static str, &'static str, Shown)],
}

/// The name of the codes and links in an export.
pub(super) const CODES_AND_LINKS: &str = "codes_and_links";

const ROLE: &str = "(SELECT r.name FROM auth_role r WHERE r.id = auth_account_role.role_id)";
const GROUP: &str = "(SELECT g.name FROM auth_group g WHERE g.id = auth_account_group.group_id)";

/// The tables with a column `account_id`.
pub(super) const PARTS: [Part; 26] = [
    Part {
        name: "former_addresses",
        table: "auth_former_address",
        order: ("left_at", Order::Desc),
        columns: &[
            ("kind", "kind", Word(name_kind)),
            ("held_ms", "held_ms", Number),
            ("left_at", "left_at", Time),
        ],
    },
    Part {
        name: "sessions",
        table: "auth_session",
        order: ("id", Order::Desc),
        columns: &[
            ("id", "id", Id),
            ("lineage_id", "lineage_id", Id),
            ("stage", "stage", Word(stage)),
            ("created_at", "created_at", Time),
            ("rotated_at", "rotated_at", Time),
            ("expires_at", "expires_at", Time),
            ("persistent", "persistent", Flag),
            ("ceiling", "ceiling", Text),
            ("address", "address", Text),
            ("user_agent", "user_agent", Text),
            ("ended_at", "ended_at", Time),
            ("end_reason", "end_reason", Text),
            ("suspicious_at", "suspicious_at", Time),
            ("approved_in", "approved_in", Id),
            ("bound_to", "bound_to", Text),
        ],
    },
    Part {
        name: "roles",
        table: "auth_account_role",
        order: ("granted_at", Order::Asc),
        columns: &[
            (ROLE, "role", Text),
            ("resource", "resource", Text),
            ("resource_id", "resource_id", Text),
            ("granted_at", "granted_at", Time),
        ],
    },
    Part {
        name: "groups",
        table: "auth_account_group",
        order: ("joined_at", Order::Asc),
        columns: &[(GROUP, "group", Text), ("joined_at", "joined_at", Time)],
    },
    Part {
        name: "permissions",
        table: "auth_account_permission",
        order: ("permission", Order::Asc),
        columns: &[("permission", "permission", Text), ("granted_at", "granted_at", Time)],
    },
    Part {
        name: "memberships",
        table: "auth_membership",
        order: ("resource_id", Order::Asc),
        columns: &[
            ("resource", "resource", Text),
            ("resource_id", "resource_id", Text),
            ("level", "level", Text),
            ("origin", "origin", Word(origin)),
            ("granted_at", "granted_at", Time),
        ],
    },
    Part {
        name: "events",
        table: "auth_event",
        order: ("at", Order::Desc),
        columns: &[
            ("at", "at", Time),
            ("kind", "kind", Text),
            ("session_id", "session_id", Id),
            ("address", "address", Text),
            ("succeeded", "succeeded", Flag),
            ("detail", "detail", Text),
        ],
    },
    Part {
        name: "denials",
        table: "auth_denial",
        order: ("minute", Order::Desc),
        columns: &[("rule", "rule", Text), ("minute", "at", Minute), ("count", "count", Number)],
    },
    Part {
        name: CODES_AND_LINKS,
        table: "auth_challenge",
        order: ("created_at", Order::Desc),
        columns: &[
            ("purpose", "purpose", Text),
            // These targets identify a browser and a session, so they are left out.
            (
                "(CASE WHEN purpose IN ('mail_login', 'factor_code') THEN NULL ELSE target END)",
                "target",
                Text,
            ),
            // That of a factor of your own is encrypted.
            ("(CASE WHEN purpose = 'factor_code' THEN NULL ELSE data END)", "data", Text),
            ("created_at", "created_at", Time),
            ("expires_at", "expires_at", Time),
            ("used_at", "used_at", Time),
            ("superseded_at", "ended_at", Time),
        ],
    },
    Part {
        name: "messages",
        table: "auth_outbox",
        order: ("created_at", Order::Desc),
        columns: &[
            ("kind", "kind", Text),
            ("state", "state", Text),
            ("created_at", "created_at", Time),
            ("finished_at", "finished_at", Time),
        ],
    },
    Part {
        name: "new_devices",
        table: "auth_told_place",
        order: ("told_at", Order::Desc),
        columns: &[("told_at", "told_at", Time)],
    },
    Part {
        name: "new_device_digests",
        table: "auth_device_digest",
        order: ("began_at", Order::Desc),
        columns: &[("began_at", "began_at", Time), ("sign_ins", "sign_ins", Number)],
    },
    Part {
        name: "authenticators",
        table: "auth_totp",
        order: ("created_at", Order::Asc),
        columns: &[
            ("id", "id", Id),
            ("name", "name", Text),
            ("created_at", "created_at", Time),
            ("confirmed_at", "confirmed_at", Time),
        ],
    },
    Part {
        name: "recovery_codes",
        table: "auth_recovery_code",
        order: ("created_at", Order::Asc),
        columns: &[("created_at", "created_at", Time), ("used_at", "used_at", Time)],
    },
    Part {
        name: "passkeys",
        table: "auth_passkey",
        order: ("created_at", Order::Asc),
        columns: &[
            ("id", "id", Id),
            ("name", "name", Text),
            ("credential_id", "credential_id", Text),
            ("transports", "transports", Text),
            ("aaguid", "aaguid", Id),
            ("created_at", "created_at", Time),
            ("last_used_at", "last_used_at", Time),
        ],
    },
    Part {
        name: "passkey_users",
        table: "auth_passkey_user",
        order: ("created_at", Order::Asc),
        columns: &[("created_at", "created_at", Time)],
    },
    Part {
        name: "passkey_challenges",
        table: "auth_passkey_challenge",
        order: ("created_at", Order::Desc),
        columns: &[
            ("purpose", "purpose", Text),
            ("session_id", "session_id", Id),
            ("created_at", "created_at", Time),
            ("expires_at", "expires_at", Time),
        ],
    },
    Part {
        name: "provider_identities",
        table: "auth_provider_identity",
        order: ("created_at", Order::Asc),
        columns: &[
            ("id", "id", Id),
            ("provider", "provider", Text),
            ("issuer", "issuer", Text),
            ("subject", "subject", Text),
            ("email", "email", Text),
            ("display_name", "display_name", Text),
            ("created_at", "created_at", Time),
            ("last_used_at", "last_used_at", Time),
        ],
    },
    Part {
        name: "provider_flows",
        table: "auth_provider_flow",
        order: ("created_at", Order::Desc),
        columns: &[
            ("provider", "provider", Text),
            ("intent", "intent", Text),
            ("return_to", "return_to", Text),
            ("created_at", "created_at", Time),
            ("expires_at", "expires_at", Time),
        ],
    },
    Part {
        name: "pending_identities",
        table: "auth_pending_identity",
        order: ("created_at", Order::Desc),
        columns: &[
            ("provider", "provider", Text),
            ("created_at", "created_at", Time),
            ("expires_at", "expires_at", Time),
        ],
    },
    Part {
        name: "provider_sessions",
        table: "auth_provider_session",
        order: ("created_at", Order::Desc),
        columns: &[("created_at", "created_at", Time), ("expires_at", "expires_at", Time)],
    },
    Part {
        name: "device_requests",
        table: "auth_device_request",
        order: ("created_at", Order::Desc),
        columns: &[
            ("client_id", "client_id", Text),
            (
                "(CASE state WHEN 0 THEN 'pending' WHEN 1 THEN 'approved' WHEN 2 THEN 'redeemed' \
                 WHEN 3 THEN 'denied' WHEN 4 THEN 'suspicious' ELSE 'ended' END)",
                "state",
                Text,
            ),
            ("device_name", "device_name", Text),
            ("message", "message", Text),
            ("granted", "granted", Text),
            ("address", "address", Text),
            ("user_agent", "user_agent", Text),
            ("created_at", "created_at", Time),
            ("decided_at", "decided_at", Time),
            ("redeemed_at", "redeemed_at", Time),
            ("session_id", "session_id", Id),
        ],
    },
    Part {
        name: "trusted_devices",
        table: "auth_trusted_device",
        order: ("created_at", Order::Asc),
        columns: &[
            ("id", "id", Id),
            ("factor", "factor", Text),
            ("address", "address", Text),
            ("user_agent", "user_agent", Text),
            ("created_at", "created_at", Time),
            ("last_used_at", "last_used_at", Time),
            ("expires_at", "expires_at", Time),
        ],
    },
    Part {
        name: "api_keys",
        table: "auth_api_key",
        order: ("created_at", Order::Asc),
        columns: &[
            ("id", "id", Id),
            ("name", "name", Text),
            ("hint", "hint", Text),
            ("scopes", "scopes", Text),
            ("created_at", "created_at", Time),
            ("expires_at", "expires_at", Time),
            ("rotated_at", "rotated_at", Time),
            ("ended_at", "ended_at", Time),
            ("last_used_at", "last_used_at", Time),
            ("last_used_from", "last_used_from", Text),
        ],
    },
    Part {
        name: "account_recoveries",
        table: "auth_account_recovery",
        order: ("opened_at", Order::Asc),
        columns: &[
            ("id", "id", Id),
            ("state", "state", Word(recovery_state)),
            ("reason", "reason", Text),
            ("email", "email", Text),
            ("opened_at", "opened_at", Time),
            ("ready_at", "ready_at", Time),
            ("expires_at", "expires_at", Time),
            ("ended_at", "ended_at", Time),
        ],
    },
    Part {
        name: "membership_questions",
        table: "auth_membership_turn",
        order: ("asked", Order::Asc),
        columns: &[("asked", "asked", Number)],
    },
];

/// The data of sessions.
pub(super) const SESSION_DATA: Part = Part {
    name: "session_data",
    table: "auth_session_data",
    order: ("written_at", Order::Desc),
    columns: &[
        ("lineage_id", "lineage_id", Id),
        ("data", "data", Text),
        ("written_at", "written_at", Time),
    ],
};

/// Attempts, for example to sign in.
pub(super) const ATTEMPTS: Part = Part {
    name: "attempts",
    table: "auth_attempt",
    order: ("at", Order::Desc),
    columns: &[
        ("kind", "kind", Word(attempt_kind)),
        ("outcome", "outcome", Word(outcome)),
        ("source", "source", Text),
        ("at", "at", Time),
    ],
};

impl Part {
    /// Returns the rows of an account, one more than an export shows.
    pub(super) async fn of<C: ConnectionTrait>(
        &self,
        db: &C,
        id: AccountId,
    ) -> Result<Vec<Json>, DbErr> {
        self.read(db, Expr::col("account_id").eq(id)).await
    }

    /// Returns the rows with one of these values in a column, one more than an export shows.
    pub(super) async fn with<C: ConnectionTrait, V: Into<Value> + Clone>(
        &self,
        db: &C,
        column: &'static str,
        values: &[V],
    ) -> Result<Vec<Json>, DbErr> {
        let mut rows = Vec::new();
        for values in values.chunks(AT_ONCE) {
            rows.extend(self.read(db, Expr::col(column).is_in(values.iter().cloned())).await?);
        }
        Ok(rows)
    }

    /// The same, but only rows without an account.
    pub(super) async fn without_account<C: ConnectionTrait, V: Into<Value> + Clone>(
        &self,
        db: &C,
        column: &'static str,
        values: &[V],
    ) -> Result<Vec<Json>, DbErr> {
        let mut rows = Vec::new();
        for values in values.chunks(AT_ONCE) {
            let among = Expr::col(column).is_in(values.iter().cloned());
            rows.extend(self.read(db, among.and(Expr::col("account_id").is_null())).await?);
        }
        Ok(rows)
    }

    async fn read<C: ConnectionTrait>(&self, db: &C, which: Expr) -> Result<Vec<Json>, DbErr> {
        let mut select = Query::select();
        for (expression, ..) in self.columns {
            if expression.starts_with('(') {
                select.expr(Expr::cust(*expression));
            } else {
                select.column(*expression);
            }
        }
        let (column, order) = &self.order;
        select
            .from(self.table)
            .and_where(which)
            .order_by(*column, order.clone())
            .limit(MOST_ROWS + 1);
        db.query_all(&select).await?.iter().map(|row| self.show(row)).collect()
    }

    fn show(&self, row: &QueryResult) -> Result<Json, DbErr> {
        let mut shown = Map::new();
        for (at, (_, name, how)) in self.columns.iter().enumerate() {
            let value = match how {
                Text => json(row.try_get_by_index::<Option<String>>(at)?),
                Id => json(row.try_get_by_index::<Option<Uuid>>(at)?),
                Time => json(row.try_get_by_index::<Option<Timestamp>>(at)?),
                Number => json(row.try_get_by_index::<Option<i64>>(at)?),
                Flag => json(row.try_get_by_index::<bool>(at)?),
                Word(word) => json(word(row.try_get_by_index(at)?)),
                Minute => {
                    let minute: i64 = row.try_get_by_index(at)?;
                    json(Timestamp::from_millis(minute.saturating_mul(60_000)))
                }
            };
            shown.insert((*name).to_owned(), value);
        }
        Ok(Json::Object(shown))
    }
}

fn json(value: impl serde::Serialize) -> Json {
    serde_json::to_value(value).expect("texts, numbers, times and ids are always JSON")
}

pub(super) fn name_kind(number: i16) -> &'static str {
    match LoginIdKind::from_number(number) {
        Some(LoginIdKind::Username) => "username",
        Some(LoginIdKind::Email) => "email",
        Some(LoginIdKind::Phone) => "phone",
        None => "unknown",
    }
}

fn stage(number: i16) -> &'static str {
    Stage::from_number(number).map_or("unknown", Stage::as_str)
}

fn recovery_state(number: i16) -> &'static str {
    RecoveryState::from_number(number).map_or("unknown", RecoveryState::as_str)
}

fn origin(number: i16) -> &'static str {
    match number {
        0 => MembershipOrigin::Hand.as_str(),
        _ => MembershipOrigin::Source.as_str(),
    }
}

fn attempt_kind(number: i16) -> &'static str {
    let kind = AttemptKind::ALL.iter().find(|kind| kind.number() == number);
    kind.map_or("unknown", |kind| kind.as_str())
}

fn outcome(number: i16) -> &'static str {
    match Outcome::from_number(number) {
        Outcome::Pending => "pending",
        Outcome::Failed => "failed",
        Outcome::Succeeded => "succeeded",
    }
}
