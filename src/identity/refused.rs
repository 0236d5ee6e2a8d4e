//! Requests that are turned away because of where they come from or what they carry: told to the
//! operator, who would otherwise not learn why people cannot sign in.
//!
//! A request that is refused before anybody looks at an account leaves no event. Behind a proxy that
//! rewrites `Host`, with a `public_url` that is not the one in the address bar, every sign-in is
//! refused like that.
//!
//! 1. The first refusal of a kind in a minute is a warning in the log. It names what was compared.
//!    Those that follow in that minute are counted, and the next warning says how many there were.
//! 2. At the twentieth of a kind within ten minutes there is a finding. It shows the last request of
//!    them; the twentieth of later ten minutes takes its place.
//!
//! What the request says is shortened and written in its escaped form, so that it cannot forge a line.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::base::same_origin::Facts;
use crate::context::Context;
use crate::handle::{PerInstance, Portcullis};

/// How long a warning of one kind is enough.
const QUIET: Duration = Duration::from_secs(60);
/// So many refusals of one kind...
const OFTEN: u32 = 20;
/// ...within this are a finding.
const WINDOW: Duration = Duration::from_secs(600);
/// So much of a header is shown.
const SHOWN: usize = 100;

/// The codes of the findings, in the order of their places.
const FINDINGS: [&str; Refused::COUNT] =
    ["cross_site_requests_refused", "several_credentials_refused", "forms_without_origin_refused"];

/// What a request is refused for.
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

    /// What happened.
    fn told(self) -> &'static str {
        match self {
            Self::CrossSite => {
                "requests are refused as sent by a page of another site. If they are your own pages, \
                 `service.public_url` is not the address that people see, a proxy changes `Host`, or \
                 the page's origin is missing in `service.trusted_origins`"
            }
            Self::SeveralCredentials => {
                "requests are refused because they carry more than one credential. A client should \
                 send the cookie or the bearer token; two cookies of one name are set by two services \
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
    /// Since the last warning.
    silent: u32,
    window_began_at: Option<Timestamp>,
    in_window: u32,
}

/// What an instance remembers of refusals.
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

    /// Of a credential nothing is shown.
    pub(crate) fn nothing(what: &str) -> Self {
        Self(what.to_owned())
    }
}

impl Portcullis {
    /// Notes a request that is refused.
    pub(crate) fn note_refused(&self, kind: Refused, compared: &Compared) {
        let now = self.context().now();
        // A clock that was set back begins anew, or a window would last as long as the step.
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
            // In the place of an earlier one: that may have been what a stranger made up, and this is
            // what a proxy does now.
            self.update_finding(
                FINDINGS[kind.place()],
                Some(format!(
                    "{OFTEN} {text}. The last one: {compared}; `service.public_url` is {public_url:?}"
                )),
            );
        }
    }
}
