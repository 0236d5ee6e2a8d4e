//! The permissions that the code declares, and grants of permissions that it does not declare.

use portcullis::permission::{Doubtful, GrantError};
use portcullis::{Permission, Portcullis, Problem};

use crate::on_every_database;

mod declared {
    portcullis::permissions! {
        doc:
            /// Reads documents.
            Read,
            /// Changes documents,
            /// and their titles.
            Edit;
        admin = "administration": Everything;
    }
}

/// Returns the rows of the table: text and description.
async fn stored(auth: &Portcullis) -> Vec<(String, Option<String>)> {
    let known = auth.catalogue().list().await.expect("it answers");
    known.into_iter().map(|known| (known.permission.to_string(), known.description)).collect()
}

fn texts(doubtful: &[Doubtful]) -> Vec<String> {
    doubtful.iter().map(ToString::to_string).collect()
}

/// Returns the text of a finding, if there is one.
fn finding(auth: &Portcullis, code: &str) -> Option<String> {
    let findings = auth.audit();
    let mut found = findings.iter().filter(|finding| finding.code == code);
    let first = found.next().map(|finding| finding.text.clone());
    assert!(found.next().is_none(), "each is there once");
    first
}

on_every_database! {
    async fn what_the_code_declares_is_added_and_described_and_never_deleted_by_itself(probe: Probe) {
        let catalogue = probe.auth.catalogue();
        let synced = catalogue.sync(declared::CATALOGUE).await.expect("it is written");
        assert_eq!(synced.added, ["administration:everything", "doc:edit", "doc:read"]);
        assert!(synced.undeclared.is_empty() && synced.doubtful.is_empty());
        let all = [
            ("administration:everything".to_owned(), None),
            ("doc:edit".to_owned(), Some("Changes documents, and their titles.".to_owned())),
            ("doc:read".to_owned(), Some("Reads documents.".to_owned())),
        ];
        assert_eq!(stored(&probe.auth).await, all);

        // A second sync changes nothing and writes nothing, and neither does a sync without
        // descriptions.
        for _ in 0..2 {
            let synced = catalogue.sync(declared::CATALOGUE).await.expect("it is the same");
            assert!(synced.added.is_empty());
            let synced = catalogue.sync(declared::ALL).await.expect("it is the same");
            assert!(synced.added.is_empty() && synced.undeclared.is_empty());
        }
        assert_eq!(stored(&probe.auth).await, all);
        let events = "SELECT COUNT(*) FROM auth_event WHERE kind = 'catalogue_changed'";
        assert_eq!(probe.number(events).await, 1);

        // Another version of the code. Permissions that it does not declare stay.
        let next = [("doc:read", "Reads all there is."), ("doc:print", "")];
        let synced = catalogue.sync(next).await.expect("it is written");
        assert_eq!(synced.added, ["doc:print"]);
        assert_eq!(synced.undeclared, ["administration:everything", "doc:edit"]);
        assert_eq!(stored(&probe.auth).await.len(), 4);
        assert_eq!(stored(&probe.auth).await[3].1.as_deref(), Some("Reads all there is."));
        let nothing: [&str; 0] = [];
        let synced = catalogue.sync(nothing).await.expect("nothing is declared");
        assert_eq!((synced.added.len(), synced.undeclared.len()), (0, 4));

        // `prune` deletes them.
        let gone = catalogue.prune(next).await.expect("they are deleted");
        assert_eq!(gone, ["administration:everything", "doc:edit"]);
        assert!(catalogue.prune(next).await.expect("nothing is left").is_empty());
        assert_eq!(stored(&probe.auth).await.len(), 2);
        assert_eq!(probe.number(events).await, 3);
    }

    async fn what_is_no_permission_is_refused_and_nothing_is_written(probe: Probe) {
        let catalogue = probe.auth.catalogue();
        for wrong in ["", "doc:", "doc::read", "do*", "doc read", "doc,", &"x".repeat(257)] {
            for refused in [
                catalogue.sync(["doc:read", wrong]).await.map(drop),
                catalogue.prune([wrong]).await.map(drop),
            ] {
                let Err(error @ GrantError::InvalidPermission { .. }) = refused else {
                    panic!("{wrong:?}: {refused:?}")
                };
                assert_eq!(error.status().as_u16(), 422);
            }
        }
        assert!(stored(&probe.auth).await.is_empty());
        let (long, text) = ("x".repeat(256), "é' \" ; -- 😀".repeat(2_000));
        let _ = catalogue.sync([(&*long, &*text)]).await.expect("it fits");
        let kept = stored(&probe.auth).await;
        assert_eq!(kept[0].0, long);
        assert!(kept[0].1.as_ref().is_some_and(|kept| text.starts_with(kept) && kept.len() > 4_000));
    }

    async fn grants_that_mention_what_no_code_knows_are_reported_until_they_are_mended(probe: Probe) {
        let auth = &probe.auth;
        let manage = auth.roles();
        let many: Vec<_> = (0..9).map(|number| format!("a{number}")).collect();
        let many = format!("doc:{}:{}", many.join(","), many.join(","));
        for (name, permissions) in [
            ("fine", vec!["doc:read", "doc", "*", "doc:*:7", "doc:edit:42,43", "*:read", "doc:read,edit"]),
            ("typo", vec!["doc:raed", "doc:read"]),
            ("half", vec!["doc:read,delete"]),
            ("other", vec!["dco"]),
            ("many", vec![&*many]),
        ] {
            manage.create(name, permissions).await.expect("any permission can be granted");
        }
        let (alice, mut browser) = probe.signed_in("alice").await;
        for text in ["doc:frobnicate", "doc:read:1"] {
            let direct = Permission::parse(text).expect("a permission");
            auth.permissions().grant(alice.id(), &direct).await.expect("it is granted");
        }
        // An empty catalogue cannot compare, so it finds nothing.
        assert!(auth.catalogue().check().await.expect("it answers").is_empty());
        assert_eq!(finding(auth, "unknown_permissions"), None);

        let synced = auth.catalogue().sync(declared::ALL).await.expect("it is written");
        let mut found = texts(&synced.doubtful);
        found.sort();
        let shortened: String = many.chars().take(64).collect();
        assert_eq!(found, [
            "\"dco\" in role \"other\"",
            &format!("\"{shortened}\" in role \"many\""),
            "\"doc:frobnicate\" granted directly",
            "\"doc:raed\" in role \"typo\"",
            "\"doc:read,delete\" in role \"half\"",
        ]);
        let text = finding(auth, "unknown_permissions").expect("an operator is told");
        assert!(text.contains("\"doc:raed\" in role \"typo\""), "{text}");
        assert_eq!(finding(auth, "malformed_permissions"), None);

        // A misspelt permission grants what it says, and not what was meant.
        manage.grant(alice.id(), "typo").await.expect("it is granted");
        manage.set_permissions("typo", ["doc:raed"]).await.expect("it is changed");
        assert_eq!(browser.get("/docs/2").await.status, 403);
        assert_eq!(browser.get("/docs/1").await.status, 200);

        // Corrected grants are no longer reported.
        for name in ["half", "other", "many"] {
            manage.delete(name).await.expect("it is deleted");
        }
        manage.set_permissions("typo", ["doc:read"]).await.expect("it is mended");
        let left = auth.catalogue().check().await.expect("it answers");
        assert_eq!(texts(&left), ["\"doc:frobnicate\" granted directly"]);
        let text = finding(auth, "unknown_permissions").expect("one is left");
        assert!(text.contains("frobnicate") && !text.contains("raed"), "{text}");
        let direct = Permission::parse("doc:frobnicate").expect("a permission");
        auth.permissions().revoke(alice.id(), &direct).await.expect("it is revoked");
        assert!(auth.catalogue().check().await.expect("it answers").is_empty());
        assert_eq!(finding(auth, "unknown_permissions"), None);
    }

    async fn stored_permissions_that_cannot_be_read_are_reported_and_grant_nothing(probe: Probe) {
        let auth = &probe.auth;
        let (alice, mut browser) = probe.signed_in("alice").await;
        auth.roles().create("old", ["doc:read"]).await.expect("it is made");
        auth.roles().grant(alice.id(), "old").await.expect("it is granted");
        probe.execute("UPDATE auth_role SET permissions = 'admin: doc:edit ** doc::read'").await;
        probe.execute(
            "INSERT INTO auth_account_permission (account_id, permission, granted_at) \
             SELECT id, 'admin:', 0 FROM auth_account"
        ).await;
        probe.execute("UPDATE auth_epoch SET version = version + 1").await;
        // They are found with an empty catalogue and with a filled one.
        for declare in [false, true] {
            let doubtful = match declare {
                false => auth.catalogue().check().await.expect("it answers"),
                true => auth.catalogue().sync(declared::ALL).await.expect("it answers").doubtful,
            };
            assert!(doubtful.iter().all(|grant| grant.malformed.is_some()));
            assert_eq!(texts(&doubtful), [
                "\"admin:\" in role \"old\"",
                "\"**\" in role \"old\"",
                "\"doc::read\" in role \"old\"",
                "\"admin:\" granted directly",
            ]);
            let text = finding(auth, "malformed_permissions").expect("an operator is told");
            assert!(text.contains("\"**\""), "{text}");
        }
        assert_eq!(browser.get("/admin").await.status, 403);
        assert_eq!(browser.get("/docs/1").await.status, 403);
    }

    async fn nodes_that_start_at_once_write_everything_once(probe: Probe) {
        let other = Portcullis::builder(probe.database.connect().await)
            .clock(probe.clock.clone())
            .secret(probe.secret.clone())
            .build()
            .expect("the configuration is right");
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..16 {
            let auth = if number % 2 == 0 { probe.auth.clone() } else { other.clone() };
            tasks.spawn(async move {
                // The nodes write in two different orders, and each declares one permission of its
                // own.
                let mut texts: Vec<String> = (0..300).map(|n| format!("doc:action{n}")).collect();
                if number % 3 == 0 {
                    texts.reverse();
                }
                texts.push(format!("own:{number}"));
                let pairs = texts.iter().map(|text| (text.as_str(), "the same"));
                auth.catalogue().sync(pairs).await.expect("it is written").added
            });
        }
        let mut added = 0;
        while let Some(result) = tasks.join_next().await {
            added += result.expect("no task fails").len();
        }
        assert_eq!(added, 316, "each is new to one of them");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_permission").await, 316);
        let gone = probe.auth.catalogue().prune(["doc:action7"]).await.expect("they are deleted");
        assert_eq!(gone.len(), 315);
    }

    async fn the_catalogue_changes_nobodys_grants(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        probe.auth.roles().create("editor", ["admin:read"]).await.expect("it is made");
        probe.auth.roles().grant(alice.id(), "editor").await.expect("it is granted");
        assert_eq!(browser.get("/admin").await.status, 200);
        let _ = probe.auth.catalogue().sync(declared::ALL).await.expect("it is written");
        let _ = probe.auth.catalogue().prune(["doc:read"]).await.expect("it is deleted");
        let (answer, statements) = probe.statements(browser.get("/admin")).await;
        assert_eq!((answer.status, statements), (200, 1), "what is remembered still counts");

        probe.execute("ALTER TABLE auth_permission RENAME TO auth_permission_away").await;
        let refused = probe.auth.catalogue().sync(declared::ALL).await;
        assert!(matches!(&refused, Err(error) if error.status().as_u16() == 503), "{refused:?}");
        assert_eq!(browser.get("/admin").await.status, 200, "no request asks the catalogue");
        probe.execute("ALTER TABLE auth_permission_away RENAME TO auth_permission").await;
    }
}
