//! Lists of passwords that are known from breaches of other services.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::port::{BreachedList, HookError, HookFuture, PasswordSha1};

/// The number of hexadecimal digits of a SHA-1 digest.
const DIGITS: usize = 40;

/// The longest line of such a file, in bytes: the digits, a colon, a count and the line end.
const MAX_LINE: u64 = 100;

/// A sorted file of SHA-1 digests, one a line (`HASH` or `HASH:COUNT`). Have I Been Pwned's
/// downloader writes this form, and calls it "ordered by hash". The file is searched on disk, with
/// about forty short reads a password, and is never loaded.
///
/// To replace the file, rename a new one over it and build a new instance. The old instance keeps
/// reading the file that it opened.
pub struct BreachedFile {
    file: Arc<Mutex<File>>,
    length: u64,
}

impl BreachedFile {
    /// Opens such a file. This checks the first line, the last line and some between. So a file of
    /// another kind or order is refused here.
    ///
    /// # Errors
    /// The file cannot be read, is empty, or is not of this form.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        /// The number of lines that are checked.
        const SAMPLES: u64 = 64;
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut last = None;
        for sample in 0..=SAMPLES {
            // This distance from the end of the file is within the last line.
            let at = length.saturating_sub(DIGITS as u64) / SAMPLES * sample;
            let Some((start, digest)) = line_at(&mut file, at, length)? else { continue };
            if last.is_some_and(|(before, earlier)| start > before && digest <= earlier) {
                return Err(malformed("its lines are not sorted"));
            }
            last = Some((start, digest));
        }
        if last.is_none() {
            return Err(malformed("it is empty"));
        }
        Ok(Self { file: Arc::new(Mutex::new(file)), length })
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("not a sorted list of SHA-1 digests: {what}"),
    )
}

/// Returns where the line that contains `at` begins, and its digest. Returns `None` at the end of
/// the file.
fn line_at(file: &mut File, at: u64, length: u64) -> io::Result<Option<(u64, [u8; 20])>> {
    // The line begins at most one line length earlier.
    let from = at.saturating_sub(MAX_LINE);
    file.seek(SeekFrom::Start(from))?;
    let mut window = BufReader::with_capacity(512, file.take(2 * MAX_LINE));
    let mut start = from;
    let mut line = Vec::new();
    if from > 0 {
        // This is most likely the rest of a line.
        start += window.read_until(b'\n', &mut line)? as u64;
    }
    loop {
        line.clear();
        let read = window.read_until(b'\n', &mut line)? as u64;
        if read == 0 {
            return if start >= length { Ok(None) } else { Err(malformed("a line is too long")) };
        }
        if start + read > at {
            return digest(&line).map(|digest| Some((start, digest)));
        }
        start += read;
    }
}

fn digest(line: &[u8]) -> io::Result<[u8; 20]> {
    let line = line.trim_ascii_end();
    let (digits, rest) = line.split_at_checked(DIGITS).unwrap_or((line, &[]));
    let count = rest.strip_prefix(b":").is_some_and(|n| n.iter().all(u8::is_ascii_digit));
    let digest = data_encoding::HEXUPPER_PERMISSIVE.decode(digits).ok();
    match digest.and_then(|bytes| bytes.try_into().ok()) {
        Some(digest) if rest.is_empty() || count => Ok(digest),
        _ => Err(malformed("a line has another form")),
    }
}

fn search(file: &mut File, length: u64, wanted: [u8; 20]) -> io::Result<bool> {
    let (mut low, mut high) = (0, length);
    while low < high {
        let middle = low + (high - low) / 2;
        let Some((start, found)) = line_at(file, middle, length)? else { return Ok(false) };
        match found.cmp(&wanted) {
            std::cmp::Ordering::Equal => return Ok(true),
            // The search continues behind this line. Its end is not known here, but one step is
            // enough.
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = start,
        }
    }
    Ok(false)
}

impl BreachedList for BreachedFile {
    fn contains<'a>(&'a self, password: &'a PasswordSha1) -> HookFuture<'a, bool> {
        let (file, length, wanted) = (Arc::clone(&self.file), self.length, password.bytes());
        Box::pin(async move {
            let work = move || {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                search(&mut file, length, wanted)
            };
            Ok(tokio::task::spawn_blocking(work).await.map_err(HookError::from)??)
        })
    }
}

impl fmt::Debug for BreachedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreachedFile").field("length", &self.length).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn hex(number: u32) -> String {
        // The numbers are spread over the whole range, like real digests.
        let spread = u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        format!("{spread:016X}{number:08X}0123456789ABCDEF")
    }

    fn bytes(hex: &str) -> [u8; 20] {
        data_encoding::HEXUPPER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
    }

    fn write(lines: &[String], end: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for line in lines {
            write!(file, "{line}{end}").unwrap();
        }
        file
    }

    #[test]
    fn each_digest_of_a_file_is_found_and_its_neighbours_are_not() {
        for (count, end, counted) in
            [(1, "\n", true), (2, "\r\n", true), (3, "\n", false), (5000, "\r\n", true)]
        {
            let mut digests: Vec<_> = (0..count).map(hex).collect();
            digests.sort();
            let lines: Vec<_> = digests
                .iter()
                .enumerate()
                .map(|(at, hex)| if counted { format!("{hex}:{}", at * at) } else { hex.clone() })
                .collect();
            let file = write(&lines, end);
            let mut list = BreachedFile::open(file.path()).unwrap();
            let length = list.length;
            let file = Arc::get_mut(&mut list.file).unwrap().get_mut().unwrap();
            for digest in &digests {
                let mut wanted = bytes(digest);
                assert!(search(file, length, wanted).unwrap(), "{digest}");
                wanted[19] ^= 1;
                assert!(!search(file, length, wanted).unwrap(), "beside {digest}");
            }
            for absent in [[0; 20], [0xFF; 20]] {
                assert_eq!(search(file, length, absent).unwrap(), bytes(&digests[0]) == absent);
            }
        }
    }

    #[test]
    fn the_last_line_counts_with_and_without_its_end() {
        for end in ["", "\n"] {
            let (first, last) = ("0".repeat(40), "F".repeat(40));
            let file = write(&[format!("{first}:1\n{last}:2{end}")], "");
            let list = BreachedFile::open(file.path()).unwrap();
            let mut file = list.file.lock().unwrap();
            assert!(search(&mut file, list.length, [0xFF; 20]).unwrap());
            assert!(search(&mut file, list.length, [0; 20]).unwrap());
        }
    }

    #[test]
    fn another_file_is_found_out_when_it_is_opened() {
        let sorted: Vec<_> = ["0", "1", "2"].map(|digit| digit.repeat(40)).to_vec();
        let mut reversed = sorted.clone();
        reversed.reverse();
        for (lines, what) in [
            (Vec::new(), "empty"),
            (reversed, "sorted"),
            (vec!["password".to_owned(), "123456".to_owned()], "form"),
            (vec!["0".repeat(39)], "form"),
            (vec![format!("{}:x", "0".repeat(40))], "form"),
            (vec![format!("{}1", "0".repeat(40))], "form"),
            (vec!["0".repeat(1000)], "form"),
            // The list of NTLM digests is sorted as well.
            (vec!["0".repeat(32), "1".repeat(32)], "form"),
        ] {
            let file = write(&lines, "\n");
            let error = BreachedFile::open(file.path()).expect_err(what);
            assert!(error.to_string().contains(what), "{error}");
        }
        assert!(BreachedFile::open(write(&sorted, "\n").path()).is_ok());
        assert!(BreachedFile::open("/nowhere/at/all").is_err());
    }
}
