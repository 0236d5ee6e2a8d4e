//! Documents, key sets and tokens with one thing wrong at a time.

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

use super::*;
use crate::config::IdTokenAlgorithm;

const ISSUER: &str = "https://login.example";
const CLIENT: &str = "our client";
const NOW: i64 = 1_800_000_000;

fn pem(der: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(der);
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

fn install() {
    crate::base::jwt::install_backend().expect("a backend is compiled in");
}

fn ed25519(seed: u8) -> (EncodingKey, Value) {
    install();
    let start = data_encoding::HEXLOWER.decode(b"302e020100300506032b657004220420");
    let der = [start.expect("hexadecimal"), vec![seed; 32]].concat();
    let key = EncodingKey::from_ed_pem(pem(&der).as_bytes()).expect("a key");
    let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, Algorithm::EdDSA).expect("a key");
    let jwk = serde_json::to_value(jwk).expect("JSON");
    (key, json!({ "kty": "OKP", "crv": "Ed25519", "x": jwk["x"], "kid": format!("key {seed}") }))
}

/// The private key of RFC 7515, appendix A.3.
fn p256() -> (EncodingKey, Value) {
    install();
    let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).expect("hexadecimal");
    let [d, x, y] = [
        "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
        "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    ];
    let bytes = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).expect("base64url");
    let der = [
        hex("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420"),
        bytes(d),
        hex("a14403420004"),
        bytes(x),
        bytes(y),
    ]
    .concat();
    let key = EncodingKey::from_ec_pem(pem(&der).as_bytes()).expect("a key");
    (key, json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "key 1" }))
}

fn part(value: &Value) -> String {
    BASE64URL_NOPAD.encode(value.to_string().as_bytes())
}

fn signed(key: &EncodingKey, algorithm: Algorithm, header: &str, claims: &str) -> String {
    let message = format!("{header}.{claims}");
    let signature = crypto::sign(message.as_bytes(), key, algorithm).expect("it signs");
    format!("{message}.{signature}")
}

fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

fn keys(algorithm: IdTokenAlgorithm, keys: &[Value]) -> KeySet {
    KeySet::read(&set(keys), algorithm).expect("a key set")
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": CLIENT, "sub": "alice", "exp": NOW + 60, "iat": NOW,
        "nonce": "the nonce", "auth_time": NOW - 5, "amr": ["pwd", "mfa"], "acr": "2", "sid": "s" })
}

fn expected() -> ExpectedIdToken<'static> {
    ExpectedIdToken {
        algorithm: IdTokenAlgorithm::EdDsa,
        issuer: ISSUER,
        client_id: CLIENT,
        nonce: "the nonce",
        access_token: Some("the access token"),
        began_at: NOW - 30,
        now: NOW,
    }
}

/// Checks a token with this header and these claims, which the first key has signed.
fn check(header: &Value, claims: &str) -> Result<IdToken, Option<ProviderRefusal>> {
    let (key, public) = ed25519(1);
    let token =
        signed(&key, Algorithm::EdDSA, &part(header), &BASE64URL_NOPAD.encode(claims.as_bytes()));
    let keys = keys(IdTokenAlgorithm::EdDsa, &[public, ed25519(2).1]);
    match IdToken::check(&token, &keys, &expected()) {
        Ok(Ok(token)) => Ok(token),
        Ok(Err(UnknownKey)) => Err(None),
        Err(refusal) => Err(Some(refusal)),
    }
}

fn header() -> Value {
    json!({ "alg": "EdDSA", "kid": "key 1", "typ": "JWT" })
}

fn refused(change: impl Fn(&mut Value)) -> Option<ProviderRefusal> {
    let mut claims = claims();
    change(&mut claims);
    check(&header(), &claims.to_string()).err().flatten()
}

#[test]
fn an_id_token_is_checked_claim_by_claim() {
    use ProviderRefusal::{
        AccessToken, Audience, Claim, Expired, IssuedAt, Issuer, Nonce, Subject,
    };

    let token = check(&header(), &claims().to_string()).unwrap_or_else(|why| panic!("{why:?}"));
    assert_eq!((token.subject.as_str(), token.auth_time), ("alice", Some(NOW - 5)));
    assert_eq!(
        (token.amr.len(), token.acr.as_deref(), token.sid.as_deref()),
        (2, Some("2"), Some("s"))
    );

    let without = |name: &'static str| {
        move |claims: &mut Value| {
            claims.as_object_mut().expect("an object").remove(name);
        }
    };
    for (name, refusal) in [
        ("iss", Issuer),
        ("aud", Audience),
        ("sub", Subject),
        ("exp", Claim),
        ("iat", Claim),
        ("nonce", Nonce),
    ] {
        assert_eq!(refused(without(name)), Some(refusal), "without {name}");
    }
    let with = |name: &'static str, value: Value| {
        move |claims: &mut Value| {
            claims[name] = value.clone();
        }
    };
    let long = "a".repeat(256);
    for (name, value, refusal) in [
        ("iss", json!("https://login.example/"), Issuer),
        ("iss", json!("https://LOGIN.example"), Issuer),
        ("iss", json!([ISSUER]), Claim),
        ("iss", Value::Null, Claim),
        ("aud", json!("another client"), Audience),
        ("aud", json!([]), Audience),
        ("aud", json!([CLIENT, "another client"]), Audience),
        ("aud", json!({ CLIENT: true }), Audience),
        ("azp", json!("another client"), Audience),
        ("azp", json!(1), Claim),
        ("sub", json!(""), Subject),
        ("sub", json!(long), Subject),
        ("sub", json!("a\nb"), Subject),
        ("sub", json!(7), Subject),
        ("sub", Value::Null, Subject),
        ("exp", json!(NOW - 61), Expired),
        ("exp", json!(NOW.to_string()), Claim),
        ("exp", json!(-1), Claim),
        ("exp", json!(i64::MAX), Claim),
        ("exp", json!(1e300), Claim),
        ("exp", Value::Null, Claim),
        ("iat", json!(NOW + 61), IssuedAt),
        ("iat", json!(NOW - 91), IssuedAt),
        ("iat", json!("now"), Claim),
        ("nbf", json!(NOW + 61), IssuedAt),
        ("nbf", json!(true), Claim),
        ("nonce", json!("another nonce"), Nonce),
        ("nonce", json!(""), Nonce),
        ("nonce", json!(["the nonce"]), Claim),
        ("auth_time", json!("today"), Claim),
        ("auth_time", json!(i64::MIN), Claim),
        ("amr", json!("mfa"), Claim),
        ("amr", json!([1]), Claim),
        ("acr", json!(2), Claim),
        ("sid", json!({}), Claim),
        ("at_hash", json!("another"), AccessToken),
        ("at_hash", json!(1), Claim),
    ] {
        assert_eq!(refused(with(name, value.clone())), Some(refusal), "{name} {value}");
    }
    let digest = BASE64URL_NOPAD.encode(&Sha512::digest("the access token")[..32]);
    for (name, value) in [
        ("aud", json!([CLIENT])),
        ("azp", json!(CLIENT)),
        ("exp", json!(NOW - 59)),
        ("exp", json!(1_800_000_000.5)),
        ("iat", json!(NOW + 59)),
        ("iat", json!(NOW - 89)),
        ("nbf", json!(NOW + 59)),
        ("at_hash", json!(digest)),
    ] {
        assert_eq!(refused(with(name, value.clone())), None, "{name} {value}");
    }
    // A time in the future proves nothing about the future.
    let mut ahead = claims();
    ahead["auth_time"] = json!(NOW + 1000);
    let token = check(&header(), &ahead.to_string()).unwrap_or_else(|why| panic!("{why:?}"));
    assert_eq!(token.auth_time, Some(NOW));
}

#[test]
fn a_member_that_is_there_twice_is_refused() {
    let text = claims().to_string();
    let twice = text.replacen('{', "{\"sub\":\"mallory\",", 1);
    assert_eq!(check(&header(), &twice).err().flatten(), Some(ProviderRefusal::Token));
    for bad in ["", "[]", "null", "{", "\"x\""] {
        assert_eq!(check(&header(), bad).err().flatten(), Some(ProviderRefusal::Token), "{bad}");
    }
}

#[test]
fn the_header_names_the_one_algorithm_and_a_known_key() {
    use ProviderRefusal::{Algorithm, Token, Type};

    let of = |header: Value| check(&header, &claims().to_string()).err();
    assert_eq!(of(json!({ "alg": "EdDSA", "kid": "key 1" })), None);
    assert_eq!(
        of(json!({ "alg": "EdDSA", "kid": "key 1", "x5t": "x", "jku": "https://evil" })),
        None
    );
    for (header, refusal) in [
        (json!({ "alg": "none", "kid": "key 1" }), Some(Algorithm)),
        (json!({ "alg": "HS256", "kid": "key 1" }), Some(Algorithm)),
        (json!({ "alg": "RS256", "kid": "key 1" }), Some(Algorithm)),
        (json!({ "alg": "eddsa", "kid": "key 1" }), Some(Algorithm)),
        (json!({ "kid": "key 1" }), Some(Algorithm)),
        (json!({ "alg": "EdDSA", "kid": "key 1", "typ": "logout+jwt" }), Some(Type)),
        (json!({ "alg": "EdDSA", "kid": "key 1", "typ": "at+jwt" }), Some(Type)),
        (json!({ "alg": "EdDSA", "kid": "key 1", "typ": 1 }), Some(Type)),
        (json!({ "alg": "EdDSA", "kid": "key 1", "crit": ["x"] }), Some(Token)),
        (json!({ "alg": "EdDSA", "kid": "key 1", "b64": false }), Some(Token)),
        (json!({ "alg": "EdDSA", "kid": 1 }), Some(Token)),
        (json!({ "alg": "EdDSA", "kid": "key 2" }), Some(ProviderRefusal::Signature)),
        // Nobody knows the key, or which one of two it is.
        (json!({ "alg": "EdDSA", "kid": "key 3" }), None),
        (json!({ "alg": "EdDSA" }), None),
    ] {
        assert_eq!(of(header.clone()), Some(refusal), "{header}");
    }
}

#[test]
fn every_changed_character_and_every_cut_is_noticed() {
    let (key, public) = ed25519(1);
    let token = signed(&key, Algorithm::EdDSA, &part(&header()), &part(&claims()));
    let keys = keys(IdTokenAlgorithm::EdDsa, &[public]);
    let good = |token: &str| matches!(IdToken::check(token, &keys, &expected()), Ok(Ok(_)));
    assert!(good(&token));
    for at in 0..token.len() {
        assert!(!good(&token[..at]), "cut at {at}");
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'Q' } else { b'A' };
        let changed = String::from_utf8(changed).expect("ASCII");
        assert!(!good(&changed), "{at}");
    }
    for bad in
        [format!("{token}="), format!("{token}.x"), format!(" {token}"), token.replace('.', ",")]
    {
        assert!(!good(&bad), "{bad}");
    }
    let long = format!("{}.{}", "a".repeat(17 * 1024), token);
    assert!(!good(&long));
}

#[test]
fn a_key_of_another_kind_or_a_weak_one_signs_nothing() {
    let (key, public) = p256();
    let token = signed(
        &key,
        Algorithm::ES256,
        &part(&json!({ "alg": "ES256", "kid": "key 1" })),
        &part(&claims()),
    );
    let with = |changes: Value| {
        let mut public = public.clone();
        for (name, value) in changes.as_object().expect("an object") {
            match value {
                Value::Null => drop(public.as_object_mut().expect("an object").remove(name)),
                value => public[name] = value.clone(),
            }
        }
        let keys = keys(IdTokenAlgorithm::Es256, &[public]);
        let expected = ExpectedIdToken { algorithm: IdTokenAlgorithm::Es256, ..expected() };
        matches!(IdToken::check(&token, &keys, &expected), Ok(Ok(_)))
    };
    for good in
        [json!({}), json!({ "use": "sig" }), json!({ "alg": "ES256" }), json!({ "x5c": ["x"] })]
    {
        assert!(with(good.clone()), "{good}");
    }
    for bad in [
        json!({ "kty": "OKP" }),
        json!({ "kty": null }),
        json!({ "crv": "P-384" }),
        json!({ "crv": null }),
        json!({ "x": "AAAA" }),
        json!({ "y": null }),
        json!({ "y": 1 }),
        json!({ "use": "enc" }),
        json!({ "alg": "RS256" }),
        json!({ "kid": "key 2" }),
        json!({ "kid": 1 }),
        json!({ "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI" }),
        // A point that is not on the curve.
        json!({ "x": public["y"] }),
    ] {
        assert!(!with(bad.clone()), "{bad}");
    }
    let rsa = |n: &[u8], e: &[u8]| {
        let key = json!({ "kty": "RSA", "kid": "key 1", "n": BASE64URL_NOPAD.encode(n), "e": BASE64URL_NOPAD.encode(e) });
        keys(IdTokenAlgorithm::Rs256, &[key]).has_signed(Some("key 1"), b"", "").is_ok()
    };
    let modulus = |length: usize| vec![0xff; length];
    assert!(rsa(&modulus(256), &[1, 0, 1]) && rsa(&modulus(1024), &[1, 0, 1]));
    for (n, e) in [
        (modulus(128), &[1, 0, 1][..]),
        (modulus(255), &[1, 0, 1]),
        (modulus(1025), &[1, 0, 1]),
        ([vec![0x7f], modulus(255)].concat(), &[1, 0, 1]),
        ([modulus(255), vec![0xfe]].concat(), &[1, 0, 1]),
        (modulus(256), &[1]),
        (modulus(256), &[3]),
        (Vec::new(), &[]),
    ] {
        assert!(!rsa(&n, e), "{} {e:?}", n.len());
    }
}

#[test]
fn a_key_set_is_a_short_list_and_one_name_means_one_key() {
    let read = |text: &str| KeySet::read(text.as_bytes(), IdTokenAlgorithm::EdDsa).is_ok();
    for good in ["{\"keys\":[]}", "{\"keys\":[1,null,{}]}"] {
        assert!(read(good), "{good}");
    }
    let many = json!({ "keys": vec![json!({}); 51] }).to_string();
    for bad in ["", "<html>", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[],\"keys\":[]}", &many] {
        assert!(!read(bad), "{bad}");
    }
    // Two keys with one name: nobody knows which one it is.
    let (key, public) = ed25519(1);
    let token = signed(&key, Algorithm::EdDSA, &part(&header()), &part(&claims()));
    let mut other = ed25519(2).1;
    other["kid"] = "key 1".into();
    let two = keys(IdTokenAlgorithm::EdDsa, &[public, other]);
    assert!(matches!(IdToken::check(&token, &two, &expected()), Ok(Err(UnknownKey))));
}

#[test]
fn a_logout_token_is_no_id_token_and_the_other_way_round() {
    use ProviderRefusal::{Audience, Claim, Expired, IssuedAt, Issuer, Type};

    let (key, public) = ed25519(1);
    let keys = keys(IdTokenAlgorithm::EdDsa, &[public]);
    let event = "http://schemas.openid.net/event/backchannel-logout";
    let good = json!({ "iss": ISSUER, "aud": CLIENT, "sub": "alice", "sid": "s", "jti": "j",
        "iat": NOW, "exp": NOW + 60, "events": { event: {} } });
    let header = json!({ "alg": "EdDSA", "kid": "key 1", "typ": "logout+jwt" });
    let check = |header: &Value, claims: &Value| {
        let token = signed(&key, Algorithm::EdDSA, &part(header), &part(claims));
        let expected = ExpectedLogoutToken {
            algorithm: IdTokenAlgorithm::EdDsa,
            issuer: ISSUER,
            client_id: CLIENT,
            now: NOW,
        };
        LogoutToken::check(&token, &keys, &expected).map(|token| token.expect("a known key"))
    };
    let token = check(&header, &good).expect("it is good");
    assert_eq!((token.subject.as_deref(), token.sid.as_deref()), (Some("alice"), Some("s")));
    assert_eq!(token.id, "j");
    for typ in [Some("application/logout+jwt"), Some("LOGOUT+JWT")] {
        let header = json!({ "alg": "EdDSA", "kid": "key 1", "typ": typ });
        assert!(check(&header, &good).is_ok(), "{typ:?}");
    }
    for typ in [json!("JWT"), json!("id+jwt"), Value::Null] {
        let header = json!({ "alg": "EdDSA", "kid": "key 1", "typ": typ });
        assert_eq!(check(&header, &good).err(), Some(Type), "{typ}");
    }
    for (name, value, refusal) in [
        ("iss", json!("https://evil.example"), Issuer),
        ("aud", json!("another"), Audience),
        ("exp", json!(NOW - 61), Expired),
        ("exp", Value::Null, Claim),
        ("iat", json!(NOW - 601), Expired),
        ("iat", json!(NOW + 61), IssuedAt),
        ("iat", Value::Null, Claim),
        ("events", json!({}), ProviderRefusal::LogoutToken),
        ("events", json!({ event: true }), ProviderRefusal::LogoutToken),
        ("events", json!([event]), ProviderRefusal::LogoutToken),
        ("events", Value::Null, ProviderRefusal::LogoutToken),
        ("nonce", json!("x"), ProviderRefusal::LogoutToken),
        ("jti", Value::Null, ProviderRefusal::LogoutToken),
        ("jti", json!(""), ProviderRefusal::LogoutToken),
        ("jti", json!(1), Claim),
        ("sub", json!(""), ProviderRefusal::Subject),
        ("sid", json!(1), Claim),
    ] {
        let mut claims = good.clone();
        match value.clone() {
            Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
            value => claims[name] = value,
        }
        assert_eq!(check(&header, &claims).err(), Some(refusal), "{name} {value}");
    }
    let mut nobody = good.clone();
    nobody.as_object_mut().expect("an object").remove("sub");
    assert!(check(&header, &nobody).is_ok());
    nobody.as_object_mut().expect("an object").remove("sid");
    assert_eq!(check(&header, &nobody).err(), Some(ProviderRefusal::LogoutToken));
    let unsigned = json!({ "alg": "none", "typ": "logout+jwt" });
    assert_eq!(check(&unsigned, &good).err(), Some(ProviderRefusal::Algorithm));
    // The claims of an ID token are those of no logout token.
    assert_eq!(check(&header, &claims()).err(), Some(ProviderRefusal::LogoutToken));
}

#[test]
fn a_discovery_document_names_its_issuer_and_https_endpoints() {
    use ProviderRefusal::{Endpoint, Metadata as Unreadable, MetadataIssuer};

    let good = json!({ "issuer": ISSUER, "authorization_endpoint": "https://login.example/auth",
        "token_endpoint": "https://api.example/token", "jwks_uri": "https://api.example/keys",
        "userinfo_endpoint": "https://api.example/me" });
    let read = |document: &Value| Metadata::read(document.to_string().as_bytes(), ISSUER, false);
    let metadata = read(&good).expect("it is good");
    assert!(!metadata.names_issuer && metadata.userinfo.is_some());
    for (name, value, refusal) in [
        ("issuer", json!("https://login.example/"), MetadataIssuer),
        ("issuer", json!("https://evil.example"), MetadataIssuer),
        ("issuer", json!([ISSUER]), MetadataIssuer),
        ("issuer", Value::Null, MetadataIssuer),
        ("authorization_endpoint", json!("http://login.example/auth"), Endpoint),
        ("authorization_endpoint", json!("javascript:alert(1)"), Endpoint),
        ("authorization_endpoint", Value::Null, Endpoint),
        ("token_endpoint", json!("http://api.example/token"), Endpoint),
        ("token_endpoint", json!("https://user@api.example/token"), Endpoint),
        ("token_endpoint", json!(1), Endpoint),
        ("token_endpoint", Value::Null, Endpoint),
        ("jwks_uri", json!("file:///etc/passwd"), Endpoint),
        ("jwks_uri", Value::Null, Endpoint),
        ("userinfo_endpoint", json!("ftp://api.example"), Endpoint),
        ("authorization_response_iss_parameter_supported", json!("true"), Unreadable),
    ] {
        let mut document = good.clone();
        match value.clone() {
            Value::Null => drop(document.as_object_mut().expect("an object").remove(name)),
            value => document[name] = value,
        }
        assert_eq!(read(&document).err(), Some(refusal), "{name} {value}");
    }
    let mut named = good.clone();
    named["authorization_response_iss_parameter_supported"] = true.into();
    assert!(read(&named).expect("it is good").names_issuer);
    for bad in ["", "<html>", "[]", "{\"issuer\":\"https://login.example\""] {
        assert_eq!(Metadata::read(bad.as_bytes(), ISSUER, false).err(), Some(Unreadable), "{bad}");
    }
    for (issuer, url) in [
        (ISSUER, "https://login.example/.well-known/openid-configuration"),
        ("https://a.example/b/", "https://a.example/b/.well-known/openid-configuration"),
    ] {
        assert_eq!(discovery_url(issuer), url);
    }
}

#[test]
fn an_answer_has_each_parameter_once() {
    let read = |query: &str| {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).expect("a query");
        ProviderAnswer::read(&pairs).ok()
    };
    let answer = read("code=c&state=s&iss=i&scope=x").expect("it is good");
    assert_eq!((answer.state.as_str(), answer.issuer.as_deref()), ("s", Some("i")));
    assert_eq!(answer.result.as_deref().map(String::as_str), Ok("c"));
    let answer = read("error=access_denied&state=s").expect("it is good");
    assert_eq!(answer.result.err().as_deref(), Some("access_denied"));
    let long = format!("code={}&state=s", "a".repeat(8 * 1024 + 1));
    for bad in [
        "",
        "code=c",
        "state=s",
        "code=c&state=",
        "code=&state=s",
        "code=c&code=c&state=s",
        "code=c&state=s&state=s",
        "code=c&state=s&iss=i&iss=j",
        "code=c&error=e&state=s",
        "code=c&state=s&error=",
        &long,
    ] {
        assert!(read(bad).is_none(), "{bad}");
    }
}

#[test]
fn a_token_answer_is_an_object_with_a_bearer_token() {
    let read = |status, body: &str| TokenAnswer::read(status, body.as_bytes()).err();
    let good = json!({ "access_token": "a", "token_type": "Bearer", "id_token": "i",
        "refresh_token": null, "expires_in": 3600, "scope": "openid" });
    assert_eq!(read(200, &good.to_string()), None);
    assert_eq!(read(400, &good.to_string()), Some(ProviderRefusal::TokenAnswer));
    assert_eq!(read(302, ""), Some(ProviderRefusal::TokenAnswer));
    for (status, body) in [(400, "{\"error\":\"invalid_grant\"}"), (200, "{\"error\":\"bad\"}")] {
        assert_eq!(read(status, body), Some(ProviderRefusal::Code), "{body}");
    }
    for body in ["", "<html>", "[]", "{}", "null", "{\"access_token\":\"a\"}"] {
        assert_eq!(read(200, body), Some(ProviderRefusal::TokenAnswer), "{body}");
    }
    for (name, value) in [
        ("access_token", json!("")),
        ("access_token", json!(1)),
        ("access_token", json!("a b")),
        ("access_token", json!("a\r\nX: y")),
        ("access_token", json!("é")),
        ("token_type", json!("mac")),
        ("token_type", json!(1)),
        ("id_token", json!({})),
        ("refresh_token", json!([])),
    ] {
        let mut body = good.clone();
        body[name] = value.clone();
        let refusal = read(200, &body.to_string());
        assert_eq!(refusal, Some(ProviderRefusal::TokenAnswer), "{name} {value}");
    }
}

#[test]
fn the_digest_of_an_access_token_follows_the_algorithm() {
    let (key, public) = p256();
    let digest = BASE64URL_NOPAD.encode(&Sha256::digest("the access token")[..16]);
    let mut claims = claims();
    claims["at_hash"] = digest.into();
    let header = json!({ "alg": "ES256", "kid": "key 1" });
    let token = signed(&key, Algorithm::ES256, &part(&header), &part(&claims));
    let keys = keys(IdTokenAlgorithm::Es256, &[public]);
    let expected = ExpectedIdToken { algorithm: IdTokenAlgorithm::Es256, ..expected() };
    assert!(matches!(IdToken::check(&token, &keys, &expected), Ok(Ok(_))));
    let other = ExpectedIdToken { access_token: Some("another"), ..expected };
    assert!(matches!(IdToken::check(&token, &keys, &other), Err(ProviderRefusal::AccessToken)));
}
