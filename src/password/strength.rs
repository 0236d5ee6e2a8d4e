//! Estimates with zxcvbn how hard a password is to guess.
//!
//! zxcvbn reads the first hundred characters and takes up to some milliseconds, so it runs on a
//! blocking thread. It does not wipe its own copies of parts of the password.

use zxcvbn::{Score, zxcvbn};

use crate::config::Strength;

/// The limits for the words that zxcvbn gets: bytes of one word, and number of words.
const MAX_WORD: usize = 100;
const MAX_WORDS: usize = 32;

/// Returns why a password is too easy to guess, if it is.
pub(crate) fn too_weak(password: &[u8], words: &[String], least: Strength) -> Option<String> {
    let text = std::str::from_utf8(password).ok()?;
    let mut known: Vec<&str> = Vec::new();
    for word in words.iter().take(MAX_WORDS) {
        let local = word.split_once('@').map(|(local, _)| local);
        known.extend([Some(&**word), local].into_iter().flatten().filter(|w| w.len() <= MAX_WORD));
    }
    let least = match least {
        Strength::Fair => Score::Two,
        Strength::Good => Score::Three,
        Strength::Strong => Score::Four,
    };
    let judged = zxcvbn(text, &known);
    if judged.score() >= least {
        return None;
    }
    let warning = judged.feedback().and_then(zxcvbn::feedback::Feedback::warning);
    Some(match warning {
        Some(warning) => {
            format!("is too easy to guess ({})", warning.to_string().trim_end_matches('.'))
        }
        None => "is too easy to guess".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weak(password: &str, words: &[&str], least: Strength) -> Option<String> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        too_weak(password.as_bytes(), &words, least)
    }

    #[test]
    fn what_is_easy_to_guess_is_refused_and_what_is_not_passes() {
        for password in ["password2024", "qwertyuiop123", "aaaaaaaaaaaaaaa", "abcdefghijklmnop"] {
            assert!(weak(password, &[], Strength::Good).is_some(), "{password}");
        }
        for password in
            ["correct horse battery staple", "vEx9-mulk-38-tandem", "日本語のとても長い文章です"]
        {
            assert_eq!(weak(password, &[], Strength::Strong), None, "{password}");
        }
        // What is known of the account makes a password weak that consists of it.
        let name = "xqvortlebank";
        assert_eq!(weak("xqvortlebank7", &[], Strength::Good), None);
        assert!(weak("xqvortlebank7", &[name], Strength::Good).is_some());
        assert!(weak("xqvortlebank7", &["xqvortlebank@example.com"], Strength::Good).is_some());
        // The levels are ordered.
        assert!(weak("lamp-tree-92", &[], Strength::Fair).is_none());
        let levels = [Strength::Fair, Strength::Good, Strength::Strong];
        let refused = levels.map(|least| weak("monkeys7", &[], least).is_some());
        assert!(refused.is_sorted(), "{refused:?}");
    }
}
