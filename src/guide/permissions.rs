//! How accounts get their permissions: roles, groups, levels.
//!
//! | what | use | how |
//! |---|---|---|
//! | a role | the permissions of a kind of user | [`auth.roles()`](crate::Portcullis::roles) |
//! | a role on one resource | the same, for example only on list 7 | [`grant_on`](crate::permission::Roles::grant_on) |
//! | a group | people who share roles | [`auth.groups()`](crate::Portcullis::groups) |
//! | a direct permission | exceptions | [`auth.permissions()`](crate::Portcullis::permissions) |
//! | a level on one resource | viewer, editor, owner of a list | [`auth.memberships()`](crate::Portcullis::memberships) |
//! | a superuser | an account that may do everything | [`set_superuser`](crate::account::Accounts::set_superuser) |
//!
//! An account has the permissions of all its grants together. No grant removes a permission. To remove one, revoke
//! the grant.
//!
//! ```no_run
//! use portcullis::permission::Resource;
//!
//! # async fn example(auth: portcullis::Portcullis, alice: portcullis::Account)
//! # -> Result<(), portcullis::permission::GrantError> {
//! auth.roles().create("editor", ["list:edit", "list:read"]).await?;
//! auth.roles().grant(alice.id(), "editor").await?;                       // every list
//!
//! let seven = Resource::new("list", "7")?;
//! auth.roles().grant_on(alice.id(), "editor", &seven).await?;            // list:edit:7, list:read:7
//!
//! auth.groups().create("staff").await?;
//! auth.groups().grant("staff", "editor").await?;
//! auth.groups().join("staff", alice.id()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Each change takes effect on the next request, on every node, without a new sign-in. A request needs one short
//! statement, independent of the number of grants. It reads two versions, and the compiled grants for these versions
//! are in memory. Each change of a grant replaces one of the versions, in the same transaction.
//!
//! # Levels
//!
//! Use levels if people share single resources, such as lists. Levels have an order, from the lowest to the highest:
//!
//! ```no_run
//! use portcullis::permission::Resource;
//!
//! # async fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret, alice: portcullis::AccountId)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! let auth = portcullis::Portcullis::builder(db)
//!     .secret(secret)
//!     .levels("list", ["viewer", "editor", "owner"])
//!     .build()?;
//! // The role with the name of a level has its permissions. On a list, only those about lists count.
//! auth.roles().create("viewer", ["list:read", "doc:read"]).await?;
//! auth.roles().create("editor", ["list:edit", "doc:edit"]).await?;
//! auth.memberships().grant(alice, &Resource::new("list", "7")?, "editor").await?;
//! # Ok(())
//! # }
//! ```
//!
//! Alice now has the roles `list-7-viewer` and `list-7-editor` (for
//! [`Requirement::role`](crate::Requirement::role) and [`has_role`](crate::Identity::has_role)) and the
//! permissions `list:read:7` and `list:edit:7`. As everywhere, prefer to require the permission.
//!
//! Your application may already store who has access to which list. Then implement a
//! [`MembershipSource`](crate::port::MembershipSource): see [`membership`](crate::membership).
//!
//! # The catalogue
//!
//! The catalogue is a table of the permissions that your code requires. It helps the people who create roles. It also
//! finds roles with a misspelt permission:
//!
//! ```no_run
//! mod may {
//!     portcullis::permissions! {
//!         list:
//!             /// Sees a list and what is on it.
//!             Read,
//!             /// Changes what is on a list.
//!             Edit;
//!     }
//! }
//!
//! # async fn example(auth: portcullis::Portcullis) -> Result<(), portcullis::permission::GrantError> {
//! let synced = auth.catalogue().sync(may::CATALOGUE).await?; // at each start, on every node
//! # Ok(())
//! # }
//! ```
//!
//! `sync` adds permissions and updates descriptions. It never deletes, because an older node may still be running.
//! [`prune`](crate::permission::Catalogue::prune) deletes from the table, when an operator calls it.
//!
//! Some grants contain a permission that is not in the catalogue (`list:raed`), or that cannot be parsed. They appear
//! in the log and in [`auth.audit()`](crate::Portcullis::audit), as `unknown_permissions` and
//! `malformed_permissions`. Such a grant has no effect, because no code requires its permission.
//!
//! # Lists
//!
//! [`identity.instances(list::Read)`](crate::Identity::instances) returns "all", or the ids for which the account has
//! the permission. With these ids you can filter a list in SQL. The example `permissions` shows this with its own
//! table.
