//! The second factors with which a sign-in can be finished.

use super::typed::PendingSession;
use crate::account::Account;
use crate::base::clock::Timestamp;
use crate::base::factor::Factor;

/// A second factor with which a sign-in can be finished.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecondFactorMethod {
    /// The factor.
    pub factor: Factor,
    /// Where its code is sent, if anywhere. Most of it is hidden, because a person who only knows
    /// the password sees it too. The owner recognizes it.
    pub target: Option<String>,
    /// When it can be used. `None` means now. A mailed code cannot be used [after a
    /// reset](crate::sent_code#what-a-mailed-code-is-worth) of the password by mail.
    pub usable_at: Option<Timestamp>,
}

impl PendingSession {
    /// Returns the second factors with which this sign-in can be finished. These are the factors of
    /// the account, without the one with which the sign-in began. A recovery code comes last, because
    /// it is for people who have nothing else.
    pub fn methods(&self) -> Vec<SecondFactorMethod> {
        let account = self.account();
        let mut factors: Vec<Factor> = account
            .enrolled_factors()
            .iter()
            .filter(|factor| *factor != Factor::Password && !self.state.began_with(*factor))
            .collect();
        factors.sort_by_key(|factor| *factor == Factor::RecoveryCode);
        let method = |factor| SecondFactorMethod {
            factor,
            target: target(account, factor),
            usable_at: account.mailed_code_at.filter(|_| factor == Factor::MailedCode),
        };
        factors.into_iter().map(method).collect()
    }
}

fn target(account: &Account, factor: Factor) -> Option<String> {
    let address = match factor {
        Factor::MailedCode => account.email(),
        Factor::TextedCode => account.phone(),
        Factor::Password
        | Factor::Totp
        | Factor::RecoveryCode
        | Factor::Passkey
        | Factor::UnverifiedPasskey
        | Factor::Provider
        | Factor::ProviderTwoFactors
        | Factor::External => None,
    };
    address.map(|address| masked(factor, address))
}

/// Returns where the code of a factor is sent, with most of it hidden.
pub(crate) fn masked(factor: Factor, address: &str) -> String {
    match factor {
        Factor::TextedCode => masked_number(address),
        _ => masked_address(address),
    }
}

/// Shows the first character of the name and of the domain, and what follows the last dot.
fn masked_address(address: &str) -> String {
    let (name, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let first = |text: &str| text.chars().next().map(String::from).unwrap_or_default();
    let end = domain.rsplit_once('.').map_or(String::new(), |(_, end)| format!(".{end}"));
    format!("{}***@{}***{end}", first(name), first(domain))
}

/// Shows the last two digits.
fn masked_number(number: &str) -> String {
    let count = number.chars().count();
    let end: String = number.chars().skip(count.saturating_sub(2)).collect();
    format!("***{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_shows_its_owner_enough_and_others_little() {
        assert_eq!(masked_address("alice@example.com"), "a***@e***.com");
        assert_eq!(masked_address("a@b"), "a***@b***");
        assert_eq!(masked_address("é@example.co.uk"), "é***@e***.uk");
        assert_eq!(masked_number("+4915112345678"), "***78");
        assert_eq!(masked_number("7"), "***7");
    }
}
