//! What people can do who have lost their phone, their recovery codes, their mailbox, or everything.
//!
//! # What was lost
//!
//! | lost | way back | who does it |
//! |---|---|---|
//! | the password | [a link by mail](crate::password_reset), or a [sign-in by mail](crate::mail_login) | the person |
//! | the phone with the authenticator app | a second authenticator or a [recovery code](crate::recovery_code) at the second step; then set up a new one and remove the old one. With a mailed or texted code, the person can sign in, but not replace the authenticator: that needs [an administrator](#an-administrator-helps) | the person |
//! | the device with the only passkey | the password and another second factor or a [recovery code](crate::recovery_code); then add a new passkey and remove the old one | the person |
//! | a card or key that your application checks | an authenticator or a recovery code at the second step; after a recovery code, set up an authenticator first; then remove the old card and set up a new one | the person |
//! | the recovery codes | sign in with the authenticator, and make new ones | the person |
//! | the mailbox, but not the rest | sign in, and [change the address](crate::contact) | the person |
//! | the mailbox and the password | a link to a [further address](crate::login_name) of the account, if there is one; else [an administrator](#an-administrator-helps), with a new address | both |
//! | all second factors, but not the mailbox | [an administrator](#an-administrator-helps) | both |
//! | everything | [an administrator](#an-administrator-helps), with a new address | both |
//! | the only superuser account | [a program of yours](#the-only-superuser), on the server | the operator |
//!
//! Most people never need an administrator if they have two ways before they lose one. Show ten recovery
//! codes after the first authenticator was set up, and ask people to print them. Offer a second
//! authenticator, and a further mail address.
//!
//! # An administrator helps
//!
//! [`account_recovery`](crate::account_recovery) is made for attacks on your help desk: somebody calls,
//! pretends to be the owner, and wants to be let in. So it has a delay of three days, it tells every
//! verified address and number of the account at once, and each of them can stop it without a sign-in.
//! The person who asks gets a link by mail, and no administrator sees it.
//!
//! 1. Check who asks (see [below](#check-who-asks)), and open the recovery with a note of what you
//!    checked.
//! 2. Tell the person when the three days are over. If they find their phone in the meantime, they sign
//!    in with password and second factor, and this ends the recovery.
//! 3. After that time complete it. Nobody does this automatically: an administrator looks at the case
//!    again. With a new address, it must be another administrator than the one who opened it
//!    ([`account_recovery.second_administrator`](crate::config::AccountRecoveryConfig::second_administrator)).
//!    [`OpenedRecovery`](crate::account_recovery::OpenedRecovery) says this at the start.
//! 4. The person opens the link within 24 hours, sets a new password and signs in. Ask them to set up new
//!    second factors. If one of their roles requires one, the sign-in asks for it.
//!
//! ```no_run
//! use axum::extract::{Path, State};
//! use axum::http::StatusCode;
//! use axum::routing::{get, post};
//! use axum::{Json, Router};
//! use portcullis::account_recovery::{self, NewRecovery, RECOVER, RecoveryActor};
//! use portcullis::{AccountId, Identity, PermissionError, Portcullis, Rejection, Requirement};
//! use serde::Deserialize;
//! use serde_json::{Value, json};
//!
//! type Done = Result<StatusCode, Rejection>;
//!
//! fn app(auth: &Portcullis) -> Result<Router, PermissionError> {
//!     let recover = Requirement::permission(RECOVER)?;
//!     let page = "/admin/accounts/{id}/recovery";
//!     Ok(auth
//!         .router()
//!         .route(page, get(show).post(open).delete(cancel), recover.clone())
//!         .route(&format!("{page}/complete"), post(complete), recover.clone())
//!         .route(&format!("{page}/send-again"), post(send_again), recover)
//!         .with_state(auth.clone())
//!         .auth_routes("/auth", auth.routes())
//!         // The pages of the links post here.
//!         .auth_routes("/auth", account_recovery::routes(auth))
//!         .into_router())
//! }
//!
//! #[derive(Deserialize)]
//! struct Case {
//!     /// What was checked, and who checked it.
//!     reason: String,
//!     /// Only if the person cannot read any verified address of the account.
//!     new_email: Option<String>,
//! }
//!
//! async fn open(
//!     State(auth): State<Portcullis>,
//!     admin: Identity,
//!     Path(id): Path<AccountId>,
//!     Json(case): Json<Case>,
//! ) -> Result<Json<Value>, Rejection> {
//!     let mut new = NewRecovery::new(case.reason);
//!     new.email = case.new_email;
//!     let actor = RecoveryActor::Administrator(&admin);
//!     let opened = auth.account_recovery().open(id, new, actor).await?;
//!     // If `notices` is 0, nobody was told. Check twice who asks.
//!     Ok(Json(json!({ "ready_at": opened.recovery.ready_at, "notices": opened.notices })))
//! }
//!
//! async fn complete(
//!     State(auth): State<Portcullis>,
//!     admin: Identity,
//!     Path(id): Path<AccountId>,
//! ) -> Done {
//!     let actor = RecoveryActor::Administrator(&admin);
//!     auth.account_recovery().complete(id, actor).await?;
//!     Ok(StatusCode::NO_CONTENT)
//! }
//!
//! async fn send_again(
//!     State(auth): State<Portcullis>,
//!     admin: Identity,
//!     Path(id): Path<AccountId>,
//! ) -> Done {
//!     let actor = RecoveryActor::Administrator(&admin);
//!     auth.account_recovery().send_again(id, actor).await?;
//!     Ok(StatusCode::NO_CONTENT)
//! }
//!
//! async fn cancel(
//!     State(auth): State<Portcullis>,
//!     admin: Identity,
//!     Path(id): Path<AccountId>,
//! ) -> Done {
//!     let actor = RecoveryActor::Administrator(&admin);
//!     auth.account_recovery().cancel(id, actor).await?;
//!     Ok(StatusCode::NO_CONTENT)
//! }
//!
//! async fn show(
//!     State(auth): State<Portcullis>,
//!     Path(id): Path<AccountId>,
//! ) -> Result<Json<Value>, Rejection> {
//!     let recoveries = auth.account_recovery().of(id).await?;
//!     let shown = recoveries.iter().map(|one| {
//!         let state = one.state.as_str();
//!         json!({ "state": state, "reason": one.reason, "ready_at": one.ready_at })
//!     });
//!     Ok(Json(shown.collect()))
//! }
//! ```
//!
//! If the administrator has proved no factor within five minutes, the answer is 401
//! `insufficient_user_authentication`. Let them prove one, and send the request again.
//!
//! Give the help desk a role with `auth-account:recover`, and with the permissions and roles of the people
//! that it helps. It then cannot recover an account with more rights, such as one of an administrator.
//! Let the role require a second factor, which needs
//! [`second_factor::routes`](crate::second_factor::routes):
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis) -> Result<(), portcullis::permission::GrantError> {
//! use portcullis::account_recovery::RECOVER;
//! use portcullis::permission::RoleDefinition;
//!
//! let helpdesk = RoleDefinition::new("helpdesk", [RECOVER, "doc:read", "doc:write"]);
//! auth.roles().define([helpdesk.requires_factor(true)]).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # The pages of the links
//!
//! Your application needs two pages. Opening them changes nothing:
//!
//! | page | opened from | posts the token to |
//! |---|---|---|
//! | `mail.links.recovery_object` | the notice to each address | `/auth/account/recovery/object`, without a session; after a 204 say that nothing was changed, and offer to sign in |
//! | `mail.links.account_recovery` | the link for the person | `/auth/account/recovery/finish` with a new `password`, without a session; after a 204 show the sign-in |
//!
//! A sign-in with the password alone does not end a recovery. A person on a [trusted
//! device](crate::trusted_device) or in a long session proves no second factor for weeks, and nothing else
//! warns them except the notice. So ask `GET /auth/account/recovery` after each sign-in. If the newest one is
//! `open` or `completed`, show a banner on every page. It says that somebody asked an administrator for this
//! account, and has a button that posts to `/auth/account/recovery/reject`. Say that a new password is not
//! enough.
//!
//! # Check who asks
//!
//! What somebody knows is weak: birthdays, order numbers and the answers to questions can be found out.
//! Better, from strong to weak:
//!
//! - the person comes to you with an identity document, and the account has the same name;
//! - a colleague or manager that you know vouches for them, and you call this person back;
//! - you call a number that you had before, in a contract or a directory, never one from the request;
//! - a video call with an identity document.
//!
//! Write down what you checked in the reason. Do not write down numbers of documents: the reason is kept
//! for 180 days, and is part of the export of the account. Be suspicious of anybody who is in a hurry:
//! the delay is the same for everybody.
//!
//! # Somebody else is in the account
//!
//! An objection always wins, and so does a proof of a second factor. Portcullis cannot know whether
//! it was the owner or a thief who reads the mail of the account or has the phone. So if a recovery was
//! stopped and the person says that it was not them, do not open a second one. First keep everybody out:
//!
//! 1. [`disable`](crate::account::Accounts::disable) the account. This ends its sessions.
//! 2. Find out who is who, with the events of the account and a stronger check.
//! 3. If the person is the owner, they get a new account, or you use the methods for administrators that
//!    have no delay and tell the owner afterwards:
//!    [`set_enrolled_factors`](crate::account::Accounts::set_enrolled_factors) with an empty list, and
//!    [`enable`](crate::account::Accounts::enable). Do not put these two on a page for a help desk.
//!
//! # The only superuser
//!
//! Nobody has more rights than a superuser, so only another superuser can recover one. Have two. If the
//! only one has lost everything, run a program on your server:
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis) -> Result<(), Box<dyn std::error::Error>> {
//! use portcullis::account_recovery::{NewRecovery, RecoveryActor};
//!
//! let actor = RecoveryActor::Program("cli:root@server");
//! let root = auth.accounts().find_by_login("root").await?.ok_or("there is no such account")?;
//! let new = NewRecovery::new("ticket 4711").with_email("root@new.example");
//! auth.account_recovery().open(root.id(), new, actor).await?;
//! // … three days later:
//! auth.account_recovery().complete(root.id(), actor).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # The delay
//!
//! [`account_recovery.delay`](crate::config::AccountRecoveryConfig::delay) is 72 hours, so that it covers
//! a weekend. Make it longer if your people read their mail rarely. The minimum is one hour, for services
//! whose administrators know everybody in person. There is no way to skip it for one account.
