//! Every error code.
//!
//! A failed request is answered with problem details (RFC 9457, `application/problem+json`):
//!
//! ```json
//! {"type": "about:blank", "title": "Unauthorized", "status": 401,
//!  "code": "not_signed_in", "detail": "sign in first"}
//! ```
//!
//! `code` is stable; `detail` is for people and may change. A 5xx has no `detail`: what went wrong
//! is in the log. `Cache-Control: no-store` is on all of them, `WWW-Authenticate` on every 401,
//! `Retry-After` where waiting helps. The typed error stays in the response's extensions as a
//! [`Rejection`](crate::Rejection), so that a layer further out can answer in its own style: what it may
//! tell the client is [`document()`](crate::Rejection::document), what lies behind it and is for the log
//! only is [`private_cause()`](crate::Rejection::private_cause).
//!
//! # Who is asking
//!
//! | code | status | when |
//! |---|---|---|
//! | `not_signed_in` | 401 | there is no credential, or it is a visitor's |
//! | `invalid_token` | 401 | the token is forged, malformed or not known |
//! | `token_expired` | 401 | too old to be renewed here; a bearer token is renewed by `POST /session/refresh` |
//! | `session_expired` | 401 | the session was idle for too long or reached its end |
//! | `session_ended` | 401 | it was ended: signed out, replaced, revoked, replayed, or with its account |
//! | `session_suspicious` | 401 | it was marked suspicious |
//! | `second_factor_required` | 401 | the sign-in still needs its second factor |
//! | `password_change_required` | 401 | it must set a new password first |
//! | `enrolment_required` | 401 | it must enrol a second factor first |
//! | `wrong_stage` | 401 | a session is there, but not of the kind this handler takes |
//! | `insufficient_user_authentication` | 401 | a factor has to be shown, or shown again; `factors` names those of the account that would do, `enrol` those to set up first where it has none of them, `max_age` says how recent (RFC 9470) |
//! | `multiple_credentials` | 400 | two session cookies that both count (only where somebody must be known), a cookie that counts and a bearer token, or two bearer tokens |
//!
//! # What may be done
//!
//! | code | status | when |
//! |---|---|---|
//! | `denied` | 403 | the requirement is not met; which one is in the log |
//! | `limited_session` | 403 | the session has a ceiling that does not cover this change of the account, see [`owner`](crate::identity::owner) |
//! | `cross_site_request` | 403 | a page of another site sent the request |
//! | `not_found` | 404 | the id in the path cannot be one |
//!
//! # Codes and links that were sent
//!
//! | code | status | when |
//! |---|---|---|
//! | `wrong_code` | 403 | the code or link is wrong, or not good any more: expired, used, superseded, made for something else |
//! | `link_used` | 409 | this browser used this link or code less than a minute ago, and it worked: a change of address or number, a further name, or undoing one. Say so, and do not ask for another |
//! | `too_many_tries` | 429 | too many wrong codes, or failures of this source; the right one is refused too until then |
//! | `too_soon` | 429 | a code was sent a moment ago |
//! | `no_address` | 422 | the account has no address that a code could be sent to |
//! | `already_verified` | 409 | the address was proved before |
//! | `challenge_required` | 403 | the route asks for an answered challenge; `purpose` says which |
//!
//! # Signing in, registering, passwords
//!
//! | code | status | when |
//! |---|---|---|
//! | `invalid_credentials` | 401 | name or password wrong, or the account cannot be used: which, is not said |
//! | `too_many_attempts` | 429 | too many tries failed; told only with `attempts.reveal_lockout`, otherwise it looks like a wrong password, an accepted request for a link, or a link that is not good any more |
//! | `wrong_password` | 403 | the password of the one who is signed in is wrong |
//! | `registration_closed` | 403 | accounts are made by the application |
//! | `invalid_fields` | 422 | `errors` names each field and what is wrong with it |
//! | `username_taken`, `email_taken`, `phone_taken` | 409 | the name belongs to an account already |
//! | `password_changed_meanwhile` | 409 | somebody else changed it in the same moment |
//! | `invalid_reset_token` | 400 | the link is unknown, used or too old, or its account has changed: which, is not said |
//! | `reset_token_used` | 409 | this browser set a password with this link less than a minute ago; the second one was not set |
//! | `only_login_name` | 409 | the account would have no name left to sign in with |
//! | `address_not_proved` | 403 | the account's own address has to be proved before it gets further names, and every mail address of it before a second factor is enrolled |
//! | `too_many_names` | 409 | the account has as many names as it may have |
//! | `name_not_found` | 404 | the account has no such name; another account's looks the same |
//! | `own_address` | 409 | the account's own address or number is changed by a route of its own, not removed as a name |
//! | `already_signed_in` | 409 | an anonymous session is asked for by a client that has one |
//! | `rate_limited` | 429 | too many requests of this source or account, logins under this name, messages that this source asked for, or names that it found taken; `RateLimit-Policy` says which rule, `Retry-After` when to come back |
//!
//! # Accounts, sessions, roles and groups
//!
//! These come from methods; an application that passes them on answers so.
//!
//! | code | status | when |
//! |---|---|---|
//! | `account_not_found` | 404 | there is no such account |
//! | `session_limit` | 409 | the account has as many sessions as it may have; someone has to sign out elsewhere first |
//! | `session_data_too_large` | 413 | more than 4 KiB of session data |
//! | `session_data_unreadable` | 500 | session data is not of the type it is read as |
//! | `session_not_found` | 404 | the account has no such session; another account's looks the same |
//! | `invalid_name` | 422 | the name of a role or group: 1 to 64 bytes without white space, `:`, `,` or `*` |
//! | `invalid_resource` | 422 | a resource's domain or id is empty, too long, or has permission syntax in it |
//! | `invalid_permission` | 422 | a role's permission is not one, or there are too many |
//! | `idle_too_short` | 422 | a role's idle time is below three times `session.replay_after` |
//! | `unknown_level` | 422 | the level is not configured for this kind of resource |
//! | `reserved_domain` | 422 | a permission in a domain that begins with `auth-`, which belongs to portcullis, is to be declared or granted |
//! | `reserved_name` | 422 | a role of this name would look like a level on a resource |
//! | `role_exists` | 409 | there is a role of this name with other permissions |
//! | `role_not_found`, `group_not_found` | 404 | there is none of this name |
//!
//! # Bodies
//!
//! | code | status | when |
//! |---|---|---|
//! | `unsupported_media_type` | 415 | send JSON; a form only from a page of ours |
//! | `body_too_large` | 413 | more than 16 KiB |
//! | `invalid_body` | 400 | not JSON, or a field is missing, unknown or of the wrong type |
//! | `invalid_basic_authorization` | 400 | the `Authorization: Basic` header cannot be read, and the body of the sign-in names nobody |
//! | `bearer_not_enabled` | 400 | a bearer token was asked for where they are switched off |
//! | `refresh_not_enabled` | 400 | tokens are not renewed here: a session ends with its token |
//! | `method_not_allowed` | 405 | the path does not take this method |
//!
//! # Not the client's fault
//!
//! | code | status | when |
//! |---|---|---|
//! | `unavailable` | 503 | the database failed or did not answer in time, or a hook failed |
//! | `overloaded` | 503 | too much is under way at once: more passwords wait to be hashed than the queue takes, or tries of one name wait for each other for too long |
//! | `internal_error` | 500 | a mounted route panicked; the log says where |
//! | `missing_layer` | 500 | a guard or extractor is used without `auth.layer()` around it |
//! | `misconfigured` | 500 | the purpose of a challenge cannot be one |
//! | `guard_misconfigured` | 500 | a guard can decide nothing: its type names a permission that is not one, its path has its parameter not at all or twice, or `not(..)` or `role(..)` is asked of one instance |
//!
//! An outage is never 401 or 403: a client must not throw its session away because a database was
//! down.
