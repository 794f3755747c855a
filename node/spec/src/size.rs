//! Sizes as people write them: `512KiB`, `2MiB`, `1GB`, `100B`.

/// Units and their bytes.
const UNITS: [(&str, u64); 7] =
    [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("B", 1)];

/// Reads a size; `None` if it is none, or has no unit.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (unit, factor) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number = text.strip_suffix(unit)?.trim_end();
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| number.parse::<u64>().ok()?.checked_mul(*factor)).flatten()
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_have_a_unit() {
        for (text, bytes) in [("512KiB", Some(524_288)), ("2 MiB", Some(2_097_152)), ("1GB", Some(1_000_000_000)), ("7B", Some(7))] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
        for text in ["", "12", "MiB", "1.5MiB", "-1B", "99999999999GiB", "1 mb"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
