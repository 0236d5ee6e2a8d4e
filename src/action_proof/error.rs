//! Errors of action proofs.

use std::time::Duration;

use crate::base::page::InvalidPage;
use crate::base::problem::{problem, proof_challenge};
use crate::base::transaction::{Fault, may_fault};
use crate::identity::AuthError;

/// Why a proof was not issued, or does not count. A check that fails uses nothing up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActionProofError {
    /// The route needs a proof, and the request has none.
    #[error("consent to this action first")]
    Required {
        /// The action to consent to.
        action: String,
        /// What it is about, if the route says so.
        resource: Option<String>,
    },
    /// It is forged, damaged or something else.
    #[error("the action proof is not valid; consent again")]
    Invalid,
    /// It was signed with a key of this service, but for another issuer or audience.
    #[error("the action proof was made for another service")]
    OtherService,
    /// It is about another action.
    #[error("the action proof is about another action; consent to this one")]
    OtherAction,
    /// It is about another resource, or one names a resource and the other does not.
    #[error("the action proof is about something else; consent to this")]
    OtherResource,
    /// The person consented to other details.
    #[error("the action proof is about other details; consent to these")]
    OtherPayload,
    /// The scope is not in the proof.
    #[error("the action proof does not have the scope that is needed")]
    OtherScope,
    /// No permission of the proof covers the one that is needed.
    #[error("the action proof does not have the permission that is needed")]
    LacksPermission,
    /// It is of another session than the request.
    #[error("the action proof was made in another session; consent in this one")]
    OtherSession,
    /// It is too old.
    #[error("the action proof is too old; consent again")]
    Stale,
    /// It is from the future: the clocks of two nodes differ by more than 30 s.
    #[error("the clocks of the servers differ; try again later")]
    FromTheFuture,
    /// It was taken back or replaced, the session has ended or is suspicious, or the account cannot be used.
    #[error("the action proof has ended; consent again")]
    Ended,
    /// It was used before.
    #[error("the action proof was already used; consent again to repeat the action")]
    Used,
    /// The account has no open proof with this id.
    #[error("there is no such action proof")]
    NotFound,
    /// The same consent was asked for a moment ago.
    #[error("the same consent was given just now; wait a moment")]
    TooSoon {
        /// The longest time to wait.
        retry_after: Duration,
    },
    /// The mounted route may not issue proofs of this action.
    #[error("no proof of this action is issued here")]
    UnknownAction,
    /// The session does not have a permission that the proof was to name.
    #[error("this session does not have a permission that the action proof was to name")]
    MoreRights,
    /// The text is not the `next` of a page.
    #[error(transparent)]
    InvalidPage(#[from] InvalidPage),
    /// The name of the action, the resource, the text, the scope or the lifetime is not one that a proof can have.
    #[error("{0}")]
    InvalidProof(&'static str),
    /// The proof is about details, and the handler has compared none. Either the action has no details, and the
    /// client sent some, or the handler does not call `check_payload`.
    #[error("the action proof is about details that this action does not compare")]
    PayloadNotCompared,
    /// The guard of the route is missing or does not fit it.
    #[error("{0}")]
    Misconfigured(String),
    /// The session may not consent, for example because its factor is too old.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(ActionProofError);

problem! {
    ActionProofError {
        Self::Required { .. } => UNAUTHORIZED, "action_proof_required";
        Self::Invalid => FORBIDDEN, "action_proof_invalid";
        Self::OtherService => FORBIDDEN, "action_proof_of_other_service";
        Self::OtherAction => FORBIDDEN, "action_proof_of_other_action";
        Self::OtherResource => FORBIDDEN, "action_proof_of_other_resource";
        Self::OtherPayload | Self::PayloadNotCompared => FORBIDDEN, "action_proof_of_other_payload";
        Self::OtherScope => FORBIDDEN, "action_proof_of_other_scope";
        Self::LacksPermission => FORBIDDEN, "action_proof_lacks_permission";
        Self::OtherSession => FORBIDDEN, "action_proof_of_other_session";
        Self::Stale => FORBIDDEN, "action_proof_stale";
        Self::FromTheFuture => FORBIDDEN, "action_proof_from_the_future";
        Self::Ended => FORBIDDEN, "action_proof_ended";
        Self::Used => CONFLICT, "action_proof_used";
        Self::NotFound => NOT_FOUND, "action_proof_not_found";
        Self::TooSoon { .. } => TOO_MANY_REQUESTS, "too_soon";
        Self::UnknownAction => UNPROCESSABLE_ENTITY, "unknown_action";
        Self::MoreRights => FORBIDDEN, "denied";
        Self::InvalidPage(_) => UNPROCESSABLE_ENTITY, "invalid_page";
        Self::InvalidProof(_) => UNPROCESSABLE_ENTITY, "invalid_action_proof";
        Self::Misconfigured(_) => INTERNAL_SERVER_ERROR, "misconfigured";
    }
    passes on { Auth, Fault }
    retry_after {
        Self::TooSoon { retry_after } => *retry_after,
    }
    challenge {
        Self::Required { action, resource } => proof_challenge(action, resource.as_deref()),
    }
    members {
        Self::Required { action, resource } => {
            let mut members = serde_json::Map::new();
            members.insert("action".to_owned(), action.as_str().into());
            if let Some(resource) = resource {
                members.insert("resource".to_owned(), resource.as_str().into());
            }
            members
        },
    }
}
