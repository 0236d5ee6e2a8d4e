//! Which accounts must set up a second factor, and until when.
//!
//! A role can require a second factor. An account with such a role and without a factor that is strong
//! enough must set one up. During a time of grace its sessions are full, and say until when. Afterwards
//! they reach only the routes that set one up.
//!
//! A sign-in looks at this, and so does each request of a full session. Otherwise a role that is granted
//! later would count only after the next sign-in. The same is true of a role that forbids the trusted device
//! with which a session began. The roles are in memory, so this costs nothing. Only an account that lacks its
//! factor costs one statement more, and only with a time of grace.

use super::error::AuthError;
use super::resolved::Identity;
use super::resolver::Resolver;
use crate::account::Account;
use crate::account::enrolled::{mailed_code_at, store as enrolled_store};
use crate::base::clock::Timestamp;
use crate::base::factor::{EnrolledFactors, Factor};
use crate::context::Context;
use crate::handle::Portcullis;
use crate::permission::Grants;
use crate::session::judge::SessionState;

/// Returns true if the account must have a second factor.
pub(crate) fn requires_factor(context: &Context, superuser: bool, grants: &Grants) -> bool {
    grants.requires_factor() || superuser && context.config.factor.superusers
}

/// Returns true if the owner of the account may [trust devices](crate::trusted_device).
pub(crate) fn allows_trusted_devices(context: &Context, superuser: bool, grants: &Grants) -> bool {
    let config = &context.config.trusted_device;
    config.enabled && (!superuser || config.superusers) && grants.allows_trusted_devices()
}

/// Returns true if a trusted device stood in for the second factor of this session, and may not any more:
/// by a role that was granted or changed since, because the account became a superuser, or because the
/// feature is off. A session that has passed a second factor meanwhile needs no device. The same applies to a
/// session that needed no passkey because of
/// [`asked_after_password`](crate::config::PasskeyConfig::asked_after_password).
///
/// Otherwise a thief of the password and the device would keep the new rights until the session ends.
pub(super) fn stand_in_is_over(
    context: &Context,
    state: &SessionState,
    account: &Account,
    grants: &Grants,
) -> bool {
    let (passed, enrolled) = (&state.factors, account.enrolled);
    let by_device = passed.trusted_device_at().is_some();
    let others = enrolled.without(Factor::Passkey).without(Factor::RecoveryCode);
    let by_password = !context.config.passkey.asked_after_password && others.is_empty();
    if !(by_device || by_password) || enrolled.is_empty() {
        return false;
    }
    let second = |factor| match factor {
        Factor::RecoveryCode | Factor::ProviderTwoFactors => true,
        Factor::Password => false,
        _ => enrolled.contains(factor),
    };
    // Also one that does not count here, because the session has moved.
    if Factor::ALL.iter().any(|factor| second(*factor) && state.has_proved(*factor)) {
        return false;
    }
    let superuser = account.is_superuser();
    if !by_device {
        return requires_factor(context, superuser, grants);
    }
    let least = context.config.factor.least;
    let strong = |factor| !EnrolledFactors::default().with(factor).enough(least).is_empty();
    let too_weak =
        requires_factor(context, superuser, grants) && !passed.trusted_after().is_some_and(strong);
    too_weak || !allows_trusted_devices(context, superuser, grants)
}

impl Portcullis {
    /// Notes that an account must set up a factor. Without the routes for this it cannot.
    pub(crate) fn note_enrolment_required(&self) {
        if !self.is_mounted("second_factor") {
            self.report_finding(
                "factor_required_without_routes",
                "a role requires a second factor, but second_factor::routes are not mounted; unless your \
                 own routes set one up, accounts with this role and without a factor cannot sign in",
            );
        }
    }
}

/// Returns true if the account would lack a factor that its roles require, if only these were left.
pub(crate) fn would_lack(context: &Context, identity: &Identity, left: EnrolledFactors) -> bool {
    let superuser = identity.account().is_superuser();
    requires_factor(context, superuser, identity.grants())
        && left.enough(context.config.factor.least).is_empty()
}

/// Returns until when a session may be used although its account lacks a factor, or `None` if the
/// account lacks none. The first request that finds no such time stores it.
pub(super) async fn due(
    context: &Context,
    state: &SessionState,
    account: &Account,
    grants: &Grants,
    now: Timestamp,
) -> Result<Option<Timestamp>, AuthError> {
    let config = &context.config.factor;
    // The provider has checked the second factor, and it counts here.
    let elsewhere = state.has_proved(Factor::ProviderTwoFactors);
    let required = !elsewhere && requires_factor(context, account.is_superuser(), grants);
    if !required || !account.enrolled.enough(config.least).is_empty() {
        return Ok(None);
    }
    if config.grace.is_zero() {
        return Ok(Some(now));
    }
    let db = context.db();
    let executor = db.executor();
    let stored = db.read(enrolled_store::enrolment_due(&executor, account.id)).await?;
    let due = due_at(context, stored, now);
    if stored != Some(due) {
        db.retry(|| enrolled_store::set_enrolment_due(&executor, account.id, due)).await?;
    }
    Ok(Some(due))
}

/// Returns true if an account lacks a factor that its roles require, and its time of grace is over. It stores
/// nothing: a program must not begin the time of its owner, who is not told.
pub(super) async fn is_overdue(
    context: &Context,
    account: &Account,
    grants: &Grants,
    now: Timestamp,
) -> Result<bool, AuthError> {
    let config = &context.config.factor;
    let required = requires_factor(context, account.is_superuser(), grants);
    if !required || !account.enrolled.enough(config.least).is_empty() {
        return Ok(false);
    }
    if config.grace.is_zero() {
        return Ok(true);
    }
    let db = context.db();
    let stored = db.read(enrolled_store::enrolment_due(&db.executor(), account.id)).await?;
    Ok(stored.is_some() && due_at(context, stored, now) <= now)
}

/// Returns until when an account may be used without its factor. `stored` is the time that it was told
/// before. If the time of grace was made shorter since, the shorter one counts.
pub(crate) fn due_at(context: &Context, stored: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let latest = now.plus(context.config.factor.grace);
    stored.map_or(latest, |stored| stored.min(latest))
}

/// Returns the account of an unfinished sign-in that needs its second factor, with only those factors that are
/// enough, and when a mailed code is enough. Only an account with mailed codes costs a statement for that.
pub(super) async fn waiting(
    context: &Context,
    resolver: &Resolver,
    account: Account,
) -> Result<Account, AuthError> {
    let account = accepted(context, resolver, account).await?;
    if !account.enrolled.contains(Factor::MailedCode) {
        return Ok(account);
    }
    let db = context.db();
    let mailed_at = db.read(enrolled_store::password_mailed(&db.executor(), account.id)).await?;
    Ok(Account { mailed_code_at: mailed_code_at(context, mailed_at), ..account })
}

/// Returns the account with only those factors that are enough. If a role requires a strong one, a
/// weaker one is not. Most accounts have only strong ones or only weak ones, and cost nothing here.
async fn accepted(
    context: &Context,
    resolver: &Resolver,
    account: Account,
) -> Result<Account, AuthError> {
    let enrolled = account.enrolled;
    let enough = enrolled.enough(context.config.factor.least);
    if enough.is_empty() || enrolled.without(Factor::RecoveryCode) == enough {
        return Ok(account);
    }
    let found = resolver.account(context, account.id).await?;
    let requires =
        found.is_some_and(|(_, grants)| requires_factor(context, account.superuser, &grants));
    let accepted = match (requires, enrolled.contains(Factor::RecoveryCode)) {
        (false, _) => enrolled,
        (true, true) => enough.with(Factor::RecoveryCode),
        (true, false) => enough,
    };
    Ok(Account { enrolled: accepted, ..account })
}
