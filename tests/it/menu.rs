//! Questions of menus: the permissions of a session, and what it may do.

use std::time::Duration;

use axum::routing::get;
use portcullis::account::NewAccount;
use portcullis::own_session::{Answer, Question};
use portcullis::permission::{Resource, RoleDefinition};
use portcullis::{Account, ClientInfo, Factor, Identity, Permission, Requirement};
use serde_json::{Value, json};

use crate::on_every_database;
use crate::support::call::cookie_of;
use crate::support::probe::serve;
use crate::support::{Browser, Probe, until};

const MINUTE: Duration = Duration::from_secs(60);

fn permission(text: &str) -> Permission {
    Permission::parse(text).expect("a permission")
}

/// Starts a session with this ceiling, and returns its browser.
async fn limited(probe: &Probe, account: &Account, ceiling: &[&str]) -> Browser {
    let start = probe.auth.sessions().start(account, &ClientInfo::default());
    let ceiling = ceiling.iter().map(|text| permission(text));
    let issued = start.ceiling(ceiling.collect::<Vec<_>>()).factor(Factor::Password).await;
    let cookie = cookie_of(&issued.expect("a session"));
    let token = cookie.split_once('=').map(|(_, token)| token).expect("a token");
    probe.browser().await.with_cookie(token)
}

/// The member `permissions`, as superuser, list and truncated.
async fn allowed(browser: &mut Browser) -> (bool, Vec<String>, bool) {
    let answer = browser.get("/auth/session?permissions=true").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let told = answer.json()["permissions"].clone();
    let list = told["allowed"].as_array().expect("a list").iter();
    let list = list.map(|text| text.as_str().expect("a text").to_owned()).collect();
    let flag = |name: &str| told[name].as_bool().expect("a flag");
    (flag("superuser"), list, flag("truncated"))
}

async fn may(browser: &mut Browser, questions: Value) -> (u16, Value) {
    let answer = browser.post("/auth/session/may", json!({ "questions": questions })).await;
    (answer.status, answer.json())
}

/// The outcomes of questions about these permissions.
async fn outcomes(browser: &mut Browser, permissions: &[&str]) -> Vec<String> {
    let questions = permissions.iter().map(|text| json!({ "permission": text })).collect();
    let (status, body) = may(browser, questions).await;
    assert_eq!(status, 200, "{body}");
    let answers = body["answers"].as_array().expect("answers").iter();
    answers.map(|answer| answer["outcome"].as_str().expect("an outcome").to_owned()).collect()
}

/// Gives an account one permission in each possible way.
async fn by_every_way(probe: &Probe, account: &Account) {
    let auth = &probe.auth;
    let roles = [
        RoleDefinition::new("reader", ["doc:read"]),
        RoleDefinition::new("staff", ["printer:print", "doc:read"]),
        RoleDefinition::new("keeper", ["list:edit", "doc:delete"]),
        RoleDefinition::new("viewer", ["list:read"]),
    ];
    auth.roles().define(roles).await.expect("defined");
    auth.roles().grant(account.id(), "reader").await.expect("granted");
    auth.groups().create("people").await.expect("a group");
    auth.groups().grant("people", "staff").await.expect("granted");
    auth.groups().join("people", account.id()).await.expect("joined");
    let seven = Resource::new("list", "7").expect("a resource");
    auth.roles().grant_on(account.id(), "keeper", &seven).await.expect("granted");
    auth.permissions().grant(account.id(), &permission("admin:*:eu")).await.expect("granted");
    let eight = Resource::new("list", "8").expect("a resource");
    auth.memberships().grant(account.id(), &eight, "viewer").await.expect("granted");
}

on_every_database! {
    async fn a_session_lists_what_it_may_do_by_every_way(probe: Probe) {
        let probe = probe.configured(|config| {
            config.permission.levels.insert("list".to_owned(), vec!["viewer".to_owned()]);
        });
        let (alice, mut browser) = probe.signed_in("alice").await;
        assert_eq!(allowed(&mut browser).await, (false, vec![], false));
        by_every_way(&probe, &alice).await;
        let all = ["admin:*:eu", "doc:read", "list:edit:7", "list:read:8", "printer:print"];
        let all: Vec<_> = all.map(str::to_owned).to_vec();
        assert_eq!(allowed(&mut browser).await, (false, all, false));

        // Only who asks for it gets it.
        for path in ["/auth/session", "/auth/session?permissions=false", "/auth/session?_=123"] {
            assert_eq!(browser.get(path).await.json().get("permissions"), None, "{path}");
        }
        for query in ["permissions", "permissions=1", "permissions=true&permissions=true"] {
            let answer = browser.get(&format!("/auth/session?{query}")).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_body"), "{query}");
        }
        let refused = browser.stranger().get("/auth/session?permissions=true").await;
        assert_eq!((refused.status, refused.code().as_str()), (401, "not_signed_in"));

        // A change takes effect on the next request.
        probe.auth.roles().delete("staff").await.expect("deleted");
        probe.auth.permissions().revoke(alice.id(), &permission("admin:*:eu")).await.expect("revoked");
        let (_, left, _) = allowed(&mut browser).await;
        assert_eq!(left, ["doc:read", "list:edit:7", "list:read:8"]);
    }

    async fn the_ceiling_of_a_session_limits_its_list_and_its_answers(probe: Probe) {
        let probe = probe.configured(|config| {
            config.permission.levels.insert("list".to_owned(), vec!["viewer".to_owned()]);
        });
        let (alice, _) = probe.signed_in("alice").await;
        by_every_way(&probe, &alice).await;
        for (ceiling, expected) in [
            (&["doc"][..], &["doc:read"][..]),
            (&["doc:read:5"], &["doc:read:5"]),
            (&["doc:delete", "list"], &["list:edit:7", "list:read:8"]),
            (&["*:edit"], &["admin:edit:eu", "list:edit:7"]),
            (&["*:*:7,8"], &["doc:read:7,8", "list:edit:7", "list:read:8", "printer:print:7,8"]),
            (&["doc:write", "nothing"], &[]),
            (&["*"], &["admin:*:eu", "doc:read", "list:edit:7", "list:read:8", "printer:print"]),
        ] {
            let alice = probe.auth.accounts().find(alice.id()).await.expect("it answers");
            let mut browser = limited(&probe, &alice.expect("alice"), ceiling).await;
            let (superuser, list, truncated) = allowed(&mut browser).await;
            assert_eq!((superuser, truncated), (false, false), "{ceiling:?}");
            assert_eq!(list, expected, "{ceiling:?}");
            // Everything in the list is allowed. A slightly wider permission is not.
            if !expected.is_empty() {
                let met = outcomes(&mut browser, expected).await;
                assert!(met.iter().all(|outcome| outcome == "met"), "{ceiling:?}: {met:?}");
            }
            let one = if ceiling.contains(&"*") { "met" } else { "denied" };
            assert_eq!(outcomes(&mut browser, &["doc:read", "doc:delete"]).await, [
                if ceiling.contains(&"doc") { "met" } else { one },
                "denied",
            ], "{ceiling:?}");
        }
    }

    async fn a_superuser_may_everything_as_far_as_the_ceiling_goes(probe: Probe) {
        let (root, mut browser) = probe.signed_in("root").await;
        probe.auth.permissions().grant(root.id(), &permission("doc:read")).await.expect("granted");
        probe.auth.accounts().set_superuser(root.id(), true).await.expect("a superuser");
        assert_eq!(allowed(&mut browser).await, (true, vec!["*".to_owned()], false));
        assert_eq!(outcomes(&mut browser, &["any:thing"]).await, ["met"]);

        let root = probe.auth.accounts().find(root.id()).await.expect("it answers").expect("root");
        let mut browser = limited(&probe, &root, &["doc", "list:read:7"]).await;
        let list = vec!["doc".to_owned(), "list:read:7".to_owned()];
        assert_eq!(allowed(&mut browser).await, (false, list, false), "not everything");
        let answers = outcomes(&mut browser, &["doc:read", "list:read", "any:thing"]).await;
        assert_eq!(answers, ["met", "denied", "denied"]);
        let mut browser = limited(&probe, &root, &["*"]).await;
        assert_eq!(allowed(&mut browser).await, (true, vec!["*".to_owned()], false));
    }

    async fn a_list_of_thousands_ends_and_says_so(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let grant = async |from: usize, to: usize| {
            let rows: Vec<_> = (from..to)
                .map(|number| format!("((SELECT id FROM auth_account), 'doc:read:{number:05}', 0)"))
                .collect();
            let insert = "INSERT INTO auth_account_permission (account_id, permission, granted_at)";
            probe.execute(&format!("{insert} VALUES {}", rows.join(", "))).await;
            probe.execute("UPDATE auth_account SET version = version + 1").await;
        };
        grant(0, 500).await;
        let (_, list, truncated) = allowed(&mut browser).await;
        assert_eq!((list.len(), truncated), (500, false));
        grant(500, 3_000).await;
        let answer = browser.get("/auth/session?permissions=true").await;
        assert!(answer.text.len() < 20_000, "{} bytes", answer.text.len());
        let (_, list, truncated) = allowed(&mut browser).await;
        assert_eq!((list.len(), truncated), (500, true));
        assert_eq!((&*list[0], &*list[499]), ("doc:read:00000", "doc:read:00499"));
        // Questions about other permissions still get an answer.
        assert_eq!(outcomes(&mut browser, &["doc:read:02999", "doc:read:03000"]).await, ["met", "denied"]);

        // The work has a limit, also with a wide ceiling.
        let ceiling: Vec<_> = (0..200).map(|number| format!("doc:read:{:05}", number * 15)).collect();
        let ceiling: Vec<&str> = ceiling.iter().map(String::as_str).collect();
        let alice = probe.auth.accounts().find(alice.id()).await.expect("it answers").expect("alice");
        let mut browser = limited(&probe, &alice, &ceiling).await;
        let (_, list, truncated) = allowed(&mut browser).await;
        assert!(truncated, "600 000 pairs are too many");
        assert!(list.iter().all(|text| ceiling.contains(&text.as_str())), "{list:?}");
    }

    async fn a_menu_is_answered_in_the_words_of_the_guards(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        for text in ["doc:read", "doc:edit:42", "account:transfer"] {
            probe.auth.permissions().grant(alice.id(), &permission(text)).await.expect("granted");
        }
        // The same rules, as guards.
        let rules = [
            ("doc:delete", Requirement::permission("doc:delete").expect("a rule")),
            ("pay", Requirement::all([
                Requirement::permission("account:transfer").expect("a rule"),
                Requirement::within(5 * MINUTE),
            ]).expect("a rule")),
            ("vault", Requirement::all([
                Requirement::permission("account:transfer").expect("a rule"),
                Requirement::factor(Factor::Totp),
            ]).expect("a rule")),
        ];
        let mut router = axum::Router::new();
        for (name, rule) in &rules {
            let guarded = get(async || "done").route_layer(probe.auth.require(rule.clone()));
            router = router.route(&format!("/{name}"), guarded);
        }
        let app = router.nest("/auth", probe.auth.routes()).layer(probe.auth.layer());
        browser.address = serve(app).await;
        let questions = json!([
            { "permission": "doc:read" },
            { "permission": "doc:read", "id": "7" },
            { "permission": "doc:edit" },
            { "permission": "doc:edit", "id": "42" },
            { "permission": "doc:edit", "id": "43" },
            { "permission": "doc:read,edit", "id": "42" },
            { "permission": "doc:delete" },
            { "permission": "account:transfer", "max_age": 300 },
            { "permission": "account:transfer", "factor": "totp" },
            { "permission": "doc:delete", "factor": "totp", "max_age": 300 },
            { "permission": "account:transfer", "factor": "password", "max_age": 300 },
        ]);
        let denied = json!({
            "outcome": "denied", "code": "denied", "detail": "this account is not allowed to do this",
        });
        let met = json!({ "outcome": "met" });
        let enrol = json!({
            "outcome": "step_up", "code": "insufficient_user_authentication",
            "detail": "set up first: totp", "factors": [], "enrol": ["totp"],
        });
        let (status, body) = may(&mut browser, questions.clone()).await;
        assert_eq!(status, 200, "{body}");
        let answers = body["answers"].as_array().expect("answers").clone();
        let expected =
            [&met, &met, &denied, &met, &denied, &met, &denied, &met, &enrol, &denied, &met];
        assert_eq!(answers.iter().collect::<Vec<_>>(), expected);

        // Later the factor is too old. Guard and menu give the same answer.
        probe.clock.advance(6 * MINUTE);
        let (_, body) = may(&mut browser, questions).await;
        for (path, index) in [("/doc:delete", 6), ("/pay", 7), ("/vault", 8)] {
            let refused = browser.get(path).await.json();
            let answer = &body["answers"][index];
            for member in ["code", "detail", "factors", "acr_values", "enrol", "max_age"] {
                assert_eq!(answer.get(member), refused.get(member), "{path} {member}");
            }
        }
        assert_eq!(body["answers"][7]["outcome"], "step_up");
        assert_eq!(body["answers"][7]["max_age"], 300);
        assert_eq!(body["answers"][3], met, "a permission alone does not age");
        // Questions are no denials: only the three requests are counted.
        probe.auth.audit_log().flush().await;
        let denials =
            async || probe.auth.audit_log().denials_of(alice.id()).await.expect("the log");
        // A separate task writes the first denial of a minute.
        until("it is counted", async || !denials().await.is_empty()).await;
        let denials = denials().await;
        assert!(denials.iter().all(|(rule, _)| rule.contains("doc:delete")), "{denials:?}");
    }

    async fn bad_questions_are_refused_and_the_answer_says_which(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let fine = json!({ "permission": "doc:read" });
        // 81 at once.
        let many = "doc:a,b,c,d,e,f,g,h,i:a,b,c,d,e,f,g,h,i";
        for wrong in ["", "doc:", "doc::read", "do*", "doc read", "doc,", &"x".repeat(257), many] {
            let (status, body) = may(&mut browser, json!([fine, fine, { "permission": wrong }])).await;
            assert_eq!((status, &body["code"]), (422, &json!("invalid_permission")), "{wrong:?}: {body}");
            assert_eq!(body["question"], 2, "{wrong}");
            let detail = body["detail"].as_str().expect("a detail");
            assert!(detail.starts_with("questions[2]: "), "{detail}");
            assert!(body.get("answers").is_none(), "the others are not answered");
        }
        for id in ["", "*", "1,2", "x:y", "a b", "a\u{200b}", &"x".repeat(257)] {
            let question = json!({ "permission": "doc:read", "id": id });
            let (status, body) = may(&mut browser, json!([question])).await;
            assert_eq!((status, &body["code"]), (422, &json!("invalid_permission")), "{id:?}: {body}");
            assert_eq!(body["question"], 0, "{id}");
        }
        for (count, expected) in [(0, 200), (64, 200), (65, 422), (300, 422)] {
            let (status, body) = may(&mut browser, vec![fine.clone(); count].into()).await;
            assert_eq!(status, expected, "{count}: {body}");
            if expected == 422 {
                assert_eq!(body["code"], "too_many_questions");
            } else {
                assert_eq!(body["answers"].as_array().map(Vec::len), Some(count));
            }
        }
        for body in [
            json!({}),
            json!({ "questions": "doc:read" }),
            json!({ "questions": ["doc:read"] }),
            json!({ "questions": [{ "id": "7" }] }),
            json!({ "questions": [{ "permission": "doc:read", "role": "x" }] }),
            json!({ "questions": [{ "permission": "doc:read", "factor": "magic" }] }),
            json!({ "questions": [{ "permission": "doc:read", "max_age": -1 }] }),
            json!({ "questions": [], "account": "bob" }),
        ] {
            let answer = browser.post("/auth/session/may", body.clone()).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_body"), "{body}");
        }
        let stranger = &mut browser.stranger();
        let answer = stranger.post("/auth/session/may", json!({ "questions": [fine] })).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "not_signed_in"));
        assert_eq!(stranger.post_empty("/auth/session/anonymous").await.status, 201);
        let answer = stranger.post("/auth/session/may", json!({ "questions": [fine] })).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "not_signed_in"));
    }

    async fn a_menu_costs_no_statement_of_its_own(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        probe.auth.permissions().grant(alice.id(), &permission("doc:read")).await.expect("granted");
        assert_eq!(allowed(&mut browser).await.1, ["doc:read"]);
        let (_, statements) = probe.statements(allowed(&mut browser)).await;
        assert_eq!(statements, 1);
        let questions: Vec<_> =
            (0..64).map(|id| json!({ "permission": "doc:read,edit", "id": id.to_string() })).collect();
        let ((status, _), statements) =
            probe.statements(may(&mut browser, questions.into())).await;
        assert_eq!((status, statements), (200, 1));
    }

    async fn a_handler_asks_in_the_same_way(probe: Probe) {
        let account = probe.auth.accounts().create(NewAccount::username("alice")).await;
        let account = account.expect("an account");
        probe.auth.permissions().grant(account.id(), &permission("doc:read")).await.expect("granted");
        let app = axum::Router::new()
            .route("/menu", get(async |identity: Identity| {
                let questions = [
                    Question::new("doc:read").on("7"),
                    Question::new("doc:edit"),
                    Question::new("doc:read").factor(Factor::Totp).within(MINUTE),
                ];
                let answers = identity.may(&questions).expect("good questions");
                let Answer::StepUp(needed) = &answers[2] else { panic!("{answers:?}") };
                assert_eq!((&*needed.enrol, needed.max_age), (&[Factor::Totp][..], Some(MINUTE)));
                assert_eq!(answers[..2], [Answer::Met, Answer::Denied]);
                let effective = identity.effective_permissions();
                assert_eq!(effective.permissions, [permission("doc:read")]);
                "asked"
            }))
            .layer(probe.auth.layer());
        let mut browser = limited(&probe, &account, &["*"]).await;
        browser.address = serve(app).await;
        assert_eq!(browser.get("/menu").await.text, "asked");
    }
}
