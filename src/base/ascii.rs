//! ASCII as the mail standards use it: decimal numbers, short ids, names without case.

/// The number that `digits` spell in decimal; none if empty, not digits, or beyond 64 bits.
pub fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A queue id as people read it: the number to the base of 62, at most eleven characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Base62(pub u64);

impl core::fmt::Display for Base62 {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut digits = [b'0'; 11];
        let mut rest = self.0;
        let mut used = 0;
        for digit in digits.iter_mut().rev() {
            *digit = DIGITS.get((rest % 62) as usize).copied().unwrap_or(b'0');
            rest /= 62;
            used += 1;
            if rest == 0 {
                break;
            }
        }
        let digits = digits.get(digits.len() - used..).unwrap_or_default();
        formatter.write_str(core::str::from_utf8(digits).unwrap_or_default())
    }
}

/// The number that `text` spells to the base of 62.
pub fn parse_base62(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.bytes().try_fold(0u64, |sum, byte| {
        let digit = DIGITS.iter().position(|digit| *digit == byte)?;
        sum.checked_mul(62)?.checked_add(u64::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals() {
        assert_eq!(parse_decimal(b"0"), Some(0));
        assert_eq!(parse_decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b""[..], b"18446744073709551616", b"-1", b"1 ", b"0x1"] {
            assert_eq!(parse_decimal(bad), None);
        }
    }

    #[test]
    fn ids_there_and_back() {
        for number in [0, 1, 61, 62, 1 << 32, (5 << 32) | 77, u64::MAX] {
            assert_eq!(parse_base62(&Base62(number).to_string()), Some(number));
        }
        assert_eq!(parse_base62("zzzzzzzzzzzz"), None);
        assert_eq!(parse_base62("a-b"), None);
    }
}
