//! Checking a proof, and using it up.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};

use super::{ActionProofError, ActionProofs, Payload};
use crate::account::Account;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::event::{Event, EventKind};
use crate::base::id::{AccountId, ChallengeId, LineageId, SessionId};
use crate::base::jwt::{ActionClaims, NoAction};
use crate::base::transaction::{Db, OpenTransaction, transaction};
use crate::handle::Portcullis;
use crate::identity::Identity;
use crate::identity::resolver::Resolver;
use crate::one_time::{self, Challenge};
use crate::outstanding::Kind;
use crate::permission::{GrantError, Grants, Group, Permission, PermissionSet};
use crate::session::store as session_store;

/// How far the clocks of two nodes may differ, in seconds.
const LEEWAY_SECS: i64 = 30;

/// What a proof must be about.
#[derive(Debug, Clone)]
#[must_use = "an expectation counts when a proof is verified"]
pub struct Expected<'a> {
    action: &'a str,
    of: Option<(AccountId, LineageId)>,
    resource: Resource<'a>,
    payload: Option<&'a Payload>,
    scope: Option<&'a str>,
    permissions: Vec<&'a str>,
    max_age: Option<Duration>,
}

/// What the resource of a proof must be.
#[derive(Debug, Clone, Copy)]
enum Resource<'a> {
    None,
    Whole(&'a str),
    Component(&'a str),
}

impl Resource<'_> {
    fn is_met_by(self, consented: Option<&str>) -> bool {
        match self {
            Self::None => consented.is_none(),
            Self::Whole(resource) => consented == Some(resource),
            // A word is never empty, and a text with a blank is no word.
            Self::Component(word) => {
                !word.is_empty()
                    && consented.is_some_and(|all| all.split(' ').any(|one| one == word))
            }
        }
    }
}

impl<'a> Expected<'a> {
    /// A proof of this action, about no resource.
    pub fn action(action: &'a str) -> Self {
        Self {
            action,
            of: None,
            resource: Resource::None,
            payload: None,
            scope: None,
            permissions: Vec::new(),
            max_age: None,
        }
    }

    /// Made in the sign-in of this request. Without this call, a proof of any account counts: then ask
    /// [`account`](VerifiedProof::account) who consented.
    pub fn of(mut self, identity: &Identity) -> Self {
        self.of = Some((identity.account().id(), identity.session().lineage_id()));
        self
    }

    /// About this resource. The texts must be equal: `10` is not `100`.
    pub fn resource(mut self, resource: &'a str) -> Self {
        self.resource = Resource::Whole(resource);
        self
    }

    /// About a resource of which this is one word, instead of the whole. Words are separated by single blanks:
    /// a proof of the action about `ABC123 express` is accepted for `ABC123`, and for `express` too. `ABC`
    /// and the empty text are no words of it. The action must be equal in any case.
    ///
    /// The person has consented to more than you compare, so you must know what each word means, and that no
    /// part of a resource comes from a stranger. You never need this if the details are in a
    /// [`Payload`]: let the resource be the id alone.
    pub fn danger_accept_component(mut self, word: &'a str) -> Self {
        self.resource = Resource::Component(word);
        self
    }

    /// With these details. Without this call, compare them with
    /// [`check_payload`](VerifiedProof::check_payload) later.
    pub fn payload(mut self, payload: &'a Payload) -> Self {
        self.payload = Some(payload);
        self
    }

    /// With this scope.
    pub fn scope(mut self, scope: &'a str) -> Self {
        self.scope = Some(scope);
        self
    }

    /// With this permission among those of the proof. What the session may do is another question: put a
    /// requirement around the route.
    pub fn permission(mut self, permission: &'a str) -> Self {
        self.permissions.push(permission);
        self
    }

    /// Not older than this. A proof also has a lifetime of its own.
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }
}

/// A proof that was checked and not used up. One that was used up is another type: [`SpentProof`].
#[derive(Clone)]
#[must_use = "a proof that is not spent can be used again"]
pub struct VerifiedProof {
    auth: Portcullis,
    claims: ActionClaims,
    row: Challenge,
    account: Account,
    grants: Arc<Grants>,
    compared: bool,
    /// Shared with the guard, which reports a handler that answers without using the proof up.
    spent: Arc<AtomicBool>,
}

/// A proof that was used up by this call. It has no other constructor, so a function that takes one cannot be
/// called without a proof. It may be of any action, so compare with [`is_about`](Self::is_about). In your transaction, it counts only if that commits.
///
/// ```compile_fail,E0308
/// use portcullis::action_proof::{SpentProof, VerifiedProof};
///
/// fn transfer(_: SpentProof) {}
/// fn handler(proof: VerifiedProof) {
///     transfer(proof);
/// }
/// ```
#[must_use = "what the person consented to is done after this"]
pub struct SpentProof {
    proof: VerifiedProof,
}

impl ActionProofs<'_> {
    /// Checks a proof. This uses nothing up, and a check that fails does not either. It costs three
    /// statements, and none for a token that is forged, too old, or about something else. If the proof must be
    /// of the person who sends the request, say so with [`Expected::of`].
    ///
    /// # Errors
    /// One variant of [`ActionProofError`] for each reason. An outage.
    pub async fn verify(
        &self,
        token: &str,
        expected: &Expected<'_>,
    ) -> Result<VerifiedProof, ActionProofError> {
        let claims = self.read(token, expected)?;
        let row = self.open_row(&claims).await?;
        let (context, executor) = (self.auth.context(), self.db.executor());
        if !self.db.read(goes_on(self.auth, &executor, &claims)).await? {
            return Err(ActionProofError::Ended);
        }
        let resolver = self.auth.per_instance::<Resolver>();
        let found = Box::pin(resolver.account_in(self.db, context, claims.sub)).await?;
        let (account, grants) = found.ok_or(ActionProofError::Ended)?;
        let compared = claims.payload.is_none() || expected.payload.is_some();
        let spent = Arc::default();
        Ok(VerifiedProof { auth: self.auth.clone(), claims, row, account, grants, compared, spent })
    }

    /// Returns what a token says, if it is as expected. This needs no statement.
    pub(super) fn read(
        &self,
        token: &str,
        expected: &Expected<'_>,
    ) -> Result<ActionClaims, ActionProofError> {
        let context = self.auth.context();
        let claims = context.jwt.verify_action(token).map_err(|no| match no {
            NoAction::Invalid => ActionProofError::Invalid,
            NoAction::OtherService => ActionProofError::OtherService,
        })?;
        check(&claims, expected, context.now().as_secs())?;
        Ok(claims)
    }

    /// Returns the row of a proof, if it was not used up, taken back or replaced.
    pub(super) async fn open_row(
        &self,
        claims: &ActionClaims,
    ) -> Result<Challenge, ActionProofError> {
        let executor = self.db.executor();
        let row = self.db.read(one_time::find(&executor, &Kind::ActionProof, claims.jti)).await?;
        let row = row.filter(|row| row.account_id() == Some(claims.sub));
        let row = row.ok_or(ActionProofError::Ended)?;
        if row.is_used() {
            return Err(ActionProofError::Used);
        }
        if !row.is_open(self.auth.context().now()) {
            return Err(ActionProofError::Ended);
        }
        Ok(row)
    }
}

/// Compares what the token says with what is expected, without a statement.
fn check(claims: &ActionClaims, expected: &Expected<'_>, now: i64) -> Result<(), ActionProofError> {
    if claims.action != expected.action {
        return Err(ActionProofError::OtherAction);
    }
    if !expected.resource.is_met_by(claims.resource.as_deref()) {
        return Err(ActionProofError::OtherResource);
    }
    if expected.of.is_some_and(|of| of != (claims.sub, claims.lin)) {
        return Err(ActionProofError::OtherSession);
    }
    if claims.iat > now.saturating_add(LEEWAY_SECS) {
        return Err(ActionProofError::FromTheFuture);
    }
    let age = now.saturating_sub(claims.iat);
    let most =
        expected.max_age.map_or(i64::MAX, |age| age.as_secs().try_into().unwrap_or(i64::MAX));
    if now > claims.exp || age > most {
        return Err(ActionProofError::Stale);
    }
    if let Some(payload) = expected.payload
        && claims.payload.as_deref() != Some(payload.digest().as_str())
    {
        return Err(ActionProofError::OtherPayload);
    }
    if let Some(scope) = expected.scope
        && !claims.scope.as_deref().unwrap_or_default().split(' ').any(|one| one == scope)
    {
        return Err(ActionProofError::OtherScope);
    }
    if !expected.permissions.is_empty() {
        let parsed = claims.permissions.iter().filter_map(|text| Permission::parse(text).ok());
        let of_proof: PermissionSet = parsed.collect();
        let covers = |text: &&str| {
            Permission::parse(text)
                .is_ok_and(|permission| of_proof.allows_permission(&permission).unwrap_or(false))
        };
        if !expected.permissions.iter().all(covers) {
            return Err(ActionProofError::LacksPermission);
        }
    }
    Ok(())
}

impl VerifiedProof {
    /// Returns the id of the proof. It is not a secret.
    pub fn id(&self) -> ChallengeId {
        self.claims.jti
    }

    /// Returns the account of the person who consented, as it is now.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Returns the roles and permissions of the account, as they are now. Those of its groups are included.
    /// They are not limited by the ceiling of the session.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// Returns the groups of the account, as they are now. This costs one statement. Portcullis needs only
    /// the roles of groups, so no other check reads their names.
    ///
    /// # Errors
    /// An outage.
    pub async fn groups(&self) -> Result<Vec<Group>, GrantError> {
        self.auth.groups().of(self.claims.sub).await
    }

    /// Returns the session in which the person consented. A step-up may have replaced it since.
    pub fn session_id(&self) -> SessionId {
        self.claims.sid
    }

    /// Returns the service that issued the proof.
    pub fn issuer(&self) -> &str {
        self.auth.context().jwt.issuer()
    }

    /// True if this account consented, at this service.
    pub fn is_from(&self, account: AccountId, issuer: &str) -> bool {
        self.claims.sub == account && self.issuer() == issuer
    }

    /// True if the person consented in the sign-in of this request.
    pub fn is_of(&self, identity: &Identity) -> bool {
        self.claims.sub == identity.account().id()
            && self.claims.lin == identity.session().lineage_id()
    }

    /// Returns the action.
    pub fn action(&self) -> &str {
        &self.claims.action
    }

    /// Returns what the action is about.
    pub fn resource(&self) -> Option<&str> {
        self.claims.resource.as_deref()
    }

    /// Compares the details to which the person consented. A proof with details cannot be used up before.
    ///
    /// # Errors
    /// [`ActionProofError::OtherPayload`].
    pub fn check_payload(mut self, payload: &Payload) -> Result<Self, ActionProofError> {
        if self.claims.payload.as_deref() != Some(payload.digest().as_str()) {
            return Err(ActionProofError::OtherPayload);
        }
        self.compared = true;
        Ok(self)
    }

    /// Uses the proof up. Of several requests with one proof, on all nodes, one succeeds. If your action then
    /// fails, the consent is gone, so prefer [`spend_within`](Self::spend_within).
    ///
    /// # Errors
    /// [`ActionProofError::Used`]; [`ActionProofError::Ended`]; [`ActionProofError::PayloadNotCompared`]; an
    /// outage.
    pub async fn spend(self, client: &ClientInfo) -> Result<SpentProof, ActionProofError> {
        let auth = self.auth.clone();
        self.spend_in(auth.context().db(), client).await
    }

    /// Uses the proof up in your transaction. If you roll it back, the proof can be used again. So a failed
    /// action does not use up the consent, and a crash in between does not do the action twice.
    ///
    /// # Errors
    /// As for [`spend`](Self::spend). After an error, roll back. If your transaction has read something before,
    /// PostgreSQL (with `REPEATABLE READ`), MySQL and MariaDB may not show it that the session has ended since.
    pub async fn spend_within<'t>(
        self,
        txn: impl Into<OpenTransaction<'t>>,
        client: &ClientInfo,
    ) -> Result<SpentProof, ActionProofError> {
        let (auth, txn) = (self.auth.clone(), txn.into());
        self.spend_in(auth.context().db().within(txn), client).await
    }

    async fn spend_in(
        self,
        db: Db<'_>,
        client: &ClientInfo,
    ) -> Result<SpentProof, ActionProofError> {
        if !self.compared {
            return Err(ActionProofError::PayloadNotCompared);
        }
        let now = self.auth.context().now();
        let claims = &self.claims;
        let event = Event::new(EventKind::ActionProofSpent, now).account(claims.sub);
        let detail = format!("{} {}", claims.jti, named(claims));
        let event = event.session(claims.sid).from_client(client).detail(detail);
        let spent = transaction!(db, |txn| {
            // The session may have ended while the handler worked.
            if !goes_on(&self.auth, txn, claims).await? {
                return Err(ActionProofError::Ended);
            }
            if !self.row.spend(txn, now).await? {
                return Ok(false);
            }
            audit_log::record(txn, &event).await?;
            Ok::<_, ActionProofError>(true)
        })?;
        if !spent {
            // Another request was faster. In a transaction of the caller, its change may not be visible.
            let executor = db.executor();
            let row = one_time::find(&executor, &Kind::ActionProof, claims.jti);
            return Err(match db.read(row).await? {
                Some(row) if row.is_used() || row.is_open(now) => ActionProofError::Used,
                _ => ActionProofError::Ended,
            });
        }
        self.spent.store(true, Ordering::Relaxed);
        self.auth.action_proofs().forget(claims.jti);
        Ok(SpentProof { proof: self })
    }

    pub(super) fn auth(&self) -> &Portcullis {
        &self.auth
    }

    /// Returns what becomes true when it, or a copy of it, is used up.
    pub(super) fn spent(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.spent)
    }
}

/// True while the sign-in of the proof goes on, whichever of its sessions the client has now.
async fn goes_on<C: ConnectionTrait>(
    auth: &Portcullis,
    db: &C,
    claims: &ActionClaims,
) -> Result<bool, DbErr> {
    let context = auth.context();
    let verified = context.config.login.require_verified;
    session_store::has_live(db, claims.sub, claims.lin, context.now(), verified).await
}

/// The action and what it is about, for an event.
fn named(claims: &ActionClaims) -> String {
    match &claims.resource {
        Some(resource) => format!("{} {resource}", claims.action),
        None => claims.action.clone(),
    }
}

impl SpentProof {
    /// Returns what was proved.
    pub fn proof(&self) -> &VerifiedProof {
        &self.proof
    }

    /// True if the person consented to this action on this resource. A function that takes a `SpentProof`
    /// and does one action compares here, before it does anything.
    pub fn is_about(&self, action: &str, resource: Option<&str>) -> bool {
        self.proof.action() == action && self.proof.resource() == resource
    }
}

// Written by hand: the account is personal data.
impl fmt::Debug for VerifiedProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("VerifiedProof");
        shown.field("id", &self.claims.jti).field("action", &self.claims.action);
        shown.finish_non_exhaustive()
    }
}

impl fmt::Debug for SpentProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpentProof").field("id", &self.proof.claims.jti).finish_non_exhaustive()
    }
}
