//! Decides whether a request comes from a page of this service. This prevents cross-site request
//! forgery.
//!
//! # How it works
//!
//! 1. A `GET`, `HEAD` or `OPTIONS` passes, because no route here changes state with it. A WebSocket
//!    handshake is a `GET` too, but it opens a channel that writes. So it is checked like a `POST`.
//! 2. `Sec-Fetch-Site: same-origin` and `none` pass. `none` means that the user typed the address
//!    or opened a bookmark. Any other value passes only with a listed `Origin`. This includes
//!    `same-site`: a page on another subdomain is not trusted.
//! 3. Without `Sec-Fetch-Site`, `Origin` must be the public origin, a listed origin, or name the
//!    requested host. Not only old browsers omit the header. Chromium 156 does not send it to
//!    plain-http hosts on other machines, such as names on a local network, nor with WebSocket
//!    handshakes.
//! 4. If both headers are missing, the client is not a browser, or is one from before 2020. The
//!    request passes unless [`SameOrigin::strict`] is set.
//!
//! A form that signs a person in or up needs positive proof, not only the absence of a
//! contradiction: [`SameOrigin::present_same_origin`].
//!
//! # What it does not do
//!
//! - It cannot detect a change between `http` and `https`, because `Host` has no scheme. Configure
//!   the public origin, and send HSTS.
//! - It stores no token in pages or cookies. So a response that it protects may be cached.
//! - It is not CORS: it decides who may write, not who may read.
//! - It does not check a request whose only credential is a token in a header, because no browser
//!   adds such a header by itself.
//!
//! # Configuration
//!
//! The public origin, the listed origins, and strictness. A listed origin may do everything that a
//! signed-in user may do.
//!
//! Pages with an application's own scheme are listed like any other origin
//! (`capacitor://localhost`, `tauri://localhost`, pages of a browser extension). `null` cannot be
//! listed, because every sandboxed frame has this origin.
//!
//! # Standard
//!
//! `http.CrossOriginProtection` of Go 1.25, also `csrf` of tower-http; Fetch Metadata; RFC 6454.
//! [`SameOrigin::check`] lists the differences.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{HOST, HeaderMap, HeaderName, ORIGIN, UPGRADE};
use http::uri::Authority;
use http::{Method, Uri};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Replaces the value of a header that was sent twice. No site, origin or host can look like this.
const AMBIGUOUS: &[u8] = b" ";

/// The same-origin rule, with the origins that it knows.
#[derive(Clone, Debug, Default)]
pub struct SameOrigin {
    trusted: Vec<Origin>,
    public: Option<Origin>,
    strict: bool,
}

impl SameOrigin {
    /// Creates a rule that knows no origin except the host of each request. It is not strict.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the origin at which browsers see this service, for proxies that rewrite `Host`.
    #[must_use]
    pub fn public(self, origin: Origin) -> Self {
        Self { public: Some(origin), ..self }
    }

    /// Lists another origin whose pages may write, such as a single-page application on another
    /// host.
    #[must_use]
    pub fn trust(mut self, origin: Origin) -> Self {
        self.trusted.push(origin);
        self
    }

    /// Refuses requests that have neither `Sec-Fetch-Site` nor `Origin`. Use it if all clients are
    /// browsers.
    #[must_use]
    pub fn strict(self) -> Self {
        Self { strict: true, ..self }
    }

    /// Checks a request that uses a cookie.
    ///
    /// The result is the same as that of tower-http's `csrf`, with three more refusals:
    /// - a WebSocket handshake is checked although it is a `GET`;
    /// - an `Origin` that no browser writes like this (upper-case scheme, a path, user information)
    ///   never matches `Host`;
    /// - a header that was sent twice matches nothing ([`Facts::of`]).
    ///
    /// The public origin and strictness are additions. Both are off by default.
    ///
    /// # Errors
    /// [`CrossSite`] says which header was the reason.
    pub fn check(&self, method: &Method, facts: &Facts<'_>) -> Result<(), CrossSite> {
        if !Self::concerns(method, facts.upgrade) {
            return Ok(());
        }
        match (given(facts.sec_fetch_site), given(facts.origin)) {
            (Some(b"same-origin" | b"none"), _) => Ok(()),
            (Some(_), Some(origin)) if self.lists(origin) => Ok(()),
            (Some(_), _) => Err(CrossSite::FetchSite),
            (None, Some(origin)) if self.is_ours(origin, facts.host) => Ok(()),
            (None, Some(_)) => Err(CrossSite::Origin),
            (None, None) if self.strict => Err(CrossSite::NoProof),
            (None, None) => Ok(()),
        }
    }

    /// Returns true if the rule applies to such a request.
    pub(crate) fn concerns(method: &Method, upgrade: bool) -> bool {
        // Not `is_safe()`: it includes TRACE, which no browser sends and no route here answers.
        upgrade || !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
    }

    /// Returns true if the headers prove that a page of this service or a listed page sent the
    /// request. The method does not matter.
    ///
    /// `Sec-Fetch-Site: none` proves nothing here, because nobody can type a form post into the
    /// address bar. This prevents login CSRF: another site cannot sign a visitor in to the
    /// attacker's account.
    #[must_use]
    pub fn present_same_origin(&self, facts: &Facts<'_>) -> bool {
        match (given(facts.sec_fetch_site), given(facts.origin)) {
            (Some(b"same-origin"), _) => true,
            (Some(_), Some(origin)) => self.lists(origin),
            (None, Some(origin)) => self.is_ours(origin, facts.host),
            (_, None) => false,
        }
    }

    fn lists(&self, origin: &[u8]) -> bool {
        self.trusted.iter().any(|trusted| trusted.0.as_bytes() == origin)
    }

    fn is_ours(&self, origin: &[u8], host: Option<&[u8]>) -> bool {
        let public = self.public.as_ref().is_some_and(|public| public.0.as_bytes() == origin);
        public || self.lists(origin) || host.is_some_and(|host| authority(origin) == Some(host))
    }
}

/// The parts of a request that the rule checks. An empty value counts as missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// `Sec-Fetch-Site`.
    pub sec_fetch_site: Option<&'a [u8]>,
    /// `Origin`.
    pub origin: Option<&'a [u8]>,
    /// The authority of the request target (HTTP/2, absolute form), otherwise `Host`.
    pub host: Option<&'a [u8]>,
    /// True if the connection is going to change to another protocol.
    pub upgrade: bool,
}

impl<'a> Facts<'a> {
    /// Reads these parts of a request. A header that occurs twice matches nothing, because the next
    /// program that reads it may use the other value.
    #[must_use]
    pub fn of(uri: &'a Uri, headers: &'a HeaderMap) -> Self {
        let only = |name: HeaderName| {
            let mut values = headers.get_all(name).iter();
            let first = values.next()?.as_bytes();
            Some(if values.next().is_some() { AMBIGUOUS } else { first })
        };
        Self {
            sec_fetch_site: only(SEC_FETCH_SITE),
            origin: only(ORIGIN),
            host: uri
                .authority()
                .map(|authority| authority.as_str().as_bytes())
                .or_else(|| only(HOST)),
            upgrade: headers.contains_key(UPGRADE),
        }
    }
}

/// The request comes from a page of another site, or may come from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CrossSite {
    /// `Sec-Fetch-Site` says so, and `Origin` is not listed.
    #[error("the browser says that another site sent this request")]
    FetchSite,
    /// `Origin` is not allowed, or is `null`.
    #[error("the origin of this request is not allowed here")]
    Origin,
    /// The rule is strict, and the request has neither of the two headers.
    #[error("this request does not say which site sent it")]
    NoProof,
}

/// An origin, exactly as browsers write it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin(String);

impl Origin {
    /// Reads an origin from the configuration: a scheme, a host, and possibly a port.
    ///
    /// Origins are compared as bytes. So for `http` and `https`, capitals and a default port are
    /// changed to the form that browsers send. Any other scheme (`capacitor://localhost`) is taken
    /// exactly as written, because each of these programs has its own form.
    ///
    /// # Errors
    /// [`OriginError`] if the text is not exactly an origin.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        if !text.is_ascii() {
            return Err(OriginError::NotAscii);
        }
        match text.split_once("://") {
            Some((scheme, host)) if !is_web(scheme) => Self::parse_own(text, scheme, host),
            _ => Self::parse_web(text),
        }
    }

    /// Reads an origin with a scheme that is not `http` or `https`.
    fn parse_own(text: &str, scheme: &str, host: &str) -> Result<Self, OriginError> {
        let begins = scheme.starts_with(|c: char| c.is_ascii_lowercase());
        let rest = scheme.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
        });
        // With these, anyone who can place a file or a text on the device would be trusted. `ftp`
        // is a site.
        let refused = ["about", "blob", "data", "file", "ftp", "javascript", "ws", "wss"];
        if !begins || !rest || refused.contains(&scheme) {
            return Err(OriginError::Scheme);
        }
        if host.contains(['/', '?', '#', '@', '\\']) {
            return Err(OriginError::NotOnlyOrigin);
        }
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]{}".contains(&byte);
        if host.is_empty() || !host.bytes().all(sound) {
            return Err(OriginError::Host);
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads an origin that is a site: `http` or `https`. Otherwise like [`parse`](Self::parse).
    ///
    /// # Errors
    /// [`OriginError`] if the text is not exactly an origin, or has another scheme.
    pub fn parse_web(text: &str) -> Result<Self, OriginError> {
        if !text.is_ascii() {
            return Err(OriginError::NotAscii);
        }
        let text = text.to_ascii_lowercase();
        let (scheme, default_port, rest) = if let Some(rest) = text.strip_prefix("https://") {
            ("https", 443, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            ("http", 80, rest)
        } else {
            return Err(OriginError::Scheme);
        };
        if rest.contains(['/', '?', '#', '@', '\\']) {
            return Err(OriginError::NotOnlyOrigin);
        }
        // The last colon outside brackets starts the port.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (rest, None),
        };
        let host = canonical_host(host).ok_or(OriginError::Host)?;
        match port.map(port_number).transpose()? {
            Some(port) if port != default_port => Ok(Self(format!("{scheme}://{host}:{port}"))),
            _ => Ok(Self(format!("{scheme}://{host}"))),
        }
    }

    /// Returns the origin as in the `Origin` header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The reason why a text is not an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// The scheme is missing or not allowed here.
    #[error(
        "an origin begins with http:// or https://; only a trusted one may have another scheme, \
         written in lower case"
    )]
    Scheme,
    /// It contains letters that browsers send as Punycode.
    #[error("an origin must be ASCII; write an international host in its xn-- form")]
    NotAscii,
    /// It contains user information, a path, a query or a fragment.
    #[error("an origin must end after the host and port, without a slash")]
    NotOnlyOrigin,
    /// The host is missing or malformed, or contains a wildcard.
    #[error("the host of the origin is not a name or address")]
    Host,
    /// The path of a public URL cannot be a prefix of paths.
    #[error(
        "the path of a public URL must consist of plain segments such as /app, have at most 128 \
         bytes and not end with a slash"
    )]
    Path,
    /// The port is not a number from 1 to 65535.
    #[error("the port of the origin is not a number from 1 to 65535")]
    Port,
}

fn is_web(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// Returns `None` for an empty header. Go and tower-http do the same, and some proxies empty a
/// header instead of removing it.
fn given(header: Option<&[u8]>) -> Option<&[u8]> {
    header.filter(|value| !value.is_empty())
}

/// Returns host and port of a well-formed `Origin` header.
fn authority(origin: &[u8]) -> Option<&[u8]> {
    let rest = origin.strip_prefix(b"https://").or_else(|| origin.strip_prefix(b"http://"))?;
    (Authority::try_from(rest).is_ok() && !rest.contains(&b'@')).then_some(rest)
}

fn port_number(text: &str) -> Result<u16, OriginError> {
    // `u16::from_str` also accepts a plus sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&port| digits && port != 0).ok_or(OriginError::Port)
}

/// Returns a host as browsers write it. Text that they would rewrite (`127.1`) is refused, because
/// it would never match.
fn canonical_host(host: &str) -> Option<String> {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().ok()?;
        // Browsers write the last four bytes of these in hexadecimal, and `Display` in decimal.
        return address.to_ipv4_mapped().is_none().then(|| format!("[{address}]"));
    }
    let label = |label: &str| {
        let bytes = label.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
    };
    let last = host.rsplit('.').next()?;
    let ends_in_a_number = last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit());
    let sound = host.len() <= 253
        && host.split('.').all(label)
        && (!ends_in_a_number || host.parse::<Ipv4Addr>().is_ok());
    sound.then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
    use http_body_util::Empty;
    use tower::{Layer, Service, ServiceExt, service_fn};
    use tower_http::csrf::CsrfLayer;

    use super::{CrossSite, Facts, Origin, OriginError, SameOrigin};

    const HOST: &str = "example.com";
    const OURS: &str = "https://example.com";
    const LISTED: &str = "https://trusted.example";
    const EVIL: &str = "https://attacker.example";
    const NONE: &str = "";

    const PASS: Result<(), CrossSite> = Ok(());
    const SITE: Result<(), CrossSite> = Err(CrossSite::FetchSite);
    const ORIGIN: Result<(), CrossSite> = Err(CrossSite::Origin);
    const PROOF: Result<(), CrossSite> = Err(CrossSite::NoProof);

    fn origin(text: &str) -> Origin {
        Origin::parse(text).unwrap()
    }

    fn facts<'a>(site: &'a str, origin: &'a str, host: &'a str) -> Facts<'a> {
        // An empty value means the same as a missing one, which has its own test.
        Facts {
            sec_fetch_site: Some(site.as_bytes()),
            origin: Some(origin.as_bytes()),
            host: Some(host.as_bytes()),
            upgrade: false,
        }
    }

    type Row<'a> = (&'a str, &'a str, &'a str, &'a str, Result<(), CrossSite>);

    fn check(rule: &SameOrigin, rows: &[Row<'_>]) {
        for &(method, site, origin, host, verdict) in rows {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let found = rule.check(&method, &facts(site, origin, host));
            assert_eq!(found, verdict, "{method} site={site:?} origin={origin:?} host={host:?}");
        }
    }

    #[test]
    fn with_no_origin_listed_only_our_own_pages_write() {
        check(
            &SameOrigin::new(),
            &[
                ("POST", "same-origin", NONE, HOST, PASS),
                ("POST", "none", NONE, HOST, PASS),
                ("POST", "cross-site", NONE, HOST, SITE),
                ("POST", "same-site", NONE, HOST, SITE),
                ("POST", NONE, NONE, HOST, PASS),
                ("POST", NONE, OURS, HOST, PASS),
                ("POST", NONE, EVIL, HOST, ORIGIN),
                ("POST", NONE, "null", HOST, ORIGIN),
                ("GET", "cross-site", NONE, HOST, PASS),
                ("HEAD", "cross-site", NONE, HOST, PASS),
                ("OPTIONS", "cross-site", NONE, HOST, PASS),
                ("PUT", "cross-site", NONE, HOST, SITE),
                // Every other method can write, including unknown ones.
                ("PATCH", "cross-site", NONE, HOST, SITE),
                ("DELETE", "cross-site", NONE, HOST, SITE),
                ("TRACE", "cross-site", NONE, HOST, SITE),
                ("CONNECT", "cross-site", NONE, HOST, SITE),
                ("QUERY", "cross-site", NONE, HOST, SITE),
                ("get", "cross-site", NONE, HOST, SITE),
                ("GET", NONE, EVIL, HOST, PASS),
                ("DELETE", "same-origin", NONE, HOST, PASS),
                // `Sec-Fetch-Site` is more precise than `Origin`, so it decides.
                ("POST", "same-origin", EVIL, HOST, PASS),
                ("POST", "cross-site", OURS, HOST, SITE),
                ("POST", "same-site", OURS, HOST, SITE),
                // Values that no browser sends.
                ("POST", "Same-Origin", NONE, HOST, SITE),
                ("POST", "same-origin ", NONE, HOST, SITE),
                ("POST", "same-origin, none", NONE, HOST, SITE),
                ("POST", "unknown", OURS, HOST, SITE),
                ("POST", " ", NONE, HOST, SITE),
            ],
        );
    }

    #[test]
    fn an_origin_is_ours_when_it_names_the_host_byte_for_byte() {
        check(
            &SameOrigin::new(),
            &[
                ("POST", NONE, "http://example.com", HOST, PASS),
                ("POST", NONE, "https://example.com:8443", "example.com:8443", PASS),
                ("POST", NONE, "http://127.0.0.1:3000", "127.0.0.1:3000", PASS),
                ("POST", NONE, "http://[::1]:3000", "[::1]:3000", PASS),
                ("POST", NONE, "https://example.com:8443", HOST, ORIGIN),
                ("POST", NONE, OURS, "example.com:443", ORIGIN),
                ("POST", NONE, OURS, "EXAMPLE.com", ORIGIN),
                ("POST", NONE, OURS, NONE, ORIGIN),
                ("POST", NONE, "https://sub.example.com", HOST, ORIGIN),
                ("POST", NONE, "https://example.com.attacker.example", HOST, ORIGIN),
                ("POST", NONE, "https://attacker.example/example.com", HOST, ORIGIN),
                ("POST", NONE, "https://example.com@attacker.example", HOST, ORIGIN),
                ("POST", NONE, "https://attacker@example.com", "attacker@example.com", ORIGIN),
                ("POST", NONE, "https://example.com/", HOST, ORIGIN),
                ("POST", NONE, "HTTPS://example.com", HOST, ORIGIN),
                ("POST", NONE, "ftp://example.com", HOST, ORIGIN),
                ("POST", NONE, "file://", NONE, ORIGIN),
                ("POST", NONE, "https://", NONE, ORIGIN),
                ("POST", NONE, "example.com", HOST, ORIGIN),
                ("POST", NONE, "https://example.com https://attacker.example", HOST, ORIGIN),
                ("POST", NONE, "null", "null", ORIGIN),
                ("POST", NONE, " ", " ", ORIGIN),
                ("POST", NONE, "https:// ", " ", ORIGIN),
            ],
        );
    }

    #[test]
    fn a_listed_origin_writes_from_wherever_it_is() {
        check(
            &SameOrigin::new().trust(origin(LISTED)),
            &[
                ("POST", NONE, LISTED, HOST, PASS),
                ("POST", "cross-site", LISTED, HOST, PASS),
                ("POST", "same-site", LISTED, HOST, PASS),
                ("POST", "unknown", LISTED, HOST, PASS),
                ("POST", NONE, EVIL, HOST, ORIGIN),
                ("POST", "cross-site", EVIL, HOST, SITE),
                ("POST", "cross-site", NONE, HOST, SITE),
                ("POST", "cross-site", "null", HOST, SITE),
                ("POST", "cross-site", "https://trusted.example:443", HOST, SITE),
                ("POST", "cross-site", "https://trusted.example/", HOST, SITE),
                ("POST", "cross-site", "https://TRUSTED.example", HOST, SITE),
                ("POST", "cross-site", "http://trusted.example", HOST, SITE),
                ("POST", "cross-site", "https://sub.trusted.example", HOST, SITE),
                ("POST", NONE, OURS, HOST, PASS),
            ],
        );
    }

    #[test]
    fn the_public_origin_helps_only_browsers_that_say_nothing_else() {
        check(
            &SameOrigin::new().public(origin(OURS)),
            &[
                ("POST", NONE, OURS, "internal:8080", PASS),
                ("POST", "same-origin", OURS, "internal:8080", PASS),
                ("POST", "cross-site", OURS, "internal:8080", SITE),
                ("POST", "same-site", OURS, "internal:8080", SITE),
                ("POST", NONE, "http://example.com", "internal:8080", ORIGIN),
                ("POST", NONE, EVIL, "internal:8080", ORIGIN),
                ("POST", NONE, "null", "internal:8080", ORIGIN),
            ],
        );
    }

    #[test]
    fn strict_refuses_silence_and_nothing_else() {
        let silent = ("POST", NONE, NONE, HOST);
        let (method, site, origin, host) = silent;
        check(&SameOrigin::new(), &[(method, site, origin, host, PASS)]);
        check(
            &SameOrigin::new().strict(),
            &[
                (method, site, origin, host, PROOF),
                ("POST", "same-origin", NONE, HOST, PASS),
                ("POST", "none", NONE, HOST, PASS),
                ("POST", NONE, OURS, HOST, PASS),
                ("POST", NONE, EVIL, HOST, ORIGIN),
                ("GET", NONE, NONE, HOST, PASS),
            ],
        );
    }

    #[test]
    fn a_handshake_is_judged_like_a_post() {
        for (site, origin, verdict) in [
            ("same-origin", OURS, PASS),
            (NONE, OURS, PASS),
            (NONE, NONE, PASS),
            ("cross-site", EVIL, SITE),
            ("same-site", "https://sub.example.com", SITE),
            (NONE, EVIL, ORIGIN),
        ] {
            let facts = Facts { upgrade: true, ..facts(site, origin, HOST) };
            assert_eq!(SameOrigin::new().check(&Method::GET, &facts), verdict, "{site} {origin}");
        }
        let facts = Facts { upgrade: true, ..facts(NONE, NONE, HOST) };
        assert_eq!(SameOrigin::new().strict().check(&Method::GET, &facts), PROOF);
    }

    #[test]
    fn a_form_post_needs_proof() {
        let rule = SameOrigin::new().trust(origin(LISTED)).public(origin("https://public.example"));
        for (site, origin, proof) in [
            ("same-origin", NONE, true),
            ("same-origin", OURS, true),
            (NONE, OURS, true),
            (NONE, "https://public.example", true),
            (NONE, LISTED, true),
            ("cross-site", LISTED, true),
            (NONE, NONE, false),
            ("none", NONE, false),
            ("none", OURS, false),
            ("same-site", NONE, false),
            ("same-site", OURS, false),
            ("cross-site", OURS, false),
            ("cross-site", "https://public.example", false),
            (NONE, "null", false),
            (NONE, EVIL, false),
        ] {
            assert_eq!(
                rule.present_same_origin(&facts(site, origin, HOST)),
                proof,
                "{site} {origin}"
            );
        }
    }

    #[test]
    fn the_facts_are_those_of_the_request() {
        let request = |uri: &'static str, lines: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for &(name, value) in lines {
                headers.append(name, value.parse().unwrap());
            }
            (Uri::from_static(uri), headers)
        };
        let (uri, headers) =
            request("/", &[("host", HOST), ("origin", OURS), ("sec-fetch-site", "none")]);
        let facts = Facts::of(&uri, &headers);
        assert_eq!(facts.host, Some(HOST.as_bytes()));
        assert_eq!(facts.origin, Some(OURS.as_bytes()));
        assert_eq!(facts.sec_fetch_site, Some(&b"none"[..]));
        assert!(!facts.upgrade);

        let (uri, headers) =
            request("https://real.example/", &[("host", HOST), ("upgrade", "websocket")]);
        assert_eq!(Facts::of(&uri, &headers).host, Some(&b"real.example"[..]));
        assert!(Facts::of(&uri, &headers).upgrade);

        let (uri, headers) = request("/", &[]);
        let facts = Facts::of(&uri, &headers);
        assert!(facts.host.is_none() && facts.origin.is_none() && facts.sec_fetch_site.is_none());

        // A header that occurs twice, in either order, proves nothing.
        for lines in [
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-origin")],
            &[("host", HOST), ("origin", OURS), ("origin", EVIL)],
            &[("host", "attacker.example"), ("host", HOST), ("origin", EVIL)],
        ] {
            let (uri, headers) = request("/", lines);
            let facts = Facts::of(&uri, &headers);
            assert!(SameOrigin::new().check(&Method::POST, &facts).is_err(), "{lines:?}");
            assert!(!SameOrigin::new().present_same_origin(&facts), "{lines:?}");
        }
    }

    #[test]
    fn an_absent_header_is_the_same_as_an_empty_one() {
        for (site, origin) in
            [(NONE, NONE), (NONE, EVIL), ("cross-site", NONE), ("same-origin", NONE)]
        {
            let empty = facts(site, origin, HOST);
            let absent = Facts {
                sec_fetch_site: empty.sec_fetch_site.filter(|value| !value.is_empty()),
                origin: empty.origin.filter(|value| !value.is_empty()),
                ..empty
            };
            let rule = SameOrigin::new().strict();
            assert_eq!(rule.check(&Method::POST, &empty), rule.check(&Method::POST, &absent));
        }
    }

    #[test]
    fn an_origin_of_the_configuration_is_brought_into_the_browsers_form() {
        for (text, written) in [
            ("https://example.com", "https://example.com"),
            ("https://example.com:8080", "https://example.com:8080"),
            ("http://example.com", "http://example.com"),
            ("HTTPS://Example.COM", "https://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("http://example.com:80", "http://example.com"),
            ("http://example.com:443", "http://example.com:443"),
            ("https://example.com:0443", "https://example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://127.0.0.1", "http://127.0.0.1"),
            ("http://[0:0::1]:3000", "http://[::1]:3000"),
            ("http://[2001:DB8::1]", "http://[2001:db8::1]"),
            ("https://my_app.xn--bcher-kva.example", "https://my_app.xn--bcher-kva.example"),
        ] {
            assert_eq!(Origin::parse(text).as_ref().map(Origin::as_str), Ok(written), "{text}");
        }
        for (text, error) in [
            ("", OriginError::Scheme),
            ("null", OriginError::Scheme),
            ("example.com", OriginError::Scheme),
            ("//example.com", OriginError::Scheme),
            ("ftp://example.com", OriginError::Scheme),
            ("https:example.com", OriginError::Scheme),
            (" https://example.com", OriginError::Scheme),
            ("https://bücher.example", OriginError::NotAscii),
            ("https://", OriginError::Host),
            ("https://:443", OriginError::Host),
            ("https://ex ample.com", OriginError::Host),
            ("https://example.com ", OriginError::Host),
            ("https://*.example.com", OriginError::Host),
            ("https://*", OriginError::Host),
            ("https://example..com", OriginError::Host),
            ("https://example.com.", OriginError::Host),
            ("https://127.1", OriginError::Host),
            ("https://0x7f000001", OriginError::Host),
            ("https://::1", OriginError::Host),
            ("https://[::1", OriginError::Host),
            ("https://[127.0.0.1]", OriginError::Host),
            ("https://[::ffff:127.0.0.1]", OriginError::Host),
            ("https://example.com,https://b.example", OriginError::NotOnlyOrigin),
            ("https://example.com/", OriginError::NotOnlyOrigin),
            ("https://example.com/path", OriginError::NotOnlyOrigin),
            ("https://example.com?query=value", OriginError::NotOnlyOrigin),
            ("https://example.com#fragment", OriginError::NotOnlyOrigin),
            ("https://user@example.com", OriginError::NotOnlyOrigin),
            ("https:///example.com", OriginError::NotOnlyOrigin),
            ("https://example.com\\", OriginError::NotOnlyOrigin),
            ("https://example.com:", OriginError::Port),
            ("https://example.com:0", OriginError::Port),
            ("https://example.com:65536", OriginError::Port),
            ("https://example.com:+80", OriginError::Port),
            ("https://example.com:80a", OriginError::Port),
        ] {
            assert_eq!(Origin::parse(text), Err(error), "{text}");
        }
    }

    /// All combinations of what a request can contain, checked by tower-http's `csrf` and by this
    /// rule.
    #[tokio::test]
    async fn tower_http_agrees_but_for_origins_that_no_browser_writes() {
        let methods = [
            "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT",
            "QUERY", "get",
        ];
        let sites = [
            None,
            Some(""),
            Some("same-origin"),
            Some("none"),
            Some("same-site"),
            Some("cross-site"),
            Some("Same-Origin"),
            Some("x"),
        ];
        let origins = [
            None,
            Some(""),
            Some("null"),
            Some(OURS),
            Some(LISTED),
            Some(EVIL),
            Some("http://example.com"),
            Some("https://example.com:8443"),
            Some("https://sub.example.com"),
            Some("https://EXAMPLE.com"),
            Some("https://[::1]:3000"),
            Some("ftp://example.com"),
            Some("example.com"),
            Some("https://trusted.example:443"),
            Some("https://"),
            Some("https://ex ample.com"),
            Some("https://,"),
            // From here on: values that no browser writes.
            Some("https://example.com/"),
            Some("https://example.com/path"),
            Some("https://example.com?query"),
            Some("HTTPS://example.com"),
            Some("https://user@example.com"),
        ];
        let odd = |origin: &str| {
            origin.starts_with("HTTPS")
                || origin.contains('@')
                || origin["https://".len().min(origin.len())..].contains(['/', '?'])
        };
        let hosts = [
            None,
            Some(HOST),
            Some("example.com:8443"),
            Some("[::1]:3000"),
            Some("user@example.com"),
            Some(","),
            Some(""),
        ];
        let targets = ["/", "https://example.com/", "https://attacker.example/"];

        let (mut compared, mut stricter) = (0, 0);
        for listed in [false, true] {
            let mut rule = SameOrigin::new();
            let mut layer = CsrfLayer::new();
            if listed {
                rule = rule.trust(origin(LISTED));
                layer = layer.add_trusted_origin(LISTED).unwrap();
            }
            let inner = service_fn(async |_: Request<Empty<Bytes>>| {
                Ok::<_, std::convert::Infallible>(Response::new(Empty::<Bytes>::new()))
            });
            let mut theirs = layer.layer(inner);
            for method in methods {
                for site in sites {
                    for origin in origins {
                        for host in hosts {
                            for target in targets {
                                let mut request = Request::builder().method(method).uri(target);
                                for (name, value) in
                                    [("sec-fetch-site", site), ("origin", origin), ("host", host)]
                                {
                                    if let Some(value) = value {
                                        request = request.header(name, value);
                                    }
                                }
                                let request = request.body(Empty::new()).unwrap();
                                let ours = rule
                                    .check(
                                        request.method(),
                                        &Facts::of(request.uri(), request.headers()),
                                    )
                                    .is_ok();
                                let shown =
                                    format!("{method} {target} {site:?} {origin:?} {host:?}");
                                let answer =
                                    theirs.ready().await.unwrap().call(request).await.unwrap();
                                let passed = answer.status() == StatusCode::OK;
                                compared += 1;
                                if ours != passed {
                                    assert!(
                                        passed && origin.is_some_and(odd),
                                        "{shown}: ours {ours}, theirs {passed}"
                                    );
                                    stricter += 1;
                                }
                            }
                        }
                    }
                }
            }
        }
        assert!(compared > 50_000 && stricter > 0);
    }
}
