//! Lets a test ask the guards of a whole service without running its handlers.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

/// In a request: answer in the handler's place. Only this crate can make one.
#[derive(Clone)]
pub(crate) struct Ask;

/// In an answer: the guards let it through, to the route of this path.
#[derive(Clone)]
pub(crate) struct Reached(pub(crate) Option<String>);

/// Whether a request is one of a test that asks the guards.
pub(crate) fn asks(extensions: &http::Extensions) -> bool {
    extensions.get::<Ask>().is_some()
}

pub(super) async fn stop(request: Request, next: Next) -> Response {
    if !asks(request.extensions()) {
        return next.run(request).await;
    }
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.extensions_mut().insert(Reached(path));
    response
}
