//! Answers to failed requests: problem details (RFC 9457) with a stable `code`.
//!
//! 1. Each capability has a small error type. It describes through [`Problem`] what the client
//!    sees.
//! 2. At the boundary to HTTP, each error becomes a [`Rejection`]. Only a rejection writes an
//!    answer.
//! 3. The typed error stays in the response's extensions, as a `Rejection`. So an outer layer of
//!    the application can answer in its own format, with the content of [`Rejection::document`].
//!
//! The text of an error (`Display`), its [`detail`](Problem::detail) and its document are for the
//! client. The cause behind it is for the log, for example the address of a directory that did not
//! answer: [`Rejection::private_cause`].

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::base::factor::Factor;

/// The code of a request that was refused because the server is overloaded. The code that refuses
/// it logs one line a minute. So the single answers are not logged.
const OVERLOADED: &str = "overloaded";

/// The scheme of a challenge, unless [`challenge_by_cookie`] replaces it.
const BEARER: &str = "Bearer";

/// Returns the challenge for a status: every 401 has one.
pub(crate) fn challenge_of(status: StatusCode) -> Option<String> {
    (status == StatusCode::UNAUTHORIZED).then(|| BEARER.to_owned())
}

/// Returns the challenge of an answer that requires one of these factors, not older than `max_age`
/// (RFC 9470 section 3).
pub(crate) fn step_up_challenge(factors: &[Factor], max_age: Option<Duration>) -> String {
    let mut challenge = format!("{BEARER} error=\"insufficient_user_authentication\"");
    if let Some(values) = acr_values(factors) {
        challenge.push_str(&format!(", acr_values=\"{values}\""));
    }
    if let Some(age) = max_age {
        challenge.push_str(&format!(", max_age=\"{}\"", age.as_secs()));
    }
    challenge
}

/// Returns the challenge of an answer that requires the consent to one action. A resource that cannot be
/// quoted as it is, is only in the members of the answer.
pub(crate) fn proof_challenge(action: &str, resource: Option<&str>) -> String {
    let mut challenge = format!("{BEARER} error=\"action_proof_required\", action=\"{action}\"");
    let plain = |text: &&str| {
        text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !br#""\"#.contains(&byte))
    };
    if let Some(resource) = resource.filter(plain) {
        challenge.push_str(&format!(", resource=\"{resource}\""));
    }
    challenge
}

/// Returns the members of an answer that requires factors: those of the account that would help, those that
/// it would have to set up, and how recent the proof must be.
pub(crate) fn step_up_members(
    factors: &[Factor],
    enrol: &[Factor],
    max_age: Option<Duration>,
) -> serde_json::Map<String, serde_json::Value> {
    let names = |factors: &[Factor]| -> serde_json::Value {
        factors.iter().map(|factor| factor.as_str()).collect()
    };
    let mut members = serde_json::Map::new();
    members.insert("factors".to_owned(), names(factors));
    if let Some(values) = acr_values(factors) {
        members.insert("acr_values".to_owned(), values.into());
    }
    if !enrol.is_empty() {
        members.insert("enrol".to_owned(), names(enrol));
    }
    if let Some(age) = max_age {
        members.insert("max_age".to_owned(), age.as_secs().into());
    }
    members
}

/// Returns the values for a client of an authorization server, separated by blanks. `None` if no
/// factor would help. The guide page of error codes promises that they stay the same.
fn acr_values(factors: &[Factor]) -> Option<String> {
    let values: Vec<_> =
        factors.iter().map(|factor| format!("urn:portcullis:factor:{}", factor.as_str())).collect();
    (!values.is_empty()).then(|| values.join(" "))
}

/// Implements [`Problem`] for an error. It takes one row for each variant of the error itself, and
/// the list of the variants that pass on an inner problem. It can also take further parts, such as
/// members. So no error can forget a part of an inner problem.
macro_rules! problem {
    (
        $error:ident { $($own:pat => $status:ident, $code:literal;)* }
        passes on { $($inner:ident),* $(,)? }
        $(retry_after { $($waits:pat => $wait:expr),* $(,)? })?
        $(challenge { $($asks:pat => $challenge:expr),* $(,)? })?
        $(members { $($has:pat => $members:expr),* $(,)? })?
    ) => {
        #[allow(unreachable_patterns, reason = "an error may have no variant without a row")]
        impl $crate::base::problem::Problem for $error {
            fn status(&self) -> http::StatusCode {
                match self {
                    $($own => http::StatusCode::$status,)*
                    $(Self::$inner(inner) => $crate::base::problem::Problem::status(inner),)*
                }
            }

            fn code(&self) -> &'static str {
                match self {
                    $($own => $code,)*
                    $(Self::$inner(inner) => $crate::base::problem::Problem::code(inner),)*
                }
            }

            fn retry_after(&self) -> Option<std::time::Duration> {
                match self {
                    $($($waits => Some($wait),)*)?
                    $(Self::$inner(inner) => $crate::base::problem::Problem::retry_after(inner),)*
                    _ => None,
                }
            }

            fn challenge(&self) -> Option<String> {
                match self {
                    $($($asks => Some($challenge),)*)?
                    $(Self::$inner(inner) => $crate::base::problem::Problem::challenge(inner),)*
                    other => {
                        $crate::base::problem::challenge_of(
                            $crate::base::problem::Problem::status(other),
                        )
                    }
                }
            }

            fn members(&self) -> serde_json::Map<String, serde_json::Value> {
                match self {
                    $($($has => $members,)*)?
                    $(Self::$inner(inner) => $crate::base::problem::Problem::members(inner),)*
                    _ => serde_json::Map::new(),
                }
            }

            fn headers(&self) -> Vec<(http::HeaderName, String)> {
                match self {
                    $(Self::$inner(inner) => $crate::base::problem::Problem::headers(inner),)*
                    _ => Vec::new(),
                }
            }
        }
    };
}
pub(crate) use problem;

/// How an error looks to the client.
pub trait Problem: Error + Send + Sync + 'static {
    /// Returns the HTTP status.
    fn status(&self) -> StatusCode;

    /// Returns the stable machine-readable code, in `snake_case`.
    fn code(&self) -> &'static str;

    /// Returns a text for the client beyond the code. The default is `None` for a 5xx. For a 5xx a
    /// text is never shown.
    fn detail(&self) -> Option<String> {
        (!self.status().is_server_error()).then(|| self.to_string())
    }

    /// Returns how long the client must wait before it may try again.
    fn retry_after(&self) -> Option<Duration> {
        None
    }

    /// Returns the `WWW-Authenticate` challenge. Every 401 has one.
    fn challenge(&self) -> Option<String> {
        challenge_of(self.status())
    }

    /// Returns members beyond the standard ones, such as the invalid fields of a form.
    fn members(&self) -> serde_json::Map<String, serde_json::Value> {
        serde_json::Map::new()
    }

    /// Returns additional headers.
    fn headers(&self) -> Vec<(HeaderName, String)> {
        Vec::new()
    }

    /// Returns where to redirect a browser instead, for a guard that sends people to a login page.
    fn location(&self) -> Option<String> {
        None
    }
}

/// A failed request: any [`Problem`], ready to be sent as an answer. Cheap to clone.
#[derive(Clone)]
pub struct Rejection(Arc<dyn Problem>);

impl Error for Rejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.problem().source()
    }
}

impl Rejection {
    /// Wraps a problem. If a hook of the application refused, the result is the hook's own problem,
    /// whatever error of a flow contains it.
    pub fn new(problem: impl Problem) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&problem);
        while let Some(error) = cause {
            if let Some(refusal) = error.downcast_ref::<Refusal>() {
                return refusal.0.clone();
            }
            cause = error.source();
        }
        Self(Arc::new(problem))
    }

    /// Returns the problem that went wrong.
    pub fn problem(&self) -> &dyn Problem {
        &*self.0
    }

    /// Returns the problem, if it has this type.
    pub fn downcast_ref<P: Problem>(&self) -> Option<&P> {
        let error: &(dyn Error + 'static) = self.problem();
        error.downcast_ref()
    }

    /// Returns what the client is told, for an answer in the application's own format. It contains
    /// nothing private: a 5xx has no detail.
    pub fn document(&self) -> Document {
        let problem = self.problem();
        let status = problem.status();
        let mut members = problem.members();
        if !members.is_empty() {
            // Portcullis writes the standard members, each exactly once.
            for name in ["code", "detail", "status", "title", "type"] {
                members.remove(name);
            }
        }
        Document {
            code: problem.code(),
            detail: problem.detail().filter(|_| !status.is_server_error()),
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or("Error"),
            r#type: "about:blank",
            members,
        }
    }

    /// Returns the error with all its causes, on one line. It is for the log, never for the client.
    ///
    /// It may name hosts, users and statements, and its text may come from anywhere. Log the
    /// `Debug` form of the text, which escapes line breaks.
    pub fn private_cause(&self) -> String {
        ErrorChain(self.problem()).to_string()
    }

    /// Builds the answer, with the body type that the caller's stack needs.
    pub(crate) fn response(&self) -> http::Response<Body> {
        let problem = self.problem();
        if let Some(location) = problem.location().and_then(|l| HeaderValue::try_from(l).ok()) {
            return self.redirect(location);
        }
        let status = problem.status();
        // Anyone can cause this as often as they like. The code that refuses it logs it rarely, so
        // one line per answer would only fill the log.
        if status.is_server_error() && problem.code() != OVERLOADED {
            tracing::error!(target: "portcullis", code = problem.code(), error = ?self.private_cause(), "request failed");
        }
        let body = self.document();
        let body = serde_json::to_vec(&body).expect("strings, numbers and JSON values serialize");

        let mut response = http::Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = problem.challenge().and_then(|c| HeaderValue::try_from(c).ok()) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(wait) = problem.retry_after() {
            // Rounded up, so that a client that waits this long is not too early.
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            headers.insert(RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(1)));
        }
        for (name, value) in problem.headers() {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        response.extensions_mut().insert(self.clone());
        response
    }

    /// Builds the answer that redirects a browser. It has no body, because a problem in it would
    /// state another status than the answer.
    fn redirect(&self, location: HeaderValue) -> http::Response<Body> {
        let mut response = http::Response::new(Body::empty());
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.extensions_mut().insert(self.clone());
        see_other(response, location)
    }
}

/// Writes a refusal as programs read it that speak OAuth 2.0 (RFC 6749, section 5.2). Status and headers stay.
#[cfg(feature = "routes")]
pub(crate) fn as_oauth(mut response: http::Response<Body>) -> http::Response<Body> {
    let Some(rejection) = response.extensions().get::<Rejection>() else { return response };
    let document = rejection.document();
    let mut body = serde_json::json!({ "error": document.code });
    if let Some(detail) = document.detail {
        // The standard allows no others.
        let plain = |found: char| matches!(found, ' '..='~') && !matches!(found, '"' | '\\');
        let text: String = detail.chars().filter(|found| plain(*found)).collect();
        body["error_description"] = text.into();
    }
    *response.body_mut() = Body::from(body.to_string());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().remove(CONTENT_LENGTH);
    response
}

/// Replaces the challenge of a refusal where no bearer token is accepted. The new challenge asks
/// for a session cookie.
///
/// RFC 9110 (section 15.5.2) requires a challenge with every 401. No registered scheme exists for
/// the cookie of a sign-in form. `POST /login` understands `Basic`, but a browser then asks for the
/// password in its own window, also for a `fetch`. `Bearer` is wrong, because a client would look
/// for a token that is never accepted.
///
/// So the scheme is `Cookie`, as in draft-broyer-http-cookie-auth. A client that does not know it
/// treats it as a challenge that it cannot satisfy, which is correct. The parameters of RFC 9470
/// for a step-up are kept.
pub(crate) fn challenge_by_cookie<B>(response: &mut http::Response<B>, cookie_name: &str) {
    // Only answers that portcullis wrote. Other answers belong to the application.
    if response.extensions().get::<Rejection>().is_none() {
        return;
    }
    let headers = response.headers_mut();
    let challenge = headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
    let Some(parameters) = challenge.and_then(|text| text.strip_prefix(BEARER)) else { return };
    let separator = if parameters.is_empty() { "" } else { "," };
    let challenge = format!("Cookie cookie-name=\"{cookie_name}\"{separator}{parameters}");
    if let Ok(challenge) = HeaderValue::try_from(challenge) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
}

/// Returns the challenge of the scheme for tokens that are bound to a key (RFC 9449 section 7.1), with these
/// parameters of another challenge.
pub(crate) fn dpop_challenge(parameters: &str, algorithms: &[&str]) -> String {
    let separator = if parameters.is_empty() { "" } else { "," };
    format!("DPoP algs=\"{}\"{separator}{parameters}", algorithms.join(" "))
}

/// Replaces the challenge of a refusal for a client whose token is bound to a key.
pub(crate) fn challenge_by_key<B>(response: &mut http::Response<B>, algorithms: &[&str]) {
    if response.extensions().get::<Rejection>().is_none() {
        return;
    }
    let headers = response.headers_mut();
    let challenge = headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
    let Some(parameters) = challenge.and_then(|text| text.strip_prefix(BEARER)) else { return };
    if let Ok(challenge) = HeaderValue::try_from(dpop_challenge(parameters, algorithms)) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
}

/// Turns an answer into a redirect for a browser. It keeps the cookies and limits, and removes the
/// body.
pub(crate) fn see_other(
    mut response: http::Response<Body>,
    location: HeaderValue,
) -> http::Response<Body> {
    *response.status_mut() = StatusCode::SEE_OTHER;
    *response.body_mut() = Body::empty();
    let headers = response.headers_mut();
    for gone in [CONTENT_TYPE, CONTENT_LENGTH, WWW_AUTHENTICATE] {
        headers.remove(gone);
    }
    headers.insert(LOCATION, location);
    response
}

/// The refusal of a hook of the application, with its own problem. As a [`Rejection`] it is exactly
/// that problem, whatever error of a flow contains it.
#[derive(Debug, Clone)]
pub struct Refusal(Rejection);

impl Refusal {
    /// Creates a refusal with a status, a stable code and a sentence for the client. A status that
    /// is not an error becomes 403.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let tells = status.is_client_error() || status.is_server_error();
        let status = if tells { status } else { StatusCode::FORBIDDEN };
        Self::of(Plain { status, code, detail: detail.into() })
    }

    /// Creates a refusal from your own problem type. [`Rejection::downcast_ref`] finds it in the
    /// response's extensions.
    pub fn of(problem: impl Problem) -> Self {
        Self(Rejection::new(problem))
    }

    /// Returns the problem.
    pub fn problem(&self) -> &dyn Problem {
        self.0.problem()
    }
}

/// Lets your own handler pass the refusal on.
impl Problem for Refusal {
    fn status(&self) -> StatusCode {
        self.problem().status()
    }

    fn code(&self) -> &'static str {
        self.problem().code()
    }

    fn retry_after(&self) -> Option<Duration> {
        self.problem().retry_after()
    }

    fn challenge(&self) -> Option<String> {
        self.problem().challenge()
    }

    fn members(&self) -> serde_json::Map<String, serde_json::Value> {
        self.problem().members()
    }

    fn headers(&self) -> Vec<(HeaderName, String)> {
        self.problem().headers()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.problem().source()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
struct Plain {
    status: StatusCode,
    code: &'static str,
    detail: String,
}

impl Problem for Plain {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn code(&self) -> &'static str {
        self.code
    }
}

/// Problem details as they are written (RFC 9457), see [`Rejection::document`].
// Refusals are written often, so this is a struct and not a map.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct Document {
    /// The stable code.
    pub code: &'static str,
    /// What went wrong, as a text for people. `None` for a 5xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The HTTP status.
    pub status: u16,
    /// The name of the status.
    pub title: &'static str,
    /// Always `about:blank`, because the code identifies the problem.
    pub r#type: &'static str,
    /// Further members, such as the invalid fields of a form.
    #[serde(flatten)]
    pub members: serde_json::Map<String, serde_json::Value>,
}

impl<P: Problem> From<P> for Rejection {
    fn from(problem: P) -> Self {
        Self::new(problem)
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rejection").field(&self.0).finish()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        self.response()
    }
}

/// An error with its causes on one line, for the log. Its text may come from anywhere, so it is
/// logged in its `Debug` form, which escapes what could forge a log line.
pub(crate) struct ErrorChain<'a, E: ?Sized>(pub(crate) &'a E);

impl<E: Error + ?Sized> fmt::Display for ErrorChain<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

/// The cause of an error that is not for the client: it may name hosts, users and statements. Only
/// the log shows it, as a cause ([`Error::source`], [`Rejection::private_cause`]).
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct PrivateCause(String);

impl From<String> for PrivateCause {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for PrivateCause {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the shelf is full")]
    struct Full(#[source] fmt::Error);

    impl Problem for Full {
        fn status(&self) -> StatusCode {
            StatusCode::CONFLICT
        }

        fn code(&self) -> &'static str {
            "shelf_full"
        }
    }

    /// So an own handler can use `?` with `Box<dyn Error>`, and log the error with its causes.
    #[test]
    fn a_rejection_is_an_error_with_the_text_and_the_cause_of_its_problem() {
        fn fails() -> Result<(), Box<dyn Error + Send + Sync>> {
            Err(Rejection::new(Full(fmt::Error)))?
        }
        let error = fails().expect_err("it fails");
        assert_eq!(error.to_string(), "the shelf is full");
        let cause = error.source().expect("a cause");
        assert!(cause.is::<fmt::Error>(), "{cause:?}");
        let rejection = error.downcast_ref::<Rejection>().expect("the same type");
        assert!(rejection.downcast_ref::<Full>().is_some());
        assert_eq!(rejection.document().code, "shelf_full");
    }
}
