//! Which credential of portcullis a request carries, and where the request comes from.

use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CONNECTION, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
    USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};

use crate::api_key::looks_like_one;
use crate::base::client::{ClientInfo, PeerAddr, TrustedProxies};
use crate::base::clock::Timestamp;
use crate::base::jwt::{Claims, MAX_TOKEN_BYTES, TokenType};
use crate::base::public_url::PathPrefix;
use crate::context::Context;
use crate::dpop::ShownProof;
use crate::handle::Portcullis;
use crate::session::cookie::{Found as FoundCookie, Pair, SessionCookie};
use crate::session::device::Devices;
use crate::session::trusted::TrustedTokens;

/// The credential of a request.
#[derive(Debug)]
pub(crate) enum Credential {
    None,
    Cookie(Pair),
    Header(InHeader),
    /// Cookies with our name, and possibly a credential of portcullis in a header. Which of them counts is
    /// decided when someone asks, because that needs the signatures.
    Many {
        cookies: Vec<Pair>,
        header: Option<InHeader>,
    },
    /// Two credentials of portcullis in headers.
    Several,
}

/// A credential of portcullis in a header, which looks like one and may be invalid.
#[derive(Debug)]
pub(crate) enum InHeader {
    /// The token of a session. The value is the whole header.
    Bearer(HeaderValue),
    /// The token of a session that is bound to a key, with the proof of the key. Boxed, because it is rare.
    Bound(Box<BoundToken>),
    ApiKey(ShownKey),
}

/// A token in `Authorization: DPoP`.
#[derive(Debug)]
pub(crate) struct BoundToken {
    /// The whole header.
    pub(crate) value: HeaderValue,
    pub(crate) proof: ShownProof,
}

/// The header that has an API key.
pub(crate) struct ShownKey {
    value: HeaderValue,
    /// True if it is `Authorization: Bearer`.
    after_scheme: bool,
}

impl ShownKey {
    pub(crate) fn text(&self) -> &[u8] {
        match self.after_scheme {
            true => bearer_token(&self.value).unwrap_or_default(),
            false => self.value.as_bytes().trim_ascii(),
        }
    }
}

// Written by hand: the key must not be printed.
impl std::fmt::Debug for ShownKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ShownKey(..)")
    }
}

impl Credential {
    /// True if a credential of portcullis is in a header, valid or not. Such a client stores it itself.
    pub(crate) fn has_header(&self) -> bool {
        matches!(self, Self::Header(_) | Self::Several | Self::Many { header: Some(_), .. })
    }

    /// True if a bearer token or an API key is the only credential. No browser adds one on its own, so no
    /// other site can have caused the request. A cookie with our name that does not count is no credential.
    pub(crate) fn is_only_a_token(&self, context: &Context) -> bool {
        match self {
            Self::Header(_) => true,
            Self::Many { cookies, header: Some(_) } => {
                !verified_cookies(context, cookies, context.now()).may_count(context)
            }
            _ => false,
        }
    }

    /// True if a token was sent as one that is bound to a key.
    pub(crate) fn is_bound(&self) -> bool {
        matches!(
            self,
            Self::Header(InHeader::Bound(_)) | Self::Many { header: Some(InHeader::Bound(_)), .. }
        )
    }

    /// Returns the API key, if it is the only credential.
    pub(crate) fn only_api_key(&self, context: &Context) -> Option<&ShownKey> {
        match self {
            Self::Header(InHeader::ApiKey(key))
            | Self::Many { header: Some(InHeader::ApiKey(key)), .. } => {
                self.is_only_a_token(context).then_some(key)
            }
            _ => None,
        }
    }
}

/// How many signatures are verified to find the one cookie that counts. Without a limit, one
/// request could make the server verify as many as fit into its headers.
const MOST_SIGNATURES: usize = 8;

/// The result of verifying the cookies with our name.
pub(crate) struct VerifiedCookies<'a> {
    /// The types and claims of the cookies that portcullis signed, of any age.
    pub(crate) found: Vec<(TokenType, Claims)>,
    /// A cookie that does not look like one of portcullis.
    pub(crate) foreign: Option<&'a Pair>,
    /// True if more cookies look like ours than are verified.
    pub(crate) too_many: bool,
}

impl VerifiedCookies<'_> {
    /// True if one of them may identify someone: it has not expired, or there are too many to know.
    pub(crate) fn may_count(&self, context: &Context) -> bool {
        let now = context.now();
        let counts = |(token_type, claims): &(TokenType, Claims)| {
            is_in_time(context, *token_type, claims, now)
        };
        self.too_many || self.found.iter().any(counts)
    }
}

/// True if a token has not expired, or if it can still be renewed where expired tokens are
/// accepted. Only tokens of full sessions can be renewed.
pub(crate) fn is_in_time(
    context: &Context,
    token_type: TokenType,
    claims: &Claims,
    now: Timestamp,
) -> bool {
    let window = context.config.session.refresh_window;
    let renewable = |window: std::time::Duration| {
        let window = i64::try_from(window.as_secs()).unwrap_or(i64::MAX);
        now.as_secs() < claims.issued_at.saturating_add(window)
    };
    let expired = now.as_secs() >= claims.expires_at;
    !expired || token_type == TokenType::Session && window.is_some_and(renewable)
}

/// Verifies the cookies with our name. A cookie that does not even look like a token of portcullis
/// costs no signature.
pub(crate) fn verified_cookies<'a>(
    context: &Context,
    cookies: &'a [Pair],
    now: Timestamp,
) -> VerifiedCookies<'a> {
    let ours =
        |pair: &&Pair| pair.value().len() <= MAX_TOKEN_BYTES && context.jwt.is_ours(pair.value());
    let foreign = cookies.iter().find(|pair| !ours(pair));
    let mut candidates = cookies.iter().filter(ours);
    let found = candidates
        .by_ref()
        .take(MOST_SIGNATURES)
        .filter_map(|pair| std::str::from_utf8(pair.value()).ok())
        .filter_map(|token| context.jwt.verify_session(token, now))
        .collect();
    VerifiedCookies { found, foreign, too_many: candidates.next().is_some() }
}

/// Returns the credential of portcullis that a request carries. An `Authorization` header that is
/// neither a bearer token nor an API key of portcullis is ignored, because it belongs to the application.
pub(crate) fn credential(
    auth: &Portcullis,
    cookie: &SessionCookie,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    extensions: &http::Extensions,
) -> Credential {
    let cookie = cookie.find(headers);
    let proof = || {
        let uri = uri_before_routers(uri, extensions);
        ShownProof::of(method, uri, prefix_of(auth, headers, extensions), headers)
    };
    let mut shown = in_headers(auth.context(), headers, &proof);
    let header = shown.next();
    if header.is_some() && shown.next().is_some() {
        return Credential::Several;
    }
    match (cookie, header) {
        (FoundCookie::Nothing, None) => Credential::None,
        (FoundCookie::Nothing, Some(header)) => Credential::Header(header),
        (FoundCookie::One(pair), None) => Credential::Cookie(pair),
        (FoundCookie::One(pair), header) => Credential::Many { cookies: vec![pair], header },
        (FoundCookie::Several(cookies), header) => Credential::Many { cookies, header },
    }
}

/// Returns the credentials of portcullis in headers.
fn in_headers<'a>(
    context: &'a Context,
    headers: &'a HeaderMap,
    proof: &'a dyn Fn() -> ShownProof,
) -> impl Iterator<Item = InHeader> + 'a {
    let (config, bearer) = (&context.config.api_key, context.config.service.bearer);
    let prefix = config.prefix.as_deref();
    let authorization =
        if bearer || prefix.is_some() { Some(headers.get_all(AUTHORIZATION).iter()) } else { None };
    let authorization = authorization.into_iter().flatten().filter_map(move |value| {
        if let Some(token) = bound_token(value) {
            let ours = bearer && context.jwt.is_ours(token);
            let bound = || BoundToken { value: value.clone(), proof: proof() };
            return ours.then(|| InHeader::Bound(Box::new(bound())));
        }
        let token = bearer_token(value)?;
        if prefix.is_some_and(|prefix| looks_like_one(prefix, token)) {
            let value = value.clone();
            return Some(InHeader::ApiKey(ShownKey { value, after_scheme: true }));
        }
        (bearer && context.jwt.is_ours(token)).then(|| InHeader::Bearer(value.clone()))
    });
    let own = config.header.as_deref().filter(|_| prefix.is_some());
    let own = own.map(|name| headers.get_all(name).iter()).into_iter().flatten();
    // Something else in this header is not for portcullis: a gateway may use the same name.
    let own = own
        .filter(move |value| {
            prefix.is_some_and(|prefix| looks_like_one(prefix, value.as_bytes().trim_ascii()))
        })
        .map(|value| InHeader::ApiKey(ShownKey { value: value.clone(), after_scheme: false }));
    authorization.chain(own)
}

/// Returns the status that accepts a WebSocket handshake, if the request is one: RFC 6455 section
/// 4.1 for HTTP/1.1, RFC 8441 for HTTP/2. A request that only says `Upgrade: websocket` is none.
pub(crate) fn handshake(
    method: &Method,
    uri: &Uri,
    version: Version,
    headers: &HeaderMap,
) -> Option<StatusCode> {
    let lists = |name: HeaderName, word: &str| {
        let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word))
    };
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return None;
    }
    if *method == Method::GET && version <= Version::HTTP_11 {
        let asks = lists(CONNECTION, "upgrade")
            && lists(UPGRADE, "websocket")
            && headers.contains_key(SEC_WEBSOCKET_KEY);
        let accepts = StatusCode::SWITCHING_PROTOCOLS;
        return asks.then_some(accepts);
    }
    // A plain CONNECT has neither scheme nor path. One with `:protocol` must have both (RFC 8441
    // section 4).
    let extended = *method == Method::CONNECT
        && version >= Version::HTTP_2
        && uri.scheme().is_some()
        && !uri.path().is_empty();
    let accepts = StatusCode::OK;
    extended.then_some(accepts)
}

/// Returns the token of a `Bearer` header. The scheme is case-insensitive (RFC 9110 section 11.1).
pub(crate) fn bearer_token(header: &HeaderValue) -> Option<&[u8]> {
    after_scheme(header, b"bearer ")
}

/// Returns the token of a `DPoP` header (RFC 9449 section 7.1).
pub(crate) fn bound_token(header: &HeaderValue) -> Option<&[u8]> {
    after_scheme(header, b"dpop ")
}

fn after_scheme<'a>(header: &'a HeaderValue, wanted: &[u8]) -> Option<&'a [u8]> {
    let (scheme, rest) = header.as_bytes().split_at_checked(wanted.len())?;
    scheme.eq_ignore_ascii_case(wanted).then(|| rest.trim_ascii())
}

/// Returns the URI of a request before a router removed the beginning of its path.
pub(crate) fn uri_before_routers<'a>(uri: &'a Uri, extensions: &'a http::Extensions) -> &'a Uri {
    #[cfg(feature = "routes")]
    let uri = extensions.get::<axum::extract::OriginalUri>().map_or(uri, |original| &original.0);
    #[cfg(not(feature = "routes"))]
    let _ = extensions;
    uri
}

/// The address of the connection. The server adds it as an extension.
fn peer_of(extensions: &http::Extensions) -> Option<IpAddr> {
    let peer = extensions.get::<PeerAddr>().map(|peer| peer.0);
    #[cfg(feature = "routes")]
    let peer = peer.or_else(|| {
        extensions.get::<axum::extract::ConnectInfo<std::net::SocketAddr>>().map(|info| info.0.ip())
    });
    peer
}

/// What is kept of a request to find out later where it comes from. Without proxies this is two
/// values, which are combined only when they are needed.
#[derive(Debug)]
pub(crate) enum Source {
    Direct { peer: Option<IpAddr>, user_agent: Option<HeaderValue> },
    Forwarded(ClientInfo),
}

impl Source {
    pub(crate) fn of(
        proxies: &TrustedProxies,
        headers: &HeaderMap,
        extensions: &http::Extensions,
    ) -> Self {
        let peer = peer_of(extensions);
        if proxies.networks.is_empty() {
            return Self::Direct { peer, user_agent: headers.get(USER_AGENT).cloned() };
        }
        Self::Forwarded(ClientInfo::resolve(peer, headers, proxies))
    }

    pub(crate) fn client(&self) -> ClientInfo {
        match self {
            Self::Direct { peer, user_agent } => ClientInfo::direct(*peer, user_agent.as_ref()),
            Self::Forwarded(client) => client.clone(),
        }
    }
}

/// Returns the address from which a request comes, if it is known.
#[cfg(feature = "routes")]
pub(crate) fn address_of(
    auth: &Portcullis,
    headers: &HeaderMap,
    extensions: &http::Extensions,
) -> Option<std::net::IpAddr> {
    Source::of(&auth.context().config.proxies, headers, extensions).client().address()
}

/// Returns the prefix that a proxy removed from the path. A trusted proxy states it, if that is
/// enabled. Otherwise it comes from the public URL.
pub(crate) fn prefix_of(
    auth: &Portcullis,
    headers: &HeaderMap,
    extensions: &http::Extensions,
) -> PathPrefix {
    let config = &auth.context().config;
    let told = peer_of(extensions)
        .filter(|peer| config.proxies.prefix && config.proxies.trusts(*peer))
        .and_then(|_| forwarded_prefix(headers));
    told.or_else(|| config.public_url().map(|url| url.prefix)).unwrap_or_default()
}

/// Returns `X-Forwarded-Prefix`, if it is present exactly once and is a valid prefix.
fn forwarded_prefix(headers: &HeaderMap) -> Option<PathPrefix> {
    let mut values = headers.get_all("x-forwarded-prefix").iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let text = value.to_str().ok()?;
    PathPrefix::parse(text.strip_suffix('/').unwrap_or(text))
}

/// Returns where a request comes from, for a flow that depends on it. Reports a finding if the
/// set-up prevents this from being known.
pub(crate) fn client_of(
    auth: &Portcullis,
    headers: &HeaderMap,
    extensions: &http::Extensions,
) -> ClientInfo {
    let peer = peer_of(extensions);
    if peer.is_none() {
        auth.report_finding(
            "no_peer_address",
            "the address of clients is not known, so they count as a few sources together: serve with \
             `app.into_make_service_with_connect_info::<SocketAddr>()`, or insert \
             `portcullis::PeerAddr` into each request",
        );
    }
    let device = auth.per_instance::<Devices>().shown(headers);
    let trusts = auth.context().config.trusted_device.enabled;
    let trusted = trusts.then(|| auth.per_instance::<TrustedTokens>().shown(headers)).flatten();
    let proxies = &auth.context().config.proxies;
    if proxies.networks.is_empty() && crate::base::client::forwarded_headers_present(headers) {
        auth.report_finding(
            "forwarded_without_proxy",
            "requests carry forwarding headers but no proxy is trusted: if there is one, list its \
             network in `proxies.networks`, or every client seems to come from it",
        );
    }
    ClientInfo::resolve(peer, headers, proxies).on_device(device).on_trusted_device(trusted)
}
