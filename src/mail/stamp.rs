//! The stamps of a mail system: Date, Received and Message-ID.
//!
//! Everything is written into a `fmt::Write` of the caller's, which alone can fail. What peers have
//! said of themselves is cleaned here: nothing of theirs can end the field, open a comment or bring
//! a byte beyond printable ASCII. A Received field has at most 1 KiB; with Date, Message-ID and
//! From, each as long as can be, it is at most 1.5 KiB.
//!
//! Dates are of the years 1970 to 9999; what the clock says beyond them becomes the nearest end.
//!
//! Read first: RFC 5321 §4.4, RFC 5322 §3.3 and §3.6.4.

use crate::base::ascii::Base62;
use crate::base::time::{Now, UnixTime};
use crate::limits::DOMAIN_BYTES_MAX;
use crate::mail::address::Address;
use core::fmt::{self, Write};
use core::net::IpAddr;

/// Who handed a message over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReceivedFrom {
    /// A peer at this address.
    Tcp(IpAddr),
    /// A program on this machine.
    Local {
        /// The user it runs as.
        uid: u32,
    },
    /// Nobody: a report of this program's own.
    Here,
}

/// What a Received field tells.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// What the peer called itself; not looked at if it is local.
    pub helo: &'a str,
    /// Who it was.
    pub peer: ReceivedFrom,
    /// This machine.
    pub by: &'a str,
    /// `SMTP`, `ESMTP` … (RFC 3848).
    pub protocol: &'a str,
    /// The message's number in the queue.
    pub id: u64,
    /// The recipient if there is only one: more would tell them of each other (RFC 5321 §7.2).
    pub recipient: Option<Address<'a>>,
    /// When it came, which is not the time of the attempt.
    pub now: Now,
}

/// How a message came, for the `with` of Received (RFC 3848, RFC 6531 §4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Protocol {
    /// EHLO was said.
    pub is_extended: bool,
    /// With SMTPUTF8.
    pub is_utf8: bool,
    /// Over TLS.
    pub is_secure: bool,
    /// By somebody who has logged in.
    pub is_authenticated: bool,
}

impl Protocol {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match (self.is_extended, self.is_utf8, self.is_secure, self.is_authenticated) {
            (false, ..) => "SMTP",
            (true, false, false, false) => "ESMTP",
            (true, false, true, false) => "ESMTPS",
            (true, false, false, true) => "ESMTPA",
            (true, false, true, true) => "ESMTPSA",
            (true, true, false, false) => "UTF8SMTP",
            (true, true, true, false) => "UTF8SMTPS",
            (true, true, false, true) => "UTF8SMTPA",
            (true, true, true, true) => "UTF8SMTPSA",
        }
    }
}

/// Writes the Received field for `received`, CRLF included.
pub fn write_received(out: &mut dyn Write, received: &Received<'_>) -> fmt::Result {
    let by = Token::new(received.by, "localhost");
    match received.peer {
        ReceivedFrom::Tcp(address) => {
            let helo = Token::new(received.helo, "unknown");
            write!(out, "Received: from {helo} (")?;
            write_literal(out, address)?;
            write!(out, ")\r\n\tby {by}")?;
        }
        // RFC 5321 §4.4 wants a `from` of those who came by SMTP over a network; a local program
        // has no name to tell, so the user is told as a comment.
        ReceivedFrom::Local { uid } => {
            write!(out, "Received: by {by}\r\n\t(mote, from userid {uid})")?;
        }
        ReceivedFrom::Here => write!(out, "Received: by {by}\r\n\t(mote)")?,
    }
    if received.peer != ReceivedFrom::Here {
        write!(out, " with {}", Token::new(received.protocol, "SMTP"))?;
    }
    write!(out, " id {}", Base62(received.id))?;
    if let Some(recipient) = received.recipient {
        write!(out, " for <{}>", recipient.as_str())?;
    }
    out.write_str(";\r\n\t")?;
    write_date(out, received.now.unix, received.now.zone_minutes)?;
    out.write_str("\r\n")
}

/// Writes `<id.image@hostname>`: the same for a message on every attempt, and for no other.
pub fn write_message_id(out: &mut dyn Write, id: u64, image: u64, hostname: &str) -> fmt::Result {
    let hostname = Token::new(hostname, "localhost");
    write!(out, "<{}.{}@{hostname}>", Base62(id), Base62(image))
}

/// 9999-12-31T23:59:59Z.
pub(super) const LAST_SECOND: i64 = 253_402_300_799;

/// Writes a date-time of RFC 5322 §3.3 for somebody `zone_minutes` east of UTC.
pub fn write_date(out: &mut dyn Write, time: UnixTime, zone_minutes: i16) -> fmt::Result {
    const DAY_SECONDS: i64 = 86_400;
    let zone = zone_minutes.clamp(-5999, 5999);
    let local = time.seconds.saturating_add(i64::from(zone) * 60).clamp(0, LAST_SECOND);
    let (days, second) = (local / DAY_SECONDS, local % DAY_SECONDS);
    let (year, month, day) = civil_from_days(days);
    // 1970-01-01 was a Thursday.
    let weekday = pick(&["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"], days % 7);
    let month = pick(
        &["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
        month - 1,
    );
    write!(out, "{weekday}, {day} {month} {year:04} ")?;
    write!(out, "{:02}:{:02}:{:02} ", second / 3600, second / 60 % 60, second % 60)?;
    let sign = if zone < 0 { '-' } else { '+' };
    write!(out, "{sign}{:02}{:02}", zone.abs() / 60, zone.abs() % 60)
}

fn pick<'a>(names: &[&'a str], index: i64) -> &'a str {
    usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or_default()
}

/// Year, month (1–12) and day (1–31) of the day number `days` since 1970-01-01, not negative.
///
/// Years are counted from March here, so that the leap day is a year's last; 400 of them are always
/// 146 097 days (Howard Hinnant's `civil_from_days`).
pub const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + (month <= 2) as i64;
    (year, month, day)
}

/// RFC 5321 §4.1.3.
fn write_literal(out: &mut dyn Write, address: IpAddr) -> fmt::Result {
    match address.to_canonical() {
        IpAddr::V4(address) => write!(out, "[{address}]"),
        IpAddr::V6(address) => write!(out, "[IPv6:{address}]"),
    }
}

/// A foreign word, made fit to stand in a structured field: one run of printable ASCII that opens
/// no comment, quote or path and ends nothing, of at most a domain's length.
struct Token<'a>(&'a str);

impl<'a> Token<'a> {
    fn new(word: &'a str, otherwise: &'a str) -> Token<'a> {
        Token(if word.is_empty() { otherwise } else { word })
    }
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars().take(DOMAIN_BYTES_MAX) {
            let special = matches!(character, '(' | ')' | '<' | '>' | '\\' | '"' | ';' | ',');
            let fit = character.is_ascii_graphic() && !special;
            formatter.write_char(if fit { character } else { '?' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{ADDRESS_BYTES_MAX, LOCAL_PART_BYTES_MAX};

    fn date(seconds: i64, zone_minutes: i16) -> String {
        let mut out = String::new();
        write_date(&mut out, UnixTime { seconds, trusted: true }, zone_minutes).unwrap();
        out
    }

    #[test]
    fn dates() {
        assert_eq!(date(0, 0), "Thu, 1 Jan 1970 00:00:00 +0000");
        assert_eq!(date(880_127_706, -360), "Fri, 21 Nov 1997 09:55:06 -0600");
        assert_eq!(date(951_782_400, 0), "Tue, 29 Feb 2000 00:00:00 +0000");
        assert_eq!(date(1_709_164_799, 330), "Thu, 29 Feb 2024 05:29:59 +0530");
        assert_eq!(date(4_107_542_400, 0), "Mon, 1 Mar 2100 00:00:00 +0000");
        assert_eq!(date(253_402_300_799, 0), "Fri, 31 Dec 9999 23:59:59 +0000");
        assert_eq!(date(1_000_000_000, -1), "Sun, 9 Sep 2001 01:45:40 -0001");
    }

    #[test]
    fn dates_beyond_are_clamped() {
        assert_eq!(date(-1, 0), "Thu, 1 Jan 1970 00:00:00 +0000");
        assert_eq!(date(i64::MIN, i16::MIN), "Thu, 1 Jan 1970 00:00:00 -9959");
        assert_eq!(date(i64::MAX, i16::MAX), "Fri, 31 Dec 9999 23:59:59 +9959");
    }

    #[test]
    fn every_day_follows_the_day_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..2_932_897 {
            assert_eq!(civil_from_days(days), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!((year, month, day), (10_000, 1, 1));
    }

    fn received(helo: &str, peer: ReceivedFrom, recipient: Option<Address<'_>>) -> String {
        let mut out = String::new();
        let unix = UnixTime { seconds: 880_127_706, trusted: true };
        let now = Now { unix, zone_minutes: -360, ..Now::default() };
        let (by, protocol) = ("mote.example.net", "ESMTP");
        let received = Received { helo, peer, by, protocol, id: 61, recipient, now };
        write_received(&mut out, &received).unwrap();
        out
    }

    #[test]
    fn received_fields() {
        let peer = ReceivedFrom::Tcp("::ffff:192.0.2.1".parse().unwrap());
        assert_eq!(
            received("client", peer, Address::parse(b"u@d").ok()),
            "Received: from client ([192.0.2.1])\r\n\tby mote.example.net with ESMTP id z \
             for <u@d>;\r\n\tFri, 21 Nov 1997 09:55:06 -0600\r\n"
        );
        let peer = ReceivedFrom::Tcp("2001:db8::1".parse().unwrap());
        assert!(
            received("", peer, None).starts_with("Received: from unknown ([IPv6:2001:db8::1])")
        );
        assert_eq!(
            received("ignored", ReceivedFrom::Local { uid: 7 }, None),
            "Received: by mote.example.net\r\n\t(mote, from userid 7) with ESMTP id z;\
             \r\n\tFri, 21 Nov 1997 09:55:06 -0600\r\n"
        );
        assert_eq!(
            received("", ReceivedFrom::Here, None),
            "Received: by mote.example.net\r\n\t(mote) id z;\r\n\t\
             Fri, 21 Nov 1997 09:55:06 -0600\r\n"
        );
    }

    #[test]
    fn received_fields_are_short_and_clean_whatever_the_peer_says() {
        let peer = ReceivedFrom::Tcp("2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap());
        let longest = format!("{}@{}", "l".repeat(LOCAL_PART_BYTES_MAX), "d".repeat(61));
        for byte in 0..=255u8 {
            let helo = format!("{}x\r\nEvil: é", char::from(byte)).repeat(50);
            let longest = Address::parse(longest.as_bytes()).ok();
            assert!(longest.is_some());
            let field = received(&helo, peer, longest);
            assert!(field.len() <= 1024);
            assert!(field.bytes().all(|byte| matches!(byte, b'\r' | b'\n' | b'\t' | b' '..=b'~')));
            assert_eq!(field.matches('\n').count(), 3);
            assert_eq!(field.matches("\r\n\t").count(), 2);
            assert_eq!(field.matches(['(', ')', ';']).count(), 3);
        }
    }

    #[test]
    fn all_stamps_together_are_short() {
        let host = "h".repeat(300);
        let longest = format!("{}@{}", "l".repeat(LOCAL_PART_BYTES_MAX), "d".repeat(61));
        let recipient = Address::parse(longest.as_bytes()).ok();
        assert_eq!(recipient.map(|address| address.as_str().len()), Some(ADDRESS_BYTES_MAX));
        let peer = ReceivedFrom::Tcp("2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap());
        let unix = UnixTime { seconds: 880_127_706, trusted: true };
        let now = Now { unix, zone_minutes: -360, ..Now::default() };
        let (by, protocol, id) = (&host[..], "UTF8SMTPSA", u64::MAX);
        let mut out = String::new();
        let received = Received { helo: &host, peer, by, protocol, id, recipient, now };
        write_received(&mut out, &received).unwrap();
        out.push_str("Date: ");
        write_date(&mut out, unix, -360).unwrap();
        out.push_str("\r\nMessage-ID: ");
        write_message_id(&mut out, id, u64::MAX, &host).unwrap();
        out.push_str(&format!("\r\nFrom: {longest}\r\n"));
        assert!(out.len() <= 1536, "{}", out.len());
    }

    #[test]
    fn message_ids() {
        let mut out = String::new();
        write_message_id(&mut out, 62, 61, "mote.example.net").unwrap();
        write_message_id(&mut out, 1, 2, "a b>\n").unwrap();
        assert_eq!(out, "<10.z@mote.example.net><1.2@a?b??>");
    }
}
