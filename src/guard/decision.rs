//! Who is let in: what guards and extractors share.

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};

use crate::base::problem::{Problem, Rejection};
use crate::base::redirect::ReturnTo;
use crate::config::Unauthenticated;
use crate::guard::requirement::{Outcome, Requirement};
use crate::identity::credential::prefix_of;
use crate::identity::request_identity::RequestIdentity;
use crate::identity::resolved::Resolved;
use crate::identity::{AuthError, Identity, NotSignedIn};

/// The identity of a request that meets a requirement.
pub(crate) async fn admit(
    request_identity: &RequestIdentity,
    requirement: &Requirement,
    parts: &Parts,
) -> Result<Identity, Rejection> {
    let identity = signed_in(request_identity, parts).await?;
    decide(request_identity, &identity, requirement, requirement)?;
    Ok(identity)
}

pub(crate) async fn signed_in(
    request_identity: &RequestIdentity,
    parts: &Parts,
) -> Result<Identity, Rejection> {
    match request_identity.resolve().await? {
        Resolved::Full(identity) => {
            request_identity.answers_somebody();
            Ok(identity.clone())
        }
        // The login page does not help who has one cookie too many.
        Resolved::Nobody(reason @ NotSignedIn::MultipleCredentials) => {
            Err(AuthError::NotSignedIn(*reason).into())
        }
        other => {
            let error = AuthError::NotSignedIn(other.not_signed_in());
            Err(match login_page(request_identity, parts) {
                Some(location) => Rejection::new(ToLogin { error, location }),
                None => error.into(),
            })
        }
    }
}

/// Where to send a browser that wants a page and is not signed in, if that is configured.
fn login_page(request_identity: &RequestIdentity, parts: &Parts) -> Option<String> {
    let Unauthenticated::LoginPage(page) =
        &request_identity.auth().context().config.service.unauthenticated
    else {
        return None;
    };
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return None;
    }
    request_identity.asked_how();
    if !navigates(&parts.headers) {
        return None;
    }
    let prefix = prefix_of(request_identity.auth(), &parts.headers, &parts.extensions);
    let prefix = prefix.as_str();
    let uri = original_uri(parts);
    let here = uri.path_and_query().map_or("/", |path| path.as_str());
    let separator = if page.contains('?') { '&' } else { '?' };
    // Judged without the prefix too: behind it, a path that leads away would look like one of ours.
    let next = ReturnTo::parse(here).and_then(|_| ReturnTo::parse(&format!("{prefix}{here}")));
    Some(match next {
        Some(next) => format!("{prefix}{page}{separator}next={}", next.as_query_value()),
        None => format!("{prefix}{page}"),
    })
}

/// Whether a browser asks for a page to show, and not a script of a page for a part of it: htmx or
/// `fetch` would put the login page into the middle of another.
pub(crate) fn navigates(headers: &HeaderMap) -> bool {
    let mut modes = headers.get_all("sec-fetch-mode").iter();
    match (modes.next(), modes.next()) {
        (Some(mode), None) => mode == "navigate",
        (Some(_), Some(_)) => false,
        // Old browsers do not say, nor do current ones to plain-http hosts other than this machine.
        (None, _) => {
            let mut accepts = headers.get_all(http::header::ACCEPT).iter();
            accepts.any(|accept| accept.to_str().is_ok_and(prefers_html))
        }
    }
}

/// Whether HTML is named and stands before JSON, which is how browsers ask.
fn prefers_html(accept: &str) -> bool {
    let position = |name| accept.split(',').position(|item| item.trim().starts_with(name));
    match (position("text/html"), position("application/json")) {
        (Some(html), Some(json)) => html < json,
        (html, _) => html.is_some(),
    }
}

#[cfg(feature = "routes")]
fn original_uri(parts: &Parts) -> &http::Uri {
    parts.extensions.get::<axum::extract::OriginalUri>().map_or(&parts.uri, |uri| &uri.0)
}

#[cfg(not(feature = "routes"))]
fn original_uri(parts: &Parts) -> &http::Uri {
    &parts.uri
}

/// 401 for an API, the login page for a browser.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
struct ToLogin {
    error: AuthError,
    location: String,
}

impl Problem for ToLogin {
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

/// Checks what is asked, and notes a denial under the name of its rule.
pub(crate) fn decide(
    request_identity: &RequestIdentity,
    identity: &Identity,
    asked: &Requirement,
    rule: &Requirement,
) -> Result<(), AuthError> {
    match asked.check(identity) {
        Outcome::Met => Ok(()),
        Outcome::StepUp => Err(AuthError::StepUp(asked.step_up(identity))),
        Outcome::Denied => {
            tracing::debug!(
                target: "portcullis",
                account = %identity.account().id(),
                explanation = ?identity.explain(asked).to_string(),
                "denied",
            );
            request_identity.auth().note_denial(identity.account().id(), &rule.to_string());
            Err(AuthError::Denied)
        }
    }
}
