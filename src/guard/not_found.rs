//! The answer to a path that has no route.

use std::error::Error;
use std::fmt;

use crate::base::problem::{Rejection, problem};

/// There is no route for the path of a request.
#[derive(Debug)]
struct RouteNotFound;

impl fmt::Display for RouteNotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no such route")
    }
}

impl Error for RouteNotFound {}

problem! {
    RouteNotFound {
        Self => NOT_FOUND, "route_not_found";
    }
    passes on {}
}

/// A handler for paths without a route: 404 as problem details, like every other error.
///
/// axum's own answer has no body. [`GuardedRouter::auth_routes`](super::GuardedRouter::auth_routes)
/// adds this handler below its prefix. In a plain router, add it yourself:
///
/// ```no_run
/// use axum::Router;
/// use portcullis::Portcullis;
///
/// fn app(auth: &Portcullis) -> Router {
///     Router::new()
///         .nest("/auth", auth.routes().fallback(portcullis::not_found))
///         .layer(auth.layer())
/// }
/// ```
pub async fn not_found() -> Rejection {
    Rejection::new(RouteNotFound)
}
