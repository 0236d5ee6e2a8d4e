//! Verifying HS256 with each backend of jsonwebtoken. Each runs in a separate process.

use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use jsonwebtoken::crypto;

use crate::Failure;
use crate::by_hand::Signer;
use crate::data::{forge, secret};
use crate::figures::{Table, median, number};

const BACKENDS: [&str; 2] = ["rust_crypto", "aws_lc_rs"];
const ROUNDS: usize = 21;
const CALLS: u32 = 20_000;

/// Runs this program once per backend and prints the results.
pub(crate) fn compare() -> Result<(), Failure> {
    let columns = ["backend", "decode ns", "refuse a forged one ns", "signature alone ns"];
    let mut table = Table::new("HS256 in process", &columns);
    for backend in BACKENDS {
        let child = Command::new(std::env::current_exe()?)
            .args(["hs256-backend", backend])
            .stderr(std::process::Stdio::inherit())
            .output()?;
        let text = String::from_utf8(child.stdout)?;
        let figures: Vec<_> = text.split_whitespace().collect();
        let [decode, refuse, signature] = figures[..] else {
            return Err(format!("{backend} said {text:?}").into());
        };
        table.row([backend, decode, refuse, signature]);
    }
    table.print();
    Ok(())
}

/// Runs in the child process: prints the name of the backend and its three figures.
pub(crate) fn measure(arguments: &[String]) -> Result<(), Failure> {
    let installed = match arguments.first().map(String::as_str) {
        Some("rust_crypto") => crypto::rust_crypto::DEFAULT_PROVIDER.install_default(),
        Some("aws_lc_rs") => crypto::aws_lc::DEFAULT_PROVIDER.install_default(),
        _ => return Err("name a backend".into()),
    };
    installed.map_err(|_| "another backend is installed")?;
    let secret = secret()?;
    let signer = Signer::new(&secret);
    let good = signer.sign(b"sixteen bytes ok", 3_600)?;
    let forged = forge(&good);
    if signer.verify(&good).is_none() || signer.verify(&forged).is_some() {
        return Err("the backend does not tell good from forged".into());
    }
    let key = jsonwebtoken::DecodingKey::from_secret(secret.as_bytes())?;
    let (message, signature) = good.rsplit_once('.').ok_or("a token has a signature")?;
    let (message, algorithm) = (message.as_bytes(), jsonwebtoken::Algorithm::HS256);
    let decode = nanos(|| signer.verify(black_box(&good)).is_some());
    let refuse = nanos(|| signer.verify(black_box(&forged)).is_some());
    let signature = nanos(|| crypto::verify(black_box(signature), message, &key, algorithm));
    println!("{} {} {}", number(decode), number(refuse), number(signature));
    Ok(())
}

/// Returns the median time of one call over many rounds, in nanoseconds.
pub(crate) fn nanos<T>(mut call: impl FnMut() -> T) -> f64 {
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(call());
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    });
    median(rounds)
}
