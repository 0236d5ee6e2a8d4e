//! Devices that a person signs in from another device.

use std::time::Duration;

use super::check::Checker;
use super::{Config, DAY, MINUTE};
use crate::base::public_url::PublicUrl;
use crate::base::rate::Quota;
use crate::base::redirect::ReturnTo;

const SECOND: Duration = Duration::from_secs(1);

/// The longest id and name of a client, in bytes.
const LONGEST_NAME: usize = 64;

/// The most clients. An id is looked up in the list.
const MOST_CLIENTS: usize = 100;

/// Rules about the [login of devices](crate::device_login).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeviceLoginConfig {
    /// The programs that may ask. Without one, nothing can be started. Needs `service.bearer` and
    /// `service.public_url`. Default: none.
    pub clients: Vec<DeviceClient>,
    /// The page on which a person types the code, as a path of the service. Default: `/device`.
    pub page: String,
    /// Where [`routes`](crate::device_login::routes) are mounted. The metadata document names them. Default:
    /// `/auth`.
    pub routes_at: String,
    /// How long a person has time to decide, one minute to 30 minutes. Default: 10 min.
    pub lifetime: Duration,
    /// How long a device must wait between two polls, 1 s to 60 s. Default: 5 s.
    pub interval: Duration,
    /// How long the device has time to fetch its token after the approval, 10 s to 10 min. Default: 2 min.
    pub redeem_within: Duration,
    /// What happens if the device and the person are in different networks. Default:
    /// [`DeviceNetworks::Show`].
    pub networks: DeviceNetworks,
    /// What happens if a device shows its code again after it has got its token. Default:
    /// [`DeviceCodeReuse::Refuse`].
    pub on_reuse: DeviceCodeReuse,
    /// How many requests one source may start. `None`: no limit. Default: 10 a minute.
    pub starts_per_source: Option<Quota>,
    /// How many wrong codes an account may type, and how many a source. Default: 10 in ten minutes.
    pub wrong_codes: Quota,
}

impl Default for DeviceLoginConfig {
    fn default() -> Self {
        Self {
            clients: Vec::new(),
            page: "/device".to_owned(),
            routes_at: "/auth".to_owned(),
            lifetime: 10 * MINUTE,
            interval: 5 * SECOND,
            redeem_within: 2 * MINUTE,
            networks: DeviceNetworks::Show,
            on_reuse: DeviceCodeReuse::Refuse,
            starts_per_source: Some(Quota::per_minute(10)),
            wrong_codes: Quota::new(10, 10 * MINUTE),
        }
    }
}

/// A program that may ask to be signed in. It has no secret, because everybody can read a program that they
/// have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceClient {
    /// Its `client_id`: 1 to 64 letters, digits, dots, dashes or underscores.
    pub id: String,
    /// The name that the approving person reads.
    pub name: String,
    /// The permissions that its sessions have at most. At least one.
    pub ceiling: Vec<String>,
    /// How long its sessions last, however often they are used, one minute to 400 days. A session ends
    /// earlier if it is idle for too long. Default: 30 d.
    pub session_lifetime: Duration,
    /// If true, the person gets two digits with the approval, and must type them on the device. Programs that
    /// only know the standard cannot do this. Default: false.
    pub confirmation: bool,
    /// If true, its sessions are [bound to a key](crate::dpop) of the device, and a device without one gets no
    /// token. If false, a device that proves a key gets a bound session all the same. Default: false.
    pub key_bound: bool,
}

impl DeviceClient {
    /// A client that may do nothing yet.
    pub fn new(id: impl Into<String>, name: impl Into<String>) -> Self {
        let (id, name) = (id.into(), name.into());
        Self {
            id,
            name,
            ceiling: Vec::new(),
            session_lifetime: 30 * DAY,
            confirmation: false,
            key_bound: false,
        }
    }

    /// Sets the permissions that its sessions have at most.
    #[must_use]
    pub fn ceiling(mut self, permissions: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.ceiling = permissions.into_iter().map(Into::into).collect();
        self
    }

    /// Sets how long its sessions last.
    #[must_use]
    pub fn session_lifetime(mut self, lifetime: Duration) -> Self {
        self.session_lifetime = lifetime;
        self
    }

    /// Asks for two digits on the device.
    #[must_use]
    pub fn with_confirmation(mut self) -> Self {
        self.confirmation = true;
        self
    }

    /// Binds its sessions to a key of the device.
    #[must_use]
    pub fn key_bound(mut self) -> Self {
        self.key_bound = true;
        self
    }
}

/// What happens if the device and the approving person are in different networks (IPv4 /24, IPv6 /64).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceNetworks {
    /// Nothing is compared.
    Off,
    /// The person is told.
    Show,
    /// It cannot be approved. It cannot be approved either if one of the addresses is not known.
    Require,
}

/// What happens if a device shows its code again, more than 30 s after it has got its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceCodeReuse {
    /// It is refused.
    Refuse,
    /// It is refused, and the session of the first use is marked suspicious.
    MarkSuspicious,
}

impl Config {
    /// Returns the URL of a path of the service, as people see it.
    pub(crate) fn public_path(&self, path: &str) -> Option<String> {
        self.public_url().map(|url| format!("{url}{path}"))
    }

    pub(super) fn check_device_login(&self, check: &mut Checker) {
        let config = &self.device_login;
        let clients = &config.clients;
        check.refuse_if(
            !clients.is_empty() && !self.service.bearer,
            "device_login.clients",
            "devices get bearer tokens: set `service.bearer`",
        );
        let public = self.service.public_url.as_deref().map(PublicUrl::parse);
        check.refuse_if(
            !clients.is_empty() && !matches!(public, Some(Ok(_))),
            "device_login.clients",
            "devices show the address of the page, which is never built from a request's Host: set \
             `service.public_url`",
        );
        check.refuse_if(
            clients.len() > MOST_CLIENTS,
            "device_login.clients",
            "must be at most 100",
        );
        for (at, client) in clients.iter().enumerate() {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            let sound =
                (1..=LONGEST_NAME).contains(&client.id.len()) && client.id.bytes().all(plain);
            check.refuse_if(
                !sound,
                "device_login.clients",
                "the id of a client has 1 to 64 letters, digits, dots, dashes or underscores",
            );
            check.refuse_if(
                clients.iter().take(at).any(|other| other.id == client.id),
                "device_login.clients",
                format!("there are two clients `{}`", client.id),
            );
            let name = client.name.trim();
            check.refuse_if(
                name.is_empty()
                    || client.name.len() > LONGEST_NAME
                    || client.name.chars().any(char::is_control),
                "device_login.clients",
                "the name of a client has 1 to 64 bytes",
            );
            let permission = |text: &String| {
                (1..=256).contains(&text.len()) && !text.contains(char::is_whitespace)
            };
            check.refuse_if(
                client.ceiling.is_empty() || !client.ceiling.iter().all(permission),
                "device_login.clients",
                format!("`{}` needs a ceiling of at least one permission", client.id),
            );
            check.refuse_if(
                !(MINUTE..=400 * DAY).contains(&client.session_lifetime),
                "device_login.clients",
                "a session of a client lasts between one minute and 400 days",
            );
        }
        for (knob, path) in
            [("device_login.page", &config.page), ("device_login.routes_at", &config.routes_at)]
        {
            let plain = ReturnTo::parse(path).is_some() && !path.contains(['?', '#']);
            check.refuse_if(!plain, knob, "must be a path of the service, such as `/device`");
        }
        check.refuse_if(
            !(MINUTE..=30 * MINUTE).contains(&config.lifetime),
            "device_login.lifetime",
            "must be between one minute and 30 minutes",
        );
        check.refuse_if(
            !(SECOND..=MINUTE).contains(&config.interval),
            "device_login.interval",
            "must be between one second and 60 seconds",
        );
        check.refuse_if(
            !(10 * SECOND..=10 * MINUTE).contains(&config.redeem_within)
                || config.redeem_within < 2 * config.interval,
            "device_login.redeem_within",
            "must be between ten seconds and ten minutes, and at least twice the interval",
        );
        let quotas = [config.starts_per_source, Some(config.wrong_codes)];
        check.refuse_if(
            quotas.into_iter().flatten().any(|quota| quota.count == 0 || quota.period.is_zero()),
            "device_login",
            "a limit must be at least 1 in a period that is longer than zero",
        );
    }
}
