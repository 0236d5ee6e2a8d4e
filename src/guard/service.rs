//! The service that all guards share. It checks a request, and calls the inner service only if the
//! check passes.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum_core::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use tower_service::Service;

use crate::base::problem::Rejection;

/// Decides whether a request may reach the inner service, before its body is read. It may put what
/// it finds into the extensions of the request. An error is the answer.
pub(crate) trait Admit: fmt::Debug + Send + Sync + 'static {
    fn admit<'a>(&'a self, parts: &'a mut Parts) -> Admitting<'a>;

    /// Returns what looks at the status of the answer, for a request that was let through.
    fn watch(&self, _: &Parts) -> Option<Watch> {
        None
    }
}

pub(crate) type Watch = Box<dyn FnOnce(StatusCode) + Send>;

pub(crate) type Admitting<'a> = Pin<Box<dyn Future<Output = Result<(), Rejection>> + Send + 'a>>;

/// The service that a guard makes from the inner service.
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    inner: S,
    guard: Arc<dyn Admit>,
}

impl<S> Guarded<S> {
    pub(crate) fn new(inner: S, guard: impl Admit) -> Self {
        Self { inner, guard: Arc::new(guard) }
    }
}

impl<S, B, R> Service<Request<B>> for Guarded<S>
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
        // Only the service that was polled ready may be called. Its clone stays for the next
        // request.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let guard = Arc::clone(&self.guard);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            if let Err(rejection) = guard.admit(&mut parts).await {
                return Ok(rejection.response());
            }
            let watch = guard.watch(&parts);
            let response = inner.call(Request::from_parts(parts, body)).await?;
            if let Some(watch) = watch {
                watch(response.status());
            }
            Ok(response.map(Body::new))
        })
    }
}
