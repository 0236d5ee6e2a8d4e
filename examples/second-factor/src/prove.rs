//! The second step of a sign-in, and the page that asks again who is there. Both offer a choice of
//! methods, and show the form for one of them.

use axum::extract::Query;
use axum::response::{Html, IntoResponse, Redirect, Response};
use minijinja::{Value, context};
use portcullis::base::redirect::ReturnTo;
use portcullis::{Account, EnrolledFactors, EnrolmentSession, Factor, PendingSession, StepUp};
use serde::Deserialize;

use crate::account::{MAILED_CODES, SET_UP};
use crate::view::{View, with, with_next, with_parameter};

/// What the address of the page says.
#[derive(Deserialize)]
pub(crate) struct Choice {
    /// The chosen method.
    method: Option<String>,
    /// There after a code was sent.
    sent: Option<String>,
    /// The methods that would help, separated by commas.
    need: Option<String>,
    /// Where the person wants to go, after no code was sent. `next` then is the page after sending.
    then: Option<String>,
}

/// A page, or a redirect to another one.
pub(crate) type Redirected<T> = Result<T, Redirect>;

/// A method, and where its code is sent.
type Way = (Factor, Option<String>);

/// Returns the name of a method for people. `None` for one that this application does not offer.
pub(crate) fn label(factor: Factor) -> Option<&'static str> {
    match factor {
        Factor::Password => Some("Password"),
        Factor::Totp => Some("Authenticator app"),
        Factor::MailedCode => Some("Code by mail"),
        Factor::RecoveryCode => Some("Recovery code"),
        _ => None,
    }
}

/// The second step of a sign-in.
pub(crate) async fn second_step(
    view: View,
    pending: Option<PendingSession>,
    Query(choice): Query<Choice>,
) -> Redirected<Html<String>> {
    let Some(pending) = pending else {
        return Err(Redirect::to(view.next().unwrap_or("/")));
    };
    let methods = pending.methods().into_iter();
    let mut ways: Vec<Way> = methods.map(|method| (method.factor, method.target)).collect();
    // The page shows the form for the first one.
    ways.sort_by_key(|(factor, _)| *factor != Factor::Totp);
    let values = context! {
        title => "One more step",
        verify => "/auth/second-factor/verify",
        challenge => "/auth/second-factor/challenge",
        second_step => true,
        offers_trust => pending.offers_trust(),
    };
    Ok(show(&view, "/second-step", &ways, &choice, values))
}

/// Asks again who is there. Afterwards the person is back on the page from which they came, and nothing
/// was done there meanwhile.
pub(crate) async fn again(
    view: View,
    enrolling: Option<EnrolmentSession>,
    Query(choice): Query<Choice>,
) -> Response {
    let account = match (&view.identity, &enrolling) {
        (Some(identity), _) => identity.account(),
        (None, Some(session)) => session.account(),
        (None, None) => return Redirect::to(&with_next("/login", view.next())).into_response(),
    };
    let need: Vec<&str> = match &choice.need {
        Some(need) => need.split(',').collect(),
        None => helps(account, view.next()).into_iter().map(Factor::as_str).collect(),
    };
    let enrolled = account.enrolled_factors();
    let possible: Vec<Factor> = match enrolling {
        // It has just proved a password, and can only prove its mailbox.
        Some(_) if enrolled.is_empty() => mailbox(account).into_iter().collect(),
        // It has used the last recovery code, and may still have another factor.
        Some(_) => second_factors(enrolled),
        None => possible(account),
    };
    let ways: Vec<Way> = possible
        .into_iter()
        .filter(|factor| need.contains(&factor.as_str()))
        .map(|factor| (factor, None))
        .collect();
    let values = context! {
        title => "Is it you?",
        verify => "/auth/reauthenticate",
        challenge => "/auth/reauthenticate/challenge",
    };
    let path = with("/again", &format!("need={}", need.join(",")));
    show(&view, &path, &ways, &choice, values).into_response()
}

/// Returns the path of the page that asks for one of the factors that would help, and then leads back.
pub(crate) fn path_to_prove(step_up: &StepUp, back: &str) -> String {
    need(step_up.factors.iter().copied(), back)
}

/// The same for any list of factors.
pub(crate) fn need(factors: impl IntoIterator<Item = Factor>, back: &str) -> String {
    let factors: Vec<&str> = factors.into_iter().map(Factor::as_str).collect();
    let path = with("/again", &format!("need={}", factors.join(",")));
    with_next(&path, Some(&with(back, "result=proved")))
}

/// Returns the factors that would help, for a form of a mounted route. Its redirect does not say which.
fn helps(account: &Account, next: Option<&str>) -> Vec<Factor> {
    let page = next.and_then(|next| next.split('?').next()).unwrap_or_default();
    if !page.starts_with("/account") {
        return possible(account);
    }
    // A second factor is changed. A password is enough for this only if the account has no second factor
    // and no mailbox. A recovery code is enough to add one, but not to remove one.
    let second = second_factors(account.enrolled_factors());
    let adds = [SET_UP, MAILED_CODES].contains(&page);
    match (second.is_empty(), mailbox(account)) {
        (true, Some(mailbox)) => vec![mailbox],
        (true, None) => vec![Factor::Password],
        (false, _) => {
            // A mailed code is not enough if the account has an authenticator.
            let weak = |factor| factor == Factor::MailedCode && second.contains(&Factor::Totp);
            let helps = |factor: &Factor| adds || *factor != Factor::RecoveryCode;
            second.iter().copied().filter(|factor| helps(factor) && !weak(*factor)).collect()
        }
    }
}

fn second_factors(enrolled: EnrolledFactors) -> Vec<Factor> {
    enrolled.iter().filter(|factor| *factor != Factor::Password).collect()
}

fn possible(account: &Account) -> Vec<Factor> {
    let enrolled = account.enrolled_factors();
    let has = |factor| enrolled.contains(factor).then_some(factor);
    // The mailbox of an account can be proved, even if its codes are no second factor.
    let ways = [has(Factor::Totp), mailbox(account), has(Factor::RecoveryCode)];
    ways.into_iter().flatten().chain([Factor::Password]).collect()
}

fn mailbox(account: &Account) -> Option<Factor> {
    account.email().filter(|_| account.is_verified()).map(|_| Factor::MailedCode)
}

/// Shows the form for the chosen method, and links to the others.
fn show(view: &View, path: &str, ways: &[Way], choice: &Choice, values: Value) -> Html<String> {
    let ways: Vec<&Way> = ways.iter().filter(|(factor, _)| label(*factor).is_some()).collect();
    let asked = |way: &&&Way| Some(way.0.as_str()) == choice.method.as_deref();
    let chosen = ways.iter().find(asked).or(ways.first()).copied();
    let page_of = |factor: Factor| with(path, &format!("method={}", factor.as_str()));
    let then = choice.then.as_deref().filter(|then| ReturnTo::parse(then).is_some());
    let next = then.or(view.next()).unwrap_or("/");
    let others: Vec<Value> = ways
        .iter()
        .filter(|way| chosen.is_some_and(|chosen| chosen.0 != way.0))
        .map(|(factor, target)| {
            let link = with_next(&page_of(*factor), Some(next));
            context! { label => label(*factor), target, link }
        })
        .collect();
    let chosen = chosen.map(|(factor, target)| {
        let page = page_of(*factor);
        let after_sending = with(&page, "sent=yes");
        let sent = choice.sent.is_some();
        // The page after a refusal.
        let back = if sent { &after_sending } else { &page };
        context! {
            name => factor.as_str(),
            label => label(*factor),
            target,
            sent,
            back,
            back_from_sending => with_parameter(back, "then", Some(next)),
            after_sending => with_next(&after_sending, Some(next)),
        }
    });
    view.show("prove.html", context! { chosen, others, next, ..values })
}
