//! What a request carries of ours, and where it comes from.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue};

use crate::base::client::{ClientInfo, PeerAddr, TrustedProxies};
use crate::base::public_url::PathPrefix;
use crate::context::Context;
use crate::handle::Portcullis;
use crate::session::cookie::{Found as FoundCookie, SessionCookie};
use crate::session::device::Devices;

/// The credential of a request.
#[derive(Debug)]
pub(crate) enum Credential {
    None,
    Cookie {
        header: HeaderValue,
        range: std::ops::Range<usize>,
    },
    Bearer {
        header: HeaderValue,
    },
    /// Two cookies of our name, or a cookie and a bearer token of ours.
    Several,
}

/// The credential of ours that a request carries. An `Authorization` header that is not a bearer
/// token of ours belongs to the host.
pub(crate) fn credential(
    context: &Context,
    cookie: &SessionCookie,
    headers: &HeaderMap,
) -> Credential {
    let cookie = cookie.find(headers);
    let bearer = if context.config.service.bearer {
        let mut ours = headers
            .get_all(AUTHORIZATION)
            .iter()
            .filter(|header| bearer_token(header).is_some_and(|token| context.jwt.is_ours(token)));
        let first = ours.next().cloned();
        if first.is_some() && ours.next().is_some() {
            return Credential::Several;
        }
        first
    } else {
        None
    };
    match (cookie, bearer) {
        (FoundCookie::Nothing, None) => Credential::None,
        (FoundCookie::Nothing, Some(header)) => Credential::Bearer { header },
        (FoundCookie::One { header, range }, None) => Credential::Cookie { header, range },
        (FoundCookie::Several, _) | (FoundCookie::One { .. }, Some(_)) => Credential::Several,
    }
}

/// The token of a `Bearer` header; the scheme's case does not matter (RFC 9110).
pub(crate) fn bearer_token(header: &HeaderValue) -> Option<&[u8]> {
    let bytes = header.as_bytes();
    let (scheme, rest) = bytes.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

/// The address that the connection comes from, an extension that the server puts there.
fn peer_of(extensions: &http::Extensions) -> Option<IpAddr> {
    let peer = extensions.get::<PeerAddr>().map(|peer| peer.0);
    #[cfg(feature = "routes")]
    let peer = peer.or_else(|| {
        extensions.get::<axum::extract::ConnectInfo<std::net::SocketAddr>>().map(|info| info.0.ip())
    });
    peer
}

/// What is kept of a request to tell where it comes from, should somebody ask. Without proxies that
/// is two values; they are put together when they are looked at.
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

/// The address a request comes from, if it is known.
#[cfg(feature = "routes")]
pub(crate) fn address_of(
    auth: &Portcullis,
    headers: &HeaderMap,
    extensions: &http::Extensions,
) -> Option<std::net::IpAddr> {
    Source::of(&auth.context().config.proxies, headers, extensions).client().address()
}

/// What a proxy took off the front of the path: what a trusted one says, where that is switched on,
/// or what the public URL says.
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

/// `X-Forwarded-Prefix`, if it is there once and can be a prefix.
fn forwarded_prefix(headers: &HeaderMap) -> Option<PathPrefix> {
    let mut values = headers.get_all("x-forwarded-prefix").iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let text = value.to_str().ok()?;
    PathPrefix::parse(text.strip_suffix('/').unwrap_or(text))
}

/// Where a request comes from, for a flow that depends on it: what keeps that from being known is
/// found here.
pub(crate) fn client_of(
    auth: &Portcullis,
    headers: &HeaderMap,
    extensions: &http::Extensions,
) -> ClientInfo {
    let peer = peer_of(extensions);
    if peer.is_none() {
        auth.find(
            "no_peer_address",
            "the address of clients is not known, so they count as a few sources together: serve with \
             `app.into_make_service_with_connect_info::<SocketAddr>()`, or insert \
             `portcullis::PeerAddr` into each request",
        );
    }
    let device = auth.room::<Devices>().shown(headers);
    let proxies = &auth.context().config.proxies;
    if proxies.networks.is_empty() && crate::base::client::forwarded_headers_present(headers) {
        auth.find(
            "forwarded_without_proxy",
            "requests carry forwarding headers but no proxy is trusted: if there is one, list its \
             network in `proxies.networks`, or every client seems to come from it",
        );
    }
    ClientInfo::resolve(peer, headers, proxies).on_device(device)
}
