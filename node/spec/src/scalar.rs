//! What a plain (unquoted) scalar means: the core schema of YAML 1.2, which JSON's literals are part of.
//!
//! `yes`, `no`, `on` and `off` are text, as are numbers with leading zeros: `0755` read as 755 would lose what was written, and JSON has no
//! such number.

use crate::node::Literal;

pub(crate) fn resolve(text: &str) -> Literal {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Literal::Null,
        "true" | "True" | "TRUE" => return Literal::Bool(true),
        "false" | "False" | "FALSE" => return Literal::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Literal::Float(f64::NAN),
        _ => {}
    }
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return Literal::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    integer(text, negative, digits).or_else(|| float(text, digits)).unwrap_or(Literal::Text)
}

fn integer(text: &str, negative: bool, digits: &str) -> Option<Literal> {
    let radix = |prefix: &str, radix: u32| {
        let digits = text.strip_prefix(prefix)?;
        let valid = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        valid.then(|| i128::from_str_radix(digits, radix).ok().map(Literal::Int)).flatten()
    };
    if let Some(value) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Some(value);
    }
    let decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !decimal || leading_zero(digits) {
        return None;
    }
    // What is too large for 128 bits becomes a float below; `-0` stays an integer, as in JSON readers everywhere.
    let value: i128 = digits.parse().ok()?;
    Some(Literal::Int(if negative { -value } else { value }))
}

fn float(text: &str, digits: &str) -> Option<Literal> {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let valid = is_digits(whole)
        && is_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && !leading_zero(whole)
        && exponent.is_none_or(|exponent| {
            let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
            !exponent.is_empty() && is_digits(exponent)
        });
    if !valid {
        return None;
    }
    text.strip_prefix('+').unwrap_or(text).parse().ok().map(Literal::Float)
}

fn leading_zero(digits: &str) -> bool {
    digits.len() > 1 && digits.starts_with('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_mean_what_the_core_schema_says() {
        for (text, expected) in [
            ("", Literal::Null),
            ("~", Literal::Null),
            ("null", Literal::Null),
            ("true", Literal::Bool(true)),
            ("0", Literal::Int(0)),
            ("-12", Literal::Int(-12)),
            ("+3", Literal::Int(3)),
            ("0x1F", Literal::Int(31)),
            ("0o17", Literal::Int(15)),
            ("9007199254740993", Literal::Int(9_007_199_254_740_993)),
            ("18446744073709551615", Literal::Int(i128::from(u64::MAX))),
            ("1.5", Literal::Float(1.5)),
            ("-0.0", Literal::Float(-0.0)),
            (".5", Literal::Float(0.5)),
            ("1e3", Literal::Float(1000.0)),
            ("1.e-2", Literal::Float(0.01)),
            (".inf", Literal::Float(f64::INFINITY)),
        ] {
            assert_eq!(resolve(text), expected, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_literal_is_text() {
        for text in
            ["yes", "no", "on", "off", "y", "0755", "-007", "00.5", "1_000", "1.2.3", "e3", "1e", "0x", "-", ".", "12:30", "2026-11-24"]
        {
            assert_eq!(resolve(text), Literal::Text, "{text}");
        }
    }
}
