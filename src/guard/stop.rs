//! Lets a test check the guards of a whole service without running its handlers.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

/// An extension of a request. It means: answer in the place of the handler. A client cannot send
/// it, and only this crate can create it.
#[derive(Clone)]
pub(crate) struct Ask;

/// An extension of an answer. It means: the guards let the request through, to the route with this
/// path.
#[derive(Clone)]
pub(crate) struct Reached(pub(crate) Option<String>);

/// True if the request comes from a test that checks the guards.
pub(crate) fn asks(extensions: &http::Extensions) -> bool {
    extensions.get::<Ask>().is_some()
}

/// Runs inside the guards of a route. It answers instead of the handler if a test asks for that.
pub(super) async fn stop(request: Request, next: Next) -> Response {
    if !asks(request.extensions()) {
        return next.run(request).await;
    }
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.extensions_mut().insert(Reached(path));
    response
}
