//! A router in which every route must say who may call it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, Route, any_service};
use tower_layer::Layer;
use tower_service::Service;

use crate::guard::access::{Access, Kind, SameOriginOnly};
use crate::guard::not_found::not_found;
use crate::guard::route_table::{GuardedRoute, GuardedRoutes, Routes};
use crate::guard::shape::{FALLBACK, Methods, Shape, nested, parameters, routes_of, shape};
use crate::handle::Portcullis;

impl Portcullis {
    /// Returns a router in which every route must say who may call it. See [`GuardedRouter`].
    #[must_use = "finish it with `into_router()`"]
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> GuardedRouter<S> {
        GuardedRouter {
            auth: self.clone(),
            router: Router::new(),
            routes: Vec::new(),
            own_prefixes: BTreeSet::new(),
        }
    }
}

/// A router of axum with an [`Access`] for each route. A route without one does not compile, so
/// nobody can forget to guard a route.
///
/// ```no_run
/// use axum::Router;
/// use axum::routing::{get, post};
/// use portcullis::{Portcullis, Requirement, public};
///
/// portcullis::permissions! { doc: Read, Publish; }
///
/// fn app(auth: &Portcullis) -> Router {
///     auth.router()
///         .route("/", get(async || "hello"), public())
///         .route("/me", get(async || "you"), Requirement::signed_in())
///         .route("/publish", post(async || "published"), doc::Publish)
///         .route("/docs/{id}", get(async || "a document"), auth.require(doc::Read).on_path("id"))
///         .auth_routes("/auth", auth.routes())
///         .into_router()
/// }
/// ```
///
/// - The guard is a layer around all methods of the route, including `OPTIONS` and `HEAD`. It also
///   guards `any(..)` and a fallback of the route. If the route does not take a method, the answer is
///   405 for everybody, and no handler runs.
/// - You can add the same path twice, with different methods and different requirements.
/// - [`into_router`](Self::into_router) adds [`Portcullis::layer`] around all routes, so you cannot
///   forget it. It returns a plain axum router. Routes that you add to that router are not guarded.
/// - [`Portcullis::guarded_routes`] lists all routes with their access, for a menu or a document. With
///   the feature `test-util`, a test can check them: see [`guide::testing`].
/// - Paths have the same meaning as in axum. `/docs/new` has priority over `/docs/{id}`, and each has
///   its own guard. `/docs/` and `/docs` are different paths.
///
/// A route without an access does not compile. A plain axum router is not accepted either:
///
/// ```compile_fail,E0061
/// # use axum::{Router, routing::get};
/// # fn app(auth: portcullis::Portcullis) -> Router {
/// auth.router().route("/open", get(async || "who?")).into_router()
/// # }
/// ```
///
/// ```compile_fail,E0308
/// # use axum::{Router, routing::get};
/// # fn app(auth: portcullis::Portcullis) -> Router {
/// auth.router().nest("/old", Router::new().route("/open", get(async || "who?"))).into_router()
/// # }
/// ```
///
/// ```compile_fail,E0308
/// # use axum::{Router, routing::get};
/// # fn app(auth: portcullis::Portcullis) -> Router {
/// auth.router().merge(Router::new().route("/open", get(async || "who?"))).into_router()
/// # }
/// ```
///
/// [`guide::testing`]: crate::guide::testing
#[must_use = "finish it with `into_router()`"]
pub struct GuardedRouter<S = ()> {
    auth: Portcullis,
    router: Router<S>,
    routes: Vec<GuardedRoute>,
    /// The prefixes of portcullis' own routes. Paths below them that have no route are answered by
    /// [`not_found`]. It is added at the end, because axum takes one fallback for a prefix only.
    own_prefixes: BTreeSet<String>,
}

impl<S: Clone + Send + Sync + 'static> GuardedRouter<S> {
    /// Adds a route, and says who may call it. [`Access`] lists the possible values.
    ///
    /// # Panics
    /// If axum does not accept the path, if the router already has this path with one of these
    /// methods, or if `methods` has no method.
    #[track_caller]
    pub fn route(
        mut self,
        path: &str,
        methods: MethodRouter<S>,
        access: impl Into<Access>,
    ) -> Self {
        let access = access.into();
        let shape = shape(&methods);
        assert!(
            shape.methods() != Methods::Only(Vec::new()),
            "`{path}` has no method: give it a `get(handler)` or the like"
        );
        self.router = self.router.route(path, guarded(methods, &shape, &access));
        self.note(shape.methods(), path, access);
        self
    }

    /// Adds a handler for all paths without a route. Without it, such a path is answered with 404 for
    /// everybody.
    #[track_caller]
    pub fn fallback(mut self, methods: MethodRouter<S>, access: impl Into<Access>) -> Self {
        let access = access.into();
        let shape = shape(&methods);
        self.router = self.router.fallback(guarded(methods, &shape, &access));
        self.note(shape.methods(), &format!("/{FALLBACK}"), access);
        self
    }

    /// Adds a service under a prefix, for example a service for static files. The service gets paths
    /// without the prefix.
    ///
    /// # Panics
    /// If axum does not accept the prefix, or the router already has it.
    #[track_caller]
    pub fn nest_service<T>(mut self, prefix: &str, service: T, access: impl Into<Access>) -> Self
    where
        T: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
        T::Response: IntoResponse,
        T::Future: Send + 'static,
    {
        let access = access.into();
        let methods: MethodRouter = any_service(service);
        let shape = shape(&methods);
        self.router = self.router.nest_service(prefix, guarded(methods, &shape, &access));
        self.note(Methods::Any, &nested(prefix, "/{*path}"), access);
        self
    }

    /// Adds the routes of another guarded router under a prefix.
    ///
    /// # Panics
    /// If axum does not accept the prefix, or the router already has one of the routes. Also if the
    /// other router belongs to another instance of portcullis, because its guards would not know the
    /// sessions of this one.
    #[track_caller]
    pub fn nest(mut self, prefix: &str, other: Self) -> Self {
        self.check_same(&other);
        self.router = self.router.nest(prefix, other.router);
        for route in other.routes {
            self.note(route.methods, &nested(prefix, &route.path), route.access);
        }
        self.own_prefixes.extend(other.own_prefixes.iter().map(|own| nested(prefix, own)));
        self
    }

    /// Adds the routes of another guarded router.
    ///
    /// # Panics
    /// For the same reasons as [`nest`](Self::nest).
    #[track_caller]
    pub fn merge(mut self, other: Self) -> Self {
        self.check_same(&other);
        self.router = self.router.merge(other.router);
        self.routes.extend(other.routes);
        self.own_prefixes.extend(other.own_prefixes);
        self
    }

    /// Adds the routes of portcullis, which check their callers themselves: `auth.routes()`, or the
    /// `routes` functions of single capabilities. The prefix `/` means no prefix.
    ///
    /// Below any other prefix, a path without a route is answered by [`not_found`]: 404 as problem
    /// details. This comes before your own [`fallback`](Self::fallback). It is left out if the
    /// prefix has a parameter, or if a router that you put under the same prefix has a fallback.
    ///
    /// # Panics
    /// If one of the routes does not belong to portcullis, even if it has a path of portcullis. Add
    /// your own routes with [`route`](Self::route).
    #[track_caller]
    pub fn auth_routes(mut self, prefix: &str, routes: Router<S>) -> Self {
        let known = self.auth.per_instance::<Routes>();
        // A router that cannot be read could contain routes of the application without a guard.
        let Some(listed) = routes_of(&routes) else {
            panic!(
                "the routes under `{prefix}` cannot be read: a path has control characters in it, \
                 or this version of axum is not known; use `danger_unguarded(..)`"
            );
        };
        let described = match known.own(listed) {
            Ok(described) => described,
            Err(stranger) => panic!(
                "`{stranger}` is no route of this instance of portcullis: give it to \
                 `route(..)`, with who may call it"
            ),
        };
        for (path, description) in described {
            // Every other method is answered with 405.
            let methods = Methods::Only(vec![description.method.clone()]);
            self.note(methods, &nested(prefix, &path), Access::of(Kind::Own(description)));
        }
        self.router = match prefix {
            "/" => self.router.merge(routes),
            prefix => self.router.nest(prefix, routes),
        };
        if prefix != "/" {
            self.own_prefixes.insert(prefix.trim_end_matches('/').to_owned());
        }
        self
    }

    /// Adds a plain axum router under a prefix, without guards. Anyone may call its routes, unless
    /// they protect themselves. They are listed as unguarded.
    #[track_caller]
    pub fn danger_unguarded(mut self, prefix: &str, router: Router<S>) -> Self {
        let listed = routes_of(&router).map(|listed| {
            listed.into_iter().map(|(shape, path)| (shape.methods(), path)).collect()
        });
        self.note_all(prefix, listed, &Access::of(Kind::Unguarded));
        self.router = self.router.nest(prefix, router);
        self
    }

    /// Adds a layer around all routes that were added before. It is outside of their guards and
    /// inside of [`Portcullis::layer`], so it can find out who sent a request.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Error: Into<Infallible> + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        self.router = self.router.layer(layer);
        self
    }

    /// Gives the handlers their state. Handlers that you add afterwards can have another type of
    /// state, or none.
    pub fn with_state<S2>(self, state: S) -> GuardedRouter<S2> {
        let Self { auth, router, routes, own_prefixes } = self;
        GuardedRouter { auth, router: router.with_state(state), routes, own_prefixes }
    }

    /// Returns the routes that were added until now.
    pub fn guarded_routes(&self) -> GuardedRoutes {
        self.routes.iter().cloned().collect()
    }

    /// Returns the finished axum router, with [`Portcullis::layer`] around it. From now on,
    /// [`Portcullis::guarded_routes`] lists its routes.
    ///
    /// # Panics
    /// If a guard uses `on_path` with a parameter that its route does not have, or has twice. Also if
    /// its requirement cannot be limited to one instance (see
    /// [`on_path`](super::Require::on_path)).
    #[track_caller]
    pub fn into_router(self) -> Router<S> {
        for GuardedRoute { methods, path, access } in &self.routes {
            if let Some(fault) = access.fault() {
                panic!("the route `{methods} {path}`: {fault}");
            }
            for asked in access.parameters() {
                let count = parameters(path).filter(|name| *name == asked).count();
                assert!(
                    count > 0,
                    "`.on_path({asked:?})`: the route `{methods} {path}` has no such parameter",
                );
                assert!(
                    count == 1,
                    "`.on_path({asked:?})`: the route `{methods} {path}` has more than one \
                     parameter of this name; rename one, or choose with `.on(..)`",
                );
            }
        }
        self.auth.per_instance::<Routes>().record(&self.routes);
        let mut router = self.router;
        for prefix in &self.own_prefixes {
            let taken = nested(prefix, &format!("/{FALLBACK}"));
            let has_own = self.routes.iter().any(|route| route.path == taken);
            if !has_own && parameters(prefix).next().is_none() {
                router = router.nest(prefix, Router::new().fallback(not_found));
            }
        }
        router.layer(self.auth.layer())
    }

    fn note(&mut self, methods: Methods, path: &str, access: Access) {
        self.routes.push(GuardedRoute { methods, path: path.to_owned(), access });
    }

    /// Lists the routes of a plain router. If they cannot be read, lists one route for all paths.
    fn note_all(&mut self, prefix: &str, listed: Option<Vec<(Methods, String)>>, access: &Access) {
        let unknown = || vec![(Methods::Any, "/{*path}".to_owned())];
        let known = self.auth.per_instance::<Routes>();
        let listed = listed.unwrap_or_else(unknown).into_iter();
        for (methods, path) in listed.filter(|(_, path)| !known.is_mark(path)) {
            self.note(methods, &nested(prefix, &path), access.clone());
        }
    }

    #[track_caller]
    fn check_same(&self, other: &Self) {
        assert!(
            self.auth.is_same(&other.auth),
            "the routers belong to two instances of portcullis; nest one with \
             `danger_unguarded(prefix, other.into_router())`, its layer is around it"
        );
    }
}

/// Adds a layer around the handlers of a route. The plain 405 of axum stays outside, because it runs
/// no handler and is the same for everyone.
fn wrap<S, L>(methods: MethodRouter<S>, shape: &Shape, layer: L) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
    L: Layer<Route> + Clone + Send + Sync + 'static,
    L::Service: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
    <L::Service as Service<Request>>::Response: IntoResponse + 'static,
    <L::Service as Service<Request>>::Future: Send + 'static,
{
    if shape.closed { methods.route_layer(layer) } else { methods.layer(layer) }
}

fn guarded<S: Clone + Send + Sync + 'static>(
    methods: MethodRouter<S>,
    shape: &Shape,
    access: &Access,
) -> MethodRouter<S> {
    #[cfg(feature = "test-util")]
    let methods = wrap(methods, shape, axum::middleware::from_fn(crate::guard::stop::stop));
    // It is inside: a stranger must not learn what the route needs besides.
    let methods = match &access.further {
        Some(further) => wrap(methods, shape, further.clone()),
        None => methods,
    };
    match &access.kind {
        Kind::Requires(require) => wrap(methods, shape, require.clone()),
        Kind::Session(session) => wrap(methods, shape, *session),
        Kind::Public(public) if public.from_anywhere => methods,
        Kind::Public(_) => wrap(methods, shape, SameOriginOnly),
        Kind::Own(_) | Kind::Unguarded => methods,
    }
}

impl<S: Clone + Send + Sync + 'static> From<GuardedRouter<S>> for Router<S> {
    #[track_caller]
    fn from(router: GuardedRouter<S>) -> Self {
        router.into_router()
    }
}

impl<S> fmt::Debug for GuardedRouter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedRouter").field("routes", &self.routes).finish_non_exhaustive()
    }
}
