//! Who may call a route of a guarded router.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use tower_layer::Layer;

use crate::base::problem::Rejection;
use crate::guard::credentials::AcceptedCredentials;
use crate::guard::decision::refused;
use crate::guard::description::RouteDescription;
use crate::guard::require::Require;
use crate::guard::requirement::{Outcome, Requirement};
use crate::guard::service::{Admit, Admitting, Guarded, Watch};
use crate::identity::request_identity::RequestIdentity;
use crate::identity::{AuthError, Identity};
use crate::permission::typed::TypedPermission;
use crate::session::Stage;

/// Who may call a route:
///
/// | access | who | the handler asks with |
/// |---|---|---|
/// | [`public()`] | anyone | `Option<Identity>`, [`Caller`](super::Caller) |
/// | [`visitor()`] | anyone; a request without a session gets a visitor's | [`Visitor`](super::Visitor) |
/// | [`any_session()`] | a session at any stage | [`Caller`](super::Caller) |
/// | [`stage(..)`](stage) | a session at this stage | the type of that stage, such as [`PendingSession`](crate::PendingSession) |
/// | a [`Requirement`] | an account that is signed in and meets it | [`Identity`] |
/// | a permission declared with [`permissions!`](crate::permissions) | an account that has it | [`Allowed`](super::Allowed) |
/// | a guard of [`Portcullis::require`](crate::Portcullis::require) | the same, on one instance: `auth.require(doc::Read).on_path("id")` | [`Identity`] |
/// | a guard of [`Portcullis::require_action_proof`](crate::Portcullis::require_action_proof) | an account that is signed in and consented to the action; [`behind`](crate::action_proof::RequireActionProof::behind) adds who may do it | [`VerifiedProof`](crate::action_proof::VerifiedProof) |
#[derive(Clone)]
pub struct Access {
    pub(super) kind: Kind,
    /// What the route needs besides, once it is known who sent the request.
    pub(super) further: Option<FurtherGuard>,
}

/// A guard inside of that which decides who may call a route.
#[derive(Clone)]
pub(crate) struct FurtherGuard {
    guard: Arc<dyn Admit>,
    /// What it needs, for tables.
    text: Arc<str>,
    parameter: Option<Arc<str>>,
}

impl FurtherGuard {
    pub(crate) fn new(guard: impl Admit, text: String, parameter: Option<&str>) -> Self {
        Self { guard: Arc::new(guard), text: text.into(), parameter: parameter.map(Into::into) }
    }
}

#[derive(Clone)]
pub(super) enum Kind {
    Public(Public),
    Session(SessionAccess),
    Requires(Require),
    /// A route of portcullis, which decides itself and says how.
    Own(Arc<RouteDescription>),
    /// A route behind `danger_unguarded`. It is not known who may call it.
    Unguarded,
}

/// Anyone may call the route, signed in or not. Its handler can still find out who sent the request.
///
/// A request that another site sent is refused (403 `cross_site_request`) if it can change something:
/// with any method except `GET`, `HEAD` and `OPTIONS`, and for the handshake of a WebSocket. So a
/// route that signs people in needs no check of its own. Programs that are not browsers are not
/// affected, so a payment provider can call a webhook. [`from_anywhere`](Public::from_anywhere) turns
/// the check off.
pub fn public() -> Public {
    Public { from_anywhere: false }
}

/// The access of [`public()`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "give it to a route"]
pub struct Public {
    pub(super) from_anywhere: bool,
}

impl Public {
    /// Lets pages of other sites call the route too, with any method, for example for a form or a
    /// script that others embed. Do not use it for a route that signs someone in. Otherwise another
    /// site could sign your users in to its own account.
    ///
    /// A session cookie is still not accepted from another site. If a browser sends one and the
    /// handler asks who the caller is, the answer is 403 `cross_site_request`. So do not use an
    /// extractor of portcullis there.
    pub fn from_anywhere(self) -> Self {
        Self { from_anywhere: true }
    }
}

/// Anyone may call the route. A request without a session gets a visitor's (anonymous) session
/// before the handler runs. The extractor for it is [`Visitor`](super::Visitor).
pub fn visitor() -> Access {
    Access::of(Kind::Session(SessionAccess::Visitor))
}

/// Every session may call the route: a visitor's, an unfinished sign-in, or a full session.
/// [`Caller`](super::Caller) says which one it is. A request without a session is answered with 401,
/// or redirected to the login page, as [configured](crate::config::Unauthenticated).
pub fn any_session() -> Access {
    Access::of(Kind::Session(SessionAccess::Any))
}

/// Only a session at this stage may call the route. For example, `stage(Stage::PendingSecondFactor)` is
/// for the page that asks for the second factor. Other sessions get 401 `wrong_stage`. A request
/// without a session is refused in the same way as by [`any_session`].
/// `stage(Stage::Full)` is the same as [`Requirement::signed_in`].
pub fn stage(stage: Stage) -> Access {
    match stage {
        Stage::Full => Requirement::signed_in().into(),
        stage => Access::of(Kind::Session(SessionAccess::Stage(stage))),
    }
}

impl Access {
    pub(super) fn of(kind: Kind) -> Self {
        Self { kind, further: None }
    }

    /// Returns the same with another guard inside of it.
    pub(crate) fn with(self, further: FurtherGuard) -> Self {
        Self { further: Some(further), ..self }
    }

    /// True if anyone may call the route.
    pub fn is_public(&self) -> bool {
        matches!(self.kind, Kind::Public(_)) && self.further.is_none()
    }

    /// True if it is a route of portcullis, which checks its caller itself.
    pub fn is_own(&self) -> bool {
        matches!(self.kind, Kind::Own(_))
    }

    /// True if it was added with [`danger_unguarded`](super::GuardedRouter::danger_unguarded).
    pub fn is_unguarded(&self) -> bool {
        matches!(self.kind, Kind::Unguarded)
    }

    /// Returns what the guard requires of an account that is signed in. `None` if the route also
    /// accepts other callers, or if its guard is not known here.
    pub fn requirement(&self) -> Option<&Requirement> {
        match &self.kind {
            Kind::Requires(require) => Some(require.requirement()),
            _ => None,
        }
    }

    /// Returns the credentials that the guard accepts. `None` if its guard decides in another way, or is not
    /// known here.
    pub fn credentials(&self) -> Option<AcceptedCredentials> {
        match &self.kind {
            Kind::Requires(require) => Some(require.accepted()),
            _ => None,
        }
    }

    /// Returns the path parameter with the id for which the permission is required.
    pub fn parameter(&self) -> Option<&str> {
        match &self.kind {
            Kind::Requires(require) => require.parameter(),
            _ => None,
        }
    }

    /// Returns the path parameters that its guards read.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &str> {
        let further = self.further.as_ref().and_then(|further| further.parameter.as_deref());
        self.parameter().into_iter().chain(further)
    }

    /// Returns why its guard cannot decide, if so.
    pub(super) fn fault(&self) -> Option<String> {
        match &self.kind {
            Kind::Requires(require) => require.fault(),
            _ => None,
        }
    }

    /// Returns what the guard would decide, for a menu that asks before the request.
    pub(super) fn check(&self, who: Option<&Identity>) -> Outcome {
        let met = match (&self.kind, who) {
            (Kind::Public(_) | Kind::Session(SessionAccess::Visitor), _) => true,
            (Kind::Session(SessionAccess::Any), who) => who.is_some(),
            (Kind::Requires(require), Some(_))
                if require.accepted() == AcceptedCredentials::ApiKey =>
            {
                false
            }
            (Kind::Requires(require), Some(identity)) => {
                return require.requirement().check(identity);
            }
            (Kind::Session(SessionAccess::Stage(_)) | Kind::Own(_) | Kind::Unguarded, _)
            | (Kind::Requires(_), None) => false,
        };
        if met { Outcome::Met } else { Outcome::Denied }
    }
}

impl From<Public> for Access {
    fn from(public: Public) -> Self {
        Self::of(Kind::Public(public))
    }
}

impl From<Requirement> for Access {
    fn from(requirement: Requirement) -> Self {
        Self::of(Kind::Requires(Require::new(requirement)))
    }
}

impl From<Require> for Access {
    fn from(require: Require) -> Self {
        Self::of(Kind::Requires(require))
    }
}

/// The same as [`Requirement::typed`].
impl<P: TypedPermission> From<P> for Access {
    fn from(permission: P) -> Self {
        Requirement::typed(permission).into()
    }
}

/// Writes for example `public`, `any session`, `own: signed in`, `permission(doc:read)` or `permission(doc:read) on {id}`.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Public(Public { from_anywhere: false }) => f.write_str("public"),
            Kind::Public(Public { from_anywhere: true }) => f.write_str("public, from anywhere"),
            Kind::Session(SessionAccess::Visitor) => f.write_str("visitor"),
            Kind::Session(SessionAccess::Any) => f.write_str("any session"),
            Kind::Session(SessionAccess::Stage(stage)) => write!(f, "stage({})", stage.as_str()),
            Kind::Requires(require) => write!(f, "{require}"),
            Kind::Own(description) => write!(f, "own: {}", description.caller),
            Kind::Unguarded => f.write_str("UNGUARDED"),
        }?;
        match &self.further {
            Some(further) => write!(f, ", {}", further.text),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({self})")
    }
}

impl fmt::Debug for FurtherGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FurtherGuard({})", self.text)
    }
}

impl Admit for FurtherGuard {
    fn admit<'a>(&'a self, parts: &'a mut Parts) -> Admitting<'a> {
        self.guard.admit(parts)
    }

    fn watch(&self, parts: &Parts) -> Option<Watch> {
        self.guard.watch(parts)
    }
}

impl<S> Layer<S> for FurtherGuard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded::new(inner, self.clone())
    }
}

/// The guard of a public route: it refuses requests that another site sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct SameOriginOnly;

impl Admit for SameOriginOnly {
    fn admit<'a>(&'a self, parts: &'a mut Parts) -> Admitting<'a> {
        Box::pin(async move {
            let request_identity = RequestIdentity::of(&parts.extensions)?;
            Ok(request_identity.check_same_origin(&parts.method, &parts.uri, &parts.headers)?)
        })
    }
}

/// The sessions that a guard accepts, besides those of accounts that are signed in.
#[derive(Debug, Clone, Copy)]
pub(super) enum SessionAccess {
    Visitor,
    Any,
    Stage(Stage),
}

impl SessionAccess {
    async fn judge(self, parts: &Parts) -> Result<(), Rejection> {
        let request_identity = RequestIdentity::of(&parts.extensions)?;
        let resolved = match self {
            // A test that asks who may call a route leaves no session behind.
            #[cfg(feature = "test-util")]
            Self::Visitor if crate::guard::stop::asks(&parts.extensions) => {
                request_identity.resolve().await?;
                return Ok(());
            }
            // Boxed, because this is rare and its future is large.
            Self::Visitor => Box::pin(request_identity.visitor(parts)).await?,
            Self::Any | Self::Stage(_) => request_identity.resolve().await?,
        };
        let Some(found) = resolved.stage() else {
            return Err(refused(&request_identity, parts, resolved.no_session()));
        };
        match self {
            Self::Stage(stage) if stage != found => {
                return Err(AuthError::WrongStage(stage.in_words()).into());
            }
            Self::Visitor | Self::Any | Self::Stage(_) => {}
        }
        request_identity.answers_somebody();
        Ok(())
    }
}

impl Admit for SessionAccess {
    fn admit<'a>(&'a self, parts: &'a mut Parts) -> Admitting<'a> {
        Box::pin(self.judge(parts))
    }
}

impl<S> Layer<S> for SameOriginOnly {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded::new(inner, *self)
    }
}

impl<S> Layer<S> for SessionAccess {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded::new(inner, *self)
    }
}
