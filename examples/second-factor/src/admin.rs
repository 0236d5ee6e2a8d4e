//! A page for administrators, and an action that needs a recent proof of who is there.

use std::collections::BTreeSet;

use axum::Form;
use axum::response::{Html, Redirect};
use minijinja::{Value, context};
use portcullis::account::{AccountError, AccountFilter};
use portcullis::{AccountId, Page, Portcullis, Rejection};
use serde::Deserialize;

use crate::ADMIN;
use crate::prove::label;
use crate::view::View;

portcullis::permissions! {
    account:
        /// Sees all accounts.
        Read,
        /// Makes administrators.
        Promote;
}

/// Lists the accounts, with their second factors. An administrator who must still set one up cannot open
/// this page: the guard leads them to the page that does.
pub(crate) async fn list(auth: Portcullis, view: View) -> Result<Html<String>, Rejection> {
    let accounts = auth.accounts();
    let admins = accounts.list(&AccountFilter::all().role(ADMIN), Page::first()).await?;
    let admins: BTreeSet<AccountId> =
        admins.accounts.iter().map(|found| found.account.id()).collect();
    let all = accounts.list(&AccountFilter::all(), Page::first()).await?;
    let listed: Vec<Value> = all
        .accounts
        .iter()
        .map(|found| {
            let account = &found.account;
            let factors: Vec<&str> = account.enrolled_factors().iter().filter_map(label).collect();
            context! {
                id => account.id().to_string(),
                name => account.username().or(account.email()),
                admin => account.is_superuser() || admins.contains(&account.id()),
                factors => factors.join(", "),
            }
        })
        .collect();
    Ok(view.show("admin.html", context! { accounts => listed }))
}

#[derive(Deserialize)]
pub(crate) struct PromoteForm {
    id: String,
}

/// Makes somebody an administrator. Their next request, or their next sign-in, must set up a second
/// factor.
pub(crate) async fn promote(
    auth: Portcullis,
    Form(form): Form<PromoteForm>,
) -> Result<Redirect, Rejection> {
    let id: AccountId = form.id.parse().map_err(|_| AccountError::NotFound)?;
    auth.roles().grant(id, ADMIN).await?;
    Ok(Redirect::to("/admin?result=promoted"))
}
