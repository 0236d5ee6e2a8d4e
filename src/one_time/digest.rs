//! Keyed digests. The rows store them instead of tokens, codes, subjects and bindings.

use subtle::ConstantTimeEq;
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

use crate::account::LoginId;
use crate::base::client::ClientInfo;
use crate::base::id::{AccountId, ChallengeId, SessionId};
use crate::base::secret::{DigestKey, Purpose as KeyPurpose};
use crate::context::Context;
use crate::outbox::one_spelling;
use crate::outstanding::{APPLICATION, Kind};

/// What a challenge is about.
pub(super) struct Subject<'a> {
    pub(super) purpose: &'a str,
    pub(super) account: Option<AccountId>,
    pub(super) target: Option<&'a str>,
    /// True if it is about one session, although it has a target.
    pub(super) alone: bool,
}

impl Subject<'_> {
    /// Returns the digest under each secret, newest first. `alone` identifies a subject that has
    /// neither account nor target. It is also added for a question that is shown to a visitor.
    pub(super) fn digests(&self, context: &Context, alone: &[u8]) -> Vec<Vec<u8>> {
        let account = self.account.map(AccountId::as_uuid);
        let account = account.as_ref().map_or(&[][..], |id| id.as_bytes());
        let target = self.target.unwrap_or_default();
        let visitors = account.is_empty() && !self.alone && self.purpose.starts_with(APPLICATION);
        let counted = visitors.then(|| counted_as(target));
        let target = counted.as_deref().unwrap_or(target).as_bytes();
        let is_alone = account.is_empty() && (target.is_empty() || self.alone);
        let alone = if is_alone { alone } else { &[] };
        digests(
            context,
            KeyPurpose::ChallengeSubject,
            &[self.purpose.as_bytes(), account, target, alone],
        )
    }
}

/// Returns the form of a visitor's target by which its codes are counted: the mailbox or number,
/// whatever its spelling. Each further spelling would mean another code at once, and five more
/// guesses.
pub(super) fn counted_as(target: &str) -> String {
    let text: String = target.nfkc().collect();
    let text = text.trim();
    // A number may have a form here that only the application understands.
    let is_number = |c: char| c.is_ascii_digit() || c.is_whitespace() || "+-./()".contains(c);
    if text.contains(|c: char| c.is_ascii_digit()) && text.chars().all(is_number) {
        let plus = if text.starts_with('+') { "+" } else { "" };
        return format!("{plus}{}", text.replace(|c: char| !c.is_ascii_digit(), ""));
    }
    // The address in `A Name <name@example.com>`, which some mailers accept.
    let named = text.strip_suffix('>').and_then(|text| text.rsplit_once('<'));
    let text = named.map_or(text, |(_, address)| address.trim());
    match LoginId::parse(text) {
        Ok(id) => one_spelling(id.normal()),
        Err(_) if text.contains('@') => one_spelling(text),
        Err(_) => text.to_owned(),
    }
}

fn digests(context: &Context, purpose: KeyPurpose, parts: &[&[u8]]) -> Vec<Vec<u8>> {
    let secrets = context.config.keys.secrets.iter();
    secrets.map(|secret| DigestKey::new(secret, purpose).digest_parts(parts).to_vec()).collect()
}

/// The keys of codes that are derived from a token, newest first.
pub(super) fn keys_of_codes(context: &Context) -> Vec<DigestKey> {
    let secrets = context.config.keys.secrets.iter();
    secrets.map(|secret| DigestKey::new(secret, KeyPurpose::CodeOfToken)).collect()
}

pub(super) fn token_digests(context: &Context, purpose: &str, token: &str) -> Vec<Vec<u8>> {
    digests(context, KeyPurpose::ChallengeToken, &[purpose.as_bytes(), token.as_bytes()])
}

/// Contains the id of the challenge. So a code is valid for one challenge, and equal codes have
/// different digests.
pub(super) fn code_digests(
    context: &Context,
    purpose: &str,
    id: ChallengeId,
    code: &str,
) -> Vec<Vec<u8>> {
    let id = id.as_uuid();
    digests(
        context,
        KeyPurpose::ChallengeCode,
        &[purpose.as_bytes(), id.as_bytes(), code.as_bytes()],
    )
}

/// What the rows without an account contain about a person.
pub(crate) struct Traces {
    /// The subjects of proofs of an address. The address had no account, or was already proved.
    pub(crate) subjects: Vec<Vec<u8>>,
    /// The [ids](address_id) of addresses, in the rows of sign-ins by mail.
    pub(crate) addresses: Vec<Uuid>,
}

/// Returns what rows without an account may contain about a person with these names, under each
/// secret. Pass each name in its normal form.
pub(crate) fn traces_of(context: &Context, names: &[String]) -> Traces {
    let verification = Kind::Verification.name();
    let subject =
        |name| Subject { purpose: &verification, account: None, target: Some(name), alone: false };
    Traces {
        subjects: names.iter().flat_map(|name| subject(name).digests(context, &[])).collect(),
        addresses: names.iter().flat_map(|name| address_ids(context, name)).collect(),
    }
}

/// Returns the id of an address without an account, for the column `session_id` of a sign-in by
/// mail. Nobody can make the address from it. No index finds the address itself, and an erasure
/// must find the row if the address gets an account.
pub(crate) fn address_id(context: &Context, normal: &str) -> SessionId {
    address_ids(context, normal).swap_remove(0).into()
}

fn address_ids(context: &Context, normal: &str) -> Vec<Uuid> {
    let parts = [Kind::MailLogin.name().into_owned(), "address".to_owned(), normal.to_owned()];
    let digests =
        digests(context, KeyPurpose::ChallengeSubject, &parts.each_ref().map(String::as_bytes));
    let id = |digest: &Vec<u8>| Uuid::from_slice(&digest[..16]).expect("a digest has 32 bytes");
    digests.iter().map(id).collect()
}

pub(super) fn bindings(context: &Context, parts: &[&[u8]]) -> Vec<Vec<u8>> {
    digests(context, KeyPurpose::ChallengeBinding, parts)
}

/// True if one of them is the stored one. All are compared in constant time, so the time does not
/// reveal which one matches or how much of it.
pub(super) fn any_equal(computed: &[Vec<u8>], stored: &[u8]) -> bool {
    computed.iter().fold(false, |equal, digest| equal | bool::from(digest.ct_eq(stored)))
}

/// Returns the client that uses a challenge, under each secret. Contains the id of the challenge,
/// so that the digests of one browser differ.
pub(super) fn used_from(
    context: &Context,
    id: ChallengeId,
    client: &ClientInfo,
) -> Option<Vec<Vec<u8>>> {
    let address = client.address()?.to_string();
    // No cookie: the answer to the first use may set one, and the second click may be sent before
    // it arrives.
    let program = client.user_agent().unwrap_or_default();
    let id = id.as_uuid();
    let parts: [&[u8]; 3] = [id.as_bytes(), address.as_bytes(), program.as_bytes()];
    Some(digests(context, KeyPurpose::UsedFrom, &parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spellings_of_one_target_are_counted_as_one() {
        let groups: [&[&str]; 4] = [
            &[
                "bob@example.com",
                " BOB@Example.com ",
                "bob+shop@example.com",
                "Bob <bob@example.com>",
                "somebody <BOB+1@example.com>",
            ],
            &[
                "+49 151 1234567",
                "+49-151-1234567",
                "+49 (151) 1234567",
                "\u{ff0b}49151\u{ff11}234567",
            ],
            &["0151 1234567", "0151-1234567", "0151/1234567", "015-11234567"],
            &["order 17", " order 17"],
        ];
        for group in groups {
            for target in group {
                assert_eq!(counted_as(target), counted_as(group[0]), "{target}");
            }
        }
        for (at, group) in groups.iter().enumerate() {
            for other in &groups[at + 1..] {
                assert_ne!(counted_as(group[0]), counted_as(other[0]));
            }
        }
    }
}
