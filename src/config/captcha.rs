//! Captchas: after how many failures one is needed, and their limits.

use std::time::Duration;

use super::check::Checker;
use super::{Config, MINUTE};
use crate::base::rate::Quota;

/// When a captcha is needed, and its limits. Nothing of this is used without a
/// [captcha](crate::Builder::captcha). See [`captcha`](crate::captcha).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CaptchaConfig {
    /// How many sign-ins of one source or with one name may fail within `window` before a captcha is
    /// needed. With 0 it is always needed, except on known devices. `None`: never. Default: 5.
    pub login_after: Option<u32>,
    /// How many registrations of one source or with one name may come within `window` before a captcha
    /// is needed. With 0 it is always needed. `None`: never. Default: 3.
    pub register_after: Option<u32>,
    /// The same for requests for a link to reset a password. Known devices are not asked. Default: 3.
    pub forgot_after: Option<u32>,
    /// The time in which failures are counted, from the first one. Default: 10 min.
    pub window: Duration,
    /// How long a captcha can be answered, 30 s to 1 h. Default: 5 min.
    pub lifetime: Duration,
    /// How often the digits of one picture may be answered, 1 to 10. Default: 3.
    pub attempts: u32,
    /// How often one picture may be fetched, drawn or spoken, 1 to 100. Default: 10.
    pub fetches: u32,
    /// How many captchas one source may ask for. Default: 30 a minute.
    pub per_source: Quota,
    /// How many pictures are drawn and proofs are checked at the same time. Default: 2.
    pub workers: usize,
    /// How long a request waits for that before it is answered 503. Default: 5 s.
    pub wait: Duration,
    /// The time limit of a provider. After it, the request is answered 503. Default: 5 s.
    pub provider_timeout: Duration,
}

impl Default for CaptchaConfig {
    fn default() -> Self {
        Self {
            login_after: Some(5),
            register_after: Some(3),
            forgot_after: Some(3),
            window: 10 * MINUTE,
            lifetime: 5 * MINUTE,
            attempts: 3,
            fetches: 10,
            per_source: Quota::per_minute(30),
            workers: 2,
            wait: Duration::from_secs(5),
            provider_timeout: Duration::from_secs(5),
        }
    }
}

impl Config {
    pub(super) fn check_captcha(&self, check: &mut Checker) {
        let captcha = &self.captcha;
        let second = Duration::from_secs(1);
        check.refuse_if(
            captcha.window < second || captcha.window > 24 * 60 * MINUTE,
            "captcha.window",
            "must be between one second and a day",
        );
        check.refuse_if(
            captcha.lifetime < 30 * second || captcha.lifetime > 60 * MINUTE,
            "captcha.lifetime",
            "must be between 30 seconds, or nobody could answer in time, and an hour",
        );
        check.refuse_if(
            !(1..=10).contains(&captcha.attempts),
            "captcha.attempts",
            "must be between 1 and 10",
        );
        check.refuse_if(
            !(1..=100).contains(&captcha.fetches),
            "captcha.fetches",
            "must be between 1 and 100",
        );
        let quota = captcha.per_source;
        check.refuse_if(
            quota.count == 0 || quota.period.is_zero() || quota.period > 24 * 60 * MINUTE,
            "captcha.per_source",
            "needs a count of at least 1 and a period of at most a day",
        );
        check.refuse_if(
            !(1..=64).contains(&captcha.workers),
            "captcha.workers",
            "must be between 1 and 64",
        );
        for (knob, time) in
            [("captcha.wait", captcha.wait), ("captcha.provider_timeout", captcha.provider_timeout)]
        {
            check.refuse_if(
                time.is_zero() || time > MINUTE,
                knob,
                "must be longer than zero and at most a minute",
            );
        }
    }
}
