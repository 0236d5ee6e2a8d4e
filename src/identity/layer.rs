//! The layer that adds the lazy handle to each request.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{CACHE_CONTROL, EXPIRES, VARY};
use http::{HeaderValue, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::base::problem::{challenge_by_cookie, challenge_by_key};
use crate::dpop::{ALGORITHMS, NONCE_HEADER};
use crate::handle::Portcullis;
use crate::identity::request_identity::RequestIdentity;
use crate::identity::resolver::Resolver;

impl Portcullis {
    /// Returns the layer. Add it once, outside of every route and layer that needs to know the
    /// user. It rejects no request and runs no statement itself.
    pub fn layer(&self) -> AuthLayer {
        AuthLayer { auth: self.clone(), resolver: self.per_instance() }
    }
}

/// See [`Portcullis::layer`].
#[derive(Clone)]
pub struct AuthLayer {
    auth: Portcullis,
    resolver: Arc<Resolver>,
}

impl fmt::Debug for AuthLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AuthLayer").field(&self.auth).finish()
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = AuthService<S>;

    fn layer(&self, inner: S) -> AuthService<S> {
        AuthService { inner, layer: self.clone() }
    }
}

/// The service that [`AuthLayer`] creates.
#[derive(Debug, Clone)]
pub struct AuthService<S> {
    inner: S,
    layer: AuthLayer,
}

impl<S, B, R> Service<Request<B>> for AuthService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let known = request.extensions().get::<Arc<RequestIdentity>>();
        if known.is_some_and(|request_identity| request_identity.auth().is_same(&self.layer.auth)) {
            // A layer of the same instance is further out, and it does the work.
            return ResponseFuture { inner: self.inner.call(request), request_identity: None };
        }
        let request_identity = Arc::new(RequestIdentity::new(
            &self.layer.auth,
            &self.layer.resolver,
            request.method(),
            request.uri(),
            request.version(),
            request.headers(),
            request.extensions(),
        ));
        request.extensions_mut().insert(Arc::clone(&request_identity));
        ResponseFuture { inner: self.inner.call(request), request_identity: Some(request_identity) }
    }
}

pin_project! {
    /// The future of [`AuthService`].
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        request_identity: Option<Arc<RequestIdentity>>,
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = std::task::ready!(this.inner.poll(cx));
        let Some(request_identity) = this.request_identity.take() else {
            return Poll::Ready(result);
        };
        // From here on, no new token can be made for this request.
        let action = request_identity.seal(result.as_ref().ok().map(Response::status));
        let mut response = result?;
        if let Some(action) = action {
            request_identity.cookie().apply(response.headers_mut(), action);
        }
        let config = &request_identity.auth().context().config;
        // An API key is shown as a bearer token.
        let told = config.service.bearer || config.api_key.prefix.is_some();
        if !told && response.status() == StatusCode::UNAUTHORIZED {
            challenge_by_cookie(&mut response, &config.cookie_name());
        }
        if request_identity.shows_bound_token() && response.status() == StatusCode::UNAUTHORIZED {
            challenge_by_key(&mut response, &ALGORITHMS);
        }
        let headers = response.headers_mut();
        if let Some(nonce) = request_identity.next_nonce() {
            headers.insert(NONCE_HEADER, nonce);
        }
        if request_identity.resolved().is_some() {
            // The answer depends on the user, so a cache must not give it to someone else.
            vary(headers, "cookie, authorization");
            let own = config.api_key.header.as_deref().filter(|_| config.api_key.prefix.is_some());
            if let Some(name) = own.and_then(|name| HeaderValue::from_str(name).ok()) {
                headers.append(VARY, name);
            }
        }
        if request_identity.was_asked_how() {
            vary(headers, "sec-fetch-mode, accept");
        }
        // Set here and not by the guards, because an extractor can require a user as well.
        let said = headers.contains_key(CACHE_CONTROL) || headers.contains_key(EXPIRES);
        if request_identity.keeps_the_answer_private() && !said {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        Poll::Ready(Ok(response))
    }
}

/// Adds these header names to `Vary`, unless it starts with them already.
fn vary(headers: &mut http::HeaderMap, names: &'static str) {
    let said = |value: &HeaderValue| value.as_bytes().starts_with(names.as_bytes());
    if !headers.get_all(VARY).iter().any(said) {
        headers.append(VARY, HeaderValue::from_static(names));
    }
}
