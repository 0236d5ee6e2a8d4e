//! How far a sign-in has progressed.

use crate::base::jwt::TokenType;

/// How far a sign-in has progressed. Only [`Full`](Self::Full) is a session for a handler. Each
/// other stage has its own token type and extractor, and ends when the sign-in progresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// The user is signed in.
    Full,
    /// The password was correct, and a second factor is still required.
    PendingSecondFactor,
    /// The user may only set a new password.
    MustChangePassword,
    /// The user may only enrol a second factor.
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

    /// The number of the stage in the row.
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

    /// Returns the name of the stage in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::PendingSecondFactor => "second_factor_required",
            Self::MustChangePassword => "password_change_required",
            Self::MustEnrol => "enrolment_required",
            Self::Anonymous => "anonymous",
        }
    }

    /// What a session at this stage is, for "this route needs ..".
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::Full => "a finished sign-in",
            Self::PendingSecondFactor => "a sign-in that waits for its second factor",
            Self::MustChangePassword => "a sign-in that must change its password",
            Self::MustEnrol => "a sign-in that must enrol a second factor",
            Self::Anonymous => "an anonymous session",
        }
    }

    /// The type of the tokens of this stage.
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
