//! The sessions of your own account: list them, end them, report one.
//!
//! The flows are those of [`session`](crate::session), for the account that asks:
//! [`auth.own_sessions(&owner)`](Portcullis::own_sessions). A limited session sees and ends no
//! other sessions unless its ceiling covers `auth-account:sessions`, see
//! [`owner`](crate::identity::owner).
//!
//! # What it does not do
//! It does not show or end the sessions of other accounts. Administrators use
//! [`sessions`](Portcullis::sessions).
//!
//! # Menus
//! A page can show a menu of what the session may do. There are two ways: the list of all
//! permissions ([`Identity::effective_permissions`]), and answers to up to 64 questions
//! ([`Identity::may`]). Both need only the one statement of the request. The page
//! [`permissions`](crate::guide::permissions#menus) shows both.
//!
//! # Routes
//! - `GET /session`: account, session, factors and roles. `factors` are those that the session has
//!   proved. `second_factors` of the account are those that it has set up. With `?permissions=true`
//!   also `permissions`, with the members `superuser`, `allowed` (a list) and `truncated`.
//!   `trusted_device` is true if a device [stood in](crate::trusted_device) for the second factor.
//! - `POST /session/may`: answers the questions of a menu.
//! - `POST /session/refresh`: renews the token.
//! - `GET /sessions`: the newest 100. If there may be more, the answer has `next`; continue with
//!   `GET /sessions?after=<next>`. The session of a [device](crate::device_login) has `approved_in`, the session that approved it.
//!   If its token is [bound to a key](crate::dpop), it has `key_bound`.
//! - `DELETE /sessions/{id}`: ends one session. A [trusted device](crate::trusted_device) stays trusted.
//! - `DELETE /sessions`: ends all others; with `?scope=all` this one too, and all [API keys](crate::api_key). The device that asks
//!   stays a [known one](crate::attempt#known-devices), by a cookie or for a bearer by
//!   `device_token`.
//! - `POST /sessions/{id}/end` and `POST /sessions/end` (`scope`: `others`, or `all`): the same,
//!   for [pages](crate::page), whose forms cannot send `DELETE`.
//! - `POST /sessions/{id}/report` ("this was not me"): marks the session as suspicious, so that it
//!   can only sign out. The client with that session notices nothing until they use it. All
//!   [trusted devices](crate::trusted_device) of the account end.
//!
//! # Errors
//! `limited_session` (403); `invalid_permission`, `too_many_questions` (422); `session_not_found`
//! (404), also for a session of another account; `refresh_not_enabled` (400) if tokens are not
//! renewed.

use serde_json::{Value, json};

use crate::base::client::ClientInfo;
use crate::base::factor::Factor;
use crate::base::id::SessionId;
use crate::base::transaction::Fault;
use crate::handle::Portcullis;
use crate::identity::owner::Sessions;
use crate::identity::{AccountOwner, Identity};
use crate::session::{SessionError, SessionSummary, SessionsEnded};

mod may;
#[cfg(feature = "routes")]
mod routes;
pub use may::{Answer, MAX_QUESTIONS, MayError, Question};
#[cfg(feature = "routes")]
pub use routes::routes;

/// The sessions of the account that asks. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct OwnSessions<'a> {
    auth: &'a Portcullis,
    owner: &'a AccountOwner<Sessions>,
}

impl OwnSessions<'_> {
    /// Lists the active sessions, as [`Sessions::list`](crate::session::Sessions::list).
    ///
    /// # Errors
    /// An outage.
    pub async fn list(&self) -> Result<Vec<SessionSummary>, SessionError> {
        self.auth.sessions().list(self.owner.account()).await
    }

    /// Returns the next page of [`list`](Self::list), after this session.
    ///
    /// # Errors
    /// An outage.
    pub async fn list_after(&self, after: SessionId) -> Result<Vec<SessionSummary>, SessionError> {
        self.auth.sessions().list_after(self.owner.account(), after).await
    }

    /// Ends one of the sessions. This does not end the trust in its [device](crate::trusted_device).
    ///
    /// # Errors
    /// [`SessionError::NotFound`], also for a session of another account; an outage.
    pub async fn end_one(&self, id: SessionId) -> Result<(), SessionError> {
        self.auth.sessions().end_one(self.owner.account().id(), id).await
    }

    /// Ends all sessions except the one that asks. If its device was a [known
    /// one](crate::attempt#known-devices), it stays known: add the returned value to the answer.
    /// Other devices do not stay known.
    ///
    /// # Errors
    /// [`SessionError::Ended`] if the session that asks was ended or replaced meanwhile; nothing is
    /// ended then. An outage.
    pub async fn end_others(&self, client: &ClientInfo) -> Result<SessionsEnded, SessionError> {
        let current = self.owner.session().id();
        self.auth.sessions().end_all_from(self.owner.account(), Some(current), client).await
    }

    /// Ends all sessions, including the one that asks, and all [API keys](crate::api_key). For devices see
    /// [`end_others`](Self::end_others).
    ///
    /// # Errors
    /// An outage.
    pub async fn end_all(&self, client: &ClientInfo) -> Result<SessionsEnded, SessionError> {
        self.auth.sessions().end_all_from(self.owner.account(), None, client).await
    }

    /// Marks one of the sessions as suspicious ("this was not me"). This also ends the [trusted
    /// devices](crate::trusted_device) of the account.
    ///
    /// # Errors
    /// [`SessionError::NotFound`], also for a session of another account; an outage.
    pub async fn report(&self, id: SessionId) -> Result<(), SessionError> {
        self.auth.sessions().report(self.owner.account().id(), id).await
    }
}

impl Portcullis {
    /// Returns the sessions of the account that asks. For an administrator who manages other
    /// accounts, there is [`sessions`](Self::sessions).
    pub fn own_sessions<'a>(&'a self, owner: &'a AccountOwner<Sessions>) -> OwnSessions<'a> {
        OwnSessions { auth: self, owner }
    }

    /// Describes an identity, as `GET /session` shows it: account with its second factors, stage,
    /// roles, ceiling, proved factors with their times, and what [`session_info`](crate::Builder::session_info) adds.
    ///
    /// # Errors
    /// Only if the application's own addition fails or takes too long.
    pub async fn describe_session(&self, identity: &Identity) -> Result<Value, Fault> {
        let (session, account) = (identity.session(), identity.account());
        let factors: Vec<Value> = session
            .factors()
            .iter()
            .map(|(factor, at)| json!({ "factor": factor.as_str(), "passed_at": at }))
            .collect();
        let ceiling = identity
            .ceiling()
            .map(|ceiling| ceiling.iter().map(|p| p.as_str().to_owned()).collect::<Vec<_>>());
        let roles: Vec<&String> =
            identity.grants().roles().iter().filter(|role| identity.has_role(role)).collect();
        let second_factors: Vec<&str> =
            account.enrolled_factors().iter().map(Factor::as_str).collect();
        let mut description = json!({
            "stage": "full",
            "account": {
                "id": account.id(),
                "username": account.username(),
                "email": account.email(),
                "phone": account.phone(),
                "verified": account.is_verified(),
                "second_factors": second_factors,
            },
            "session": {
                "id": session.id(),
                "created_at": session.created_at(),
                "expires_at": session.expires_at(),
            },
            "factors": factors,
            "roles": roles,
            "ceiling": ceiling,
        });
        if session.by_trusted_device() {
            description["trusted_device"] = true.into();
        }
        if let Some(due) = identity.enrolment_due_at() {
            description["enrolment_due_at"] = json!(due);
        }
        if let Some(info) = &self.context().session_info {
            // This runs outside of any transaction, but still with a time limit.
            let limit = self.context().config.database.hook_timeout;
            let (account, session) = (account.id(), session.id());
            let added = info.ask(limit, move |info| info.add(account, session)).await;
            let added = added.unwrap_or_else(|| Err("session_info took too long".into()));
            description["app"] = added.map_err(Fault::of_hook)?;
        }
        Ok(description)
    }
}
