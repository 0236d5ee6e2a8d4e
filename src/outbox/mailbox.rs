//! One spelling for each mailbox, used only for limits.
//!
//! Spellings count as the same mailbox if they reach the same person in practice. So this folds
//! upper case, Unicode forms, what follows a `+`, the two domains of Gmail and the dots that it
//! ignores. If it folded too much, two people would share a limit. If it folded too little, a
//! stranger could write to one person under many names. So a `-` starts no tag (it is part of many
//! names), dots at other providers stay, and a subdomain is another host. The limit per source
//! covers what remains.
//!
//! It says nothing about identity: `a+b@example.com` may be another account than `a@example.com`.

use unicode_normalization::UnicodeNormalization;

/// Domains that ignore the dots in a name.
const WITHOUT_DOTS: [&str; 2] = ["gmail.com", "googlemail.com"];

/// Returns the form of a recipient that is counted. A text that is no mail address is only folded.
pub(crate) fn one_spelling(recipient: &str) -> String {
    let text: String = recipient.nfkc().flat_map(char::to_lowercase).nfkc().collect();
    let Some((local, domain)) = text.rsplit_once('@') else { return text };
    let domain = domain.trim_end_matches('.');
    let domain = idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_owned());
    let local = match local.split_once('+') {
        Some((name, _)) if !name.is_empty() => name,
        _ => local,
    };
    if WITHOUT_DOTS.contains(&domain.as_str()) {
        return format!("{}@{}", local.replace('.', ""), WITHOUT_DOTS[0]);
    }
    format!("{local}@{domain}")
}

#[cfg(test)]
mod tests {
    use super::one_spelling;

    #[test]
    fn what_reaches_one_mailbox_has_one_spelling() {
        let rows: [(&str, &[&str]); 4] = [
            (
                "target@example.com",
                &[
                    "target+1@example.com",
                    "target+a+b@example.com",
                    "Target@EXAMPLE.com",
                    "target+@example.com.",
                    "ｔａｒｇｅｔ+x@example.com",
                ],
            ),
            ("a@xn--bcher-kva.example", &["a+b@bücher.example", "a@BÜCHER.example"]),
            ("janedoe@gmail.com", &["jane.doe@gmail.com", "j.a.n.e.d.o.e+x@googlemail.com"]),
            ("+4915112345678", &["+4915112345678"]),
        ];
        for (expected, spellings) in rows {
            for spelling in spellings {
                assert_eq!(one_spelling(spelling), expected, "{spelling}");
            }
        }
    }

    #[test]
    fn what_may_be_another_person_keeps_its_own() {
        let rows = [
            ("jane.doe@example.com", "janedoe@example.com"),
            ("jane-doe@example.com", "jane@example.com"),
            ("jane@mail.example.com", "jane@example.com"),
            ("+jane@example.com", "+john@example.com"),
            ("jane@gmail.com.example", "ja.ne@gmail.com.example"),
        ];
        for (one, other) in rows {
            assert_ne!(one_spelling(one), one_spelling(other));
        }
    }
}
