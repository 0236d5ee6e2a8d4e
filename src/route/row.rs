//! Rows: a handler together with its description.

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::{Method, StatusCode};

use super::form::{Forms, redirected};
use crate::guard::description::{RouteBody, RouteCaller, RouteDescription};
use crate::handle::Portcullis;

/// The error codes that any route can answer with.
const ALWAYS: [&str; 4] = ["internal_error", "overloaded", "rate_limited", "unavailable"];

/// One route.
#[must_use = "a row is a route when it is mounted"]
pub(crate) struct Row {
    description: RouteDescription,
    /// The fields of a form whose values its page may show again.
    keeps: &'static [&'static str],
    handler: MethodRouter<Portcullis>,
}

/// Describes a route that anyone may call, without a body. The methods below say more.
pub(crate) fn row<H, T>(method: Method, path: &'static str, handler: H) -> Row
where
    H: Handler<T, Portcullis>,
    T: 'static,
{
    let mut errors = ALWAYS.to_vec();
    // See `SameOrigin::concerns`.
    if !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS) {
        errors.push("cross_site_request");
    }
    let filter =
        MethodFilter::try_from(method.clone()).expect("the method of a row is a plain one");
    let description = RouteDescription {
        method,
        path,
        caller: RouteCaller::Anyone,
        body: RouteBody::None,
        answers: &[StatusCode::OK],
        errors,
    };
    Row { description, keeps: &[], handler: on(filter, handler) }
}

impl Row {
    /// Says who may call it, if not anyone.
    pub(crate) fn by(mut self, caller: RouteCaller) -> Self {
        self.description.caller = caller;
        self
    }

    /// Says that the same-origin rule does not apply.
    #[cfg(feature = "federation")]
    pub(crate) fn of_any_site(mut self) -> Self {
        self.description.errors.retain(|code| *code != "cross_site_request");
        self
    }

    /// Says which body it reads.
    pub(crate) fn takes(mut self, body: RouteBody) -> Self {
        self.description.body = body;
        self
    }

    /// Says with which status it answers, if not with 200 alone.
    pub(crate) fn answers(mut self, answers: &'static [StatusCode]) -> Self {
        self.description.answers = answers;
        self
    }

    /// Says with which error codes it answers, besides those that follow from the rest of the row.
    pub(crate) fn refuses(mut self, errors: &[&'static str]) -> Self {
        self.description.errors.extend(errors);
        self
    }

    /// Sets which fields of a form its page may show again after a refusal. Never name a secret.
    pub(crate) fn keeps(mut self, fields: &'static [&'static str]) -> Self {
        self.keeps = fields;
        self
    }

    /// True if a browser can send a form here.
    fn takes_forms(&self) -> bool {
        let body = self.description.body;
        self.description.method == Method::POST
            && !matches!(body, RouteBody::Json | RouteBody::Form)
    }

    /// The handler, and the description with all error codes.
    fn finish(self) -> (MethodRouter<Portcullis>, RouteDescription) {
        let Self { mut description, keeps: _, handler } = self;
        let implied = [description.caller.errors().as_slice(), description.body.errors()].concat();
        description.errors.extend(implied);
        description.errors.sort_unstable();
        description.errors.dedup();
        (handler, description)
    }
}

/// Makes a router from rows.
pub(super) fn router(
    auth: &Portcullis,
    rows: impl IntoIterator<Item = Row>,
) -> (Router<Portcullis>, Vec<RouteDescription>) {
    let mut router = Router::new();
    let mut descriptions = Vec::new();
    for row in rows {
        let forms = row.takes_forms().then(|| {
            let caller = row.description.caller;
            Forms { auth: auth.clone(), caller, keeps: row.keeps }
        });
        let (handler, description) = row.finish();
        #[cfg(feature = "test-util")]
        let handler = told::checked(handler, description.clone());
        let handler = match forms {
            Some(forms) => handler.layer(from_fn_with_state(forms, redirected)),
            None => handler,
        };
        router = router.route(description.path, handler);
        descriptions.push(description);
    }
    (router, descriptions)
}

/// Compares what routes answer with what their rows say, for the tests of this crate.
#[cfg(feature = "test-util")]
pub(super) mod told {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::extract::{Request, State};
    use axum::middleware::{Next, from_fn_with_state};
    use axum::response::Response;
    use axum::routing::MethodRouter;

    use crate::base::problem::Rejection;
    use crate::guard::description::RouteDescription;
    use crate::handle::Portcullis;

    /// True if an answer that the row does not name is a panic.
    static STRICT: AtomicBool = AtomicBool::new(false);

    pub(crate) fn be_strict() {
        STRICT.store(true, Ordering::Relaxed);
    }

    pub(super) fn checked(
        handler: MethodRouter<Portcullis>,
        description: RouteDescription,
    ) -> MethodRouter<Portcullis> {
        handler.layer(from_fn_with_state(Arc::new(description), check))
    }

    async fn check(
        State(description): State<Arc<RouteDescription>>,
        request: Request,
        next: Next,
    ) -> Response {
        let response = next.run(request).await;
        if STRICT.load(Ordering::Relaxed) {
            let RouteDescription { method, path, answers, errors, .. } = &*description;
            match response.extensions().get::<Rejection>().map(Rejection::problem) {
                // A hook of the application may refuse with any code of its own.
                Some(problem) if !is_documented(problem.code()) => {}
                Some(problem) => {
                    let code = problem.code();
                    assert!(errors.contains(&code), "the row of `{method} {path}` lacks `{code}`");
                }
                None => {
                    let status = response.status();
                    assert!(
                        answers.contains(&status),
                        "the row of `{method} {path}` lacks {status}"
                    );
                }
            }
        }
        response
    }

    /// True if the guide explains this code, so that it is one of portcullis.
    fn is_documented(code: &str) -> bool {
        include_str!("../guide/errors.rs").contains(&format!("`{code}`"))
    }
}
