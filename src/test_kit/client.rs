//! A test client that behaves like a browser, without a network.

use std::fmt;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum_core::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde::Serialize;
use tokio::sync::OnceCell;
use tower_service::Service;

use crate::account::Account;
use crate::base::client::{ClientInfo, PeerAddr};
use crate::base::factor::{Factor, PassedFactors};
use crate::base::problem::Rejection;
use crate::handle::Portcullis;
use crate::permission::Permission;
use crate::session::cookie::SessionCookie;
use crate::session::{Issued, SessionError, Stage};

/// The address that requests come from.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A client that keeps its session cookie, as a browser does. Clones share it.
#[derive(Clone)]
pub struct TestClient {
    auth: Portcullis,
    who: Who,
    jar: Arc<Jar>,
}

#[derive(Clone)]
enum Who {
    Nobody,
    Visitor,
    Account(Box<SignIn>),
}

#[derive(Clone)]
struct SignIn {
    account: Account,
    stage: Stage,
    factors: PassedFactors,
    ceiling: Option<Vec<Permission>>,
}

/// The token of the session, as soon as there is one.
#[derive(Default)]
struct Jar {
    started: OnceCell<()>,
    token: Mutex<Option<String>>,
}

/// A client that will sign in as an account with its first request. Changes here apply to the
/// session that it will start. It sends requests like a [`TestClient`].
#[derive(Debug, Clone)]
pub struct TestLogin(TestClient);

impl TestLogin {
    pub(super) fn new(auth: &Portcullis, account: &Account) -> Self {
        let sign_in = SignIn {
            account: account.clone(),
            stage: Stage::Full,
            factors: PassedFactors::default(),
            ceiling: None,
        };
        Self(TestClient::new(auth, Who::Account(Box::new(sign_in))))
    }

    fn change(mut self, change: impl FnOnce(&mut SignIn)) -> Self {
        if let Who::Account(sign_in) = &mut self.0.who {
            change(sign_in);
        }
        self.0.jar = Arc::default();
        self
    }

    /// Sets the proved factors, each with the time since it was proved.
    #[must_use]
    pub fn with_factors(self, factors: impl IntoIterator<Item = (Factor, Duration)>) -> Self {
        let now = self.0.auth.context().now();
        let factors = factors
            .into_iter()
            .fold(PassedFactors::default(), |all, (factor, age)| all.with(factor, now.minus(age)));
        self.passed(factors)
    }

    pub(super) fn passed(self, factors: PassedFactors) -> Self {
        self.change(|sign_in| sign_in.factors = factors)
    }

    /// Returns the client, for places that need the same type for all clients.
    pub fn into_client(self) -> TestClient {
        self.0
    }

    /// Signs in only to this stage, for example to a missing second factor.
    #[must_use]
    pub fn at_stage(self, stage: Stage) -> Self {
        self.change(|sign_in| sign_in.stage = stage)
    }

    /// Limits the session to what these permissions imply.
    ///
    /// # Panics
    /// If a text is not a permission.
    #[must_use]
    #[track_caller]
    pub fn limited_to<'p>(self, permissions: impl IntoIterator<Item = &'p str>) -> Self {
        let parse = |text| match Permission::parse(text) {
            Ok(permission) => permission,
            Err(error) => panic!("`{text}` is not a permission: {error}"),
        };
        let ceiling: Vec<_> = permissions.into_iter().map(parse).collect();
        self.change(|sign_in| sign_in.ceiling = Some(ceiling))
    }
}

impl Deref for TestLogin {
    type Target = TestClient;

    fn deref(&self) -> &TestClient {
        &self.0
    }
}

impl TestClient {
    fn new(auth: &Portcullis, who: Who) -> Self {
        Self { auth: auth.clone(), who, jar: Arc::default() }
    }

    pub(super) fn nobody(auth: &Portcullis) -> Self {
        Self::new(auth, Who::Nobody)
    }

    pub(super) fn visitor(auth: &Portcullis) -> Self {
        Self::new(auth, Who::Visitor)
    }

    /// Starts a request.
    ///
    /// # Panics
    /// If the path is not valid.
    #[track_caller]
    pub fn request(&self, method: Method, path: &str) -> TestRequest {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = match path.parse() {
            Ok(uri) => uri,
            Err(error) => panic!("`{path}` is not a path: {error}"),
        };
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        headers.insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
        request.extensions_mut().insert(PeerAddr(PEER));
        #[cfg(feature = "routes")]
        request
            .extensions_mut()
            .insert(axum::extract::ConnectInfo(std::net::SocketAddr::new(PEER, 49_152)));
        TestRequest { client: self.clone(), request }
    }

    /// Starts a `GET` request.
    #[track_caller]
    pub fn get(&self, path: &str) -> TestRequest {
        self.request(Method::GET, path)
    }

    /// Starts a `POST` request.
    #[track_caller]
    pub fn post(&self, path: &str) -> TestRequest {
        self.request(Method::POST, path)
    }

    /// Starts a `PUT` request.
    #[track_caller]
    pub fn put(&self, path: &str) -> TestRequest {
        self.request(Method::PUT, path)
    }

    /// Starts a `PATCH` request.
    #[track_caller]
    pub fn patch(&self, path: &str) -> TestRequest {
        self.request(Method::PATCH, path)
    }

    /// Starts a `DELETE` request.
    #[track_caller]
    pub fn delete(&self, path: &str) -> TestRequest {
        self.request(Method::DELETE, path)
    }

    /// Returns the session cookie as the value of a `Cookie` header, for a request that you send in
    /// another way. Returns `None` if the client is not signed in.
    ///
    /// # Panics
    /// If the session cannot be started.
    pub async fn cookie(&self) -> Option<String> {
        self.jar.started.get_or_init(|| self.start()).await;
        let token = self.jar.token.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(format!("{}={token}", self.auth.context().config.cookie_name()))
    }

    async fn start(&self) {
        let client = ClientInfo::direct(Some(PEER), None);
        let started = match &self.who {
            Who::Nobody => return,
            Who::Visitor => self.auth.sessions().start_anonymous(&client).await,
            Who::Account(sign_in) => self.sign_in(sign_in, &client).await,
        };
        match started {
            Ok(issued) => {
                let mut headers = HeaderMap::new();
                issued.apply(&mut headers);
                self.keep(&headers);
            }
            Err(error) => panic!("the session could not be started: {error}"),
        }
    }

    async fn sign_in(&self, sign_in: &SignIn, client: &ClientInfo) -> Result<Issued, SessionError> {
        let SignIn { account, stage, factors, ceiling } = sign_in.clone();
        let mut start = self.auth.sessions().start(&account, client).stage(stage).passed(factors);
        if let Some(ceiling) = ceiling {
            start = start.ceiling(ceiling);
        }
        start.await
    }

    /// Ends the sessions of its account, because the number of sessions may be limited.
    #[cfg(feature = "routes")]
    pub(super) async fn end(&self) {
        if let Who::Account(sign_in) = &self.who {
            // They are ended one by one. To end them together would increase the epoch of the
            // account, but its next client here uses the account as it was read before.
            let (sessions, account) = (self.auth.sessions(), &sign_in.account);
            for session in sessions.list(account).await.expect("the database answers") {
                let ended = sessions.end_one(account.id(), session.id).await;
                ended.expect("the session ends");
            }
        }
    }

    /// Stores or removes the cookie as the answer says.
    fn keep(&self, headers: &HeaderMap) {
        let cookie = SessionCookie::new(&self.auth.context().config);
        if let Some(token) = cookie.received(headers) {
            let mut kept = self.jar.token.lock().unwrap_or_else(PoisonError::into_inner);
            *kept = Some(token).filter(|token| !token.is_empty());
        }
    }
}

impl fmt::Debug for TestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match &self.who {
            Who::Nobody => "nobody".to_owned(),
            Who::Visitor => "a visitor".to_owned(),
            Who::Account(sign_in) => sign_in.account.id().to_string(),
        };
        f.debug_tuple("TestClient").field(&who).finish()
    }
}

/// A request that can be sent.
#[derive(Debug)]
#[must_use = "nothing happens until it is sent"]
pub struct TestRequest {
    client: TestClient,
    request: Request<Body>,
}

impl TestRequest {
    /// Sets a header, which replaces one of the same name.
    ///
    /// # Panics
    /// If the name or the value is not valid.
    #[track_caller]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => self.request.headers_mut().insert(name, value),
            _ => panic!("`{name}: {value}` is not a header"),
        };
        self
    }

    /// Removes a header that would be sent.
    pub fn without_header(mut self, name: &str) -> Self {
        self.request.headers_mut().remove(name);
        self
    }

    /// Adds an extension, as an outer layer would do.
    pub fn extension(mut self, extension: impl Clone + Send + Sync + 'static) -> Self {
        self.request.extensions_mut().insert(extension);
        self
    }

    /// Sets a JSON body.
    ///
    /// # Panics
    /// If the value cannot be written as JSON.
    #[track_caller]
    pub fn json(self, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(text) => self.body("application/json", text),
            Err(error) => panic!("the body is not JSON: {error}"),
        }
    }

    /// Sets any body.
    ///
    /// # Panics
    /// If the media type is not a valid header value.
    #[track_caller]
    pub fn body(mut self, media_type: &str, body: impl Into<Bytes>) -> Self {
        *self.request.body_mut() = Body::from(body.into());
        self.header(CONTENT_TYPE.as_str(), media_type)
    }

    /// Sends the request to an application: an axum router, or any other tower service for HTTP.
    /// The client keeps the cookie of the answer.
    ///
    /// # Panics
    /// If the service fails instead of answering.
    pub async fn send<A, R>(self, app: &A) -> TestAnswer
    where
        A: Service<Request<Body>, Response = Response<R>> + Clone,
        A::Error: fmt::Debug,
        R: http_body::Body,
        R::Error: fmt::Debug,
    {
        let Self { client, mut request } = self;
        if let Some(cookie) = client.cookie().await
            && let Ok(cookie) = HeaderValue::try_from(cookie)
        {
            // A `Cookie` header that the test has set for its application stays.
            request.headers_mut().append(COOKIE, cookie);
        }
        let mut app = app.clone();
        let response = async {
            poll_fn(|cx| app.poll_ready(cx)).await?;
            app.call(request).await
        };
        let (parts, body) = match response.await {
            Ok(response) => response.into_parts(),
            Err(error) => panic!("the application failed: {error:?}"),
        };
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => panic!("the answer could not be read: {error:?}"),
        };
        client.keep(&parts.headers);
        TestAnswer { parts, body }
    }
}

/// An answer with its complete body.
#[derive(Debug)]
pub struct TestAnswer {
    parts: http::response::Parts,
    body: Bytes,
}

impl TestAnswer {
    /// Returns the status. It can be compared with a number.
    pub fn status(&self) -> StatusCode {
        self.parts.status
    }

    /// Returns the headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// Returns the body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the body as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("not JSON ({error}): {:?}", self.text()),
        }
    }

    /// Returns the stable code of a problem. It is empty for any other answer.
    pub fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        // The routes of a device login answer as OAuth 2.0 says.
        let code = body["code"].as_str().or(body["error"].as_str());
        code.unwrap_or_default().to_owned()
    }

    /// Returns the typed error that a refusal leaves for outer layers.
    pub fn rejection(&self) -> Option<&Rejection> {
        self.parts.extensions.get()
    }

    #[cfg(feature = "routes")]
    pub(super) fn extensions(&self) -> &http::Extensions {
        &self.parts.extensions
    }
}
