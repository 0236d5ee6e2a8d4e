//! A new account for an address that has none.

use serde_json::Value;

use super::{Confirmation, MailLogin, MailLoginError, Right};
use crate::account::entity::account::Model;
use crate::account::{Account, AccountError, Email, NewAccount};
use crate::base::client::ClientInfo;
use crate::base::id::AccountId;
use crate::base::transaction::{Fault, transaction};
use crate::config::{LoginIds, Registration};
use crate::flow::new_account;
use crate::flow::sign_in::{Demands, Locked, Made};
use crate::hook::{HookList, Registering, RegistrationCause};

impl MailLogin<'_> {
    /// True if an address without an account gets one.
    pub(super) fn creates_accounts(&self) -> bool {
        let config = &self.auth.context().config;
        config.mail.login_creates_accounts
            && config.login.registration != Registration::Closed
            && config.login.id != LoginIds::Username
    }

    /// Creates an account with this address, which is proved, and signs it in.
    pub(super) async fn create(
        &self,
        right: &Right,
        email: &Email,
        confirmation: &Confirmation,
        client: &ClientInfo,
    ) -> Result<Made, MailLoginError> {
        new_account::count(self.auth, client).await?;
        let (context, now) = (self.auth.context(), self.auth.context().now());
        let id = AccountId::new(now);
        let new = NewAccount {
            verified: true,
            id: Some(id),
            signs_in: true,
            ..NewAccount::email(email.as_str())
        };
        let registering = Registering {
            auth: self.auth,
            account: None,
            account_id: id,
            username: None,
            email: Some(email.as_str()),
            phone: None,
            cause: RegistrationCause::MailLogin,
            client,
            at: now,
            profile: &Value::Null,
        };
        let hooks = self.auth.per_instance::<HookList>();
        let accounts = self.auth.accounts();
        transaction!(context.db(), |txn| {
            self.spend(txn, right).await?;
            hooks.before_register(registering, txn).await?;
            new_account::free::<MailLoginError>(self.auth, txn, email, client, now).await?;
            let row = match accounts.inside(txn).create_row(new.clone()).await {
                Ok(row) => row,
                // The address got an account in between. The next mail is for that account.
                Err(AccountError::Taken(_)) => return Err(MailLoginError::WrongCode),
                Err(AccountError::Fault(fault)) => return Err(fault.into()),
                Err(error) => return Err(Fault::Internal(error.to_string().into()).into()),
            };
            right.challenge.give_to(txn, row.id).await?;
            let account = Account::from(row.clone());
            hooks
                .after_register(Registering { account: Some(&account), ..registering }, txn)
                .await?;
            // This is the account's first sign-in, which never counts as a new device.
            let row = Model { last_login_at: None, ..row };
            let session = self.session(
                &row,
                None,
                Demands::of_new(context, &row),
                true,
                confirmation,
                client,
            );
            Ok::<_, MailLoginError>(session.make(txn, Locked::by_the_flow()).await?)
        })
    }
}
