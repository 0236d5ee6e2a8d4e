//! How a page is made: what every page shows, what a refusal looks like, and the headers.

use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{Html, Response};
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use portcullis::base::redirect::ReturnTo;
use portcullis::page::FormFeedback;
use portcullis::{AuthError, Identity, Rejection, Requirement, Timestamp};

use crate::admin;
use crate::prove::path_to_prove;

/// What every page needs: the result of the form before it, and who is signed in.
pub(crate) struct View {
    pub(crate) form: FormFeedback,
    pub(crate) identity: Option<Identity>,
}

impl<S: Send + Sync> FromRequestParts<S> for View {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let form = FormFeedback::from_request_parts(parts, state).await?;
        let identity = Option::<Identity>::from_request_parts(parts, state).await?;
        Ok(Self { form, identity })
    }
}

impl View {
    /// Returns where the person wants to go.
    pub(crate) fn next(&self) -> Option<&str> {
        self.form.next.as_deref()
    }

    /// Renders a page.
    pub(crate) fn show(&self, template: &str, values: Value) -> Html<String> {
        let admin = Requirement::typed(admin::account::Read);
        let who = self.identity.as_ref().map(|identity| {
            context! {
                name => identity.account().username().or(identity.account().email()),
                admin => identity.meets(&admin),
                due => identity.enrolment_due_at().map(moment),
            }
        });
        page(template, context! { form => Serde(&self.form), who, ..values })
    }
}

/// Adds the page to which a person goes afterwards to a path of this service.
pub(crate) fn with_next(path: &str, next: Option<&str>) -> String {
    with_parameter(path, "next", next)
}

/// The same under another name.
pub(crate) fn with_parameter(path: &str, name: &str, page: Option<&str>) -> String {
    match page.and_then(ReturnTo::parse) {
        Some(page) => with(path, &format!("{name}={}", page.as_query_value())),
        None => path.to_owned(),
    }
}

/// Adds a parameter to a path of this service.
pub(crate) fn with(path: &str, parameter: &str) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("{path}{separator}{parameter}")
}

/// Shows a time to people, such as `2026-09-21 14:13 UTC`.
pub(crate) fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{} UTC", text.get(..16).unwrap_or(&text).replace('T', " "))
}

pub(crate) async fn style() -> ([(&'static str, &'static str); 1], &'static str) {
    ([("content-type", "text/css")], include_str!("../templates/page.css"))
}

/// Renders a page. Templates whose names end in `.html` escape every value.
fn page(template: &str, values: Value) -> Html<String> {
    static PAGES: LazyLock<Environment<'static>> = LazyLock::new(|| {
        let mut pages = Environment::new();
        // The layout reads `form.error`, also on a page without a form.
        pages.set_undefined_behavior(UndefinedBehavior::Chainable);
        for (name, source) in [
            ("layout.html", include_str!("../templates/layout.html")),
            ("fields.html", include_str!("../templates/fields.html")),
            ("home.html", include_str!("../templates/home.html")),
            ("register.html", include_str!("../templates/register.html")),
            ("login.html", include_str!("../templates/login.html")),
            ("forgot.html", include_str!("../templates/forgot.html")),
            ("reset.html", include_str!("../templates/reset.html")),
            ("undo.html", include_str!("../templates/undo.html")),
            ("verify.html", include_str!("../templates/verify.html")),
            ("prove.html", include_str!("../templates/prove.html")),
            ("account.html", include_str!("../templates/account.html")),
            ("name.html", include_str!("../templates/name.html")),
            ("set-up.html", include_str!("../templates/set-up.html")),
            ("code.html", include_str!("../templates/code.html")),
            ("recovery-codes.html", include_str!("../templates/recovery-codes.html")),
            ("new-codes.html", include_str!("../templates/new-codes.html")),
            ("mailed-codes.html", include_str!("../templates/mailed-codes.html")),
            ("admin.html", include_str!("../templates/admin.html")),
            ("refused.html", include_str!("../templates/refused.html")),
        ] {
            pages.add_template(name, source).expect("the template is valid");
        }
        pages
    });
    let page = PAGES.get_template(template).and_then(|page| page.render(values));
    Html(page.expect("the template is there and fits its values"))
}

/// Shows a refusal as a page, because a browser would show JSON. Adds the headers of all pages.
pub(crate) async fn for_browsers(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let refused = response.extensions().get::<Rejection>().cloned();
    if let Some(rejection) = refused.filter(|_| !response.status().is_redirection()) {
        // The form is not sent again. The person comes back to its page and decides.
        let again = match rejection.downcast_ref() {
            Some(AuthError::StepUp(step_up)) => Some(path_to_prove(step_up, &path)),
            _ => None,
        };
        let problem = Serde(rejection.document());
        let html = page("refused.html", context! { problem, again });
        *response.body_mut() = Body::from(html.0);
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    }
    add_headers(response.headers_mut());
    response
}

fn add_headers(headers: &mut HeaderMap) {
    // No page may run a script, and no site may show a page in a frame. The QR code is part of its
    // page, so it needs no permission.
    const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; \
        form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: browsers would then send forms with `Origin: null`, and an old browser
        // could not prove that a form comes from this service.
        (REFERRER_POLICY, "same-origin"),
        // A page may show a secret, or what a user typed.
        (CACHE_CONTROL, "no-store"),
    ] {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}
