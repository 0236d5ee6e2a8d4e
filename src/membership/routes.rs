//! `GET /memberships`, `POST /memberships/refresh`.

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::OwnMembership;
use crate::base::problem::Rejection;
use crate::guard::description::RouteCaller;
use crate::handle::Portcullis;
use crate::identity::owner::Memberships;
use crate::identity::{AccountOwner, Identity};
use crate::permission::{Membership, Refreshed};
use crate::route::{self, mount, row};

/// The routes of the caller's own memberships.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    mount(
        auth,
        "membership",
        [
            row(Method::GET, "/memberships", list)
                .by(RouteCaller::SignedIn)
                .refuses(&["invalid_body", "invalid_resource"]),
            row(Method::POST, "/memberships/refresh", refresh)
                .by(RouteCaller::owner::<Memberships>()),
        ],
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    resource: Option<String>,
    id: Option<String>,
    after: Option<String>,
}

/// The maximum number of memberships in an answer.
const A_PAGE: usize = 100;

/// The key of a membership within its account. A page of the list begins after this key.
fn place(own: &OwnMembership) -> String {
    let Membership { resource, origin, .. } = &own.membership;
    format!("{}:{}:{}", resource.domain(), resource.id(), origin.as_str())
}

async fn list(
    State(auth): State<Portcullis>,
    identity: Identity,
    RawQuery(query): RawQuery,
) -> Result<Response, Rejection> {
    let filter: Filter = route::query(query.as_deref())?;
    let own =
        auth.own_memberships(&identity, filter.resource.as_deref(), filter.id.as_deref()).await?;
    let mut own: Vec<_> = own.into_iter().map(|own| (place(&own), own)).collect();
    own.sort_by(|(one, _), (other, _)| one.cmp(other));
    if let Some(after) = filter.after {
        own.retain(|(place, _)| *place > after);
    }
    let more = own.len() > A_PAGE;
    own.truncate(A_PAGE);
    let next = own.last().filter(|_| more).map(|(place, _)| place.clone());
    let own: Vec<Value> = own
        .iter()
        .map(|(_, own)| own)
        .map(|own| {
            json!({
                "resource": own.membership.resource.domain(),
                "id": own.membership.resource.id(),
                "level": own.membership.level,
                "levels": own.levels,
                "origin": own.membership.origin.as_str(),
            })
        })
        .collect();
    let mut body = json!({ "memberships": own });
    if let Some(next) = next {
        body["next"] = next.into();
    }
    Ok(route::json(&body))
}

async fn refresh(
    State(auth): State<Portcullis>,
    owner: AccountOwner<Memberships>,
) -> Result<Response, Rejection> {
    let refreshed = auth.refresh_memberships(owner.account().id()).await?;
    let (added, removed) = match refreshed {
        Refreshed::Changed { added, removed } => (added, removed),
        Refreshed::Unchanged | Refreshed::Superseded => (0, 0),
    };
    Ok(route::json(&json!({ "added": added, "removed": removed })))
}
