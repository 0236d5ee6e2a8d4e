//! The ways to sign in to an account. Code that removes one first checks here what is left.

use sea_orm::{ConnectionTrait, DbErr};

use super::entity::account;
use crate::base::id::AccountId;
use crate::context::Context;

mod store;

#[cfg(feature = "federation")]
pub(crate) use store::by_passkey;

/// True if a person could get in with a password, or by mail.
pub(crate) fn by_password_or_mail(context: &Context, row: &account::Model) -> bool {
    let by_mail = row.verified_at.is_some() && row.email.is_some();
    row.password_hash.is_some() || by_mail && context.notifier.is_some()
}

/// True if a person could get in with a provider other than this one.
pub(crate) async fn by_provider<C: ConnectionTrait>(
    db: &C,
    context: &Context,
    id: AccountId,
    except: Option<&str>,
) -> Result<bool, DbErr> {
    let all = context.config.federation.providers.iter();
    let usable: Vec<String> = all
        .filter(|provider| provider.can_sign_in() && except != Some(provider.name()))
        .map(|provider| provider.name().to_owned())
        .collect();
    if usable.is_empty() || !cfg!(feature = "federation") {
        return Ok(false);
    }
    store::has_identity_of(db, id, usable).await
}
