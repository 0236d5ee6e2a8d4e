//! `POST /action-proofs`, `GET /action-proofs`, `DELETE /action-proofs/{id}`.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ActionProofError, Payload};
use crate::base::client::ClientInfo;
use crate::base::page::Page;
use crate::base::problem::Rejection;
use crate::guard::description::{RouteBody, RouteCaller};
use crate::handle::Portcullis;
use crate::identity::{AccountOwner, Identity, owner};
use crate::outstanding::ApplicationPurpose;
use crate::route::{self, Json, mount, row};

/// The most fields of a payload.
const MOST_FIELDS: usize = 32;

/// Returns the routes of action proofs. `POST /action-proofs` issues proofs of these actions only. The text
/// that is recorded is made from the fields of the request. For a text of your own, or for conditions on what
/// may be consented to, write the route yourself with [`issue`](super::ActionProofs::issue).
///
/// # Panics
/// Panics if an action is not 1 to 48 lower-case letters, digits, dashes or underscores.
pub fn routes<S: Clone + Send + Sync + 'static>(
    auth: &Portcullis,
    actions: impl IntoIterator<Item = impl Into<String>>,
) -> Router<S> {
    let actions: Arc<[String]> = actions.into_iter().map(Into::into).collect();
    for action in actions.iter() {
        assert!(
            ApplicationPurpose::parse(action).is_some(),
            "`{action}` is not the name of an action"
        );
    }
    let issue = move |state: State<Portcullis>,
                      identity: Identity,
                      client: ClientInfo,
                      body: Json<Body>| {
        let actions = Arc::clone(&actions);
        async move { issue(&actions, state, identity, client, body).await }
    };
    let owner = RouteCaller::owner::<owner::Sessions>();
    mount(
        auth,
        "action_proof",
        [
            row(Method::POST, "/action-proofs", issue)
                .by(RouteCaller::SignedIn)
                .takes(RouteBody::Json)
                .answers(&[StatusCode::CREATED])
                .refuses(&[
                    "denied",
                    "insufficient_user_authentication",
                    "invalid_action_proof",
                    "too_soon",
                    "unknown_action",
                ]),
            row(Method::GET, "/action-proofs", list)
                .by(owner)
                .refuses(&["invalid_body", "invalid_page"]),
            row(Method::DELETE, "/action-proofs/{id}", revoke)
                .by(owner)
                .answers(&[StatusCode::NO_CONTENT])
                .refuses(&["action_proof_not_found"]),
        ],
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    action: String,
    resource: Option<String>,
    scope: Option<String>,
    #[serde(default)]
    permissions: Vec<String>,
    /// Names and values, in the order in which the action digests them.
    fields: Option<Vec<(String, String)>>,
}

async fn issue(
    actions: &[String],
    State(auth): State<Portcullis>,
    identity: Identity,
    client: ClientInfo,
    Json(body): Json<Body>,
) -> Result<Response, Rejection> {
    let Body { action, resource, scope, permissions, fields } = body;
    if !actions.contains(&action) {
        return Err(ActionProofError::UnknownAction.into());
    }
    let mut issue = auth.action_proofs().issue(action, &identity).permissions(permissions);
    if let Some(resource) = resource {
        issue = issue.resource(resource);
    }
    if let Some(scope) = scope {
        issue = issue.scope(scope);
    }
    // An empty list is no detail to agree to.
    if let Some(fields) = fields.filter(|fields| !fields.is_empty()) {
        if fields.len() > MOST_FIELDS {
            return Err(ActionProofError::InvalidProof("a payload has at most 32 fields").into());
        }
        let payload =
            fields.iter().fold(Payload::new(), |all, (name, value)| all.field(name, value));
        // Quoted, so that no value looks like two fields.
        let text: Vec<_> =
            fields.iter().map(|(name, value)| format!("{name:?}: {value:?}")).collect();
        issue = issue.over(&payload).agreed_to(text.join(", "));
    }
    let issued = issue.sign(&client).await?;
    let body = json!({
        "id": issued.id(),
        "action_proof": issued.token(),
        "expires_at": issued.expires_at(),
        "agreed_to": issued.agreed_to(),
    });
    Ok((StatusCode::CREATED, route::json(&body)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    after: Option<String>,
}

async fn list(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Sessions>,
    RawQuery(query): RawQuery,
) -> Result<Response, Rejection> {
    let search: Search = route::query(query.as_deref())?;
    let open = auth.action_proofs().open(&owner, Page::from(search.after)).await?;
    let listed: Vec<Value> = open
        .proofs
        .iter()
        .map(|one| {
            json!({
                "id": one.id,
                "about": one.about,
                "created_at": one.created_at,
                "expires_at": one.expires_at,
            })
        })
        .collect();
    let mut body = json!({ "action_proofs": listed });
    if let Some(next) = open.next {
        body["next"] = next.into();
    }
    Ok(route::json(&body))
}

async fn revoke(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Sessions>,
    client: ClientInfo,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Rejection> {
    let id = id.ok().and_then(|Path(id)| id.parse().ok()).ok_or(ActionProofError::NotFound)?;
    auth.action_proofs().revoke(&owner, id, &client).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
