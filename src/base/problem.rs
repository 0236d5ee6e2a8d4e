//! Answers to failed requests: RFC 9457 problem details with a stable `code`.
//!
//! Every capability has its own small error type and says through [`Problem`] how it looks from
//! outside. At the door all of them become a [`Rejection`], the only thing here that renders. The
//! typed error stays in the response's extensions (as a `Rejection`) so that an outer layer of the
//! host can answer in its own style, with what [`Rejection::document`] says.
//!
//! What an error is called (`Display`), its [`detail`](Problem::detail) and its document are for the
//! client. What lies behind it, such as the address of a directory that did not answer, is for the log:
//! [`Rejection::private_cause`].

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

/// The code of what is refused because too much is under way. Who refuses it tells the operator once a
/// minute; each answer is no line in the log.
const OVERLOADED: &str = "overloaded";

/// The scheme of a challenge, unless [`challenge_by_cookie`] says otherwise.
const BEARER: &str = "Bearer";

/// The challenge that goes with a status: every 401 has one.
pub(crate) fn challenge_of(status: StatusCode) -> Option<String> {
    (status == StatusCode::UNAUTHORIZED).then(|| BEARER.to_owned())
}

/// The challenge of an answer that asks for a factor not older than this (RFC 9470).
pub(crate) fn step_up_challenge(max_age: Duration) -> String {
    format!(
        "{BEARER} error=\"insufficient_user_authentication\", max_age=\"{}\"",
        max_age.as_secs()
    )
}

/// Writes [`Problem`] for an error: a row for each variant of its own, the variants that pass on what is
/// inside of them, and what else an own variant says. So no error forgets a part of what it passes on.
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
    /// The HTTP status.
    fn status(&self) -> StatusCode;

    /// The stable machine-readable code, in `snake_case`.
    fn code(&self) -> &'static str;

    /// What to tell the client beyond the code. None for a 5xx, and if there is one it is not
    /// shown.
    fn detail(&self) -> Option<String> {
        (!self.status().is_server_error()).then(|| self.to_string())
    }

    /// When the client may try again.
    fn retry_after(&self) -> Option<Duration> {
        None
    }

    /// The `WWW-Authenticate` challenge; every 401 has one.
    fn challenge(&self) -> Option<String> {
        challenge_of(self.status())
    }

    /// Members besides the standard ones, such as the fields of a form that are wrong.
    fn members(&self) -> serde_json::Map<String, serde_json::Value> {
        serde_json::Map::new()
    }

    /// Headers besides those above.
    fn headers(&self) -> Vec<(HeaderName, String)> {
        Vec::new()
    }

    /// Where to send a browser instead, for a guard that answers with a login page.
    fn location(&self) -> Option<String> {
        None
    }
}

/// A failed request: any [`Problem`], ready to be an answer. Cheap to clone.
#[derive(Clone)]
pub struct Rejection(Arc<dyn Problem>);

impl Error for Rejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.problem().source()
    }
}

impl Rejection {
    /// Wraps a problem. Where a hook of the application's refused, whatever flow that ended, it is
    /// the hook's own.
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

    /// What went wrong.
    pub fn problem(&self) -> &dyn Problem {
        &*self.0
    }

    /// The problem, if it is of this type.
    pub fn downcast_ref<P: Problem>(&self) -> Option<&P> {
        let error: &(dyn Error + 'static) = self.problem();
        error.downcast_ref()
    }

    /// What the client is told, for an answer in a style of the application's own. Nothing in it is
    /// private: a 5xx has no detail.
    pub fn document(&self) -> Document {
        let problem = self.problem();
        let status = problem.status();
        let mut members = problem.members();
        if !members.is_empty() {
            // The standard members are ours to write, each once.
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

    /// The error with everything that lies behind it, on one line: for the log, never for the client.
    /// It may name hosts, users and statements, and its words may come from anywhere; log it as the
    /// `Debug` form of its text.
    pub fn private_cause(&self) -> String {
        ErrorChain(self.problem()).to_string()
    }

    /// The answer, with any body type the caller's stack wants.
    pub(crate) fn response(&self) -> http::Response<Body> {
        let problem = self.problem();
        if let Some(location) = problem.location().and_then(|l| HeaderValue::try_from(l).ok()) {
            return self.redirect(location);
        }
        let status = problem.status();
        // What anybody can bring about as often as they like is told by who refuses it, seldom.
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
            // Rounded up: a client that waits as told is not early.
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

    /// The answer to a browser that is sent elsewhere. Without a body: a problem in it would have
    /// another status than the answer.
    fn redirect(&self, location: HeaderValue) -> http::Response<Body> {
        let mut response = http::Response::new(Body::empty());
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.extensions_mut().insert(self.clone());
        see_other(response, location)
    }
}

/// Says in the challenge of a refusal that a session cookie is asked for, where no bearer token is taken.
///
/// RFC 9110 (section 15.5.2) wants a challenge with every 401, and names no registered scheme for a cookie
/// of a sign-in form. `Basic` would be one that `POST /login` understands, but it makes a browser ask for the
/// password in a window of its own, also for a `fetch`. `Bearer` is wrong: a client would look for a token
/// that is never taken. So the scheme is `Cookie`, the one of draft-broyer-http-cookie-auth. Who does not know
/// it takes it as one that they cannot satisfy, which is right. What RFC 9470 adds for a step-up stays.
pub(crate) fn challenge_by_cookie<B>(response: &mut http::Response<B>, cookie_name: &str) {
    // Only of what is written here: an answer of the application's is theirs.
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

/// The same answer as a redirect, for a browser: its cookies and limits stay, its body goes.
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

/// What a hook of the application's refuses with: its own problem. As a [`Rejection`] it is exactly
/// that problem, whatever error of a flow carried it.
#[derive(Debug, Clone)]
pub struct Refusal(Rejection);

impl Refusal {
    /// Refuses with this status, stable code and sentence for the client. A status that tells of no
    /// error is taken as 403.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let tells = status.is_client_error() || status.is_server_error();
        let status = if tells { status } else { StatusCode::FORBIDDEN };
        Self::of(Plain { status, code, detail: detail.into() })
    }

    /// Refuses with a problem of a type of one's own, to be found in the response's extensions by
    /// [`Rejection::downcast_ref`].
    pub fn of(problem: impl Problem) -> Self {
        Self(Rejection::new(problem))
    }

    /// What it says.
    pub fn problem(&self) -> &dyn Problem {
        self.0.problem()
    }
}

/// So that a handler of one's own passes it on.
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
// A refusal is written often; this makes no map of it.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct Document {
    /// The stable code.
    pub code: &'static str,
    /// What went wrong, for people. None for a 5xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The HTTP status.
    pub status: u16,
    /// What the status is called.
    pub title: &'static str,
    /// `about:blank`: the code says it.
    pub r#type: &'static str,
    /// Further members, such as the fields of a form that are wrong.
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

/// An error with its causes on one line, for the log. Its words may come from anywhere, so it is
/// logged as the `Debug` form of its text, which escapes what could forge a line.
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

/// What lies behind an error and is not for the client: it may name hosts, users and statements. Only
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
