//! The second factors and trusted devices of an account: the lists, and how one is set up or removed.

use axum::Form;
use axum::response::{Html, IntoResponse, Redirect, Response};
use minijinja::{Value, context};
use portcullis::base::redirect::ReturnTo;
use portcullis::identity::owner::Factors;
use portcullis::recovery_code::RecoveryCodeError;
use portcullis::second_factor::FactorOwner;
use portcullis::totp::{NewTotp, TotpError};
use portcullis::{
    AccountOwner, AuthError, ClientInfo, Factor, Identity, Portcullis, Rejection, Requirement,
};
use serde::Deserialize;

use crate::RECENT;
use crate::prove::{Redirected, need, path_to_prove};
use crate::view::{View, moment, with_next};

/// The page that sets up an authenticator.
pub(crate) const SET_UP: &str = "/account/authenticator";
/// The page that takes its first code again, after a wrong one.
pub(crate) const CODE: &str = "/account/authenticator/code";
pub(crate) const RECOVERY_CODES: &str = "/account/recovery-codes";
pub(crate) const MAILED_CODES: &str = "/account/mailed-codes";

pub(crate) async fn overview(
    auth: Portcullis,
    owner: AccountOwner<Factors>,
    client: ClientInfo,
    view: View,
) -> Result<Html<String>, Rejection> {
    let account = owner.account();
    let enrolled = account.enrolled_factors();
    let listed = auth.totp().list(&owner).await?;
    let authenticators: Vec<Value> = listed
        .iter()
        .map(|one| {
            context! {
                id => one.id.to_string(),
                name => one.name.as_str(),
                added => moment(one.confirmed_at),
                used => moment(one.last_used_at),
            }
        })
        .collect();
    let devices = auth.trusted_devices().list(&owner, &client).await?;
    let devices: Vec<Value> = devices
        .iter()
        .map(|one| {
            context! {
                id => one.id.to_string(),
                current => one.current,
                browser => one.user_agent.as_deref(),
                added => moment(one.created_at),
                used => moment(one.last_used_at),
                until => moment(one.expires_at),
            }
        })
        .collect();
    let values = context! {
        devices,
        email => account.email(),
        verified => account.is_verified(),
        authenticators,
        mailed => enrolled.contains(Factor::MailedCode),
        has_factor => !enrolled.is_empty(),
        codes_left => auth.recovery_codes().left(&owner).await?,
    };
    Ok(view.show("account.html", values))
}

/// Returns the page to which a form leads in the end, if it is one of this service.
fn wanted(next: Option<&str>) -> Option<&str> {
    next.filter(|next| ReturnTo::parse(next).is_some())
}

/// Asks for the name of a new authenticator.
pub(crate) async fn name(owner: FactorOwner, view: View) -> Html<String> {
    name_page(&owner, &view)
}

fn name_page(owner: &FactorOwner, view: &View) -> Html<String> {
    let values = context! {
        must => owner.identity().is_none(),
        // Then the sign-in has used the last recovery code.
        codes => with_next(RECOVERY_CODES, view.next()),
        has_app => owner.account().enrolled_factors().contains(Factor::Totp),
    };
    view.show("name.html", values)
}

#[derive(Deserialize)]
pub(crate) struct StartForm {
    name: String,
    next: Option<String>,
}

/// Makes the seed, and shows it. This is a handler of the application, because the redirect of a mounted
/// route would lose the seed.
pub(crate) async fn start(
    auth: Portcullis,
    owner: FactorOwner,
    client: ClientInfo,
    mut view: View,
    Form(form): Form<StartForm>,
) -> Result<Response, Rejection> {
    let next = wanted(form.next.as_deref());
    match auth.totp().start(&owner, &form.name, &client).await {
        Ok(new) => Ok(set_up_page(&owner, &view, &new, next).into_response()),
        Err(TotpError::StepUp(AuthError::StepUp(step_up))) => {
            let page = with_next(SET_UP, next);
            Ok(Redirect::to(&path_to_prove(&step_up, &page)).into_response())
        }
        Err(error @ TotpError::Invalid(_)) => {
            let rejection = Rejection::from(error);
            let refused = rejection.document();
            view.form.next = next.map(str::to_owned);
            view.form.error = Some(refused.code.to_owned());
            view.form.message = refused.detail;
            if let Some(errors) = refused.members.get("errors").and_then(|all| all.as_object()) {
                view.form.errors = errors.clone();
            }
            Ok((rejection.problem().status(), name_page(&owner, &view)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

fn set_up_page(
    owner: &FactorOwner,
    view: &View,
    new: &NewTotp,
    next: Option<&str>,
) -> Html<String> {
    let picture = new.qr_svg();
    // The picture becomes a part of the page, which is no XML.
    let (_, picture) = picture.split_once("?>").unwrap_or(("", &picture));
    let letters: Vec<char> = new.secret().chars().collect();
    let groups: Vec<String> = letters.chunks(4).map(|group| group.iter().collect()).collect();
    let has_codes = owner.account().enrolled_factors().contains(Factor::RecoveryCode);
    let done = match has_codes {
        true => next.unwrap_or("/account?result=added").to_owned(),
        // A person with one authenticator needs a way in without it.
        false => with_next(RECOVERY_CODES, next),
    };
    let values = context! {
        id => new.id().to_string(),
        picture,
        secret => groups.join(" "),
        uri => new.uri(),
        until => moment(new.expires_at()),
        done,
        back => CODE,
    };
    view.show("set-up.html", values)
}

/// Takes the first code again. The seed is not shown again, but the app already has it.
pub(crate) async fn code(_: FactorOwner, view: View) -> Html<String> {
    view.show("code.html", context! {})
}

/// Says how many recovery codes are left, and offers new ones. A sign-in that has used the last one comes
/// here too.
pub(crate) async fn recovery_codes(
    auth: Portcullis,
    owner: FactorOwner,
    view: View,
) -> Result<Html<String>, Rejection> {
    let left = auth.recovery_codes().left(&owner).await?;
    let must = owner.identity().is_none();
    Ok(view.show("recovery-codes.html", context! { left, must }))
}

#[derive(Deserialize)]
pub(crate) struct NextForm {
    next: Option<String>,
}

/// Makes ten codes, and shows them once. The session goes on as a new one, which must be in the answer.
pub(crate) async fn make_recovery_codes(
    auth: Portcullis,
    owner: FactorOwner,
    client: ClientInfo,
    view: View,
    Form(form): Form<NextForm>,
) -> Result<Response, Rejection> {
    match auth.recovery_codes().generate(&owner, &client).await {
        Ok(new) => {
            let values =
                context! { codes => new.codes().to_vec(), next => wanted(form.next.as_deref()) };
            let page = view.show("new-codes.html", values);
            Ok((new.into_issued(), page).into_response())
        }
        Err(RecoveryCodeError::StepUp(AuthError::StepUp(step_up))) => {
            let page = with_next(RECOVERY_CODES, wanted(form.next.as_deref()));
            Ok(Redirect::to(&path_to_prove(&step_up, &page)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Deserialize)]
pub(crate) struct KeptForm {
    kept: Option<String>,
    next: Option<String>,
}

/// Leads on, if the person says that they have kept the codes.
pub(crate) async fn kept(Form(form): Form<KeptForm>) -> Redirect {
    let next = wanted(form.next.as_deref());
    Redirect::to(&match form.kept {
        Some(_) => next.unwrap_or("/account").to_owned(),
        None => with_next("/account/recovery-codes?result=not_kept", next),
    })
}

/// Offers codes by mail as a second factor, as soon as everything is proved that this needs: a second
/// factor, if the account has one, and the mailbox.
pub(crate) async fn mailed_codes(identity: Identity, view: View) -> Redirected<Html<String>> {
    let enrolled = identity.account().enrolled_factors();
    let recent = |factor| Requirement::factor_within(factor, RECENT);
    let has_recent = |factor| identity.meets(&recent(factor));
    if !enrolled.is_empty() && !enrolled.iter().any(has_recent) {
        return Err(Redirect::to(&need(enrolled.iter(), MAILED_CODES)));
    }
    if !has_recent(Factor::MailedCode) {
        return Err(Redirect::to(&need([Factor::MailedCode], MAILED_CODES)));
    }
    Ok(view.show("mailed-codes.html", context! {}))
}
