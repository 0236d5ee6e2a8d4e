//! `DELETE /account`, `POST /account/keep`, `GET /account/export`.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::base::client::ClientInfo;
use crate::base::problem::Rejection;
use crate::guard::description::{RouteBody, RouteCaller};
use crate::handle::Portcullis;
use crate::identity::{AccountOwner, owner};
use crate::route::{self, JsonOrForm, mount, row};
use crate::session::Transport;

/// The routes with which owners close, keep and export their account. They are not part of
/// [`Portcullis::routes`]: mount them when your hooks remove what your own tables keep.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    mount(
        auth,
        "own_account",
        [
            row(Method::DELETE, "/account", close)
                .by(RouteCaller::owner::<owner::Close>())
                .refuses(&["insufficient_user_authentication", "last_superuser"]),
            row(Method::POST, "/account/keep", keep)
                .takes(RouteBody::JsonOrForm)
                .answers(&[StatusCode::NO_CONTENT])
                .refuses(&["link_used", "wrong_code"]),
            row(Method::GET, "/account/export", export)
                .by(RouteCaller::owner::<owner::Export>())
                .refuses(&["insufficient_user_authentication"]),
        ],
    )
}

async fn close(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Close>,
    client: ClientInfo,
) -> Result<Response, Rejection> {
    let closed = auth.own_account().close(&owner, &client).await?;
    let body = json!({
        "result": "closed",
        "erase_at": closed.erase_at,
        "notices": closed.notices,
    });
    // Closing the account is also signing out.
    let by_cookie = owner.session().transport() == Transport::Cookie;
    let signed_out = by_cookie.then(|| auth.sessions().signed_out());
    Ok((signed_out, route::json(&body)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenBody {
    token: String,
}

async fn keep(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<TokenBody>,
) -> Result<StatusCode, Rejection> {
    auth.own_account().keep(&body.token, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn export(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Export>,
    client: ClientInfo,
) -> Result<Response, Rejection> {
    Ok(route::json(&auth.own_account().export(&owner, &client).await?))
}
