//! The result of a form, for the page that shows the form again.

use std::collections::BTreeMap;
use std::fmt;

use axum_core::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::cookie::{PageCookie, PageCookies};
use crate::base::problem::Rejection;
use crate::base::redirect::ReturnTo;
use crate::guard::decision::original_uri;
use crate::handle::Portcullis;
use crate::identity::credential::prefix_of;
use crate::identity::request_identity::RequestIdentity;

/// The message if the cookie with the real message is missing.
const NO_MESSAGE: &str = "this did not work; please try again";

/// The maximum length of a value that is kept. Every name and address is shorter.
const MAX_VALUE_BYTES: usize = 320;

/// The result of the form that the browser posted before it came to this page. It is empty if there
/// was no form, so every page with a form can use this extractor. It serializes, for your template:
///
/// ```html
/// {% if form.error %}<p role="alert">{{ form.message }}</p>{% endif %}
/// <input name="username" value="{{ form.values.username }}">
/// <input name="password" type="password">
/// {% for reason in form.errors.password %}<p>{{ reason.message }}</p>{% endfor %}
/// <input name="next" type="hidden" value="{{ form.next or '/' }}">
/// <input name="back" type="hidden" value="{{ form.page }}">
/// ```
///
/// Your template must escape all values, because the user or a link chose them.
#[derive(Clone, Default, Serialize)]
#[non_exhaustive]
pub struct FormFeedback {
    /// The path of this page as the browser sees it, without the query. Use it for the field
    /// `back`.
    pub page: String,
    /// The page to which the user wanted to go, from the address of this page. A path of this
    /// service.
    pub next: Option<String>,
    /// What was done, from the address: `?result=`. Anyone can write a link with a `result`.
    pub result: Option<String>,
    /// The [code](crate::guide::errors) of the refusal, from the address: `?error=`. Anyone can
    /// write a link with an `error`.
    pub error: Option<String>,
    /// What went wrong, as a text for people. `None` if there is no `error`.
    pub message: Option<String>,
    /// The reasons for each field that is not valid, under its name. Each reason has a `code`, a
    /// `message` and `params`.
    pub errors: Map<String, Value>,
    /// What the user typed, by the names of the fields. Never a password, a code or a token.
    pub values: BTreeMap<String, String>,
}

// Not derived, because the text that a user typed must not get into a log.
impl fmt::Debug for FormFeedback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FormFeedback")
            .field("page", &self.page)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

/// The content of the cookie.
#[derive(Serialize, Deserialize)]
struct Kept {
    error: String,
    message: String,
    errors: Map<String, Value>,
    values: BTreeMap<String, String>,
}

impl FormFeedback {
    /// Keeps the refusal for the page to which a redirect leads.
    pub(crate) fn keep(
        auth: &Portcullis,
        headers: &mut HeaderMap,
        location: &str,
        rejection: &Rejection,
        typed: impl Iterator<Item = (String, String)>,
    ) {
        let document = rejection.document();
        let errors = match document.members.get("errors") {
            Some(Value::Object(errors)) => errors.clone(),
            _ => Map::new(),
        };
        let mut kept = Kept {
            error: plain_code(document.code),
            message: document.detail.unwrap_or_else(|| document.title.to_owned()),
            errors,
            values: typed.filter(|(_, value)| value.len() <= MAX_VALUE_BYTES).collect(),
        };
        let page = location.split(['?', '#']).next().unwrap_or_default();
        let (context, cookies) = (auth.context(), auth.per_instance::<PageCookies>());
        let mut write =
            |kept: &Kept| cookies.write(context, headers, PageCookie::Feedback, page, kept);
        if write(&kept) {
            return;
        }
        // The texts of a hook can be long. Then the page still knows the code.
        (kept.errors, kept.message) = (Map::new(), NO_MESSAGE.to_owned());
        write(&kept);
    }
}

/// Removes characters that could change an address. A hook may have chosen the code.
pub(crate) fn plain_code(code: &str) -> String {
    code.chars().filter(is_plain).collect()
}

fn is_plain(c: &char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// Returns the path that the browser sees.
pub(super) fn page_of(auth: &Portcullis, parts: &Parts) -> String {
    let prefix = prefix_of(auth, &parts.headers, &parts.extensions);
    format!("{}{}", prefix.as_str(), original_uri(parts).path())
}

impl<S: Send + Sync> FromRequestParts<S> for FormFeedback {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let request_identity = RequestIdentity::of(&parts.extensions)?;
        let auth = request_identity.auth();
        let page = page_of(auth, parts);
        let query = parts.uri.query().unwrap_or_default();
        let query: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
        // A parameter that occurs twice is ignored, because programs differ in which one they read.
        let only = |name: &str| {
            let mut values = query.iter().filter(|(known, _)| known == name);
            let (Some((_, value)), None) = (values.next(), values.next()) else { return None };
            Some(value.as_str())
        };
        let code = |name: &str| {
            let plain =
                |code: &&str| (1..=64).contains(&code.len()) && code.chars().all(|c| is_plain(&c));
            only(name).filter(plain).map(str::to_owned)
        };
        let next = only("next").and_then(ReturnTo::parse);
        let feedback = Self {
            next: next.map(|next| next.as_str().to_owned()),
            result: code("result"),
            error: code("error"),
            page,
            ..Self::default()
        };
        let Some(error) = &feedback.error else { return Ok(feedback) };
        let kept: Option<Kept> = auth.per_instance::<PageCookies>().read(
            auth.context(),
            &parts.headers,
            PageCookie::Feedback,
            &feedback.page,
        );
        // A cookie of another refusal does not belong to this address.
        let Some(kept) = kept.filter(|kept| kept.error == *error) else {
            return Ok(Self { message: Some(NO_MESSAGE.to_owned()), ..feedback });
        };
        request_identity.answers_somebody();
        let Kept { message, errors, values, .. } = kept;
        Ok(Self { message: Some(message), errors, values, ..feedback })
    }
}
