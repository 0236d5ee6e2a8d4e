//! The examples of RFC 9449, and what is no proof.

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use super::*;
use crate::base::jwt::{Jwt, SigningKey};
use crate::base::secret::Secret;

/// RFC 9449 section 4.2.
const FOR_A_TOKEN: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";

/// RFC 9449 section 7.1, with the token that it is for.
const FOR_A_REQUEST: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";

/// RFC 9449 section 6.1.
const THUMBPRINT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

/// Selects a backend for signatures, as `build()` does.
fn backend() {
    let key = [SigningKey::derived_hs256()];
    Jwt::new(&key, &[Secret::generate()], "i", "a").expect("a backend");
}

fn refusal(text: &str) -> DpopRefusal {
    match Proof::open(text.as_bytes()) {
        Ok(_) => panic!("accepted: {text}"),
        Err(refusal) => refusal,
    }
}

#[test]
fn the_examples_of_the_standard_are_read() {
    backend();
    let proof = Proof::open(FOR_A_TOKEN.as_bytes()).expect("a proof");
    assert_eq!(proof.key.to_string(), THUMBPRINT);
    assert_eq!(proof.claims.htm, "POST");
    assert_eq!(proof.claims.htu, "https://server.example.com/token");
    assert_eq!((proof.claims.ath, proof.claims.nonce), (None, None));
    let proof = Proof::open(FOR_A_REQUEST.as_bytes()).expect("a proof");
    assert_eq!(proof.key.to_string(), THUMBPRINT);
    assert_eq!(proof.made_at(), Timestamp::from_millis(1_562_262_618_000));
    let digest = BASE64URL_NOPAD.encode(&Sha256::digest(TOKEN));
    assert_eq!(proof.claims.ath, Some(digest));
}

#[test]
fn no_changed_character_is_accepted() {
    backend();
    for at in 0..FOR_A_REQUEST.len() {
        for other in [b'A', b'B', b'.', b'=', b' '] {
            let mut changed = FOR_A_REQUEST.as_bytes().to_vec();
            if changed[at] != other {
                changed[at] = other;
                assert!(Proof::open(&changed).is_err(), "{other} at {at}");
            }
        }
    }
    for end in 0..FOR_A_REQUEST.len() {
        assert!(Proof::open(&FOR_A_REQUEST.as_bytes()[..end]).is_err(), "{end}");
    }
    assert!(Proof::open(b"\xff\xfe").is_err());
}

/// A key of Ed25519 and its public part.
fn ed25519() -> (EncodingKey, Value) {
    let start = data_encoding::HEXLOWER.decode(b"302e020100300506032b657004220420");
    let der = [start.expect("hexadecimal"), vec![9; 32]].concat();
    let text = data_encoding::BASE64.encode(&der);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    let key = EncodingKey::from_ed_pem(pem.as_bytes()).expect("a key");
    let public = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, Algorithm::EdDSA).expect("a key");
    let public = serde_json::to_value(public).expect("JSON");
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": public["x"] });
    (key, jwk)
}

fn signed(key: &EncodingKey, header: &str, claims: &str) -> String {
    let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = crypto::sign(message.as_bytes(), key, Algorithm::EdDSA).expect("it signs");
    format!("{message}.{signature}")
}

const CLAIMS: &str = r#"{"jti":"1","htm":"GET","htu":"https://example.com/","iat":1790000000}"#;

#[test]
fn a_header_is_that_of_a_proof_and_of_nothing_else() {
    backend();
    let (key, jwk) = ed25519();
    let open = |header: &str| Proof::open(signed(&key, header, CLAIMS).as_bytes());
    let header = |change: &dyn Fn(&mut Value)| {
        let mut header = json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk });
        change(&mut header);
        header.to_string()
    };
    let good = open(&header(&|_| {})).expect("a proof");
    let renamed = open(&header(&|header| header["alg"] = "Ed25519".into())).expect("a proof");
    assert_eq!(good.key, renamed.key, "RFC 9864: the same algorithm");
    let more = |header: &mut Value| {
        header["kid"] = "a".into();
        header["jwk"]["use"] = "sig".into();
        header["jwk"]["alg"] = "EdDSA".into();
    };
    let described = open(&header(&more)).expect("other members mean nothing");
    assert_eq!(good.key, described.key);

    use DpopRefusal::{Malformed, UnsupportedAlgorithm, WrongSignature};
    type Change = fn(&mut Value);
    let wrong: [(DpopRefusal, Change); 24] = [
        (Malformed, |header| header["typ"] = "JWT".into()),
        (Malformed, |header| header["typ"] = "dpop+JWT ".into()),
        (Malformed, |header| header["typ"] = Value::Null),
        (Malformed, |header| drop(header.as_object_mut().expect("one").remove("typ"))),
        (Malformed, |header| drop(header.as_object_mut().expect("one").remove("jwk"))),
        (Malformed, |header| drop(header.as_object_mut().expect("one").remove("alg"))),
        (Malformed, |header| header["crit"] = json!(["exp"])),
        (Malformed, |header| header["crit"] = Value::Null),
        (Malformed, |header| header["jwk"]["d"] = "AAAA".into()),
        (Malformed, |header| header["jwk"]["d"] = Value::Null),
        (Malformed, |header| header["jwk"]["k"] = "AAAA".into()),
        (Malformed, |header| header["jwk"] = "AAAA".into()),
        (UnsupportedAlgorithm, |header| header["alg"] = "none".into()),
        (UnsupportedAlgorithm, |header| header["alg"] = "HS256".into()),
        (UnsupportedAlgorithm, |header| header["alg"] = "ES256".into()),
        (UnsupportedAlgorithm, |header| header["alg"] = "RS256".into()),
        (UnsupportedAlgorithm, |header| header["alg"] = "eddsa".into()),
        (UnsupportedAlgorithm, |header| header["jwk"]["crv"] = "Ed448".into()),
        (UnsupportedAlgorithm, |header| header["jwk"]["crv"] = "X25519".into()),
        (UnsupportedAlgorithm, |header| header["jwk"]["kty"] = "oct".into()),
        (UnsupportedAlgorithm, |header| header["jwk"]["y"] = "AAAA".into()),
        (UnsupportedAlgorithm, |header| header["jwk"]["x"] = "AAAA".into()),
        (UnsupportedAlgorithm, |header| {
            let padded = format!("{}=", header["jwk"]["x"].as_str().expect("text"));
            header["jwk"]["x"] = padded.into();
        }),
        (WrongSignature, |header| header["jwk"]["x"] = "A".repeat(43).into()),
    ];
    for (refused, change) in wrong {
        let header = header(&change);
        assert_eq!(open(&header).err(), Some(refused), "{header}");
    }
    // Of two members with one name, nobody knows which one counts.
    let twice = header(&|_| {}).replacen('{', r#"{"alg":"none","#, 1);
    assert_eq!(open(&twice).err(), Some(Malformed), "{twice}");
    let own = signed(&key, r#"{"alg":"HS256","typ":"sess+jwt"}"#, CLAIMS);
    assert_eq!(refusal(&own), Malformed);
    assert_eq!(refusal(""), Malformed);
    assert_eq!(refusal("a.b"), Malformed);
    assert_eq!(refusal(&"a".repeat(5000)), Malformed);
}

#[test]
fn claims_are_those_of_a_proof() {
    backend();
    let (key, jwk) = ed25519();
    let header = json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk }).to_string();
    let open = |claims: &str| Proof::open(signed(&key, &header, claims).as_bytes());
    let first = open(CLAIMS).expect("a proof").digest();
    for good in [
        CLAIMS.replace("1790000000", "1790000000.5"),
        CLAIMS.replace("\"1\"", &format!("{:?}", "x".repeat(256))),
        CLAIMS.replacen('{', r#"{"other":[1],"#, 1),
        CLAIMS.replace("1790000000", "1e300"),
    ] {
        let other = open(&good).expect(&good);
        assert_eq!(other.digest() == first, good.contains("\"1\""), "{good}");
    }
    let endless = open(&CLAIMS.replace("1790000000", "1e300")).expect("a proof");
    assert_eq!(endless.made_at(), Timestamp::from_millis(i64::MAX));
    for wrong in [
        CLAIMS.replace("\"jti\"", "\"id\""),
        CLAIMS.replace("\"htm\"", "\"m\""),
        CLAIMS.replace("\"htu\"", "\"u\""),
        CLAIMS.replace("\"iat\"", "\"exp\""),
        CLAIMS.replace("\"1\"", "\"\""),
        CLAIMS.replace("\"1\"", "1"),
        CLAIMS.replace("\"1\"", &format!("{:?}", "x".repeat(257))),
        CLAIMS.replace("1790000000", "\"1790000000\""),
        CLAIMS.replace("1790000000", "null"),
        CLAIMS.replacen('{', r#"{"jti":"2","#, 1),
        CLAIMS.replacen('{', r#"{"ath":1,"#, 1),
        "[]".to_owned(),
        r#"["1","GET","https://example.com/",1790000000,null,null]"#.to_owned(),
        String::new(),
    ] {
        assert_eq!(open(&wrong).err(), Some(DpopRefusal::Malformed), "{wrong}");
    }
}

#[test]
fn two_spellings_of_a_url_are_one() {
    let read = |url: &str| {
        origin_and_path(url).map(|(origin, path)| format!("{}|{path}", origin.as_str()))
    };
    for (url, expected) in [
        ("https://example.com/a/b", "https://example.com|/a/b"),
        ("HTTPS://Example.COM:443/a", "https://example.com|/a"),
        ("https://example.com", "https://example.com|/"),
        ("https://example.com?x", "https://example.com|/"),
        ("https://example.com/a?x=/b#c", "https://example.com|/a"),
        ("https://example.com/a#c?d", "https://example.com|/a"),
        ("http://[::1]:8080/A", "http://[::1]:8080|/A"),
        ("https://example.com/%7eu/%c3%a9/%2f%2E", "https://example.com|/~u/%C3%A9/%2F%2E"),
        ("https://example.com/%4", "https://example.com|/%4"),
        ("https://example.com/%zz%41", "https://example.com|/%zzA"),
    ] {
        assert_eq!(read(url).as_deref(), Some(expected), "{url}");
    }
    for wrong in [
        "",
        "/a",
        "example.com/a",
        "ftp://example.com/a",
        "https://user@example.com/a",
        "https:///a",
        "https://exa mple.com/a",
        "https://example.com:99999/a",
    ] {
        assert_eq!(read(wrong), None, "{wrong}");
    }
    assert_eq!(normal_path(""), "/");
    assert_eq!(normal_path("%"), "%");
    assert_eq!(normal_path("/a%2"), "/a%2");
}
