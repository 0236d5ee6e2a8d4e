//! The public URL of the service: an origin, and possibly a path before all its own paths.
//!
//! A proxy may remove a prefix from the path. Then a browser sees `https://example.com/app/docs`,
//! and the service receives `/docs`. The public URL is `https://example.com/app`. The prefix is
//! added to every path that goes back to a browser: redirects, `?next=` and links in messages. A
//! service that receives the whole path has a public URL without a path.

use std::fmt;

use crate::base::redirect::ReturnTo;
use crate::base::same_origin::{Origin, OriginError};

/// An origin, with the prefix that a proxy removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicUrl {
    pub(crate) origin: Origin,
    pub(crate) prefix: PathPrefix,
}

impl PublicUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, OriginError> {
        let after_scheme = text.find("://").map_or(0, |at| at + 3);
        let path = text[after_scheme..].find('/').map_or(text.len(), |at| after_scheme + at);
        let origin = Origin::parse_web(&text[..path])?;
        let prefix = PathPrefix::parse(&text[path..]).ok_or(OriginError::Path)?;
        Ok(Self { origin, prefix })
    }
}

/// Writes the URL without a slash at its end, as links begin.
impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.prefix.as_str())
    }
}

/// The prefix that a proxy removes from paths: nothing, or `/app`, or `/a/b`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PathPrefix(String);

impl PathPrefix {
    /// The maximum length in bytes. The path after the prefix needs space too.
    const MAX_BYTES: usize = 128;

    /// Accepts plain segments without a slash at the end. The prefix goes into `Location`, which
    /// must not lead to another site. So dot segments, a second slash and escapes are refused.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        let plain = |segment: &str| {
            let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            !segment.bytes().all(|byte| byte == b'.') && segment.bytes().all(sound)
        };
        let sound = text.len() <= Self::MAX_BYTES
            && text.strip_prefix('/').is_some_and(|segments| segments.split('/').all(plain))
            && ReturnTo::parse(text).is_some();
        sound.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{PathPrefix, PublicUrl};
    use crate::base::same_origin::OriginError;

    #[test]
    fn a_public_url_is_an_origin_and_perhaps_plain_segments() {
        for (text, origin, prefix) in [
            ("https://example.com", "https://example.com", ""),
            ("https://Example.com:443/app", "https://example.com", "/app"),
            ("http://localhost:3000/a/b-c_d.e~f", "http://localhost:3000", "/a/b-c_d.e~f"),
            ("https://[::1]:8443/App", "https://[::1]:8443", "/App"),
        ] {
            let url = PublicUrl::parse(text).expect(text);
            assert_eq!((url.origin.as_str(), url.prefix.as_str()), (origin, prefix));
            assert_eq!(url.to_string(), format!("{origin}{prefix}"));
        }
        for (text, error) in [
            ("https://example.com/", OriginError::Path),
            ("https://example.com/app/", OriginError::Path),
            ("https://example.com//evil.example", OriginError::Path),
            ("https://example.com/a//b", OriginError::Path),
            ("https://example.com/../x", OriginError::Path),
            ("https://example.com/./x", OriginError::Path),
            ("https://example.com/a/...", OriginError::Path),
            ("https://example.com/%2e%2e", OriginError::Path),
            ("https://example.com/a?b", OriginError::Path),
            ("https://example.com/a#b", OriginError::Path),
            ("https://example.com/a\\b", OriginError::Path),
            ("https://example.com/caf\u{e9}", OriginError::Path),
            ("https://example.com?a=/b", OriginError::NotOnlyOrigin),
            ("https://user@example.com/a", OriginError::NotOnlyOrigin),
            ("capacitor://localhost/app", OriginError::Scheme),
            ("capacitor://localhost", OriginError::Scheme),
            ("/app", OriginError::Scheme),
        ] {
            assert_eq!(PublicUrl::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_prefix_has_a_limit() {
        let prefix = |bytes: usize| format!("/{}", "a".repeat(bytes - 1));
        assert!(PathPrefix::parse(&prefix(128)).is_some());
        assert!(PathPrefix::parse(&prefix(129)).is_none());
        for text in ["/", "app", "//", "/a\r\nb", "/a b", "/\"", "/a,b", "/@x"] {
            assert!(PathPrefix::parse(text).is_none(), "{text:?}");
        }
    }
}
