//! When a mounted route asks for a captcha: after failures of the source or of the typed name.

use std::sync::Arc;

use super::Captchas;
use super::error::CaptchaError;
use super::keys::CaptchaKeys;
use super::kind::{Captcha, CaptchaResponse};
use super::store;
use crate::base::client::{ClientInfo, rate_key};
use crate::base::secret::{DigestKey, Purpose};
use crate::base::transaction::Fault;
use crate::context::Context;

/// The flows that a captcha can guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guarded {
    Login,
    Register,
    Forgot,
}

impl Guarded {
    const ALL: [Self; 3] = [Self::Login, Self::Register, Self::Forgot];

    /// Returns the action for which a captcha must be.
    fn action(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Register => "register",
            Self::Forgot => "forgot",
        }
    }
}

/// What is counted: a source, or a typed name.
#[derive(Debug, Clone, Copy)]
enum Counted<'a> {
    Source(&'a str),
    Name(&'a str),
}

/// Returns the digest under which failures are counted.
fn subject(key: &DigestKey, guarded: Guarded, counted: Counted<'_>) -> [u8; 32] {
    let (what, value) = match counted {
        Counted::Source(source) => ("source", source),
        Counted::Name(name) => ("name", name),
    };
    key.digest_parts(&[guarded.action().as_bytes(), what.as_bytes(), value.as_bytes()])
}

/// Returns the digests of everything that may be counted about these names, under each secret.
pub(crate) fn subjects_about(context: &Context, names: &[String]) -> Vec<Vec<u8>> {
    let keys = context.config.keys.secrets.iter();
    let keys = keys.map(|secret| DigestKey::new(secret, Purpose::CaptchaSubject));
    let of_key = |key: DigestKey| {
        let of_name = |name: &String| {
            Guarded::ALL.map(|guarded| subject(&key, guarded, Counted::Name(name)).to_vec())
        };
        names.iter().flat_map(of_name).collect::<Vec<_>>()
    };
    keys.flat_map(of_key).collect()
}

/// The guard of one request.
pub(crate) struct CaptchaGuard<'a> {
    captchas: Captchas<'a>,
    captcha: Arc<dyn Captcha>,
    guarded: Guarded,
    client: &'a ClientInfo,
    /// How many failures are free.
    after: i64,
    /// The counts of this request, sorted, each with the factor of its limit. A fixed order of rows
    /// makes a deadlock of two requests impossible.
    counts: Vec<([u8; 32], i64)>,
}

impl<'a> Captchas<'a> {
    /// Returns the guard of a request with these typed names, in their normal forms. `None` if nothing
    /// guards this flow. Never call it for a device that the account knows.
    pub(crate) fn guard(
        &self,
        guarded: Guarded,
        names: &[&str],
        client: &'a ClientInfo,
    ) -> Option<CaptchaGuard<'a>> {
        let context = self.auth.context();
        let config = &context.config.captcha;
        let after = match guarded {
            Guarded::Login => config.login_after,
            Guarded::Register => config.register_after,
            Guarded::Forgot => config.forgot_after,
        };
        let (captcha, after) = self.captcha().zip(after)?;
        let keys = context.per_instance::<CaptchaKeys>();
        let subject = |counted| subject(&keys.subjects, guarded, counted);
        // All clients without a known address are one source, which may fail as often as several.
        let (source, share) = match client.address() {
            Some(address) => (rate_key(address).to_string(), 1),
            None => ("unknown".to_owned(), i64::from(context.config.rate.unknown_sources)),
        };
        let of_names = names.iter().map(|name| (subject(Counted::Name(name)), 1));
        let mut counts: Vec<_> = of_names.collect();
        counts.push((subject(Counted::Source(&source)), share));
        counts.sort_unstable();
        counts.dedup();
        let after = i64::from(after);
        Some(CaptchaGuard { captchas: *self, captcha, guarded, client, after, counts })
    }
}

impl CaptchaGuard<'_> {
    /// Counts the request, and lets it through if it needs no captcha or has solved one, which is then
    /// used up. A request that is not let through does not count.
    ///
    /// It counts before anything is compared, so a burst of parallel requests gets no further than one
    /// after the other. Call [`take_back`](Self::take_back) if it was no failure.
    ///
    /// The answer depends only on the source and on what was typed, and not on whether there is such
    /// an account.
    pub(crate) async fn admit(
        &self,
        response: Option<&CaptchaResponse>,
    ) -> Result<(), CaptchaError> {
        self.count().await?;
        let admitted = self.judge(response).await;
        if admitted.is_err() {
            self.take_back().await;
        }
        admitted
    }

    async fn judge(&self, response: Option<&CaptchaResponse>) -> Result<(), CaptchaError> {
        if !self.is_needed().await? {
            return Ok(());
        }
        #[cfg(feature = "routes")]
        self.look_for_another_way();
        let action = self.guarded.action();
        self.captchas.check_with(&*self.captcha, action, response, self.client).await
    }

    async fn is_needed(&self) -> Result<bool, Fault> {
        if self.after == 0 {
            return Ok(true);
        }
        let context = self.captchas.auth.context();
        let db = context.db();
        let over = context.now().minus(context.config.captcha.window);
        let subjects = self.subjects();
        let found = db.read(store::counts(&db.executor(), &subjects, over)).await?;
        Ok(found.iter().any(|(subject, failures)| {
            let share = self.counts.iter().find(|(known, _)| known[..] == subject[..]);
            // This request is one of them.
            share.is_some_and(|(_, share)| *failures > self.after.saturating_mul(*share))
        }))
    }

    /// Counts a failure of the source and of the names.
    async fn count(&self) -> Result<(), Fault> {
        let context = self.captchas.auth.context();
        let db = context.db();
        let executor = db.executor();
        let now = context.now();
        let over = now.minus(context.config.captcha.window);
        let subjects = self.subjects();
        db.retry(|| store::count(&executor, &subjects, over, now)).await
    }

    /// Takes the count of this request back, because it was no failure. An outage leaves it: one failure
    /// too many asks for a captcha early, and does no other harm.
    pub(crate) async fn take_back(&self) {
        let context = self.captchas.auth.context();
        let db = context.db();
        let executor = db.executor();
        let over = context.now().minus(context.config.captcha.window);
        let subjects = self.subjects();
        if let Err(fault) = db.retry(|| store::take_back(&executor, &subjects, over)).await {
            tracing::debug!(target: "portcullis", error = ?fault, "a count of captchas was not taken back");
        }
    }

    fn subjects(&self) -> Vec<[u8; 32]> {
        self.counts.iter().map(|(subject, _)| *subject).collect()
    }

    /// Reports to the operator that people who cannot solve a captcha cannot sign in from a new device.
    #[cfg(feature = "routes")]
    fn look_for_another_way(&self) {
        let auth = self.captchas.auth;
        let guards_login = self.guarded == Guarded::Login && auth.is_mounted("login");
        if guards_login && !auth.is_mounted("mail_login") {
            auth.report_finding(
                "captcha_without_another_way",
                "a captcha guards signing in, and the routes of `mail_login` are not mounted: WCAG 2.2 \
                 (3.3.8) asks for a way to sign in without a puzzle, also from a new device",
            );
        }
    }
}
