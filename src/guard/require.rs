//! Guards: a requirement as a layer.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use tower_layer::Layer;

use crate::base::problem::Rejection;
use crate::guard::decision::{decide, signed_in};
use crate::guard::requirement::Requirement;
use crate::guard::service::{Admit, Admitting, Guarded};
use crate::handle::Portcullis;
use crate::identity::AuthError;
use crate::identity::request_identity::RequestIdentity;
use crate::permission::PermissionError;

impl Portcullis {
    /// A layer that lets through only who meets `requirement`. Put it on routes with
    /// `route_layer`; it needs [`Portcullis::layer`] further out.
    ///
    /// Nobody signed in is 401, or a redirect to the login page as configured; a requirement that
    /// is not met is 403. Every method is judged, `OPTIONS` too: with `any(..)`, a nested service or a
    /// fallback of the route's own it reaches a handler like any other. A browser's CORS preflight
    /// carries no credential, so a `CorsLayer` belongs outside of the guards, where it answers
    /// before they are asked. axum's own 405, for a method that a route does not take, runs
    /// nothing: it stays outside of the `route_layer` of a method router (`get(..).route_layer(..)`) and
    /// of [`auth.router()`](Self::router), and inside of a whole router's.
    ///
    /// A permission declared with [`permissions!`](crate::permissions) can be given as it is:
    ///
    /// ```
    /// # #[cfg(feature = "routes")]
    /// # mod example {
    /// portcullis::permissions! { doc: Read; }
    ///
    /// fn documents(auth: &portcullis::Portcullis) -> axum::Router {
    ///     axum::Router::new()
    ///         .route("/docs/{id}", axum::routing::get(|| async { "a document" }))
    ///         .route_layer(auth.require(doc::Read).on_path("id"))
    /// }
    /// # }
    /// ```
    pub fn require(&self, requirement: impl Into<Requirement>) -> Require {
        Require::new(requirement.into())
    }
}

/// Finds the id of the instance a request is about.
type FindId = dyn Fn(&Parts) -> Option<String> + Send + Sync;

#[derive(Clone)]
enum Instance {
    Whole,
    #[cfg(feature = "routes")]
    Path(Arc<str>),
    Custom(Arc<FindId>),
}

/// A guard, see [`Portcullis::require`].
#[derive(Clone)]
#[must_use = "a guard guards what it is layered around"]
pub struct Require {
    requirement: Requirement,
    instance: Instance,
}

impl Require {
    pub(crate) fn new(requirement: Requirement) -> Self {
        Self { requirement, instance: Instance::Whole }
    }

    #[cfg(feature = "routes")]
    pub(crate) fn requirement(&self) -> &Requirement {
        &self.requirement
    }

    /// The path parameter of [`on_path`](Self::on_path).
    #[cfg(feature = "routes")]
    pub(crate) fn parameter(&self) -> Option<&str> {
        match &self.instance {
            Instance::Path(name) => Some(name),
            Instance::Whole | Instance::Custom(_) => None,
        }
    }

    /// What keeps this from being asked on an instance, if it is to be: a guard like that is a
    /// mistake of the program.
    pub(crate) fn fault(&self) -> Option<String> {
        let place = match &self.instance {
            Instance::Whole => return None,
            #[cfg(feature = "routes")]
            Instance::Path(name) => format!(".on_path({name:?})"),
            Instance::Custom(_) => ".on(..)".to_owned(),
        };
        let what = self.requirement.not_on_an_instance()?;
        Some(format!(
            "`{}` with `{place}`: {what} cannot be asked of one instance; put it into a guard of \
             its own without `{place}`",
            self.requirement
        ))
    }

    /// Asks for the permission on the one instance that the route's path parameter names:
    /// `doc:read` on `/docs/{id}` asks for `doc:read:42`. An id with permission syntax in it is
    /// 404: no such thing can exist.
    ///
    /// The id is compared as the path has it, percent-decoded once. `/docs/07` asks for
    /// `doc:read:07`, which is another instance than `7`. A handler that reads both as the number 7
    /// has to refuse the one that it would not write itself, or look at what it loaded.
    ///
    /// # What is refused
    /// A parameter that the path has twice (a nested router can repeat a name), and a requirement
    /// that has `not(..)` or `role(..)` inside or no permission at all:
    /// [`auth.router()`](Portcullis::router) panics when it is finished, and a plain router answers
    /// 500 `guard_misconfigured` and notes a finding of that name. Nobody is let through.
    #[cfg(feature = "routes")]
    pub fn on_path(mut self, parameter: &str) -> Self {
        self.instance = Instance::Path(parameter.into());
        self
    }

    /// The same with the id from anywhere in the request; `None` is 404.
    pub fn on(mut self, id: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        self.instance = Instance::Custom(Arc::new(id));
        self
    }

    async fn judge(&self, parts: &mut Parts) -> Result<(), Rejection> {
        let request_identity = RequestIdentity::of(&parts.extensions)?;
        // First this: who is not signed in learns nothing about which ids can exist.
        let identity = signed_in(&request_identity, parts).await?;
        let id = match &self.instance {
            Instance::Whole => {
                return Ok(decide(
                    &request_identity,
                    &identity,
                    &self.requirement,
                    &self.requirement,
                )?);
            }
            #[cfg(feature = "routes")]
            Instance::Path(name) => match path_parameter(parts, name).await {
                Ok(id) => id,
                Err(fault) => return Err(misconfigured(&request_identity, fault)),
            },
            Instance::Custom(find) => find(parts),
        };
        let Some(id) = id else { return Err(AuthError::NoSuchInstance.into()) };
        let asked = match self.requirement.on(&id) {
            Ok(asked) => asked,
            Err(PermissionError::NotOnInstance { .. }) => {
                let fault = self.fault().unwrap_or_default();
                return Err(misconfigured(&request_identity, fault));
            }
            Err(_) => return Err(AuthError::NoSuchInstance.into()),
        };
        // The rule that is noted is the route's: with the id in it, whoever tries many ids would
        // fill the audit log.
        Ok(decide(&request_identity, &identity, &asked, &self.requirement)?)
    }
}

impl Admit for Require {
    fn admit<'a>(&'a self, parts: &'a mut Parts) -> Admitting<'a> {
        Box::pin(self.judge(parts))
    }
}

/// A guard that can decide nothing decides nothing, and an operator learns of it.
fn misconfigured(request_identity: &RequestIdentity, fault: String) -> Rejection {
    request_identity.auth().report_finding("guard_misconfigured", &fault);
    AuthError::Misconfigured(fault).into()
}

/// A parameter of the route's path; none when it is no text. An error says what is wrong with the
/// route.
#[cfg(feature = "routes")]
async fn path_parameter(parts: &mut Parts, name: &str) -> Result<Option<String>, String> {
    use axum::extract::rejection::RawPathParamsRejection;
    use axum::extract::{FromRequestParts, RawPathParams};

    let params = match RawPathParams::from_request_parts(parts, &()).await {
        Ok(params) => Some(params),
        Err(RawPathParamsRejection::InvalidUtf8InPathParam(_)) => return Ok(None),
        Err(_) => None,
    };
    let mut values = params.iter().flatten().filter(|(key, _)| *key == name);
    match (values.next(), values.next()) {
        (Some((_, value)), None) => Ok(Some(value.to_owned())),
        // Nested routers may each have a parameter of this name; which one is meant is not known.
        (Some(_), Some(_)) => Err(format!(
            "`.on_path({name:?})`: the path has more than one parameter of this name; rename one, \
             or choose with `.on(..)`"
        )),
        (None, _) => Err(format!(
            "`.on_path({name:?})`: the route has no such parameter, or the guard is not on the \
             route (use `route_layer`)"
        )),
    }
}

/// The requirement, and the instance it is asked on: `permission(doc:read) on {id}`.
impl fmt::Display for Require {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.instance {
            Instance::Whole => write!(f, "{}", self.requirement),
            #[cfg(feature = "routes")]
            Instance::Path(name) => write!(f, "{} on {{{name}}}", self.requirement),
            Instance::Custom(_) => write!(f, "{} on an instance", self.requirement),
        }
    }
}

impl fmt::Debug for Require {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Require({self})")
    }
}

impl<S> Layer<S> for Require {
    type Service = RequireService<S>;

    fn layer(&self, inner: S) -> RequireService<S> {
        Guarded::new(inner, self.clone())
    }
}

/// The service that [`Require`] makes.
pub type RequireService<S> = Guarded<S>;
