//! The routes with which users manage their own sessions.

use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::may::{Answer, Question};
use crate::base::client::ClientInfo;
use crate::base::factor::Factor;
use crate::base::id::SessionId;
use crate::base::problem::{Problem, Rejection};
use crate::guard::description::{RouteBody, RouteCaller};
use crate::guard::extract::Handle;
use crate::handle::Portcullis;
use crate::identity::owner::Sessions;
use crate::identity::{AccountOwner, AuthError, Identity};
use crate::permission::Permission;
use crate::route::{self, Json, OptionalBody, RouteError, mount, row};
use crate::session::{SESSIONS_A_PAGE, SessionError, SessionsEnded, Transport};

/// Returns the routes with which users manage their own sessions.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    let owner = RouteCaller::owner::<Sessions>();
    mount(
        auth,
        "own_session",
        [
            row(Method::GET, "/session", who_am_i)
                .by(RouteCaller::SignedIn)
                .refuses(&["invalid_body"]),
            row(Method::POST, "/session/may", may)
                .by(RouteCaller::SignedIn)
                .takes(RouteBody::Json)
                .refuses(&["invalid_permission", "too_many_questions"]),
            row(Method::POST, "/session/refresh", refresh)
                .by(RouteCaller::SignedIn)
                .refuses(&["refresh_not_enabled"]),
            row(Method::GET, "/sessions", list).by(owner).refuses(&["invalid_body"]),
            row(Method::DELETE, "/sessions", end_all).by(owner).refuses(&["invalid_body"]),
            row(Method::DELETE, "/sessions/{id}", end_one)
                .by(owner)
                .answers(&[StatusCode::NO_CONTENT])
                .refuses(&["session_not_found"]),
            // A form cannot send `DELETE`.
            row(Method::POST, "/sessions/end", end_all_by_form)
                .by(owner)
                .takes(RouteBody::OptionalJsonOrForm),
            row(Method::POST, "/sessions/{id}/end", end_one)
                .by(owner)
                .answers(&[StatusCode::NO_CONTENT])
                .refuses(&["session_not_found"]),
            row(Method::POST, "/sessions/{id}/report", report)
                .by(owner)
                .answers(&[StatusCode::NO_CONTENT])
                .refuses(&["session_not_found"]),
        ],
    )
}

async fn who_am_i(
    State(auth): State<Portcullis>,
    identity: Identity,
    RawQuery(query): RawQuery,
) -> Result<Response, Rejection> {
    let wanted: Members = route::query(query.as_deref())?;
    let mut body = auth.describe_session(&identity).await?;
    if wanted.permissions == Some(true) {
        let effective = identity.effective_permissions();
        let allowed: Vec<&str> = effective.permissions.iter().map(Permission::as_str).collect();
        body["permissions"] = json!({
            "superuser": effective.superuser,
            "allowed": allowed,
            "truncated": effective.truncated,
        });
    }
    Ok(route::json(&body))
}

/// Other parameters are ignored. Scripts add some, so that no cache answers.
#[derive(Deserialize)]
struct Members {
    permissions: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Questions {
    questions: Vec<AskedQuestion>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedQuestion {
    permission: String,
    id: Option<String>,
    factor: Option<String>,
    max_age: Option<u64>,
}

impl AskedQuestion {
    fn read(self) -> Result<Question, RouteError> {
        let mut question = Question::new(self.permission);
        if let Some(id) = self.id {
            question = question.on(id);
        }
        if let Some(name) = self.factor {
            let factor = Factor::ALL.iter().find(|factor| factor.as_str() == name);
            let unknown = || RouteError::InvalidBody("factor must name a factor".to_owned());
            question = question.factor(*factor.ok_or_else(unknown)?);
        }
        if let Some(seconds) = self.max_age {
            question = question.within(Duration::from_secs(seconds));
        }
        Ok(question)
    }
}

async fn may(identity: Identity, Json(body): Json<Questions>) -> Result<Response, Rejection> {
    let questions = body.questions.into_iter().map(AskedQuestion::read);
    let questions = questions.collect::<Result<Vec<_>, _>>()?;
    let answers: Vec<Value> = identity.may(&questions)?.into_iter().map(told).collect();
    Ok(route::json(&json!({ "answers": answers })))
}

/// The answer to a question. A refusal has the same members as the refusal of a guard.
fn told(answer: Answer) -> Value {
    let (outcome, refusal) = match answer {
        Answer::Met => return json!({ "outcome": "met" }),
        Answer::StepUp(needed) => ("step_up", AuthError::StepUp(needed)),
        Answer::Denied => ("denied", AuthError::Denied),
    };
    let mut told = refusal.members();
    told.insert("outcome".to_owned(), outcome.into());
    told.insert("code".to_owned(), refusal.code().into());
    told.insert("detail".to_owned(), refusal.to_string().into());
    Value::Object(told)
}

async fn refresh(
    State(auth): State<Portcullis>,
    Handle(request_identity): Handle,
) -> Result<Response, Rejection> {
    // Without a refresh window, a session ends with its token, and no route may delay that.
    if auth.context().config.session.refresh_window.is_none() {
        return Err(RouteError::RefreshOff.into());
    }
    let (session, minted) = request_identity.refresh().await?;
    let mut body = json!({
        "session_id": session.id(),
        "expires_in": minted.expires_in.as_secs(),
    });
    if session.transport() == Transport::Bearer {
        body["token"] = minted.token.into();
        body["token_type"] = session.token_scheme().into();
    }
    Ok(route::json(&body))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    after: Option<String>,
}

async fn list(
    State(auth): State<Portcullis>,
    owner: AccountOwner<Sessions>,
    RawQuery(query): RawQuery,
) -> Result<Response, Rejection> {
    let page: Page = route::query(query.as_deref())?;
    let after: Option<SessionId> = page
        .after
        .map(|text| text.parse())
        .transpose()
        .map_err(|_| RouteError::InvalidBody("after must be the id of a session".to_owned()))?;
    let sessions = match after {
        None => auth.own_sessions(&owner).list().await?,
        Some(after) => auth.own_sessions(&owner).list_after(after).await?,
    };
    // A full page may be the last one. The client learns this from the next page.
    let full = sessions.len() == SESSIONS_A_PAGE;
    let next = sessions.last().filter(|_| full).map(|session| session.id);
    let sessions: Vec<Value> = sessions
        .iter()
        .map(|session| {
            let mut shown = json!({
                "id": session.id,
                "current": session.id == owner.session().id(),
                "created_at": session.created_at,
                "rotated_at": session.rotated_at,
                "expires_at": session.expires_at,
                "address": session.address,
                "user_agent": session.user_agent,
                "suspicious": session.suspicious,
            });
            if let Some(approved_in) = session.approved_in {
                shown["approved_in"] = json!(approved_in);
            }
            if session.key_bound {
                shown["key_bound"] = true.into();
            }
            shown
        })
        .collect();
    let mut body = json!({ "sessions": sessions });
    if let Some(next) = next {
        body["next"] = next.to_string().into();
    }
    Ok(route::json(&body))
}

async fn end_one(
    State(auth): State<Portcullis>,
    owner: AccountOwner<Sessions>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Rejection> {
    auth.own_sessions(&owner).end_one(session_id(id)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn report(
    State(auth): State<Portcullis>,
    owner: AccountOwner<Sessions>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Rejection> {
    auth.own_sessions(&owner).report(session_id(id)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A path that is not valid text is not the id of a session.
fn session_id(id: Result<Path<String>, PathRejection>) -> Result<SessionId, SessionError> {
    id.ok().and_then(|Path(id)| id.parse().ok()).ok_or(SessionError::NotFound)
}

async fn end_all(
    State(auth): State<Portcullis>,
    owner: AccountOwner<Sessions>,
    client: ClientInfo,
    RawQuery(query): RawQuery,
) -> Result<Response, Rejection> {
    let scope = match query.as_deref() {
        None | Some("" | "scope=others") => Scope::Others,
        Some("scope=all") => Scope::All,
        Some(_) => {
            let text = "scope must be `others` or `all`".to_owned();
            return Err(RouteError::InvalidBody(text).into());
        }
    };
    end(&auth, &owner, &client, scope).await
}

/// Which sessions end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Scope {
    #[default]
    Others,
    All,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndBody {
    #[serde(default)]
    scope: Scope,
}

async fn end_all_by_form(
    State(auth): State<Portcullis>,
    owner: AccountOwner<Sessions>,
    client: ClientInfo,
    OptionalBody(body): OptionalBody<EndBody>,
) -> Result<Response, Rejection> {
    end(&auth, &owner, &client, body.unwrap_or_default().scope).await
}

async fn end(
    auth: &Portcullis,
    owner: &AccountOwner<Sessions>,
    client: &ClientInfo,
    scope: Scope,
) -> Result<Response, Rejection> {
    let sessions = auth.own_sessions(owner);
    if scope == Scope::Others {
        return Ok(answer(owner, sessions.end_others(client).await?));
    }
    // Ending all sessions also signs this client out.
    let ended = answer(owner, sessions.end_all(client).await?);
    let by_cookie = owner.session().transport() == Transport::Cookie;
    let signed_out = by_cookie.then(|| auth.sessions().signed_out());
    Ok((signed_out, ended).into_response())
}

/// The answer, with the device that stays known.
fn answer(owner: &AccountOwner<Sessions>, ended: SessionsEnded) -> Response {
    let mut body = json!({ "ended": ended.count });
    if owner.session().transport() == Transport::Bearer {
        if let Some(token) = ended.device.token() {
            body["device_token"] = token.into();
        }
        return route::json(&body);
    }
    (ended.device, route::json(&body)).into_response()
}
