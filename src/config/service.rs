//! The address of the service, which origins may call it, and how guards answer.

/// The address of the service, and which origins may call it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServiceConfig {
    /// The address at which users see the service, such as `https://example.com`. Links are built
    /// from it, never from the `Host` header of a request. It has a path
    /// (`https://example.com/app`) if a proxy removes this path before it forwards a request. The
    /// path is then added to links, redirects and `next`. If the service receives the whole path
    /// itself, leave it out.
    pub public_url: Option<String>,
    /// `iss` and `aud` of tokens. Default: the public URL, or else `portcullis`. Two services that
    /// share a secret need different ones, so that a token of one is not valid at the other.
    pub issuer: Option<String>,
    /// Other origins whose pages may send credentials here, such as `https://app.example.com` or
    /// `capacitor://localhost`. They are compared exactly.
    pub trusted_origins: Vec<String>,
    /// If true, requests with a cookie and an unsafe method are refused if they have neither
    /// `Origin` nor `Sec-Fetch-Site`. All current browsers send `Origin` with them. Scripts such as
    /// curl send neither. Default: false.
    pub strict_origin: bool,
    /// The answer of a guard to a user who is not signed in. Default: 401 problem+json.
    pub unauthenticated: Unauthenticated,
    /// The page of the application that asks for a factor again, as a path of this service such as
    /// `/reauthenticate`. A guard that needs a step-up answers 303 to this page with `?next=`, for
    /// the same requests as a login page. All other requests get the 401. Needs a login page.
    /// Default: none.
    pub step_up_page: Option<String>,
    /// If true, tokens are accepted in the `Authorization` header. Default: false.
    pub bearer: bool,
    /// If true, a logout also asks the browser to delete what the site stored
    /// (`Clear-Site-Data: "cookies", "storage"`). Default: false.
    pub clear_site_data: bool,
    /// If true, an answer for which someone had to be signed in gets `Cache-Control: no-store`, if
    /// it has no cache headers of its own. Without it, the Back button of the browser shows the
    /// page again after a logout. Default: true.
    pub no_store: bool,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            public_url: None,
            issuer: None,
            trusted_origins: Vec::new(),
            strict_origin: false,
            unauthenticated: Unauthenticated::Problem,
            step_up_page: None,
            bearer: false,
            clear_site_data: false,
            no_store: true,
        }
    }
}

/// The answer of a guard to a user who is not signed in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unauthenticated {
    /// 401 with problem+json, always.
    #[default]
    Problem,
    /// 303 to this path of the service with `?next=`, for GET and HEAD requests that navigate. The
    /// browser says so (`Sec-Fetch-Mode: navigate`), or it does not say and prefers HTML
    /// (`Accept`). All other requests, such as `fetch` and htmx, get the 401. Write the path
    /// without the prefix that a proxy removes. A form that is posted to a mounted route is
    /// answered with a redirect too, see [`page`](crate::page).
    LoginPage(String),
}
