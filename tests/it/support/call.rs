//! Requests without a network. They can have content that no client library would send, and the
//! answers include their extensions for outer layers.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, Request, request};
use axum::routing::get;
use portcullis::{Portcullis, Rejection};
use serde_json::Value;
use tower::ServiceExt;

/// An answer, read completely.
#[derive(Debug)]
pub struct Called {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// The typed error that a refusal leaves for outer layers.
    pub rejection: Option<Rejection>,
}

impl Called {
    /// Returns the stable code of a problem. It is empty for any other answer.
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.text).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Starts a request to `example.com`.
pub fn request(method: &str, path: &str) -> request::Builder {
    Request::builder().method(method).uri(path).header("host", "example.com")
}

/// Sends a request directly to the application.
pub async fn call(app: &Router, request: Request<Body>) -> Called {
    let response = match app.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("the body is read");
    Called {
        status: parts.status.as_u16(),
        headers: parts.headers,
        text: String::from_utf8(body.to_vec()).expect("the answer is text"),
        rejection: parts.extensions.get().cloned(),
    }
}

/// Returns the cookie of a session, in the form in which a browser sends it.
pub fn cookie_of(issued: &portcullis::Issued) -> String {
    let mut headers = HeaderMap::new();
    issued.apply(&mut headers);
    let line = headers["set-cookie"].to_str().expect("a cookie is ASCII");
    line.split(';').next().unwrap_or_default().to_owned()
}

/// Returns what an extractor makes of a `Cookie` header.
///
/// # Panics
/// Panics if the extractor refuses the request.
pub async fn extracted<T>(auth: &Portcullis, cookie: &str) -> T
where
    T: FromRequestParts<()> + Send + 'static,
{
    let found = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&found);
    let handler = move |extracted: T| async move {
        *keep.lock().expect("nothing panics while it is held") = Some(extracted);
    };
    let app = Router::new().route("/", get(handler)).layer(auth.layer());
    let request = request("GET", "/").header("cookie", cookie);
    call(&app, request.body(Body::empty()).expect("a request")).await;
    let extracted = found.lock().expect("nothing panics while it is held").take();
    extracted.expect("the cookie is one of the kind")
}
