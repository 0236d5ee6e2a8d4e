//! The target of a redirect after a login: a path on this site, or none.
//!
//! # How it works
//!
//! 1. A guard that sends a browser to the login page puts the requested page into `?next=`, see
//!    [`ReturnTo::as_query_value`].
//! 2. The value that comes back may be written by anyone. [`ReturnTo::parse`] accepts only a path
//!    on this site.
//! 3. `None` is not an error. The flow then uses its default target.
//!
//! This prevents open redirects. Browsers repair URLs: they read `\` as `/`, drop tabs and line
//! ends, and resolve dot segments. Servers and proxies on the way decode `%2f`. So a path is
//! checked in every form that one of them could make of it.
//!
//! # What it does not do
//!
//! It accepts no full URL, not even one of this site. A path needs no list of allowed origins,
//! which could be wrong.
//!
//! # Standard
//!
//! RFC 3986. For the behaviour of browsers, the WHATWG URL parser.

use unicode_normalization::UnicodeNormalization;

const MAX_BYTES: usize = 512;
/// The path is checked as it is, and decoded once, twice and three times. More encoding is refused,
/// because it hides something.
const FORMS: usize = 4;

/// A path on this site with its query and fragment, safe to put into `Location`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// Accepts `next` if it is a path that starts with a single `/`, and has at most 512 bytes of
    /// visible ASCII. Returns `None` otherwise.
    #[must_use]
    pub fn parse(next: &str) -> Option<Self> {
        // No white space, no control characters, no characters that look like a slash. Also nothing
        // that could end the quoted attribute of a page that prints the path.
        let visible = |byte: u8| byte.is_ascii_graphic() && !b"\\\"<>`".contains(&byte);
        if next.len() > MAX_BYTES || !next.bytes().all(visible) {
            return None;
        }
        // Query and fragment cannot change the host any more.
        let path = next.split(['?', '#']).next()?;
        is_local(path).then(|| Self(next.to_owned()))
    }

    /// Returns the path, to be sent in `Location`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Encodes the path as the value of a query parameter, for `?next=`.
    #[must_use]
    pub fn as_query_value(&self) -> String {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        let mut value = String::with_capacity(self.0.len() * 3);
        for byte in self.0.bytes() {
            // Unreserved characters, and the slash: RFC 3986 (section 3.4) allows it, and it keeps
            // the value readable.
            if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                value.push(char::from(byte));
            } else {
                value.push('%');
                value.push(char::from(HEX[usize::from(byte >> 4)]));
                value.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
        value
    }
}

/// Returns true if the path stays on this site, even if it is decoded several times on its way.
fn is_local(path: &str) -> bool {
    let mut form = path.to_owned();
    for _ in 0..FORMS {
        // NFKC turns a full-width slash into a slash, as some servers do.
        if !(begins_with_one_slash(&form)
            && begins_with_one_slash(&form.nfkc().collect::<String>()))
        {
            return false;
        }
        match decode(&form) {
            Some(decoded) if decoded == form => return true,
            Some(decoded) => form = decoded,
            None => return false,
        }
    }
    false
}

fn begins_with_one_slash(path: &str) -> bool {
    let Some(segments) = path.strip_prefix('/') else { return false };
    if path.contains(|c: char| c == '\\' || c.is_control()) {
        return false;
    }
    // `/.//evil` and `/a/..//evil` are checked as what they become: an empty first segment and one
    // more after it. Every prefix is checked, not only the end. So a path that is cut later, at a
    // decoded `?`, is covered too.
    let mut kept = Vec::new();
    for segment in segments.split('/') {
        match segment {
            ".." => drop(kept.pop()),
            _ if kept.first() == Some(&"") => return false,
            "." => {}
            segment => kept.push(segment),
        }
    }
    !segments.starts_with('/')
}

/// Decodes percent escapes once. An invalid escape stays. A result that is not UTF-8 is refused
/// (`%c0%af` was once a slash).
fn decode(text: &str) -> Option<String> {
    let mut rest = text.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                rest = &tail[2..];
            }
            None => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::{MAX_BYTES, ReturnTo, decode};

    /// Open-redirect payloads, grouped by their technique.
    #[rustfmt::skip] // one payload a line would take pages
    const EVIL: &[&str] = &[
        // Not a path at all.
        "", " ", "evil.com", "www.evil.com/", "?next=/", "#", ".", "..", "./a", "../a", "a/b", "*",
        "@evil.com", "user@evil.com/", ":80/", "https://evil.com", "HTTP://evil.com",
        "http:evil.com", "https:evil.com", "https:/evil.com", "https:///evil.com",
        "ht\ttps://evil.com", "ftp://evil.com", "file:///etc/passwd", "javascript:alert(1)",
        "JavaScript://%0aalert(1)", "java\nscript:alert(1)", "jav%0Aascript:alert(1)",
        "data:text/html,x", "vbscript:x", "blob:https://evil.com/x", "mailto:a@evil.com",
        "%2f%2fevil.com", "%2fevil", "%5cevil", "%2e%2e/", "x:/evil", ";/evil", "&/evil",
        // A scheme-relative URL.
        "//evil", "//evil.com/a", "///evil", "////evil.com", "/////evil.com", "//", "///",
        "//@evil.com", "//evil%E3%80%82com", "//a@evil.com", "//%00evil", "//;@evil.com",
        "//evil.com/%2f..", "//evil.com/..;/", "//[::1]/", "//127.1",
        // Backslashes.
        "\\\\evil", "\\/evil", "/\\evil", "/\\/evil", "/\\\\evil", "\\evil", "/a\\b",
        "/a/..\\/evil", "/a?b=\\", "\\", "/\\",
        // Characters that browsers remove, or that end a header.
        "/\t/evil", "/\n/evil", "/\r/evil", "/\r\n/evil", "\t//evil", " //evil", "/ /evil", "\n/a",
        "/a\r\nSet-Cookie:x=1", "/a ", " /a", "/\0/evil", "/\u{8}/evil", "/\u{7f}/evil",
        "/\u{85}/evil", "/a b", "/a?b\t", "/a#\n",
        // Characters that look like others, and invisible characters.
        "/\u{FF0F}evil", "\u{FF0F}\u{FF0F}evil", "/\u{2215}evil", "/\u{2044}evil", "/\u{29F8}evil",
        "/\u{FF3C}evil", "/\u{200B}/evil", "/\u{AD}/evil", "/\u{FEFF}/evil", "/\u{3002}/evil",
        "/\u{FF0E}/evil", "/\u{2024}/evil", "/\u{2025}//evil", "/\u{3031}evil", "/caf\u{E9}",
        "/\u{2028}/evil", "/a?b=\u{FF0F}",
        // Dot segments that leave two slashes at the beginning.
        "/.//evil", "/..//evil", "/./..//evil", "/../..//evil.com", "/a/..//evil",
        "/a/b/../..//evil", "/a/../..//evil", "/.///evil", "/././/evil", "/a/./..//evil",
        "/%2e//evil", "/%2e%2e//evil", "/%2E%2e//evil", "/.%2e//evil", "/a/%2e%2e//evil", "/..///",
        "/.//", "/..//", "/a/..//", "/.//evil/../..", "/.//.", "/a/..//.", "/.//evil%3f/../..",
        // Encoded slashes, backslashes and dots.
        "/%2f", "/%2F", "/%2fevil", "/%2Fevil", "/%2f%2fevil.com", "/%5c", "/%5C", "/%5cevil",
        "/%5Cevil", "/%5c%5cevil", "/.%2f/evil", "/./%2fevil", "/%2e/%2fevil",
        "/..%2f/evil", "/a%2f..%2f%2fevil", "/a/..%2f/evil", "/a/%5c", "/a%5cb", "/a/..%5c/evil",
        // Encoded twice or more often.
        "/%252fevil", "/%25252fevil", "/%255cevil", "/%252e%252e//evil", "/%25%32%66evil",
        "/%%32%66evil", "/%2525252525252fevil", "/%25252525a",
        // Encoded control characters, overlong and invalid UTF-8, and encoded characters that look
        // like others.
        "/%09/evil", "/%0a/evil", "/%0d%0a/evil", "/%0D%0ALocation:%20//evil", "/%00/evil",
        "/%7f/evil", "/%08/evil", "/a%00", "/a%0d%0aSet-Cookie:x", "/%c0%afevil", "/%c1%9cevil",
        "/%e0%80%afevil", "/%ff", "/%c2%85/evil", "/%EF%BC%8Fevil", "/%EF%BC%BCevil",
        "/%EF%BC%8E//evil", "/%E2%80%A5//evil",
        // Attacks on a page that prints the path.
        "/\"><script>", "/a?b=\"", "/<svg>", "/a#<", "/`",
    ];

    #[rustfmt::skip] // one payload a line would take pages
    const GOOD: &[&str] = &[
        "/", "/a", "/a/", "/a/b/c", "/a?b=c#d", "/a/../b", "/a/./b", "/.", "/..", "/./", "/../",
        "/../../a", "/a/..", "/a/../", "/a//b", "/a//", "/a/b/..//c", "/...//a", "/.a", "/..a/b",
        "/docs/1?next=//x", "/?//evil", "/?https://evil.com", "/#//evil", "/a?b=%2f%2f",
        "/?a=%0d%0a", "/?a=%00", "/?a=%ff", "/?a=100%", "/a%2fb", "/a%20b", "/a%2520b",
        "/a%252520b", "/100%25", "/caf%C3%A9", "/wiki/AC%EF%BC%8FDC", "/%E5%B1%B1", "/@alice",
        "/@evil.com", "/a@b", "/a:80", "/http://evil.com", "/https:evil.com",
        "/javascript:alert(1)", "/;a=b", "/~a", "/a+b", "/a,b", "/a(b)", "/a'b", "/a*b", "/a!b",
        "/$a", "/a=b", "/a&b", "/{a}", "/a|b", "/?a[b]=c", "/%", "/%zz", "/%2",
        "/%e5%b1%b1/%2e%2e/a", "/.%2fevil%2f", "/%2e%2fevil/",
    ];

    #[test]
    fn nothing_that_leaves_the_site_is_taken() {
        for next in EVIL {
            assert_eq!(ReturnTo::parse(next), None, "{next:?}");
        }
    }

    #[test]
    fn paths_of_this_site_are_taken_as_they_are() {
        for next in GOOD {
            assert_eq!(ReturnTo::parse(next).as_ref().map(ReturnTo::as_str), Some(*next));
        }
    }

    #[test]
    fn a_path_of_512_bytes_is_taken_and_a_longer_one_is_not() {
        let path = |bytes: usize| format!("/{}", "a".repeat(bytes - 1));
        assert!(ReturnTo::parse(&path(MAX_BYTES)).is_some());
        assert!(ReturnTo::parse(&path(MAX_BYTES + 1)).is_none());
    }

    #[test]
    fn as_a_query_value_it_is_one_value() {
        for (next, value) in [
            ("/", "/"),
            ("/a/b-c_d.e~f", "/a/b-c_d.e~f"),
            ("/a?b=c&d=e#f", "/a%3Fb%3Dc%26d%3De%23f"),
            ("/a+b%20c", "/a%2Bb%2520c"),
            ("/a;b'c", "/a%3Bb%27c"),
        ] {
            assert_eq!(ReturnTo::parse(next).unwrap().as_query_value(), value);
        }
        for next in GOOD {
            assert_eq!(
                decode(&ReturnTo::parse(next).unwrap().as_query_value()).as_deref(),
                Some(*next)
            );
        }
    }

    /// Texts that consist of parts that are used to attack URLs.
    fn hostile() -> impl Strategy<Value = String> {
        let parts = [
            "/", "/", "/", ".", "..", "\\", "%2f", "%5C", "%2e", "%25", "2f", "%09", "\t", "?",
            "#", "@", ":", "evil.com", "a", "%", "\u{FF0F}",
        ];
        let part = (0..parts.len() + 1, any::<char>()).prop_map(move |(at, free)| {
            parts.get(at).map_or_else(|| free.to_string(), |part| (*part).to_owned())
        });
        proptest::collection::vec(part, 0..9).prop_map(|parts| parts.concat())
    }

    /// Returns true if a browser leaves the site when a page of this site sends it to `next`. The
    /// WHATWG parser decides.
    fn leaves_the_site(next: &str) -> bool {
        let page = url::Url::parse("https://app.example/login?next=x").unwrap();
        match page.join(next) {
            Ok(there) => {
                let us = (page.origin(), page.username(), page.password());
                us != (there.origin(), there.username(), there.password())
            }
            Err(_) => true,
        }
    }

    #[test]
    fn browsers_agree_about_what_is_taken_and_what_is_not() {
        for next in GOOD {
            assert!(!leaves_the_site(next), "{next:?}");
        }
        // Many of the others are harmless until a server or proxy decodes them.
        let evil = EVIL.iter().filter(|next| leaves_the_site(next)).count();
        assert!(evil >= 40, "the oracle knows only {evil}");
    }

    fn config() -> ProptestConfig {
        ProptestConfig { failure_persistence: None, cases: 2048, ..ProptestConfig::default() }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn what_is_taken_stays_on_the_site_for_browsers_in_every_decoded_form(tail in hostile()) {
            for next in [tail.clone(), format!("/{tail}")] {
                let Some(taken) = ReturnTo::parse(&next) else { continue };
                let mut form = taken.as_str().to_owned();
                prop_assert!(!leaves_the_site(&form), "{next:?}");
                for _ in 0..4 {
                    let path = form.split(['?', '#']).next().unwrap();
                    form = decode(path).unwrap();
                    prop_assert!(!leaves_the_site(&form), "{next:?} as {form:?}");
                }
            }
        }

        #[test]
        fn what_is_taken_is_a_local_path_even_when_decoded(tail in hostile()) {
            for next in [tail.clone(), format!("/{tail}")] {
                let Some(taken) = ReturnTo::parse(&next) else { continue };
                let mut path = taken.as_str().split(['?', '#']).next().unwrap().to_owned();
                for _ in 0..6 {
                    prop_assert!(path.starts_with('/') && !path.starts_with("//"), "{next:?}");
                    prop_assert!(!path.contains('\\'), "{next:?}");
                    path = decode(&path).unwrap();
                }
                let back = decode(&taken.as_query_value());
                prop_assert_eq!(back.as_deref(), Some(next.as_str()));
            }
        }
    }
}
