//! Registration, the first step of a sign-in, the address that must be confirmed, and a forgotten password.

use axum::response::{Html, IntoResponse, Redirect, Response};
use minijinja::context;
use portcullis::page::LinkToken;
use portcullis::{EnrolmentSession, PendingSession};

use crate::account::{RECOVERY_CODES, SET_UP};
use crate::view::{View, with_next};

pub(crate) async fn home(view: View) -> Html<String> {
    view.show("home.html", context! {})
}

pub(crate) async fn register(view: View) -> Html<String> {
    view.show("register.html", context! {})
}

/// Guards and forms lead here whenever somebody is not signed in, or not yet. A sign-in that needs one
/// more step goes to the page of that step.
pub(crate) async fn login(
    view: View,
    pending: Option<PendingSession>,
    enrolling: Option<EnrolmentSession>,
) -> Response {
    if pending.is_some() {
        return Redirect::to(&with_next("/second-step", view.next())).into_response();
    }
    if enrolling.is_some() {
        // After a code was proved, `next` already is the page that needed it.
        let pages = [SET_UP, RECOVERY_CODES];
        let page = match view.next().filter(|next| pages.iter().any(|page| next.starts_with(page)))
        {
            Some(page) => page.to_owned(),
            None => with_next(SET_UP, view.next()),
        };
        return Redirect::to(&page).into_response();
    }
    view.show("login.html", context! {}).into_response()
}

/// The page of the link that confirms an address. `LinkToken` has already removed the token from the
/// address of the page.
pub(crate) async fn verify(link: LinkToken, view: View) -> Html<String> {
    view.show("verify.html", context! { token => link.as_str() })
}

/// Asks for a link that sets a new password.
pub(crate) async fn forgot(view: View) -> Html<String> {
    view.show("forgot.html", context! {})
}

/// The page of that link.
pub(crate) async fn reset(link: LinkToken, view: View) -> Html<String> {
    view.show("reset.html", context! { token => link.as_str() })
}

/// The page of the link in a mail about a new second factor. The person who added it may know the password,
/// so a new one comes next.
pub(crate) async fn undo(link: LinkToken, view: View) -> Html<String> {
    view.show("undo.html", context! { token => link.as_str() })
}
