//! The tables as the entities describe them, for the test that compares the migrations with them.

use sea_orm::sea_query::{ColumnType, ForeignKeyAction};
use sea_orm::{ColumnTrait, EntityTrait, IdenStatic, Iterable, PrimaryKeyToColumn, RelationTrait};

use crate::{
    account, attempt, audit_log, new_device, one_time, outbox, permission, rate_limit, session,
    session_data, upkeep,
};

/// A table as its entity describes it.
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
        table::<new_device::entity::place::Entity>(),
        table::<new_device::entity::digest::Entity>(),
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
