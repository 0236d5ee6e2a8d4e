//! Forms without a script: the answer of a mounted route becomes a redirect for a browser that
//! posted a form. [`page`](crate::page) describes it.

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
use crate::guard::description::RouteCaller;
use crate::handle::Portcullis;
use crate::identity::credential::prefix_of;
use crate::identity::{AuthError, NotSignedIn};
use crate::page::{FormFeedback, plain_code};
use crate::session::Stage;

/// The page after a success.
const NEXT: &str = "next";
/// The page after a refusal, with the form.
const BACK: &str = "back";

/// A result for the page of the form, in the extensions of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FormResult(pub(crate) &'static str);

/// The state of the layer.
#[derive(Clone)]
pub(super) struct Forms {
    pub(super) auth: Portcullis,
    pub(super) caller: RouteCaller,
    /// The fields whose values the page of the form may show again.
    pub(super) keeps: &'static [&'static str],
}

/// Turns the answer to a browser's form into a redirect. This is a layer around the route.
pub(super) async fn redirected(
    State(forms): State<Forms>,
    request: Request,
    next: Next,
) -> Response {
    let Some(mut pages) = Pages::of(forms, &request) else { return next.run(request).await };
    let (mut parts, body) = request.into_parts();
    let query = Fields::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let bytes = match read(&parts.headers, body).await {
        Ok(bytes) => bytes,
        Err(rejection) => {
            (pages.next, pages.back) = (query.path(NEXT), query.path(BACK));
            return pages.refused(rejection.response(), &rejection, &Fields::default());
        }
    };
    let fields = Fields::parse(&bytes);
    // A script cannot read a token from a redirect, so a request for a bearer token gets JSON.
    if fields.wants_bearer() {
        return next.run(Request::from_parts(parts, Body::from(bytes))).await;
    }
    pages.next = fields.path(NEXT).or_else(|| query.path(NEXT));
    pages.back = fields.path(BACK).or_else(|| query.path(BACK));
    // The route does not know these fields. A body that is not a valid form is not changed, and the
    // route refuses it.
    let body = match fields.without_paths() {
        Some(rest) => {
            parts.headers.remove(CONTENT_LENGTH);
            Body::from(rest)
        }
        None => Body::from(bytes),
    };
    let response = next.run(Request::from_parts(parts, body)).await;
    let rejection = response.extensions().get::<Rejection>().cloned();
    match rejection {
        Some(rejection) => pages.refused(response, &rejection, &fields),
        None => pages.went_well(response),
    }
}

/// A browser that a provider has sent here. It gets a redirect, as a browser that posted a form does.
#[cfg(feature = "federation")]
pub(crate) struct Navigation(Pages);

#[cfg(feature = "federation")]
impl Navigation {
    /// Returns `None` for a client that gets JSON. `next` is the page after a success. `back` is the page after a refusal,
    /// if it is not the login page.
    pub(crate) fn of(
        auth: &Portcullis,
        headers: &http::HeaderMap,
        extensions: &http::Extensions,
    ) -> Option<Self> {
        let forms = Forms { auth: auth.clone(), caller: RouteCaller::Anyone, keeps: &[] };
        navigates(headers).then(|| Self(Pages::for_browser(forms, headers, extensions)))
    }

    pub(crate) fn next(mut self, next: Option<ReturnTo>) -> Self {
        self.0.next = next;
        self
    }

    /// The page after a refusal, if it is not the login page.
    pub(crate) fn back(mut self, back: Option<ReturnTo>) -> Self {
        self.0.back = back;
        self
    }

    pub(crate) fn went_well(&self, response: Response) -> Response {
        self.0.went_well(response)
    }

    pub(crate) fn refused(&self, rejection: &Rejection) -> Response {
        self.0.refused(rejection.response(), rejection, &Fields::default())
    }
}

/// The page of the form, and the pages that the answer may lead to.
struct Pages {
    forms: Forms,
    /// The prefix before every path of this service, if a proxy removes one.
    prefix: String,
    login: String,
    change_password: Option<String>,
    step_up: Option<String>,
    next: Option<ReturnTo>,
    back: Option<ReturnTo>,
}

impl Pages {
    /// Returns `None` for a client that gets JSON.
    fn of(forms: Forms, request: &Request) -> Option<Self> {
        let config = &forms.auth.context().config;
        let Unauthenticated::LoginPage(_) = &config.service.unauthenticated else {
            return None;
        };
        let (headers, extensions) = (request.headers(), request.extensions());
        if !(is_form(headers) && navigates(headers)) {
            return None;
        }
        Some(Self::for_browser(forms, headers, extensions))
    }

    /// Without a login page, the first page of the service is told.
    fn for_browser(forms: Forms, headers: &http::HeaderMap, extensions: &http::Extensions) -> Self {
        let config = &forms.auth.context().config;
        let prefix = prefix_of(&forms.auth, headers, extensions).as_str().to_owned();
        let ours = |page: &str| format!("{prefix}{page}");
        let login = match &config.service.unauthenticated {
            Unauthenticated::LoginPage(page) => ours(page),
            Unauthenticated::Problem => ours("/"),
        };
        Self {
            login,
            change_password: config.password.change_page.as_deref().map(ours),
            step_up: config.service.step_up_page.as_deref().map(ours),
            prefix,
            next: None,
            back: None,
            forms,
        }
    }

    /// Redirects back to the form. The headers of the refusal are kept, such as `Retry-After`.
    fn refused(&self, response: Response, rejection: &Rejection, fields: &Fields) -> Response {
        if let Some(location) = self.first(rejection) {
            return see_other(response, visible(location));
        }
        let page = self.back.as_ref().map_or(&*self.login, ReturnTo::as_str);
        let code = plain_code(rejection.problem().code());
        let location = with(page, &format!("error={code}"), self.next.as_ref());
        let keeps = self.forms.keeps;
        let typed = keeps
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), fields.only(name)?.to_owned())));
        let mut response = response;
        let headers = response.headers_mut();
        FormFeedback::keep(&self.forms.auth, headers, &location, rejection, typed);
        see_other(response, visible(location))
    }

    /// Returns the page to which the person must go first. It leads back to the form.
    fn first(&self, rejection: &Rejection) -> Option<String> {
        let back = self.back.as_ref()?;
        let page = match rejection.downcast_ref::<AuthError>() {
            Some(AuthError::NotSignedIn(reason))
                if *reason != NotSignedIn::MultipleCredentials
                    && self.forms.caller != RouteCaller::Anyone =>
            {
                &self.login
            }
            _ if rejection.problem().code() == "insufficient_user_authentication" => {
                self.step_up.as_ref()?
            }
            _ => return None,
        };
        Some(with(page, &format!("{NEXT}={}", back.as_query_value()), None))
    }

    fn went_well(&self, response: Response) -> Response {
        if let Some(FormResult(result)) = response.extensions().get::<FormResult>().copied() {
            let page = self.back.as_ref().map_or(&*self.login, ReturnTo::as_str);
            let page = with(page, &format!("result={result}"), self.next.as_ref());
            return see_other(response, visible(page));
        }
        let page = match response.extensions().get::<Stage>() {
            // A session was started, or the route does not start one.
            Some(Stage::Full | Stage::Anonymous) | None => match &self.next {
                Some(page) => page.as_str().to_owned(),
                None => format!("{}/", self.prefix),
            },
            Some(stage) => {
                let page = match (stage, &self.change_password) {
                    (Stage::MustChangePassword, Some(page)) => page,
                    _ => &self.login,
                };
                // The JSON answer calls this `result`.
                with(page, &format!("result={}", stage.as_str()), self.next.as_ref())
            }
        };
        see_other(response, visible(page))
    }
}

/// What this layer tells a page. A page that was told something before is not told both.
const TOLD: [&str; 3] = ["error", "result", NEXT];

/// Adds a parameter and `next` to the address of a page.
fn with(page: &str, parameter: &str, next: Option<&ReturnTo>) -> String {
    let (page, fragment) = page.split_once('#').map_or((page, ""), |(page, rest)| (page, rest));
    let page = &without_told(page);
    let separator = if page.contains('?') { '&' } else { '?' };
    let mut location = format!("{page}{separator}{parameter}");
    if let Some(next) = next {
        location = format!("{location}&{NEXT}={}", next.as_query_value());
    }
    if !fragment.is_empty() {
        location = format!("{location}#{fragment}");
    }
    location
}

fn without_told(page: &str) -> String {
    let Some((path, query)) = page.split_once('?') else { return page.to_owned() };
    let told = |pair: &&str| {
        Fields::parse(pair.as_bytes()).0.iter().any(|(name, _)| TOLD.contains(&&**name))
    };
    let rest: Vec<&str> = query.split('&').filter(|pair| !told(pair)).collect();
    if rest.is_empty() { path.to_owned() } else { format!("{path}?{}", rest.join("&")) }
}

/// Converts a location, which is always visible ASCII: pages and prefixes are checked when they are
/// read, and `next` and `back` are each a [`ReturnTo`].
fn visible(location: String) -> HeaderValue {
    HeaderValue::try_from(location).expect("paths of this site are visible ASCII")
}

/// The fields of a form.
#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn parse(text: &[u8]) -> Self {
        Self(serde_urlencoded::from_bytes(text).unwrap_or_default())
    }

    fn wants_bearer(&self) -> bool {
        self.0.iter().any(|(name, value)| name == "transport" && value == "bearer")
    }

    /// Returns the value of a field, if it occurs once.
    fn only(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(known, _)| known == name);
        let (Some((_, value)), None) = (values.next(), values.next()) else { return None };
        Some(value)
    }

    /// Returns the path in a field, if it stays on this site.
    fn path(&self, name: &str) -> Option<ReturnTo> {
        ReturnTo::parse(self.only(name)?)
    }

    /// Returns the other fields as a body, or `None` if there is nothing to remove.
    fn without_paths(&self) -> Option<String> {
        let rest: Vec<_> = self.0.iter().filter(|(name, _)| name != NEXT && name != BACK).collect();
        if rest.len() == self.0.len() {
            return None;
        }
        Some(serde_urlencoded::to_string(rest).expect("names and texts can be encoded"))
    }
}
