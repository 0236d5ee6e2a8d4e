//! The test vectors of the standard, with every bit changed, and what may differ between browsers.

use std::collections::BTreeMap;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Value, json};

use super::*;

const ORIGINS: &str = "https://example.org";

fn vectors() -> Vec<BTreeMap<&'static str, &'static str>> {
    let text = include_str!("tests/w3c_vectors.txt");
    let blocks = text.split("\n\n").map(|block| {
        let lines = block.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.split_once(' ')).collect::<BTreeMap<_, _>>()
    });
    blocks.filter(|block| !block.is_empty()).collect()
}

/// The builder does this in a service.
fn with_backend() {
    crate::base::jwt::install_backend().expect("a backend is compiled in");
}

fn bytes(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).expect("hexadecimal")
}

fn base64(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

fn expected<'a>(origins: &'a [String]) -> Expected<'a> {
    Expected { rp_id: "example.org", origins, verification: false }
}

/// The parts of a pair of answers.
#[derive(Clone)]
struct Pair {
    id: Vec<u8>,
    create: (Vec<u8>, Vec<u8>),
    get: (Vec<u8>, Vec<u8>, Vec<u8>),
}

impl Pair {
    fn of(vector: &BTreeMap<&str, &str>) -> Self {
        let part = |name: &str| bytes(vector[name]);
        Self {
            id: part("credential_id"),
            create: (part("client_data"), part("attestation")),
            get: (part("sign_in_client_data"), part("authenticator_data"), part("signature")),
        }
    }

    fn registration(&self) -> Value {
        let id = base64(&self.id);
        json!({ "id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {},
            "response": { "clientDataJSON": base64(&self.create.0),
                "attestationObject": base64(&self.create.1), "transports": ["internal", "hybrid"] } })
    }

    fn authentication(&self) -> Value {
        let id = base64(&self.id);
        json!({ "id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {},
            "response": { "clientDataJSON": base64(&self.get.0),
                "authenticatorData": base64(&self.get.1), "signature": base64(&self.get.2) } })
    }

    fn register(&self) -> Result<Credential, PasskeyRefusal> {
        with_backend();
        let response: RegistrationResponse =
            serde_json::from_value(self.registration()).expect("it is read");
        response.check(expected(&[ORIGINS.to_owned()]), Presence::Required)
    }

    fn sign_in(&self, public_key: &[u8]) -> Result<Assertion, PasskeyRefusal> {
        let response: AuthenticationResponse =
            serde_json::from_value(self.authentication()).expect("it is read");
        response.verify(expected(&[ORIGINS.to_owned()]), public_key)
    }
}

#[test]
fn the_pairs_of_the_standard_are_accepted() {
    let mut accepted = 0;
    for vector in vectors() {
        let (name, pair) = (vector["name"], Pair::of(&vector));
        let response: RegistrationResponse =
            serde_json::from_value(pair.registration()).expect("it is read");
        // Challenges of another length are not from here.
        let ours = <[u8; CHALLENGE]>::try_from(bytes(vector["challenge"])).ok();
        assert_eq!(response.challenge(), ours, "{name}");
        assert_eq!(ours.is_none(), name == "packed-es512");
        let registered = pair.register();
        let refused = match name {
            "none-es256-crossOrigin" | "none-es256-topOrigin" => Some(PasskeyRefusal::Embedded),
            // Algorithms that nobody asked for.
            "packed-es384" | "packed-es512" | "packed-ed448" => {
                Some(PasskeyRefusal::UnsupportedKey)
            }
            _ => None,
        };
        if let Some(refused) = refused {
            assert_eq!(registered.err(), Some(refused), "{name}");
            continue;
        }
        let credential = registered.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(credential.id, bytes(vector["credential_id"]), "{name}");
        assert_eq!(credential.aaguid.as_slice(), bytes(vector["aaguid"]), "{name}");
        assert_eq!(credential.transports, ["hybrid", "internal"]);
        let response: AuthenticationResponse =
            serde_json::from_value(pair.authentication()).expect("it is read");
        let challenge = response.challenge().expect("it has a challenge");
        assert_eq!(challenge.as_slice(), bytes(vector["sign_in_challenge"]), "{name}");
        assert_eq!(response.credential_id(), bytes(vector["credential_id"]), "{name}");
        let flags = pair.get.1[32];
        let seen = pair.sign_in(&credential.public_key);
        let seen = seen.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(seen.verified, flags & 4 != 0, "{name}");
        assert_eq!(seen.backup_eligible, flags & 8 != 0, "{name}");
        assert_eq!(seen.backed_up, flags & 16 != 0, "{name}");
        accepted += 1;
    }
    assert_eq!(accepted, 10);
}

/// The pairs with one algorithm each.
fn pairs() -> Vec<(String, Pair, Vec<u8>)> {
    let of_each = ["none-es256", "packed-self-es256", "packed-rs256", "packed-eddsa"];
    let chosen = vectors().into_iter().filter(|vector| of_each.contains(&vector["name"]));
    let chosen = chosen.map(|vector| {
        let pair = Pair::of(&vector);
        let key = pair.register().map(|one| one.public_key).expect("it is accepted");
        (vector["name"].to_owned(), pair, key)
    });
    chosen.collect()
}

#[test]
fn no_changed_bit_of_a_sign_in_is_accepted() {
    for (name, pair, key) in pairs() {
        pair.sign_in(&key).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut changed = 0;
        let parts: [fn(&mut Pair) -> &mut Vec<u8>; 3] =
            [|pair| &mut pair.get.0, |pair| &mut pair.get.1, |pair| &mut pair.get.2];
        for (part, of) in parts.iter().enumerate() {
            for at in 0..of(&mut pair.clone()).len() {
                for bit in 0..8 {
                    let mut other = pair.clone();
                    of(&mut other)[at] ^= 1 << bit;
                    let result = other.sign_in(&key);
                    assert!(result.is_err(), "{name}: part {part}, byte {at}, bit {bit}");
                    changed += 1;
                }
                let mut shorter = pair.clone();
                of(&mut shorter).truncate(at);
                assert!(shorter.sign_in(&key).is_err(), "{name}: part {part} ends at {at}");
            }
            let mut longer = pair.clone();
            of(&mut longer).push(0);
            assert!(longer.sign_in(&key).is_err(), "{name}: part {part} is longer");
        }
        assert!(changed > 1500, "{name}: {changed}");
    }
}

#[test]
fn a_changed_registration_is_refused_or_means_the_same_credential() {
    for (name, pair, key) in pairs() {
        for at in 0..pair.create.1.len() {
            let mut shorter = pair.clone();
            shorter.create.1.truncate(at);
            assert!(shorter.register().is_err(), "{name} ends at {at}");
            for bit in 0..8 {
                let mut other = pair.clone();
                other.create.1[at] ^= 1 << bit;
                // Without an attestation nobody has signed a registration. A changed key does not verify the
                // signature of the right one.
                let Ok(credential) = other.register() else { continue };
                assert_eq!(credential.id, pair.id, "{name}: byte {at}, bit {bit}");
                if credential.public_key != key {
                    assert!(pair.sign_in(&credential.public_key).is_err(), "{name}: byte {at}");
                }
            }
        }
        let mut longer = pair.clone();
        longer.create.1.push(0);
        assert_eq!(longer.register().err(), Some(PasskeyRefusal::Malformed), "{name}");
    }
    // The credential itself has signed this one.
    let (_, pair, _) = pairs().swap_remove(1);
    let mut accepted = 0;
    for at in 0..pair.create.0.len() {
        let mut other = pair.clone();
        other.create.0[at] ^= 1;
        accepted += u32::from(other.register().is_ok());
    }
    assert_eq!(accepted, 0);
}

#[test]
fn keys_and_signatures_of_others_are_wrong() {
    let pairs = pairs();
    for (name, pair, _) in &pairs {
        for (other, _, key) in &pairs {
            assert_eq!(pair.sign_in(key).is_ok(), name == other, "{name} with the key of {other}");
        }
    }
}

#[test]
fn each_expectation_is_checked() {
    let (_, pair, key) = pairs().swap_remove(0);
    let response: AuthenticationResponse =
        serde_json::from_value(pair.authentication()).expect("it is read");
    let verify = |rp_id: &str, origin: &str, verification| {
        let origins = [origin.to_owned()];
        let expected = Expected { rp_id, origins: &origins, verification };
        let (checked, verified) = (response.check(expected), response.verify(expected, &key));
        assert_eq!(checked.err(), verified.err());
        verified.map(|_| ())
    };
    assert_eq!(verify("example.org", "https://example.org", false), Ok(()));
    for (rp_id, origin, verification, refusal) in [
        ("example.com", "https://example.org", false, PasskeyRefusal::WrongRelyingParty),
        ("org", "https://example.org", false, PasskeyRefusal::WrongRelyingParty),
        ("www.example.org", "https://example.org", false, PasskeyRefusal::WrongRelyingParty),
        ("example.org", "https://www.example.org", false, PasskeyRefusal::WrongOrigin),
        ("example.org", "https://example.org.evil.example", false, PasskeyRefusal::WrongOrigin),
        ("example.org", "https://example.org:443", false, PasskeyRefusal::WrongOrigin),
        ("example.org", "https://example.org/", false, PasskeyRefusal::WrongOrigin),
        ("example.org", "http://example.org", false, PasskeyRefusal::WrongOrigin),
        ("example.org", "https://example.or", false, PasskeyRefusal::WrongOrigin),
        ("example.org", "https://example.org", true, PasskeyRefusal::NotVerified),
    ] {
        assert_eq!(verify(rp_id, origin, verification), Err(refusal), "{rp_id} {origin}");
    }

    // One operation is not the other one.
    let mut swapped = pair.clone();
    swapped.get.0 = pair.create.0.clone();
    assert_eq!(swapped.sign_in(&key).err(), Some(PasskeyRefusal::WrongType));
    let mut swapped = pair.clone();
    swapped.create.0 = pair.get.0.clone();
    assert_eq!(swapped.register().err(), Some(PasskeyRefusal::WrongType));

    // Nobody confirmed: only for a passkey that the browser makes by itself.
    let mut absent = pair.clone();
    let flags = absent.create.1.windows(37).position(|part| part[32] == 0x59).expect("the flags");
    absent.create.1[flags + 32] &= !1;
    assert_eq!(absent.register().err(), Some(PasskeyRefusal::NotPresent));
    let response: RegistrationResponse =
        serde_json::from_value(absent.registration()).expect("it is read");
    let origins = [ORIGINS.to_owned()];
    let strict = Expected { verification: true, ..expected(&origins) };
    assert!(response.check(strict, Presence::NotRequired).is_ok());
    assert_eq!(response.check(strict, Presence::Required).err(), Some(PasskeyRefusal::NotPresent));
    absent.get.1[32] &= !1;
    assert_eq!(absent.sign_in(&key).err(), Some(PasskeyRefusal::NotPresent));

    // A credential that is synchronised although it cannot be.
    let mut contradiction = pair.clone();
    contradiction.get.1[32] = 0b1_0001;
    assert_eq!(contradiction.sign_in(&key).err(), Some(PasskeyRefusal::Malformed));

    // The attestation object has a credential, and the id is that of the answer.
    let mut other = pair.clone();
    other.id = b"another".to_vec();
    assert_eq!(other.register().err(), Some(PasskeyRefusal::Malformed));
}

#[test]
fn what_is_no_credential_is_not_read() {
    let (_, pair, _) = pairs().swap_remove(0);
    let good = pair.registration();
    let read =
        |value: &Value| serde_json::from_value::<RegistrationResponse>(value.clone()).is_ok();
    assert!(read(&good));
    // The same as a text, as in a field of a form.
    assert!(read(&good.to_string().into()));
    for not in [json!(null), json!([]), json!(1), json!(""), json!("[]"), json!("{}"), json!({})] {
        assert!(!read(&not), "{not}");
    }
    let list = json!([good["id"], good["rawId"], good["type"], good["response"]]);
    assert!(!read(&list) && !read(&list.to_string().into()));
    for (pointer, others) in [
        ("/id", json!(["", "=", "a+b/", "YQ==", 1, null, ["YQ"], "a".repeat(50_000)])),
        ("/rawId", json!(["a", null])),
        ("/type", json!(["password", "", 1])),
        ("/response", json!([null, {}, "", []])),
        ("/response/clientDataJSON", json!([null, 1, "ü", "a b"])),
        ("/response/attestationObject", json!([null, {}, "a".repeat(50_001)])),
        ("/response/transports", json!(["usb", [1], {}])),
    ] {
        for other in others.as_array().expect("a list") {
            let mut changed = good.clone();
            *changed.pointer_mut(pointer).expect("it is there") = other.clone();
            let response: Result<RegistrationResponse, _> = serde_json::from_value(changed);
            let origins = [ORIGINS.to_owned()];
            let accepted = response.is_ok_and(|response| {
                response.check(expected(&origins), Presence::Required).is_ok()
            });
            assert!(!accepted, "{pointer} {other}");
        }
        let mut without = good.clone();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let parent = without.pointer_mut(parent).and_then(Value::as_object_mut);
        parent.expect("an object").remove(name);
        assert_eq!(read(&without), name == "transports", "{pointer}");
        let text = good.to_string();
        let value = good.pointer(pointer).expect("it is there");
        let doubled =
            text.replace(&format!("\"{name}\":"), &format!("\"{name}\":{value},\"{name}\":"));
        assert!(serde_json::from_str::<RegistrationResponse>(&doubled).is_err(), "{pointer}");
    }
    let mut many = good.clone();
    many["response"]["transports"] = json!(["usb", "USB", "", "usb", "a b", "x".repeat(17), "nfc"]);
    let response: RegistrationResponse = serde_json::from_value(many).expect("it is read");
    let credential = response.check(expected(&[ORIGINS.to_owned()]), Presence::Required);
    assert_eq!(credential.expect("it is accepted").transports, ["nfc", "usb"]);
}

#[test]
fn client_data_that_no_browser_writes_is_refused() {
    let (_, pair, key) = pairs().swap_remove(0);
    let original: Value = serde_json::from_slice(&pair.get.0).expect("JSON");
    let refusal = |text: String| {
        let mut other = pair.clone();
        other.get.0 = text.into_bytes();
        other.sign_in(&key).err()
    };
    // The signature is over the exact bytes.
    assert_eq!(refusal(format!("{original} ")), Some(PasskeyRefusal::WrongSignature));
    for (member, value, why) in [
        ("type", json!("webauthn.create"), PasskeyRefusal::WrongType),
        ("type", json!(null), PasskeyRefusal::Malformed),
        ("origin", json!("https://example.com"), PasskeyRefusal::WrongOrigin),
        ("origin", json!("null"), PasskeyRefusal::WrongOrigin),
        ("origin", json!(""), PasskeyRefusal::WrongOrigin),
        ("origin", json!(["https://example.org"]), PasskeyRefusal::Malformed),
        ("crossOrigin", json!(true), PasskeyRefusal::Embedded),
        ("crossOrigin", json!("false"), PasskeyRefusal::Malformed),
        ("topOrigin", json!("https://example.org"), PasskeyRefusal::Embedded),
        ("challenge", json!(1), PasskeyRefusal::Malformed),
    ] {
        let mut changed = original.clone();
        changed[member] = value.clone();
        assert_eq!(refusal(changed.to_string()), Some(why), "{member} {value}");
    }
    let doubled = original.to_string().replacen('{', r#"{"origin":"https://example.org","#, 1);
    assert_eq!(refusal(doubled), Some(PasskeyRefusal::Malformed));
    let long = format!("{{\"filler\":\"{}\",{}", "x".repeat(9000), &original.to_string()[1..]);
    assert_eq!(refusal(long), Some(PasskeyRefusal::Malformed));
    for text in ["", "[]", "null", "{", "\u{feff}{}"] {
        assert_eq!(refusal(text.to_owned()), Some(PasskeyRefusal::Malformed), "{text}");
    }
    for (challenge, is_one) in [
        (base64(&[7; 32]), true),
        (base64(&[7; 31]), false),
        (base64(&[7; 33]), false),
        (String::new(), false),
        (format!("{}=", base64(&[7; 32])), false),
    ] {
        let mut changed = original.clone();
        changed["challenge"] = challenge.clone().into();
        let mut other = pair.clone();
        other.get.0 = changed.to_string().into_bytes();
        let response: AuthenticationResponse =
            serde_json::from_value(other.authentication()).expect("it is read");
        assert_eq!(response.challenge().is_some(), is_one, "{challenge}");
    }
}
