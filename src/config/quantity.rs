//! Durations and sizes as an operator types them: a plain number (of milliseconds, or bytes), or
//! a whole number with a unit, such as `30s`, `500ms`, `64MiB`, `1 MB`.
//!
//! There are no fractions: `1500ms` says what `1.5s` would, and whoever types `1.5` for
//! milliseconds meant something else.

/// Milliseconds in `text`, or none if it is not a duration.
pub fn millis(text: &str) -> Option<u64> {
    scaled(text, |unit| match unit {
        "" | "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60 * 1000),
        "h" => Some(60 * 60 * 1000),
        _ => None,
    })
}

/// Bytes in `text`, or none if it is not a size. The case of the unit is ignored.
pub fn bytes(text: &str) -> Option<u64> {
    scaled(text, |unit| match unit.to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "kb" => Some(1000),
        "mb" => Some(1000 * 1000),
        "gb" => Some(1000 * 1000 * 1000),
        "kib" => Some(1 << 10),
        "mib" => Some(1 << 20),
        "gib" => Some(1 << 30),
        _ => None,
    })
}

fn scaled(text: &str, unit: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    number.checked_mul(unit(text[digits..].trim_start())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_multiply_and_nonsense_is_none() {
        assert_eq!(
            ["500", "500ms", "30s", "5 m", "1h"].map(millis),
            [500, 500, 30_000, 300_000, 3_600_000].map(Some)
        );
        assert_eq!(["7", "1KB", "64MiB", "1 mb"].map(bytes), [7, 1000, 64 << 20, 1_000_000].map(Some));
        for bad in ["", "s", "-1", "1.5s", "1d", "30 s s", "99999999999999999999", "18446744073709551615h"] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }
}
