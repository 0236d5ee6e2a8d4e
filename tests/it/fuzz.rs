//! The checks of the fuzz targets on random input. They test parsers and not databases, so they run
//! once, on a database in memory.

use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::strategy::Just;
use proptest::test_runner::{Config, TestRunner};

#[path = "../../fuzz/src/lib.rs"]
mod bodies;

use bodies::World;

fn hold<S: Strategy>(cases: u32, input: S, body: impl Fn(S::Value)) {
    // No file of past failures: each failure becomes a test.
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&input, |input| {
        body(input);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[tokio::test]
async fn a_token_is_read_only_as_it_was_signed() {
    let world = World::new().await;
    bodies::token(&world, world.token.as_bytes());
    for at in 0..world.token.len() {
        for bit in 0..8 {
            let mut changed = world.token.clone().into_bytes();
            changed[at] ^= 1 << bit;
            bodies::token(&world, &changed);
        }
        bodies::token(&world, &world.token.as_bytes()[..at]);
        bodies::token(&world, &world.token.as_bytes()[at + 1..]);
    }
    hold(256, proptest::collection::vec(any::<u8>(), 0..400), |value| {
        bodies::token(&world, &value);
    });
    let length = world.token.len();
    let insertion = (0..=length, "[A-Za-z0-9_.=+/-]{1,4}");
    hold(512, insertion, |(at, text)| {
        let (before, after) = world.token.split_at(at);
        bodies::token(&world, format!("{before}{text}{after}").as_bytes());
    });
}

#[tokio::test]
async fn a_device_is_known_only_by_what_was_signed_for_it() {
    let world = World::new().await;
    let good = world.device.as_bytes();
    bodies::device_token(&world, good);
    bodies::device_token(&world, world.token.as_bytes());
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut changed = good.to_vec();
            changed[at] ^= 1 << bit;
            bodies::device_token(&world, &changed);
        }
        bodies::device_token(&world, &good[..at]);
        bodies::device_token(&world, &good[at + 1..]);
    }
    // All mixtures of the header, payload and signature of the two tokens.
    let parts: Vec<Vec<&str>> =
        [&world.device, &world.token].iter().map(|token| token.split('.').collect()).collect();
    for mixture in 0..8 {
        let part = |at: usize| parts[mixture >> at & 1][at];
        let token = [part(0), part(1), part(2)].join(".");
        bodies::device_token(&world, token.as_bytes());
        bodies::token(&world, token.as_bytes());
    }
    hold(256, proptest::collection::vec(any::<u8>(), 0..600), |value| {
        bodies::device_token(&world, &value);
    });
    let insertion = (0..=good.len(), "[A-Za-z0-9_.=+/-]{1,4}");
    hold(512, insertion, |(at, text)| {
        let (before, after) = world.device.split_at(at);
        bodies::device_token(&world, format!("{before}{text}{after}").as_bytes());
    });
}

#[tokio::test]
async fn a_cookie_is_found_only_by_its_exact_name_and_only_if_one_is_good() {
    let world = World::new().await;
    let piece = prop_oneof![
        4 => Just(vec![2, 1]),
        2 => Just(vec![b';']),
        2 => Just(b"; ".to_vec()),
        1 => Just(vec![1]),
        1 => Just(vec![2]),
        1 => Just(vec![b'\n']),
        1 => Just(b"__host-session=".to_vec()),
        1 => Just(b"session=".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..3),
        1 => "[ \t=\",a-z]{0,3}".prop_map(String::into_bytes),
    ];
    hold(4096, proptest::collection::vec(piece, 0..7), |pieces| {
        bodies::cookie_header(&world, &pieces.concat());
    });
}

#[test]
fn a_permission_prints_as_written_and_implies_itself_and_what_is_below() {
    hold(2048, "[ab*:,\n]{0,24}", |text| bodies::permission(text.as_bytes()));
    let part = "(\\*|a|b|a,b|\\*,a)";
    let three = format!("{part}(:{part}){{0,2}}\n{part}(:{part}){{0,2}}\n{part}(:{part}){{0,2}}");
    hold(4096, proptest::string::string_regex(&three).expect("a pattern"), |text| {
        bodies::permission(text.as_bytes());
    });
    hold(1024, proptest::collection::vec(any::<u8>(), 0..300), |bytes| {
        bodies::permission(&bytes);
    });
}

#[test]
fn an_attestation_object_has_one_form() {
    let options = serde_json::json!({ "rp": { "id": "example.com" }, "user": { "id": "AAAA" },
        "challenge": "AAAA" });
    let credential = crate::passkey::Authenticator::p256().create(&options);
    let object = credential["response"]["attestationObject"].as_str().expect("a text");
    let object = data_encoding::BASE64URL_NOPAD.decode(object.as_bytes()).expect("base64url");
    assert!(portcullis::test_kit::reads_attestation(&object));
    bodies::attestation(&object);
    for at in 0..object.len() {
        for bit in 0..8 {
            let mut changed = object.clone();
            changed[at] ^= 1 << bit;
            bodies::attestation(&changed);
        }
    }
    let changes = proptest::collection::vec((0..object.len(), any::<u8>()), 1..6);
    hold(4096, changes, |changes| {
        let mut changed = object.clone();
        for (at, byte) in changes {
            changed[at] = byte;
        }
        bodies::attestation(&changed);
    });
    hold(2048, proptest::collection::vec(any::<u8>(), 0..200), |bytes| {
        bodies::attestation(&bytes);
    });
}

#[test]
fn what_a_provider_sends_without_a_signature_counts_nowhere() {
    let keys = serde_json::json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "one",
        "x": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" }] });
    let document = serde_json::json!({ "issuer": "https://login.example",
        "authorization_endpoint": "https://login.example/a", "token_endpoint": "https://login.example/t",
        "jwks_uri": "https://login.example/k" });
    for good in [keys.to_string(), document.to_string()] {
        assert!(portcullis::test_kit::reads_provider(good.as_bytes()), "{good}");
        let insertion = (0..=good.len(), "[\"{}:,\\[\\]a-z0-9.]{1,6}");
        hold(2048, insertion, |(at, text)| {
            let (before, after) = good.split_at(at);
            bodies::provider(format!("{before}{text}{after}").as_bytes());
        });
    }
    hold(2048, "[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,90}", |token| {
        bodies::provider(token.as_bytes());
    });
    hold(2048, proptest::collection::vec(any::<u8>(), 0..300), |bytes| bodies::provider(&bytes));
}
