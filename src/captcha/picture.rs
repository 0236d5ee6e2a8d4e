//! Digits in a picture and in a sound, which this server draws and speaks itself.

use serde_json::{Map, Value};
use subtle::ConstantTimeEq;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::drawing;
use super::entity::captcha::Model;
use super::error::CaptchaError;
use super::keys::{CaptchaKeys, Workers};
use super::kind::{Captcha, CaptchaFuture, CaptchaRequest, CaptchaResponse, CaptchaVerdict};
use super::speech;
use super::store;
use crate::base::id::new_uuid;
use crate::base::secret::random_array;
use crate::context::Context;

/// How many digits a challenge has, and how many bytes seed its noise.
const DIGITS: usize = 6;
const SEED: usize = 16;

/// Digits to type, in a picture (PNG) or a sound (WAV). It needs no script and no third party.
///
/// The digits are sealed in the row of the challenge, so every node can draw them. The noise depends on
/// a seed beside them. So one challenge always has the same picture, and nobody gets rid of the noise by
/// fetching it often. Two challenges with the same digits look and sound different.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct PictureCaptcha;

impl PictureCaptcha {
    /// Takes the only form of this captcha: six digits.
    pub fn new() -> Self {
        Self
    }
}

/// How the digits are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    Image,
    Audio,
}

/// What a row keeps sealed.
struct Content {
    digits: Zeroizing<[u8; DIGITS]>,
    seed: [u8; SEED],
}

impl Content {
    fn new() -> Self {
        // 250 is a multiple of ten, so each digit is as likely as any other.
        let random = std::iter::repeat_with(random_array::<1>);
        let fair = random.map(|[byte]| byte).filter(|byte| *byte < 250).map(|byte| byte % 10);
        let mut digits = Zeroizing::new([0; DIGITS]);
        digits.iter_mut().zip(fair).for_each(|(digit, drawn)| *digit = drawn);
        Self { digits, seed: random_array() }
    }

    /// Opens the content of a row. `None` if its secret is no longer configured.
    fn open(context: &Context, row: &Model) -> Option<Self> {
        let keys = context.per_instance::<CaptchaKeys>();
        let sealed = row.answer.as_deref()?;
        let plain = keys.sealer.open(&row.key_id, sealed, &row_name(row.id, &row.action))?;
        let (digits, seed) = plain.split_first_chunk()?;
        Some(Self { digits: Zeroizing::new(*digits), seed: seed.try_into().ok()? })
    }

    /// Returns true if these are the digits, whatever stands between them.
    fn is(&self, typed: &str) -> bool {
        let digits = typed.chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '.' | ','));
        let typed: Zeroizing<String> = Zeroizing::new(digits.collect());
        let digits = self.digits.map(|digit| b'0' + digit);
        typed.as_bytes().ct_eq(&digits).into()
    }
}

/// The associated data of a sealed answer, so that it cannot be moved to another row or action.
fn row_name(id: Uuid, action: &str) -> Vec<u8> {
    [id.as_bytes(), action.as_bytes()].concat()
}

/// Draws or speaks a challenge, and counts this.
pub(super) async fn show(
    context: &Context,
    id: Uuid,
    medium: Medium,
) -> Result<Vec<u8>, CaptchaError> {
    let db = context.db();
    let executor = db.executor();
    let now = context.now();
    let most = small(context.config.captcha.fetches);
    if !db.retry(|| store::fetch(&executor, id, most, now)).await? {
        return Err(CaptchaError::NotFound);
    }
    let row = db.read(store::find(&executor, id)).await?.ok_or(CaptchaError::NotFound)?;
    let Content { digits, seed } = Content::open(context, &row).ok_or(CaptchaError::NotFound)?;
    let work = move || match medium {
        Medium::Image => drawing::png(&*digits, &seed),
        Medium::Audio => speech::wav(&*digits, &seed),
    };
    Ok(Workers::run(context, work).await?)
}

/// Returns the digits of a challenge.
#[cfg(feature = "test-util")]
pub(super) async fn digits(context: &Context, id: Uuid) -> Option<String> {
    let db = context.db();
    let row = db.read(store::find(&db.executor(), id)).await.ok()??;
    let Content { digits, .. } = Content::open(context, &row)?;
    Some(digits.iter().map(|digit| char::from(b'0' + digit)).collect())
}

/// A limit as its column has it. `build()` has checked that it is small.
fn small(limit: u32) -> i16 {
    i16::try_from(limit).unwrap_or(i16::MAX)
}

impl Captcha for PictureCaptcha {
    fn kind(&self) -> &'static str {
        "picture"
    }

    fn offer<'a>(&'a self, request: CaptchaRequest<'a>) -> CaptchaFuture<'a, Map<String, Value>> {
        Box::pin(async move {
            let context = request.auth.context();
            let keys = context.per_instance::<CaptchaKeys>();
            let id = new_uuid(request.at);
            let content = Content::new();
            let plain = Zeroizing::new([content.digits.as_slice(), &content.seed].concat());
            let sealed = keys.sealer.seal(&plain, &row_name(id, request.action));
            let row = Model {
                id,
                action: request.action.to_owned(),
                key_id: sealed.key_id,
                answer: Some(sealed.text),
                fetches: 0,
                attempts: 0,
                expires_at: request.at.plus(context.config.captcha.lifetime),
                used_at: None,
            };
            let db = context.db();
            let executor = db.executor();
            db.retry(|| store::insert(&executor, row.clone())).await?;
            let path = |medium: &str| Value::from(format!("captcha/{id}/{medium}"));
            let offer = [
                ("captcha_id".to_owned(), Value::from(id.to_string())),
                ("image".to_owned(), path("image")),
                ("audio".to_owned(), path("audio")),
            ];
            Ok(offer.into_iter().collect())
        })
    }

    fn check<'a>(
        &'a self,
        response: &'a CaptchaResponse,
        request: CaptchaRequest<'a>,
    ) -> CaptchaFuture<'a, CaptchaVerdict> {
        Box::pin(async move {
            let context = request.auth.context();
            let Some(id) = response.id().and_then(|id| Uuid::parse_str(id).ok()) else {
                return Ok(CaptchaVerdict::Wrong);
            };
            let db = context.db();
            let executor = db.executor();
            let (now, action) = (request.at, request.action);
            let most = small(context.config.captcha.attempts);
            // Counted before anything is compared, so parallel answers get no more attempts.
            if !db.retry(|| store::try_once(&executor, id, action, most, now)).await? {
                return Ok(CaptchaVerdict::Wrong);
            }
            let row = db.read(store::find(&executor, id)).await?;
            let content = row.and_then(|row| Content::open(context, &row));
            let right = content.is_some_and(|content| content.is(response.text()));
            // One conditional UPDATE uses it up, so of simultaneous answers one is right.
            let right = right && db.retry(|| store::spend(&executor, id, now)).await?;
            Ok(if right { CaptchaVerdict::Right } else { CaptchaVerdict::Wrong })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_right_however_they_are_spaced() {
        let content = Content { digits: Zeroizing::new([1, 2, 3, 4, 5, 0]), seed: [0; SEED] };
        for right in ["123450", " 123 450\n", "123-450", "1 2 3 4 5 0", "12.34,50"] {
            assert!(content.is(right), "{right}");
        }
        for wrong in ["", "12345", "1234500", "123451", "023450", "12345O", "one"] {
            assert!(!content.is(wrong), "{wrong}");
        }
    }

    #[test]
    fn every_digit_is_drawn_about_as_often() {
        let mut seen = [0; 10];
        for _ in 0..1_000 {
            for digit in *Content::new().digits {
                seen[usize::from(digit)] += 1;
            }
        }
        assert!(seen.iter().all(|count| (450..750).contains(count)), "{seen:?}");
    }
}
