//! Tenants: several customers in one service, each with its own members and rows.
//!
//! Portcullis has no organisations yet. Until then, build tenants from two parts:
//!
//! - a column `tenant_id` in each of your tables;
//! - a [level](super::permissions#levels) of each member on the tenant, such as `reader`, `writer`, `owner`.
//!
//! An account belongs to the whole service, and not to a tenant. One person can be a member of several tenants, and
//! signs in once for all of them.
//!
//! ```no_run
//! use axum::extract::{Path, State};
//! use axum::http::StatusCode;
//! use axum::routing::{get, put};
//! use axum::{Json, Router};
//! use portcullis::permission::{GrantError, Resource, RoleDefinition};
//! use portcullis::{
//!     Account, AccountId, AuthError, ConfigErrors, Fault, Identity, Instances, Portcullis, Rejection,
//!     Requirement, Secret, TypedPermission,
//! };
//! use sea_orm::sea_query::Expr;
//! use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter};
//! use uuid::Uuid;
//!
//! // One domain for everything inside a tenant: `tenant:read`, `tenant:write`, `tenant:invite`.
//! portcullis::permissions! { may = "tenant": Read, Write, Invite; }
//!
//! fn build(db: DatabaseConnection, secret: Secret) -> Result<Portcullis, ConfigErrors> {
//!     // From the lowest to the highest: a level includes those before it.
//!     Portcullis::builder(db).secret(secret).levels("tenant", ["reader", "writer", "owner"]).build()
//! }
//!
//! /// Call this at every start. The role with the name of a level has its permissions.
//! async fn define_roles(auth: &Portcullis) -> Result<(), GrantError> {
//!     let reader = RoleDefinition::new("reader", [may::Read::TEXT]);
//!     let writer = RoleDefinition::new("writer", [may::Write::TEXT]);
//!     let owner = RoleDefinition::new("owner", [may::Invite::TEXT]);
//!     auth.roles().define([reader, writer, owner]).await?;
//!     Ok(())
//! }
//!
//! fn app(auth: &Portcullis, db: DatabaseConnection) -> Router {
//!     // Each guard requires the permission on the tenant in the path, such as `tenant:read:018f…`.
//!     let reads = auth.require(may::Read).on_path("tenant");
//!     let writes = auth.require(may::Write).on_path("tenant");
//!     let invites = auth.require(may::Invite).on_path("tenant");
//!     auth.router()
//!         .route("/tenants", get(list_tenants).post(create_tenant), Requirement::signed_in())
//!         .route("/tenants/{tenant}/docs", get(list), reads)
//!         .route("/tenants/{tenant}/docs/{id}", put(edit), writes)
//!         .route("/tenants/{tenant}/members/{account}/{level}", put(add_member), invites)
//!         .auth_routes("/auth", auth.routes())
//!         .with_state(db)
//!         .into_router()
//! }
//!
//! /// `POST /tenants`: one transaction creates the tenant and its first owner.
//! async fn create_tenant(
//!     account: Account,
//!     auth: Portcullis,
//!     name: String,
//! ) -> Result<Json<Uuid>, Rejection> {
//!     let id = Uuid::now_v7();
//!     let resource = Resource::new("tenant", &id.to_string())?;
//!     let row = tenant::ActiveModel { id: Set(id), name: Set(name) };
//!     let txn = auth.begin().await?;
//!     tenant::Entity::insert(row).exec_without_returning(&txn).await.map_err(Fault::from)?;
//!     auth.memberships().within(&txn).grant(account.id(), &resource, "owner").await?;
//!     txn.commit().await.map_err(Fault::from)?;
//!     Ok(Json(id))
//! }
//!
//! /// `GET /tenants`: the tenants of the user. This reads no grants: the request has them already.
//! async fn list_tenants(
//!     identity: Identity,
//!     State(db): State<DatabaseConnection>,
//! ) -> Result<Json<Vec<String>>, Rejection> {
//!     let query = match identity.instances(may::Read) {
//!         // Your own staff, and superusers.
//!         Instances::All => tenant::Entity::find(),
//!         Instances::Only(ids) => {
//!             let ids = ids.iter().filter_map(|id| id.parse().ok()).collect::<Vec<Uuid>>();
//!             tenant::Entity::find().filter(tenant::Column::Id.is_in(ids))
//!         }
//!     };
//!     let found = query.all(&db).await.map_err(Fault::from)?;
//!     Ok(Json(found.into_iter().map(|tenant| tenant.name).collect()))
//! }
//!
//! /// `GET /tenants/{tenant}/docs`
//! async fn list(
//!     State(db): State<DatabaseConnection>,
//!     Path(tenant): Path<Uuid>,
//! ) -> Result<Json<Vec<String>>, Rejection> {
//!     let query = document::Entity::find().filter(document::Column::TenantId.eq(tenant));
//!     let found = query.all(&db).await.map_err(Fault::from)?;
//!     Ok(Json(found.into_iter().map(|document| document.title).collect()))
//! }
//!
//! /// `PUT /tenants/{tenant}/docs/{id}`
//! async fn edit(
//!     State(db): State<DatabaseConnection>,
//!     Path((tenant, id)): Path<(Uuid, Uuid)>,
//!     title: String,
//! ) -> Result<(), Rejection> {
//!     let changed = document::Entity::update_many()
//!         .col_expr(document::Column::Title, Expr::value(title))
//!         .filter(document::Column::Id.eq(id))
//!         // The guard has checked the tenant, but not that the document belongs to it. Without
//!         // this line, a writer of one tenant could change the documents of all tenants.
//!         .filter(document::Column::TenantId.eq(tenant))
//!         .exec(&db)
//!         .await
//!         .map_err(Fault::from)?;
//!     // The same answer for a document of another tenant and for one that does not exist.
//!     if changed.rows_affected == 0 { Err(AuthError::NoSuchInstance.into()) } else { Ok(()) }
//! }
//!
//! /// `PUT /tenants/{tenant}/members/{account}/{level}`
//! async fn add_member(
//!     auth: Portcullis,
//!     Path((tenant, account, level)): Path<(Uuid, AccountId, String)>,
//! ) -> Result<StatusCode, Rejection> {
//!     let resource = Resource::new("tenant", &tenant.to_string())?;
//!     auth.memberships().grant(account, &resource, &level).await?;
//!     Ok(StatusCode::NO_CONTENT)
//! }
//!
//! mod tenant {
//!     use sea_orm::entity::prelude::*;
//!
//!     #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
//!     #[sea_orm(table_name = "tenant")]
//!     pub struct Model {
//!         #[sea_orm(primary_key, auto_increment = false)]
//!         pub id: Uuid,
//!         pub name: String,
//!     }
//!
//!     #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
//!     pub enum Relation {}
//!
//!     impl ActiveModelBehavior for ActiveModel {}
//! }
//!
//! mod document {
//!     use sea_orm::entity::prelude::*;
//!
//!     #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
//!     #[sea_orm(table_name = "document")]
//!     pub struct Model {
//!         #[sea_orm(primary_key, auto_increment = false)]
//!         pub id: Uuid,
//!         pub tenant_id: Uuid,
//!         pub title: String,
//!     }
//!
//!     #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
//!     pub enum Relation {}
//!
//!     impl ActiveModelBehavior for ActiveModel {}
//! }
//! ```
//!
//! # Why the tenant is in the path
//!
//! - The guard and the handler read the same value. So the handler never uses a tenant that nobody has checked.
//! - The table of [who may call what](super::testing#who-may-call-what) shows it.
//! - A link leads everyone to the same tenant. A "current tenant" in the session would be wrong in the second tab.
//!
//! If the tenant is in the host name or in a header, read it with [`on`](crate::guard::Require::on) in the guard, and in
//! the same way in the handler. The cookie belongs to one host name. So with `acme.example.com` and
//! `other.example.com`, people sign in once for each tenant.
//!
//! # Rules for your tables
//!
//! - Every table with rows of tenants has the column `tenant_id`, also if a parent row has it.
//! - Every statement compares it with the tenant in the path. A new row takes it from the path, never from the body.
//! - A unique index contains it: `UNIQUE (tenant_id, title)`. Otherwise one tenant learns which titles others use.
//! - A foreign key between such rows contains it: `FOREIGN KEY (tenant_id, folder_id) REFERENCES folder (tenant_id, id)`.
//!   Then a row never points to a row of another tenant.
//!
//! Write a test with two tenants that calls every route of one tenant with the ids of the other. The answer must be 403
//! or 404.
//!
//! # What you must not grant
//!
//! | do not | because |
//! |---|---|
//! | grant the role of a level without its tenant: `auth.roles().grant(id, "owner")`, or to a group with `auth.groups().grant(..)` | it counts in every tenant. Only your own staff may have such grants |
//! | grant `tenant:write` with `auth.permissions().grant(..)`, or with a role that has another name | the same |
//! | make a member a superuser | a superuser may do everything in every tenant |
//! | let owners call `auth.roles()`, `auth.groups()` or `auth.permissions()` | roles and groups belong to the whole service. Owners only call a route that grants a level on the tenant in its path, like `add_member` |
//! | let owners call routes of the [administrators' page](super::admin_page) | accounts belong to the whole service. An owner who can disable, erase or sign out an account does this for all tenants of that person. An owner may only end the membership |
//! | give a level's role permissions of another domain, such as `doc:edit` | they have no effect there: a level on `tenant` gives only permissions that begin with `tenant:` |
//! | show owners `auth.accounts().list(..)` or `find_by_login(..)` | they find accounts of all tenants. Show only `auth.memberships().on(&resource)` |
//!
//! A guard without `.on_path("tenant")` requires the permission in every tenant. So if you forget it, members are denied,
//! and nobody gets too much.
//!
//! # Members
//!
//! - `auth.memberships().on(&resource)` lists them. `grant` and `revoke(account, &resource)` take effect on the
//!   next request of the account.
//! - Ask people before you add them: send [your own message](super::mail#your-own-messages) with a link, and call
//!   `grant` when the person who is signed in has accepted. `add_member` above does not ask. For people without an
//!   account, see [`registration_modes`](super::registration_modes#only-people-that-you-invite).
//! - Keep the last owner. In one transaction, change the row of the tenant first, which locks it. Then count the owners
//!   with `auth.memberships().within(&txn).on(&resource)`, and only then revoke.
//! - If your tables already say who belongs to which tenant, implement a
//!   [`MembershipSource`](crate::port::MembershipSource) instead of calling `grant`.
//! - When you delete a tenant, revoke its levels. Never use its id again.
//!
//! # What this does not do
//!
//! - A name is unique in the whole service. One address cannot have a separate account in each tenant.
//! - Password rules, second factors, registration and the messages are the same for all tenants. If some tenants require
//!   a second factor, define a role that [requires one](super::permissions#a-second-factor-for-administrators), and grant
//!   it to their members. It counts for the whole account. Or read the setting of the tenant in the handler, and check
//!   the factor there.
//! - The audit log has no column for the tenant. The event of a membership names it in its detail.
//! - The levels do not protect your tables from a forgotten `WHERE`. On PostgreSQL, row-level security can be a second
//!   protection. Keep it away from the tables `auth_*`.
