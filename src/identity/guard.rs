//! Guards: a requirement as a layer.

use std::fmt;
use std::sync::Arc;

use http::Method;
use http::request::Parts;
use tower_layer::Layer;

use crate::base::problem::Rejection;
use crate::handle::Portcullis;
use crate::identity::admission::{decide, signed_in, slot};
use crate::identity::error::AuthError;
use crate::identity::guarded::{Admit, Admitting, Guarded};
use crate::identity::requirement::Requirement;

impl Portcullis {
    /// A layer that lets through only who meets `requirement`. Put it on routes with
    /// `route_layer`; it needs [`Portcullis::layer`] further out.
    ///
    /// Nobody signed in is 401, or a redirect to the login page as configured; a requirement that
    /// is not met is 403. `OPTIONS` passes: it acts on nothing and a browser's preflight carries
    /// no credential.
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
    preflight: Preflight,
}

/// What happens to `OPTIONS`.
#[derive(Clone, Copy, PartialEq)]
enum Preflight {
    Passes,
    #[cfg(feature = "routes")]
    Asked,
}

impl Require {
    pub(crate) fn new(requirement: Requirement) -> Self {
        Self { requirement, instance: Instance::Whole, preflight: Preflight::Passes }
    }

    /// Asks on `OPTIONS` too: around a route whose methods are known, whoever answers it is a
    /// handler.
    #[cfg(feature = "routes")]
    pub(crate) fn every_method(mut self) -> Self {
        self.preflight = Preflight::Asked;
        self
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

    /// Asks for the permission on the one instance that the route's path parameter names:
    /// `doc:read` on `/docs/{id}` asks for `doc:read:42`. An id with permission syntax in it is
    /// 404: no such thing can exist.
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
        if parts.method == Method::OPTIONS && self.preflight == Preflight::Passes {
            return Ok(());
        }
        let slot = slot(&parts.extensions)?;
        // First this: who is not signed in learns nothing about which ids can exist.
        let identity = signed_in(&slot, parts).await?;
        let id = match &self.instance {
            Instance::Whole => {
                return Ok(decide(&slot, &identity, &self.requirement, &self.requirement)?);
            }
            #[cfg(feature = "routes")]
            Instance::Path(name) => path_parameter(parts, name).await?,
            Instance::Custom(find) => find(parts),
        };
        let asked = id.and_then(|id| self.requirement.on(&id).ok());
        let asked = asked.ok_or(AuthError::NoSuchInstance)?;
        // The rule that is noted is the route's: with the id in it, whoever tries many ids would
        // fill the audit log.
        Ok(decide(&slot, &identity, &asked, &self.requirement)?)
    }
}

impl Admit for Require {
    fn admit<'a>(&'a self, parts: &'a mut Parts) -> Admitting<'a> {
        Box::pin(self.judge(parts))
    }
}

/// A parameter of the route's path; none when it is no text.
#[cfg(feature = "routes")]
async fn path_parameter(parts: &mut Parts, name: &str) -> Result<Option<String>, AuthError> {
    use axum::extract::rejection::RawPathParamsRejection;
    use axum::extract::{FromRequestParts, RawPathParams};

    let found = match RawPathParams::from_request_parts(parts, &()).await {
        Ok(params) => {
            params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        }
        Err(RawPathParamsRejection::InvalidUtf8InPathParam(_)) => return Ok(None),
        Err(_) => None,
    };
    match found {
        Some(value) => Ok(Some(value)),
        None => Err(AuthError::Misconfigured(format!(
            "`.on_path({name:?})`: the route has no such parameter, or the guard is not on the \
             route (use `route_layer`)"
        ))),
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
