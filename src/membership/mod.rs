//! The memberships of an account: which level it has on which resource.
//!
//! 1. The application configures an order of levels for a kind of resource: `.levels("list",
//!    ["viewer", "editor", "owner"])`.
//! 2. An account gets a level on one resource: by hand
//!    ([`auth.memberships()`](crate::Portcullis::memberships)), or from the application's own
//!    tables through a [`MembershipSource`](crate::port::MembershipSource).
//! 3. The source is asked at every sign-in: with a password, by a registration, or after a required
//!    new password was set. One transaction stores the answer; it adds and removes memberships. No
//!    other request asks the source.
//! 4. When the application's tables change, it calls
//!    [`refresh_memberships`](crate::Portcullis::refresh_memberships), or the client sends `POST
//!    /memberships/refresh`.
//! 5. From the next request on, on every node, a level gives the roles `<resource>-<id>-<level>`
//!    for itself and all levels below it (`list-7-viewer`, `list-7-editor`). It also gives the
//!    permissions of the roles with the same names (`viewer`, `editor`), limited to that resource:
//!    `list:edit` becomes `list:edit:7`, while `doc:edit` and `*` give nothing.
//!
//! # Example
//!
//! ```no_run
//! use axum::{Router, routing::post};
//! use portcullis::permission::RoleDefinition;
//! use portcullis::port::{HookFuture, SourceMembership};
//! use portcullis::{AccountId, Portcullis, Requirement, Secret};
//!
//! # async fn example(db: sea_orm::DatabaseConnection, secret: Secret)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! let source = |account: AccountId| -> HookFuture<'static, Vec<SourceMembership>> {
//!     Box::pin(async move {
//!         // Where the application would ask its own tables about `account`.
//!         Ok(vec![SourceMembership::new("list", "7", "editor")])
//!     })
//! };
//! let auth = Portcullis::builder(db)
//!     .secret(secret)
//!     .levels("list", ["viewer", "editor", "owner"])
//!     .membership_source(source)
//!     .build()?;
//! auth.roles().define([RoleDefinition::new("editor", ["list:edit"])]).await?;
//!
//! let edit = auth.require(Requirement::permission("list:edit")?).on_path("id");
//! let app: Router = Router::new()
//!     .route("/lists/{id}", post(async || "edited").route_layer(edit))
//!     .nest("/auth", auth.routes())
//!     .layer(auth.layer());
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//!
//! - It does not ask the source again by itself. Between two sign-ins the stored memberships count.
//!   So remove a level in both places, or refresh. A session that the application starts itself
//!   ([`auth.sessions()`](crate::Portcullis::sessions)) does not ask the source either.
//! - It does not lock anyone out because the source fails or takes too long. The stored memberships
//!   continue to count, a first sign-in has none yet, and the failure is logged as an error.
//! - It does not guess. A level that is not configured (any more) gives nothing; neither does an id
//!   that contains permission syntax. No role can get a name that a level could have. A role that
//!   was created before the level was configured does not count under its name.
//!
//! # Routes
//! `GET /memberships?resource=&id=` (your own; both parameters are optional; at most 100 at once:
//! if there are more, the answer has `next`, and the same request with `after=<next>` continues),
//! `POST /memberships/refresh`. They are part of [`Portcullis::routes`](crate::Portcullis::routes)
//! if a source is set; otherwise mount [`routes`] yourself.
//!
//! # Configuration
//! `permission.levels`, `permission.source_timeout`.
//!
//! # Events
//! `membership_granted`, `membership_revoked`, `memberships_refreshed`.
//!
//! # Errors
//! `unknown_level` (422), `reserved_name` (422), `invalid_resource` (422), `invalid_body` (400: a
//! parameter of the query), `unavailable` (503: the source failed or took too long; nothing was
//! changed).

use crate::handle::Portcullis;
use crate::identity::Identity;
use crate::permission::{GrantError, Membership};

#[cfg(feature = "routes")]
mod routes;
#[cfg(feature = "routes")]
pub use routes::routes;

/// A membership of the account that is signed in, as far as it counts in this session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnMembership {
    /// The stored membership.
    pub membership: Membership,
    /// Its level and the levels below it, lowest first.
    pub levels: Vec<String>,
}

impl Portcullis {
    /// Returns the memberships of the account that is signed in. You can limit them to one kind of
    /// resource, or to one resource. The result leaves out what gives this session nothing: levels
    /// that are not configured, and levels that the session's ceiling does not cover.
    ///
    /// # Errors
    /// An outage.
    pub async fn own_memberships(
        &self,
        identity: &Identity,
        resource: Option<&str>,
        id: Option<&str>,
    ) -> Result<Vec<OwnMembership>, GrantError> {
        let memberships = self.memberships();
        let mut own = Vec::new();
        for membership in memberships.of(identity.account().id()).await? {
            let wanted = resource.is_none_or(|domain| domain == membership.resource.domain())
                && id.is_none_or(|id| id == membership.resource.id());
            if !wanted {
                continue;
            }
            let levels = memberships.levels(&membership).into_iter();
            let levels = levels.filter(|(_, role)| identity.has_role(role));
            let levels: Vec<_> = levels.map(|(level, _)| level).collect();
            if !levels.is_empty() {
                own.push(OwnMembership { membership, levels });
            }
        }
        Ok(own)
    }
}
