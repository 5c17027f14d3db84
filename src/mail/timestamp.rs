//! Dates as programs write them to each other, RFC 3339: `2027-03-01T09:00:00Z`.
//!
//! Written always in UTC and to the second; read with any offset, the fraction of a second passed
//! over. Years are 1970 to 9999; a date beyond is none. A leap second is the second before it.
//!
//! Read first: RFC 3339 §5.6.

use super::stamp::{LAST_SECOND, civil_from_days};
use crate::base::ascii::parse_decimal;
use crate::base::time::UnixTime;
use core::fmt::{self, Write};

const DAY_SECONDS: i64 = 86_400;

/// Writes `time` in UTC; what is beyond the years 1970 to 9999 becomes the nearest end.
pub fn write_timestamp(out: &mut dyn Write, time: UnixTime) -> fmt::Result {
    let seconds = time.seconds.clamp(0, LAST_SECOND);
    let (days, second) = (seconds / DAY_SECONDS, seconds % DAY_SECONDS);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Reads `text`, all of which must be one date-time: seconds since 1970.
pub fn parse_timestamp(text: &[u8]) -> Option<i64> {
    let (date, rest) = text.split_first_chunk::<10>()?;
    let (time, rest) = rest.split_first_chunk::<9>()?;
    let [y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2] = *date else { return None };
    let [b'T' | b't', h1, h2, b':', mi1, mi2, b':', s1, s2] = *time else { return None };
    let year = number(&[y1, y2, y3, y4])?;
    let (month, day) = (within(&[mo1, mo2], 1, 12)?, within(&[d1, d2], 1, 31)?);
    let (hour, minute) = (within(&[h1, h2], 0, 23)?, within(&[mi1, mi2], 0, 59)?);
    let second = within(&[s1, s2], 0, 60)?;
    let days = days_from_civil(year, month, day)?;
    let local = days * DAY_SECONDS + hour * 3600 + minute * 60 + second.min(59);
    let seconds = local - parse_offset(after_fraction(rest)?)?;
    (0..=LAST_SECOND).contains(&seconds).then_some(seconds)
}

/// What stands behind `.` and digits, if these are there.
fn after_fraction(text: &[u8]) -> Option<&[u8]> {
    let Some(fraction) = text.strip_prefix(b".") else { return Some(text) };
    let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 { None } else { fraction.get(digits..) }
}

/// Seconds east of UTC.
fn parse_offset(text: &[u8]) -> Option<i64> {
    let (east, offset) = match text {
        [b'Z' | b'z'] => return Some(0),
        [b'+', offset @ ..] => (1, offset),
        [b'-', offset @ ..] => (-1, offset),
        _ => return None,
    };
    let [h1, h2, b':', m1, m2] = offset else { return None };
    let seconds = within(&[*h1, *h2], 0, 23)? * 3600 + within(&[*m1, *m2], 0, 59)? * 60;
    Some(east * seconds)
}

fn number(digits: &[u8]) -> Option<i64> {
    parse_decimal(digits).and_then(|number| i64::try_from(number).ok())
}

fn within(digits: &[u8], least: i64, most: i64) -> Option<i64> {
    number(digits).filter(|number| (least..=most).contains(number))
}

/// The day number since 1970-01-01 of a date from then on; none if the month has no such day.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    if year < 1970 {
        return None;
    }
    // Howard Hinnant's `days_from_civil`: years are counted from March.
    let year_from_march = if month > 2 { year } else { year - 1 };
    let (era, year_of_era) = (year_from_march / 400, year_from_march % 400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    // The 31st of a shorter month is a day of the next one.
    (civil_from_days(days) == (year, month, day)).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(seconds: i64) -> String {
        let mut out = String::new();
        write_timestamp(&mut out, UnixTime { seconds, trusted: true }).unwrap();
        out
    }

    #[test]
    fn there_and_back() {
        assert_eq!(written(0), "1970-01-01T00:00:00Z");
        assert_eq!(written(951_782_400 + 3661), "2000-02-29T01:01:01Z");
        assert_eq!(written(i64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(written(-5), "1970-01-01T00:00:00Z");
        for day in (0..2_932_896).step_by(13) {
            let seconds = day * DAY_SECONDS + day % DAY_SECONDS;
            assert_eq!(parse_timestamp(written(seconds).as_bytes()), Some(seconds));
        }
    }

    #[test]
    fn what_others_write() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00z", 0),
            ("1970-01-01t01:00:00.250+01:00", 0),
            ("1970-01-01T00:00:00-00:30", 1800),
            ("1998-12-31T23:59:60Z", 915_148_799),
            ("2024-02-29T05:29:59+05:30", 1_709_164_799),
        ] {
            assert_eq!(parse_timestamp(text.as_bytes()), Some(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "2027-03-01",
            "2027-03-01T09:00:00",
            "2027-03-01 09:00:00Z",
            "2027-02-29T09:00:00Z",
            "2027-04-31T09:00:00Z",
            "2027-00-01T09:00:00Z",
            "2027-13-01T09:00:00Z",
            "2027-03-00T09:00:00Z",
            "2027-03-01T24:00:00Z",
            "2027-03-01T09:60:00Z",
            "2027-03-01T09:00:61Z",
            "2027-03-01T09:00:00.Z",
            "2027-03-01T09:00:00+1:00",
            "2027-03-01T09:00:00+01:00x",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "+027-03-01T09:00:00Z",
            "2027-03-01T09:00:00Z ",
        ] {
            assert_eq!(parse_timestamp(text.as_bytes()), None, "{text}");
        }
    }
}
