//! The address of a seed as a QR code.

use qrcode::QrCode;
use qrcode::render::svg;

/// The length of a side in pixels. A page may show the picture in any size.
const SIDE: u32 = 240;

/// Draws a QR code as SVG. Returns `None` if the text is too long for one.
pub(super) fn svg(text: &str) -> Option<String> {
    let code = QrCode::new(text).ok()?;
    Some(code.render::<svg::Color<'_>>().min_dimensions(SIDE, SIDE).build())
}
