//! One's own sessions: who am I, where else am I signed in, sign me out there.
//!
//! The flows are those of [`session`](crate::session); this is how they look from outside.
//!
//! # Routes
//! `GET /session`, `POST /session/refresh`, `GET /sessions`, `DELETE /sessions/{id}`,
//! `DELETE /sessions` (all others; with `?scope=all` this one too), `POST /sessions/{id}/report`
//! ("this was not me": the session is marked suspicious and good for nothing but signing out; who
//! has it is not told that it is over until it is used).
//!
//! # Errors
//! `session_not_found` (404), also for another account's session; `refresh_not_enabled` (400) where
//! tokens are not renewed.

use serde_json::{Value, json};

use crate::base::transaction::Fault;
use crate::handle::Portcullis;
use crate::identity::Identity;

#[cfg(feature = "routes")]
mod routes;
#[cfg(feature = "routes")]
pub use routes::routes;

impl Portcullis {
    /// Who someone is, as `GET /session` shows it: account, stage, roles, ceiling, factors with
    /// their times, and what [`session_info`](crate::Builder::session_info) adds.
    ///
    /// # Errors
    /// Only when the application's own addition fails.
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
        let mut description = json!({
            "stage": "full",
            "account": {
                "id": account.id(),
                "username": account.username(),
                "email": account.email(),
                "phone": account.phone(),
                "verified": account.is_verified(),
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
        if let Some(info) = &self.context().session_info {
            let added = info.add(account.id(), session.id()).await;
            description["app"] = added.map_err(|error| Fault::Internal(error.to_string()))?;
        }
        Ok(description)
    }
}
