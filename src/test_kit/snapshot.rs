//! Compares a text with a file.

use std::path::Path;

use crate::config::env::updates_snapshots;

/// Compares a text with its file, or writes the file if the environment says so.
#[track_caller]
pub(super) fn check(text: &str, path: &Path) {
    if updates_snapshots() {
        if let Err(error) = std::fs::write(path, text) {
            panic!("{} could not be written: {error}", path.display());
        }
        return;
    }
    let kept = match std::fs::read_to_string(path) {
        // A checkout may have changed the line ends.
        Ok(kept) => kept.replace("\r\n", "\n"),
        Err(error) => panic!("{}: {error}\n\n{HOW_TO_UPDATE}\n\n{text}", path.display()),
    };
    if kept != text {
        panic!(
            "{} says otherwise (- is kept, + is now):\n\n{}\n{HOW_TO_UPDATE}",
            path.display(),
            difference(&kept, text)
        );
    }
}

const HOW_TO_UPDATE: &str =
    "run the test with PORTCULLIS_TEST_UPDATE=1 to write the file, and read what changed";

/// Returns the lines of both texts. Lines that only one of them has are marked.
fn difference(old: &str, new: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    // The length of the longest common part of the two rests.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for (i, left) in old.iter().enumerate().rev() {
        for (j, right) in new.iter().enumerate().rev() {
            common[i][j] = if left == right {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut text = String::new();
    let mut line = |mark: char, content: &str| {
        text.push_str(format!("{mark} {content}").trim_end());
        text.push('\n');
    };
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            line(' ', old[i]);
            (i, j) = (i + 1, j + 1);
        } else if j >= new.len() || i < old.len() && common[i + 1][j] >= common[i][j + 1] {
            line('-', old[i]);
            i += 1;
        } else {
            line('+', new[j]);
            j += 1;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_marks_what_only_one_side_has() {
        for (old, new, expected) in [
            ("a\nb\nc\n", "a\nx\nc\n", "  a\n- b\n+ x\n  c\n"),
            ("a\n", "a\nb\n", "  a\n+ b\n"),
            ("a\nb\n", "b\n", "- a\n  b\n"),
            ("", "a\n", "+ a\n"),
            ("a\n", "", "- a\n"),
        ] {
            assert_eq!(difference(old, new), expected);
        }
    }

    #[test]
    #[should_panic(expected = "+ x")]
    fn another_text_than_the_one_kept_is_told_line_by_line() {
        let directory = std::env::temp_dir();
        let path = directory.join(format!("portcullis-snapshot-{}", std::process::id()));
        std::fs::write(&path, "a\r\nb\r\n").expect("a file");
        check("a\nb\n", &path);
        check("a\nx\n", &path);
    }
}
