//! Reading the bodies and queries of mounted routes: JSON, and forms from pages of this service.

use axum::extract::{FromRequest, Request};
use axum_core::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::error::{MAX_BODY_BYTES, RouteError};
use crate::base::problem::Rejection;
use crate::base::same_origin::Facts;
use crate::handle::Portcullis;
use crate::identity::refused::{Compared, Refused};
use crate::identity::request_identity::RequestIdentity;

/// A body in JSON.
pub(crate) struct Json<T>(pub(crate) T);

/// A body in JSON, or a form that a page of this service sent.
pub(crate) struct JsonOrForm<T>(pub(crate) T);

/// The same, or no body at all.
pub(crate) struct OptionalBody<T>(pub(crate) Option<T>);

/// The parameters of a form that a program sends. It needs no proof of its origin, so the route must not act
/// for a session of a browser.
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Returns the name of a parameter that was sent twice, if there is one. RFC 6749 (section 3.1) forbids
    /// it, because two programs on the way could believe different ones.
    pub(crate) fn has_repeated(&self) -> bool {
        let names: std::collections::BTreeSet<_> = self.0.iter().map(|(name, _)| name).collect();
        names.len() < self.0.len()
    }

    /// Returns all of them.
    #[cfg(feature = "federation")]
    pub(crate) fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }

    /// Returns a parameter. An empty one counts as not sent (RFC 6749, section 3.1).
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(found, value)| found == name && !value.is_empty())?;
        Some(self.0.swap_remove(at).1)
    }
}

impl FromRequest<Portcullis> for Parameters {
    type Rejection = Rejection;

    async fn from_request(request: Request, _: &Portcullis) -> Result<Self, Rejection> {
        let (parts, body) = request.into_parts();
        let body = read(&parts.headers, body).await?;
        if !is_form(&parts.headers) {
            let form = "application/x-www-form-urlencoded";
            return Err(RouteError::UnsupportedMediaType(form).into());
        }
        Ok(Self(from_form(&body)?))
    }
}

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
        // send one anyway.
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

/// A form without proof that a page of this service sent it. Any site can send a form without asking
/// first, so it is not enough that nothing contradicts.
struct UnprovedForm(Compared);

impl UnprovedForm {
    /// Returns the refusal, and reports it to the operator.
    fn refuse(self, auth: &Portcullis) -> Rejection {
        auth.note_refused(Refused::FormWithoutProof, &self.0);
        RouteError::UnsupportedMediaType(JSON_OR_FORM).into()
    }
}

/// Returns what the body is: JSON or a form.
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

/// Returns the media type of the body, if it is a known one. Two headers, or a charset other than
/// UTF-8, are not accepted.
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

/// Returns whether a session is remembered. A browser sends nothing for a box that is not ticked, so a
/// form without the field says no. A client that sends JSON, and leaves it out, has not asked its user.
pub(crate) fn remembers(remember: Option<bool>, headers: &HeaderMap) -> bool {
    remember.unwrap_or(!is_form(headers))
}

/// True if the body is a form.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    matches!(media_type(headers), Some(MediaType::Form))
}

/// Reads a whole body, if it is not too large.
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
    // serde would also accept an array with the fields in the order of their declaration.
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

/// Reads the parameters of a query. Each may appear once. An unknown one is refused like an unknown
/// field of a body.
pub(crate) fn query<T: DeserializeOwned>(query: Option<&str>) -> Result<T, RouteError> {
    from_form(query.unwrap_or_default().as_bytes())
}

/// Returns what serde says is wrong, but only if it names a field. A text with a value is never
/// shown, because the value may be a password.
fn named(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    for start in ["unknown field", "missing field", "duplicate field"] {
        if text.starts_with(start) {
            return text.chars().take(200).collect();
        }
    }
    "a field of the body has the wrong type".to_owned()
}
