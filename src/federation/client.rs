//! Requests to providers over reqwest: no redirects, no proxy of the environment, little patience, and no private
//! addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

use crate::port::{HookError, HookFuture, HttpAnswer, ProviderHttp, ProviderRequest};

/// The largest answer that is read.
const MOST_BYTES: usize = 64 * 1024;

/// How long a connection may take. The whole request has a limit of its own.
const CONNECT: Duration = Duration::from_secs(5);

/// Asks providers over reqwest. It follows no redirect, uses no proxy, reads at most 64 KiB, and connects only to public
/// addresses, unless a [provider](crate::config::Provider::danger_private_addresses) may have private ones.
#[derive(Debug, Clone)]
pub struct ProviderClient {
    public: Client,
    any: Client,
}

impl ProviderClient {
    /// Makes a client with the certificates of the system.
    ///
    /// # Errors
    /// TLS cannot be set up, for example because the system has no certificates.
    pub fn new() -> Result<Self, HookError> {
        let builder = || {
            Client::builder()
                .redirect(Policy::none())
                .no_proxy()
                .referer(false)
                .connect_timeout(CONNECT)
                .user_agent("portcullis")
        };
        let public = builder().dns_resolver(Arc::new(PublicAddresses)).build()?;
        Ok(Self { public, any: builder().build()? })
    }

    /// Returns the client for a URL, if the URL may be asked.
    fn client_for(&self, url: &Url, private_addresses: bool) -> Result<&Client, HookError> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL of a provider has user information".into());
        }
        match (url.scheme(), private_addresses) {
            ("https", _) | ("http", true) => {}
            _ => return Err("a URL of a provider is no https URL".into()),
        }
        if private_addresses {
            return Ok(&self.any);
        }
        // An address needs no resolver, so it is checked here. The parser has brought it to its one form.
        let host = url.host_str().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(address) if !is_public(address) => Err(private_address()),
            Ok(_) | Err(_) => Ok(&self.public),
        }
    }

    async fn ask(&self, request: &ProviderRequest) -> Result<HttpAnswer, HookError> {
        let url = Url::parse(&request.url)?;
        let client = self.client_for(&url, request.private_addresses)?;
        let mut asked = match &request.form {
            Some(fields) => {
                let fields: Vec<(&str, &str)> =
                    fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let body = serde_urlencoded::to_string(&fields)?;
                client
                    .post(url)
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(body)
            }
            None => client.get(url),
        };
        asked = asked.header(ACCEPT, "application/json");
        if let Some(authorization) = &request.authorization {
            let mut value = http::HeaderValue::from_str(authorization)?;
            value.set_sensitive(true);
            asked = asked.header(AUTHORIZATION, value);
        }
        let mut answer = asked.send().await?;
        let too_large = || HookError::from("the answer of the provider is larger than 64 KiB");
        if answer.content_length().is_some_and(|length| length > MOST_BYTES as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > MOST_BYTES {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpAnswer::new(answer.status().as_u16(), body))
    }
}

impl ProviderHttp for ProviderClient {
    fn send<'a>(&'a self, request: &'a ProviderRequest) -> HookFuture<'a, HttpAnswer> {
        Box::pin(self.ask(request))
    }
}

fn private_address() -> HookError {
    "a URL of a provider leads to a private address; see Provider::danger_private_addresses".into()
}

/// Looks up names, and leaves out private addresses. The connection goes to what is returned here, so a name that changes
/// in between leads nowhere else.
struct PublicAddresses;

impl Resolve for PublicAddresses {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|found| is_public(found.ip())).collect();
            match public.is_empty() {
                true => Err(private_address()),
                false => Ok(Box::new(public.into_iter()) as Addrs),
            }
        })
    }
}

/// True for an address in the public internet. The ranges are those of the IANA registries of special-purpose addresses.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        // Shared by customers of a carrier.
        || a == 100 && (64..128).contains(&b)
        // Protocol assignments and benchmarks.
        || a == 192 && b == 0 && c == 0
        || a == 192 && b == 88 && c == 99
        || a == 198 && (18..20).contains(&b)
        // Reserved, and broadcast.
        || a >= 240)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    if let Some(inside) = embedded_v4(address) {
        return is_public_v4(inside);
    }
    // Only 2000::/3 is assigned. Of it: protocol assignments with Teredo, benchmarks and documentation.
    (0x2000..0x4000).contains(&a)
        && !(a == 0x2001 && b < 0x200)
        && !(a == 0x2001 && b == 0xdb8)
        && !(a == 0x3fff && b < 0x1000)
}

/// Returns the IPv4 address to which a translator or tunnel would send.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match (a, b, c, d, e, f) {
        // Mapped.
        (0, 0, 0, 0, 0, 0xffff) => Some(of(g, h)),
        // NAT64.
        (0x64, 0xff9b, 0, 0, 0, 0) => Some(of(g, h)),
        // 6to4.
        (0x2002, ..) => Some(of(b, c)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_asked() {
        for public in [
            "8.8.8.8",
            "1.1.1.1",
            "93.184.215.14",
            "100.63.255.255",
            "100.128.0.1",
            "172.32.0.1",
            "198.17.255.255",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
        for private in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::",
            "3fff::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(private.parse().expect("an address")), "{private}");
        }
    }

    #[test]
    fn every_way_to_write_a_private_address_is_refused() {
        let client = ProviderClient::new().expect("a client");
        let may = |url: &str, private| {
            let url = Url::parse(url).expect("a URL");
            client.client_for(&url, private).is_ok()
        };
        for good in ["https://example.com/a", "https://8.8.8.8", "https://[2606:4700:4700::1111]/"]
        {
            assert!(may(good, false), "{good}");
        }
        for bad in [
            "http://example.com",
            "https://127.0.0.1",
            "https://127.1",
            "https://2130706433",
            "https://0x7f000001",
            "https://0177.0.0.1",
            "https://[::1]",
            "https://[::ffff:127.0.0.1]",
            "https://169.254.169.254/latest",
            "https://user@example.com",
            "ftp://example.com",
        ] {
            assert!(!may(bad, false), "{bad}");
        }
        assert!(may("http://127.0.0.1:3000", true));
        assert!(!may("ftp://127.0.0.1", true));
    }
}
