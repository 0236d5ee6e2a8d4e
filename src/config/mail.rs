//! How mail and text messages are sent, and their limits.

use std::time::Duration;

use super::check::Checker;
use super::{Config, DAY, HOUR, MINUTE};
use crate::base::public_url::PublicUrl;
use crate::base::rate::Quota;
use crate::base::redirect::ReturnTo;

/// The placeholder of the token in a link.
const TOKEN: &str = "{token}";

/// Mail and text messages.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MailConfig {
    /// The name of the service in messages. Default: the host of the links.
    pub service_name: Option<String>,
    /// The sender address of mail. Default: `no-reply@` with the host of the links.
    pub sender: Option<String>,
    /// The origin of links, if it is not the public URL.
    pub link_origin: Option<String>,
    /// The pages to which links lead.
    pub links: LinkConfig,
    /// The minimum time between two messages of one kind to one recipient, if anyone can request
    /// them. Default: 60 s.
    pub cool_down: Duration,
    /// How many messages that anyone can request are sent to one recipient per hour. Default: 5.
    pub per_hour: u32,
    /// How many such messages one source may request, for any recipients. `None`: no limit.
    /// Default: 100 an hour.
    pub per_source: Option<Quota>,
    /// How long the link for resetting a forgotten password is valid. Default: 1 h.
    pub password_reset_lifetime: Duration,
    /// How long the link and the code of a [sign-in by mail](crate::mail_login) are valid. At most
    /// one hour. Default: 10 min.
    pub login_lifetime: Duration,
    /// True if a [sign-in by mail](crate::mail_login#new-accounts) creates an account for an address
    /// that has none, while [`login.registration`](super::LoginConfig::registration) is not closed
    /// and [`login.id`](super::LoginConfig::id) allows addresses. Default: `false`.
    pub login_creates_accounts: bool,
    /// The time limit of one delivery. Default: 30 s.
    pub send_timeout: Duration,
    /// The time before the second delivery attempt. It doubles with each further one, up to one
    /// hour. Default: 30 s.
    pub first_retry: Duration,
    /// The maximum number of delivery attempts. Default: 10, which takes slightly more than three
    /// hours. It does not apply to messages with a link that undoes a change or reopens a closed
    /// account: they are attempted until this link expires.
    pub attempts: u32,
    /// How long the outbox keeps the record of a sent message. Default: 24 h.
    pub keep: Duration,
    /// What delivers the messages. Default: a task of the library, as soon as there is a message.
    pub delivery: Delivery,
}

/// The pages of the application to which links lead. Opening one must change nothing, because mail
/// scanners open links too. The page takes the token and posts it. `{token}` stands for the token.
/// A token behind a `#` is sent to no server and appears in no log. But only a script can read it.
/// For pages without a script, use [`in_query`](Self::in_query).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LinkConfig {
    /// The page that verifies an address. Default: `/verify#token={token}`.
    pub verify: String,
    /// The page that sets a new password. Default: `/password/reset#token={token}`.
    pub password_reset: String,
    /// The page that signs in with a mailed link. Default: `/login/mail#token={token}`.
    pub login: String,
    /// The page that confirms a new mail address. Default: `/email/confirm#token={token}`.
    pub email_confirm: String,
    /// The page that undoes a change of the mail address. Default: `/email/undo#token={token}`.
    pub email_undo: String,
    /// The page that undoes a change of the phone number. Default: `/phone/undo#token={token}`.
    pub phone_undo: String,
    /// The page that confirms a further sign-in name. Default:
    /// `/login-names/confirm#token={token}`.
    pub login_name_confirm: String,
    /// The page that undoes the addition of a sign-in name. Default:
    /// `/login-names/undo#token={token}`.
    pub login_name_undo: String,
    /// The page that reopens a closed account. Default: `/account/keep#token={token}`.
    pub account_keep: String,
    /// The page that undoes the set-up of a second factor. Default:
    /// `/second-factor/undo#token={token}`.
    pub factor_undo: String,
    /// The page that objects to a recovery of the account. Default:
    /// `/account/recovery/object#token={token}`.
    pub recovery_object: String,
    /// The page that finishes a recovery with a new password. Default:
    /// `/account/recovery#token={token}`.
    pub account_recovery: String,
}

/// What delivers the messages in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// A task that the library starts when there is a message.
    Soon,
    /// The application, with [`Outbox::run`](crate::outbox::Outbox::run) or
    /// [`deliver_due`](crate::outbox::Outbox::deliver_due).
    ByApplication,
}

impl Default for MailConfig {
    fn default() -> Self {
        Self {
            service_name: None,
            sender: None,
            link_origin: None,
            links: LinkConfig::default(),
            cool_down: MINUTE,
            per_hour: 5,
            per_source: Some(Quota::new(100, HOUR)),
            password_reset_lifetime: HOUR,
            login_lifetime: 10 * MINUTE,
            login_creates_accounts: false,
            send_timeout: Duration::from_secs(30),
            first_retry: Duration::from_secs(30),
            attempts: 10,
            keep: DAY,
            delivery: Delivery::Soon,
        }
    }
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            verify: "/verify#token={token}".to_owned(),
            password_reset: "/password/reset#token={token}".to_owned(),
            login: "/login/mail#token={token}".to_owned(),
            email_confirm: "/email/confirm#token={token}".to_owned(),
            email_undo: "/email/undo#token={token}".to_owned(),
            phone_undo: "/phone/undo#token={token}".to_owned(),
            login_name_confirm: "/login-names/confirm#token={token}".to_owned(),
            login_name_undo: "/login-names/undo#token={token}".to_owned(),
            account_keep: "/account/keep#token={token}".to_owned(),
            factor_undo: "/second-factor/undo#token={token}".to_owned(),
            recovery_object: "/account/recovery/object#token={token}".to_owned(),
            account_recovery: "/account/recovery#token={token}".to_owned(),
        }
    }
}

impl LinkConfig {
    /// The same pages, with the token in the query (`/verify?token={token}`), for pages without a
    /// script. Logs of servers and proxies then contain the token. Read it with
    /// [`LinkToken`](crate::page::LinkToken), which removes it from the address at once.
    #[must_use]
    pub fn in_query() -> Self {
        let query = |page: String| page.replacen('#', "?", 1);
        let pages = Self::default();
        Self {
            verify: query(pages.verify),
            password_reset: query(pages.password_reset),
            email_confirm: query(pages.email_confirm),
            email_undo: query(pages.email_undo),
            phone_undo: query(pages.phone_undo),
            login_name_confirm: query(pages.login_name_confirm),
            login_name_undo: query(pages.login_name_undo),
            account_keep: query(pages.account_keep),
            factor_undo: query(pages.factor_undo),
            recovery_object: query(pages.recovery_object),
            account_recovery: query(pages.account_recovery),
            login: query(pages.login),
        }
    }
}

impl Config {
    /// Returns the base of links. It comes from the configuration, never from a request. An
    /// attacker could otherwise set the `Host` header and receive the token.
    pub(crate) fn link_base(&self) -> Option<PublicUrl> {
        let text = self.mail.link_origin.as_ref().or(self.service.public_url.as_ref())?;
        PublicUrl::parse(text).ok()
    }

    /// Returns a link to a page, with a token. `None` without an origin. `build()` refuses this if
    /// there is a notifier.
    pub(crate) fn link(&self, page: &str, token: &str) -> Option<String> {
        let base = self.link_base()?;
        Some(format!("{base}{}", page.replacen(TOKEN, token, 1)))
    }

    /// Returns the name of the service in messages.
    pub(crate) fn service_name(&self) -> String {
        let named = self.mail.service_name.clone();
        named.or_else(|| self.link_host()).unwrap_or_else(|| self.issuer().to_owned())
    }

    /// Returns the sender address of mail. `None` if none is configured and the host of the links
    /// is not a domain name, such as `localhost`.
    pub(crate) fn sender(&self) -> Option<String> {
        let derived = || {
            let host = self.link_host()?;
            let name = host.contains('.') && host.ends_with(|c: char| c.is_ascii_alphabetic());
            name.then(|| format!("no-reply@{host}"))
        };
        self.mail.sender.clone().or_else(derived)
    }

    /// Returns the host of the links, without its port.
    pub(crate) fn link_host(&self) -> Option<String> {
        let base = self.link_base()?;
        let (_, authority) = base.origin.as_str().split_once("://")?;
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => host,
            _ => authority,
        };
        Some(host.to_owned())
    }

    pub(super) fn check_mail(&self, check: &mut Checker) {
        let mail = &self.mail;
        if let Some(origin) = &mail.link_origin
            && let Err(error) = PublicUrl::parse(origin)
        {
            check.refuse_if(true, "mail.link_origin", error.to_string());
        }
        let hidden = |text: &str| text.chars().any(char::is_control);
        check.refuse_if(
            mail.service_name.as_ref().is_some_and(|name| {
                name.trim().is_empty() || name.chars().count() > 100 || hidden(name)
            }),
            "mail.service_name",
            "must have 1 to 100 characters on one line",
        );
        check.refuse_if(
            mail.sender.as_ref().is_some_and(|sender| {
                let plain = |c: char| c.is_ascii_graphic() && !"\"(),:;<>[\\]".contains(c);
                let one = sender.split_once('@').is_some_and(|(local, domain)| {
                    !local.is_empty() && !domain.is_empty() && !domain.contains('@')
                });
                !one || !sender.chars().all(plain)
            }),
            "mail.sender",
            "must be one plain address such as no-reply@example.com; the name beside it is mail.service_name",
        );
        let links = &mail.links;
        for (knob, page) in [
            ("mail.links.verify", &links.verify),
            ("mail.links.password_reset", &links.password_reset),
            ("mail.links.login", &links.login),
            ("mail.links.email_confirm", &links.email_confirm),
            ("mail.links.email_undo", &links.email_undo),
            ("mail.links.phone_undo", &links.phone_undo),
            ("mail.links.login_name_confirm", &links.login_name_confirm),
            ("mail.links.login_name_undo", &links.login_name_undo),
            ("mail.links.account_keep", &links.account_keep),
            ("mail.links.factor_undo", &links.factor_undo),
            ("mail.links.recovery_object", &links.recovery_object),
            ("mail.links.account_recovery", &links.account_recovery),
        ] {
            let local = ReturnTo::parse(&page.replace(TOKEN, "x")).is_some();
            check.refuse_if(
                !local || page.matches(TOKEN).count() != 1,
                knob,
                "must be a path with {token} in it once, such as /page#token={token}",
            );
        }
        for (knob, value, most) in [
            ("mail.cool_down", mail.cool_down, DAY),
            ("mail.password_reset_lifetime", mail.password_reset_lifetime, DAY),
            ("mail.login_lifetime", mail.login_lifetime, HOUR),
            ("mail.send_timeout", mail.send_timeout, HOUR),
            ("mail.first_retry", mail.first_retry, HOUR),
            ("mail.keep", mail.keep, 400 * DAY),
        ] {
            check.refuse_if(
                value < Duration::from_secs(1) || value > most,
                knob,
                format!("must be at least one second and at most {} s", most.as_secs()),
            );
        }
        check.refuse_if(mail.per_hour == 0, "mail.per_hour", "must be at least 1");
        check.refuse_if(
            mail.attempts == 0 || mail.attempts > 100,
            "mail.attempts",
            "must be at least 1 and at most 100",
        );
        check.refuse_if(
            mail.keep < HOUR,
            "mail.keep",
            "must be at least an hour, in which messages are counted",
        );
    }
}
