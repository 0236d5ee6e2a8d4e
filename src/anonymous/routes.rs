//! `POST /session/anonymous`.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use http::StatusCode;
use serde::Deserialize;

use crate::base::client::{ClientInfo, rate_key};
use crate::base::clock::Clock;
use crate::base::problem::{Problem, Rejection};
use crate::context::Context;
use crate::handle::{Portcullis, Room};
use crate::identity::extract::Before;
use crate::identity::slot::Resolved;
use crate::route::{self, OptionalBody, mount, signed_in};
use crate::session::Transport;

/// The route that starts an anonymous session.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    mount(auth, "anonymous", Router::new().route("/session/anonymous", post(start)))
}

/// Why no anonymous session was started.
#[derive(Debug, thiserror::Error)]
enum AnonymousError {
    #[error("too many visitors from this source; try again later")]
    RateLimited(Duration),
    #[error("this client has a session already")]
    AlreadySignedIn,
}

impl Problem for AnonymousError {
    fn status(&self) -> StatusCode {
        match self {
            Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::AlreadySignedIn => StatusCode::CONFLICT,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::RateLimited(_) => "rate_limited",
            Self::AlreadySignedIn => "already_signed_in",
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited(wait) => Some(*wait),
            Self::AlreadySignedIn => None,
        }
    }
}

/// The instance's clock, as the limiter wants it.
#[derive(Clone)]
struct LimiterClock(Arc<dyn Clock>);

impl fmt::Debug for LimiterClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LimiterClock")
    }
}

impl GovernorClock for LimiterClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        let millis = u64::try_from(self.0.now().as_millis()).unwrap_or(0);
        Nanos::from(Duration::from_millis(millis))
    }
}

type PerSource =
    RateLimiter<IpAddr, DashMapStateStore<IpAddr>, LimiterClock, NoOpMiddleware<Nanos>>;

/// How many sources are remembered before those that are quiet are forgotten.
const MANY_SOURCES: usize = 10_000;

/// Anonymous sessions started per source.
struct Limiter {
    per_source: PerSource,
    clock: LimiterClock,
}

impl Room for Limiter {
    fn open(context: &Context) -> Self {
        let per_minute =
            NonZeroU32::new(context.config.session.anonymous_per_minute).unwrap_or(NonZeroU32::MIN);
        let clock = LimiterClock(Arc::clone(&context.clock));
        let quota = Quota::per_minute(per_minute);
        let store = DashMapStateStore::default();
        Self { per_source: RateLimiter::new(quota, store, clock.clone()), clock }
    }
}

impl Limiter {
    fn check(&self, source: IpAddr) -> Result<(), AnonymousError> {
        if self.per_source.len() > MANY_SOURCES {
            self.per_source.retain_recent();
        }
        self.per_source.check_key(&rate_key(source)).map_err(|not_until| {
            AnonymousError::RateLimited(not_until.wait_time_from(self.clock.now()))
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct StartBody {
    #[serde(default)]
    transport: Transport,
}

async fn start(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    before: Before,
    OptionalBody(body): OptionalBody<StartBody>,
) -> Result<Response, Rejection> {
    let transport = body.unwrap_or_default().transport;
    route::check_transport(&auth, transport)?;
    // A visitor who has a session keeps it: starting another would lose what hangs on it.
    if !matches!(before.resolved(), None | Some(Resolved::Nobody(_))) {
        return Err(AnonymousError::AlreadySignedIn.into());
    }
    if let Some(address) = client.address() {
        auth.room::<Limiter>().check(address)?;
    }
    let issued = auth.sessions().start_anonymous(&client).transport(transport).await?;
    Ok(signed_in(StatusCode::CREATED, issued))
}
