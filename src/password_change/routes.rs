//! `PUT /password`.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, put};
use http::StatusCode;
use serde::Deserialize;

use super::PasswordChangeError;
use crate::base::client::ClientInfo;
use crate::base::invalid_field::InvalidField;
use crate::base::problem::Rejection;
use crate::guard::extract::Before;
use crate::handle::Portcullis;
use crate::identity::AuthError;
use crate::identity::credential::prefix_of;
use crate::identity::resolved::Resolved;
use crate::password::Password;
use crate::route::{Json, mount, signed_in};

/// The routes of changing one's password.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    mount(auth, "password_change", Router::new().route("/password", put(change)))
}

/// `GET /.well-known/change-password` (W3C): leads a password manager to the page that
/// [`change_page`](crate::config::PasswordConfig::change_page) names, and nowhere without one. Merge
/// it at the root: `Router::new().merge(password_change::well_known(&auth))`.
pub fn well_known<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    let router = match auth.context().config.password.change_page.clone() {
        Some(page) => Router::new().route(
            "/.well-known/change-password",
            get(async move |State(auth): State<Portcullis>, request: Request| {
                let prefix = prefix_of(&auth, request.headers(), request.extensions());
                Redirect::to(&format!("{}{page}", prefix.as_str())).into_response()
            }),
        ),
        None => Router::new(),
    };
    mount(auth, "well_known", router)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    current_password: Option<Password>,
    new_password: Password,
    new_password_again: Option<Password>,
}

async fn change(
    State(auth): State<Portcullis>,
    before: Before,
    client: ClientInfo,
    Json(body): Json<ChangeBody>,
) -> Result<Response, Rejection> {
    let new = body.new_password.as_str();
    let who = before.resolved();
    if !matches!(who, Some(Resolved::Full(_) | Resolved::PasswordChange(_))) {
        let reason =
            who.map_or(crate::identity::NotSignedIn::NoCredential, Resolved::not_signed_in);
        return Err(AuthError::NotSignedIn(reason).into());
    }
    if body.new_password_again.as_ref().is_some_and(|again| again.as_str() != new) {
        let message = "differs from new_password";
        let field = InvalidField::new("new_password_again", "repetition_differs", message);
        return Err(PasswordChangeError::Invalid(vec![field]).into());
    }
    let flow = auth.password_change();
    let issued = match who {
        Some(Resolved::Full(identity)) => {
            let current = body.current_password.as_ref().map(Password::as_str);
            flow.change(&before.owner(identity)?, current, new, &client).await?
        }
        Some(Resolved::PasswordChange(session)) => flow.finish(session, new, &client).await?,
        _ => return Err(AuthError::WrongStage("a session").into()),
    };
    Ok(signed_in(StatusCode::OK, issued))
}
