//! The token of a link in a mail, for a page without a script.

use std::fmt;

use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use http::header::{REFERRER_POLICY, VARY};
use http::request::Parts;
use http::{HeaderValue, Method};
use zeroize::Zeroizing;

use super::cookie::{PageCookie, PageCookies};
use super::feedback::page_of;
use crate::base::problem::{Rejection, see_other};
use crate::base::redirect::ReturnTo;
use crate::identity::request_identity::RequestIdentity;

const TOKEN: &str = "token";

/// The maximum length of a link's token.
const MAX_TOKEN_BYTES: usize = 512;

/// The token of the link that led to this page, for a hidden field of its form.
///
/// 1. The link has the token in its query
///    ([`LinkConfig::in_query`](crate::config::LinkConfig::in_query)). The extractor then answers
///    the request itself. It moves the token into a cookie, and redirects (303) to the same page
///    without the token.
/// 2. The browser sends a second request with the cookie, and the handler gets the token. So the
///    address bar, the history and the `Referer` of later requests do not contain the token.
///
/// The cookie is encrypted, and valid for one hour and one page. Only the form uses the link up, so
/// it does no harm if a mail scanner opens the link.
///
/// ```no_run
/// use portcullis::page::{FormFeedback, LinkToken};
///
/// async fn reset_page(link: LinkToken, form: FormFeedback) -> String {
///     match link.as_str() {
///         Some(token) => format!("<input name=token type=hidden value={token}> {form:?}"),
///         None => "Please open the link in your mail again.".to_owned(),
///     }
/// }
/// ```
///
/// # What it does not do
/// The first request still has the token in its address. The logs of your server and your proxies
/// may contain it. A token works once and for a limited time. Still, do not log the queries of
/// these pages.
#[derive(Clone)]
pub struct LinkToken(Option<Zeroizing<String>>);

impl LinkToken {
    /// Returns the token, or `None` if the user came to this page in another way.
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_deref().map(String::as_str)
    }
}

impl fmt::Debug for LinkToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkToken(..)")
    }
}

impl<S: Send + Sync> FromRequestParts<S> for LinkToken {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let request_identity = RequestIdentity::of(&parts.extensions)
            .map_err(|error| Rejection::from(error).into_response())?;
        let auth = request_identity.auth();
        let (context, cookies) = (auth.context(), auth.per_instance::<PageCookies>());
        let page = page_of(auth, parts);
        if matches!(parts.method, Method::GET | Method::HEAD)
            && let Some((token, rest)) = split(parts.uri.query().unwrap_or_default())
            // A path such as `//evil.example` would lead to another site.
            && let Some(clean) = ReturnTo::parse(&format!("{page}{rest}"))
        {
            let location =
                HeaderValue::try_from(clean.as_str()).expect("a checked path is visible ASCII");
            let mut response = see_other(().into_response(), location);
            let headers = response.headers_mut();
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            headers.append(VARY, HeaderValue::from_static("cookie"));
            cookies.write(context, headers, PageCookie::Link, &page, &token);
            return Err(response);
        }
        let token: Option<String> = cookies.read(context, &parts.headers, PageCookie::Link, &page);
        if token.is_some() {
            request_identity.answers_somebody();
        }
        Ok(Self(token.map(Zeroizing::new)))
    }
}

/// Returns the token of a query, and the rest of the query with its `?`. `None` unless there is
/// exactly one token.
fn split(query: &str) -> Option<(String, String)> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).ok()?;
    let mut tokens = pairs.iter().filter(|(name, _)| name == TOKEN);
    let (Some((_, token)), None) = (tokens.next(), tokens.next()) else { return None };
    if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let rest: Vec<_> = pairs.iter().filter(|(name, _)| name != TOKEN).collect();
    let rest = serde_urlencoded::to_string(rest).expect("names and texts can be encoded");
    let rest = if rest.is_empty() { rest } else { format!("?{rest}") };
    Some((token.clone(), rest))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn exactly_one_token_is_taken_out_of_a_query() {
        let taken = |query: &str| split(query);
        let some = |token: &str, rest: &str| Some((token.to_owned(), rest.to_owned()));
        assert_eq!(taken("token=abc"), some("abc", ""));
        assert_eq!(taken("lang=de&token=a%2Bc&x=1"), some("a+c", "?lang=de&x=1"));
        for none in ["", "token=", "lang=de", "token=a&token=b", "Token=a"] {
            assert_eq!(taken(none), None, "{none}");
        }
        assert_eq!(taken(&format!("token={}", "a".repeat(513))), None);
    }
}
