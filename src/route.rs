//! What all mounted routes share: reading bodies, the same-origin check and the headers of answers.
//!
//! Routes contain no rule of a capability. They parse the request, call the flow and answer.

use std::net::IpAddr;

use axum::Router;
use axum::extract::{FromRequest, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum_core::body::Body;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::{Extensions, HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::base::problem::{Rejection, problem};
use crate::base::same_origin::Facts;
use crate::handle::Portcullis;
use crate::identity::AuthError;
use crate::identity::credential::address_of;
use crate::identity::refused::{Compared, Refused};
use crate::identity::request_identity::RequestIdentity;
use crate::rate_limit::Quota;
use crate::session::{Issued, SessionError, Stage, Transport};

/// The maximum size of a request body, in bytes. No mounted route needs a larger one.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// Why a request to a mounted route could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RouteError {
    /// 415: the body has another media type, or is a form without proof of its origin.
    #[error("send {0}")]
    UnsupportedMediaType(&'static str),
    /// 413: the body is too large.
    #[error("the body may have at most {MAX_BODY_BYTES} bytes")]
    TooLarge,
    /// 400: the body or the query is invalid.
    #[error("{0}")]
    InvalidBody(String),
    /// 400: renewing tokens is switched off.
    #[error("tokens are not renewed here; sign in again when this one has expired")]
    RefreshOff,
    /// 405: the path exists, but not with this method.
    #[error("this path does not take this method")]
    MethodNotAllowed,
    /// 500: the route panicked.
    #[error("the request ended in a fault of this program")]
    Internal,
}

problem! {
    RouteError {
        Self::UnsupportedMediaType(_) => UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type";
        Self::TooLarge => PAYLOAD_TOO_LARGE, "body_too_large";
        Self::InvalidBody(_) => BAD_REQUEST, "invalid_body";
        Self::RefreshOff => BAD_REQUEST, "refresh_not_enabled";
        Self::MethodNotAllowed => METHOD_NOT_ALLOWED, "method_not_allowed";
        Self::Internal => INTERNAL_SERVER_ERROR, "internal_error";
    }
    passes on {  }
}

/// Finishes the routes of a capability. They bring their own layer and state, so that an
/// application only has to nest them.
pub(crate) fn mount<S: Clone + Send + Sync + 'static>(
    auth: &Portcullis,
    capability: &'static str,
    router: Router<Portcullis>,
) -> Router<S> {
    auth.mount(capability);
    auth.mark_own_routes(capability, router)
        .method_not_allowed_fallback(async || Rejection::new(RouteError::MethodNotAllowed))
        .layer(from_fn_with_state(auth.clone(), shield))
        .layer(auth.layer())
        .with_state(auth.clone())
}

/// Refuses requests that another site sent, with or without a cookie. Without a cookie, the site
/// could still sign its visitor in to an account of the attacker (login CSRF). No cache may store
/// an answer.
///
/// The request runs in a separate task. If the client disconnects, the request stops, unless it has
/// opened a transaction: then it runs to its end. A panic becomes a 500.
async fn shield(State(auth): State<Portcullis>, request: Request, next: Next) -> Response {
    let flow = auth.clone();
    let ended =
        auth.context().database.run_to_end(async move { shielded(flow, request, next).await });
    let mut response = match ended.await {
        Ok(response) => response,
        Err(died) => {
            let code = "route_panicked";
            tracing::error!(target: "portcullis", code, error = %died, "a mounted route panicked");
            Rejection::new(RouteError::Internal).into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.append(VARY, HeaderValue::from_static("cookie, authorization, origin, sec-fetch-site"));
    response
}

/// Checks the origin, then the rate limit of the source, and then runs the route. So requests that
/// another site sent do not use up the limit.
async fn shielded(auth: Portcullis, request: Request, next: Next) -> Response {
    let same_origin = RequestIdentity::of(request.extensions()).and_then(|identity| {
        identity.check_same_origin(request.method(), request.uri(), request.headers())
    });
    let admitted = match same_origin {
        Ok(()) => match counted(&auth, request.headers(), request.extensions()) {
            Ok(Some((address, quota))) => {
                let limited = auth.rate_limits().source("source", address, quota).await;
                limited.map_err(AuthError::from)
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    match admitted {
        Ok(()) => next.run(request).await,
        Err(error) => Rejection::new(error).into_response(),
    }
}

/// Returns the address that a request counts for, if it is known, and the quota of a source. It
/// returns `None` if there is no such limit. It also marks the request, so that it is counted for
/// its account as soon as the account is known.
fn counted(
    auth: &Portcullis,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<Option<(Option<IpAddr>, Quota)>, AuthError> {
    RequestIdentity::of(extensions)?.counts_for_its_account();
    let quota = auth.context().config.rate.per_source;
    Ok(quota.map(|quota| (address_of(auth, headers, extensions), quota)))
}

/// A body in JSON.
pub(crate) struct Json<T>(pub(crate) T);

/// A body in JSON, or a form whose headers prove that a page of this service sent it.
pub(crate) struct JsonOrForm<T>(pub(crate) T);

/// The same as [`JsonOrForm`], or no body at all.
pub(crate) struct OptionalBody<T>(pub(crate) Option<T>);

impl<T: DeserializeOwned> FromRequest<Portcullis> for Json<T> {
    type Rejection = Rejection;

    async fn from_request(request: Request, _: &Portcullis) -> Result<Self, Rejection> {
        match media_type(request.headers()) {
            Some(MediaType::Json) => {}
            _ => return Err(RouteError::UnsupportedMediaType("application/json").into()),
        }
        let (parts, body) = request.into_parts();
        Ok(Self(from_json(&read(&parts.headers, body).await?)?))
    }
}

impl<T: DeserializeOwned> FromRequest<Portcullis> for JsonOrForm<T> {
    type Rejection = Rejection;

    async fn from_request(request: Request, auth: &Portcullis) -> Result<Self, Rejection> {
        let kind = json_or_form(&request)?.map_err(|unproved| unproved.refuse(auth))?;
        let (parts, body) = request.into_parts();
        Ok(Self(kind.read(&read(&parts.headers, body).await?)?))
    }
}

impl<T: DeserializeOwned> FromRequest<Portcullis> for OptionalBody<T> {
    type Rejection = Rejection;

    async fn from_request(request: Request, auth: &Portcullis) -> Result<Self, Rejection> {
        // The type is checked after the body was read. An empty body has no type, but many clients
        // send a `Content-Type` with it.
        let kind = match request.headers().contains_key(CONTENT_TYPE) {
            true => json_or_form(&request),
            false => Err(RouteError::UnsupportedMediaType("application/json").into()),
        };
        let (parts, body) = request.into_parts();
        let body = read(&parts.headers, body).await?;
        if body.is_empty() {
            return Ok(Self(None));
        }
        let kind = kind?.map_err(|unproved| unproved.refuse(auth))?;
        Ok(Self(Some(kind.read(&body)?)))
    }
}

const JSON_OR_FORM: &str = "application/json, or a form from a page of this origin";

/// A form without proof that a page of this service sent it. Any site can make a browser send a
/// form, without a CORS preflight. So it is not enough that no header names another site.
struct UnprovedForm(Compared);

impl UnprovedForm {
    /// Returns the refusal, and tells the operator about it.
    fn refuse(self, auth: &Portcullis) -> Rejection {
        auth.note_refused(Refused::FormWithoutProof, &self.0);
        RouteError::UnsupportedMediaType(JSON_OR_FORM).into()
    }
}

/// Returns the media type of the body: JSON, or a form. A form needs proof of its origin, unless
/// the only credential of the request is a token in a header. No browser adds such a token by
/// itself.
fn json_or_form(request: &Request) -> Result<Result<MediaType, UnprovedForm>, Rejection> {
    let kind =
        media_type(request.headers()).ok_or(RouteError::UnsupportedMediaType(JSON_OR_FORM))?;
    let request_identity = RequestIdentity::of(request.extensions())?;
    if matches!(kind, MediaType::Form) && !request_identity.has_only_a_token() {
        let facts = Facts::of(request.uri(), request.headers());
        if !request_identity.auth().context().same_origin.present_same_origin(&facts) {
            return Ok(Err(UnprovedForm(Compared::of(&facts))));
        }
    }
    Ok(Ok(kind))
}

enum MediaType {
    Json,
    Form,
}

impl MediaType {
    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, RouteError> {
        match self {
            Self::Json => from_json(body),
            Self::Form => from_form(body),
        }
    }
}

/// Returns the media type of the body, if it is a known one. It returns `None` for two headers, and
/// for every charset except UTF-8.
fn media_type(headers: &HeaderMap) -> Option<MediaType> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let text = value.to_str().ok()?.to_ascii_lowercase();
    let (essence, parameters) = text.split_once(';').unwrap_or((&text, ""));
    let utf8 = parameters.split(';').map(str::trim).all(|parameter| {
        parameter.is_empty()
            || parameter.split_once('=').is_some_and(|(name, value)| {
                name == "charset" && value.trim_matches('"') == "utf-8"
            })
    });
    match essence.trim() {
        _ if !utf8 => None,
        "application/json" => Some(MediaType::Json),
        "application/x-www-form-urlencoded" => Some(MediaType::Form),
        _ => None,
    }
}

/// True if the body is a form.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    matches!(media_type(headers), Some(MediaType::Form))
}

/// Reads the whole body. It is an error if the body is too large. The stated length is checked
/// first, so that nothing is read if it is already too large.
pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Rejection> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > MAX_BODY_BYTES as u64) {
        return Err(RouteError::TooLarge.into());
    }
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(RouteError::TooLarge.into()),
        Err(_) => Err(RouteError::InvalidBody("the body could not be read".to_owned()).into()),
    }
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, RouteError> {
    // serde would also read the fields from an array, in the order of their declaration.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(RouteError::InvalidBody("the body is not a JSON object".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| {
        RouteError::InvalidBody(match error.classify() {
            serde_json::error::Category::Data => named(&error),
            _ => "the body is not valid JSON".to_owned(),
        })
    })
}

fn from_form<T: DeserializeOwned>(body: &[u8]) -> Result<T, RouteError> {
    serde_urlencoded::from_bytes(body).map_err(|error| RouteError::InvalidBody(named(&error)))
}

/// Reads the parameters of a query. Each may occur at most once. An unknown parameter is refused
/// like an unknown field of a body.
pub(crate) fn query<T: DeserializeOwned>(query: Option<&str>) -> Result<T, RouteError> {
    from_form(query.unwrap_or_default().as_bytes())
}

/// Returns what serde says is wrong, but only if the text names a field. A text with a value is
/// replaced, because a value may be a password.
fn named(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    for start in ["unknown field", "missing field", "duplicate field"] {
        if text.starts_with(start) {
            return text.chars().take(200).collect();
        }
    }
    "a field of the body has the wrong type".to_owned()
}

/// Returns an error if a bearer token was requested and these are switched off. Call it before
/// anything is compared or counted.
pub(crate) fn check_transport(auth: &Portcullis, transport: Transport) -> Result<(), SessionError> {
    if transport == Transport::Bearer && !auth.context().config.service.bearer {
        return Err(SessionError::BearerOff);
    }
    Ok(())
}

/// Builds the answer to a sign-in. It carries the cookie or, for a bearer token, the token in the
/// body.
pub(crate) fn signed_in(status: StatusCode, issued: Issued) -> Response {
    let mut body = serde_json::json!({
        "result": if issued.stage() == Stage::Full { "session" } else { issued.stage().as_str() },
        "session_id": issued.session_id(),
        "expires_in": issued.expires_in().as_secs(),
    });
    if let Some(account) = issued.account_id() {
        body["account_id"] = account.to_string().into();
    }
    if let Some(token) = issued.token() {
        body["token"] = token.into();
        body["token_type"] = "Bearer".into();
    }
    if let Some(device) = issued.device_token() {
        body["device_token"] = device.into();
    }
    let stage = issued.stage();
    let mut response = (status, issued, json(&body)).into_response();
    // The layer that redirects a browser after a form reads the stage from here.
    response.extensions_mut().insert(stage);
    response
}

/// Builds an answer with a JSON body.
pub(crate) fn json(body: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
