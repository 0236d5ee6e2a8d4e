//! The challenge of a passkey, for the second step of a sign-in and for a step-up.

use super::SecondFactor;
use crate::base::client::ClientInfo;
use crate::base::factor::{EnrolledFactors, Factor};
use crate::flow::sign_in::Demands;
use crate::passkey::{PasskeyError, PasskeyOptions};
use crate::sent_code::{Asks, CodeHolder};

impl SecondFactor<'_> {
    /// Begins to prove a passkey in a session. Pass the options to the browser, and its answer to
    /// [`FactorCode::passkey`](super::FactorCode::passkey).
    ///
    /// # Errors
    /// - [`PasskeyError::NotEnrolled`] if the account has no passkey that is a second factor.
    /// - [`PasskeyError::FactorUsedAlready`] if the sign-in began with a passkey, and the account
    ///   has none that is two factors.
    /// - [`PasskeyError::RateLimited`] if too many challenges were started for the account.
    /// - [`PasskeyError::NoDomain`]; [`PasskeyError::Session`] if the session has ended or the account was changed
    ///   meanwhile; an outage.
    pub async fn challenge_passkey<'h>(
        &self,
        holder: impl Into<CodeHolder<'h>>,
        client: &ClientInfo,
    ) -> Result<PasskeyOptions, PasskeyError> {
        let holder = holder.into();
        let context = self.auth.context();
        let row = holder.row(context).await?;
        let mut alone = false;
        let has_it = match holder.asks {
            Asks::SecondStep(state) if state.began_with(Factor::Passkey) => {
                return Err(PasskeyError::FactorUsedAlready);
            }
            Asks::SecondStep(state) => {
                alone = state.has_proved(Factor::UnverifiedPasskey);
                Demands::read(self.auth, &row, context.now()).await?.accepts(Factor::Passkey)
            }
            Asks::StepUp | Asks::SetUp => {
                EnrolledFactors(row.enrolled_factors).contains(Factor::Passkey)
            }
        };
        if !has_it {
            return Err(PasskeyError::NotEnrolled);
        }
        let passkeys = self.auth.passkeys();
        passkeys.start_second_factor(&row, holder.session, alone, client).await
    }
}
