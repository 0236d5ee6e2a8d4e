//! The address of a seed as a QR code.

use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};

/// The length of a side in pixels. A page may show the picture in any size.
const SIDE: u32 = 240;

/// Draws a QR code as SVG. Returns `None` if the text is too long for one.
pub(super) fn svg(text: &str) -> Option<String> {
    // A long text needs the place of the redundancy.
    let code = QrCode::new(text)
        .or_else(|_| QrCode::with_error_correction_level(text, EcLevel::L))
        .ok()?;
    Some(code.render::<svg::Color<'_>>().min_dimensions(SIDE, SIDE).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_address_fits() {
        // 64 characters of four bytes each, three times, and escaped.
        let name = "%F0%9F%94%91".repeat(64);
        let secret = "A".repeat(32);
        let address = format!(
            "otpauth://totp/{name}:{name}?secret={secret}&issuer={name}&algorithm=SHA512&digits=8\
             &period=120"
        );
        assert!(svg(&address).is_some_and(|picture| picture.contains("<svg")));
        assert!(svg(&"x".repeat(3_000)).is_none());
    }
}
