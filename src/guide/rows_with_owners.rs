//! Rows have owners: "everyone edits their own documents, and may share them".
//!
//! Put the account's id into the row, and compare it. Do not grant a permission for each row.
//!
//! ```no_run
//! # mod document {
//! #     use sea_orm::entity::prelude::*;
//! #     #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
//! #     #[sea_orm(table_name = "document")]
//! #     pub struct Model {
//! #         #[sea_orm(primary_key, auto_increment = false)]
//! #         pub id: Uuid,
//! #         pub owner_id: Uuid,
//! #         pub title: String,
//! #     }
//! #     #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
//! #     pub enum Relation {}
//! #     impl ActiveModelBehavior for ActiveModel {}
//! # }
//! use axum::Json;
//! use axum::extract::{Path, State};
//! use portcullis::{Account, AuthError, Fault, Identity, Rejection, Requirement};
//! use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter};
//! use uuid::Uuid;
//!
//! portcullis::permissions! { doc: Read, Edit; }
//!
//! /// `POST /docs`: the owner comes from the session, never from the body.
//! async fn create(
//!     account: Account,
//!     State(db): State<DatabaseConnection>,
//!     title: String,
//! ) -> Result<Json<Uuid>, Rejection> {
//!     let (id, owner_id) = (Uuid::now_v7(), account.id().as_uuid());
//!     let row = document::ActiveModel { id: Set(id), owner_id: Set(owner_id), title: Set(title) };
//!     document::Entity::insert(row).exec_without_returning(&db).await.map_err(Fault::from)?;
//!     Ok(Json(id))
//! }
//!
//! /// `PUT /docs/{id}`: for the owner, and for everyone who may edit it.
//! async fn edit(
//!     identity: Identity,
//!     State(db): State<DatabaseConnection>,
//!     Path(id): Path<Uuid>,
//!     title: String,
//! ) -> Result<(), Rejection> {
//!     use sea_orm::sea_query::Expr;
//!
//!     let may = Requirement::typed(doc::Edit).on(&id.to_string()).map_err(|_| AuthError::Denied)?;
//!     let mut query = document::Entity::update_many()
//!         .col_expr(document::Column::Title, Expr::value(title))
//!         .filter(document::Column::Id.eq(id));
//!     if !identity.meets(&may) {
//!         // The condition is in the statement: nothing can change between a check and the write.
//!         query = query.filter(document::Column::OwnerId.eq(identity.account().id().as_uuid()));
//!     }
//!     let changed = query.exec(&db).await.map_err(Fault::from)?;
//!     // The same answer for a document of another person and for one that does not exist.
//!     if changed.rows_affected == 0 { Err(AuthError::NoSuchInstance.into()) } else { Ok(()) }
//! }
//!
//! /// `GET /docs`: their own, and those that were shared with them.
//! async fn list(
//!     identity: Identity,
//!     State(db): State<DatabaseConnection>,
//! ) -> Result<Json<Vec<String>>, Rejection> {
//!     use portcullis::Instances;
//!     use sea_orm::Condition;
//!
//!     let mine = document::Column::OwnerId.eq(identity.account().id().as_uuid());
//!     let query = match identity.instances(doc::Read) {
//!         Instances::All => document::Entity::find(),
//!         Instances::Only(ids) => {
//!             let ids: Vec<Uuid> = ids.iter().filter_map(|id| id.parse().ok()).collect();
//!             let shared = document::Column::Id.is_in(ids);
//!             document::Entity::find().filter(Condition::any().add(mine).add(shared))
//!         }
//!     };
//!     let found = query.all(&db).await.map_err(Fault::from)?;
//!     Ok(Json(found.into_iter().map(|document| document.title).collect()))
//! }
//! # fn app(auth: &portcullis::Portcullis, db: DatabaseConnection) -> axum::Router {
//! #     use axum::routing::{get, put};
//! #     auth.router()
//! #         .route("/docs", get(list).post(create), Requirement::signed_in())
//! #         .route("/docs/{id}", put(edit), Requirement::signed_in())
//! #         .with_state(db)
//! #         .into_router()
//! # }
//! ```
//!
//! # Why not one grant for each row
//!
//! A grant on each new document (`doc:edit:42`) looks simpler, but:
//!
//! - Every grant changes the version of the account's grants. So the next request loads all of them again.
//!   For an account with 1 500 grants this took 13 to 74 ms after each `POST /docs`.
//! - The grants in memory grow with the rows of your table.
//! - A document and its owner can get out of step, for example if the document is deleted. A column cannot.
//!
//! Reading is cheap in both designs. With 1 000 grants a request takes about as long as with one.
//!
//! # Grants are for sharing
//!
//! Give access to *other* people's rows with grants. They are few, and they change rarely:
//!
//! | who may | how |
//! |---|---|
//! | the owner | the column |
//! | one more person, one document | `auth.roles().grant_on(account, "editor", &Resource::new("doc", id)?)` |
//! | viewers, editors and keepers of a list | [levels](super::permissions#levels) |
//! | support staff, every document | `auth.roles().grant(account, "support")` with `doc:read` |
//!
//! Your application may already store who shares what. Then either ask your table in the same statement, as
//! above for the owner, or implement a [`MembershipSource`](crate::port::MembershipSource).
//!
//! When you delete a row, revoke what was granted on it. Ids that are never used again (UUIDs) make a
//! forgotten grant harmless.
//!
//! # Limited sessions
//!
//! The column knows no [ceiling](super::guards#limited-sessions). If your service starts limited sessions,
//! the owner's way must ask for the ceiling too: let a limited session through only if
//! [`identity.ceiling()`](crate::Identity::ceiling) is `None`, or if it covers the permission.
//!
//! # When an account is deleted
//!
//! [`delete`](crate::account::Accounts::delete) keeps the row of the account, so a foreign key of yours stays
//! valid. Decide what happens to the rows of that person: give them to somebody else or delete them, in the
//! same transaction (`auth.accounts().within(&txn).delete(..)`).
