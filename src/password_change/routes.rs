//! `PUT /password`, and the same route as `POST /password` for forms.

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::request::Parts;
use http::{Method, StatusCode};
use serde::Deserialize;

use super::PasswordChangeError;
use crate::base::client::ClientInfo;
use crate::base::invalid_field::InvalidField;
use crate::base::problem::Rejection;
use crate::guard::description::{RouteBody, RouteCaller};
use crate::guard::extract::Before;
use crate::handle::Portcullis;
use crate::identity::credential::prefix_of;
use crate::identity::owner;
use crate::identity::resolution::Resolved;
use crate::identity::{AccountOwner, AuthError, NotSignedIn};
use crate::password::Password;
use crate::route::{Json, JsonOrForm, Row, mount, row, signed_in};
use crate::session::{PasswordChangeSession, Stage};

/// The routes of changing one's password.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    let caller = RouteCaller::owner_or::<owner::Password>(Stage::MustChangePassword);
    let change = |row: Row| {
        row.by(caller).refuses(&[
            "insufficient_user_authentication",
            "invalid_fields",
            "password_changed_meanwhile",
            "too_many_attempts",
            "wrong_password",
        ])
    };
    mount(
        auth,
        "password_change",
        [
            change(row(Method::PUT, "/password", change_by_json).takes(RouteBody::Json)),
            change(row(Method::POST, "/password", change_by_form).takes(RouteBody::JsonOrForm)),
        ],
    )
}

/// Returns `GET /.well-known/change-password` (W3C). It leads a password manager to the page that
/// [`change_page`](crate::config::PasswordConfig::change_page) names. Without such a page, there is no
/// route. Merge it at the root: `Router::new().merge(password_change::well_known(&auth))`.
pub fn well_known<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    let page = auth.context().config.password.change_page.clone();
    let lead = |page: String| {
        let to_page = async move |State(auth): State<Portcullis>, request: Request| {
            let prefix = prefix_of(&auth, request.headers(), request.extensions());
            Redirect::to(&format!("{}{page}", prefix.as_str())).into_response()
        };
        row(Method::GET, "/.well-known/change-password", to_page).answers(&[StatusCode::SEE_OTHER])
    };
    mount(auth, "well_known", page.map(lead))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    current_password: Option<Password>,
    new_password: Password,
    new_password_again: Option<Password>,
}

/// Who may change the password: the owner, or a sign-in that must set a new one.
enum Changer {
    Owner(AccountOwner<owner::Password>),
    MustChange(PasswordChangeSession),
}

impl FromRequestParts<Portcullis> for Changer {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &Portcullis) -> Result<Self, Rejection> {
        let before = Before::from_request_parts(parts, state).await?;
        match before.resolved() {
            Some(Resolved::Full(identity)) => Ok(Self::Owner(before.owner(identity)?)),
            Some(Resolved::PasswordChange(session)) => Ok(Self::MustChange(session.clone())),
            Some(other) => Err(other.no_session().into()),
            None => Err(AuthError::NotSignedIn(NotSignedIn::NoCredential).into()),
        }
    }
}

async fn change_by_json(
    State(auth): State<Portcullis>,
    changer: Changer,
    client: ClientInfo,
    Json(body): Json<ChangeBody>,
) -> Result<Response, Rejection> {
    change(&auth, changer, &client, body).await
}

/// A form cannot send `PUT`.
async fn change_by_form(
    State(auth): State<Portcullis>,
    changer: Changer,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<ChangeBody>,
) -> Result<Response, Rejection> {
    change(&auth, changer, &client, body).await
}

async fn change(
    auth: &Portcullis,
    changer: Changer,
    client: &ClientInfo,
    body: ChangeBody,
) -> Result<Response, Rejection> {
    let new = body.new_password.as_str();
    if body.new_password_again.as_ref().is_some_and(|again| again.as_str() != new) {
        let message = "differs from new_password";
        let field = InvalidField::new("new_password_again", "repetition_differs", message);
        return Err(PasswordChangeError::Invalid(vec![field]).into());
    }
    let flow = auth.password_change();
    let issued = match changer {
        Changer::Owner(owner) => {
            let current = body.current_password.as_ref().map(Password::as_str);
            flow.change(&owner, current, new, client).await?
        }
        Changer::MustChange(session) => flow.finish(&session, new, client).await?,
    };
    Ok(signed_in(StatusCode::OK, issued))
}
