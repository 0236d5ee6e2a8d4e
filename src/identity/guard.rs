//! Guards: a requirement as a layer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum_core::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use crate::base::problem::{Problem, Rejection};
use crate::base::redirect::ReturnTo;
use crate::config::Unauthenticated;
use crate::handle::Portcullis;
use crate::identity::Identity;
use crate::identity::error::AuthError;
use crate::identity::extract::{decide, slot};
use crate::identity::requirement::Requirement;
use crate::identity::slot::{Resolved, Slot};

impl Portcullis {
    /// A layer that lets through only who meets `requirement`. Put it on routes with
    /// `route_layer`; it needs [`Portcullis::layer`] further out.
    ///
    /// Nobody signed in is 401, or a redirect to the login page as configured; a requirement that
    /// is not met is 403. `OPTIONS` passes: it acts on nothing and a browser's preflight carries
    /// no credential.
    pub fn require(&self, requirement: Requirement) -> Require {
        Require { requirement, instance: Instance::Whole }
    }
}

/// Finds the id of the instance a request is about.
type FindId = dyn Fn(&Parts) -> Option<String> + Send + Sync;

#[derive(Clone)]
enum Instance {
    Whole,
    #[cfg(feature = "routes")]
    Path(Arc<str>),
    Custom(Arc<FindId>),
}

/// A guard, see [`Portcullis::require`].
#[derive(Clone)]
#[must_use = "a guard guards what it is layered around"]
pub struct Require {
    requirement: Requirement,
    instance: Instance,
}

impl Require {
    /// Asks for the permission on the one instance that the route's path parameter names:
    /// `doc:read` on `/docs/{id}` asks for `doc:read:42`. An id with permission syntax in it is
    /// 404: no such thing can exist.
    #[cfg(feature = "routes")]
    pub fn on_path(mut self, parameter: &str) -> Self {
        self.instance = Instance::Path(parameter.into());
        self
    }

    /// The same with the id from anywhere in the request; `None` is 404.
    pub fn on(mut self, id: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        self.instance = Instance::Custom(Arc::new(id));
        self
    }

    async fn admit(&self, parts: &mut Parts) -> Result<(), Rejection> {
        let slot = slot(&parts.extensions)?;
        // First this: who is not signed in learns nothing about which ids can exist.
        let identity = signed_in(&slot, parts).await?;
        let id = match &self.instance {
            Instance::Whole => {
                return Ok(decide(&slot, &identity, &self.requirement, &self.requirement)?);
            }
            #[cfg(feature = "routes")]
            Instance::Path(name) => path_parameter(parts, name).await?,
            Instance::Custom(find) => find(parts),
        };
        let asked = id.and_then(|id| self.requirement.on(&id).ok());
        let asked = asked.ok_or(AuthError::NoSuchInstance)?;
        // The rule that is noted is the route's: with the id in it, whoever tries many ids would
        // fill the audit log.
        Ok(decide(&slot, &identity, &asked, &self.requirement)?)
    }
}

/// A parameter of the route's path; none when it is no text.
#[cfg(feature = "routes")]
async fn path_parameter(parts: &mut Parts, name: &str) -> Result<Option<String>, AuthError> {
    use axum::extract::rejection::RawPathParamsRejection;
    use axum::extract::{FromRequestParts, RawPathParams};

    let found = match RawPathParams::from_request_parts(parts, &()).await {
        Ok(params) => {
            params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        }
        Err(RawPathParamsRejection::InvalidUtf8InPathParam(_)) => return Ok(None),
        Err(_) => None,
    };
    match found {
        Some(value) => Ok(Some(value)),
        None => Err(AuthError::Misconfigured(format!(
            "`.on_path({name:?})`: the route has no such parameter, or the guard is not on the \
             route (use `route_layer`)"
        ))),
    }
}

impl fmt::Debug for Require {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Require").field(&self.requirement).finish()
    }
}

/// The identity of a request that meets a requirement.
pub(crate) async fn admit(
    slot: &Slot,
    requirement: &Requirement,
    parts: &Parts,
) -> Result<Identity, Rejection> {
    let identity = signed_in(slot, parts).await?;
    decide(slot, &identity, requirement, requirement)?;
    Ok(identity)
}

async fn signed_in(slot: &Slot, parts: &Parts) -> Result<Identity, Rejection> {
    match slot.resolve().await? {
        Resolved::Full(identity) => Ok(identity.clone()),
        other => {
            let error = AuthError::NotSignedIn(other.not_signed_in());
            Err(match login_page(slot, parts) {
                Some(location) => Rejection::new(ToLogin { error, location }),
                None => error.into(),
            })
        }
    }
}

/// Where to send a browser that wants a page and is not signed in, if that is configured.
fn login_page(slot: &Slot, parts: &Parts) -> Option<String> {
    let Unauthenticated::LoginPage(page) = &slot.auth().context().config.service.unauthenticated
    else {
        return None;
    };
    let asks_for_a_page = matches!(parts.method, Method::GET | Method::HEAD)
        && parts
            .headers
            .get_all(http::header::ACCEPT)
            .iter()
            .any(|accept| accept.to_str().is_ok_and(prefers_html));
    if !asks_for_a_page {
        return None;
    }
    let uri = original_uri(parts);
    let here = uri.path_and_query().map_or("/", |path| path.as_str());
    let separator = if page.contains('?') { '&' } else { '?' };
    Some(match ReturnTo::parse(here) {
        Some(next) => format!("{page}{separator}next={}", next.as_query_value()),
        None => page.clone(),
    })
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

impl<S> Layer<S> for Require {
    type Service = RequireService<S>;

    fn layer(&self, inner: S) -> RequireService<S> {
        RequireService { inner, guard: Arc::new(self.clone()) }
    }
}

/// The service that [`Require`] makes.
#[derive(Debug, Clone)]
pub struct RequireService<S> {
    inner: S,
    guard: Arc<Require>,
}

impl<S, B, R> Service<Request<B>> for RequireService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Send + 'static,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<axum_core::BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The service that was polled ready is the one to call; its clone waits for the next.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let guard = Arc::clone(&self.guard);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            if parts.method != Method::OPTIONS
                && let Err(rejection) = guard.admit(&mut parts).await
            {
                return Ok(rejection.response());
            }
            let response = inner.call(Request::from_parts(parts, body)).await?;
            Ok(response.map(Body::new))
        })
    }
}
