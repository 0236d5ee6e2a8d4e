//! What all mounted routes share: rows that describe them, bodies, the same-origin check, and the
//! headers of every answer.
//!
//! 1. The `routes.rs` of a capability has one [`row`] for each route: its method, path and handler, who
//!    may call it, what it takes, and what it answers.
//! 2. [`mount`] makes the router from the rows. The list of a guarded router, the access matrix and the
//!    [page of the guide](crate::guide::routes) are made from the same rows.
//! 3. A browser that posts a form gets a redirect instead of JSON, see [`page`](crate::page).
//! 4. A route contains no rule of its capability: it parses, calls the flow, and answers.

use std::net::IpAddr;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum_core::body::Body;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::{Extensions, HeaderMap, HeaderValue, StatusCode};

use crate::base::problem::Rejection;
use crate::handle::Portcullis;
use crate::identity::AuthError;
use crate::identity::credential::address_of;
use crate::identity::request_identity::RequestIdentity;
use crate::rate_limit::Quota;
use crate::session::{Issued, PendingSession, SessionError, Stage, Transport};

mod body;
mod error;
mod form;
mod row;

pub(crate) use body::{Json, JsonOrForm, OptionalBody, Parameters, query, remembers};
pub(crate) use error::RouteError;
pub(crate) use form::FormResult;
#[cfg(feature = "federation")]
pub(crate) use form::Navigation;
#[cfg(feature = "test-util")]
pub(crate) use row::told::be_strict;
pub(crate) use row::{Row, row};

/// Makes the routes of a capability from its rows. They have their own layer and state, so that a user
/// only has to nest them.
pub(crate) fn mount<S: Clone + Send + Sync + 'static>(
    auth: &Portcullis,
    capability: &'static str,
    rows: impl IntoIterator<Item = Row>,
) -> Router<S> {
    mounted(auth, capability, rows, Senders::OwnPages)
}

/// Makes routes to which other sites and programs send. What they send proves where it comes from, so the same-origin rule does
/// not apply. Such a route never acts for the session of its request.
#[cfg(feature = "federation")]
pub(crate) fn mount_for_anyone<S: Clone + Send + Sync + 'static>(
    auth: &Portcullis,
    capability: &'static str,
    rows: impl IntoIterator<Item = Row>,
) -> Router<S> {
    mounted(auth, capability, rows.into_iter().map(Row::of_any_site), Senders::Anyone)
}

/// Who may send to a route.
#[derive(Clone, Copy, PartialEq)]
enum Senders {
    OwnPages,
    #[cfg(feature = "federation")]
    Anyone,
}

fn mounted<S: Clone + Send + Sync + 'static>(
    auth: &Portcullis,
    capability: &'static str,
    rows: impl IntoIterator<Item = Row>,
    senders: Senders,
) -> Router<S> {
    auth.mount(capability);
    let (router, descriptions) = row::router(auth, rows);
    auth.mark_own_routes(capability, router, descriptions)
        .method_not_allowed_fallback(async || Rejection::new(RouteError::MethodNotAllowed))
        .layer(from_fn_with_state((auth.clone(), senders), shield))
        .layer(auth.layer())
        .with_state(auth.clone())
}

/// Refuses what another site sent, with or without a cookie, because a forced sign-in is an attack too.
/// The answer is for this client alone, so no cache may keep it.
///
/// The request runs in a separate task. If its client disconnects, it stops only until a transaction is
/// open. A panic is answered with 500.
async fn shield(
    State((auth, senders)): State<(Portcullis, Senders)>,
    request: Request,
    next: Next,
) -> Response {
    let flow = auth.clone();
    let ended = auth
        .context()
        .database
        .run_to_end(async move { shielded(flow, senders, request, next).await });
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

async fn shielded(auth: Portcullis, senders: Senders, request: Request, next: Next) -> Response {
    let same_origin =
        RequestIdentity::of(request.extensions()).and_then(|identity| match senders {
            Senders::OwnPages => {
                identity.check_same_origin(request.method(), request.uri(), request.headers())
            }
            #[cfg(feature = "federation")]
            Senders::Anyone => Ok(()),
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

/// Returns the address that a request counts for, if it is known, and the limit of its source. The
/// request is also counted for its account, as soon as that is known.
fn counted(
    auth: &Portcullis,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<Option<(Option<IpAddr>, Quota)>, AuthError> {
    RequestIdentity::of(extensions)?.counts_for_its_account();
    let quota = auth.context().config.rate.per_source;
    Ok(quota.map(|quota| (address_of(auth, headers, extensions), quota)))
}

/// Refuses a bearer token if they are off, before anything is compared or counted.
pub(crate) fn check_transport(auth: &Portcullis, transport: Transport) -> Result<(), SessionError> {
    if transport == Transport::Bearer && !auth.context().config.service.bearer {
        return Err(SessionError::BearerOff);
    }
    Ok(())
}

/// Returns the answer to a sign-in: the cookie or, for a bearer, the token in the body.
pub(crate) fn signed_in(status: StatusCode, issued: Issued) -> Response {
    signed_in_with(status, issued, serde_json::json!({}))
}

/// The same with further members.
pub(crate) fn signed_in_with(
    status: StatusCode,
    issued: Issued,
    members: serde_json::Value,
) -> Response {
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
        body["token_type"] = issued.token_scheme().into();
    }
    if let Some(device) = issued.device_token() {
        body["device_token"] = device.into();
    }
    if let Some(trusted) = issued.trusted_device_token() {
        body["trusted_device_token"] = trusted.into();
    }
    if let Some(due) = issued.enrolment_due_at() {
        body["enrolment_due_at"] = serde_json::json!(due);
    }
    if let Some(pending) = issued.pending_session() {
        body["methods"] = methods(&pending);
    }
    if let (Some(body), serde_json::Value::Object(members)) = (body.as_object_mut(), members) {
        body.extend(members);
    }
    let stage = issued.stage();
    let mut response = (status, issued, json(&body)).into_response();
    // For a layer that answers browsers in another way.
    response.extensions_mut().insert(stage);
    response
}

/// Returns the second factors with which a sign-in can be finished, as routes show them.
pub(crate) fn methods(pending: &PendingSession) -> serde_json::Value {
    let methods = pending.methods().into_iter().map(|method| {
        let mut shown = serde_json::json!({ "method": method.factor.as_str() });
        if let Some(target) = method.target {
            shown["target"] = target.into();
        }
        if let Some(usable_at) = method.usable_at {
            shown["usable_at"] = serde_json::json!(usable_at);
        }
        shown
    });
    methods.collect()
}

/// Returns an answer with a JSON body.
pub(crate) fn json(body: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
