//! Which extensions a session offers, and the answer to EHLO that says so.
//!
//! An [`Offers`] is a few words, made by whoever knows peer and config and lent with each step.
//! What is not offered is not understood either: its verbs are unknown ones, its parameters 555.
//! After HELO that is everything (RFC 5321 §4.1.1.1).
//!
//! Not here: what the parameters of an extension look like ([`super::parameter`]), when its
//! commands may come ([`super::server`]).
//!
//! Limits: the whole answer, with a hostname of 255 bytes, fits into [`REPLY_BYTES_MAX`].

use super::login::AuthOffer;
use crate::base::buffer::Buffer;
use crate::base::time::UnixTime;
use crate::limits::REPLY_BYTES_MAX;
use crate::mail::timestamp::write_timestamp;
use core::fmt::{self, Write as _};

/// What is offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offers {
    /// SIZE (RFC 1870) and 8BITMIME (RFC 6152): whoever says EHLO has them.
    pub basic: bool,
    /// STARTTLS, RFC 3207; left out once TLS is on.
    pub starttls: bool,
    /// LIMITS, RFC 9422.
    pub limits: bool,
    /// CHUNKING, RFC 3030.
    pub chunking: bool,
    /// BINARYMIME, RFC 3030; only with CHUNKING.
    pub binary: bool,
    /// SMTPUTF8, RFC 6531.
    pub utf8: bool,
    /// DSN, RFC 3461.
    pub dsn: bool,
    /// FUTURERELEASE, RFC 4865, and how far ahead.
    pub hold: Option<HoldMax>,
    /// DELIVERBY, RFC 2852, and the least seconds that can be promised.
    pub deliver_by: Option<u32>,
    /// AUTH, RFC 4954.
    pub auth: AuthOffer,
    /// XCLIENT.
    pub xclient: bool,
}

/// How long a message may be held before it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HoldMax {
    /// Seconds from now.
    pub seconds: u32,
    /// The same as a time.
    pub until: UnixTime,
}

impl Offers {
    /// After HELO.
    pub const NONE: Offers = Offers {
        basic: false,
        starttls: false,
        limits: false,
        chunking: false,
        binary: false,
        utf8: false,
        dsn: false,
        hold: None,
        deliver_by: None,
        auth: AuthOffer::NONE,
        xclient: false,
    };

    /// What is there whoever the peer is.
    pub const BASIC: Offers = Offers { basic: true, ..Offers::NONE };
}

/// Writes the answer to EHLO.
pub(super) fn write_hello(
    out: &mut Buffer,
    hostname: &str,
    size_max: u64,
    recipients_max: u8,
    offers: &Offers,
) {
    debug_assert!(out.space() >= REPLY_BYTES_MAX, "room for a reply was kept");
    let written = write_lines(out, hostname, size_max, recipients_max, offers);
    debug_assert!(written.is_ok(), "room for a reply was kept");
}

fn write_lines(
    out: &mut Buffer,
    hostname: &str,
    size_max: u64,
    recipients_max: u8,
    offers: &Offers,
) -> fmt::Result {
    write!(out, "250-{hostname}\r\n250-PIPELINING\r\n250-SIZE {size_max}\r\n250-8BITMIME\r\n")?;
    if offers.starttls {
        out.write_str("250-STARTTLS\r\n")?;
    }
    if offers.limits {
        write!(out, "250-LIMITS RCPTMAX={recipients_max}\r\n")?;
    }
    let words = [(offers.chunking, "CHUNKING"), (offers.binary && offers.chunking, "BINARYMIME")];
    let more = [(offers.utf8, "SMTPUTF8"), (offers.dsn, "DSN")];
    for (_, word) in words.iter().chain(&more).filter(|(is_offered, _)| *is_offered) {
        write!(out, "250-{word}\r\n")?;
    }
    if let Some(hold) = offers.hold {
        write!(out, "250-FUTURERELEASE {} ", hold.seconds)?;
        write_timestamp(out, hold.until)?;
        out.write_str("\r\n")?;
    }
    if let Some(least) = offers.deliver_by {
        write!(out, "250-DELIVERBY {least}\r\n")?;
    }
    if offers.auth.is_told() {
        write!(out, "250-AUTH {}\r\n", offers.auth.mechanisms)?;
    }
    if offers.xclient {
        out.write_str("250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n")?;
    }
    out.write_str("250 ENHANCEDSTATUSCODES\r\n")
}

#[cfg(test)]
mod tests {
    use super::super::sasl::{Mechanism, Mechanisms};
    use super::*;

    #[test]
    fn the_longest_answer_fits() {
        let hold =
            HoldMax { seconds: u32::MAX, until: UnixTime { seconds: i64::MAX, trusted: true } };
        let mechanisms = Mechanism::ALL.into_iter().fold(Mechanisms::NONE, Mechanisms::with);
        let offers = Offers {
            basic: true,
            starttls: true,
            limits: true,
            chunking: true,
            binary: true,
            utf8: true,
            dsn: true,
            hold: Some(hold),
            deliver_by: Some(u32::MAX),
            auth: AuthOffer { mechanisms, ..AuthOffer::NONE },
            xclient: true,
        };
        let mut out = Buffer::new(REPLY_BYTES_MAX);
        write_hello(&mut out, &"h".repeat(255), u64::MAX, u8::MAX, &offers);
        let text = String::from_utf8(out.readable().to_vec()).unwrap();
        assert!(text.ends_with("\r\n250 ENHANCEDSTATUSCODES\r\n"));
        for word in ["SIZE 18446744073709551615", "LIMITS RCPTMAX=255", "CHUNKING", "BINARYMIME"] {
            assert!(text.contains(&format!("250-{word}\r\n")), "{text}");
        }
        let hold = "250-FUTURERELEASE 4294967295 9999-12-31T23:59:59Z\r\n";
        let by = "250-DELIVERBY 4294967295\r\n";
        assert!(text.contains(&format!("250-SMTPUTF8\r\n250-DSN\r\n{hold}{by}")), "{text}");
    }

    #[test]
    fn what_is_off_is_not_told() {
        let mut out = Buffer::new(REPLY_BYTES_MAX);
        write_hello(&mut out, "mx.example", 1000, 100, &Offers::BASIC);
        let expected = "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n\
            250 ENHANCEDSTATUSCODES\r\n";
        assert_eq!(out.readable(), expected.as_bytes());
    }
}
