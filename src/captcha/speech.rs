//! The sound of a challenge: recordings of digits, one after the other, as a WAV file.
//!
//! The voice, the pitch and the loudness of each digit and the pauses differ, and there is noise. The
//! recordings were made once, see `spoken_digits.LICENSE.txt` beside this file.

use std::sync::LazyLock;

use super::noise::Noise;

/// Samples a second.
const RATE: usize = 8_000;

/// How fast a recording is played. A faster one is higher.
const SPEEDS: [f32; 7] = [0.88, 0.92, 0.96, 1.0, 1.04, 1.08, 1.12];

const VOICES: usize = 4;
const DIGITS: usize = 10;

/// The size of the header of a WAV file.
const HEADER: usize = 44;

static RECORDINGS: LazyLock<Vec<Vec<f32>>> = LazyLock::new(|| {
    let file = include_bytes!("spoken_digits.ulaw");
    let (lengths, mut rest) = file.split_at(2 * VOICES * DIGITS);
    let recordings = lengths.chunks_exact(2).map(|length| {
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let (samples, others) = rest.split_at(length);
        rest = others;
        samples.iter().map(|sample| expand(*sample)).collect()
    });
    recordings.collect()
});

/// Returns the loudness that a byte of µ-law stands for (ITU-T G.711).
fn expand(byte: u8) -> f32 {
    let byte = !byte;
    let (exponent, mantissa) = ((byte >> 4) & 7, byte & 15);
    let size = (((i32::from(mantissa) << 3) + 0x84) << exponent) - 0x84;
    if byte & 0x80 == 0 { size as f32 } else { -size as f32 }
}

/// Returns a recording at another speed.
fn played(voice: usize, digit: u8, speed: f32) -> Vec<f32> {
    let recording = &RECORDINGS[voice * DIGITS + usize::from(digit)];
    let length = (recording.len() as f32 / speed) as usize;
    let sample = |at: usize| {
        let position = at as f32 * speed;
        let (before, part) = (position as usize, position.fract());
        let next = recording.get(before + 1).copied().unwrap_or_default();
        recording.get(before).map_or(0.0, |here| here + (next - here) * part)
    };
    (0..length).map(sample).collect()
}

/// Returns the sound of these digits. The same digits and seed give the same bytes.
pub(super) fn wav(digits: &[u8], seed: &[u8]) -> Vec<u8> {
    let samples = speak(digits, seed);
    let bytes = 2 * samples.len() as u32;
    let mut file = Vec::with_capacity(HEADER + bytes as usize);
    file.extend(b"RIFF");
    file.extend((bytes + HEADER as u32 - 8).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    // Uncompressed, one channel.
    file.extend([1, 0, 1, 0]);
    file.extend((RATE as u32).to_le_bytes());
    file.extend((2 * RATE as u32).to_le_bytes());
    // Two bytes with 16 bits for each sample.
    file.extend([2, 0, 16, 0]);
    file.extend(b"data");
    file.extend(bytes.to_le_bytes());
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

fn speak(digits: &[u8], seed: &[u8]) -> Vec<i16> {
    let mut noise = Noise::new(seed, "speech");
    let pause = |noise: &mut Noise, from: f32, to: f32| {
        vec![0.0; (noise.between(from, to) * RATE as f32) as usize]
    };
    let mut samples = pause(&mut noise, 0.4, 0.7);
    for digit in digits {
        let (voice, speed) = (noise.below(VOICES), SPEEDS[noise.below(SPEEDS.len())]);
        let loudness = noise.between(0.7, 1.0);
        samples.extend(played(voice, *digit, speed).iter().map(|sample| sample * loudness));
        samples.extend(pause(&mut noise, 0.35, 0.75));
    }
    murmur(&mut samples, &mut noise);
    // The cast of a float stops at both ends of the range.
    samples.iter().map(|sample| (sample + noise.between(-500.0, 500.0)) as i16).collect()
}

/// Adds voices in the background: other digits, backwards and faint.
fn murmur(samples: &mut [f32], noise: &mut Noise) {
    let mut at = 0;
    while at < samples.len() {
        let speed = SPEEDS[noise.below(SPEEDS.len())];
        let word = played(noise.below(VOICES), noise.below(DIGITS) as u8, speed);
        let loudness = noise.between(0.02, 0.06);
        for (sample, other) in samples[at..].iter_mut().zip(word.iter().rev()) {
            *sample += other * loudness;
        }
        at += word.len().max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the samples of a WAV file.
    fn decode(file: &[u8]) -> Vec<f32> {
        let number = |at: usize| {
            let bytes: [u8; 4] = file[at..at + 4].try_into().expect("four bytes");
            u32::from_le_bytes(bytes) as usize
        };
        assert_eq!((&file[..4], &file[8..16]), (&b"RIFF"[..], &b"WAVEfmt "[..]));
        assert_eq!((number(4), number(16)), (file.len() - 8, 16));
        assert_eq!(file[20..24], [1, 0, 1, 0]);
        assert_eq!((number(24), number(28)), (RATE, 2 * RATE));
        assert_eq!((&file[32..36], &file[36..40]), (&[2, 0, 16, 0][..], &b"data"[..]));
        assert_eq!(number(40), file.len() - HEADER);
        let samples = file[HEADER..].chunks_exact(2);
        samples.map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]]))).collect()
    }

    const FRAME: usize = RATE / 50;
    const LOUD: f32 = 1_300.0;

    /// Returns true for each frame of 20 ms with speech.
    fn loud(samples: &[f32]) -> Vec<bool> {
        let frames = samples.chunks(FRAME);
        let mean = |frame: &[f32]| frame.iter().map(|s| s.abs()).sum::<f32>() / frame.len() as f32;
        frames.map(|frame| mean(frame) > LOUD).collect()
    }

    /// Returns where each word begins. Within a word there is silence for at most 0.25 s.
    fn words(samples: &[f32]) -> Vec<usize> {
        let (mut starts, mut quiet) = (Vec::new(), 100);
        for (at, loud) in loud(samples).into_iter().enumerate() {
            if loud && quiet > 12 {
                starts.push(at * FRAME);
            }
            quiet = if loud { 0 } else { quiet + 1 };
        }
        starts
    }

    /// How many samples are compared, and how far the place may be off.
    const COMPARED: usize = 800;
    const OFF: usize = FRAME;

    /// Finds the digit that begins about here, by comparing it with every digit in every voice and
    /// speed.
    fn recognise(samples: &[f32], start: usize) -> u8 {
        let mut best = (0, f32::MIN);
        let from = start.saturating_sub(OFF);
        for voice in 0..VOICES {
            for digit in 0..10 {
                for speed in SPEEDS {
                    let word = played(voice, digit, speed);
                    let begins = words(&word)[0];
                    let word = &word[begins..word.len().min(begins + COMPARED)];
                    let word: Vec<_> = word.iter().step_by(2).copied().collect();
                    let size = word.iter().map(|s| s * s).sum::<f32>().sqrt();
                    for shift in 0..2 * OFF {
                        let Some(here) = samples.get(from + shift..from + shift + COMPARED) else {
                            continue;
                        };
                        let here = here.iter().step_by(2);
                        let (mut same, mut other) = (0.0, 0.0);
                        for (one, two) in here.zip(&word) {
                            same += one * two;
                            other += one * one;
                        }
                        let score = same / (size * other.sqrt()).max(1.0);
                        if score > best.1 {
                            best = (digit, score);
                        }
                    }
                }
            }
        }
        best.0
    }

    #[test]
    fn a_comparison_with_the_recordings_finds_the_digits() {
        for (number, digits) in (0_u8..).zip([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]) {
            let samples = decode(&wav(&digits, &[number]));
            let words = words(&samples);
            let found: Vec<_> = words.iter().map(|at| recognise(&samples, *at)).collect();
            assert_eq!(found, digits, "{words:?}");
        }
    }

    #[test]
    fn a_sound_lasts_three_to_fifteen_seconds_whatever_is_said() {
        for number in 0..20_u8 {
            for digit in 0..10 {
                let seconds = decode(&wav(&[digit; 6], &[number])).len() as f32 / RATE as f32;
                assert!((3.0..=15.0).contains(&seconds), "{digit}: {seconds}");
            }
        }
    }

    #[test]
    fn a_sound_is_the_same_at_every_time_and_differs_from_one_with_the_same_digits() {
        let digits = [1, 2, 3, 4, 5, 6];
        let sound = wav(&digits, b"seed");
        assert_eq!(sound, wav(&digits, b"seed"));
        assert_ne!(sound, wav(&digits, b"need"));
        assert_ne!(sound, wav(&[1, 2, 3, 4, 5, 7], b"seed"));
    }

    #[test]
    fn every_recording_can_be_heard() {
        assert_eq!(RECORDINGS.len(), VOICES * DIGITS);
        for recording in RECORDINGS.iter() {
            let seconds = recording.len() as f32 / RATE as f32;
            assert!((0.25..1.0).contains(&seconds), "{seconds}");
            let loudest = recording.iter().fold(0.0_f32, |most, s| most.max(s.abs()));
            assert!(loudest > 20_000.0, "{loudest}");
        }
    }
}
