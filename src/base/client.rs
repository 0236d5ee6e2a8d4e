//! The client of a request: its address and its user agent.
//!
//! # How it works
//!
//! 1. The host puts the peer's address into the request's extensions as [`PeerAddr`], or lets axum
//!    do it.
//! 2. [`ClientInfo::resolve`] reads the forwarded header from right to left. While the current
//!    address belongs to a trusted proxy, it believes the entry that this proxy wrote. The first
//!    address that is not a trusted proxy is the client.
//! 3. Rate limits count by [`rate_key`], and some also by [`network_key`]. Session binding compares
//!    with [`same_network`] and [`same_browser_family`].
//!
//! # What it does not do
//!
//! - It believes no header by default. Everything left of the first untrusted address may be
//!   invented by the client.
//! - It reads only the configured header. If your proxy writes `X-Forwarded-For` and you configure
//!   `Forwarded`, clients can forge `Forwarded`.
//! - It never fails. At an entry that cannot be read it stops, and takes the address that sent this
//!   entry.
//!
//! # Configuration
//!
//! [`TrustedProxies`]: the networks of the proxies (default: none) and the header that they write
//! (default: `X-Forwarded-For`).
//!
//! # Standard
//!
//! RFC 7239.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const USER_AGENT_BYTES: usize = 256;
const SITE_PREFIX: u128 = !0 << 64;
const NETWORK_PREFIX: u128 = !0 << 80;

/// The address of the TCP peer, a request extension that the host can insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub IpAddr);

/// The address and the user agent of the sender of a request. Both may be unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientInfo {
    address: Option<IpAddr>,
    user_agent: Option<String>,
    device: Option<DeviceToken>,
    trusted: Option<DeviceToken>,
}

/// The token with which a browser claims that an account has signed in from it before, or that it is
/// trusted. It is not verified yet, and never printed.
#[derive(Clone, PartialEq, Eq)]
struct DeviceToken(String);

impl std::fmt::Debug for DeviceToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceToken(..)")
    }
}

impl ClientInfo {
    /// Finds the client behind `peer` and `headers`. Without a peer no header can be trusted, so
    /// the address is unknown.
    #[must_use]
    pub fn resolve(peer: Option<IpAddr>, headers: &HeaderMap, proxies: &TrustedProxies) -> Self {
        Self {
            address: peer.map(|peer| proxies.client_behind(peer, headers)),
            user_agent: headers.get(USER_AGENT).and_then(|value| tidy_user_agent(value.as_bytes())),
            device: None,
            trusted: None,
        }
    }

    /// Sets the device token, for requests that do not come by HTTP and whose client stores the
    /// token itself. For an HTTP request it is already read from `Portcullis-Device` or from the
    /// cookie.
    #[must_use]
    pub fn with_device_token(self, token: impl Into<String>) -> Self {
        self.on_device(Some(token.into()))
    }

    /// Sets the device token from the cookie or the header.
    pub(crate) fn on_device(mut self, token: Option<String>) -> Self {
        self.device = token.map(DeviceToken);
        self
    }

    /// Sets the token of a [trusted device](crate::trusted_device), as
    /// [`with_device_token`](Self::with_device_token) does for a known one. The header of an HTTP request
    /// is `Portcullis-Trusted-Device`.
    #[must_use]
    pub fn with_trusted_device_token(self, token: impl Into<String>) -> Self {
        self.on_trusted_device(Some(token.into()))
    }

    /// Sets the token of a trusted device from the cookie or the header.
    pub(crate) fn on_trusted_device(mut self, token: Option<String>) -> Self {
        self.trusted = token.map(DeviceToken);
        self
    }

    /// Returns the token of a trusted device that the client sent.
    pub(crate) fn trusted_device(&self) -> Option<&str> {
        self.trusted.as_ref().map(|token| &*token.0)
    }

    /// Returns the device token that the client sent.
    pub(crate) fn device(&self) -> Option<&str> {
        self.device.as_ref().map(|device| &*device.0)
    }

    /// Returns the client of a connection without a proxy.
    pub(crate) fn direct(peer: Option<IpAddr>, user_agent: Option<&HeaderValue>) -> Self {
        Self {
            address: peer.map(|peer| peer.to_canonical()),
            user_agent: user_agent.and_then(|value| tidy_user_agent(value.as_bytes())),
            device: None,
            trusted: None,
        }
    }

    /// Returns the client's address. An IPv4 address is never written as IPv6.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Returns the client's user agent, at most 256 bytes and without control characters.
    #[must_use]
    pub fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_deref()
    }
}

/// The header in which proxies write the address of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: client, proxy`, what most proxies write.
    #[default]
    XForwardedFor,
    /// `Forwarded: for=client;proto=https, for=proxy` of RFC 7239.
    Forwarded,
}

/// The proxies whose header is believed. By default there are none, and the peer is the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrustedProxies {
    /// The networks from which the proxies connect. Do not list a network from which clients can
    /// connect too.
    pub networks: Vec<IpNet>,
    /// The header these proxies write or append to.
    pub header: ForwardedHeader,
    /// True if the proxies write the path prefix that they removed into `X-Forwarded-Prefix`. Every
    /// proxy must set or remove this header. Otherwise a client chooses where redirects lead (on
    /// this site). Default: false, and the path of the public URL counts.
    pub prefix: bool,
}

impl TrustedProxies {
    /// Trusts the proxies in `networks` to write `header`.
    #[must_use]
    pub fn new(networks: Vec<IpNet>, header: ForwardedHeader) -> Self {
        Self { networks, header, prefix: false }
    }

    /// Returns true if `address` belongs to a trusted proxy.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| match (network, address) {
            // `address` was converted to IPv4, so a network such as `::ffff:10.0.0.0/104` must be
            // compared in its IPv6 form.
            (IpNet::V6(mapped), IpAddr::V4(v4)) if mapped.prefix_len() >= 96 => {
                mapped.contains(&v4.to_ipv6_mapped())
            }
            _ => network.contains(&address),
        })
    }

    fn client_behind(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut current = peer.to_canonical();
        let name = match self.header {
            ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
            ForwardedHeader::Forwarded => FORWARDED,
        };
        // Several lines are one list (RFC 9110, section 5.3). The last line was written by the
        // proxy nearest to this server.
        let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        let mut entries = lines.into_iter().rev().flat_map(EntriesFromTheRight::of);
        while self.trusts(current) {
            let Some(next) = entries.next().and_then(|entry| self.node(entry)) else { break };
            current = next;
        }
        current
    }

    fn node(&self, entry: &[u8]) -> Option<IpAddr> {
        let entry = std::str::from_utf8(entry).ok()?;
        match self.header {
            ForwardedHeader::XForwardedFor => address_of(unquote(entry.trim())),
            ForwardedHeader::Forwarded => address_of(forwarded_for(entry)?),
        }
    }
}

/// Returns the subject of a limit per source: the IPv4 address itself, or the /64 of an IPv6
/// address. One customer controls a whole /64.
#[must_use]
pub fn rate_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & SITE_PREFIX)),
    }
}

/// Returns the network in which several sources are probably one: the IPv4 address itself, or the
/// /48 of an IPv6 address. One site or one customer of a provider may have a whole /48.
#[must_use]
pub fn network_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & NETWORK_PREFIX)),
    }
}

/// Returns true if two addresses are probably in one place: in one IPv4 /24 or one IPv6 /64.
#[must_use]
pub fn same_network(a: IpAddr, b: IpAddr) -> bool {
    network(a) == network(b)
}

/// Returns the first address of the IPv4 /24 or IPv6 /64 that contains `address`.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match rate_key(address) {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & !0xff)),
        v6 @ IpAddr::V6(_) => v6,
    }
}

/// Returns the part of a user agent that stays the same in every version. If the agent was cut at
/// its end, the part is shorter, so that a longer version number does not change it.
pub(crate) fn browser_family(agent: &str) -> String {
    let family = agent.chars().filter(|c| !is_version(*c));
    if agent.len() + 16 < USER_AGENT_BYTES { family.collect() } else { family.take(128).collect() }
}

fn is_version(c: char) -> bool {
    c.is_ascii_digit() || c == '.' || c == '_'
}

/// Returns true if two user agents are the same browser, perhaps in different versions. They may
/// differ only in digits, dots and underscores.
#[must_use]
pub fn same_browser_family(a: &str, b: &str) -> bool {
    let family = |agent: &str| agent.replace(is_version, "");
    let (left, right) = (family(a), family(b));
    // In a cut user agent, a longer version number removes more of the end. What is left must still
    // match.
    let maybe_cut = a.len().min(b.len()) + 16 >= USER_AGENT_BYTES;
    left == right || maybe_cut && (left.starts_with(&right) || right.starts_with(&left))
}

/// Returns true if a proxy added a forwarded header. If no trusted proxies are configured, this is
/// worth a warning, because all clients then appear to be one.
#[must_use]
pub fn forwarded_headers_present(headers: &HeaderMap) -> bool {
    [FORWARDED, X_FORWARDED_FOR, X_REAL_IP].iter().any(|name| headers.contains_key(name))
}

/// The elements of a header line, the last one first.
///
/// It reads from the right, because the trusted proxy wrote the right end. So an unclosed quote
/// that a client wrote further left cannot hide it.
struct EntriesFromTheRight<'a>(Option<&'a [u8]>);

impl<'a> EntriesFromTheRight<'a> {
    fn of(line: &'a [u8]) -> Self {
        Self(Some(line))
    }
}

impl<'a> Iterator for EntriesFromTheRight<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let line = self.0.take()?;
        let mut quoted = false;
        for (at, byte) in line.iter().enumerate().rev() {
            match byte {
                b'"' if !is_escaped(line, at) => quoted = !quoted,
                b',' if !quoted => {
                    self.0 = Some(&line[..at]);
                    return Some(&line[at + 1..]);
                }
                _ => {}
            }
        }
        Some(line)
    }
}

fn is_escaped(line: &[u8], at: usize) -> bool {
    line[..at].iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

/// Returns the `for` value of one `Forwarded` element. Returns `None` if the element breaks the
/// grammar or has two of them.
fn forwarded_for(element: &str) -> Option<&str> {
    let mut node = None;
    let mut rest = element.trim();
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=')?;
        let (value, tail) = match value.strip_prefix('"') {
            Some(value) => {
                let (end, _) =
                    value.match_indices('"').find(|&(at, _)| !is_escaped(value.as_bytes(), at))?;
                (&value[..end], &value[end + 1..])
            }
            None => value.split_at(value.find(';').unwrap_or(value.len())),
        };
        if name.trim().eq_ignore_ascii_case("for") && node.replace(value.trim()).is_some() {
            return None;
        }
        // Empty pairs are allowed. Text after a value is not.
        let tail = tail.trim_start();
        rest = tail.trim_start_matches([';', ' ', '\t']);
        if !tail.is_empty() && !tail.starts_with(';') {
            return None;
        }
    }
    node
}

fn unquote(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// Reads `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
/// `unknown` and `_hidden` are not addresses.
fn address_of(node: &str) -> Option<IpAddr> {
    let (address, port) = if let Some(bracketed) = node.strip_prefix('[') {
        let (address, tail) = bracketed.split_once(']')?;
        let port = if tail.is_empty() { None } else { Some(tail.strip_prefix(':')?) };
        (IpAddr::V6(address.parse().ok()?), port)
    } else if let Ok(address) = node.parse::<IpAddr>() {
        (address, None)
    } else {
        let (address, port) = node.split_once(':')?;
        (IpAddr::V4(address.parse().ok()?), Some(port))
    };
    // The port is not used, but a malformed port means that this is not an address. RFC 7239 allows
    // `_hidden` ports.
    let is_port = |port: &str| {
        !port.is_empty() && port.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    port.is_none_or(is_port).then(|| address.to_canonical())
}

fn tidy_user_agent(bytes: &[u8]) -> Option<String> {
    // Browsers send printable ASCII. For it, one copy is enough, without a check of each character.
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        let cut = &bytes[..bytes.len().min(USER_AGENT_BYTES)];
        return (!cut.is_empty()).then(|| String::from_utf8_lossy(cut).into_owned());
    }
    // People read lists of sessions. So no character may reverse the text, be invisible or break
    // the line.
    let unprintable = |c: char| {
        c.is_control()
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}')
            || matches!(c, '\u{2060}'..='\u{206F}' | '\u{FEFF}')
    };
    let mut tidy = String::new();
    for c in String::from_utf8_lossy(bytes).chars() {
        let c = if unprintable(c) { char::REPLACEMENT_CHARACTER } else { c };
        if tidy.len() + c.len_utf8() > USER_AGENT_BYTES {
            break;
        }
        tidy.push(c);
    }
    (!tidy.is_empty()).then_some(tidy)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

    use super::{
        ClientInfo, ForwardedHeader, TrustedProxies, USER_AGENT_BYTES, forwarded_headers_present,
        rate_key, same_browser_family, same_network,
    };

    const EDGE: &str = "10.0.0.1";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn headers(name: &'static str, lines: &[&[u8]]) -> HeaderMap {
        let name = HeaderName::from_static(name);
        lines.iter().map(|line| (name.clone(), HeaderValue::from_bytes(line).unwrap())).collect()
    }

    fn proxies(header: ForwardedHeader) -> TrustedProxies {
        let networks = ["10.0.0.0/8", "2001:db8:ffff::/48", "::ffff:192.168.7.0/120"];
        TrustedProxies::new(networks.map(|net| net.parse().unwrap()).to_vec(), header)
    }

    fn check(header: ForwardedHeader, peer: &str, lines: &[&[u8]], client: &str) {
        let name = match header {
            ForwardedHeader::XForwardedFor => "x-forwarded-for",
            ForwardedHeader::Forwarded => "forwarded",
        };
        let found = ClientInfo::resolve(Some(ip(peer)), &headers(name, lines), &proxies(header));
        assert_eq!(
            found.address(),
            Some(ip(client)),
            "{:?}",
            lines.iter().map(|l| l.escape_ascii().to_string()).collect::<Vec<_>>()
        );
    }

    #[test]
    fn by_default_no_header_is_believed() {
        for name in ["x-forwarded-for", "forwarded", "x-real-ip"] {
            let headers = headers(name, &[b"for=1.2.3.4", b"1.2.3.4"]);
            for peer in [EDGE, "127.0.0.1", "203.0.113.9"] {
                let found =
                    ClientInfo::resolve(Some(ip(peer)), &headers, &TrustedProxies::default());
                assert_eq!(found.address(), Some(ip(peer)));
            }
        }
    }

    #[test]
    fn without_a_peer_the_address_is_unknown_whatever_the_headers_say() {
        let headers = headers("x-forwarded-for", &[b"1.2.3.4"]);
        assert_eq!(
            ClientInfo::resolve(None, &headers, &proxies(ForwardedHeader::XForwardedFor)).address(),
            None
        );
    }

    #[test]
    fn the_walk_ends_at_the_first_address_that_is_no_proxy() {
        let rows: &[(&str, &[&[u8]], &str)] = &[
            (EDGE, &[], EDGE),
            (EDGE, &[b"1.2.3.4"], "1.2.3.4"),
            ("203.0.113.9", &[b"1.2.3.4"], "203.0.113.9"),
            // What the client itself wrote is to the left of its own address.
            (EDGE, &[b"6.6.6.6, 1.2.3.4"], "1.2.3.4"),
            (EDGE, &[b"10.6.6.6, 1.2.3.4"], "1.2.3.4"),
            (EDGE, &[b"1.2.3.4, 10.0.0.2, 10.0.0.3"], "1.2.3.4"),
            (EDGE, &[b"6.6.6.6, 1.2.3.4, 10.0.0.2"], "1.2.3.4"),
            (EDGE, &[b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // Lines are joined in their order.
            (EDGE, &[b"6.6.6.6", b"1.2.3.4"], "1.2.3.4"),
            (EDGE, &[b"6.6.6.6", b"1.2.3.4, 10.0.0.2", b"10.0.0.3"], "1.2.3.4"),
            (EDGE, &[b"6.6.6.6", b"", b"10.0.0.2"], "10.0.0.2"),
            // Ports, brackets, quotes, spaces.
            (EDGE, &[b"1.2.3.4:5678"], "1.2.3.4"),
            (EDGE, &[b"\t1.2.3.4 "], "1.2.3.4"),
            (EDGE, &[b"2001:db8::1"], "2001:db8::1"),
            (EDGE, &[b"[2001:db8::1]"], "2001:db8::1"),
            (EDGE, &[b"[2001:db8::1]:80"], "2001:db8::1"),
            (EDGE, &[b"\"[2001:db8::1]:80\""], "2001:db8::1"),
            (EDGE, &[b"1.2.3.4, 2001:db8:ffff::2"], "1.2.3.4"),
            // IPv4 in IPv6 form is IPv4, as a peer, an entry and a network.
            ("::ffff:10.0.0.1", &[b"1.2.3.4"], "1.2.3.4"),
            ("::ffff:203.0.113.9", &[b"1.2.3.4"], "203.0.113.9"),
            (EDGE, &[b"1.2.3.4, ::ffff:10.0.0.2"], "1.2.3.4"),
            (EDGE, &[b"::ffff:1.2.3.4"], "1.2.3.4"),
            (EDGE, &[b"[::ffff:1.2.3.4]:80"], "1.2.3.4"),
            ("192.168.7.7", &[b"1.2.3.4"], "1.2.3.4"),
            ("192.168.8.7", &[b"1.2.3.4"], "192.168.8.7"),
        ];
        for (peer, lines, client) in rows {
            check(ForwardedHeader::XForwardedFor, peer, lines, client);
        }
    }

    #[test]
    fn an_entry_that_cannot_be_read_stops_the_walk_where_it_is() {
        for entry in [
            &b""[..],
            b" ",
            b"unknown",
            b"_hidden",
            b"1.2.3",
            b"1.2.3.4.5",
            b"01.2.3.4",
            b"1.2.3.256",
            b"1.2.3.4:",
            b"1.2.3.4:8 0",
            b"1.2.3.4:80:80",
            b"[1.2.3.4]",
            b"[2001:db8::1",
            b"2001:db8::1]",
            b"[2001:db8::1]80",
            b"[2001:db8::1]:",
            b"fe80::1%eth0",
            b"\"1.2.3.4",
            b"1.2.3.4\"",
            b"1.2.3.4;",
            b"1.2.3.4 5.6.7.8",
            b"example.com",
            b"\xFF",
            b"for=1.2.3.4",
            b"0x01020304",
        ] {
            check(ForwardedHeader::XForwardedFor, EDGE, &[entry], EDGE);
            let line = [b"6.6.6.6,", entry, b", 10.0.0.2"].concat();
            check(ForwardedHeader::XForwardedFor, EDGE, &[&line], "10.0.0.2");
            // Invalid text that the client put before its address hides nothing.
            let line = [entry, b", 1.2.3.4"].concat();
            check(ForwardedHeader::XForwardedFor, EDGE, &[&line], "1.2.3.4");
        }
    }

    #[test]
    fn the_standard_header_is_read_by_its_grammar() {
        let rows: &[(&[u8], &str)] = &[
            (b"for=1.2.3.4", "1.2.3.4"),
            (b"For=1.2.3.4;proto=https;by=10.0.0.1", "1.2.3.4"),
            (b"proto=https;FOR=1.2.3.4", "1.2.3.4"),
            (b"for=\"1.2.3.4:80\"", "1.2.3.4"),
            (b"for=\"[2001:db8::1]:4711\"", "2001:db8::1"),
            (b"for=\"[2001:db8::1]:_p\"", "2001:db8::1"),
            (b"for=6.6.6.6, for=1.2.3.4, for=10.0.0.2", "1.2.3.4"),
            (b"for=1.2.3.4; proto=https ; ", "1.2.3.4"),
            (b"for=1.2.3.4;;proto=https", "1.2.3.4"),
            (b"for=1.2.3.4;host=\"a,b;c\"", "1.2.3.4"),
            // The proxy copies the client's `Host` header into a quoted string. Nothing inside it
            // may count.
            (b"for=1.2.3.4;host=\"x, for=6.6.6.6\"", "1.2.3.4"),
            (b"for=1.2.3.4;host=\"x\\\", for=6.6.6.6;a=\\\"\"", "1.2.3.4"),
            (b"for=1.2.3.4;host=\"x\\\\\"", "1.2.3.4"),
            (b"for=1.2.3.4;host=\"x;for=6.6.6.6\"", "1.2.3.4"),
            (b"host=\"x;for=6.6.6.6\";for=1.2.3.4", "1.2.3.4"),
            // A quote that the client never closed.
            (b"for=\"6.6.6.6, for=1.2.3.4", "1.2.3.4"),
            (b"for=\", for=\"[2001:db8::1]\"", "2001:db8::1"),
            (b"for=\"\\, for=1.2.3.4", "1.2.3.4"),
            // No address at all.
            (b"for=unknown", EDGE),
            (b"for=_gazonk", EDGE),
            (b"proto=https", EDGE),
            (b"for=1.2.3.4;for=6.6.6.6", EDGE),
            (b"for=", EDGE),
            (b"for=\"1.2.3.4", EDGE),
            (b"for=\"1.2.3.4\"x", EDGE),
            (b"for=\"1.2.3.4\"x=y", EDGE),
            (b"1.2.3.4", EDGE),
            (b"for=1.2.3.4;x", EDGE),
            (b"", EDGE),
        ];
        for (line, client) in rows {
            check(ForwardedHeader::Forwarded, EDGE, &[line], client);
        }
        check(
            ForwardedHeader::Forwarded,
            EDGE,
            &[b"for=6.6.6.6", b"for=1.2.3.4", b"for=10.0.0.2"],
            "1.2.3.4",
        );
    }

    #[test]
    fn a_network_of_one_family_trusts_nobody_of_the_other() {
        let trusted = |network: &str, address: &str| {
            TrustedProxies::new(vec![network.parse().unwrap()], ForwardedHeader::XForwardedFor)
                .trusts(ip(address))
        };
        assert!(trusted("::/0", "2001:db8::1"));
        assert!(!trusted("::/0", EDGE));
        assert!(trusted("0.0.0.0/0", EDGE));
        assert!(!trusted("0.0.0.0/0", "2001:db8::1"));
        // IPv4 is IPv4 in every notation.
        assert!(trusted("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(trusted("::ffff:10.0.0.0/104", EDGE));
        assert!(!trusted("::ffff:10.0.0.0/104", "11.0.0.1"));
    }

    #[test]
    fn the_header_that_is_not_configured_is_not_read() {
        let mut both = headers("x-forwarded-for", &[b"1.2.3.4"]);
        both.extend(headers("forwarded", &[b"for=6.6.6.6"]));
        for (header, client) in
            [(ForwardedHeader::XForwardedFor, "1.2.3.4"), (ForwardedHeader::Forwarded, "6.6.6.6")]
        {
            assert_eq!(
                ClientInfo::resolve(Some(ip(EDGE)), &both, &proxies(header)).address(),
                Some(ip(client))
            );
        }
    }

    #[test]
    fn the_user_agent_is_cut_and_cleaned_and_never_an_error() {
        let seen = |bytes: &[u8]| {
            let headers = headers("user-agent", &[bytes]);
            ClientInfo::resolve(None, &headers, &TrustedProxies::default())
                .user_agent()
                .map(str::to_owned)
        };
        assert_eq!(seen(b"curl/8.5.0").as_deref(), Some("curl/8.5.0"));
        assert_eq!(seen(b"a\tb").as_deref(), Some("a\u{FFFD}b"));
        assert_eq!(seen("a\u{85}b\u{202E}c".as_bytes()).as_deref(), Some("a\u{FFFD}b\u{FFFD}c"));
        assert_eq!(seen(b"caf\xE9").as_deref(), Some("caf\u{FFFD}"));
        assert_eq!(seen("é".repeat(200).as_bytes()), Some("é".repeat(128)));
        assert_eq!(
            seen(&[b"a", "é".repeat(200).as_bytes()].concat()).map(|ua| ua.len()),
            Some(255)
        );
        assert_eq!(seen(b""), None);
        assert_eq!(
            ClientInfo::resolve(None, &HeaderMap::new(), &TrustedProxies::default()).user_agent(),
            None
        );
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_site() {
        for (address, key) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2::", "2001:db8:1:2::"),
            ("2001:db8:1:3::1", "2001:db8:1:3::"),
            ("::1", "::"),
        ] {
            assert_eq!(rate_key(ip(address)), ip(key));
        }
        for (a, b, same) in [
            ("192.0.2.7", "192.0.2.250", true),
            ("192.0.2.7", "192.0.3.7", false),
            ("192.0.2.7", "::ffff:192.0.2.9", true),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::1", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("192.0.2.7", "2001:db8::1", false),
            ("::", "0.0.0.0", false),
        ] {
            assert_eq!(same_network(ip(a), ip(b)), same, "{a} {b}");
            assert_eq!(same_network(ip(b), ip(a)), same, "{b} {a}");
        }
    }

    #[test]
    fn an_update_is_the_same_browser_and_another_browser_is_not() {
        let firefox = |version: &str| {
            format!(
                "Mozilla/5.0 (X11; Linux x86_64; rv:{version}) Gecko/20100101 Firefox/{version}"
            )
        };
        assert!(same_browser_family(&firefox("99.0"), &firefox("141.0.1")));
        assert!(same_browser_family("Mac OS X 10_15_7", "Mac OS X 14.1"));
        assert!(!same_browser_family(&firefox("141.0"), "curl/8.5.0"));
        assert!(!same_browser_family(&firefox("141.0"), ""));
        assert!(!same_browser_family("curl/8.5", "curl/8.5 evil"));
        let long = |version: &str| {
            format!("App/{version} {}", "x".repeat(300))[..USER_AGENT_BYTES].to_owned()
        };
        assert!(same_browser_family(&long("9.9"), &long("10.10.2")));
        assert!(!same_browser_family(&long("9.9"), &long("9.9").replace('x', "y")));
        assert!(!same_browser_family(&long("9.9"), "App/"));
    }

    #[test]
    fn a_proxy_is_noticed_by_its_headers() {
        for name in ["forwarded", "x-forwarded-for", "x-real-ip"] {
            assert!(forwarded_headers_present(&headers(name, &[b"x"])));
        }
        assert!(!forwarded_headers_present(&headers("x-forwarded-proto", &[b"https"])));
    }

    fn config() -> ProptestConfig {
        ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
    }

    proptest! {
        #![proptest_config(config())]

        /// The entry that the trusted proxy appended is found, whatever text is before it.
        #[test]
        fn no_prefix_hides_or_replaces_the_appended_entry(junk in "[ -~\u{80}-\u{FF}]{0,40}") {
            for (header, name, entry) in [
                (ForwardedHeader::XForwardedFor, "x-forwarded-for", "1.2.3.4"),
                (ForwardedHeader::Forwarded, "forwarded", "for=1.2.3.4;host=\"a,b\""),
            ] {
                let joined = format!("{junk}, {entry}");
                for lines in [&[junk.as_bytes(), entry.as_bytes()][..], &[joined.as_bytes()]] {
                    let map = headers(name, lines);
                    let found = ClientInfo::resolve(Some(ip(EDGE)), &map, &proxies(header));
                    prop_assert_eq!(found.address(), Some(ip("1.2.3.4")));
                }
            }
        }

        #[test]
        fn resolving_never_fails_and_never_returns_mapped_addresses(
            line in "[0-9a-f:.\\[\\]\", ;=for]{0,60}",
            agent in any::<Vec<u8>>(),
        ) {
            let mut map = headers("x-forwarded-for", &[line.as_bytes()]);
            map.extend(headers("forwarded", &[line.as_bytes()]));
            if let Ok(agent) = HeaderValue::from_bytes(&agent) {
                map.insert("user-agent", agent);
            }
            for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
                let found = ClientInfo::resolve(Some(ip(EDGE)), &map, &proxies(header));
                let address = found.address().unwrap();
                prop_assert_eq!(address, address.to_canonical());
                let agent = found.user_agent().unwrap_or_default();
                prop_assert!(agent.len() <= USER_AGENT_BYTES && !agent.contains(char::is_control));
            }
        }
    }
}
