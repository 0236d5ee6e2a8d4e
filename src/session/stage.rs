//! How far a sign-in has come.

use crate::base::jwt::TokenType;

/// How far a sign-in has come. Only [`Full`](Self::Full) is a session to a handler; the others
/// have another token type, another extractor each, and end with one promotion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Signed in.
    Full,
    /// The password was right; a second factor is still asked.
    PendingSecondFactor,
    /// Signed in as far as setting a new password.
    MustChangePassword,
    /// Signed in as far as enrolling a second factor.
    MustEnrol,
    /// A visitor without an account.
    Anonymous,
}

impl Stage {
    const ALL: [Self; 5] = [
        Self::Full,
        Self::PendingSecondFactor,
        Self::MustChangePassword,
        Self::MustEnrol,
        Self::Anonymous,
    ];

    /// The number in the row.
    pub(crate) const fn number(self) -> i16 {
        match self {
            Self::Full => 0,
            Self::PendingSecondFactor => 1,
            Self::MustChangePassword => 2,
            Self::MustEnrol => 3,
            Self::Anonymous => 4,
        }
    }

    pub(crate) fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.number() == number)
    }

    /// The name in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::PendingSecondFactor => "second_factor_required",
            Self::MustChangePassword => "password_change_required",
            Self::MustEnrol => "enrolment_required",
            Self::Anonymous => "anonymous",
        }
    }

    /// What a session at this stage is, for "this needs ..".
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::Full => "a finished sign-in",
            Self::PendingSecondFactor => "a sign-in that waits for its second factor",
            Self::MustChangePassword => "a sign-in that must change its password",
            Self::MustEnrol => "a sign-in that must enrol a second factor",
            Self::Anonymous => "an anonymous session",
        }
    }

    /// The type of its tokens.
    pub(crate) const fn token_type(self) -> TokenType {
        match self {
            Self::Full => TokenType::Session,
            Self::PendingSecondFactor => TokenType::SecondFactor,
            Self::MustChangePassword => TokenType::PasswordChange,
            Self::MustEnrol => TokenType::Enrolment,
            Self::Anonymous => TokenType::Anonymous,
        }
    }
}
