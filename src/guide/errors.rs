//! Every error code.
//!
//! Portcullis answers a failed request with problem details (RFC 9457, `application/problem+json`):
//!
//! ```json
//! {"type": "about:blank", "title": "Unauthorized", "status": 401,
//!  "code": "not_signed_in", "detail": "sign in first"}
//! ```
//!
//! - `code` is stable. `detail` is a text for people and may change.
//! - A 5xx has no `detail`. The cause is in the log.
//! - Every error answer has `Cache-Control: no-store`.
//! - Every 401 has `WWW-Authenticate`: `Bearer` if bearer tokens are on, else `Cookie` with the name of the
//!   session cookie. For a token that is bound to a [key](crate::dpop) it is
//!   `DPoP algs="ES256 EdDSA Ed25519", error="…"`.
//! - An answer has `Retry-After` if the client can succeed by waiting.
//!
//! The typed error stays in the response's extensions, as a [`Rejection`](crate::Rejection). So an outer
//! layer can send the answer in another format. [`document()`](crate::Rejection::document) returns what the
//! client may see. [`private_cause()`](crate::Rejection::private_cause) returns the cause, which is for the
//! log only.
//!
//! # Authentication
//!
//! | code | status | cause |
//! |---|---|---|
//! | `not_signed_in` | 401 | there is no credential, or only that of a visitor |
//! | `invalid_token` | 401 | the token is forged, malformed or unknown. Or it is bound to a [key](crate::dpop) and was not sent as `Authorization: DPoP`, or it is not bound and was |
//! | `token_expired` | 401 | the token is too old, and this route cannot renew it; renew a bearer token with `POST /session/refresh` |
//! | `session_expired` | 401 | the session was idle for too long or reached its maximum lifetime |
//! | `session_ended` | 401 | the session was ended: by signing out, replacement, revocation or replay, or with its account |
//! | `session_suspicious` | 401 | the session was marked suspicious |
//! | `second_factor_required` | 401 | the sign-in still needs its second factor |
//! | `password_change_required` | 401 | the user must set a new password first |
//! | `enrolment_required` | 401 | a role of the account [requires a second factor](crate::second_factor#roles-that-require-a-factor), and it has none that is strong enough, or the sign-in used the last [recovery code](crate::recovery_code#what-a-page-should-do); set one up first |
//! | `wrong_stage` | 401 | there is a session, but this handler needs another kind |
//! | `insufficient_user_authentication` | 401 | the user must pass a factor, or pass it again (RFC 9470). `factors` lists the account's factors that are accepted. `enrol` lists the factors to set up first, if the account has none of these. `max_age` is the maximum age of the factor. `acr_values` has the factors in the form of [OAuth](#acr-values) |
//! | `invalid_api_key` | 401 | the [API key](crate::api_key) is malformed or unknown |
//! | `api_key_expired` | 401 | the time of the API key is over |
//! | `api_key_revoked` | 401 | the API key was revoked, or replaced by a new one |
//! | `api_key_account_unusable` | 401 | the account of the API key is disabled, closed or not verified |
//! | `invalid_dpop_proof` | 401, or 400 for a device that asks for its token | the proof of the [key](crate::dpop) is missing, malformed, of another key, or was made for another request; the detail says which |
//! | `use_dpop_nonce` | 401, or 400 for a device that asks for its token | the proof of the [key](crate::dpop) has no nonce of this service, or an old one. Send the request again with a new proof, with the nonce in the header `DPoP-Nonce` |
//! | `multiple_credentials` | 400 | the request has two bearer tokens or API keys, one of them and a valid session cookie, or two valid session cookies. Two cookies are an error only on routes that need to know the user |
//!
//! ## ACR values
//!
//! The answer `insufficient_user_authentication` also names the accepted factors as authentication context class
//! references, in the parameter `acr_values` of `WWW-Authenticate` (RFC 9470 section 3) and in the member `acr_values`.
//! They are separated by blanks. A client can pass the text on to an authorization server. Each value is
//! `urn:portcullis:factor:` with the name of a factor in `factors`, and stays the same in later versions:
//!
//! ```text
//! WWW-Authenticate: Bearer error="insufficient_user_authentication",
//!   acr_values="urn:portcullis:factor:password urn:portcullis:factor:totp", max_age="300"
//! ```
//!
//! Both are absent if no factor of the account would do.
//!
//! # Authorization
//!
//! | code | status | cause |
//! |---|---|---|
//! | `denied` | 403 | the requirement is not met; the log says which one. A [job](super::jobs) never meets a factor |
//! | `limited_session` | 403 | the session has a ceiling that does not cover this change of the account, see [`owner`](crate::identity::owner) |
//! | `session_required` | 403 | the request has an API key, and the route accepts only sessions |
//! | `api_key_required` | 403 | the request has a session, and the route accepts only API keys |
//! | `factor_unavailable` | 403 | the route asks for a factor, which an API key cannot prove |
//! | `cross_site_request` | 403 | a page of another site sent the request |
//! | `not_found` | 404 | the id in the path is not a possible id |
//! | `route_not_found` | 404 | there is no such route below the prefix of portcullis' own routes; only with [`auth_routes`](crate::GuardedRouter::auth_routes), or where [`not_found`](crate::not_found()) is the fallback |
//!
//! # Codes and links in messages
//!
//! | code | status | cause |
//! |---|---|---|
//! | `wrong_code` | 403 | the code or link is wrong or no longer valid: expired, used, replaced, or made for something else. A code of a second factor, of every method, is also wrong after too many attempts, or if the account does not have this factor. A code of a sign-in by mail is also wrong in a browser that did not ask for it |
//! | `link_used` | 409 | this browser used the link or code successfully less than a minute ago. It changed an address or number, added a name, undid one of these, reopened an account, or signed in. Tell the user that it worked, and do not request another link |
//! | `too_soon` | 429 | a code was sent a short time ago, or too many challenges of a [factor of your own](crate::second_factor#a-factor-of-your-own) were started; wait as long as `Retry-After` says |
//! | `no_address` | 422 | the account has no address or number for the code, or the service cannot send there |
//! | `invalid_target` | 422 | what a challenge is about is longer than 255 bytes, or contains a NUL |
//! | `already_verified` | 409 | the address is already verified |
//! | `challenge_required` | 403 | the route requires an answered challenge; `purpose` says which one |
//!
//! # Passkeys
//!
//! | code | status | cause |
//! |---|---|---|
//! | `passkey_challenge_ended` | 403 | the challenge was answered before, has expired, or belongs to another browser, session or purpose; begin again |
//! | `passkey_not_accepted` | 403 | what the browser returned for a [passkey](crate::passkey) was not accepted; the detail says which check failed |
//! | `unknown_credential` | 403 | no account has this passkey. Only then, the page may tell the browser with `signalUnknownCredential` |
//! | `passkey_cannot_sign_in` | 403 | the account is disabled, closed or not verified, or was changed at the same time |
//! | `passkey_copied` | 403 | the use counter of the authenticator went back, so there may be a copy of it |
//! | `passkey_not_found` | 404 | the account has no such passkey |
//! | `passkey_already_added` | 409 | an account has this passkey already |
//! | `too_many_passkeys` | 409 | the account has the maximum number of passkeys |
//! | `last_way_in` | 409 | without it, nobody could sign in to the account: it has no password, no verified mailbox, no other passkey that signs in alone and no identity of another [provider](crate::federation) |
//! | `passkeys_not_configured` | 500 | the service has no domain for passkeys, see [`operating`](super::operating) |
//!
//! # Providers
//!
//! | code | status | cause |
//! |---|---|---|
//! | `provider_not_found` | 404 | there is no [provider](crate::federation) with this name, or it is switched off |
//! | `provider_not_for_sign_in` | 403 | the provider is only for people who are signed in |
//! | `provider_flow_ended` | 403 | the answer belongs to no sign-in of this browser: it was used before, is too late, or was begun in another browser or session, or for another provider |
//! | `provider_cancelled` | 403 | the person did not agree at the provider |
//! | `provider_failed` | 403 | the provider answered with an error; the detail has its code |
//! | `provider_not_accepted` | 403 | what the provider sent was not accepted; the detail says which check failed |
//! | `provider_unavailable` | 503 | the provider did not answer in time, failed, or has a private address; for ten seconds afterwards it is not asked again |
//! | `identity_not_linked` | 403 | no account has this identity, and the provider gives nobody an account |
//! | `account_exists` | 409 | an account has this mail address; sign in to it another way, then link the identity |
//! | `verified_address_needed` | 403 | the service needs a mail address for which the provider is trusted; register another way |
//! | `identity_cannot_sign_in` | 403 | the account is disabled, closed or not verified, or was changed at the same time |
//! | `identity_of_other_account` | 409 | another account has the identity |
//! | `provider_already_linked` | 409 | the account has another identity of this provider; unlink that one first |
//! | `identity_not_found` | 404 | the account has no identity of this provider |
//! | `provider_did_not_ask` | 403 | the provider did not say that the person has just signed in again; prove another factor |
//! | `pending_identity_ended` | 403 | nobody is asked about this identity in this browser, or the decision came too late |
//! | `no_provider_tokens` | 404 | no tokens of the provider are stored for the account |
//! | `provider_tokens_refreshing` | 409 | another request refreshes the tokens; read them again |
//! | `invalid_logout_token` | 400 | a provider wants to end sessions, and its token was not accepted; the detail says why |
//!
//! # Action proofs
//!
//! | code | status | cause |
//! |---|---|---|
//! | `action_proof_required` | 401 | the route requires an [action proof](crate::action_proof); the members `action` and `resource` say which one |
//! | `action_proof_invalid` | 403 | this is no proof, it is damaged, or the request has more than one |
//! | `action_proof_of_other_service` | 403 | it was signed for another issuer or audience |
//! | `action_proof_of_other_action`, `action_proof_of_other_resource`, `action_proof_of_other_payload`, `action_proof_of_other_scope` | 403 | the person consented to something else |
//! | `action_proof_lacks_permission` | 403 | the proof does not name a permission that covers the one that is needed |
//! | `action_proof_of_other_session` | 403 | it was made in another sign-in than that of the request |
//! | `action_proof_stale` | 403 | it is too old |
//! | `action_proof_from_the_future` | 403 | it was made more than 30 s in the future: the clocks of the nodes differ |
//! | `action_proof_ended` | 403 | it was taken back or replaced, its session has ended, or the account cannot be used |
//! | `action_proof_used` | 409 | it was used up before |
//! | `action_proof_not_found` | 404 | the account has no open proof with this id |
//! | `unknown_action` | 422 | no proof of this action is issued by the mounted route |
//! | `invalid_action_proof` | 422 | a proof cannot have this resource, scope, text, permission or lifetime; the detail says which |
//!
//! # Device login
//!
//! The routes of devices (`/device`, `/device/token`, `/device/end`) answer as RFC 6749 says, because programs of
//! others read them: `{"error": "slow_down", "error_description": ".."}`. Their codes are the same.
//!
//! | code | status | cause |
//! |---|---|---|
//! | `authorization_pending` | 400 | nobody has decided about the [device](crate::device_login) yet; ask again later |
//! | `slow_down` | 400 | the device asks too often; it must wait five seconds longer from now on |
//! | `access_denied` | 400 | the request of the device was denied, or its approval does not count any more |
//! | `expired_token` | 400 | the time of the request of the device is over |
//! | `invalid_grant` | 400 | the code of the device is wrong, of another client, used up or taken back |
//! | `invalid_client` | 400 | there is no such `client_id` |
//! | `invalid_request` | 400 | a parameter is missing, was sent twice, or has a form that is not accepted; the detail says which |
//! | `invalid_scope` | 400 | the scope is not a list of permissions that this client may have; patterns are refused |
//! | `unsupported_grant_type` | 400 | it is not the grant type of a device |
//! | `confirmation_required` | 400 | the request is approved, and the device must send the two digits that the person reads |
//! | `device_request_not_found` | 404 | no request of a device has this code, or another account has decided about it |
//! | `device_request_decided` | 409 | somebody has decided about the request of the device, or its time is over |
//! | `device_view_outdated` | 409 | the person has not seen what they decide about, or it has changed; show it again |
//! | `device_of_other_account` | 403 | the device wants to be signed in to another account |
//! | `device_in_same_browser` | 403 | the browser of the person has asked itself |
//! | `device_on_other_network` | 403 | the device is in another network, and `device_login.networks` requires the same one |
//! | `device_scope_refused` | 422 | the person wanted to approve more than the device asked for, or than their session may do |
//!
//! # Captchas
//!
//! | code | status | cause |
//! |---|---|---|
//! | `captcha_required` | 403 | the request needs a [captcha](crate::captcha). The member `captcha` has its `kind` and `action` |
//! | `wrong_captcha` | 403 | the captcha was not solved, is used or expired, or is for another action. A picture can be answered until its third wrong answer. For the other kinds, ask for a new one |
//! | `captcha_not_found` | 404 | the picture is used or expired, or was fetched too often; ask for a new one |
//! | `invalid_action` | 422 | the `action` is not 1 to 48 lower-case letters, digits, dashes or underscores |
//! | `captcha_unavailable` | 503 | the provider of the captcha did not answer; nobody gets through without it |
//!
//! # Sign-in, registration, passwords
//!
//! | code | status | cause |
//! |---|---|---|
//! | `invalid_credentials` | 401 | the name or password is wrong, or the account is unusable; the answer does not say which |
//! | `too_many_attempts` | 429 | Too many attempts failed. `Retry-After` says when to try again, and the correct code is refused until then. For codes of challenges and of sign-ins by mail, this is always told. For passwords, codes of second factors, reset links and requests for a sign-in by mail, it is told only with `attempts.reveal_lockout`. Otherwise the answer is that of a wrong password, code or link, or of an accepted request |
//! | `wrong_password` | 403 | the password of the signed-in user is wrong |
//! | `authenticator_not_found` | 404 | the account has no such authenticator, or it has waited too long for its first code; the answer is the same for one of another account |
//! | `api_key_not_found` | 404 | the account has no such [API key](crate::own_api_key), or it has ended or was replaced; the answer is the same for one of another account |
//! | `api_keys_off` | 404 | `api_key.prefix` is not set |
//! | `api_key_name_taken` | 409 | another API key of the account has this name |
//! | `too_many_api_keys` | 409 | the account has the maximum number of API keys |
//! | `trusted_device_not_found` | 404 | the account has no such [trusted device](crate::trusted_device), or its trust has ended; the answer is the same for one of another account |
//! | `too_many_authenticators` | 409 | the account has the maximum number of authenticators |
//! | `factor_already_enrolled` | 409 | this factor, such as mailed or texted [codes](crate::sent_code), is already a second factor of the account |
//! | `factor_in_use` | 409 | codes to this phone number are a second factor; switch them off before you remove the number |
//! | `factor_required` | 409 | a role of the account requires a second factor, and this is the last one that is strong enough; set up another one before you remove it |
//! | `factor_too_weak` | 409 | a role of the account requires a stronger second factor, which must be set up first |
//! | `no_password` | 409 | mailed codes can be a second factor only of an account with a password, because a sign-in by mail already proves the mailbox |
//! | `code_ended` | 403 | five wrong codes were typed for a [code that was sent](crate::sent_code) or a [challenge](crate::port::ExternalFactor), or the challenge of a [passkey](crate::passkey) is not open any more; request a new one |
//! | `mailed_code_after_reset` | 403 | the password was replaced by mail within the last day, so a [mailed code](crate::sent_code) is not enough; use another second factor or a recovery code, or ask an administrator |
//! | `no_other_factor` | 409 | recovery codes need another second factor, which they replace; set up an authenticator first |
//! | `factor_not_enrolled` | 409 | the account has not set up this factor: a sign-in cannot be finished with it, no [code](crate::sent_code) is sent for it, and it cannot be switched off. Or the method is `external`, and the service checks [no such factor](crate::Builder::external_factor) |
//! | `external_factor_unavailable` | 503 | the [factor of your own](crate::port::ExternalFactor) failed or did not answer in time; nobody gets through, and no attempt is counted |
//! | `factor_used_already` | 409 | the second step of a sign-in got the factor that the sign-in began with; it needs another factor |
//! | `registration_closed` | 403 | only the application creates accounts |
//! | `invalid_fields` | 422 | `errors` names each invalid field, with its reasons, see [below](#invalid-fields) |
//! | `username_taken`, `email_taken`, `phone_taken` | 409 | another account already has this name |
//! | `password_changed_meanwhile` | 409 | another request changed the password at the same time |
//! | `invalid_reset_token` | 400 | the link is unknown, used or expired, or its account has changed; the answer does not say which |
//! | `reset_token_used` | 409 | this browser set a password with this link less than a minute ago; the second password was not set |
//! | `only_login_name` | 409 | this is the only name left to sign in with |
//! | `address_not_proved` | 403 | the main address of the account must be verified before names are added, a second factor is set up, or an administrator [recovers](crate::account_recovery) the account. If a code cannot be sent because an address or number is not verified, the member `target` says which one; most of it is hidden |
//! | `too_many_names` | 409 | the account has the maximum number of names |
//! | `name_not_found` | 404 | the account has no such name; the answer is the same for a name of another account |
//! | `own_address` | 409 | this is the account's main address or number: change it with its own route, it cannot be removed as a name |
//! | `already_signed_in` | 409 | the client asked for an anonymous session, but it already has a session |
//! | `rate_limited` | 429 | this source or account sent too many requests, or there were too many logins with this name. Or this source requested too many messages, or found too many taken names. `RateLimit-Policy` names the rule, and `Retry-After` says when to try again |
//!
//! # Invalid fields
//!
//! An answer with `invalid_fields` has the member `errors`. It has a list of reasons for each invalid field:
//!
//! ```json
//! {"code": "invalid_fields", "status": 422, "errors": {"password": [
//!     {"code": "too_short", "params": {"min": 15}, "message": "must have at least 15 characters"}]}}
//! ```
//!
//! `code` and `params` are stable, so that a page can show the reason in any language. `message` is in English
//! and may change. An entry of `errors` is an [`InvalidField`](crate::InvalidField) in Rust. A hook or handler of
//! the application answers in the same form with [`InvalidFields`](crate::InvalidFields).
//!
//! | code of a field | params | cause |
//! |---|---|---|
//! | `required` | | the field is missing or empty |
//! | `name_required` | | an account needs a username, a mail address or a phone number |
//! | `too_long` | `max_bytes` of a password | the text is too long. A username has at most 64 characters |
//! | `invalid_character` | | a character is not allowed, or cannot be seen |
//! | `invalid` | `scope`: its number, from 1 | this scope of an API key is not a permission |
//! | `reserved` | `scope`: its number, from 1 | an API key cannot manage its account |
//! | `not_held` | `scope`: its number, from 1 | the account does not have this permission or role, or the session is limited to others |
//! | `too_many` | `max` | there are too many scopes, or they are too long together |
//! | `out_of_range` | `min`, `max`: seconds | the time is too short or too long |
//! | `no_letter_or_digit` | | the username has only punctuation |
//! | `invalid_email` | | this is not one plain mail address, `name@domain` |
//! | `invalid_domain` | | the part after the `@` is not a valid domain |
//! | `invalid_phone` | | this is not a phone number in E.164 form: `+` and 8 to 15 digits |
//! | `undeliverable` | | no message can be sent to this address or number |
//! | `unchanged` | | the new value is the present one: password, address or number |
//! | `already_yours` | | the account already has this name |
//! | `no_address` | | the account has no mail address to verify |
//! | `unknown_address` | | this is not an address or number of the account |
//! | `add_after_sign_in` | | strict registration accepts no phone number; add it after signing in |
//! | `too_short` | `min`: characters | the password is too short |
//! | `is_login_name` | | the password is a name of the account, possibly with digits around it |
//! | `is_service_name` | | the password is a name of the service, possibly with digits around it |
//! | `common_password` | | the password is on the list of common passwords |
//! | `too_few_kinds_of_characters` | `min`: kinds | the password needs more kinds of characters: lower case, upper case, digits, others |
//! | `too_easy_to_guess` | | `strength` rates the password below `password.min_strength` |
//! | `breached_password` | | the password is known from a breach |
//! | `repetition_differs` | | the second entry of the password differs from the first |
//! | `missing_field`, `unknown_field`, `duplicate_field` | `name` | the `profile` lacks a field, or has an unknown or repeated one |
//! | `wrong_form` | | the `profile` does not have the type that the application expects |
//!
//! # Accounts, sessions, roles and groups
//!
//! Methods return these errors. If your application returns such an error from a handler, the
//! client gets this answer.
//!
//! | code | status | cause |
//! |---|---|---|
//! | `account_not_found` | 404 | there is no such account |
//! | `account_disabled`, `account_not_verified` | 403 | [`job_identity`](crate::Portcullis::job_identity) and a recovery: the account cannot be used now |
//! | `own_account`, `more_rights` | 403 | administrators cannot [recover](crate::account_recovery) their own account, nor one with a right that they do not have |
//! | `same_administrator` | 403 | this administrator opened the recovery, and it has a new address; another one must [complete](crate::account_recovery) it |
//! | `recovery_open` | 409 | the account already has an open recovery |
//! | `recovery_not_found` | 404 | the account has no open recovery, or it is at another step |
//! | `recovery_too_early` | 409 | the owner can still object to this recovery; the text says until when |
//! | `account_erased` | 410 | the account was erased; nothing is kept about it except its id |
//! | `last_superuser` | 409 | this is the last superuser, so it cannot be disabled, deleted, closed, erased or demoted; make another account a superuser first |
//! | `session_limit` | 409 | the account has the maximum number of sessions; sign out on another device first |
//! | `session_data_too_large` | 413 | the session data is larger than 4 KiB |
//! | `session_data_unreadable` | 500 | the stored session data does not match the type that the code reads |
//! | `session_not_found` | 404 | the account has no such session; the answer is the same for a session of another account |
//! | `invalid_name` | 422 | the name of a role or group is invalid: use 1 to 64 bytes without white space, `:`, `,` or `*` |
//! | `invalid_resource` | 422 | the domain or id of a resource is empty, too long, or contains permission syntax |
//! | `invalid_permission` | 422 | A permission of the role is invalid, or the role has too many. With `POST /session/may`: the text of a question is not a permission, or its id is not possible; `question` is its index |
//! | `too_many_questions` | 422 | more than 64 questions at once |
//! | `invalid_page` | 422 | the position in a list is not the `next` of a page |
//! | `invalid_recipient` | 422 | `outbox().send(..)`: the recipient is not one plain mail address or phone number |
//! | `idle_too_short` | 422 | the idle time of a role is less than three times `session.replay_after` |
//! | `unknown_level` | 422 | this level is not configured for this kind of resource |
//! | `reserved_domain` | 422 | a permission in a domain that begins with `auth-` was declared or granted; these domains are reserved for portcullis, and only `auth-account:recover` can be granted |
//! | `reserved_name` | 422 | the role name looks like a level on a resource |
//! | `role_exists` | 409 | there is already a role with this name and other permissions |
//! | `role_defined_twice` | 422 | the code defines two roles with this name |
//! | `role_not_found`, `group_not_found` | 404 | there is no role or group with this name |
//!
//! # Request bodies
//!
//! | code | status | cause |
//! |---|---|---|
//! | `unsupported_media_type` | 415 | the body is not JSON; forms are accepted only from a page of this service |
//! | `body_too_large` | 413 | the body is larger than 16 KiB |
//! | `invalid_body` | 400 | the body is not JSON, or a field is missing, unknown or of the wrong type |
//! | `invalid_basic_authorization` | 400 | the `Authorization: Basic` header is malformed, and the body contains no login name |
//! | `basic_authorization_required` | 401 | the extractor `BasicCredentials` found no `Authorization: Basic` header |
//! | `bearer_not_enabled` | 400 | the client asked for a bearer token, but they are disabled |
//! | `refresh_not_enabled` | 400 | this service does not renew tokens: a session ends with its token |
//! | `method_not_allowed` | 405 | the path does not support this method |
//!
//! # Errors of the service
//!
//! | code | status | cause |
//! |---|---|---|
//! | `unavailable` | 503 | the database failed or did not answer in time, or a hook failed |
//! | `overloaded` | 503 | too much work at once: the queue for password hashing is full or too slow, or attempts for one name waited too long for each other |
//! | `internal_error` | 500 | a mounted route panicked; the log says where |
//! | `missing_layer` | 500 | a guard or extractor is used without `auth.layer()` around it |
//! | `misconfigured` | 500 | the code or the set-up of the application is wrong; see [below](#misconfigured) |
//! | `guard_misconfigured` | 500 | a guard cannot decide. Its type names an invalid permission, or its path has the parameter zero or two times. Or `not(..)` or `role(..)` is used on one instance |
//!
//! An outage is never answered with 401 or 403. Otherwise clients would discard their sessions when the
//! database is down.
//!
//! ## Misconfigured
//!
//! The client has sent nothing wrong, and sending it again does not help. The code of the application called a method
//! in a way that can never work. The answer has no `detail`. The reason is in the log, in the line "request failed".
//!
//! | method | what is wrong |
//! |---|---|
//! | [`challenges`](crate::Portcullis::challenges) | the purpose of a challenge is invalid, its expected answer is empty, or its lifetime or cool-down is out of range |
//! | [`register`](crate::registration::Registration::register) | the registration is strict. Call [`apply`](crate::registration::Registration::apply) |
//! | [`captchas`](crate::Portcullis::captchas) | the builder has no captcha |
//! | [`outbox().send(..)`](crate::Portcullis::outbox) | the kind has no template or no notifier, or the message lacks a value that the template uses, or a value has more than 500 characters |
