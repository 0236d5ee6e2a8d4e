//! Memberships of whoever is signed in: which level one has on which resource.
//!
//! 1. The application configures an order of levels for a kind of resource:
//!    `.levels("list", ["viewer", "editor", "owner"])`.
//! 2. Someone is given a level on one resource: by hand
//!    ([`auth.memberships()`](crate::Portcullis::memberships)), or by the application's own tables
//!    through a [`MembershipSource`](crate::port::MembershipSource).
//! 3. The source is asked when someone signs in: with a password, by registering, by setting the new
//!    password that had to be set first. What it says is stored in one transaction that adds and
//!    removes. No request ever asks it.
//! 4. When the application's tables change, it calls
//!    [`refresh_memberships`](crate::Portcullis::refresh_memberships), or the client sends
//!    `POST /memberships/refresh`.
//! 5. From the next request on, everywhere, a level gives the roles `<resource>-<id>-<level>` for
//!    itself and all levels below it (`list-7-viewer`, `list-7-editor`), and the permissions of the
//!    roles that are named like them (`viewer`, `editor`), limited to that resource: of `list:edit`
//!    it gives `list:edit:7`, of `doc:edit` and `*` nothing.
//!
//! ```no_run
//! use axum::{Router, routing::post};
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
//! auth.roles().create("editor", ["list:edit"]).await?;
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
//! - Ask the source again by itself: between two sign-ins what is stored counts, so take away in both
//!   places, or refresh. A session that the application starts itself
//!   ([`auth.sessions()`](crate::Portcullis::sessions)) asks nothing either.
//! - Keep anyone out because the source fails or takes too long: what was stored before goes on
//!   counting, a first sign-in has nothing yet, and the failure is traced as an error.
//! - Guess. A level that is not configured (any more) gives nothing, and so does an id with permission
//!   syntax in it. A role cannot be made under a name that a level could be seen as, and one that was
//!   made before the level was configured is not seen under its name.
//!
//! # Routes
//! `GET /memberships?resource=&id=` (one's own, both parameters may be left out; at most 100 at once:
//! where there are more, the answer has `next`, and the same request with `after=<next>` goes on),
//! `POST /memberships/refresh`. Part of [`Portcullis::routes`](crate::Portcullis::routes) where a source
//! is set; elsewhere [`routes`] can be mounted by hand.
//!
//! # Configuration
//! `permission.levels`, `permission.source_timeout`.
//!
//! # Events
//! `membership_granted`, `membership_revoked`, `memberships_refreshed`.
//!
//! # Errors
//! `unknown_level` (422), `reserved_name` (422), `invalid_resource` (422), `invalid_body` (400: a parameter of the query),
//! `unavailable` (503: the source failed or took too long; nothing was changed).

use crate::handle::Portcullis;
use crate::identity::Identity;
use crate::permission::{GrantError, Membership};

#[cfg(feature = "routes")]
mod routes;
#[cfg(feature = "routes")]
pub use routes::routes;

/// One of one's own memberships, as far as it counts in this session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnMembership {
    /// What is stored.
    pub membership: Membership,
    /// The level and those below it, lowest first.
    pub levels: Vec<String>,
}

impl Portcullis {
    /// The memberships of whoever is signed in, perhaps only those on one kind of resource or on one
    /// resource. Left out is what gives this session nothing: a level that is not configured, or one
    /// that the session's ceiling does not cover.
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
