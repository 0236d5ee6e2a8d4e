//! What a guarded router knows of its routes: methods, path, and who may call them.
//!
//! axum keeps no list of its routes and hides the methods of a [`MethodRouter`]; only its `Debug`
//! output names them. It is read here, strictly: what is not understood counts as taking every
//! method, so that a guard is around all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::routing::MethodRouter;
use http::Method;

use crate::base::secret::random_array;
use crate::context::Context;
use crate::guard::require::Require;
use crate::guard::requirement::{Outcome, Requirement};
use crate::handle::{PerInstance, Portcullis};
use crate::identity::Identity;
use crate::permission::typed::TypedPermission;

/// Who may call a route: [`public()`], a [`Requirement`], a permission declared with
/// [`permissions!`](crate::permissions), or a guard made by [`Portcullis::require`]. The last one
/// is for a permission on one instance: `auth.require(doc::Read).on_path("id")`.
#[derive(Clone)]
pub struct Access(pub(super) Kind);

#[derive(Clone)]
pub(super) enum Kind {
    Public,
    Requires(Require),
    /// A route of ours, which decides by itself.
    Own,
    /// Behind `danger_unguarded`: nobody here knows.
    Unguarded,
}

/// Anyone may call the route, signed in or not. Its handler may still ask who it is.
pub fn public() -> Access {
    Access(Kind::Public)
}

impl Access {
    /// Whether anyone may call the route.
    pub fn is_public(&self) -> bool {
        matches!(self.0, Kind::Public)
    }

    /// Whether it is one of portcullis' own routes, which decide by themselves.
    pub fn is_own(&self) -> bool {
        matches!(self.0, Kind::Own)
    }

    /// Whether it came through [`danger_unguarded`](super::GuardedRouter::danger_unguarded).
    pub fn is_unguarded(&self) -> bool {
        matches!(self.0, Kind::Unguarded)
    }

    /// What a guard asks of the caller; none for a public route and for one whose guard is not
    /// known here.
    pub fn requirement(&self) -> Option<&Requirement> {
        match &self.0 {
            Kind::Requires(require) => Some(require.requirement()),
            _ => None,
        }
    }

    /// The path parameter whose instance the permission is asked on.
    pub fn parameter(&self) -> Option<&str> {
        match &self.0 {
            Kind::Requires(require) => require.parameter(),
            _ => None,
        }
    }

    /// What keeps its guard from deciding.
    pub(super) fn fault(&self) -> Option<String> {
        match &self.0 {
            Kind::Requires(require) => require.fault(),
            _ => None,
        }
    }

    /// Whether a guard of the router decides, so that it can be asked beforehand.
    fn check(&self, who: Option<&Identity>) -> Outcome {
        match (&self.0, who) {
            (Kind::Public, _) => Outcome::Met,
            (Kind::Requires(require), Some(identity)) => require.requirement().check(identity),
            (Kind::Requires(_) | Kind::Own | Kind::Unguarded, _) => Outcome::Denied,
        }
    }
}

impl From<Requirement> for Access {
    fn from(requirement: Requirement) -> Self {
        Self(Kind::Requires(Require::new(requirement)))
    }
}

impl From<Require> for Access {
    fn from(require: Require) -> Self {
        Self(Kind::Requires(require))
    }
}

/// As [`Requirement::typed`].
impl<P: TypedPermission> From<P> for Access {
    fn from(permission: P) -> Self {
        Requirement::typed(permission).into()
    }
}

/// Such as `public`, `permission(doc:read)` or `permission(doc:read) on {id}`.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Public => f.write_str("public"),
            Kind::Requires(require) => write!(f, "{require}"),
            Kind::Own => f.write_str("decides by itself"),
            Kind::Unguarded => f.write_str("UNGUARDED"),
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({self})")
    }
}

/// The methods of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Methods {
    /// Every method: made with axum's `any`, or with a fallback of its own.
    Any,
    /// These. `HEAD` comes with `GET`.
    Only(Vec<Method>),
}

impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("ANY"),
            Self::Only(methods) => {
                let names: Vec<_> = methods.iter().map(Method::as_str).collect();
                f.write_str(&names.join(", "))
            }
        }
    }
}

/// A route, as it was given to a [`GuardedRouter`](super::router::GuardedRouter).
#[derive(Debug, Clone)]
pub struct GuardedRoute {
    pub(super) methods: Methods,
    pub(super) path: String,
    pub(super) access: Access,
}

impl GuardedRoute {
    /// Its methods.
    pub fn methods(&self) -> &Methods {
        &self.methods
    }

    /// Its whole path, with prefixes and parameters: `/docs/{id}`. A fallback's ends with
    /// `{*fallback}`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Who may call it.
    pub fn access(&self) -> &Access {
        &self.access
    }
}

impl fmt::Display for GuardedRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.methods, self.path, self.access)
    }
}

/// The routes of a guarded router, by path: for menus, for documents, for tests.
///
/// As text it is a table of methods, paths and who may call them.
#[derive(Debug, Clone)]
pub struct GuardedRoutes(Arc<[GuardedRoute]>);

impl GuardedRoutes {
    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, GuardedRoute> {
        self.0.iter()
    }

    /// Those that are public or whose guard would let this one through, without a step-up: a menu.
    /// Of a route on one instance, whether it may be called on every instance.
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

/// What an instance knows of routes.
pub(crate) struct Routes {
    recorded: Mutex<Recorded>,
    /// What a mark of this instance begins with. Random, so that no router has it by chance.
    mark: String,
    /// The routes of ours that were made, by the mark of their capability: paths as they are before
    /// nesting, each with one of its methods.
    own: Mutex<BTreeMap<String, BTreeSet<(String, Method)>>>,
}

struct Recorded {
    /// By path and methods: a router that is built again takes the place of the one before.
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

    /// Those of these routes that are not marks, or the first one that is not ours.
    ///
    /// A route is ours if the mark of its capability is there: [`mount`](crate::route::mount) puts it
    /// among the routes of the capability, and nobody else can. axum takes a path and method only
    /// once, so beside the mark, what has the path and method of ours *is* ours. By its path alone a
    /// stranger's `GET /session` would look the same.
    pub(super) fn own(&self, routes: Vec<(Shape, String)>) -> Result<Vec<(Shape, String)>, String> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let (marks, routes): (Vec<_>, Vec<_>) =
            routes.into_iter().partition(|(_, path)| path.contains(&self.mark));
        let mut known = BTreeSet::new();
        for (_, mark) in &marks {
            let Some((prefix, _)) = mark.split_once(&self.mark) else { continue };
            let ours = own.get(&mark[prefix.len()..]).into_iter().flatten();
            known.extend(ours.map(|(path, method)| (format!("{prefix}{path}"), method.clone())));
        }
        let stranger = routes.iter().find(|(shape, path)| {
            let mut listed = shape.listed.iter();
            shape.listed.is_empty()
                || !listed.all(|method| known.contains(&(path.clone(), method.clone())))
        });
        match stranger {
            Some((_, path)) => Err(path.clone()),
            None => Ok(routes),
        }
    }

    /// Whether this is the path of a mark.
    pub(super) fn is_mark(&self, path: &str) -> bool {
        path.contains(&self.mark)
    }
}

impl Portcullis {
    /// The routes of the guarded routers that were finished with this instance, by path. Routes
    /// that were added to a plain axum router are not among them.
    pub fn guarded_routes(&self) -> GuardedRoutes {
        let routes = self.per_instance::<Routes>();
        let recorded = routes.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.list.clone()
    }

    /// Notes the routes that a capability of ours is about to mount, and marks them: a path more,
    /// which takes no method.
    pub(crate) fn mark_own_routes<S: Clone + Send + Sync + 'static>(
        &self,
        capability: &str,
        router: Router<S>,
    ) -> Router<S> {
        let routes = self.per_instance::<Routes>();
        let mark = format!("{}{capability}", routes.mark);
        let mut own = routes.own.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = own.entry(mark.clone()).or_default();
        for (shape, path) in routes_of(&router).unwrap_or_default() {
            ours.extend(shape.listed.into_iter().map(|method| (path.clone(), method)));
        }
        router.route(&mark, MethodRouter::new())
    }
}

/// A method router, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// The methods with a handler of their own.
    pub(super) listed: Vec<Method>,
    /// Whether every other method is certainly answered by axum's plain 405.
    pub(super) closed: bool,
}

impl Shape {
    const UNKNOWN: Self = Self { listed: Vec::new(), closed: false };

    /// The methods that may run something.
    pub(super) fn methods(&self) -> Methods {
        if self.closed { Methods::Only(self.listed.clone()) } else { Methods::Any }
    }
}

/// In the order in which axum prints them.
const FIELDS: [(&str, Method); 9] = [
    ("get", Method::GET),
    ("head", Method::HEAD),
    ("delete", Method::DELETE),
    ("options", Method::OPTIONS),
    ("patch", Method::PATCH),
    ("post", Method::POST),
    ("put", Method::PUT),
    ("trace", Method::TRACE),
    ("connect", Method::CONNECT),
];

pub(super) fn shape<S>(methods: &MethodRouter<S>) -> Shape {
    parse_methods(&format!("{methods:?}")).map_or(Shape::UNKNOWN, |(shape, _)| shape)
}

/// Reads `MethodRouter { get: BoxedHandler, …, fallback: Default(Route), allow_header: … }`; the
/// text after it.
fn parse_methods(text: &str) -> Option<(Shape, &str)> {
    let mut rest = text.strip_prefix("MethodRouter { ")?;
    let mut listed = Vec::new();
    for (field, method) in FIELDS {
        rest = rest.strip_prefix(field)?.strip_prefix(": ")?;
        let (value, tail) = rest.split_once(", ")?;
        match value {
            "None" => {}
            "BoxedHandler" | "Route" => listed.push(method),
            _ => return None,
        }
        rest = tail;
    }
    rest = rest.strip_prefix("fallback: ")?;
    let (fallback, tail) = rest.split_once(", allow_header: ")?;
    let closed = match fallback {
        "Default(Route)" => true,
        "Service(Route)" | "BoxedHandler" => false,
        _ => return None,
    };
    let (_, tail) = tail.split_once(" }")?;
    Some((Shape { listed, closed }, tail))
}

/// The routes of a plain router by path, read from its `Debug` output; none if that is not
/// understood.
pub(super) fn routes_of<S>(router: &Router<S>) -> Option<Vec<(Shape, String)>> {
    parse_router(&format!("{router:?}"))
}

fn parse_router(text: &str) -> Option<Vec<(Shape, String)>> {
    let mut rest = text.strip_prefix("Router { path_router: PathRouter { routes: {")?;
    let mut endpoints = BTreeMap::new();
    while let Some(tail) = rest.strip_prefix("RouteId(") {
        let (id, tail) = tail.split_once("): ")?;
        let (shape, tail) = if let Some(tail) = tail.strip_prefix("Route(Route)") {
            (Shape::UNKNOWN, tail)
        } else {
            let (shape, tail) = parse_methods(tail.strip_prefix("MethodRouter(")?)?;
            (shape, tail.strip_prefix(')')?)
        };
        endpoints.insert(id, shape);
        rest = tail.strip_prefix(", ").unwrap_or(tail);
    }
    rest = rest.strip_prefix("}, node: Node { paths: {")?;
    let mut routes = Vec::new();
    while let Some(tail) = rest.strip_prefix("RouteId(") {
        let (id, tail) = tail.split_once("): \"")?;
        let (path, tail) = unquote(tail)?;
        routes.push((endpoints.remove(id)?, path));
        rest = tail.strip_prefix(", ").unwrap_or(tail);
    }
    rest = rest.strip_prefix("} } }, fallback_router: ")?;
    if !rest.contains("default_fallback: true") {
        routes.push((Shape::UNKNOWN, format!("/{FALLBACK}")));
    }
    routes.sort_by(|a, b| a.1.cmp(&b.1));
    endpoints.is_empty().then_some(routes)
}

/// How the path of a fallback is written.
pub(super) const FALLBACK: &str = "{*fallback}";

/// The rest of a quoted text and what follows it. A path with an escape other than these two is
/// not understood.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut path = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((path, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                escaped @ ('"' | '\\') => path.push(escaped),
                _ => return None,
            },
            c => path.push(c),
        }
    }
    None
}

/// The names of a path's parameters.
pub(crate) fn parameters(path: &str) -> impl Iterator<Item = &str> {
    pieces(path).filter_map(|piece| match piece {
        Piece::Parameter(name) => Some(name),
        Piece::Text(_) => None,
    })
}

/// A part of a path as axum writes it.
pub(crate) enum Piece<'a> {
    #[cfg_attr(not(feature = "test-util"), expect(dead_code, reason = "only tests fill paths in"))]
    Text(&'a str),
    Parameter(&'a str),
}

/// Cuts a path at its parameters; a doubled brace is a brace.
pub(crate) fn pieces(path: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = path;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        for brace in ["{{", "}}"] {
            if let Some(tail) = rest.strip_prefix(brace) {
                let piece = &rest[..1];
                rest = tail;
                return Some(Piece::Text(piece));
            }
        }
        if let Some((name, tail)) = rest.strip_prefix('{').and_then(|tail| tail.split_once('}')) {
            rest = tail;
            return Some(Piece::Parameter(name.trim_start_matches('*')));
        }
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let end = rest[first..].find(['{', '}']).map_or(rest.len(), |at| first + at);
        let (piece, tail) = rest.split_at(end);
        rest = tail;
        Some(Piece::Text(piece))
    })
}

/// The path under a prefix, joined as axum joins them.
pub(super) fn nested(prefix: &str, path: &str) -> String {
    if prefix.ends_with('/') {
        format!("{prefix}{}", path.trim_start_matches('/'))
    } else if path == "/" {
        prefix.to_owned()
    } else {
        format!("{prefix}{path}")
    }
}

#[cfg(test)]
mod tests {
    use axum::handler::Handler;
    use axum::routing::{MethodFilter, get_service};
    use axum::routing::{any, any_service, delete, get, on, options, post_service};

    use super::*;

    async fn handler() {}

    fn layered(methods: MethodRouter) -> MethodRouter {
        let through = axum::middleware::from_fn(
            |request: axum::extract::Request, next: axum::middleware::Next| next.run(request),
        );
        methods.layer(through)
    }

    /// Pins what axum prints: should an update change it, guards stay around everything, and this
    /// fails.
    #[test]
    fn the_methods_of_a_method_router_are_read_from_what_axum_prints() {
        let service = || handler.with_state(());
        for (methods, text, closed) in [
            (get(handler), "GET", true),
            (get(handler).post(handler), "GET, POST", true),
            (get(handler).head(handler).options(handler), "GET, HEAD, OPTIONS", true),
            (layered(get(handler).put(handler)), "GET, PUT", true),
            (delete(handler).merge(options(handler)), "DELETE, OPTIONS", true),
            (on(MethodFilter::TRACE.or(MethodFilter::CONNECT), handler), "TRACE, CONNECT", true),
            (get_service(service()).merge(post_service(service())), "GET, POST", true),
            (MethodRouter::new(), "", true),
            (any(handler), "ANY", false),
            (any_service(service()), "ANY", false),
            (get(handler).fallback(handler), "ANY", false),
            (layered(get(handler).fallback(handler)), "ANY", false),
            (get(handler).fallback_service(service()), "ANY", false),
            (get(handler).merge(any(handler)), "ANY", false),
        ] {
            let shape = shape(&methods);
            assert_eq!((shape.methods().to_string().as_str(), shape.closed), (text, closed));
        }
    }

    #[test]
    fn what_is_not_understood_counts_as_every_method() {
        let known = format!("{:?}", get::<_, _, ()>(handler));
        assert!(parse_methods(&known).is_some(), "{known}");
        for text in [
            known.replace("MethodRouter {", "MethodTable {"),
            known.replace("get:", "Get:"),
            known.replace("BoxedHandler", "Lazy(3)"),
            known.replace("Default(", "Custom("),
            known.replace("fallback:", "query: None, fallback:"),
            known[..known.len() / 2].to_owned(),
            String::new(),
        ] {
            assert!(parse_methods(&text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_routes_of_a_plain_router_are_read_with_those_nested_in_it() {
        let inner = Router::new()
            .route("/", get(handler))
            .route("/{id}", get(handler).delete(handler))
            .route("/a\"b\\c", any(handler));
        let router: Router = Router::new()
            .nest("/docs", inner.clone())
            .merge(Router::new().route("/x", get(handler)))
            .layer(axum::Extension(1));
        let text = |router: &Router| {
            let routes = routes_of(router).expect("it is understood");
            let lines: Vec<_> =
                routes.iter().map(|(shape, path)| format!("{} {path}", shape.methods())).collect();
            lines.join("; ")
        };
        assert_eq!(text(&router), "GET /docs; ANY /docs/a\"b\\c; GET, DELETE /docs/{id}; GET /x");
        assert_eq!(text(&Router::new()), "");
        let open = Router::new().fallback(handler).route("/x", get(handler));
        assert_eq!(text(&open), "GET /x; ANY /{*fallback}");
        let services = Router::new().nest_service("/files", any_service(handler.with_state(())));
        assert!(text(&services).starts_with("ANY /files"), "{}", text(&services));
    }

    #[test]
    fn parameters_are_what_stands_between_single_braces() {
        let names = |path| parameters(path).collect::<Vec<_>>().join(" ");
        for (path, expected) in [
            ("/", ""),
            ("/a/{id}/b/{*rest}", "id rest"),
            ("/{{id}}/{x}", "x"),
            ("/é{id}ü", "id"),
            ("/{broken", ""),
        ] {
            assert_eq!(names(path), expected, "{path}");
        }
    }
}
