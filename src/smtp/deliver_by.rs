//! BY=, by when a message is to be delivered, and what is to be done if it is not (RFC 2852).
//!
//! Read first: RFC 2852 §4.

use crate::base::ascii::parse_decimal;
use core::fmt;

/// RFC 2852 §4: of the number.
const DIGITS_MAX: usize = 9;
/// The furthest end, either way.
pub const SECONDS_MAX: i32 = 999_999_999;

/// See the module's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeliverBy {
    /// So many seconds from now; it may be over already if nothing is to be returned.
    pub seconds: i32,
    /// What is late is returned (R). Else its sender is told, and it goes on (N).
    pub is_final: bool,
    /// Each server that hands it on tells its sender (T).
    pub is_traced: bool,
}

impl DeliverBy {
    /// Reads the value of BY=.
    pub fn parse(value: &[u8]) -> Option<DeliverBy> {
        let at = value.iter().position(|byte| *byte == b';')?;
        let (number, mode) = (value.get(..at)?, value.get(at + 1..)?);
        let (is_negative, digits) = match number {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] | digits => (false, digits),
        };
        if digits.len() > DIGITS_MAX {
            return None;
        }
        let seconds = i32::try_from(parse_decimal(digits)?).ok()?;
        let seconds = if is_negative { -seconds } else { seconds };
        let is_final = match mode.first()? {
            b'R' | b'r' => true,
            b'N' | b'n' => false,
            _ => return None,
        };
        let is_traced = match mode.get(1..)? {
            [] => false,
            [b'T' | b't'] => true,
            _ => return None,
        };
        // RFC 2852 §4: what is late already cannot be returned for it later.
        let is_sensible = !is_final || seconds > 0;
        is_sensible.then_some(DeliverBy { seconds, is_final, is_traced })
    }
}

/// As SMTP spells it.
impl fmt::Display for DeliverBy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.is_final { "R" } else { "N" };
        let trace = if self.is_traced { "T" } else { "" };
        write!(formatter, "{};{mode}{trace}", self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for (text, shown) in [
            ("120;R", "120;R"),
            ("+120;n", "120;N"),
            ("-5;NT", "-5;NT"),
            ("0;N", "0;N"),
            ("999999999;rt", "999999999;RT"),
            ("0;R", ""),
            ("-1;R", ""),
            ("1000000000;N", ""),
            ("120", ""),
            ("120;", ""),
            ("120;X", ""),
            ("120;RX", ""),
            ("120;RTT", ""),
            (";R", ""),
            ("+;R", ""),
            ("--1;N", ""),
            ("1 ;N", ""),
            ("R;120", ""),
        ] {
            let seen = DeliverBy::parse(text.as_bytes());
            assert_eq!(seen.map_or(String::new(), |by| by.to_string()), shown, "{text}");
        }
    }
}
