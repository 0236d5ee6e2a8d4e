//! The methods of a route and the parameters of its path.
//!
//! axum has no public list of its routes, and it hides the methods of a [`MethodRouter`]. Only its
//! `Debug` output names them. This file reads that output strictly. A method router that it cannot
//! read counts as one that accepts every method. So if a new version of axum prints something else,
//! the guard covers every method.

use std::collections::BTreeMap;
use std::fmt;

use axum::Router;
use axum::routing::MethodRouter;
use http::Method;

/// The methods of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Methods {
    /// Every method. The route was made with axum's `any`, or it has a fallback of its own.
    Any,
    /// Only these methods. `GET` includes `HEAD`.
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

/// What can be known about a method router from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// The methods with a handler of their own.
    pub(super) listed: Vec<Method>,
    /// True if axum's plain 405 certainly answers every other method.
    pub(super) closed: bool,
}

impl Shape {
    /// The shape of a route that cannot be read. It counts as one that accepts every method.
    const UNKNOWN: Self = Self { listed: Vec::new(), closed: false };

    /// Returns the methods that may run something.
    pub(super) fn methods(&self) -> Methods {
        if self.closed { Methods::Only(self.listed.clone()) } else { Methods::Any }
    }
}

/// The fields of a method router, in the order in which axum prints them.
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

/// Returns the shape of a method router.
pub(super) fn shape<S>(methods: &MethodRouter<S>) -> Shape {
    parse_methods(&format!("{methods:?}")).map_or(Shape::UNKNOWN, |(shape, _)| shape)
}

/// Reads `MethodRouter { get: BoxedHandler, …, fallback: Default(Route), allow_header: … }`. Also
/// returns the text after it.
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

/// Returns the routes of a plain router, sorted by path. It reads them from the `Debug` output, and
/// returns `None` if it cannot read that.
pub(super) fn routes_of<S>(router: &Router<S>) -> Option<Vec<(Shape, String)>> {
    parse_router(&format!("{router:?}"))
}

/// Reads the routes with their methods first, and then the path of each route. Every route must
/// have exactly one path. Otherwise the text is not understood.
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

/// The path under which a fallback is listed.
pub(super) const FALLBACK: &str = "{*fallback}";

/// Returns the rest of a quoted text, and the text after it. It returns `None` for a path with an
/// escape other than `\"` and `\\`.
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

/// Returns the names of the parameters of a path.
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

/// Cuts a path at its parameters. A doubled brace is a literal brace.
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

/// Returns the path under a prefix. It joins them as axum does.
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

    /// Fixes what axum prints. If an update changes it, this test fails, and the guards still cover
    /// every method.
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
