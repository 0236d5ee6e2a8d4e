//! One page of a long list.

use std::str::FromStr;

/// The maximum number of entries of a page.
const LARGEST: usize = 100;

/// Which page of a long list to read: the first one, or the one after another.
///
/// ```no_run
/// # async fn example(auth: portcullis::Portcullis) -> Result<(), portcullis::permission::GrantError> {
/// use portcullis::Page;
///
/// let mut page = auth.roles().holders("editor", Page::first()).await?;
/// while let Some(next) = page.next {
///     page = auth.roles().holders("editor", Page::after(next).size(20)).await?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// A handler makes it from the `next` that its client may have sent: `Page::from(search.next)`.
#[derive(Debug, Clone)]
#[must_use]
pub struct Page {
    after: Option<String>,
    size: usize,
}

impl Page {
    /// Returns the first page.
    pub fn first() -> Self {
        Self { after: None, size: LARGEST }
    }

    /// Returns the page after another one. The text is the `next` of that page. It may have been sent
    /// to a client and back.
    pub fn after(next: impl Into<String>) -> Self {
        Self { after: Some(next.into()), size: LARGEST }
    }

    /// Sets the maximum number of entries, from 1 to 100. A number outside of this range is replaced
    /// by its nearest end. The default is 100.
    pub fn size(mut self, entries: usize) -> Self {
        self.size = entries.clamp(1, LARGEST);
        self
    }

    /// Returns the maximum number of entries.
    pub(crate) fn limit(&self) -> usize {
        self.size
    }

    /// Reads the place after which the page begins. `None` for the first page.
    pub(crate) fn place<T: FromStr>(&self) -> Result<Option<T>, InvalidPage> {
        self.after.as_deref().map(|text| text.parse().map_err(|_| InvalidPage)).transpose()
    }
}

/// Without a text it is the first page.
impl From<Option<String>> for Page {
    fn from(next: Option<String>) -> Self {
        Self { after: next, size: LARGEST }
    }
}

/// The place at which a page is to begin is not one that an earlier page returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not the `next` of a page")]
pub struct InvalidPage;
