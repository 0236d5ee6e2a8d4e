//! Guards: a requirement as a layer.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use tower_layer::Layer;

use crate::base::problem::Rejection;
use crate::guard::credentials::AcceptedCredentials;
use crate::guard::decision::{decide, principal};
use crate::guard::instance::{Instance, misconfigured};
use crate::guard::requirement::Requirement;
use crate::guard::service::{Admit, Admitting, Guarded};
use crate::handle::Portcullis;
use crate::identity::AuthError;
use crate::identity::request_identity::RequestIdentity;
use crate::permission::PermissionError;

impl Portcullis {
    /// Returns a layer that lets a request through only if it meets `requirement`. Put it on routes
    /// with `route_layer`. It needs [`Portcullis::layer`] further out.
    ///
    /// | the request | gets |
    /// |---|---|
    /// | is not signed in | 401, or a redirect to the login page if one is configured |
    /// | does not meet the requirement | 403 `denied` |
    /// | must first prove a factor (again) | 401 `insufficient_user_authentication` |
    ///
    /// The guard checks every method, also `OPTIONS`. With `any(..)`, a nested service or a
    /// fallback of the route, an `OPTIONS` request reaches a handler like any other request. The
    /// CORS preflight of a browser has no credential. So put a `CorsLayer` outside of the guards,
    /// where it answers first.
    ///
    /// axum answers a method that a route does not have with 405, and runs nothing. In
    /// [`auth.router()`](Self::router), and with the `route_layer` of a method router
    /// (`get(..).route_layer(..)`), the guard does not check this answer. With the `route_layer` of
    /// a whole router it does.
    ///
    /// You can pass a permission that was declared with [`permissions!`](crate::permissions):
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

/// A guard, see [`Portcullis::require`].
#[derive(Clone)]
#[must_use = "a guard protects nothing until it is added as a layer"]
pub struct Require {
    requirement: Requirement,
    instance: Instance,
    credentials: AcceptedCredentials,
}

impl Require {
    pub(crate) fn new(requirement: Requirement) -> Self {
        Self { requirement, instance: Instance::Whole, credentials: AcceptedCredentials::Session }
    }

    #[cfg(feature = "routes")]
    pub(crate) fn requirement(&self) -> &Requirement {
        &self.requirement
    }

    /// Returns what [`credentials`](Self::credentials) was given.
    #[cfg(feature = "routes")]
    pub(crate) fn accepted(&self) -> AcceptedCredentials {
        self.credentials
    }

    /// Returns the path parameter that [`on_path`](Self::on_path) was given.
    #[cfg(feature = "routes")]
    pub(crate) fn parameter(&self) -> Option<&str> {
        self.instance.parameter()
    }

    /// Returns why the requirement cannot be checked on one instance, if the guard would do that.
    /// Such a guard is a bug in the application.
    pub(crate) fn fault(&self) -> Option<String> {
        let place = self.instance.call()?;
        let what = self.requirement.not_on_an_instance()?;
        Some(format!(
            "`{}` with `{place}`: {what} cannot be limited to one instance; put it into a separate \
             guard without `{place}`",
            self.requirement
        ))
    }

    /// Requires the permission on the one instance that the path parameter names. On `/docs/{id}`,
    /// `doc:read` becomes `doc:read:42`. An id that contains permission syntax is answered with
    /// 404, because no instance can have it.
    ///
    /// The id is compared as it is in the path, percent-decoded once. `/docs/07` requires
    /// `doc:read:07`, and `07` is another instance than `7`. If your handler reads both as the
    /// number 7, it must refuse the spelling that it would not write itself. Or it checks the id of
    /// what it loaded.
    ///
    /// # What is refused
    /// - The path does not have the parameter, or has it twice. A nested router can repeat a name.
    /// - The requirement contains `not(..)` or `role(..)`, or contains no permission.
    ///
    /// In these cases [`auth.router()`](Portcullis::router) panics when you finish it. A plain
    /// router answers 500 `guard_misconfigured` and reports a finding with that code. No request
    /// passes.
    #[cfg(feature = "routes")]
    pub fn on_path(mut self, parameter: &str) -> Self {
        self.instance = Instance::Path(parameter.into());
        self
    }

    /// Does the same as `on_path`, with an id from anywhere in the request. If `id` returns `None`,
    /// the answer is 404.
    pub fn on(mut self, id: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        self.instance = Instance::Custom(Arc::new(id));
        self
    }

    /// Says which credentials the route accepts. Without this, only sessions. The scopes of a key are a
    /// ceiling, so a key needs a scope for each permission and role of the requirement. A `custom` rule is
    /// never met by a key, and neither is a factor.
    ///
    /// The handler takes [`Principal`](crate::Principal), [`ApiKeyIdentity`](crate::ApiKeyIdentity) or
    /// [`Account`](crate::Account). With [`Identity`](crate::Identity), [`Session`](crate::Session) or
    /// [`Allowed`](super::Allowed) it still refuses keys.
    ///
    /// ```
    /// # #[cfg(feature = "routes")]
    /// # mod example {
    /// use portcullis::Principal;
    /// use portcullis::guard::AcceptedCredentials;
    ///
    /// portcullis::permissions! { build: Start; }
    ///
    /// async fn start(who: Principal) -> String {
    ///     format!("started for {}", who.account().id())
    /// }
    ///
    /// fn builds(auth: &portcullis::Portcullis) -> axum::Router {
    ///     let guard = auth.require(build::Start).credentials(AcceptedCredentials::SessionOrApiKey);
    ///     axum::Router::new().route("/builds", axum::routing::post(start)).route_layer(guard)
    /// }
    /// # }
    /// ```
    pub fn credentials(mut self, credentials: AcceptedCredentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// Checks the request. Its body is not read.
    async fn judge(&self, parts: &mut Parts) -> Result<(), Rejection> {
        let request_identity = RequestIdentity::of(&parts.extensions)?;
        // This comes first: a client that is not signed in must not learn which ids can exist.
        let principal = principal(&request_identity, parts, self.credentials).await?;
        let Some(id) = self.instance.find(&request_identity, parts).await? else {
            let rule = &self.requirement;
            return decide(&request_identity, parts, &principal, rule, rule);
        };
        let asked = match self.requirement.on(&id) {
            Ok(asked) => asked,
            Err(PermissionError::NotOnInstance { .. }) => {
                let fault = self.fault().unwrap_or_default();
                return Err(misconfigured(&request_identity, fault));
            }
            Err(_) => return Err(AuthError::NoSuchInstance.into()),
        };
        // The audit log gets the rule of the route, without the id. Otherwise a client that tries
        // many ids would fill it.
        decide(&request_identity, parts, &principal, &asked, &self.requirement)
    }
}

impl Admit for Require {
    fn admit<'a>(&'a self, parts: &'a mut Parts) -> Admitting<'a> {
        Box::pin(self.judge(parts))
    }
}

/// Writes the requirement, its instance, and who may show which credential, if it is not only a session:
/// `permission(doc:read) on {id} by session or API key`.
impl fmt::Display for Require {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.requirement, self.instance)?;
        match self.credentials {
            AcceptedCredentials::Session => Ok(()),
            more => write!(f, " by {more}"),
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

/// The service that the layer [`Require`] makes.
pub type RequireService<S> = Guarded<S>;
