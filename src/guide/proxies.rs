//! Behind nginx, Caddy, or another proxy: client addresses, path prefixes, WebSockets.
//!
//! A proxy terminates TLS and forwards requests over plain http. Three things must be right: the
//! address that people see, the address of the client, and connections that stay open.
//!
//! ```no_run
//! # fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret)
//! # -> Result<portcullis::Portcullis, Box<dyn std::error::Error>> {
//! use portcullis::Portcullis;
//!
//! let proxy = "127.0.0.1/32".parse()?; // the addresses from which the proxy connects
//! let auth = Portcullis::builder(db)
//!     .secret(secret)
//!     .public_url("https://example.com") // what people see in the address bar
//!     .configure(|config| config.proxies.networks = vec![proxy])
//!     .build()?;
//! # Ok(auth)
//! # }
//! ```
//!
//! The same from the environment: `PORTCULLIS_PUBLIC_URL=https://example.com` and
//! `PORTCULLIS_TRUSTED_PROXIES=127.0.0.1/32`. Serve with
//! `into_make_service_with_connect_info::<SocketAddr>()`. Otherwise portcullis knows no address at
//! all.
//!
//! Let the service listen on an address that only the proxy can reach (`127.0.0.1:3000`).
//!
//! # nginx
//!
//! Two services on one host: one at the root, and one under `/shop`. A test runs this configuration, without the
//! lines for TLS.
//!
//! ```nginx
#![doc = include_str!("proxies/nginx.conf")]
//! ```
//!
//! # Caddy
//!
//! Caddy gets certificates by itself. It keeps `Host`, replaces an `X-Forwarded-For` that the
//! client sent, and supports WebSockets and event streams. A test runs this configuration, with
//! plain http.
//!
//! ```text
#![doc = include_str!("proxies/Caddyfile")]
//! ```
//!
//! # The client address
//!
//! Portcullis reads `X-Forwarded-For` from right to left. It trusts an entry only if a listed proxy
//! wrote it. So entries that a client invents have no effect.
//!
//! - List only networks from which clients cannot connect. Never list `0.0.0.0/0`.
//! - Behind two proxies (such as a CDN and nginx), list the networks of both, and let each one append.
//! - If your proxies write `Forwarded` (RFC 7239), set `PORTCULLIS_FORWARDED_HEADER=forwarded`. Portcullis reads
//!   one of the two headers, never both.
//!
//! To check it, sign in and look at `GET /auth/sessions`: `address` must be yours and not the proxy's. The
//! findings `forwarded_without_proxy` and `no_peer_address` report a wrong set-up.
//!
//! # A path prefix
//!
//! In the example, people open `https://example.com/shop/cart`, and the second service receives
//! `/cart`. It needs the prefix in its public URL, and its own cookie name, because cookies belong
//! to the whole host:
//!
//! ```no_run
//! # fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret)
//! # -> Result<portcullis::Portcullis, portcullis::ConfigErrors> {
//! # use portcullis::Portcullis;
//! let auth = Portcullis::builder(db)
//!     .secret(secret)
//!     .public_url("https://example.com/shop")
//!     .configure(|config| config.cookie.name = "shop".to_owned())
//!     .build()?;
//! # Ok(auth)
//! # }
//! ```
//!
//! Portcullis then adds `/shop` to redirects, `next` and links in messages. Write paths that you
//! configure (such as the login page) without it. Services on one host are not protected from each
//! other: a vulnerable page of one service can use the session of the other. A host name for each
//! service is safer.
//!
//! If people reach *one* service under several prefixes, let the proxy send `X-Forwarded-Prefix`, and set
//! `proxies.prefix` to true (`PORTCULLIS_FORWARDED_PREFIX=true`). Portcullis trusts this header only from a listed
//! proxy, and only if it consists of plain path segments. Every listed proxy must set or remove it, as above. Links
//! in messages never depend on a request.
//!
//! If the service receives the full path (`Router::nest("/shop", ..)` and no slash after `proxy_pass http://shop`),
//! do not put the prefix into the public URL. Write it into the paths that you configure.
//!
//! # `Host`, and http behind https
//!
//! The service sees plain http, but this does not matter: cookies always have `Secure`, links begin
//! with the public URL, and the same-origin check compares `Origin` with the public URL. Do not set
//! `danger_insecure_http_cookies`.
//!
//! Without a public URL, `Origin` is compared with `Host`. If the proxy changes `Host`, portcullis
//! then refuses requests without `Sec-Fetch-Site` as requests from another site. Current browsers
//! send such requests too. Chromium 156 does not send `Sec-Fetch-Site` with WebSocket handshakes,
//! or to plain-http hosts on other machines (names on a local network). Each refusal is a warning
//! in the log that shows the compared values. Repeated refusals are a [finding](super::operating).
//!
//! Send HSTS at the proxy, and redirect `http://` to `https://` there.
//!
//! # WebSockets and event streams
//!
//! If you use [`session_end`](crate::Portcullis::session_end), a stream ends with its session, also
//! behind a proxy. A test checks this. The proxy must not end the stream earlier:
//!
//! - nginx closes a silent connection after 60 seconds (`proxy_read_timeout`). Raise it for these paths, or send
//!   something every 30 seconds.
//! - nginx buffers small parts of an answer (`proxy_buffering`). Turn this off for event streams.
//! - A handshake needs `Upgrade` and `Connection`. nginx passes them on only if you configure it.
//!
//! # A password of the proxy
//!
//! Test systems are often behind a password prompt of the proxy. Browsers then send `Authorization:
//! Basic` with every request. `POST /login` without a name in its body would read this header as a
//! sign-in. So remove the header:
//!
//! ```nginx
#![doc = include_str!("proxies/nginx-password.conf")]
//! ```
//!
//! Put these lines into the `server` block. In a `location` the third line would switch off all other
//! `proxy_set_header` lines. Bearer tokens use the same header, so they do not work behind such a prompt.
//!
//! # Timeouts, retries and caches
//!
//! - A request may wait for the database (`database.timeout`, 5 s), and a sign-in also for the
//!   queue of password hashing (`password.hash_wait`, 10 s). Set the timeouts of the proxy above
//!   the sum, such as 30 s. Otherwise people may see a 504 of the proxy although the change is
//!   stored.
//! - nginx may repeat a failed `GET` on another node, which is safe. Do not add `non_idempotent` to
//!   `proxy_next_upstream`.
//! - Answers for signed-in users have `Cache-Control: no-store`. A cache must respect it, and must never store an
//!   answer with `Set-Cookie`.
//! - Error answers of portcullis are JSON with a code. Leave `proxy_intercept_errors` off.
