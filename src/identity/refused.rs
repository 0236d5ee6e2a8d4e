//! Requests that are refused because of their origin or their credentials. The operator is told,
//! because otherwise they would not learn why people cannot sign in.
//!
//! A request that is refused before an account is read leaves no event. Two wrong set-ups cause
//! this for every sign-in: a proxy that rewrites `Host`, and a `public_url` that differs from the
//! address bar.
//!
//! 1. The first refusal of a kind within a minute is logged as a warning. It names what was
//!    compared. Later ones in that minute are only counted, and the next warning contains their
//!    number.
//! 2. The twentieth refusal of a kind within ten minutes is reported as a finding, with the last
//!    request. The twentieth in a later period of ten minutes replaces it.
//!
//! Values from the request are shortened and escaped, so that they cannot forge a log line.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::base::same_origin::Facts;
use crate::context::Context;
use crate::handle::{PerInstance, Portcullis};

/// The time after a warning in which no other warning of its kind is logged.
const QUIET: Duration = Duration::from_secs(60);
/// This number of refusals of one kind...
const OFTEN: u32 = 20;
/// ...within this time is reported as a finding.
const WINDOW: Duration = Duration::from_secs(600);
/// How many bytes of a header are shown.
const SHOWN: usize = 100;

/// The codes of the findings, in the order of [`Refused::place`].
const FINDINGS: [&str; Refused::COUNT] =
    ["cross_site_requests_refused", "several_credentials_refused", "forms_without_origin_refused"];

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    CrossSite,
    SeveralCredentials,
    #[cfg(feature = "routes")]
    FormWithoutProof,
}

impl Refused {
    const COUNT: usize = 3;

    fn place(self) -> usize {
        match self {
            Self::CrossSite => 0,
            Self::SeveralCredentials => 1,
            #[cfg(feature = "routes")]
            Self::FormWithoutProof => 2,
        }
    }

    /// The text for the operator.
    fn told(self) -> &'static str {
        match self {
            Self::CrossSite => {
                "requests are refused as sent by a page of another site. If they are your own pages, \
                 `service.public_url` is not the address that people see, a proxy changes `Host`, or \
                 the page's origin is missing in `service.trusted_origins`"
            }
            Self::SeveralCredentials => {
                "requests are refused because they carry more than one credential. A client should \
                 send the cookie, the bearer token or the API key; two cookies of one name are set by two services \
                 on one host, see `cookie.name`"
            }
            #[cfg(feature = "routes")]
            Self::FormWithoutProof => {
                "forms are refused because nothing shows that a page of this site sent them. If they \
                 are your own, `service.public_url` is not the address that people see, a proxy \
                 removes `Origin`, or the page's origin is missing in `service.trusted_origins`"
            }
        }
    }
}

#[derive(Default)]
struct Kept {
    warned_at: Option<Timestamp>,
    /// Refusals since the last warning that were not logged.
    silent: u32,
    window_began_at: Option<Timestamp>,
    in_window: u32,
}

/// The refusals that an instance remembers.
pub(crate) struct Refusals(Mutex<[Kept; Refused::COUNT]>);

impl PerInstance for Refusals {
    fn open(_: &Context) -> Self {
        Self(Mutex::default())
    }
}

/// What was compared, from the request.
#[derive(Debug, Clone)]
pub(crate) struct Compared(String);

impl Compared {
    pub(crate) fn of(facts: &Facts<'_>) -> Self {
        let shown = |value: Option<&[u8]>| match value {
            None => "none".to_owned(),
            Some(bytes) => {
                let cut = &bytes[..bytes.len().min(SHOWN)];
                format!("{:?}", String::from_utf8_lossy(cut))
            }
        };
        Self(format!(
            "Sec-Fetch-Site {}, Origin {}, Host {}",
            shown(facts.sec_fetch_site),
            shown(facts.origin),
            shown(facts.host)
        ))
    }

    /// Shows nothing of a credential, only this text.
    pub(crate) fn nothing(what: &str) -> Self {
        Self(what.to_owned())
    }
}

impl Portcullis {
    /// Records a refused request, and tells the operator if it is time to.
    pub(crate) fn note_refused(&self, kind: Refused, compared: &Compared) {
        let now = self.context().now();
        // If the clock was set back, a new period begins. Otherwise the old one would last until
        // the clock has caught up.
        let within = |since: Option<Timestamp>, span| {
            since.is_some_and(|at| at <= now && now.since(at) < span)
        };
        let refusals = self.per_instance::<Refusals>();
        let mut all = refusals.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &mut all[kind.place()];
        if !within(kept.window_began_at, WINDOW) {
            kept.window_began_at = Some(now);
            kept.in_window = 0;
        }
        kept.in_window = kept.in_window.saturating_add(1);
        let often = kept.in_window == OFTEN;
        let warned = within(kept.warned_at, QUIET);
        let before = kept.silent;
        if warned {
            kept.silent = kept.silent.saturating_add(1);
        } else {
            kept.warned_at = Some(now);
            kept.silent = 0;
        }
        drop(all);
        let (code, text) = (FINDINGS[kind.place()], kind.told());
        let public_url = self.context().config.service.public_url.as_deref().unwrap_or("not set");
        let Compared(compared) = compared;
        if !warned {
            tracing::warn!(
                target: "portcullis",
                code,
                compared = %compared,
                public_url = ?public_url,
                unlogged_before = before,
                "{text}"
            );
        }
        if often {
            // Replaces an earlier finding: that one may show a request that a stranger made up.
            // This one shows what a proxy does now.
            self.update_finding(
                FINDINGS[kind.place()],
                Some(format!(
                    "{OFTEN} {text}. The last one: {compared}; `service.public_url` is {public_url:?}"
                )),
            );
        }
    }
}
