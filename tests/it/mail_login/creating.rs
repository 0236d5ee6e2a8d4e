//! New accounts for addresses that have none.

use super::*;
use portcullis::config::Registration;
use portcullis::hook::{Registering, RegistrationCause};

fn creates(config: &mut Config) {
    config.mail.login_creates_accounts = true;
}

async fn accounts(probe: &Probe) -> i64 {
    probe.number("SELECT COUNT(*) FROM auth_account").await
}

/// A hook that refuses new accounts while the flag is set.
#[derive(Clone, Default)]
struct Full(Arc<AtomicBool>);

impl Hooks for Full {
    async fn before_register(&self, new: Registering<'_>, _: &DatabaseTransaction) -> HookResult {
        assert_eq!((new.cause, new.username), (RegistrationCause::MailLogin, None));
        assert_eq!((new.email, new.account.is_none()), (Some("new@example.com"), true));
        match self.0.load(Ordering::SeqCst) {
            true => Err(Refusal::new(StatusCode::FORBIDDEN, "full", "come back later").into()),
            false => Ok(()),
        }
    }

    async fn after_register(&self, new: Registering<'_>, _: &DatabaseTransaction) -> HookResult {
        let account = new.account.expect("it was created");
        assert!(account.is_verified() && account.id() == new.account_id);
        Ok(())
    }
}

on_every_database! {
    async fn an_address_without_an_account_gets_one_when_its_mail_is_used(probe: Probe) {
        let probe = probe.configured(creates);
        let mut browser = probe.browser().await;
        let mail = ask(&probe, &mut browser, "New.Person@Example.com").await;
        // Asking and looking create nothing.
        check_result(&follow(&mut browser.stranger(), &mail).await, "other_browser");
        check(&enter(&mut browser, &mail.wrong()).await, 403, "wrong_code");
        assert_eq!(accounts(&probe).await, 0);
        check_result(&enter(&mut browser, &mail.code).await, "session");
        let answer = browser.get("/me").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let account = probe.auth.accounts().find_by_login("new.person@example.com").await;
        let account = account.expect("it answers").expect("an account");
        assert_eq!((account.email(), account.username()), (Some("New.Person@Example.com"), None));
        assert!(account.is_verified() && !account.is_superuser());
        let details = probe.auth.accounts().details(account.id()).await.expect("it answers");
        assert!(!details.expect("an account").has_password);
        assert_eq!((events(&probe, "user_created").await, events(&probe, "authn_new_device").await), (1, 0));
        assert_eq!(enter(&mut browser, &mail.code).await.code(), "link_used");
        // From now on it is an account as any other.
        probe.clock.advance(MINUTE);
        let mut other = browser.stranger();
        let mail = ask(&probe, &mut other, "new.person@EXAMPLE.com").await;
        check_result(&follow(&mut other, &mail).await, "session");
        assert_eq!((accounts(&probe).await, sessions(&probe).await), (1, 2));
        let proved = "SELECT COUNT(*) FROM auth_login_name WHERE verified_at IS NOT NULL";
        assert_eq!(probe.number(proved).await, 1);
    }

    async fn new_accounts_need_an_open_registration_and_an_address(probe: Probe) {
        let change = |change: fn(&mut Config)| probe.rebuilt(|builder| builder.configure(change));
        for (auth, login) in [
            (change(|_| ()), "new@example.com"),
            (change(|config| { creates(config); config.login.registration = Registration::Closed; }), "new@example.com"),
            (change(|config| { creates(config); config.login.id = LoginIds::Username; }), "new@example.com"),
            (change(creates), "new"),
            (change(creates), "+4915112345678"),
            (change(creates), "new@"),
        ] {
            let mut browser = browser_of(&auth).await;
            assert!(try_to_ask(&probe, &mut browser, login).await.is_none(), "{login}");
            check(&enter(&mut browser, "00000000").await, 403, "wrong_code");
            probe.clock.advance(MINUTE);
        }
        // What was allowed when the mail was sent must still be.
        let open = change(creates);
        let closed = change(|config| { creates(config); config.login.registration = Registration::Closed; });
        let mut browser = browser_of(&open).await;
        let mail = ask(&probe, &mut browser, "new@example.com").await;
        let mut late = browser.clone().at(serve(app(&closed)).await);
        check(&follow(&mut late, &mail).await, 403, "wrong_code");
        assert_eq!(accounts(&probe).await, 0);
        check_result(&follow(&mut browser, &mail).await, "session");
    }

    async fn a_hook_that_refuses_leaves_no_account_and_the_mail_good(probe: Probe) {
        let full = Full::default();
        let auth = probe.rebuilt(|builder| builder.configure(creates).hooks(full.clone()));
        let mut browser = browser_of(&auth).await;
        let mail = ask(&probe, &mut browser, "new@example.com").await;
        full.0.store(true, Ordering::SeqCst);
        check(&follow(&mut browser, &mail).await, 403, "full");
        let rows = "SELECT (SELECT COUNT(*) FROM auth_login_name) + (SELECT COUNT(*) FROM auth_session)";
        assert_eq!((accounts(&probe).await, probe.number(rows).await), (0, 0));
        full.0.store(false, Ordering::SeqCst);
        check_result(&follow(&mut browser, &mail).await, "session");
    }

    async fn of_sixteen_who_confirm_at_once_one_creates_the_account(probe: Probe) {
        let probe = probe.configured(creates);
        let (mut first, mut second) = (probe.browser().await, probe.browser().await);
        let own = ask(&probe, &mut first, "new@example.com").await;
        probe.clock.advance(MINUTE);
        // The same person in another browser.
        let other = ask(&probe, &mut second, "new@example.com").await;
        let mut racers = JoinSet::new();
        for number in 0..16 {
            let (browser, mail) = if number % 2 == 0 { (&first, &own) } else { (&second, &other) };
            let (mut browser, mail) = (browser.clone(), mail.clone());
            racers.spawn(async move { follow(&mut browser, &mail).await });
        }
        let answers = racers.join_all().await;
        for answer in &answers {
            let fine = answer.status == 200 || ["link_used", "wrong_code"].contains(&answer.code().as_str());
            assert!(fine, "{answer:?}");
        }
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
        assert_eq!((accounts(&probe).await, sessions(&probe).await), (1, 1));
    }

    async fn an_address_that_a_stranger_registers_in_between_goes_to_its_owner(probe: Probe) {
        let probe = probe.configured(creates);
        let mut browser = probe.browser().await;
        let mail = ask(&probe, &mut browser, "new@example.com").await;
        probe.register_with_email("thief", "new@example.com").await;
        check(&follow(&mut browser, &mail).await, 403, "wrong_code");
        assert_eq!((accounts(&probe).await, sessions(&probe).await), (1, 0));
        probe.clock.advance(MINUTE);
        let mail = ask(&probe, &mut browser, "new@example.com").await;
        check_result(&follow(&mut browser, &mail).await, "password_change_required");
        assert_eq!(browser.stranger().login("thief", PASSWORD).await.status, 401);
    }

    async fn an_address_without_a_claim_to_it_is_free_for_its_owner(probe: Probe) {
        let probe = probe.configured(creates);
        let thief = probe.register_with_email("thief", "new@example.com").await;
        probe.auth.accounts().disable(thief.id()).await.expect("it is disabled");
        let mut browser = probe.browser().await;
        let mail = ask(&probe, &mut browser, "new@example.com").await;
        check_result(&follow(&mut browser, &mail).await, "session");
        let owner = probe.auth.accounts().find_by_login("new@example.com").await.expect("it answers");
        assert_ne!(owner.expect("an account").id(), thief.id());
        // One that was proved keeps its address, whatever became of the account.
        let (other, _) = person(&probe, "other").await;
        probe.auth.accounts().disable(other.id()).await.expect("it is disabled");
        assert!(try_to_ask(&probe, &mut browser.stranger(), "other@example.com").await.is_none());
    }

    async fn the_work_is_the_same_with_and_without_an_account(probe: Probe) {
        let probe = probe.configured(creates);
        person(&probe, "alice").await;
        let disabled = probe.register_with_email("disabled", "disabled@example.com").await;
        probe.auth.accounts().disable(disabled.id()).await.expect("it is disabled");
        let mut seen = Vec::new();
        for login in ["alice@example.com", "nobody@example.com", "disabled@example.com", "nobody", ""] {
            let mut browser = probe.browser().await;
            let (answer, statements) = probe.statements(browser.post(ASK, json!({ "login": login }))).await;
            let wrong = browser.post(CONFIRM, json!({ "code": "00000000" }));
            let (wrong, of_wrong) = probe.statements(wrong).await;
            seen.push((answer.status, answer.text, statements, wrong.status, wrong.text, of_wrong));
        }
        for other in &seen {
            assert_eq!(*other, seen[0]);
        }
        assert_eq!(probe.mail().await.len(), 3, "also the account without a claim");
    }
}
