//! Decides whether a request meets a requirement. Guards and extractors share this.

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};

use crate::base::problem::{Problem, Rejection};
use crate::base::redirect::ReturnTo;
use crate::config::Unauthenticated;
use crate::guard::credentials::AcceptedCredentials;
use crate::guard::requirement::{Outcome, Requirement};
use crate::identity::credential::{prefix_of, uri_before_routers};
use crate::identity::request_identity::RequestIdentity;
use crate::identity::resolution::Resolved;
use crate::identity::{AuthError, Identity, NotSignedIn, Principal};

/// Returns the identity of a request that meets a requirement.
pub(crate) async fn admit(
    request_identity: &RequestIdentity,
    requirement: &Requirement,
    parts: &Parts,
) -> Result<Identity, Rejection> {
    let identity = signed_in(request_identity, parts).await?;
    let principal = Principal::from(identity.clone());
    decide(request_identity, parts, &principal, requirement, requirement)?;
    Ok(identity)
}

/// Returns the identity of a request. If nobody is signed in, the error is a 401 or a redirect to
/// the login page.
pub(crate) async fn signed_in(
    request_identity: &RequestIdentity,
    parts: &Parts,
) -> Result<Identity, Rejection> {
    match request_identity.resolve().await? {
        Resolved::Full(identity) => {
            request_identity.answers_somebody();
            Ok(identity.clone())
        }
        other => Err(refused(request_identity, parts, other.no_session())),
    }
}

/// Returns who acts in a request, if the guard accepts such a credential.
pub(super) async fn principal(
    request_identity: &RequestIdentity,
    parts: &Parts,
    credentials: AcceptedCredentials,
) -> Result<Principal, Rejection> {
    let auth = request_identity.auth();
    if credentials == AcceptedCredentials::ApiKey && auth.context().config.api_key.prefix.is_none()
    {
        auth.report_finding(
            "api_key_route_closed",
            &format!(
                "a route accepts only API keys, and `api_key.prefix` is not set, so nobody can call it; \
                 the path of the request was `{}`",
                original_uri(parts).path()
            ),
        );
    }
    if credentials == AcceptedCredentials::Session {
        return Ok(signed_in(request_identity, parts).await?.into());
    }
    match request_identity.resolve().await? {
        Resolved::ApiKey(program) => {
            request_identity.takes_api_keys();
            request_identity.answers_somebody();
            Ok(program.clone().into())
        }
        Resolved::Full(_) if credentials == AcceptedCredentials::ApiKey => {
            Err(AuthError::ApiKeyRequired.into())
        }
        Resolved::Full(identity) => {
            request_identity.answers_somebody();
            Ok(identity.clone().into())
        }
        // The login page does not help a program.
        other if credentials == AcceptedCredentials::ApiKey => Err(other.no_session().into()),
        other => Err(refused(request_identity, parts, other.no_session())),
    }
}

/// Returns the answer for a caller who has to sign in: a problem, or the login page for a browser.
pub(super) fn refused(
    request_identity: &RequestIdentity,
    parts: &Parts,
    error: AuthError,
) -> Rejection {
    // The login page does not help here: signing in removes neither the second cookie nor the API key.
    let AuthError::NotSignedIn(reason) = &error else { return error.into() };
    let by_program = request_identity.shows_api_key();
    if by_program || matches!(reason, NotSignedIn::MultipleCredentials) {
        return error.into();
    }
    let Unauthenticated::LoginPage(page) =
        &request_identity.auth().context().config.service.unauthenticated
    else {
        return error.into();
    };
    or_page(request_identity, parts, error, page)
}

/// Returns a redirect to a page of the application if the browser navigates. Otherwise returns the
/// error.
fn or_page(
    request_identity: &RequestIdentity,
    parts: &Parts,
    error: AuthError,
    page: &str,
) -> Rejection {
    match page_with_next(request_identity, parts, page) {
        Some(location) => Rejection::new(ToPage { error, location }),
        None => error.into(),
    }
}

/// Returns the page to which a browser is redirected first. `None` if the request does not
/// navigate.
fn page_with_next(request_identity: &RequestIdentity, parts: &Parts, page: &str) -> Option<String> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return None;
    }
    // From here on the answer depends on two request headers, so the layer names them in `Vary`.
    request_identity.asked_how();
    if !navigates(&parts.headers) {
        return None;
    }
    let prefix = prefix_of(request_identity.auth(), &parts.headers, &parts.extensions);
    let prefix = prefix.as_str();
    let uri = original_uri(parts);
    let here = uri.path_and_query().map_or("/", |path| path.as_str());
    let separator = if page.contains('?') { '&' } else { '?' };
    // The path is also checked without the prefix, to prevent an open redirect. A path such as
    // `//evil.example` leads to another site, but with a prefix before it, it looks like a path of
    // this one.
    let next = ReturnTo::parse(here).and_then(|_| ReturnTo::parse(&format!("{prefix}{here}")));
    Some(match next {
        Some(next) => format!("{prefix}{page}{separator}next={}", next.as_query_value()),
        None => format!("{prefix}{page}"),
    })
}

/// True if a browser asks for a page to show. A script (htmx or `fetch`) asks for a part of a page.
/// It would put the login page into the middle of the page that the user sees.
pub(crate) fn navigates(headers: &HeaderMap) -> bool {
    let mut modes = headers.get_all("sec-fetch-mode").iter();
    match (modes.next(), modes.next()) {
        (Some(mode), None) => mode == "navigate",
        (Some(_), Some(_)) => false,
        // Old browsers do not send this header. Current browsers send it over plain HTTP only to
        // their own machine.
        (None, _) => {
            let mut accepts = headers.get_all(http::header::ACCEPT).iter();
            accepts.any(|accept| accept.to_str().is_ok_and(prefers_html))
        }
    }
}

/// True if `Accept` names HTML, and names it before JSON. Browsers ask like this.
fn prefers_html(accept: &str) -> bool {
    let position = |name| accept.split(',').position(|item| item.trim().starts_with(name));
    match (position("text/html"), position("application/json")) {
        (Some(html), Some(json)) => html < json,
        (html, _) => html.is_some(),
    }
}

pub(crate) fn original_uri(parts: &Parts) -> &http::Uri {
    uri_before_routers(&parts.uri, &parts.extensions)
}

/// A 401 that a browser gets as a redirect to a page of the application.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
struct ToPage {
    error: AuthError,
    location: String,
}

impl Problem for ToPage {
    fn status(&self) -> StatusCode {
        self.error.status()
    }

    fn code(&self) -> &'static str {
        self.error.code()
    }

    fn challenge(&self) -> Option<String> {
        None
    }

    fn location(&self) -> Option<String> {
        Some(self.location.clone())
    }
}

/// Checks whether the identity meets `asked`. A denial is recorded in the audit log under the name
/// of `rule`. A step-up is a redirect to its page for a browser, if the account has a factor that
/// helps.
pub(crate) fn decide(
    request_identity: &RequestIdentity,
    parts: &Parts,
    principal: &Principal,
    asked: &Requirement,
    rule: &Requirement,
) -> Result<(), Rejection> {
    match principal.check(asked) {
        Outcome::Met => Ok(()),
        Outcome::StepUp => {
            let Principal::Session(identity) = principal else {
                return Err(AuthError::FactorUnavailable.into());
            };
            let needed = asked.step_up(identity);
            let page = request_identity.auth().context().config.service.step_up_page.as_deref();
            // If no factor helps, the page would be of no use.
            let page = page.filter(|_| !needed.factors.is_empty());
            let error = AuthError::StepUp(needed);
            Err(match page {
                Some(page) => or_page(request_identity, parts, error, page),
                None => error.into(),
            })
        }
        Outcome::Denied => {
            tracing::debug!(
                target: "portcullis",
                account = %principal.account().id(),
                explanation = ?principal.explain(asked).to_string(),
                "denied",
            );
            request_identity.auth().note_denial(principal.account().id(), &rule.to_string());
            Err(AuthError::Denied.into())
        }
    }
}
