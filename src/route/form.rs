//! Forms without a script: the answers for a browser that posts a form to sign in or out.
//!
//! 1. The request counts as such a form under three conditions. There is a login page
//!    ([`Unauthenticated::LoginPage`]), and the body is a form. The browser navigates, or does not
//!    tell and prefers HTML. All other requests get JSON.
//! 2. The route answers as usual. Then its answer is turned into a 303 with the same cookies.
//! 3. A success leads to `next`, a field of the form or a parameter of its address. Anybody can
//!    choose the value of `next`, so only a [`ReturnTo`] is accepted. Otherwise the start page `/`
//!    is used.
//! 4. A refusal leads back to the login page with `?error=<code>` and with `next`. So does an answer
//!    that a page must explain, with `?result=`: an unfinished sign-in, or a [`FormResult`].

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum_core::body::Body;
use http::HeaderValue;
use http::header::CONTENT_LENGTH;

use super::body::{is_form, read};
use crate::base::problem::{Rejection, see_other};
use crate::base::redirect::ReturnTo;
use crate::config::Unauthenticated;
use crate::guard::decision::navigates;
use crate::handle::Portcullis;
use crate::identity::credential::prefix_of;
use crate::session::Stage;

const NEXT: &str = "next";

/// A result that the login page explains, in the extensions of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FormResult(pub(crate) &'static str);

/// Turns the answer to a browser's form into a redirect. It is a layer around the route.
pub(crate) async fn redirected(
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
    // A script cannot read a token from a redirect, so a request for a bearer token gets JSON.
    if fields.wants_bearer() {
        return next.run(Request::from_parts(parts, Body::from(bytes))).await;
    }
    let return_to = fields.next().or_else(|| Fields::parse(&query).next());
    // The route does not know the field `next`. A body that is not a valid form stays unchanged;
    // the route refuses it.
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

/// The page of the form, and the pages that the answer may lead to.
struct Pages {
    /// The prefix before every path of this service, if a proxy removes one.
    prefix: String,
    login: String,
    change_password: Option<String>,
}

impl Pages {
    /// Returns `None` for a client that gets JSON.
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

    /// Leads back to the form. The headers of the refusal stay, such as `Retry-After`.
    fn refused(
        &self,
        response: Response,
        rejection: &Rejection,
        return_to: Option<&ReturnTo>,
    ) -> Response {
        // A hook may have chosen the code, so characters that could change the address are removed.
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let code: String = rejection.problem().code().chars().filter(plain).collect();
        let location = self.to(&self.login, &format!("error={code}"), return_to);
        see_other(response, visible(location))
    }

    fn went_well(&self, response: Response, return_to: Option<ReturnTo>) -> Response {
        if let Some(FormResult(result)) = response.extensions().get::<FormResult>().copied() {
            let page = self.to(&self.login, &format!("result={result}"), return_to.as_ref());
            return see_other(response, visible(page));
        }
        let page = match response.extensions().get::<Stage>() {
            // There is a session, or the user has signed out.
            Some(Stage::Full) | None => match return_to {
                Some(page) => page.as_str().to_owned(),
                None => format!("{}/", self.prefix),
            },
            Some(stage) => {
                let page = match (stage, &self.change_password) {
                    (Stage::MustChangePassword, Some(page)) => page,
                    _ => &self.login,
                };
                // The JSON answer calls this `result`.
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

/// Converts a location, which is always visible ASCII: pages and prefixes are checked when they are
/// read, and `next` is a [`ReturnTo`].
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

    /// Returns where to go afterwards, if the field occurs once and stays on this site.
    fn next(&self) -> Option<ReturnTo> {
        let mut values = self.0.iter().filter(|(name, _)| name == NEXT);
        let (Some((_, value)), None) = (values.next(), values.next()) else { return None };
        ReturnTo::parse(value)
    }

    /// Returns the other fields as a body, or `None` if there is no `next` to remove.
    fn without_next(&self) -> Option<String> {
        let rest: Vec<_> = self.0.iter().filter(|(name, _)| name != NEXT).collect();
        if rest.len() == self.0.len() {
            return None;
        }
        Some(serde_urlencoded::to_string(rest).expect("names and texts can be encoded"))
    }
}
