//! Forms without a script: what a browser is answered that posts one to `/login` or `/logout`.
//!
//! 1. The request counts as such a form if there is a login page
//!    ([`Unauthenticated::LoginPage`]), the body is a form, and the browser
//!    navigates, or does not say and prefers HTML. Everything else gets JSON.
//! 2. The route answers as always. Afterwards its answer becomes a 303 with the same cookies.
//! 3. A success leads to `next`, a field of the form or a parameter of its address. `next` is anybody's
//!    text: only a [`ReturnTo`] is taken, else the start page `/`.
//! 4. A refusal leads back to the login page with `?error=<code>`, and with `next`.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum_core::body::Body;
use http::HeaderValue;
use http::header::CONTENT_LENGTH;

use crate::base::problem::{Rejection, see_other};
use crate::base::redirect::ReturnTo;
use crate::config::Unauthenticated;
use crate::guard::decision::navigates;
use crate::handle::Portcullis;
use crate::identity::credential::prefix_of;
use crate::route::{is_form, read};
use crate::session::Stage;

const NEXT: &str = "next";

/// Turns the answer to a form of a browser into a redirect. A layer around the route.
pub(super) async fn redirected(
    State(auth): State<Portcullis>,
    request: Request,
    next: Next,
) -> Response {
    let Some(pages) = Pages::of(&auth, &request) else { return next.run(request).await };
    let (mut parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().as_bytes().to_vec();
    let bytes = match read(&parts.headers, body).await {
        Ok(bytes) => bytes,
        Err(rejection) => return pages.refused(rejection.response(), &rejection, None),
    };
    let fields = Fields::parse(&bytes);
    // Nobody could read a token out of a redirect.
    if fields.wants_bearer() {
        return next.run(Request::from_parts(parts, Body::from(bytes))).await;
    }
    let return_to = fields.next().or_else(|| Fields::parse(&query).next());
    // The route knows no such field. What is no form stays as it is, to be refused there.
    let body = match fields.without_next() {
        Some(rest) => {
            parts.headers.remove(CONTENT_LENGTH);
            Body::from(rest)
        }
        None => Body::from(bytes),
    };
    let response = next.run(Request::from_parts(parts, body)).await;
    let rejection = response.extensions().get::<Rejection>().cloned();
    match rejection {
        Some(rejection) => pages.refused(response, &rejection, return_to.as_ref()),
        None => pages.went_well(response, return_to),
    }
}

/// Where the form is, and where else it may lead.
struct Pages {
    /// In front of every path of ours, where a proxy takes one off.
    prefix: String,
    login: String,
    change_password: Option<String>,
}

impl Pages {
    /// None for a client that is answered in JSON.
    fn of(auth: &Portcullis, request: &Request) -> Option<Self> {
        let config = &auth.context().config;
        let Unauthenticated::LoginPage(page) = &config.service.unauthenticated else {
            return None;
        };
        let (headers, extensions) = (request.headers(), request.extensions());
        if !(is_form(headers) && navigates(headers)) {
            return None;
        }
        let prefix = prefix_of(auth, headers, extensions).as_str().to_owned();
        let change_password = config.password.change_page.clone();
        Some(Self { prefix, login: page.clone(), change_password })
    }

    /// Back to the form. The headers of the refusal stay, such as `Retry-After`.
    fn refused(
        &self,
        response: Response,
        rejection: &Rejection,
        return_to: Option<&ReturnTo>,
    ) -> Response {
        // A hook may have chosen the code.
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let code: String = rejection.problem().code().chars().filter(plain).collect();
        let location = self.to(&self.login, &format!("error={code}"), return_to);
        see_other(response, visible(location))
    }

    fn went_well(&self, response: Response, return_to: Option<ReturnTo>) -> Response {
        let page = match response.extensions().get::<Stage>() {
            // There is a session, or there is none any more.
            Some(Stage::Full) | None => match return_to {
                Some(page) => page.as_str().to_owned(),
                None => format!("{}/", self.prefix),
            },
            Some(stage) => {
                let page = match (stage, &self.change_password) {
                    (Stage::MustChangePassword, Some(page)) => page,
                    _ => &self.login,
                };
                // What the JSON calls `result`.
                let result = format!("result={}", stage.as_str());
                self.to(page, &result, return_to.as_ref())
            }
        };
        see_other(response, visible(page))
    }

    fn to(&self, page: &str, parameter: &str, return_to: Option<&ReturnTo>) -> String {
        let (page, fragment) = page.split_once('#').map_or((page, ""), |(page, rest)| (page, rest));
        let separator = if page.contains('?') { '&' } else { '?' };
        let mut location = format!("{}{page}{separator}{parameter}", self.prefix);
        if let Some(return_to) = return_to {
            location = format!("{location}&{NEXT}={}", return_to.as_query_value());
        }
        if !fragment.is_empty() {
            location = format!("{location}#{fragment}");
        }
        location
    }
}

/// Pages and prefixes are checked when they are read, and a `next` is a [`ReturnTo`].
fn visible(location: String) -> HeaderValue {
    HeaderValue::try_from(location).expect("paths of this site are visible ASCII")
}

/// The fields of a form.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn parse(text: &[u8]) -> Self {
        Self(serde_urlencoded::from_bytes(text).unwrap_or_default())
    }

    fn wants_bearer(&self) -> bool {
        self.0.iter().any(|(name, value)| name == "transport" && value == "bearer")
    }

    /// Where to go afterwards, if it is said once and stays on this site.
    fn next(&self) -> Option<ReturnTo> {
        let mut values = self.0.iter().filter(|(name, _)| name == NEXT);
        let (Some((_, value)), None) = (values.next(), values.next()) else { return None };
        ReturnTo::parse(value)
    }

    /// The other fields, as a body. None if there is no `next` to be left out.
    fn without_next(&self) -> Option<String> {
        let rest: Vec<_> = self.0.iter().filter(|(name, _)| name != NEXT).collect();
        if rest.len() == self.0.len() {
            return None;
        }
        Some(serde_urlencoded::to_string(rest).expect("names and texts can be encoded"))
    }
}
