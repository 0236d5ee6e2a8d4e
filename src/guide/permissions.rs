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
//! use portcullis::permission::{Resource, RoleDefinition};
//!
//! # async fn example(auth: portcullis::Portcullis, alice: portcullis::Account)
//! # -> Result<(), portcullis::permission::GrantError> {
//! auth.roles().define([RoleDefinition::new("editor", ["list:edit", "list:read"])]).await?;
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
//! # Roles in code
//!
//! Your code knows which roles it needs. [`define`](crate::permission::Roles::define) makes the
//! stored roles match the code. Call it at every start:
//!
//! ```no_run
//! use portcullis::permission::RoleDefinition;
//!
//! # async fn example(auth: portcullis::Portcullis) -> Result<(), portcullis::permission::GrantError> {
//! let defined = auth
//!     .roles()
//!     .define([
//!         RoleDefinition::new("reader", ["list:read"]),
//!         RoleDefinition::new("editor", ["list:read", "list:edit"]).description("Writes on lists."),
//!     ])
//!     .await?;
//! println!("new: {:?}, different: {:?}", defined.created, defined.changed);
//! # Ok(())
//! # }
//! ```
//!
//! - A missing role is created. A different role is changed: its permissions, and its description,
//!   idle limit and requirement of a second factor if the definition sets them. Its holders keep the
//!   role, and the change takes effect on their next request.
//! - If nothing is different, nothing is written.
//! - Other roles are not changed. So administrators can make more roles with
//!   [`create`](crate::permission::Roles::create), and an old role exists until you
//!   [`delete`](crate::permission::Roles::delete) it.
//! - Several nodes may start at once. During a release, old and new code may run at the same time.
//!   The node that starts last decides: an old node that restarts sets the roles back to its own
//!   definitions. So add a permission to a role one release before a route requires it.
//! - An error names the role: ``role `editor`: `list:` is not a permission: part 2 is empty``.
//!
//! [`holders`](crate::permission::Roles::holders) lists the accounts and groups that have a role, page by page, and
//! [`members`](crate::permission::Groups::members) lists the accounts of a group.
//!
//! # A second factor for administrators
//!
//! 1. Merge `second_factor::routes(&auth)` into `auth.routes()`, and build the [pages](crate::second_factor#turn-it-on).
//!    Without the routes, holders who have no second factor cannot sign in.
//! 2. Write `.requires_factor(true)` after `RoleDefinition::new("admin", …)`. The role then [requires a second
//!    factor](crate::second_factor#roles-that-require-a-factor).
//! 3. Set `config.factor.superusers = true`. The account of [`bootstrap_admin`](crate::Portcullis::bootstrap_admin) is a
//!    superuser. It needs no role, so a requirement of a role does not cover it.
//! 4. If people already use the service, set `config.factor.grace`, for example to a week. The time begins for
//!    each account with its first request or sign-in without the factor. During it, its sessions stay full. Without it, an administrator without a factor must set one up at once.
//!
//! Holders of such a role cannot [trust a device](crate::trusted_device), unless you write `.trusted_devices(true)`.
//!
//! If you delete `.requires_factor(true)` from the code, the stored role still requires a factor, because the definition
//! then says nothing about it. To end the requirement, write `.requires_factor(false)`.
//!
//! # Levels
//!
//! Use levels if people share single resources, such as lists. Levels have an order, from the lowest to the highest:
//!
//! ```no_run
//! use portcullis::permission::{Resource, RoleDefinition};
//!
//! # async fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret, alice: portcullis::AccountId)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! let auth = portcullis::Portcullis::builder(db)
//!     .secret(secret)
//!     .levels("list", ["viewer", "editor", "owner"])
//!     .build()?;
//! // The role with the name of a level has its permissions. On a list, only those about lists count.
//! let viewer = RoleDefinition::new("viewer", ["list:read", "doc:read"]);
//! let editor = RoleDefinition::new("editor", ["list:edit", "doc:edit"]);
//! auth.roles().define([viewer, editor]).await?;
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
//! The catalogue is a table of the permissions that your code requires. It helps people to create
//! roles, and finds misspelt permissions in roles:
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
//! `sync` adds permissions and updates descriptions. It never deletes, because an older node may
//! still be running. To delete old permissions, an operator calls
//! [`prune`](crate::permission::Catalogue::prune).
//!
//! Some grants contain a permission that is not in the catalogue (`list:raed`), or that cannot be parsed. They appear
//! in the log and in [`auth.audit()`](crate::Portcullis::audit), as `unknown_permissions` and
//! `malformed_permissions`. Such a grant has no effect, because no code requires its permission.
//!
//! # Menus
//!
//! A page should show only what its user may do. It can ask in two ways. Both need only the one
//! statement of the request. Both respect the ceiling of a limited session.
//!
//! `GET /session?permissions=true` adds all permissions to the answer: direct ones, and those of
//! roles, groups, roles on a resource, and levels.
//!
//! ```json
//! {"permissions": {"superuser": false, "allowed": ["doc:read", "list:edit:7"], "truncated": false}}
//! ```
//!
//! - `superuser` is true if the account is a superuser, and its session is not limited. Then `allowed` is `["*"]`.
//! - The list ends after 500 permissions, and `truncated` is then true. This happens if an account
//!   has permissions for many single instances, such as documents. Ask questions instead.
//! - The page must understand wildcards: `doc` allows `doc:read`.
//!
//! `POST /session/may` answers up to 64 questions, so the page needs no rules:
//!
//! ```json
//! {"questions": [{"permission": "doc:edit"}, {"permission": "doc:edit", "id": "42"},
//!                {"permission": "account:transfer", "factor": "totp", "max_age": 300}]}
//! ```
//!
//! ```json
//! {"answers": [{"outcome": "denied", "code": "denied", "detail": "this account is not allowed to do this"},
//!              {"outcome": "met"},
//!              {"outcome": "step_up", "code": "insufficient_user_authentication", "detail": "prove again: …",
//!               "factors": ["totp"], "max_age": 300}]}
//! ```
//!
//! - The answers are in the order of the questions. A refusal has the same members as the refusal
//!   of a guard.
//! - If the route requires a `factor` or a `max_age` (in seconds), include it in the question.
//! - A text that is not a permission, or an id that cannot be one, is answered with 422 `invalid_permission`. The
//!   member `question` is the index of the question.
//!
//! In Rust, [`identity.effective_permissions()`](crate::Identity::effective_permissions),
//! [`identity.may(..)`](crate::Identity::may) and, with the requirement of the route itself,
//! [`identity.check(..)`](crate::Identity::check) do the same. An answer is for display only: each route checks again.
//!
//! # Lists
//!
//! [`identity.instances(list::Read)`](crate::Identity::instances) returns "all", or the ids for which the account has
//! the permission. With these ids you can filter a list in SQL. The example `permissions` shows this with its own
//! table.
