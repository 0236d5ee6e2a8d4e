//! The picture of a challenge: digits as lines, turned, bent and crossed, as a PNG.
//!
//! The sine and cosine of the standard library may differ in the last bit between platforms. That
//! changes hardly any pixel, and the pixels of one node are always the same.

use super::glyph::{Point, lines};
use super::noise::Noise;

/// The size of the picture in pixels.
const WIDTH: usize = 270;
const HEIGHT: usize = 80;

/// The size of a digit before it is changed.
const DIGIT: Point = (25.0, 42.0);

/// Returns the picture of these digits. The same digits and seed give the same bytes.
pub(super) fn png(digits: &[u8], seed: &[u8]) -> Vec<u8> {
    let pixels = draw(digits, seed);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, WIDTH as u32, HEIGHT as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(&pixels)?;
        writer.finish()
    });
    written.expect("there are as many pixels as the header says, and memory takes all bytes");
    bytes
}

fn draw(digits: &[u8], seed: &[u8]) -> Vec<u8> {
    let mut noise = Noise::new(seed, "picture");
    let waves = [Wave::new(&mut noise), Wave::new(&mut noise)];
    let bent = |(x, y): Point| (x + waves[0].at(y), y + waves[1].at(x));
    let mut ink = Ink::new();
    let distance = WIDTH as f32 / (digits.len() as f32 + 0.4);
    for (place, digit) in (0_u8..).zip(digits) {
        let centre = (
            distance * (f32::from(place) + 0.7) + noise.between(-4.0, 4.0),
            HEIGHT as f32 / 2.0 + noise.between(-6.0, 6.0),
        );
        let pose = Pose {
            centre,
            size: (DIGIT.0 * noise.between(0.88, 1.12), DIGIT.1 * noise.between(0.88, 1.12)),
            slant: noise.between(-0.2, 0.2),
            angle: noise.between(-0.24, 0.24),
        };
        let (pen, tone) = (noise.between(2.6, 3.8), noise.between(0.8, 1.0));
        for line in lines(*digit) {
            let line: Vec<_> = line.into_iter().map(|point| bent(pose.place(point))).collect();
            ink.line(&line, pen, tone);
        }
    }
    for _ in 0..4 {
        ink.line(&crossing(&mut noise), 1.3, noise.between(0.5, 0.8));
    }
    for _ in 0..60 {
        let spot = (noise.between(0.0, WIDTH as f32), noise.between(0.0, HEIGHT as f32));
        ink.line(&[spot, (spot.0 + noise.between(-3.0, 3.0), spot.1)], 1.5, 0.7);
    }
    let slope = noise.between(-20.0, 20.0);
    let pixels = ink.0.iter().enumerate().map(|(at, ink)| {
        let paper = 225.0 + slope * (at % WIDTH) as f32 / WIDTH as f32;
        // The cast of a float stops at both ends of the range.
        (paper - 170.0 * ink + noise.between(-22.0, 22.0)) as u8
    });
    pixels.collect()
}

/// A line through the whole picture.
fn crossing(noise: &mut Noise) -> Vec<Point> {
    let (from, to) = (noise.between(0.0, HEIGHT as f32), noise.between(0.0, HEIGHT as f32));
    let wave = Wave::new(noise);
    let at = |step: u8| {
        let part = f32::from(step) / 20.0;
        let x = part * WIDTH as f32;
        (x, from + (to - from) * part + 2.0 * wave.at(x))
    };
    (0..=20).map(at).collect()
}

/// A wave along one axis.
struct Wave {
    height: f32,
    length: f32,
    phase: f32,
}

impl Wave {
    fn new(noise: &mut Noise) -> Self {
        Self {
            height: noise.between(1.5, 3.5),
            length: noise.between(70.0, 130.0),
            phase: noise.between(0.0, std::f32::consts::TAU),
        }
    }

    fn at(&self, position: f32) -> f32 {
        self.height * (position / self.length * std::f32::consts::TAU + self.phase).sin()
    }
}

/// Where a digit stands, and how.
struct Pose {
    centre: Point,
    size: Point,
    slant: f32,
    /// In radians.
    angle: f32,
}

impl Pose {
    /// Returns the pixel of a point of the digit's box.
    fn place(&self, (x, y): Point) -> Point {
        let y = (y - 0.5) * self.size.1;
        let x = (x - 0.5) * self.size.0 - self.slant * y;
        let (sin, cos) = self.angle.sin_cos();
        (self.centre.0 + x * cos - y * sin, self.centre.1 + x * sin + y * cos)
    }
}

/// How dark each pixel is, from 0 to 1.
struct Ink(Vec<f32>);

impl Ink {
    fn new() -> Self {
        Self(vec![0.0; WIDTH * HEIGHT])
    }

    /// Draws a line through these points.
    fn line(&mut self, points: &[Point], pen: f32, tone: f32) {
        for pair in points.windows(2) {
            self.piece(pair[0], pair[1], pen / 2.0, tone);
        }
    }

    /// Draws a straight piece with round ends. Only the pixels near it are looked at.
    fn piece(&mut self, from: Point, to: Point, radius: f32, tone: f32) {
        let reach = radius + 1.0;
        let range = |one: f32, other: f32, most: usize| {
            // The cast of a float below zero gives zero.
            let first = (one.min(other) - reach).floor() as usize;
            let last = (one.max(other) + reach).ceil() as usize;
            first.min(most)..(last + 1).min(most)
        };
        let (along, length) = ((to.0 - from.0, to.1 - from.1), distance(from, to).max(0.01));
        for y in range(from.1, to.1, HEIGHT) {
            for x in range(from.0, to.0, WIDTH) {
                let here = (x as f32, y as f32);
                let part =
                    ((here.0 - from.0) * along.0 + (here.1 - from.1) * along.1) / (length * length);
                let part = part.clamp(0.0, 1.0);
                let nearest = (from.0 + part * along.0, from.1 + part * along.1);
                let covered = (radius + 0.5 - distance(here, nearest)).clamp(0.0, 1.0) * tone;
                let pixel = &mut self.0[y * WIDTH + x];
                *pixel = pixel.max(covered);
            }
        }
    }
}

fn distance(one: Point, other: Point) -> f32 {
    (one.0 - other.0).hypot(one.1 - other.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the pixels of a picture.
    fn decode(bytes: &[u8]) -> Vec<f32> {
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
        let info = reader.next_frame(&mut pixels).expect("pixels");
        assert_eq!((info.width, info.height), (WIDTH as u32, HEIGHT as u32));
        assert_eq!(info.color_type, png::ColorType::Grayscale);
        pixels.iter().map(|pixel| 255.0 - f32::from(*pixel)).collect()
    }

    /// The half size of the window in which a digit is compared, and the distance of its pixels.
    const HALF: (i32, i32) = (20, 30);
    const EVERY: usize = 2;

    /// Returns every pose in which a digit is looked for: its pixels in the window, with the mean zero
    /// and the length one.
    fn templates(digit: u8) -> Vec<Vec<f32>> {
        let mut templates = Vec::new();
        for angle in [-0.26, -0.13, 0.0, 0.13, 0.26] {
            for slant in [-0.15, 0.0, 0.15] {
                for grown in [0.92, 1.08] {
                    let size = (DIGIT.0 * grown, DIGIT.1 * grown);
                    let pose = Pose { centre: (135.0, 40.0), size, slant, angle };
                    let mut ink = Ink::new();
                    for line in lines(digit) {
                        let line: Vec<_> = line.into_iter().map(|p| pose.place(p)).collect();
                        ink.line(&line, 4.5, 1.0);
                    }
                    templates.push(window(&ink.0, (135, 40)).expect("it is inside").0);
                }
            }
        }
        templates
    }

    /// Returns the pixels around a centre with the mean zero and the length one.
    fn window(pixels: &[f32], centre: (i32, i32)) -> Option<(Vec<f32>, f32)> {
        let mut found = Vec::new();
        for y in (-HALF.1..=HALF.1).step_by(EVERY) {
            for x in (-HALF.0..=HALF.0).step_by(EVERY) {
                let (x, y) = (centre.0 + x, centre.1 + y);
                // Beyond the edge is paper.
                let inside = (0..WIDTH as i32).contains(&x) && (0..HEIGHT as i32).contains(&y);
                let at = usize::try_from(y * WIDTH as i32 + x).ok().filter(|_| inside);
                found.push(at.map_or(30.0, |at| pixels[at]));
            }
        }
        let mean = found.iter().sum::<f32>() / found.len() as f32;
        let length = found.iter().map(|pixel| (pixel - mean).powi(2)).sum::<f32>().sqrt();
        (length > 0.0).then(|| (found.iter().map(|pixel| (pixel - mean) / length).collect(), mean))
    }

    /// Finds the digits of a picture by comparing each place with every digit in many poses.
    fn read(bytes: &[u8], count: usize) -> Vec<u8> {
        let pixels = decode(bytes);
        let templates: Vec<_> = (0..10).map(templates).collect();
        let distance = WIDTH as f32 / (count as f32 + 0.4);
        let places = (0..count).map(|place| (distance * (place as f32 + 0.7)) as i32);
        let best = places.map(|place| {
            let mut best = (0, f32::MIN);
            for x in (place - 8..=place + 8).step_by(2) {
                for y in (30..=50).step_by(2) {
                    let Some((here, _)) = window(&pixels, (x, y)) else { continue };
                    for (digit, poses) in (0_u8..).zip(&templates) {
                        for pose in poses {
                            let same: f32 = here.iter().zip(pose).map(|(a, b)| a * b).sum();
                            if same > best.1 {
                                best = (digit, same);
                            }
                        }
                    }
                }
            }
            best.0
        });
        best.collect()
    }

    #[test]
    fn a_comparison_with_the_shapes_finds_the_digits() {
        let all = [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 3, 5]];
        let (mut right, mut tried) = (0, 0);
        for (number, digits) in (0_u8..).zip(all) {
            let picture = png(&digits, &[number]);
            let found = read(&picture, digits.len());
            tried += digits.len();
            right += digits.iter().zip(&found).filter(|(one, other)| one == other).count();
        }
        assert!(right + 1 >= tried, "{right} of {tried}");
    }

    #[test]
    fn a_picture_is_the_same_at_every_time_and_differs_from_one_with_the_same_digits() {
        let digits = [1, 2, 3, 4, 5, 6];
        let picture = png(&digits, b"seed");
        assert_eq!(picture, png(&digits, b"seed"));
        assert_ne!(picture, png(&digits, b"need"));
        assert_ne!(picture, png(&[1, 2, 3, 4, 5, 7], b"seed"));
        assert!(picture.len() < 24_000, "{}", picture.len());
        // The pixels of two drawings with the same digits differ too, and not only their noise.
        let (one, other) = (decode(&picture), decode(&png(&digits, b"need")));
        let differ = one.iter().zip(&other).filter(|(one, other)| (*one - *other).abs() > 60.0);
        assert!(differ.count() > 500);
    }
}
