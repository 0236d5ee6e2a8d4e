//! What a guarded router knows about its routes: methods, path, and who may call them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::routing::MethodRouter;

use crate::base::secret::random_array;
use crate::context::Context;
use crate::guard::access::{Access, Kind};
use crate::guard::description::RouteDescription;
use crate::guard::requirement::Outcome;
use crate::guard::shape::{Methods, Shape};
use crate::handle::{PerInstance, Portcullis};
use crate::identity::Identity;

/// A route of a [`GuardedRouter`](super::router::GuardedRouter).
#[derive(Debug, Clone)]
pub struct GuardedRoute {
    pub(super) methods: Methods,
    pub(super) path: String,
    pub(super) access: Access,
}

impl GuardedRoute {
    /// Returns its methods.
    pub fn methods(&self) -> &Methods {
        &self.methods
    }

    /// Returns its whole path, with prefixes and parameters, such as `/docs/{id}`. The path of a
    /// fallback ends with `{*fallback}`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns who may call it.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Returns what it takes and answers, if it is a route of portcullis.
    pub fn description(&self) -> Option<&RouteDescription> {
        match &self.access.kind {
            Kind::Own(description) => Some(description),
            _ => None,
        }
    }
}

impl fmt::Display for GuardedRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.methods, self.path, self.access)
    }
}

/// The routes of a guarded router, for menus, documents and tests.
///
/// `Display` writes a table of methods, paths and who may call them.
#[derive(Debug, Clone)]
pub struct GuardedRoutes(Arc<[GuardedRoute]>);

impl GuardedRoutes {
    /// Returns all routes.
    pub fn iter(&self) -> std::slice::Iter<'_, GuardedRoute> {
        self.0.iter()
    }

    /// Returns the routes that this caller may call now, without a step-up, for example for a menu.
    /// A route on one instance is among them only if the caller may call it for every instance. Routes
    /// of portcullis and unguarded routes are never among them.
    ///
    /// ```
    /// use portcullis::{Identity, Portcullis};
    ///
    /// async fn menu(auth: Portcullis, who: Option<Identity>) -> String {
    ///     let routes = auth.guarded_routes();
    ///     let paths: Vec<_> = routes.allowed(who.as_ref()).map(|route| route.path()).collect();
    ///     paths.join("\n")
    /// }
    /// ```
    pub fn allowed<'a>(
        &'a self,
        who: impl Into<Option<&'a Identity>>,
    ) -> impl Iterator<Item = &'a GuardedRoute> {
        let who = who.into();
        self.0.iter().filter(move |route| route.access.check(who) == Outcome::Met)
    }
}

impl<'a> IntoIterator for &'a GuardedRoutes {
    type Item = &'a GuardedRoute;
    type IntoIter = std::slice::Iter<'a, GuardedRoute>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<GuardedRoute> for GuardedRoutes {
    fn from_iter<I: IntoIterator<Item = GuardedRoute>>(routes: I) -> Self {
        Self(routes.into_iter().collect())
    }
}

impl fmt::Display for GuardedRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |text: fn(&GuardedRoute) -> String| {
            self.iter().map(|route| text(route).len()).max().unwrap_or_default()
        };
        let methods = width(|route| route.methods.to_string());
        let paths = width(|route| route.path.clone());
        self.iter().try_for_each(|route| {
            let GuardedRoute { methods: m, path, access } = route;
            writeln!(f, "{:methods$}  {path:paths$}  {access}", m.to_string())
        })
    }
}

/// A path and the row of portcullis that it belongs to.
pub(super) type Described = (String, Arc<RouteDescription>);

/// What an instance knows about routes.
pub(crate) struct Routes {
    recorded: Mutex<Recorded>,
    /// The start of every mark of this instance. It is random, so that no other router has it by chance.
    mark: String,
    /// The rows of the routes that were mounted, by the mark of their capability.
    own: Mutex<BTreeMap<String, Vec<Arc<RouteDescription>>>>,
}

struct Recorded {
    /// By path and methods. A router that is built again replaces the previous one.
    by_path: BTreeMap<(String, String), GuardedRoute>,
    list: GuardedRoutes,
}

impl PerInstance for Routes {
    fn open(_: &Context) -> Self {
        let none = Recorded { by_path: BTreeMap::new(), list: GuardedRoutes(Arc::new([])) };
        let random = data_encoding::HEXLOWER.encode(&random_array::<8>());
        Self {
            recorded: Mutex::new(none),
            mark: format!("/.portcullis-{random}-"),
            own: Mutex::default(),
        }
    }
}

impl Routes {
    pub(super) fn record(&self, routes: &[GuardedRoute]) {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        for route in routes {
            let key = (route.path.clone(), route.methods.to_string());
            recorded.by_path.insert(key, route.clone());
        }
        recorded.list = recorded.by_path.values().cloned().collect();
    }

    /// Returns these routes without the marks, each with its description, or the first path that is not
    /// one of portcullis.
    ///
    /// A route is one of portcullis if the mark of its capability is there.
    /// [`mount`](crate::route::mount) puts it among the routes of the capability, and nobody else can.
    /// axum accepts a path and method only once. So beside the mark, a route with the path and method of
    /// a row *is* that row. By its path alone, a stranger's `GET /session` would look the same.
    pub(super) fn own(&self, routes: Vec<(Shape, String)>) -> Result<Vec<Described>, String> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let (marks, routes): (Vec<_>, Vec<_>) =
            routes.into_iter().partition(|(_, path)| path.contains(&self.mark));
        let mut known = BTreeMap::new();
        for (_, mark) in &marks {
            let Some((prefix, _)) = mark.split_once(&self.mark) else { continue };
            for row in own.get(&mark[prefix.len()..]).into_iter().flatten() {
                known.insert((format!("{prefix}{}", row.path), row.method.clone()), row);
            }
        }
        let mut described = Vec::new();
        for (shape, path) in routes {
            if shape.listed.is_empty() {
                return Err(path);
            }
            for method in shape.listed {
                match known.get(&(path.clone(), method)) {
                    Some(row) => described.push((path.clone(), Arc::clone(row))),
                    None => return Err(path),
                }
            }
        }
        Ok(described)
    }

    /// True if this is the path of a mark.
    pub(super) fn is_mark(&self, path: &str) -> bool {
        path.contains(&self.mark)
    }
}

impl Portcullis {
    /// Returns the routes of all guarded routers of this instance that were finished, sorted by path.
    /// Routes that were added to a plain axum router are not among them.
    pub fn guarded_routes(&self) -> GuardedRoutes {
        let routes = self.per_instance::<Routes>();
        let recorded = routes.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.list.clone()
    }

    /// Remembers the routes that a capability mounts, and marks them with one more path, which takes
    /// no method.
    pub(crate) fn mark_own_routes<S: Clone + Send + Sync + 'static>(
        &self,
        capability: &str,
        router: Router<S>,
        descriptions: Vec<RouteDescription>,
    ) -> Router<S> {
        let routes = self.per_instance::<Routes>();
        let mark = format!("{}{capability}", routes.mark);
        let mut own = routes.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.entry(mark.clone()).or_default().extend(descriptions.into_iter().map(Arc::new));
        router.route(&mark, MethodRouter::new())
    }
}
