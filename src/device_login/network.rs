//! The networks of the device and of the person, and their names.

use std::net::IpAddr;
use std::sync::Arc;

use crate::base::client::same_network;
use crate::config::DeviceNetworks;
use crate::context::{Context, PerInstance};
use crate::handle::Builder;

/// Names networks, for the comparison of a device with a person. A phone and a television in one home often have
/// addresses of different networks, but of one provider.
///
/// ```no_run
/// use std::net::IpAddr;
///
/// use portcullis::device_login::NetworkNames;
///
/// struct Providers; // for example a database of autonomous systems, in memory
///
/// impl NetworkNames for Providers {
///     fn name_of(&self, address: IpAddr) -> Option<String> {
///         match address {
///             IpAddr::V4(address) if address.octets()[0] == 10 => Some("our office".to_owned()),
///             _ => None,
///         }
///     }
/// }
///
/// # fn set_up(builder: portcullis::Builder) -> portcullis::Builder {
/// builder.network_names(Providers)
/// # }
/// ```
pub trait NetworkNames: Send + Sync + 'static {
    /// Returns the name of the network that has this address, if it is known. People read it, and two addresses
    /// with one name count as one network. It is called for each look at a request, so it must not wait.
    fn name_of(&self, address: IpAddr) -> Option<String>;
}

/// What the application has given.
#[derive(Default)]
pub(super) struct Names(Option<Arc<dyn NetworkNames>>);

impl PerInstance for Names {
    fn open(_: &Context) -> Self {
        Self::default()
    }
}

impl Names {
    pub(super) fn name_of(&self, address: Option<IpAddr>) -> Option<String> {
        self.0.as_ref()?.name_of(address?)
    }
}

impl Builder {
    /// Sets where the names of networks come from, for [device logins](crate::device_login).
    pub fn network_names(mut self, names: impl NetworkNames) -> Self {
        self.state::<Names>().0 = Some(Arc::new(names));
        self
    }
}

/// Whether the device is in the network of the person: IPv4 /24, IPv6 /64, or [one name](NetworkNames).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ComparedNetworks {
    /// It is not compared.
    NotCompared,
    /// It is.
    Same,
    /// It is not.
    Different,
    /// One of the addresses is not known.
    Unknown,
}

impl ComparedNetworks {
    pub(super) fn of(
        policy: DeviceNetworks,
        names: &Names,
        device: Option<IpAddr>,
        person: Option<IpAddr>,
    ) -> Self {
        let named_alike = || {
            let name = names.name_of(device);
            name.is_some() && name == names.name_of(person)
        };
        match (policy, device.zip(person)) {
            (DeviceNetworks::Off, _) => Self::NotCompared,
            (_, None) => Self::Unknown,
            (_, Some((device, person))) if same_network(device, person) || named_alike() => {
                Self::Same
            }
            (_, Some(_)) => Self::Different,
        }
    }

    /// Returns the name in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotCompared => "not_compared",
            Self::Same => "same",
            Self::Different => "different",
            Self::Unknown => "unknown",
        }
    }

    /// Returns a sentence for the page. `None` if nothing was compared.
    pub const fn in_words(self) -> Option<&'static str> {
        match self {
            Self::NotCompared => None,
            Self::Same => Some("The device is in the same network as you."),
            Self::Different => Some(
                "The device is not in the same network as you. If it should be next to you, deny this.",
            ),
            Self::Unknown => Some("It is not known where the device is."),
        }
    }
}
