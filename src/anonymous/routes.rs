//! `POST /session/anonymous`.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use http::{Method, StatusCode};
use serde::Deserialize;

use crate::base::client::ClientInfo;
use crate::base::problem::{Problem, Rejection};
use crate::guard::description::RouteBody;
use crate::guard::extract::Before;
use crate::handle::Portcullis;
use crate::identity::resolution::Resolved;
use crate::route::{self, OptionalBody, mount, row, signed_in};
use crate::session::Transport;

/// Returns the route that starts an anonymous session.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    mount(
        auth,
        "anonymous",
        [row(Method::POST, "/session/anonymous", start)
            .takes(RouteBody::OptionalJsonOrForm)
            .answers(&[StatusCode::CREATED])
            .refuses(&[
                "already_signed_in",
                "bearer_not_enabled",
                "multiple_credentials",
                "session_required",
            ])],
    )
}

/// The reason why no anonymous session was started.
#[derive(Debug, thiserror::Error)]
enum AnonymousError {
    #[error("this client already has a session")]
    AlreadySignedIn,
}

impl Problem for AnonymousError {
    fn status(&self) -> StatusCode {
        match self {
            Self::AlreadySignedIn => StatusCode::CONFLICT,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::AlreadySignedIn => "already_signed_in",
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct StartBody {
    #[serde(default)]
    transport: Transport,
}

async fn start(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    before: Before,
    OptionalBody(body): OptionalBody<StartBody>,
) -> Result<Response, Rejection> {
    let transport = body.unwrap_or_default().transport;
    route::check_transport(&auth, transport)?;
    if let Some(program @ Resolved::ApiKey(_)) = before.resolved() {
        return Err(program.no_session().into());
    }
    // A visitor with a session keeps it. A new one would lose the data that belongs to the old one.
    if !matches!(before.resolved(), None | Some(Resolved::Nobody(_))) {
        return Err(AnonymousError::AlreadySignedIn.into());
    }
    auth.admit_visitor(&client).await?;
    let issued = auth.sessions().start_anonymous(&client).transport(transport).await?;
    Ok(signed_in(StatusCode::CREATED, issued))
}
