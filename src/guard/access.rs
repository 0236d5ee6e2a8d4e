//! Who may call a route of a guarded router.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use tower_layer::Layer;

use crate::base::problem::Rejection;
use crate::guard::decision::refused;
use crate::guard::description::RouteDescription;
use crate::guard::require::Require;
use crate::guard::requirement::{Outcome, Requirement};
use crate::guard::service::{Admit, Admitting, Guarded};
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
#[derive(Clone)]
pub struct Access(pub(super) Kind);

#[derive(Clone)]
pub(super) enum Kind {
    Public(Public),
    Session(SessionAccess),
    Requires(Require),
    /// A route of portcullis, which decides itself and says how.
    Own(Arc<RouteDescription>),
    /// Behind `danger_unguarded`: nobody here knows.
    Unguarded,
}

/// Anyone may call the route, signed in or not. Its handler may still ask who it is.
///
/// A request that another site sent is refused (403 `cross_site_request`) if its method can change
/// something, so that a route that signs people in needs no check of its own. Methods other than
/// `GET`, `HEAD` and `OPTIONS` can, and so can the handshake of a WebSocket. Programs that are no browsers are not affected: a payment
/// provider may call a webhook. [`from_anywhere`](Public::from_anywhere) takes the check away.
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
    /// Pages of other sites may call the route too, with any method: for a form or a script that
    /// others embed. Do not use it where a request signs someone in: another site could sign your
    /// users in to its own account.
    ///
    /// A session cookie is still not accepted from another site. If a browser sends one and the
    /// handler asks who the caller is, the answer is 403 `cross_site_request`. So do not use an
    /// extractor of portcullis there.
    pub fn from_anywhere(self) -> Self {
        Self { from_anywhere: true }
    }
}

/// Anyone may call the route. A request without a session gets a visitor's (anonymous) session
/// before the handler runs, see [`Visitor`](super::Visitor), which is the extractor for it.
pub fn visitor() -> Access {
    Access(Kind::Session(SessionAccess::Visitor))
}

/// A session at any stage may call the route: a visitor's, that of a sign-in that is not finished,
/// or a full one. [`Caller`](super::Caller) says which. A request without a session is 401, or
/// goes to the login page as [configured](crate::config::Unauthenticated).
pub fn any_session() -> Access {
    Access(Kind::Session(SessionAccess::Any))
}

/// A session at this stage may call the route, and no other: `stage(Stage::PendingSecondFactor)` is
/// for the page that asks for the second factor. Other sessions are 401 `wrong_stage`, and a request
/// without a session is refused as by [`any_session`].
/// `stage(Stage::Full)` is [`Requirement::signed_in`].
pub fn stage(stage: Stage) -> Access {
    match stage {
        Stage::Full => Requirement::signed_in().into(),
        stage => Access(Kind::Session(SessionAccess::Stage(stage))),
    }
}

impl Access {
    /// Whether anyone may call the route.
    pub fn is_public(&self) -> bool {
        matches!(self.0, Kind::Public(_))
    }

    /// Whether it is one of portcullis' own routes, which decide by themselves.
    pub fn is_own(&self) -> bool {
        matches!(self.0, Kind::Own(_))
    }

    /// Whether it came through [`danger_unguarded`](super::GuardedRouter::danger_unguarded).
    pub fn is_unguarded(&self) -> bool {
        matches!(self.0, Kind::Unguarded)
    }

    /// What a guard asks of a caller who is signed in. None for a route that takes others too, and
    /// for one whose guard is not known here.
    pub fn requirement(&self) -> Option<&Requirement> {
        match &self.0 {
            Kind::Requires(require) => Some(require.requirement()),
            _ => None,
        }
    }

    /// The path parameter whose instance the permission is asked on.
    pub fn parameter(&self) -> Option<&str> {
        match &self.0 {
            Kind::Requires(require) => require.parameter(),
            _ => None,
        }
    }

    /// What keeps its guard from deciding.
    pub(super) fn fault(&self) -> Option<String> {
        match &self.0 {
            Kind::Requires(require) => require.fault(),
            _ => None,
        }
    }

    /// What a guard of the router would decide, so that a menu can ask beforehand.
    pub(super) fn check(&self, who: Option<&Identity>) -> Outcome {
        let met = match (&self.0, who) {
            (Kind::Public(_) | Kind::Session(SessionAccess::Visitor), _) => true,
            (Kind::Session(SessionAccess::Any), who) => who.is_some(),
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
        Self(Kind::Public(public))
    }
}

impl From<Requirement> for Access {
    fn from(requirement: Requirement) -> Self {
        Self(Kind::Requires(Require::new(requirement)))
    }
}

impl From<Require> for Access {
    fn from(require: Require) -> Self {
        Self(Kind::Requires(require))
    }
}

/// As [`Requirement::typed`].
impl<P: TypedPermission> From<P> for Access {
    fn from(permission: P) -> Self {
        Requirement::typed(permission).into()
    }
}

/// Such as `public`, `any session`, `own: signed in`, `permission(doc:read)` or `permission(doc:read) on {id}`.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Public(Public { from_anywhere: false }) => f.write_str("public"),
            Kind::Public(Public { from_anywhere: true }) => f.write_str("public, from anywhere"),
            Kind::Session(SessionAccess::Visitor) => f.write_str("visitor"),
            Kind::Session(SessionAccess::Any) => f.write_str("any session"),
            Kind::Session(SessionAccess::Stage(stage)) => write!(f, "stage({})", stage.as_str()),
            Kind::Requires(require) => write!(f, "{require}"),
            Kind::Own(description) => write!(f, "own: {}", description.caller),
            Kind::Unguarded => f.write_str("UNGUARDED"),
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({self})")
    }
}

/// Refuses what another site sent, where anyone may call.
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

/// Which sessions a guard lets through, besides those of accounts that are signed in.
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
            // Boxed: seldom, and large.
            Self::Visitor => Box::pin(request_identity.visitor(parts)).await?,
            Self::Any | Self::Stage(_) => request_identity.resolve().await?,
        };
        let Some(found) = resolved.stage() else {
            return Err(refused(&request_identity, parts, resolved.not_signed_in()));
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
