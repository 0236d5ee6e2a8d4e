//! What a job may do. It runs for an account and has no session.

use std::time::Duration;

use portcullis::permission::Resource;
use portcullis::{
    AccountId, ClientInfo, Factor, Identity, Instances, JobError, JobIdentity, Outcome, Permission,
    Problem, Requirement,
};

use crate::on_every_database;
use crate::support::call::{cookie_of, extracted};
use crate::support::{Probe, until};

fn may(text: &str) -> Requirement {
    Requirement::permission(text).expect("a permission")
}

fn permission(text: &str) -> Permission {
    Permission::parse(text).expect("a permission")
}

fn not(part: Requirement) -> Requirement {
    Requirement::not(part).expect("no factor is inside")
}

fn recently() -> Requirement {
    Requirement::within(Duration::from_secs(3600))
}

async fn job(probe: &Probe, account: AccountId) -> JobIdentity {
    probe.auth.job_identity(account).await.expect("the account can be used")
}

/// Returns the code of the error. It is empty if there is none.
async fn refusal(probe: &Probe, account: AccountId) -> &'static str {
    probe.auth.job_identity(account).await.err().map_or("", |error| error.code())
}

on_every_database! {
    async fn a_job_may_do_what_its_account_may_do_at_this_moment(probe: Probe) {
        let mut probe = probe;
        probe.auth = probe.rebuilt(|builder| builder.levels("list", ["viewer", "owner"]));
        let (alice, mut browser) = probe.signed_in("alice").await;
        let id = alice.id();
        let auth = &probe.auth;
        let (list, direct) = (Resource::new("list", "7").expect("a resource"), permission("doc:write:1"));
        auth.roles().create("reader", ["doc:read"]).await.expect("a role");
        auth.roles().create("viewer", ["list:read"]).await.expect("a role");
        auth.roles().create("printer", ["printer:print"]).await.expect("a role");
        auth.groups().create("staff").await.expect("a group");
        auth.groups().grant("staff", "printer").await.expect("it is granted");

        let before = job(&probe, id).await;
        let asked = ["doc:read", "doc:write:1", "list:read:7", "printer:print"].map(may);
        assert!(asked.iter().all(|rule| !before.meets(rule)));
        auth.roles().grant(id, "reader").await.expect("it is granted");
        auth.permissions().grant(id, &direct).await.expect("it is granted");
        auth.memberships().grant(id, &list, "viewer").await.expect("it is granted");
        auth.groups().join("staff", id).await.expect("she joins");

        // One statement, whether the grants are remembered or not.
        for _ in 0..2 {
            let (found, statements) = probe.statements(auth.job_identity(id)).await;
            let found = found.expect("the account can be used");
            assert_eq!(statements, 1);
            for rule in &asked {
                assert!(found.meets(rule) && found.require(rule).is_ok(), "{rule}");
            }
            assert!(found.has_role("list-7-viewer") && found.has_role("reader"));
            assert!(found.meets(&Requirement::signed_in()));
            assert!(!found.meets(&may("doc:write:2")) && !found.meets(&may("list:read:8")));
            assert!(!found.has_role("list-7-owner") && !found.meets(&may("admin:read")));
            assert_eq!(found.account(), &auth.accounts().find(id).await.expect("an answer").expect("alice"));
            assert_eq!(found.instances(&permission("doc:read")), Instances::All);
            assert_eq!(found.instances(&permission("doc:write")), Instances::Only(["1".to_owned()].into()));
        }
        // A request uses the grants that a job has loaded.
        let (answer, statements) = probe.statements(browser.get("/docs/1")).await;
        assert_eq!((answer.status, statements), (200, 1));
        // The old value does not change, and the next call finds the change.
        assert!(asked.iter().all(|rule| !before.meets(rule)));
        let before = job(&probe, id).await;
        auth.roles().revoke(id, "reader").await.expect("it is revoked");
        assert!(before.meets(&asked[0]) && !job(&probe, id).await.meets(&asked[0]));
        probe.superuser("root").await;
        auth.accounts().set_superuser(id, true).await.expect("she may do everything");
        let found = job(&probe, id).await;
        assert!(found.meets(&may("admin:read")) && found.instances(&permission("doc:read")) == Instances::All);
        auth.accounts().set_superuser(id, false).await.expect("she may not");
        assert!(!job(&probe, id).await.meets(&may("admin:read")));
    }

    async fn a_node_that_remembers_no_grants_decides_the_same(probe: Probe) {
        let mut probe = probe;
        let alice = probe.register("alice").await.id();
        probe.auth.roles().create("reader", ["doc:read"]).await.expect("a role");
        probe.auth.roles().grant(alice, "reader").await.expect("it is granted");
        probe.auth = probe.rebuilt(|builder| {
            builder.configure(|config| config.database.remembered_grants = 0)
        });
        let (found, statements) = probe.statements(probe.auth.job_identity(alice)).await;
        let found = found.expect("the account can be used");
        assert_eq!(statements, 1);
        assert!(found.meets(&may("doc:read")) && !found.meets(&may("doc:write")));
    }

    async fn an_account_that_cannot_be_used_gets_no_job(probe: Probe) {
        let alice = probe.register_with_email("alice", "alice@example.com").await.id();
        let accounts = probe.auth.accounts();
        assert_eq!(refusal(&probe, alice).await, "");
        accounts.disable(alice).await.expect("it is disabled");
        assert_eq!(refusal(&probe, alice).await, "account_disabled");
        accounts.enable(alice).await.expect("it is enabled");
        assert_eq!(refusal(&probe, alice).await, "");
        let tomorrow = probe.auth_now().plus(Duration::from_secs(24 * 60 * 60));
        accounts.disable_from(alice, tomorrow).await.expect("it will be disabled");
        assert_eq!(refusal(&probe, alice).await, "");
        probe.clock.advance(Duration::from_secs(24 * 60 * 60));
        assert_eq!(refusal(&probe, alice).await, "account_disabled");
        accounts.enable(alice).await.expect("it is enabled");
        accounts.delete(alice).await.expect("it is deleted");
        assert_eq!(refusal(&probe, alice).await, "account_not_found");
        let nobody = AccountId::from(uuid::Uuid::from_u128(7));
        assert_eq!(refusal(&probe, nobody).await, "account_not_found");
        assert!(matches!(probe.auth.job_identity(nobody).await, Err(JobError::NotFound)));

        // An address that must be verified, and is not.
        let bob = probe.register_with_email("bob", "bob@example.com").await.id();
        let probe = probe.configured(|config| config.login.require_verified = true);
        assert_eq!(refusal(&probe, bob).await, "account_not_verified");
        probe.auth.accounts().verify(bob).await.expect("it is verified");
        assert_eq!(refusal(&probe, bob).await, "");
        // It does not matter whether the person could sign in now.
        probe.auth.accounts().require_password_change(bob).await.expect("it is required");
        assert_eq!(refusal(&probe, bob).await, "");
    }

    async fn a_job_meets_no_factor_and_no_rule_that_looks_at_a_session(probe: Probe) {
        let alice = probe.register("alice").await;
        probe.auth.permissions().grant(alice.id(), &permission("doc:read")).await.expect("it is granted");
        let client = ClientInfo::default();
        let session = probe.auth.sessions().start(&alice, &client).factor(Factor::Password).await;
        let session: Identity = extracted(&probe.auth, &cookie_of(&session.expect("a session"))).await;
        let job = job(&probe, alice.id()).await;
        let any = |parts: [Requirement; 2]| Requirement::any(parts).expect("a list");
        let all = |parts: [Requirement; 2]| Requirement::all(parts).expect("a list");
        let custom = |holds| Requirement::custom("own", move |_| holds);
        let never = Requirement::role("nobody");
        // Each rule, what a session meets, and what a job meets.
        for (rule, by_session, by_job) in [
            (may("doc:read"), true, true),
            (recently(), true, false),
            (Requirement::factor(Factor::Password), true, false),
            (Requirement::factor_within(Factor::Password, Duration::from_secs(60)), true, false),
            (all([may("doc:read"), recently()]), true, false),
            (any([may("doc:read"), recently()]), true, true),
            (any([may("doc:write"), recently()]), true, false),
            (custom(true), true, false),
            (custom(false), false, false),
            (not(custom(false)), true, false),
            (not(not(custom(true))), true, false),
            (not(all([never.clone(), custom(true)])), true, false),
            (any([may("doc:read"), not(custom(false))]), true, true),
            (not(Requirement::role("suspended")), true, true),
            (not(may("doc:read")), false, false),
            (not(Requirement::signed_in()), false, false),
        ] {
            assert_eq!(session.meets(&rule), by_session, "{rule}");
            let expected = if by_job { Outcome::Met } else { Outcome::Denied };
            assert_eq!(job.check(&rule), expected, "{rule}");
            assert_eq!(job.explain(&rule).outcome, expected, "{rule}");
            assert_eq!(job.require(&rule).map_err(|error| error.code()).err(), (!by_job).then_some("denied"));
        }
        for rule in [recently(), custom(true), not(custom(false)), Requirement::factor(Factor::Totp)] {
            let text = job.explain(&rule).to_string();
            assert!(text.contains("job"), "{text}");
        }
        // Enrolled factors change nothing: no step-up would help a job.
        probe.auth.accounts().set_enrolled_factors(alice.id(), [Factor::Totp]).await.expect("it is set");
        let job = self::job(&probe, alice.id()).await;
        assert_eq!(job.check(&Requirement::factor(Factor::Totp)), Outcome::Denied);
        assert!(job.meets(&may("doc:read")));
    }

    async fn a_limit_only_takes_away(probe: Probe) {
        let alice = probe.register("alice").await.id();
        for text in ["doc:read:1", "doc:read:2", "doc:write", "list"] {
            probe.auth.permissions().grant(alice, &permission(text)).await.expect("it is granted");
        }
        probe.auth.roles().create("suspended", ["none:none"]).await.expect("a role");
        probe.auth.roles().grant(alice, "suspended").await.expect("it is granted");
        let full = job(&probe, alice).await;
        let limited = full.clone().limited_to([permission("doc:read"), permission("admin:read")]);
        // Each rule, without a limit, with one, with a wide second one, and with an empty one.
        let again = limited.clone().limited_to([permission("*")]);
        let other = limited.clone().limited_to([permission("doc:read:2")]);
        let nothing = full.clone().limited_to([]);
        for (rule, expected) in [
            (may("doc:read:1"), [true, true, true, false, false]),
            (may("doc:read:2"), [true, true, true, true, false]),
            (may("doc:write"), [true, false, false, false, false]),
            (may("admin:read"), [false; 5]),
            (Requirement::role("suspended"), [true, false, false, false, false]),
            (not(Requirement::role("suspended")), [false; 5]),
            (not(may("doc:write")), [false; 5]),
            (Requirement::signed_in(), [true; 5]),
        ] {
            let found = [&full, &limited, &again, &other, &nothing].map(|job| job.meets(&rule));
            assert_eq!(found, expected, "{rule}");
        }
        let ids = |job: &JobIdentity| match job.instances(&permission("doc:read")) {
            Instances::All => "all".to_owned(),
            Instances::Only(ids) => ids.into_iter().collect::<Vec<_>>().join(" "),
        };
        assert_eq!([&full, &limited, &other, &nothing].map(ids), ["1 2", "1 2", "2", ""]);
        let text = nothing.explain(&may("doc:write")).to_string();
        assert!(text.contains("the ceiling does not cover"), "{text}");
        // A superuser below a limit is limited too.
        probe.auth.accounts().set_superuser(alice, true).await.expect("she may do everything");
        let root = job(&probe, alice).await;
        assert!(root.meets(&may("admin:write")));
        let root = root.limited_to([permission("doc:read")]);
        assert!(root.meets(&may("doc:read:9")) && !root.meets(&may("admin:write")));
    }

    async fn a_denial_of_a_job_says_that_it_was_a_job(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let job = job(&probe, alice.id()).await;
        let rules = async || {
            probe.auth.audit_log().flush().await;
            let mut found = probe.auth.audit_log().denials_of(alice.id()).await.expect("the log");
            found.sort();
            found
        };
        // `check` counts no denial, and neither does a requirement that is met.
        assert!(!job.meets(&may("admin:read")) && job.check(&may("admin:read")) == Outcome::Denied);
        assert!(job.require(&Requirement::signed_in()).is_ok());
        assert_eq!(rules().await, []);
        assert!(job.require(&may("admin:read")).is_err());
        assert!(job.require(&may("admin:read")).is_err());
        assert_eq!(browser.get("/admin").await.status, 403);
        let expected = [("job(permission(admin:read))", 2), ("permission(admin:read)", 1)];
        let expected = expected.map(|(rule, count)| (rule.to_owned(), count));
        until("the denials are counted", async || rules().await == expected).await;
        // The debug output of the value contains no name.
        assert!(!format!("{job:?}").contains("alice"));
    }

    async fn an_outage_is_no_refusal(probe: Probe) {
        let alice = probe.register("alice").await.id();
        let before = job(&probe, alice).await;
        probe.db.close_by_ref().await.expect("it closes");
        let error = probe.auth.job_identity(alice).await.expect_err("the database is gone");
        assert!(matches!(error, JobError::Fault(_)), "{error:?}");
        assert_eq!((error.status().as_u16(), error.code()), (503, "unavailable"));
        // The old value is still valid for its moment.
        assert!(before.meets(&Requirement::signed_in()));
    }
}
