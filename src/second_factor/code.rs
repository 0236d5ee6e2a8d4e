//! What a person shows as a second factor.

use zeroize::Zeroizing;

use crate::base::factor::Factor;
#[cfg(feature = "passkey")]
use crate::passkey::AuthenticationResponse;
use crate::sent_code::CodeChannel;

/// A factor whose codes are checked here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Totp,
    RecoveryCode,
    Sent(CodeChannel),
    External,
    #[cfg(feature = "passkey")]
    Passkey,
}

impl Method {
    pub(super) fn factor(self) -> Factor {
        match self {
            Self::Totp => Factor::Totp,
            Self::RecoveryCode => Factor::RecoveryCode,
            Self::Sent(channel) => channel.factor(),
            Self::External => Factor::External,
            #[cfg(feature = "passkey")]
            Self::Passkey => Factor::Passkey,
        }
    }
}

/// A code of a second factor as a person typed it, or what the browser returned for a passkey.
#[derive(Clone)]
#[must_use]
pub struct FactorCode {
    pub(super) method: Method,
    pub(super) text: Zeroizing<String>,
    #[cfg(feature = "passkey")]
    pub(super) passkey: Option<Box<AuthenticationResponse>>,
}

impl FactorCode {
    /// A code of an authenticator.
    pub fn totp(code: impl Into<String>) -> Self {
        Self::typed(Method::Totp, code.into())
    }

    /// A recovery code.
    pub fn recovery_code(code: impl Into<String>) -> Self {
        Self::typed(Method::RecoveryCode, code.into())
    }

    /// A code that was [sent](crate::sent_code) by mail or text message.
    pub fn sent(channel: CodeChannel, code: impl Into<String>) -> Self {
        Self::typed(Method::Sent(channel), code.into())
    }

    /// A code of a [factor of your own](crate::port::ExternalFactor).
    pub fn external(code: impl Into<String>) -> Self {
        Self::typed(Method::External, code.into())
    }

    /// What the browser returned for a [passkey](crate::passkey).
    #[cfg(feature = "passkey")]
    pub fn passkey(response: AuthenticationResponse) -> Self {
        let passkey = Some(Box::new(response));
        Self { passkey, ..Self::typed(Method::Passkey, String::new()) }
    }

    fn typed(method: Method, text: String) -> Self {
        Self {
            method,
            text: Zeroizing::new(text),
            #[cfg(feature = "passkey")]
            passkey: None,
        }
    }

    /// A code of an authenticator or a recovery code, for a page with one field. Codes of
    /// authenticators have at most eight digits, and recovery codes are longer. A code that was sent
    /// looks like one of an authenticator, so it has its own [method](Self::sent).
    pub fn any(code: impl Into<String>) -> Self {
        let code = code.into();
        match code.chars().filter(|c| !c.is_whitespace()).take(9).count() > 8 {
            true => Self::recovery_code(code),
            false => Self::totp(code),
        }
    }

    /// Returns the factor that is checked.
    pub fn factor(&self) -> Factor {
        self.method.factor()
    }
}

impl std::fmt::Debug for FactorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FactorCode(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_code_says_what_it_is() {
        for (typed, factor) in [
            ("123456", Factor::Totp),
            (" 123 456 ", Factor::Totp),
            ("12345678", Factor::Totp),
            ("", Factor::Totp),
            ("012345-6789AB-CDEFGH-JKMN01", Factor::RecoveryCode),
            ("0123456789abcdefghjkmn01", Factor::RecoveryCode),
        ] {
            assert_eq!(FactorCode::any(typed).factor(), factor, "{typed:?}");
        }
    }
}
