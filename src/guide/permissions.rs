//! Roles, groups, levels: how people come to their permissions.
//!
//! | what | for | how |
//! |---|---|---|
//! | a role | what people of one kind may do | [`auth.roles()`](crate::Portcullis::roles) |
//! | a role on one resource | the same, on list 7 only | [`grant_on`](crate::permission::Roles::grant_on) |
//! | a group | people who share roles | [`auth.groups()`](crate::Portcullis::groups) |
//! | a permission granted directly | the exception | [`auth.permissions()`](crate::Portcullis::permissions) |
//! | a level on one resource | viewer, editor, owner of a list | [`auth.memberships()`](crate::Portcullis::memberships) |
//! | a superuser | who may do everything | [`set_superuser`](crate::account::Accounts::set_superuser) |
//!
//! What someone may do is all of it together. Nothing takes away; to take away is to revoke.
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
//! Every one of these counts on the next request, on every node, without a new sign-in. A request
//! costs one short statement however many grants there are: it reads two versions, and what was
//! compiled under them is in memory. Each change moves one of them in its transaction.
//!
//! # Levels
//!
//! Where people share single things, their roles are levels of those things, in an order:
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
//! // What a level may do: a role of its name. On a list only what it says about lists counts.
//! auth.roles().create("viewer", ["list:read", "doc:read"]).await?;
//! auth.roles().create("editor", ["list:edit", "doc:edit"]).await?;
//! auth.memberships().grant(alice, &Resource::new("list", "7")?, "editor").await?;
//! # Ok(())
//! # }
//! ```
//!
//! Alice now has the roles `list-7-viewer` and `list-7-editor` (for
//! [`Requirement::role`](crate::Requirement::role) and [`has_role`](crate::Identity::has_role)) and the
//! permissions `list:read:7` and `list:edit:7`. Better ask for the permission, as everywhere.
//!
//! If the application knows already who is on which list, a
//! [`MembershipSource`](crate::port::MembershipSource) tells it: see [`membership`](crate::membership).
//!
//! # The catalogue
//!
//! What the code asks for can be written into a table, for the people who make roles, and to find
//! roles with a misspelt permission in them:
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
//! It adds and describes and never deletes: an older node may still run. What grants mention and no
//! code knows (`list:raed`), and what cannot be read at all, is in the log and in
//! [`auth.audit()`](crate::Portcullis::audit), as `unknown_permissions` and `malformed_permissions`.
//! Such a grant gives what it says, which is nothing that anybody asks for.
//! [`prune`](crate::permission::Catalogue::prune) deletes from the table when an operator says so.
//!
//! # Lists
//!
//! [`identity.instances(list::Read)`](crate::Identity::instances) answers all, or the ids on which
//! something is given, so that a list is filtered in SQL and not afterwards. The example `permissions`
//! shows it on a table of its own.
