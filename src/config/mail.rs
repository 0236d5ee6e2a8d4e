//! How mail and text messages are sent, and how many.

use std::time::Duration;

use super::check::Checker;
use super::{Config, DAY, HOUR, MINUTE};
use crate::base::public_url::PublicUrl;
use crate::base::rate::Quota;
use crate::base::redirect::ReturnTo;

/// Where the token stands in a link.
const TOKEN: &str = "{token}";

/// Mail and text messages.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MailConfig {
    /// What the service calls itself in messages. Default: the host that links lead to.
    pub service_name: Option<String>,
    /// The address mail comes from. Default: `no-reply@` the host that links lead to.
    pub sender: Option<String>,
    /// The origin that links lead to, if it is not the public URL.
    pub link_origin: Option<String>,
    /// The pages that links lead to.
    pub links: LinkConfig,
    /// How long nothing of the same kind is sent to the same recipient again, if anyone can ask
    /// for it. Default: 60 s.
    pub cool_down: Duration,
    /// How many messages that anyone can ask for one recipient gets in an hour. Default: 5.
    pub per_hour: u32,
    /// How many messages that anyone can ask for one source may ask for, whoever they go to. `None`
    /// for any number. Default: 100 an hour.
    pub per_source: Option<Quota>,
    /// How long the link to set a forgotten password anew is good. Default: 1 h.
    pub password_reset_lifetime: Duration,
    /// How long one try may take. Default: 30 s.
    pub send_timeout: Duration,
    /// How long after a first failure it is tried again; each further time twice as long, at most
    /// an hour. Default: 30 s.
    pub first_retry: Duration,
    /// How often it is tried before it is given up. Default: 10, which is a bit over three hours.
    pub tries: u32,
    /// How long the outbox remembers that something was sent. Default: 24 h.
    pub keep: Duration,
    /// Who delivers. Default: a task of the library's, as soon as something is there.
    pub delivery: Delivery,
}

/// The pages of the application that links lead to. Opening one must change nothing: the page
/// takes the token and posts it. `{token}` stands for it; behind a `#` it is sent to no server and
/// stands in no log.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LinkConfig {
    /// Default: `/verify#token={token}`.
    pub verify: String,
    /// Default: `/password/reset#token={token}`.
    pub password_reset: String,
    /// Default: `/email/confirm#token={token}`.
    pub email_confirm: String,
    /// Default: `/email/undo#token={token}`.
    pub email_undo: String,
    /// Default: `/phone/undo#token={token}`.
    pub phone_undo: String,
    /// Default: `/login-names/confirm#token={token}`.
    pub login_name_confirm: String,
    /// Default: `/login-names/undo#token={token}`.
    pub login_name_undo: String,
}

/// Who delivers what is in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// A task that the library starts when something is put in.
    Soon,
    /// The application, by [`Outbox::run`](crate::outbox::Outbox::run) or
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
            send_timeout: Duration::from_secs(30),
            first_retry: Duration::from_secs(30),
            tries: 10,
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
            email_confirm: "/email/confirm#token={token}".to_owned(),
            email_undo: "/email/undo#token={token}".to_owned(),
            phone_undo: "/phone/undo#token={token}".to_owned(),
            login_name_confirm: "/login-names/confirm#token={token}".to_owned(),
            login_name_undo: "/login-names/undo#token={token}".to_owned(),
        }
    }
}

impl Config {
    /// Where links lead to: configured, never taken from a request.
    pub(crate) fn link_base(&self) -> Option<PublicUrl> {
        let text = self.mail.link_origin.as_ref().or(self.service.public_url.as_ref())?;
        PublicUrl::parse(text).ok()
    }

    /// A link to a page with a token in it. None without an origin, which `build()` refuses where
    /// there is a notifier.
    pub(crate) fn link(&self, page: &str, token: &str) -> Option<String> {
        let base = self.link_base()?;
        Some(format!("{base}{}", page.replacen(TOKEN, token, 1)))
    }

    /// What the service calls itself in messages.
    pub(crate) fn service_name(&self) -> String {
        let named = self.mail.service_name.clone();
        named.or_else(|| self.link_host()).unwrap_or_else(|| self.issuer().to_owned())
    }

    /// The address mail comes from. None if none is configured and links lead to an address
    /// without a name, such as `localhost`.
    pub(crate) fn sender(&self) -> Option<String> {
        let derived = || {
            let host = self.link_host()?;
            let name = host.contains('.') && host.ends_with(|c: char| c.is_ascii_alphabetic());
            name.then(|| format!("no-reply@{host}"))
        };
        self.mail.sender.clone().or_else(derived)
    }

    /// The host that links lead to, without its port.
    fn link_host(&self) -> Option<String> {
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
            ("mail.links.email_confirm", &links.email_confirm),
            ("mail.links.email_undo", &links.email_undo),
            ("mail.links.phone_undo", &links.phone_undo),
            ("mail.links.login_name_confirm", &links.login_name_confirm),
            ("mail.links.login_name_undo", &links.login_name_undo),
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
            mail.tries == 0 || mail.tries > 100,
            "mail.tries",
            "must be at least 1 and at most 100",
        );
        check.refuse_if(
            mail.keep < HOUR,
            "mail.keep",
            "must be at least an hour, in which messages are counted",
        );
    }
}
