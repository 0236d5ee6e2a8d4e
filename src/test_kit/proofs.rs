//! The kinds of everything with which a person or a browser proves something.
//!
//! No match here has a wildcard. So a new kind does not compile before it is named here, and a test then
//! fails until it knows the new kind.

// An arm for "everything else" would hide a new kind.
#![deny(clippy::wildcard_enum_match_arm)]

use std::collections::BTreeSet;

use crate::base::factor::Factor;
use crate::base::jwt::TokenType;
use crate::outstanding::Kind;

pub(super) fn kinds() -> BTreeSet<String> {
    let tokens = TokenType::ALL.into_iter().map(|token| match token {
        TokenType::Session
        | TokenType::SecondFactor
        | TokenType::PasswordChange
        | TokenType::Enrolment
        | TokenType::Anonymous
        | TokenType::Device
        | TokenType::MailLogin
        | TokenType::ActionProof => token.as_str().to_owned(),
    });
    let outstanding = Kind::OURS.into_iter().map(|kind| match kind {
        Kind::Verification
        | Kind::PasswordReset
        | Kind::MailLogin
        | Kind::EmailChange
        | Kind::EmailUndo
        | Kind::PhoneChange
        | Kind::PhoneUndo
        | Kind::LoginName
        | Kind::LoginNameUndo
        | Kind::AccountKeep
        | Kind::FactorCode
        | Kind::FactorUndo
        | Kind::RecoveryObjection
        | Kind::AccountRecovery => kind.name().into_owned(),
        // The token `proof+jwt` names its row, which has no secret.
        Kind::ActionProof => TokenType::ActionProof.as_str().to_owned(),
        // These have names of their own.
        Kind::Application(_) => "app".to_owned(),
    });
    let factors = Factor::ALL.iter().filter_map(|factor| match factor {
        Factor::Password | Factor::Totp | Factor::RecoveryCode | Factor::External => {
            Some(factor.as_str().to_owned())
        }
        // Codes that are sent are of the kind `factor_code`.
        Factor::MailedCode | Factor::TextedCode => None,
        // What a browser returns for a passkey is an object and no text, and is bound to its challenge.
        Factor::Passkey | Factor::UnverifiedPasskey => None,
        // What a provider answers is bound to its browser.
        Factor::Provider | Factor::ProviderTwoFactors => None,
    });
    // The codes of a device login, and what a person was shown of it; keys of clients and of programs.
    let programs =
        ["device_code", "device_view", "user_code", "dpop+jwt", "api_key"].map(str::to_owned);
    let others = ["app", "captcha", "page", "passkey_browser", "trusted_device"]
        .map(str::to_owned)
        .into_iter()
        .chain(programs);
    tokens.chain(outstanding).chain(factors).chain(others).collect()
}
