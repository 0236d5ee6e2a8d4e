//! Mail addresses of providers: they identify nobody, and decide only where the provider is trusted for them.

use portcullis::MessageKind;

use super::*;

async fn accounts(probe: &Probe) -> i64 {
    probe.rows().await[0]
}

async fn found(auth: &Portcullis, id: &str) -> Account {
    let found = auth.accounts().find(id.parse().expect("an id")).await;
    found.expect("it answers").expect("it is there")
}

on_every_database! {
    async fn an_address_is_stored_only_if_the_provider_is_trusted_for_it(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let domains = |all: &[&str]| MailTrust::Domains(all.iter().map(|one| (*one).to_owned()).collect());
        let claim = || MailTrust::Claim("xms_edov".to_owned());
        let table: [(MailTrust, Value, bool); 17] = [
            (MailTrust::Never, json!({}), false),
            (MailTrust::Verified, json!({}), true),
            (MailTrust::Verified, json!({ "email_verified": false }), false),
            (MailTrust::Verified, json!({ "email_verified": null }), false),
            (MailTrust::Verified, json!({ "email_verified": "true" }), false),
            (MailTrust::Verified, json!({ "email_verified": 1 }), false),
            (MailTrust::Verified, json!({ "email": "" }), false),
            (MailTrust::Verified, json!({ "email": "a@example.com,b@example.com" }), false),
            (domains(&["example.com"]), json!({}), true),
            (domains(&["other.example"]), json!({}), false),
            (domains(&["example.com"]), json!({ "email": "x@sub.example.com" }), false),
            (domains(&["example.com"]), json!({ "email": "x@evilexample.com" }), false),
            (MailTrust::Google, json!({}), false),
            (MailTrust::Google, json!({ "hd": "example.com" }), true),
            (MailTrust::Google, json!({ "hd": "evil.example" }), false),
            (claim(), json!({}), false),
            (claim(), json!({ "xms_edov": true, "email_verified": false }), true),
        ];
        for (number, (trust, claims, stored)) in table.into_iter().enumerate() {
            let auth = with(&probe, liar.provider().mail(trust.clone()));
            liar.is(&format!("person {number}"), &format!("p{number}@example.com"), true);
            liar.set(|lies| lies.claims = claims.clone());
            let id = signed_in(&sign_in(&mut browser(&auth).await, &liar).await);
            let account = found(&auth, &id).await;
            assert_eq!(account.email().is_some(), stored, "{trust:?} {claims}");
            assert_eq!(account.is_verified(), stored, "{trust:?} {claims}");
            liar.repents();
        }
        let auth = with(&probe, liar.provider().mail(MailTrust::Google));
        liar.is("gmail", "someone@gmail.com", true);
        let id = signed_in(&sign_in(&mut browser(&auth).await, &liar).await);
        assert_eq!(found(&auth, &id).await.email(), Some("someone@gmail.com"));
    }

    async fn a_trusted_address_links_to_the_account_that_has_proved_it(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, trusted(&liar));
        let (account, mut alice) = member(&probe, &auth, "alice").await;
        let mut other = alice.stranger();
        let id = signed_in(&sign_in(&mut other, &liar).await);
        assert_eq!(id, account.id().to_string());
        // Nobody else is signed out, and the owner is told.
        assert_eq!(alice.get("/me").await.status, 200);
        let mails = probe.mail().await;
        let mail = mails.iter().rev().find(|mail| mail.kind == MessageKind::FactorAdded);
        let mail = mail.expect("a mail");
        assert!(mail.subject.contains("way to sign in"), "{}", mail.subject);
        assert!(mail.text.contains("sign-in with another service"), "{}", mail.text);
        // The next sign-in needs no address any more.
        liar.is("alice", "elsewhere@example.com", false);
        assert_eq!(signed_in(&sign_in(&mut alice.stranger(), &liar).await), id);
        // Another identity of this provider with the address is not linked too.
        liar.is("alice's other one", "alice@example.com", true);
        refused(&sign_in(&mut alice.stranger(), &liar).await, 409, "provider_already_linked");
        assert_eq!((identities(&probe).await, accounts(&probe).await), (1, 1));
    }

    async fn an_address_links_nothing_where_one_part_of_the_proof_is_missing(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, trusted(&liar));
        let (account, mut alice) = member(&probe, &auth, "alice").await;
        let id = account.id().to_string();
        // Not verified at the provider, or the provider is not trusted: another account.
        liar.is("mallory", "alice@example.com", false);
        assert_ne!(signed_in(&sign_in(&mut alice.stranger(), &liar).await), id);
        let untrusted = alice.stranger().at(serve(app(&with(&probe, liar.provider()))).await);
        liar.is("mallory 2", "alice@example.com", true);
        assert_ne!(signed_in(&sign_in(&mut untrusted.clone(), &liar).await), id);
        // The policy does not want it.
        let open = with(&probe, trusted(&liar).policy(ProviderPolicy::Open));
        let mut open = alice.stranger().at(serve(app(&open)).await);
        liar.is("alice", "alice@example.com", true);
        refused(&sign_in(&mut open, &liar).await, 409, "account_exists");
        // An account with a second factor, and one that may do everything, is linked in a session only.
        auth.accounts().set_enrolled_factors(account.id(), [Factor::Totp]).await.expect("it is set");
        refused(&sign_in(&mut alice.stranger(), &liar).await, 409, "account_exists");
        auth.accounts().set_enrolled_factors(account.id(), []).await.expect("it is set");
        let boss = portcullis::account::NewAccount::email("boss@example.com").verified().superuser();
        auth.accounts().create(boss).await.expect("an account");
        liar.is("boss", "boss@example.com", true);
        refused(&sign_in(&mut alice.stranger(), &liar).await, 409, "account_exists");
        // The same for one that nobody has proved yet.
        let chief = portcullis::account::NewAccount::email("chief@example.com").superuser();
        auth.accounts().create(chief).await.expect("an account");
        liar.is("chief", "chief@example.com", true);
        refused(&sign_in(&mut alice.stranger(), &liar).await, 409, "account_exists");
        // A disabled account keeps its address.
        liar.is("alice", "alice@example.com", true);
        auth.accounts().disable(account.id()).await.expect("it is disabled");
        refused(&sign_in(&mut alice.stranger(), &liar).await, 403, "identity_cannot_sign_in");
        auth.accounts().enable(account.id()).await.expect("it is enabled");
        assert_eq!(signed_in(&sign_in(&mut alice, &liar).await), id);
    }

    async fn an_account_that_another_person_prepared_goes_to_the_owner_of_the_address(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, trusted(&liar));
        // The attacker registers with the victim's address, signs in, and waits (classic-federated merge).
        let account = probe.register_with_email("mallory", "victim@example.com").await;
        let mut mallory = browser(&auth).await;
        assert_eq!(mallory.login("mallory", PASSWORD).await.status, 200);
        let answer = mallory.post("/auth/email", json!({ "email": "mallory@evil.example" })).await;
        assert!(answer.status < 500, "{}", answer.text);
        let mut elsewhere = mallory.stranger();
        assert_eq!(elsewhere.login("mallory", PASSWORD).await.status, 200);
        // The victim signs in with the provider.
        liar.is("victim", "victim@example.com", true);
        let mut victim = mallory.stranger();
        let id = signed_in(&sign_in(&mut victim, &liar).await);
        assert_eq!(id, account.id().to_string());
        assert_eq!(victim.get("/me").await.text, id);
        // Nothing of the attacker is left: sessions, password, links of other identities, changes under way.
        for browser in [&mut mallory, &mut elsewhere] {
            assert_eq!(browser.get("/me").await.status, 401);
        }
        let mut again = mallory.stranger();
        refused(&again.login("mallory", PASSWORD).await, 401, "invalid_credentials");
        refused(&again.login("victim@example.com", PASSWORD).await, 401, "invalid_credentials");
        let account = found(&auth, &id).await;
        assert_eq!((account.email(), account.is_verified()), (Some("victim@example.com"), true));
        // The victim signs in again, and nothing is asked.
        assert_eq!(signed_in(&sign_in(&mut again, &liar).await), id);
        assert_eq!(accounts(&probe).await, 1);
    }

    async fn an_identity_that_the_attacker_has_linked_before_is_gone(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let second = Liar::start(&probe, "second").await;
        let auth = probe.rebuilt(|builder| {
            builder
                .configure(crate::passkey::public)
                .provider(trusted(&liar))
                .provider(second.provider())
        });
        let (account, _) = (probe.register_with_email("mallory", "victim@example.com").await, ());
        let mut mallory = browser(&auth).await;
        assert_eq!(mallory.login("mallory", PASSWORD).await.status, 200);
        // The trojan identifier cannot be linked while the address is not proved.
        refused(&mallory.get("/auth/oauth/second?intent=link").await, 403, "address_not_proved");
        // As if an older version had allowed it.
        second.is("mallory at another provider", "", false);
        let mut other = mallory.stranger();
        let nobody = signed_in(&sign_in(&mut other, &second).await);
        let ids = (account.id(), nobody.parse::<portcullis::AccountId>().expect("an id"));
        let hex = |id: portcullis::AccountId| id.as_uuid().simple().to_string();
        let moves = match probe.database.backend {
            crate::support::Backend::Postgres => format!(
                "UPDATE auth_provider_identity SET account_id = '{}' WHERE account_id = '{}'", ids.0, ids.1),
            _ => format!(
                "UPDATE auth_provider_identity SET account_id = x'{}' WHERE account_id = x'{}'", hex(ids.0), hex(ids.1)),
        };
        probe.execute(&moves).await;
        assert_eq!(signed_in(&sign_in(&mut other, &second).await), account.id().to_string());
        liar.is("victim", "victim@example.com", true);
        let id = signed_in(&sign_in(&mut mallory.stranger(), &liar).await);
        assert_eq!(id, account.id().to_string());
        assert_eq!(identities(&probe).await, 1);
        assert_eq!(other.get("/me").await.status, 401);
        assert_ne!(signed_in(&sign_in(&mut other.stranger(), &second).await), id);
    }

    async fn a_provider_that_checks_no_addresses_hijacks_no_account(probe: Probe) {
        // The attacker comes first, with the victim's address, which the provider has not checked. Then the victim registers.
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, trusted(&liar));
        liar.is("mallory", "victim@example.com", false);
        let mut mallory = browser(&auth).await;
        let prepared = signed_in(&sign_in(&mut mallory, &liar).await);
        let victim = probe.register_with_email("victim", "victim@example.com").await;
        assert_ne!(victim.id().to_string(), prepared);
        // The attacker's identity stays with the attacker's account.
        assert_eq!(signed_in(&sign_in(&mut mallory.stranger(), &liar).await), prepared);
        assert_eq!(found(&auth, &prepared).await.email(), None);
        // An account whose owner has proved the address keeps everything when the provider vouches for it too.
        auth.accounts().verify(victim.id()).await.expect("it is verified");
        let mut browser = mallory.stranger();
        assert_eq!(browser.login("victim", PASSWORD).await.status, 200);
        liar.is("the victim", "victim@example.com", true);
        assert_eq!(signed_in(&sign_in(&mut mallory.stranger(), &liar).await), victim.id().to_string());
        assert_eq!(browser.get("/me").await.status, 200);
        assert_eq!(mallory.stranger().login("victim", PASSWORD).await.status, 200);
    }

    async fn a_service_that_needs_addresses_takes_only_trusted_ones(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = probe.rebuilt(|builder| {
            let configure = |config: &mut portcullis::Config| {
                crate::passkey::public(config);
                config.login.require_verified = true;
                config.login.registration = portcullis::config::Registration::Strict;
            };
            builder.configure(configure).provider(trusted(&liar))
        });
        let mut alice = browser(&auth).await;
        liar.is("alice", "alice@example.com", false);
        refused(&sign_in(&mut alice, &liar).await, 403, "verified_address_needed");
        assert_eq!(accounts(&probe).await, 0);
        liar.is("alice", "alice@example.com", true);
        let id = signed_in(&sign_in(&mut alice, &liar).await);
        assert_eq!(found(&auth, &id).await.email(), Some("alice@example.com"));
        // An unverified account that nobody can use has no claim to its address.
        let application = portcullis::registration::Application::new(
            portcullis::account::NewAccount::username("mallory").with_email("bob@example.com"),
            PASSWORD,
        );
        let client = portcullis::ClientInfo::default();
        auth.registration().apply(application, &client).await.expect("it is accepted");
        liar.is("bob", "bob@example.com", true);
        let bob = signed_in(&sign_in(&mut alice.stranger(), &liar).await);
        assert_eq!(found(&auth, &bob).await.email(), Some("bob@example.com"));
        refused(&alice.stranger().login("bob@example.com", PASSWORD).await, 401, "invalid_credentials");
    }
}
