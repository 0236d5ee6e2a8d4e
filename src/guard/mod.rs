//! Guards: what a request needs so that a route answers it.
//!
//! 1. A [`Requirement`] says what is needed: a permission, a role, a factor, the age of a factor.
//! 2. [`auth.require(..)`](crate::Portcullis::require) makes a layer of it for one route or for several.
//! 3. [`auth.router()`](crate::Portcullis::router) makes a router in which no route is without a guard.
//! 4. Extractors give a handler what a guard has found out: [`Identity`](crate::Identity),
//!    [`Account`](crate::Account), [`Session`](crate::Session), [`Allowed`]. A [`Visitor`] has a session in
//!    any case, and a [`Caller`] has one arm for each stage.
//!
//! The same requirement is asked in a handler by [`Identity::meets`](crate::Identity::meets), and
//! explained by [`Identity::explain`](crate::Identity::explain). The guide has a
//! [page with examples](crate::guide::guards).

#[cfg(feature = "routes")]
pub(crate) mod access;
pub(crate) mod caller;
mod credentials;
pub(crate) mod decision;
#[cfg(feature = "routes")]
pub(crate) mod description;
pub(crate) mod extract;
pub(crate) mod instance;
#[cfg(feature = "routes")]
mod not_found;
pub(crate) mod require;
mod requirement;
#[cfg(feature = "routes")]
pub(crate) mod route_table;
#[cfg(feature = "routes")]
pub(crate) mod router;
pub(crate) mod service;
#[cfg(feature = "routes")]
pub(crate) mod shape;
#[cfg(all(feature = "routes", feature = "test-util"))]
pub(crate) mod stop;
pub(crate) mod visitor;

#[cfg(feature = "routes")]
pub use access::{Access, Public, any_session, public, stage, visitor};
pub use caller::Caller;
pub use credentials::AcceptedCredentials;
#[cfg(feature = "routes")]
pub use description::{RouteBody, RouteCaller, RouteDescription};
pub use extract::Allowed;
#[cfg(feature = "routes")]
pub use not_found::not_found;
pub use require::{Require, RequireService};
pub use requirement::{Explanation, Outcome, Requirement, RequirementError};
#[cfg(feature = "routes")]
pub use route_table::{GuardedRoute, GuardedRoutes};
#[cfg(feature = "routes")]
pub use router::GuardedRouter;
#[cfg(feature = "routes")]
pub use shape::Methods;
pub use visitor::Visitor;
