//! The one thing that a request is about, as a guard finds it.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;

use crate::base::problem::Rejection;
use crate::identity::AuthError;
use crate::identity::request_identity::RequestIdentity;

/// Finds the id of what a request is about.
pub(crate) type FindId = dyn Fn(&Parts) -> Option<String> + Send + Sync;

/// Where a guard finds the id of what a request is about.
#[derive(Clone)]
pub(crate) enum Instance {
    /// The request is about nothing in particular.
    Whole,
    #[cfg(feature = "routes")]
    Path(Arc<str>),
    Custom(Arc<FindId>),
}

impl Instance {
    /// Returns the id. `None` if the request is about nothing in particular.
    pub(crate) async fn find(
        &self,
        request_identity: &RequestIdentity,
        parts: &mut Parts,
    ) -> Result<Option<String>, Rejection> {
        #[cfg(not(feature = "routes"))]
        let _ = request_identity;
        let found = match self {
            Self::Whole => return Ok(None),
            #[cfg(feature = "routes")]
            Self::Path(name) => match path_parameter(parts, name).await {
                Ok(found) => found,
                Err(fault) => return Err(misconfigured(request_identity, fault)),
            },
            Self::Custom(find) => find(parts),
        };
        Ok(Some(found.ok_or(AuthError::NoSuchInstance)?))
    }

    /// Returns the path parameter, if it is one.
    #[cfg(feature = "routes")]
    pub(crate) fn parameter(&self) -> Option<&str> {
        match self {
            Self::Path(name) => Some(name),
            Self::Whole | Self::Custom(_) => None,
        }
    }

    /// Returns the call that says where it is, for a message.
    pub(crate) fn call(&self) -> Option<String> {
        match self {
            Self::Whole => None,
            #[cfg(feature = "routes")]
            Self::Path(name) => Some(format!(".on_path({name:?})")),
            Self::Custom(_) => Some(".on(..)".to_owned()),
        }
    }
}

/// Writes what comes after the requirement of a guard, such as ` on {id}`.
impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            #[cfg(feature = "routes")]
            Self::Path(name) => write!(f, " on {{{name}}}"),
            Self::Custom(_) => f.write_str(" on an instance"),
        }
    }
}

/// Refuses the request of a guard that cannot decide, and reports a finding to the operator.
pub(crate) fn misconfigured(request_identity: &RequestIdentity, fault: String) -> Rejection {
    request_identity.auth().report_finding("guard_misconfigured", &fault);
    AuthError::Misconfigured(fault).into()
}

/// Returns a parameter of the path, or `None` if a parameter of the path is not UTF-8. An error
/// says what is wrong with the route.
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
        // Nested routers may each have a parameter of this name. Nothing says which one is meant.
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
