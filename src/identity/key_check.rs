//! Checks an API key: one statement by its digests, and whether it counts.

use super::enrolment;
use super::error::{AuthError, NotSignedIn};
use super::principal::ApiKeyIdentity;
use super::resolver::Resolver;
use super::store::Found;
use crate::api_key::ApiKeyRefusal;
use crate::handle::Portcullis;

/// Returns whose API key has one of these digests, or why it does not count.
///
/// Locks after failed sign-ins do not matter: otherwise a stranger who guesses passwords could stop the
/// programs of an account.
pub(super) async fn check(
    auth: &Portcullis,
    resolver: &Resolver,
    digests: Vec<[u8; 32]>,
) -> Result<Result<ApiKeyIdentity, NotSignedIn>, AuthError> {
    let context = auth.context();
    let refused = |why| Ok(Err(NotSignedIn::ApiKey(why)));
    let Some(found) = resolver.find_key(context, &digests).await? else {
        return refused(ApiKeyRefusal::Invalid);
    };
    let Found { state: key, account, authorization, grants } = found;
    let now = context.now();
    let require_verified = context.config.login.require_verified;
    if let Some(why) = key.refused(now, account.as_ref(), require_verified) {
        return refused(why);
    }
    let Some(account) = account else { return refused(ApiKeyRefusal::Account) };
    let grants = resolver.grants(context, &account, authorization, grants).await?;
    // A role may require a second factor. An account without one must not keep the role's rights through
    // its keys.
    if enrolment::is_overdue(context, &account, &grants, now).await? {
        auth.note_enrolment_required();
        return Ok(Err(NotSignedIn::EnrolmentRequired));
    }
    Ok(Ok(ApiKeyIdentity::new(digests, key, account, grants, now)))
}
