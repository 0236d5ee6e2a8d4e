//! A browser: an HTTP client that keeps cookies and states where its requests come from.

use std::net::{IpAddr, SocketAddr};

use reqwest::header::{HeaderMap, SET_COOKIE};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

/// The name of the session cookie.
pub const COOKIE: &str = "__Host-session";

/// The name of the cookie of a known device.
pub const DEVICE: &str = "__Host-session-device";

/// The name of the cookie of a browser that asked for a sign-in by mail.
pub const ASKING: &str = "__Host-session-mail";

/// The name of the cookie of a trusted device.
pub const TRUSTED: &str = "__Host-session-trusted";

/// The name of the cookie of a browser that began a sign-in with a passkey.
pub const BEGUN: &str = "__Host-session-passkey";

/// The name of the cookie of a browser that began a sign-in with a provider.
pub const OAUTH: &str = "__Host-session-oauth";

/// A client of one server. It keeps the session cookie like a browser. It sends `Sec-Fetch-Site:
/// same-origin`, unless it is told otherwise.
#[derive(Clone)]
pub struct Browser {
    pub address: SocketAddr,
    pub cookie: Option<String>,
    /// The device cookie, which shows that an account has signed in from here.
    pub device: Option<String>,
    /// The cookie of a browser that asked for a sign-in by mail.
    pub asking: Option<String>,
    /// The cookie of a device that skips the second factor.
    pub trusted: Option<String>,
    /// The cookie of a browser that began a sign-in with a passkey.
    pub begun: Option<String>,
    /// The cookie of a browser that began a sign-in with a provider.
    pub oauth: Option<String>,
    http: Client,
}

/// An answer, read completely.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {:?}", self.text))
    }

    /// Returns the stable code of a problem.
    pub fn code(&self) -> String {
        let body = self.json();
        // The routes of a device login answer as OAuth 2.0 says.
        let code = body["code"].as_str().or(body["error"].as_str());
        code.unwrap_or_default().to_owned()
    }

    /// Returns the error codes of a field, in their order. Each error has params and a message.
    #[track_caller]
    pub fn field_codes(&self, field: &str) -> Vec<String> {
        assert_eq!((self.status, self.code().as_str()), (422, "invalid_fields"), "{}", self.text);
        let body = self.json();
        let reasons = body["errors"][field].as_array().expect("a list of reasons");
        assert!(!reasons.is_empty(), "{}", self.text);
        let code = |reason: &serde_json::Value| {
            assert!(reason["params"].is_object(), "{reason}");
            assert!(reason["message"].as_str().is_some_and(|text| !text.is_empty()), "{reason}");
            reason["code"].as_str().expect("a code").to_owned()
        };
        reasons.iter().map(code).collect()
    }

    pub fn set_cookies(&self) -> Vec<String> {
        self.headers
            .get_all(SET_COOKIE)
            .iter()
            .map(|value| value.to_str().expect("a cookie is ASCII").to_owned())
            .collect()
    }

    /// Returns the session cookie that this answer sets. An empty one is a deletion.
    pub fn cookie(&self) -> Option<String> {
        self.cookie_of(COOKIE)
    }

    /// Returns the same for another cookie of portcullis.
    pub fn cookie_of(&self, name: &str) -> Option<String> {
        let ours: Vec<_> = self
            .set_cookies()
            .into_iter()
            .filter_map(|line| {
                let value = line.strip_prefix(name)?.strip_prefix('=')?.to_owned();
                Some(value.split(';').next().unwrap_or_default().to_owned())
            })
            .collect();
        assert!(ours.len() <= 1, "one cookie action per response: {ours:?}");
        ours.into_iter().next()
    }
}

impl Browser {
    pub fn new(address: SocketAddr) -> Self {
        Self::from_source(address, None)
    }

    /// Returns a browser that connects from this address of this machine.
    pub fn from_source(address: SocketAddr, source: impl Into<Option<IpAddr>>) -> Self {
        let http = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .local_address(source)
            .build()
            .expect("a client");
        let (cookie, device, asking, trusted, begun) = (None, None, None, None, None);
        Self { address, cookie, device, asking, trusted, begun, oauth: None, http }
    }

    /// Returns another browser, without cookies.
    pub fn stranger(&self) -> Self {
        let (cookie, device, asking, trusted, begun) = (None, None, None, None, None);
        Self { cookie, device, asking, trusted, begun, oauth: None, ..self.clone() }
    }

    /// Returns the same browser with another cookie.
    pub fn with_cookie(&self, cookie: &str) -> Self {
        Self { cookie: Some(cookie.to_owned()), ..self.clone() }
    }

    /// Returns the same browser with another cookie of a trusted device, or without one.
    pub fn showing(&self, trusted: Option<String>) -> Self {
        Self { trusted, ..self.clone() }
    }

    /// Returns the same browser for another server: another node, or one that was built again.
    pub fn at(&self, address: SocketAddr) -> Self {
        Self { address, ..self.clone() }
    }

    /// Builds a request as this browser sends it.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.raw(method, path).header("sec-fetch-site", "same-origin");
        let pairs = [
            (COOKIE, &self.cookie),
            (DEVICE, &self.device),
            (ASKING, &self.asking),
            (TRUSTED, &self.trusted),
            (BEGUN, &self.begun),
            (OAUTH, &self.oauth),
        ];
        let pairs: Vec<_> = pairs
            .iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", value.as_deref()?)))
            .collect();
        if pairs.is_empty() { request } else { request.header("cookie", pairs.join("; ")) }
    }

    /// Builds a request without cookies and other headers.
    pub fn raw(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address))
    }

    /// Sends a request and keeps the cookies of the answer.
    pub async fn send(&mut self, request: RequestBuilder) -> Answer {
        let answer = send(request).await;
        match answer.cookie() {
            Some(cookie) if cookie.is_empty() => self.cookie = None,
            Some(cookie) => self.cookie = Some(cookie),
            None => {}
        }
        match answer.cookie_of(DEVICE) {
            Some(device) if device.is_empty() => self.device = None,
            Some(device) => self.device = Some(device),
            None => {}
        }
        if let Some(asking) = answer.cookie_of(ASKING) {
            self.asking = Some(asking);
        }
        if let Some(trusted) = answer.cookie_of(TRUSTED) {
            self.trusted = Some(trusted);
        }
        if let Some(begun) = answer.cookie_of(BEGUN) {
            self.begun = Some(begun);
        }
        if let Some(oauth) = answer.cookie_of(OAUTH) {
            self.oauth = Some(oauth);
        }
        answer
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        let request = self.request(Method::GET, path);
        self.send(request).await
    }

    pub async fn post(&mut self, path: &str, body: Value) -> Answer {
        let request = self.request(Method::POST, path).json(&body);
        self.send(request).await
    }

    pub async fn put(&mut self, path: &str, body: Value) -> Answer {
        let request = self.request(Method::PUT, path).json(&body);
        self.send(request).await
    }

    /// Sends a POST without a body.
    pub async fn post_empty(&mut self, path: &str) -> Answer {
        let request = self.request(Method::POST, path);
        self.send(request).await
    }

    pub async fn delete(&mut self, path: &str) -> Answer {
        let request = self.request(Method::DELETE, path);
        self.send(request).await
    }

    pub async fn login(&mut self, login: &str, password: &str) -> Answer {
        let body = serde_json::json!({ "login": login, "password": password });
        self.post("/auth/login", body).await
    }
}

/// Sends a request and reads the complete answer.
pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("the server answers");
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let text = response.text().await.expect("the answer is text");
    Answer { status, headers, text }
}
