//! Each part of what a browser returns: missing, doubled, huge, of another type.

use super::*;

/// Returns the pointers to all values inside of a JSON object.
fn pointers(value: &Value) -> Vec<String> {
    let Some(members) = value.as_object() else { return Vec::new() };
    let inside = |(name, inner): (&String, &Value)| {
        let deeper = pointers(inner).into_iter().map(move |rest| format!("/{name}{rest}"));
        std::iter::once(format!("/{name}")).chain(deeper).collect::<Vec<_>>()
    };
    members.iter().flat_map(inside).collect()
}

/// Returns the answers that are wrong in one part, each with what was changed.
fn changed(right: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for pointer in pointers(right) {
        for other in [
            json!(null),
            json!(1),
            json!(true),
            json!(""),
            json!("=="),
            json!("ü"),
            json!([]),
            json!({}),
            json!("AAAA"),
            json!("A".repeat(20_000)),
            json!(["AAAA"]),
        ] {
            let mut changed = right.clone();
            *changed.pointer_mut(&pointer).expect("it is there") = other.clone();
            let shown: String = other.to_string().chars().take(20).collect();
            all.push((format!("{pointer} = {shown}"), changed.to_string()));
        }
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let mut without = right.clone();
        let parent = if parent.is_empty() {
            &mut without
        } else {
            without.pointer_mut(parent).expect("it is there")
        };
        parent.as_object_mut().expect("an object").remove(name);
        all.push((format!("without {pointer}"), without.to_string()));
        let value = right.pointer(&pointer).expect("it is there");
        let (once, twice) = (format!("\"{name}\":"), format!("\"{name}\":{value},\"{name}\":"));
        all.push((format!("{pointer} twice"), right.to_string().replacen(&once, &twice, 1)));
    }
    all
}

/// The members of a credential that mean nothing here. Browsers add and leave out such members.
fn is_ignored(what: &str) -> bool {
    let ignored = [
        "/authenticatorAttachment",
        "/clientExtensionResults",
        "/response/publicKeyAlgorithm",
        "without /response/transports",
        "/response/transports = []",
        "/response/transports = [\"AAAA\"]",
    ];
    ignored.iter().any(|member| what.contains(member))
}

on_every_database! {
    async fn an_answer_that_is_wrong_in_any_part_does_nothing(probe: Probe) {
        let probe = probe.configured(|config| {
            public(config);
            config.passkey.challenges = portcullis::rate_limit::Quota::per_minute(10_000);
            config.rate.per_source = None;
            config.rate.per_principal = None;
        });
        let (_, mut browser, authenticator) = person(&probe, "alice").await;
        let before = passkeys(&probe).await;
        let mut fresh = browser.stranger();
        let mut refused = 0;
        let right = authenticator.get(&begin(&mut fresh).await);
        for (what, _) in changed(&right).iter().filter(|(what, _)| !is_ignored(what)) {
            // A challenge of its own, and the same change.
            let right = authenticator.get(&begin(&mut fresh).await);
            let all = changed(&right);
            let (_, text) = all.iter().find(|(other, _)| other == what).expect("the same change");
            let body = format!(r#"{{"credential":{text}}}"#);
            let request = fresh.request(Method::POST, "/auth/login/passkey");
            let request = request.header("content-type", "application/json").body(body);
            let answer = send(request).await;
            assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.text);
            assert!(answer.cookie().is_none(), "{what}");
            // The challenge is in the data of the client. With everything else, it was found.
            let ended = answer.code() == "passkey_challenge_ended";
            assert!(!ended || what.contains("clientDataJSON"), "{what}: {}", answer.text);
            refused += 1;
        }
        assert!(refused > 80, "{refused}");
        let right = authenticator.get(&begin(&mut fresh).await);
        assert_eq!(finish(&mut fresh, right).await.status, 200, "nothing changed");

        let mut new = Authenticator::ed25519(4);
        let asked = options(&mut browser, "/auth/passkeys/challenge").await;
        let right = new.create(&asked);
        for (what, _) in changed(&right).iter().filter(|(what, _)| !is_ignored(what)) {
            let asked = options(&mut browser, "/auth/passkeys/challenge").await;
            let all = changed(&new.create(&asked));
            let (_, text) = all.iter().find(|(other, _)| other == what).expect("the same change");
            let body = format!(r#"{{"name":"x","credential":{text}}}"#);
            let request = browser.request(Method::POST, "/auth/passkeys");
            let request = request.header("content-type", "application/json").body(body);
            let answer = send(request).await;
            assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.text);
        }
        assert_eq!(passkeys(&probe).await, before);
        // A name that cannot be used loses nothing.
        let asked = options(&mut browser, "/auth/passkeys/challenge").await;
        let credential = new.create(&asked);
        for (name, code) in [("", "required"), ("  ", "required"), ("a\u{7}b", "invalid_character"),
            (&*"ü".repeat(65), "too_long")]
        {
            let answer = browser.post("/auth/passkeys", json!({ "name": name, "credential": credential })).await;
            assert_eq!(answer.field_codes("name"), [code]);
        }
        let name = "ü".repeat(64);
        let answer = browser.post("/auth/passkeys", json!({ "name": name, "credential": credential })).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }

    async fn a_challenge_and_what_was_stored_open_nothing(probe: Probe) {
        let probe = probe.configured(public);
        let (_, browser, authenticator) = person(&probe, "alice").await;
        let mut fresh = browser.stranger();
        let asked = begin(&mut fresh).await;
        let begun = fresh.begun.clone().expect("a cookie");
        // Neither the challenge nor the token of the browser is in the database.
        let challenge = asked["challenge"].as_str().expect("a challenge");
        let bytes = BASE64URL_NOPAD.decode(challenge.as_bytes()).expect("base64url");
        let token = BASE64URL_NOPAD.decode(begun.as_bytes()).expect("base64url");
        for dump in ["auth_passkey_challenge", "auth_passkey", "auth_passkey_user"] {
            let rows = probe.hex_dump(dump).await.concat();
            for secret in [&bytes, &token] {
                assert!(!rows.contains(&data_encoding::HEXLOWER.encode(secret)), "{dump}");
            }
        }
        // A digest that was stored, in the place of the token.
        let digest = Sha256::digest(&token);
        let mut thief = browser.stranger();
        thief.begun = Some(base64(&digest));
        refused(&finish(&mut thief, authenticator.get(&asked)).await, 403, "passkey_challenge_ended");
        // A passkey is no code.
        let mut waiting = browser.stranger();
        assert_eq!(waiting.login("alice", PASSWORD).await.status, 200);
        let text = authenticator.get(&begin(&mut fresh).await).to_string();
        for method in ["totp", "recovery_code", "mailed_code", "passkey"] {
            let body = json!({ "method": method, "code": text });
            let answer = waiting.post("/auth/second-factor/verify", body).await;
            assert!((400..500).contains(&answer.status), "{method}: {}", answer.text);
        }
        let both = json!({ "code": "123456", "credential": authenticator.get(&begin(&mut fresh).await) });
        refused(&waiting.post("/auth/second-factor/verify", both).await, 400, "invalid_body");
    }
}
