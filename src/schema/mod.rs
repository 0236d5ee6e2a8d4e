//! Checks that the database has the tables of this version.
//!
//! The migrations create and change the tables. Call [`check_tables`](Portcullis::check_tables)
//! after them, when your service starts. If you apply the SQL files yourself, it finds a forgotten
//! file. Without it, the first request that needs a new column would fail.
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis) -> Result<(), portcullis::TablesError> {
//! auth.check_tables().await?;
//! # Ok(())
//! # }
//! ```
//!
//! It sends one statement for each table. These statements read no rows. Unknown tables and columns
//! are accepted, because a newer version may have added them.

use sea_orm::sea_query::{ColumnType, ForeignKeyAction};
use sea_orm::{ColumnTrait, EntityTrait, IdenStatic, Iterable, PrimaryKeyToColumn, RelationTrait};

use crate::base::transaction::{Db, Fault};
use crate::handle::Portcullis;
use crate::{
    account, account_recovery, api_key, attempt, audit_log, captcha, device_login, dpop,
    federation, new_device, one_time, outbox, passkey, permission, rate_limit, recovery_code,
    session, session_data, totp, trusted_device, upkeep,
};

mod store;

/// The reason why the tables do not fit this version.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TablesError {
    /// Tables or columns are missing. Each is written as `table` or `table.column`.
    #[error(
        "the database does not have {}, or its user may not read it; run the migrations of this version of portcullis",
        .0.join(", ")
    )]
    Missing(Vec<String>),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Portcullis {
    /// Checks that the database has all tables and columns of this version.
    ///
    /// # Errors
    /// - [`TablesError::Missing`]: the names of all missing tables and columns.
    /// - [`TablesError::Fault`]: the database cannot be reached.
    pub async fn check_tables(&self) -> Result<(), TablesError> {
        let db = self.context().db();
        let mut missing = Vec::new();
        for table in tables() {
            let columns: Vec<&str> =
                table.columns.iter().map(|column| column.name.as_str()).collect();
            if is_there(db, &table.name, &columns).await? {
                continue;
            }
            let before = missing.len();
            if is_there(db, &table.name, &[]).await? {
                for column in columns {
                    if !is_there(db, &table.name, &[column]).await? {
                        missing.push(format!("{}.{column}", table.name));
                    }
                }
            }
            if missing.len() == before {
                missing.push(table.name);
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(TablesError::Missing(missing)) }
    }
}

/// Returns true if these columns can be read. Returns an error if the database does not answer.
async fn is_there(db: Db<'_>, table: &str, columns: &[&str]) -> Result<bool, Fault> {
    let executor = db.executor();
    match db.read(store::read_nothing(&executor, Some(table), columns)).await {
        Ok(()) => Ok(true),
        Err(Fault::Database(_)) => {
            db.read(store::read_nothing(&executor, None, &[])).await?;
            Ok(false)
        }
        Err(fault) => Err(fault),
    }
}

/// A table as its entity describes it.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// The columns of its primary key, in order.
    pub primary_key: Vec<String>,
    /// Its foreign keys: column, table, column, and true if a deletion there also deletes the row
    /// here.
    pub foreign_keys: Vec<(String, String, String, bool)>,
}

/// A column as its entity describes it.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// True if it may be empty.
    pub nullable: bool,
    /// True if it is a unique key by itself.
    pub unique: bool,
    /// Its type.
    pub kind: ColumnType,
}

/// Returns every table of portcullis.
#[doc(hidden)]
pub fn tables() -> Vec<Table> {
    vec![
        table::<account::entity::account::Entity>(),
        table::<account::entity::login_name::Entity>(),
        table::<account::entity::former_address::Entity>(),
        table::<account::entity::marker::Entity>(),
        table::<session::entity::Entity>(),
        table::<session_data::entity::Entity>(),
        table::<permission::entity::epoch::Entity>(),
        table::<permission::entity::role::Entity>(),
        table::<permission::entity::group::Entity>(),
        table::<permission::entity::account_role::Entity>(),
        table::<permission::entity::account_group::Entity>(),
        table::<permission::entity::group_role::Entity>(),
        table::<permission::entity::account_permission::Entity>(),
        table::<permission::entity::membership::Entity>(),
        table::<permission::entity::membership_turn::Entity>(),
        table::<permission::entity::known::Entity>(),
        table::<audit_log::entity::event::Entity>(),
        table::<audit_log::entity::denial::Entity>(),
        table::<one_time::entity::challenge::Entity>(),
        table::<one_time::entity::start::Entity>(),
        table::<outbox::entity::message::Entity>(),
        table::<outbox::entity::limit::Entity>(),
        table::<attempt::entity::Entity>(),
        table::<rate_limit::entity::Entity>(),
        table::<upkeep::entity::Entity>(),
        table::<captcha::entity::captcha::Entity>(),
        table::<captcha::entity::failures::Entity>(),
        table::<new_device::entity::place::Entity>(),
        table::<new_device::entity::digest::Entity>(),
        table::<totp::entity::Entity>(),
        table::<recovery_code::entity::Entity>(),
        table::<account_recovery::entity::Entity>(),
        table::<device_login::entity::Entity>(),
        table::<dpop::entity::Entity>(),
        table::<trusted_device::entity::Entity>(),
        table::<api_key::entity::Entity>(),
        table::<passkey::entity::passkey::Entity>(),
        table::<passkey::entity::user::Entity>(),
        table::<passkey::entity::challenge::Entity>(),
        table::<federation::entity::identity::Entity>(),
        table::<federation::entity::flow::Entity>(),
        table::<federation::entity::pending::Entity>(),
        table::<federation::entity::session::Entity>(),
        table::<federation::entity::logout_token::Entity>(),
    ]
}

fn table<E: EntityTrait>() -> Table {
    let columns = E::Column::iter()
        .map(|column| {
            let definition = column.def();
            Column {
                name: column.as_str().to_owned(),
                nullable: definition.is_null(),
                unique: definition.is_unique(),
                kind: definition.get_column_type().clone(),
            }
        })
        .collect();
    let primary_key =
        E::PrimaryKey::iter().map(|key| key.into_column().as_str().to_owned()).collect();
    let foreign_keys = E::Relation::iter()
        .map(|relation| relation.def())
        .filter(|definition| !definition.is_owner)
        .map(|definition| {
            let name = |identity: &sea_orm::Identity| {
                identity.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            };
            (
                name(&definition.from_col),
                definition.to_tbl.sea_orm_table().to_string(),
                name(&definition.to_col),
                matches!(definition.on_delete, Some(ForeignKeyAction::Cascade)),
            )
        })
        .collect();
    Table { name: E::default().table_name().to_owned(), columns, primary_key, foreign_keys }
}
