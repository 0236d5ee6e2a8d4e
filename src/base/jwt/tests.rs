//! Tokens that an attacker forges, and tokens that a holder of the real key misuses.

use super::*;

const NOW: i64 = 1_790_000_000;
const ISSUER: &str = "https://auth.test";
const TYPE: TokenType = TokenType::Session;

fn now() -> Timestamp {
    Timestamp::from_millis(NOW * 1000)
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

fn claims() -> Claims {
    Claims { sid: [7; 16], generation: 3, issued_at: NOW, expires_at: NOW + 900, bound_to: None }
}

fn jwt(signing: &[SigningKey], secrets: &[Secret]) -> Jwt {
    Jwt::new(signing, secrets, ISSUER, ISSUER).expect("the keys are usable")
}

/// Creates a signer for HS256 with one derived key.
fn derived() -> Jwt {
    jwt(&[SigningKey::derived_hs256()], &[Secret::generate()])
}

/// Signs any header and payload with the real key, which no attacker can do.
fn signed(key: &Key, header: &str, payload: &str) -> String {
    sealed(key, &format!("{header}.{payload}"))
}

fn sealed(key: &Key, message: &str) -> String {
    let signature = crypto::sign(message.as_bytes(), &key.encoding, key.algorithm);
    format!("{message}.{}", signature.expect("the key signs"))
}

/// Creates a payload. Its members are JSON texts, and an empty text leaves the member out.
fn payload(changes: &[(&str, &str)]) -> String {
    let sid = format!("\"{}\"", base64([7; 16]));
    let (iat, exp) = (NOW.to_string(), (NOW + 900).to_string());
    let issuer = format!("\"{ISSUER}\"");
    let mut members = vec![
        ("iss", issuer.as_str()),
        ("aud", issuer.as_str()),
        ("sid", sid.as_str()),
        ("gen", "3"),
        ("iat", iat.as_str()),
        ("exp", exp.as_str()),
    ];
    for (name, value) in changes {
        match members.iter_mut().find(|(known, _)| known == name) {
            Some(member) => member.1 = value,
            None => members.push((name, value)),
        }
    }
    let members: Vec<_> = members
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// Returns true if a payload that was signed with the real key is accepted.
fn accepts(jwt: &Jwt, payload: &str) -> bool {
    let key = &jwt.keys[0];
    jwt.verify(&signed(key, key.header(TYPE), &base64(payload)), now()).is_some()
}

#[test]
fn what_was_signed_is_what_is_read_for_its_own_purpose_only() {
    for (signing, algorithm) in [
        (SigningKey::derived_hs256(), "HS256"),
        (SigningKey::ed25519_pem(ed25519([9; 32])), "EdDSA"),
        (SigningKey::es256_pem(p256()), "ES256"),
        (SigningKey::rs256_pem(rsa()), "RS256"),
    ] {
        let jwt = jwt(&[signing], &[Secret::generate()]);
        for token_type in TokenType::ALL {
            let token = jwt.sign(token_type, &claims());
            let (header, rest) = token.split_once('.').expect("three parts");
            let header = BASE64URL_NOPAD.decode(header.as_bytes()).expect("base64url");
            let header: serde_json::Value = serde_json::from_slice(&header).expect("JSON");
            assert_eq!(header["alg"], algorithm);
            assert_eq!(header["typ"], token_type.as_str());
            assert!(jwt.is_ours(token.as_bytes()));
            let (read_type, read) = jwt.verify(&token, now()).expect("its own token");
            assert_eq!(read_type, token_type);
            assert!(read == claims());
            // The same message with the header of every other purpose.
            for other in TokenType::ALL {
                let swapped = format!("{}.{rest}", jwt.keys[0].header(other));
                let verified = jwt.verify(&swapped, now()).map(|(read_type, _)| read_type);
                assert_eq!(verified, (other == token_type).then_some(token_type));
            }
        }
    }
}

#[test]
fn times_are_whole_numbers_and_neither_missing_nor_doubled() {
    let jwt = derived();
    assert!(accepts(&jwt, &payload(&[])), "the payload that all others differ from");
    assert!(accepts(&jwt, &payload(&[("nbf", &NOW.to_string())])));
    for claim in ["exp", "iat", "nbf", "gen"] {
        let good = if claim == "gen" { 3 } else { NOW };
        for value in [
            format!("\"{good}\""),
            format!("{good}.0"),
            format!("{good}.5"),
            format!("{good}e0"),
            format!("[{good}]"),
            format!("{{\"value\":{good}}}"),
            format!("{good},\"{claim}\":{good}"),
            format!("\"{good}\",\"{claim}\":{good}"),
            format!("{good},\"{claim}\":null"),
            "null".to_owned(),
            "true".to_owned(),
            "false".to_owned(),
            "\"\"".to_owned(),
            "[]".to_owned(),
            "{}".to_owned(),
            "1e400".to_owned(),
            "-1".to_owned(),
            i64::MIN.to_string(),
            "9223372036854775808".to_owned(),
            "99999999999999999999999999".to_owned(),
            "0x10".to_owned(),
            "NaN".to_owned(),
        ] {
            assert!(!accepts(&jwt, &payload(&[(claim, &value)])), "{claim}: {value}");
        }
        let left_out = payload(&[(claim, "")]);
        assert_eq!(accepts(&jwt, &left_out), claim == "nbf", "{claim} left out");
    }
    assert!(accepts(&jwt, &payload(&[("exp", &i64::MAX.to_string())])), "the row ends it");
    assert!(accepts(&jwt, &payload(&[("exp", &NOW.to_string())])), "the caller judges it");
    assert!(!accepts(&jwt, &payload(&[("exp", &(NOW - 1).to_string())])), "before it was issued");
}

#[test]
fn a_token_is_not_before_its_time_but_may_be_issued_by_a_clock_that_was_fast() {
    let jwt = derived();
    for (ahead, expected) in [(-1, true), (0, true), (29, true), (30, true), (31, false)] {
        let at = (NOW + ahead).to_string();
        assert_eq!(accepts(&jwt, &payload(&[("nbf", &at)])), expected, "nbf {ahead}");
        assert!(accepts(&jwt, &payload(&[("iat", &at)])), "iat {ahead}");
        let claims = Claims { issued_at: NOW + ahead, ..claims() };
        assert_eq!(claims.is_from_the_future(now()), !expected, "iat {ahead}");
    }
    let end_of_time = i64::MAX.to_string();
    assert!(accepts(&jwt, &payload(&[("iat", &end_of_time), ("exp", &end_of_time)])));
    assert!(!accepts(&jwt, &payload(&[("iat", &end_of_time)])), "it ends before it was issued");
}

#[test]
fn a_token_of_somebody_else_is_told_from_nonsense_and_from_a_forgery() {
    let jwt = derived();
    let foreign = base64(r#"{"alg":"HS256","kid":"theirs","typ":"sess+jwt"}"#);
    assert!(jwt.is_of_somebody_else(format!("{foreign}.e30.AAAA").as_bytes()));
    let ours = jwt.keys[0].header(TokenType::Session);
    for other in [
        String::new(),
        "x".to_owned(),
        "a.b.c".to_owned(),
        foreign.clone(),
        format!("{ours}.e30.AAAA"),
        format!("{}.e30.AAAA", base64("[]")),
        format!("{foreign}.{}.AAAA", "A".repeat(MAX_TOKEN_BYTES)),
    ] {
        assert!(!jwt.is_of_somebody_else(other.as_bytes()), "{other}");
    }
}

#[test]
fn a_claim_of_another_shape_or_service_is_refused() {
    let jwt = derived();
    let sid = base64([7; 16]);
    for (claim, value) in [
        ("iss", "\"https://auth.test/\"".to_owned()),
        ("iss", "\"https://AUTH.test\"".to_owned()),
        ("iss", "\"\"".to_owned()),
        ("iss", "null".to_owned()),
        ("iss", format!("[\"{ISSUER}\"]")),
        ("iss", String::new()),
        ("iss", format!("\"https://evil.test\",\"iss\":\"{ISSUER}\"")),
        ("aud", "\"https://other.test\"".to_owned()),
        ("aud", format!("[\"{ISSUER}\"]")),
        ("aud", String::new()),
        ("sid", String::new()),
        ("sid", "\"\"".to_owned()),
        ("sid", "7".to_owned()),
        ("sid", format!("\"{sid}==\"")),
        ("sid", format!("\" {sid}\"")),
        ("sid", format!("\"{}\"", base64([7; 15]))),
        ("sid", format!("\"{}\"", base64([7; 17]))),
        // The last letter contains four bits too many, which must be zero.
        ("sid", format!("\"{}x\"", &sid[..sid.len() - 1])),
        ("sid", format!("[\"{sid}\"]")),
        ("gen", String::new()),
        ("admin", "true".to_owned()),
        ("sub", "\"alice\"".to_owned()),
    ] {
        assert!(!accepts(&jwt, &payload(&[(claim, &value)])), "{claim}: {value}");
    }
    for text in ["", "null", "[]", "{}", "\"\"", "{", "\u{feff}{}", "0"] {
        assert!(!accepts(&jwt, text), "{text}");
    }
    let good = payload(&[]);
    for text in
        [format!("{good}{good}"), format!("{good}\0"), format!("{good} x"), format!("[{good}]")]
    {
        assert!(!accepts(&jwt, &text), "{text}");
    }
    // Another service with the same secret.
    let secret = Secret::generate();
    let signing = [SigningKey::derived_hs256()];
    let ours = Jwt::new(&signing, std::slice::from_ref(&secret), ISSUER, ISSUER);
    let theirs = Jwt::new(&signing, &[secret], "https://other.test", "https://other.test");
    let (ours, theirs) = (ours.expect("usable"), theirs.expect("usable"));
    let token = theirs.sign(TYPE, &claims());
    assert!(theirs.verify(&token, now()).is_some());
    assert!(ours.verify(&token, now()).is_none());
}

#[test]
fn a_header_that_we_do_not_write_is_refused_even_when_our_key_signed_it() {
    let jwt = derived();
    let key = &jwt.keys[0];
    let kid = {
        let header = BASE64URL_NOPAD.decode(key.header(TYPE).as_bytes()).expect("base64url");
        let header: serde_json::Value = serde_json::from_slice(&header).expect("JSON");
        header["kid"].as_str().expect("a name").to_owned()
    };
    let ours = format!(r#"{{"alg":"HS256","kid":"{kid}","typ":"sess+jwt"}}"#);
    let body = base64(payload(&[]));
    assert!(jwt.verify(&signed(key, &base64(&ours), &body), now()).is_some());
    let with = |more: &str| ours.replace('}', &format!(",{more}}}"));
    let long = "k".repeat(2000);
    let mut headers = vec![
        String::new(),
        "{}".to_owned(),
        "null".to_owned(),
        ours.replace("\"kid\"", " \"kid\""),
        format!(r#"{{"typ":"sess+jwt","kid":"{kid}","alg":"HS256"}}"#),
        r#"{"alg":"HS256","typ":"sess+jwt"}"#.to_owned(),
        format!(r#"{{"kid":"{kid}","typ":"sess+jwt"}}"#),
        format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#),
        with(r#""crit":["exp"]"#),
        with(r#""crit":[],"b64":true"#),
        with(r#""b64":false,"crit":["b64"]"#),
        with(r#""zip":"DEF""#),
        with(r#""cty":"JWT""#),
        with(r#""jku":"http://127.0.0.1:1/keys""#),
        with(r#""x5u":"http://127.0.0.1:1/certificate""#),
        with(r#""x5c":["AAAA"]"#),
        with(r#""jwk":{"kty":"oct","k":"AAAA"}"#),
        with(r#""alg":"none""#),
        with(r#""typ":"sess+jwt""#),
        with(r#""p2c":2147483647"#),
        ours.replace("}", ",}"),
        format!("{ours} "),
        format!("\u{feff}{ours}"),
    ];
    for alg in [
        "\"none\"",
        "\"None\"",
        "\"NONE\"",
        "\"nOnE\"",
        "\"none \"",
        "\"\"",
        "null",
        "0",
        "256",
        "[\"HS256\"]",
        "\"hs256\"",
        "\"HS384\"",
        "\"HS512\"",
        "\"RS256\"",
        "\"EdDSA\"",
        "\"dir\"",
        "\"HS256\\u0000\"",
    ] {
        headers.push(ours.replace("\"HS256\"", alg));
    }
    for name in [
        "",
        "../../etc/passwd",
        "..%2f",
        "/dev/null",
        "' OR '1'='1",
        "\\u0000",
        "*",
        "0",
        "null",
        &long,
        &kid.to_lowercase(),
        &format!("{kid} "),
    ] {
        if name != kid {
            headers.push(ours.replace(&kid, name));
        }
    }
    for typ in ["JWT", "jwt", "SESS+JWT", "application/sess+jwt", "at+jwt", "rt+jwt", ""] {
        headers.push(ours.replace("sess+jwt", typ));
    }
    for header in headers {
        let written = base64(&header);
        let token = signed(key, &written, &body);
        assert!(jwt.verify(&token, now()).is_none(), "{header}");
        // Without a valid signature it is refused too.
        let message = format!("{written}.{body}");
        for forged in [format!("{message}."), message.clone(), format!("{message}.AA")] {
            assert!(jwt.verify(&forged, now()).is_none(), "{forged}");
        }
        assert!(!jwt.is_ours(token.as_bytes()), "{header}");
    }
}

#[test]
fn base64_has_one_spelling() {
    let jwt = derived();
    let key = &jwt.keys[0];
    let token = jwt.sign(TYPE, &claims());
    let parts: Vec<&str> = token.split('.').collect();
    let [header, body, signature] = parts[..] else { panic!("three parts") };
    // 32 bytes leave two unused bits in the last letter.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = signature.chars().last().and_then(|c| alphabet.find(c)).expect("base64url");
    assert_eq!(last % 4, 0);
    for bits in 1..4 {
        let other = &alphabet[last + bits..=last + bits];
        let token = format!("{header}.{body}.{}{other}", &signature[..signature.len() - 1]);
        assert!(jwt.verify(&token, now()).is_none(), "{bits} bits more");
    }
    let padded = |text: &str| format!("{text}{}", &"==="[..(4 - text.len() % 4) % 4]);
    for forged in [
        format!("{header}.{body}.{}", padded(signature)),
        format!("{header}.{body}.{signature}="),
        format!("{header}.{body}.{signature}\n"),
        format!("{header}.{body}. {signature}"),
        format!("{header}.{body}.{signature}A"),
        format!("{header}.{body}.{signature}."),
        format!("{header}.{body}.{signature}.AAAA.AAAA"),
        format!("{header}.{body}."),
        format!("{header}.{body}"),
        format!("{header}..{signature}"),
        format!(".{body}.{signature}"),
        format!("..{signature}"),
        "..".to_owned(),
        String::new(),
        format!(".{token}"),
        format!(" {token}"),
        format!("{token} "),
        format!("\"{token}\""),
        token.replace('.', ","),
        token.to_uppercase(),
        format!(r#"{{"protected":"{header}","payload":"{body}","signature":"{signature}"}}"#),
        format!(
            r#"{{"payload":"{body}","signatures":[{{"protected":"{header}","signature":"{signature}"}}]}}"#
        ),
    ] {
        assert!(jwt.verify(&forged, now()).is_none(), "{forged}");
    }
    // The same with a correct signature of the other spelling of the payload.
    let text = payload(&[]);
    let text = format!("{text}{}", " ".repeat(3 - text.len() % 3 + 1));
    let body = base64(&text);
    assert!(jwt.verify(&signed(key, header, &body), now()).is_some());
    assert_eq!(text.len() % 3, 1);
    let last = body.chars().last().and_then(|c| alphabet.find(c)).expect("base64url");
    let bits = format!("{}{}", &body[..body.len() - 1], &alphabet[last + 1..=last + 1]);
    for spelling in [
        bits,
        format!("{body}=="),
        format!("{body}\n"),
        format!("{}\r\n{}", &body[..8], &body[8..]),
        format!(" {body}"),
        format!("{body}A"),
        data_encoding::BASE64_NOPAD.encode(b"\xff\xff\xfe\xff\xff\xff"),
    ] {
        assert!(jwt.verify(&signed(key, header, &spelling), now()).is_none(), "{spelling}");
    }
    // A token inside a token, and an encrypted token.
    let nested = base64(&token);
    assert!(jwt.verify(&signed(key, header, &nested), now()).is_none());
    assert!(jwt.verify(&sealed(key, &format!("{header}.AAAA.{body}.AAAA")), now()).is_none());
}

#[test]
fn every_bit_of_a_token_counts() {
    let jwt = derived();
    let token = jwt.sign(TYPE, &claims());
    for at in 0..token.len() {
        for bit in 0..8 {
            let mut bytes = token.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let Ok(forged) = String::from_utf8(bytes) else { continue };
            assert!(jwt.verify(&forged, now()).is_none(), "bit {bit} of byte {at}");
        }
    }
    for length in 0..token.len() {
        assert!(jwt.verify(&token[..length], now()).is_none(), "cut at {length}");
    }
}

#[test]
fn a_token_of_more_than_four_kibibytes_is_refused_though_it_is_signed() {
    let jwt = derived();
    let key = &jwt.keys[0];
    let header = key.header(TYPE);
    let sized = |bytes: usize| {
        let mut text = payload(&[]);
        loop {
            let token = signed(key, header, &base64(&text));
            if token.len() >= bytes {
                return token;
            }
            text.push(' ');
        }
    };
    let fits = sized(MAX_TOKEN_BYTES - 2);
    assert!(fits.len() <= MAX_TOKEN_BYTES);
    assert!(jwt.verify(&fits, now()).is_some());
    let larger = sized(MAX_TOKEN_BYTES + 1);
    assert!(jwt.verify(&larger, now()).is_none());
}

#[test]
fn a_public_key_is_no_secret_to_sign_with() {
    let seed = [9; 32];
    let [n, e, ..] = RSA;
    for (signing, public) in [
        (SigningKey::ed25519_pem(ed25519(seed)), None),
        (SigningKey::es256_pem(p256()), Some(p256_point())),
        (SigningKey::rs256_pem(rsa()), Some(der(0x30, &[integer(n), integer(e)].concat()))),
    ] {
        let mixed = [signing.clone(), SigningKey::derived_hs256()];
        let jwt = jwt(&mixed, &[Secret::generate()]);
        let key = &jwt.keys[0];
        let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&key.encoding, key.algorithm);
        let jwk = jwk.expect("a public key");
        let mut forms = vec![serde_json::to_vec(&jwk).expect("JSON"), Vec::new(), vec![0; 32]];
        if let jsonwebtoken::jwk::AlgorithmParameters::OctetKeyPair(pair) = &jwk.algorithm {
            let raw = from_base64(&pair.x);
            let info = der(
                0x30,
                &[from_hex("300506032b6570"), der(3, &[&[0], &raw[..]].concat())].concat(),
            );
            forms.extend([raw, pem("PUBLIC KEY", &info), info]);
        }
        if let Some(public) = public {
            forms.extend([pem("RSA PUBLIC KEY", &public), pem("PUBLIC KEY", &public), public]);
        }
        let header = BASE64URL_NOPAD.decode(key.header(TYPE).as_bytes()).expect("base64url");
        let header = String::from_utf8(header).expect("JSON");
        let algorithm = format!("{:?}", key.algorithm);
        let body = base64(payload(&[]));
        for form in &forms {
            let secret = match EncodingKey::from_secret(form) {
                Ok(secret) => secret,
                // The library creates no key from empty text.
                Err(_) if form.is_empty() => continue,
                Err(error) => panic!("{error}"),
            };
            for header in [
                key.header(TYPE).to_owned(),
                base64(header.replace(&algorithm, "HS256")),
                jwt.keys[1].header(TYPE).to_owned(),
            ] {
                let message = format!("{header}.{body}");
                let signature = crypto::sign(message.as_bytes(), &secret, Algorithm::HS256);
                let forged = format!("{message}.{}", signature.expect("a signature"));
                assert!(jwt.verify(&forged, now()).is_none(), "{algorithm} {header}");
            }
        }
        let token = signed(key, key.header(TYPE), &body);
        assert!(jwt.verify(&token, now()).is_some(), "{algorithm}");
        // A signature of one key is not valid with the name of the other key.
        let (_, rest) = token.split_once('.').expect("three parts");
        let swapped = format!("{}.{rest}", jwt.keys[1].header(TYPE));
        assert!(jwt.verify(&swapped, now()).is_none(), "{algorithm}");
    }
}

#[test]
fn the_newest_key_signs_older_ones_verify_and_removed_ones_do_not() {
    let (old, new) = (Secret::generate(), Secret::generate());
    let derived = SigningKey::derived_hs256();
    let ed25519 = |seed| SigningKey::ed25519_pem(ed25519([seed; 32]));
    let with_secrets = |secrets: &[&Secret]| {
        let secrets: Vec<Secret> = secrets.iter().copied().cloned().collect();
        jwt(std::slice::from_ref(&derived), &secrets)
    };
    let with_keys = |keys: &[&SigningKey]| {
        let keys: Vec<SigningKey> = keys.iter().copied().cloned().collect();
        jwt(&keys, std::slice::from_ref(&old))
    };
    let (first, second) = (ed25519(1), ed25519(2));
    for (before, during, after) in [
        (with_secrets(&[&old]), with_secrets(&[&new, &old]), with_secrets(&[&new])),
        (with_keys(&[&first]), with_keys(&[&second, &first]), with_keys(&[&second])),
        // From one algorithm to another.
        (with_keys(&[&derived]), with_keys(&[&first, &derived]), with_keys(&[&first])),
    ] {
        let (earlier, later) = (before.sign(TYPE, &claims()), during.sign(TYPE, &claims()));
        let verdicts = |jwt: &Jwt| {
            (jwt.verify(&earlier, now()).is_some(), jwt.verify(&later, now()).is_some())
        };
        assert_eq!(verdicts(&before), (true, false));
        assert_eq!(verdicts(&during), (true, true));
        assert_eq!(verdicts(&after), (false, true));
    }
}

#[test]
fn a_key_that_cannot_be_used_is_named() {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("PEM");
    let cut = text(rsa()).replace("MII", "");
    for (signing, algorithm) in [
        (SigningKey::ed25519_pem("nonsense"), "EdDSA"),
        (SigningKey::ed25519_pem(p256()), "EdDSA"),
        (SigningKey::es256_pem(ed25519([1; 32])), "ES256"),
        (SigningKey::es256_pem(""), "ES256"),
        (SigningKey::rs256_pem(p256()), "RS256"),
        (SigningKey::rs256_pem(cut), "RS256"),
    ] {
        let error = Jwt::new(&[SigningKey::derived_hs256(), signing], &[], ISSUER, ISSUER);
        let error = error.map(|_| ()).expect_err("it cannot be used").to_string();
        assert!(
            error.starts_with(&format!("signing key 1 ({algorithm}) is not usable")),
            "{error}"
        );
    }
    let key = SigningKey::ed25519_pem(ed25519([1; 32]));
    assert_eq!(format!("{key:?}"), "SigningKey(EdDSA, ..)");
    assert_eq!(format!("{:?}", jwt(&[key], &[])), "Jwt(1 keys, issuer \"https://auth.test\")");
}

// Private keys from the published examples of RFC 7515, appendix A.

/// d, x, y.
const P256: [&str; 3] = [
    "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
    "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
];

/// n, e, d, p, q, dp, dq, qi.
const RSA: [&str; 8] = [
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEz\
     P1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf6\
     3kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5Zw\
     Kh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRW\
     yuXpoQ",
    "AQAB",
    "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7Y\
     wVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3M\
     kqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1Zd\
     iYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRu\
     OopznQ",
    "4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB\
     0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDw\
     GUc",
    "uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul\
     7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9R\
     Wdc",
    "BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz\
     -FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAd\
     Yo0",
    "h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3\
     Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIi\
     THU",
    "IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3\
     ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFku\
     Q3U",
];

fn from_base64(text: &str) -> Vec<u8> {
    BASE64URL_NOPAD.decode(text.as_bytes()).expect("base64url")
}

fn from_hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).expect("hexadecimal")
}

/// Encodes one value in DER.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut value = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 128 => value.push(short),
        Ok(long) => value.extend([0x81, long]),
        Err(_) => {
            value.push(0x82);
            value.extend(u16::try_from(length).expect("a short key").to_be_bytes());
        }
    }
    value.extend(content);
    value
}

fn integer(text: &str) -> Vec<u8> {
    let mut bytes = from_base64(text);
    if bytes[0] >= 128 {
        bytes.insert(0, 0);
    }
    der(2, &bytes)
}

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let text = data_encoding::BASE64.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    let lines = lines.join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n").into_bytes()
}

fn ed25519(seed: [u8; 32]) -> Vec<u8> {
    let algorithm = from_hex("300506032b6570");
    let key = der(4, &der(4, &seed));
    pem("PRIVATE KEY", &der(0x30, &[der(2, &[0]), algorithm, key].concat()))
}

/// Returns the point of the public key, not compressed.
fn p256_point() -> Vec<u8> {
    [vec![4], from_base64(P256[1]), from_base64(P256[2])].concat()
}

fn p256() -> Vec<u8> {
    let algorithm = from_hex("301306072a8648ce3d020106082a8648ce3d030107");
    let point = der(0xa1, &der(3, &[vec![0], p256_point()].concat()));
    let key = der(0x30, &[der(2, &[1]), der(4, &from_base64(P256[0])), point].concat());
    pem("PRIVATE KEY", &der(0x30, &[der(2, &[0]), algorithm, der(4, &key)].concat()))
}

fn rsa() -> Vec<u8> {
    let mut key = der(2, &[0]);
    key.extend(RSA.iter().flat_map(|number| integer(number)));
    pem("RSA PRIVATE KEY", &der(0x30, &key))
}

#[test]
fn the_token_of_a_device_is_none_of_a_session_and_none_is_its_own() {
    for signing in [SigningKey::derived_hs256(), SigningKey::rs256_pem(rsa())] {
        let jwt = jwt(&[signing], &[Secret::generate()]);
        let claims_of_device = || DeviceClaims { accounts: "abc".to_owned(), expires_at: NOW };
        let device = jwt.sign_device(&claims_of_device());
        let read = jwt.verify_device(&device).expect("its own token");
        assert_eq!((read.accounts.as_str(), read.expires_at), ("abc", NOW));
        assert!(jwt.verify(&device, now()).is_none());
        assert!(jwt.verify_session(&device, now()).is_none());
        let (_, rest) = device.split_once('.').expect("three parts");
        for token_type in TokenType::ALL {
            // Whatever the header says, the payload has the form of only one purpose.
            let token = jwt.sign(token_type, &claims());
            assert!(jwt.verify_device(&token).is_none(), "{token_type:?}");
            let sealed = jwt.seal(
                token_type,
                &DevicePayload {
                    iss: Cow::Borrowed(&jwt.issuer),
                    aud: Cow::Borrowed(&jwt.audience),
                    acc: Cow::Borrowed("abc"),
                    exp: NOW,
                },
            );
            let is_device = token_type == TokenType::Device;
            assert_eq!(jwt.verify_device(&sealed).is_some(), is_device, "{token_type:?}");
            assert!(jwt.verify(&sealed, now()).is_none(), "{token_type:?}");
            let swapped = format!("{}.{rest}", jwt.keys[0].header(token_type));
            assert_eq!(jwt.verify_device(&swapped).is_some(), is_device, "{token_type:?}");
        }
        let elsewhere = Jwt { issuer: "other".to_owned(), ..jwt };
        assert!(elsewhere.verify_device(&device).is_none(), "of another issuer");
    }
}

#[test]
fn the_token_of_an_asking_browser_is_of_no_other_purpose() {
    for signing in [SigningKey::derived_hs256(), SigningKey::rs256_pem(rsa())] {
        let jwt = jwt(&[signing], &[Secret::generate()]);
        let asking = MailLoginClaims { asked: "abc".to_owned(), expires_at: NOW };
        let asking = jwt.sign_mail_login(&asking);
        let read = jwt.verify_mail_login(&asking).expect("its own token");
        assert_eq!((read.asked.as_str(), read.expires_at), ("abc", NOW));
        assert!(jwt.verify(&asking, now()).is_none());
        assert!(jwt.verify_session(&asking, now()).is_none());
        assert!(jwt.verify_device(&asking).is_none());
        let device = DeviceClaims { accounts: "abc".to_owned(), expires_at: NOW };
        assert!(jwt.verify_mail_login(&jwt.sign_device(&device)).is_none());
        let (_, rest) = asking.split_once('.').expect("three parts");
        for token_type in TokenType::ALL {
            let token = jwt.sign(token_type, &claims());
            assert!(jwt.verify_mail_login(&token).is_none(), "{token_type:?}");
            let payload = MailLoginPayload {
                iss: Cow::Borrowed(&jwt.issuer),
                aud: Cow::Borrowed(&jwt.audience),
                ask: Cow::Borrowed("abc"),
                exp: NOW,
            };
            let sealed = jwt.seal(token_type, &payload);
            let is_its_own = token_type == TokenType::MailLogin;
            assert_eq!(jwt.verify_mail_login(&sealed).is_some(), is_its_own, "{token_type:?}");
            let swapped = format!("{}.{rest}", jwt.keys[0].header(token_type));
            assert_eq!(jwt.verify_mail_login(&swapped).is_some(), is_its_own, "{token_type:?}");
        }
        let elsewhere = Jwt { audience: "other".to_owned(), ..jwt };
        assert!(elsewhere.verify_mail_login(&asking).is_none(), "of another audience");
    }
}

#[test]
fn the_largest_token_of_a_device_fits_into_a_cookie() {
    let name = "x".repeat(255);
    let jwt = Jwt::new(&[SigningKey::rs256_pem(rsa())], &[Secret::generate()], &name, &name)
        .expect("a signer");
    let accounts = "A".repeat(BASE64URL_NOPAD.encode_len(5 * 32));
    let token = jwt.sign_device(&DeviceClaims { accounts, expires_at: i64::MAX });
    // Browsers refuse a cookie whose name and value have more than 4096 bytes. Attributes do not
    // count. RSA keys may be twice as long as this one.
    assert!(token.len() + 400 < 2500, "{}", token.len());
}

fn statement() -> ActionStatement {
    ActionStatement {
        account: AccountId::new(now()),
        session: SessionId::new(now()),
        lineage: LineageId::new(now()),
        id: ChallengeId::new(now()),
        action: "pay".to_owned(),
        resource: Some("42".to_owned()),
        scope: None,
        permissions: Vec::new(),
        payload: None,
        issued_at: NOW,
        expires_at: NOW + 600,
    }
}

#[test]
fn an_action_proof_has_a_key_of_its_own_and_no_other_one_signs_it() {
    let secrets = [Secret::generate(), Secret::generate()];
    let jwt = jwt(&[SigningKey::derived_hs256()], &secrets);
    let proof = jwt.sign_action(statement());
    let read = jwt.verify_action(&proof).expect("its own token");
    assert_eq!((read.action.as_str(), read.exp), ("pay", NOW + 600));
    for (issuer, audience) in [(ISSUER, "other"), ("other", ISSUER)] {
        let signing = [SigningKey::derived_hs256()];
        let elsewhere = Jwt::new(&signing, &secrets, issuer, audience).expect("a signer");
        assert_eq!(elsewhere.verify_action(&proof), Err(NoAction::OtherService));
        let theirs = elsewhere.sign_action(statement());
        assert_eq!(jwt.verify_action(&theirs), Err(NoAction::OtherService));
    }
    let (message, _) = proof.rsplit_once('.').expect("three parts");
    let key = &jwt.keys[0];
    let (of_proofs, _) = key.proofs.as_ref().expect("a derived key");
    let by_hand = |encoding, message: &str| {
        let signature = crypto::sign(message.as_bytes(), encoding, key.algorithm);
        format!("{message}.{}", signature.expect("the key signs"))
    };
    assert_eq!(by_hand(of_proofs, message), proof, "the neighbour that passes");
    assert_eq!(jwt.verify_action(&by_hand(&key.encoding, message)), Err(NoAction::Invalid));
    // And the other way round, for every purpose.
    for token_type in TokenType::ALL {
        let token = jwt.sign(token_type, &claims());
        let (message, _) = token.rsplit_once('.').expect("three parts");
        let is_proof = token_type == TokenType::ActionProof;
        let verified = |token: &str| jwt.verify(token, now()).is_some();
        assert_eq!(verified(&by_hand(of_proofs, message)), is_proof, "{token_type:?}");
        assert_eq!(verified(&by_hand(&key.encoding, message)), !is_proof, "{token_type:?}");
    }
    // An older secret verifies, and a removed one does not.
    let with = |secrets: &[Secret]| super::tests::jwt(&[SigningKey::derived_hs256()], secrets);
    let by_older = with(&secrets[1..]).sign_action(statement());
    assert!(jwt.verify_action(&by_older).is_ok());
    assert_eq!(with(&secrets[..1]).verify_action(&by_older), Err(NoAction::Invalid));
}

#[test]
fn of_a_private_key_only_the_type_separates_action_proofs() {
    for signing in [SigningKey::ed25519_pem(ed25519([9; 32])), SigningKey::rs256_pem(rsa())] {
        let jwt = jwt(&[signing], &[Secret::generate()]);
        let proof = jwt.sign_action(statement());
        assert!(jwt.verify_action(&proof).is_ok());
        assert!(jwt.verify(&proof, now()).is_none() && jwt.verify_session(&proof, now()).is_none());
        let (_, rest) = proof.split_once('.').expect("three parts");
        for token_type in TokenType::ALL {
            let token = jwt.sign(token_type, &claims());
            assert_eq!(jwt.verify_action(&token), Err(NoAction::Invalid), "{token_type:?}");
            let swapped = format!("{}.{rest}", jwt.keys[0].header(token_type));
            let is_proof = token_type == TokenType::ActionProof;
            assert_eq!(jwt.verify_action(&swapped).is_ok(), is_proof, "{token_type:?}");
        }
    }
}
