//! The shapes of the ten digits: lines in a box that is one wide and one high, from the top left.

/// A position in the box.
pub(super) type Point = (f32, f32);

/// How many degrees of an arc one straight piece covers.
const STEP: f32 = 20.0;

/// Returns the lines of a digit. Each line is a list of points.
pub(super) fn lines(digit: u8) -> Vec<Vec<Point>> {
    match digit {
        0 => vec![arc((0.5, 0.5), (0.42, 0.5), 0.0, 360.0)],
        1 => vec![vec![(0.2, 0.25), (0.55, 0.0), (0.55, 1.0)], vec![(0.25, 1.0), (0.85, 1.0)]],
        2 => {
            let mut line = arc((0.5, 0.28), (0.4, 0.28), 180.0, 380.0);
            line.extend([(0.1, 1.0), (0.92, 1.0)]);
            vec![line]
        }
        3 => vec![
            arc((0.48, 0.26), (0.36, 0.26), 200.0, 450.0),
            arc((0.48, 0.75), (0.4, 0.25), 270.0, 520.0),
        ],
        4 => vec![vec![(0.68, 1.0), (0.68, 0.0), (0.05, 0.68), (0.98, 0.68)]],
        5 => {
            let mut line = vec![(0.88, 0.0), (0.2, 0.0), (0.14, 0.45)];
            line.extend(arc((0.46, 0.68), (0.42, 0.32), 220.0, 500.0));
            vec![line]
        }
        6 => vec![
            arc((0.5, 0.68), (0.4, 0.32), 0.0, 360.0),
            vec![(0.78, 0.02), (0.42, 0.2), (0.2, 0.42), (0.1, 0.68)],
        ],
        7 => vec![vec![(0.08, 0.0), (0.92, 0.0), (0.38, 1.0)]],
        8 => vec![
            arc((0.5, 0.25), (0.34, 0.25), 0.0, 360.0),
            arc((0.5, 0.75), (0.42, 0.25), 0.0, 360.0),
        ],
        _ => vec![
            arc((0.5, 0.32), (0.4, 0.32), 0.0, 360.0),
            vec![(0.22, 0.98), (0.58, 0.8), (0.8, 0.58), (0.9, 0.32)],
        ],
    }
}

/// Returns a part of an ellipse, clockwise. 0 degrees is at its right, 90 at its bottom.
fn arc(centre: Point, radius: Point, from: f32, to: f32) -> Vec<Point> {
    let pieces = ((to - from) / STEP).ceil();
    let at = |piece: u16| {
        let angle = (from + (to - from) * f32::from(piece) / pieces).to_radians();
        (centre.0 + radius.0 * angle.cos(), centre.1 + radius.1 * angle.sin())
    };
    (0..=pieces as u16).map(at).collect()
}
