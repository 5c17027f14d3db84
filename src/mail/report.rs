//! The report of what became of a mail: to whom it could not be delivered, why, and what can be
//! done; and, for those who asked, to whom it was.
//!
//! It is written piece by piece, in the order in which the functions stand here: the head with the
//! opening words, an explanation for each recipient, the head of the part for programs, the status
//! of each recipient, the head of the third part, the returned header through a [`ReturnedHeader`]
//! or the whole message as it is, the tail. So a report needs no memory of its own and can be about
//! any number of recipients.
//!
//! Whatever is foreign (words of another server, addresses, the returned header) is cleaned and
//! capped here: a report is 7-bit text in CRLF lines of at most 998 bytes, and no foreign line can
//! pass for its boundary. Characters beyond ASCII stand as `\x{C0DE}` (RFC 6533 §3), but in To: the
//! report goes to that address. A message that is returned whole is 7-bit lines already (its owner
//! sees to that), and nobody can guess the boundary: it is made with the image's key. Only the
//! `fmt::Write` of the caller can fail.
//!
//! Not here: whether a report may be sent at all (`<>` is never answered, threats 14), how many,
//! and the envelope: its sender is `<>`.
//!
//! Read first: RFC 3464 §2, RFC 6522, RFC 6533 §3, RFC 3834 §5, RFC 3463.

use crate::base::ascii::Base62;
use crate::base::time::{Now, UnixTime};
use crate::limits::{DOMAIN_BYTES_MAX, REMOTE_TEXT_BYTES_MAX, TEXT_LINE_BYTES_MAX};
use crate::mail::address::{Address, is_visible};
use crate::mail::stamp::{write_date, write_message_id};
use crate::mail::timestamp::write_timestamp;
use core::fmt::{self, Write};

/// RFC 3461 §4.2: an ORCPT has at most 500 characters.
const ORIGINAL_BYTES_MAX: usize = 500;
/// RFC 3461 §4.4.
const ENVELOPE_ID_BYTES_MAX: usize = 100;

/// Why the mail is not tried any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Somebody refused it.
    Refused,
    /// Its time was up.
    Expired,
    /// An administrator of this machine sent it back.
    Returned,
    /// Its sender wanted it delivered by a time that has come.
    Late,
}

/// What a report is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tidings {
    /// Nobody of these has got it.
    Failure,
    /// All of these have.
    Success,
    /// Some have and some have not.
    Both,
    /// Nobody of these has got it yet.
    Delay,
}

/// What is returned with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Enclosure {
    /// The header.
    Header,
    /// The whole message.
    Message,
}

/// What became of a recipient, RFC 3464 §2.3.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// He will not get it.
    Failed,
    /// It lies in his mailbox.
    Delivered,
    /// The next hop has it, and tells nothing.
    Relayed,
    /// It is tried again.
    Delayed,
}

/// What a report says of the message that failed.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// This machine.
    pub hostname: &'a str,
    /// The sender of the message.
    pub to: Address<'a>,
    /// The report's own number in the queue.
    pub id: u64,
    /// The message's.
    pub original_id: u64,
    /// The number of the queue's image, which makes the others unique.
    pub image: u64,
    /// When the message came in.
    pub arrival: UnixTime,
    /// Both clocks.
    pub now: Now,
    /// What it is about.
    pub tidings: Tidings,
    /// Why it failed, if it did.
    pub cause: Cause,
    /// What is returned.
    pub enclosure: Enclosure,
    /// The sender's ENVID, decoded, if there was one.
    pub envid: Option<&'a str>,
    /// It was held for so many seconds, or until then.
    pub hold: Option<(u32, Option<UnixTime>)>,
    /// By when it was to be delivered.
    pub deliver_by: Option<UnixTime>,
}

/// What a report says of one recipient.
#[derive(Clone, Copy, Debug)]
pub struct ReportedRecipient<'a> {
    /// To whom delivery was tried.
    pub address: &'a str,
    /// What became of it.
    pub action: Action,
    /// To whom the sender wrote, if that is known: an address, or the decoded `type;address` of
    /// an ORCPT.
    pub original: Option<&'a str>,
    /// Class, subject and detail of RFC 3463.
    pub status: (u8, u16, u16),
    /// The next hop's name, if the words are its.
    pub remote: Option<&'a str>,
    /// The next hop's words, code first; or our own.
    pub text: &'a str,
    /// How long it is tried yet.
    pub retry_until: Option<UnixTime>,
}

/// Writes the report's header, and the opening words of the part for people.
pub fn write_head(out: &mut dyn Write, report: &Report<'_>) -> fmt::Result {
    let hostname = Clean(report.hostname, DOMAIN_BYTES_MAX);
    write!(out, "From: Mail Delivery System <MAILER-DAEMON@{hostname}>\r\n")?;
    write!(out, "To: <{}>\r\n", report.to.as_str())?;
    write!(out, "Subject: {}\r\nDate: ", subject(report.tidings))?;
    write_date(out, report.now.unix, report.now.zone_minutes)?;
    out.write_str("\r\nMessage-ID: ")?;
    write_message_id(out, report.id, report.image, report.hostname)?;
    // RFC 3834 §5: so that nobody's vacation program answers.
    out.write_str("\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n")?;
    out.write_str("Content-Type: multipart/report; report-type=delivery-status;\r\n")?;
    write!(out, "\tboundary=\"{}\"\r\n", Boundary(report))?;
    write_part_head(out, report, "text/plain; charset=us-ascii")?;
    write!(out, "This is the mail system on {hostname}.\r\n\r\n")?;
    out.write_str(opening(report.tidings, report.cause))?;
    let enclosed = match report.enclosure {
        Enclosure::Header => "Its header",
        Enclosure::Message => "It",
    };
    write!(out, "\r\n{enclosed} is attached. It came in here on\r\n")?;
    write_date(out, report.arrival, report.now.zone_minutes)?;
    write!(out, " and was number {} in the queue.\r\n", Base62(report.original_id))
}

const fn subject(tidings: Tidings) -> &'static str {
    match tidings {
        Tidings::Failure => "Undelivered mail returned to sender",
        Tidings::Success => "Mail delivered",
        Tidings::Both => "Mail delivered to some, and not to others",
        Tidings::Delay => "Mail not delivered yet, and tried again",
    }
}

const fn opening(tidings: Tidings, cause: Cause) -> &'static str {
    match (tidings, cause) {
        (Tidings::Success, _) => "You asked to be told what becomes of your mail. This did:\r\n",
        (Tidings::Both, _) => {
            "Your mail could be delivered to some of the recipients below, and will\r\n\
             not be delivered to the others:\r\n"
        }
        (Tidings::Delay, _) => {
            "Your mail could not be delivered yet to the recipients below. It is tried\r\n\
             again; you need not send it again.\r\n"
        }
        (Tidings::Failure, Cause::Late) => {
            "Your mail could not be delivered to the recipients below in the time that\r\n\
             you gave for it. It will not be tried any more.\r\n"
        }
        (Tidings::Failure, Cause::Expired) => {
            "Your mail could not be delivered in time to the recipients below. It was\r\n\
             tried again and again, and will not be tried any more.\r\n"
        }
        (Tidings::Failure, Cause::Refused) => {
            "Your mail could not be delivered to the recipients below. It will not be\r\n\
             tried again; other recipients, if there were any, are not concerned.\r\n"
        }
        (Tidings::Failure, Cause::Returned) => {
            "Your mail was not delivered to the recipients below. The administrator of\r\n\
             this system has taken it out of the queue and returns it to you.\r\n"
        }
    }
}

/// Writes the paragraph for people about `recipient`.
pub fn write_explanation(out: &mut dyn Write, recipient: &ReportedRecipient<'_>) -> fmt::Result {
    write!(out, "\r\n<{}>\r\n", Clean(recipient.address, ORIGINAL_BYTES_MAX))?;
    let original = recipient.original.map(|original| split_address_type(original).1);
    if let Some(address) = original.filter(|address| *address != recipient.address) {
        write!(out, "    You wrote to: <{}>\r\n", Clean(address, ORIGINAL_BYTES_MAX))?;
    }
    let text = Clean(recipient.text, REMOTE_TEXT_BYTES_MAX);
    let remote = recipient.remote.map(|remote| Clean(remote, DOMAIN_BYTES_MAX));
    match (recipient.action, remote) {
        (Action::Delivered, _) => {
            return out.write_str("    What happened: it lies in the mailbox.\r\n");
        }
        (Action::Relayed, Some(remote)) => {
            write!(out, "    What happened: {remote} has taken it:\r\n    {text}\r\n")?;
            return out.write_str("    If it gets no further, you will be told from there.\r\n");
        }
        (Action::Relayed, None) => {
            return write!(out, "    What happened: it was handed on: {text}\r\n");
        }
        (Action::Delayed, _) => {
            return write!(out, "    What happened: {text}\r\n");
        }
        (Action::Failed, Some(remote)) => {
            write!(out, "    What happened: {remote} answered:\r\n    {text}\r\n")?;
        }
        (Action::Failed, None) => write!(out, "    What happened: {text}\r\n")?,
    }
    write!(out, "    What to do: {}\r\n", advice(recipient.status))
}

/// Writes the head of the part for programs, and its fields about the message.
pub fn write_status_head(out: &mut dyn Write, report: &Report<'_>) -> fmt::Result {
    write_part_head(out, report, "message/delivery-status")?;
    if let Some(envid) = report.envid {
        let envid = Clean(envid, ENVELOPE_ID_BYTES_MAX);
        write!(out, "Original-Envelope-Id: {envid}\r\n")?;
    }
    let hostname = Clean(report.hostname, DOMAIN_BYTES_MAX);
    write!(out, "Reporting-MTA: dns; {hostname}\r\n")?;
    write!(out, "X-Mote-Queue-ID: {}\r\nArrival-Date: ", Base62(report.original_id))?;
    write_date(out, report.arrival, report.now.zone_minutes)?;
    out.write_str("\r\n")?;
    if let Some(time) = report.deliver_by {
        // RFC 2852 §5.
        out.write_str("Deliver-By-Date: ")?;
        write_date(out, time, report.now.zone_minutes)?;
        out.write_str("\r\n")?;
    }
    match report.hold {
        // RFC 4865 §5.
        Some((_, Some(time))) => {
            out.write_str("Future-Release-Request: until;")?;
            write_timestamp(out, time)?;
            out.write_str("\r\n")
        }
        Some((seconds, None)) => write!(out, "Future-Release-Request: for;{seconds}\r\n"),
        None => Ok(()),
    }
}

/// Writes the fields for programs about `recipient` (RFC 3464 §2.3).
pub fn write_status(out: &mut dyn Write, recipient: &ReportedRecipient<'_>) -> fmt::Result {
    out.write_str("\r\n")?;
    if let Some(original) = recipient.original {
        let (kind, address) = split_address_type(original);
        let (kind, address) = (Clean(kind, 32), Clean(address, ORIGINAL_BYTES_MAX));
        write!(out, "Original-Recipient: {kind}; {address}\r\n")?;
    }
    if recipient.address.is_ascii() {
        let address = Clean(recipient.address, ORIGINAL_BYTES_MAX);
        write!(out, "Final-Recipient: rfc822; {address}\r\n")?;
    } else {
        write!(out, "Final-Recipient: utf-8; {}\r\n", InUtf8Address(recipient.address))?;
    }
    let (class, subject, detail) = recipient.status;
    // RFC 3464 §2.3.4: 2, 4 or 5, and 2 is no failure.
    let (action, class) = match recipient.action {
        Action::Failed => ("failed", if class == 4 { 4 } else { 5 }),
        Action::Delivered => ("delivered", 2),
        Action::Relayed => ("relayed", 2),
        Action::Delayed => ("delayed", 4),
    };
    write!(out, "Action: {action}\r\n")?;
    write!(out, "Status: {class}.{}.{}\r\n", subject.min(999), detail.min(999))?;
    let text = Clean(recipient.text, REMOTE_TEXT_BYTES_MAX);
    match recipient.remote {
        Some(remote) => {
            let remote = Clean(remote, DOMAIN_BYTES_MAX);
            write!(out, "Remote-MTA: dns; {remote}\r\nDiagnostic-Code: smtp; {text}\r\n")?;
        }
        None => write!(out, "Diagnostic-Code: x-mote; {text}\r\n")?,
    }
    let Some(until) = recipient.retry_until else { return Ok(()) };
    out.write_str("Will-Retry-Until: ")?;
    write_date(out, until, 0)?;
    out.write_str("\r\n")
}

/// Writes the head of the part that holds what is returned.
pub fn write_enclosure_head(out: &mut dyn Write, report: &Report<'_>) -> fmt::Result {
    let kind = match report.enclosure {
        Enclosure::Header => "text/rfc822-headers; charset=us-ascii",
        Enclosure::Message => "message/rfc822",
    };
    write_part_head(out, report, kind)
}

/// Writes the end.
pub fn write_tail(out: &mut dyn Write, report: &Report<'_>) -> fmt::Result {
    write!(out, "\r\n--{}--\r\n", Boundary(report))
}

fn write_part_head(out: &mut dyn Write, report: &Report<'_>, kind: &str) -> fmt::Result {
    write!(out, "\r\n--{}\r\nContent-Type: {kind}\r\n\r\n", Boundary(report))
}

/// What the sender may do about a failure with this status (RFC 3463 §3).
const fn advice(status: (u8, u16, u16)) -> &'static str {
    match status {
        (_, 1, 7 | 8) => {
            "Your own address was refused. Check the sender's address\r\n    \
             that your program uses."
        }
        (_, 1, _) => "Check the address for mistakes. It is not known there.",
        (_, 2, 2) => {
            "The mailbox is full. Tell the recipient in some other way,\r\n    \
             and send the mail again later."
        }
        (_, 2, 3) | (_, 3, 4) => "The mail is too large for the other side. Send less at a time.",
        (_, 7, _) => {
            "The other side refuses this mail by its rules. If its words\r\n    \
             do not say why, ask its administrator, or yours."
        }
        (4, ..) | (_, 4, _) => {
            "Send the mail again later. If it fails again, the other side\r\n    \
             or the way to it is out of order: tell its administrator, or yours."
        }
        _ => "If these words do not help you, show them to your administrator.",
    }
}

/// Splits the `type;address` of an ORCPT; an address alone is of type rfc822. No dot-atom holds a
/// `;`, and a quoted string is no type.
fn split_address_type(original: &str) -> (&str, &str) {
    let is_type_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    match original.split_once(';') {
        Some((kind, address)) if !kind.is_empty() && kind.bytes().all(is_type_byte) => {
            (kind, address.trim_start())
        }
        _ => ("rfc822", original),
    }
}

/// The header of the message that failed, on its way into the report. It is fed the message from
/// its start, in pieces of any size, and leaves off at the end of the header or of its allowance.
#[derive(Clone, Debug)]
pub struct ReturnedHeader {
    bytes_left: usize,
    line_bytes: usize,
}

impl ReturnedHeader {
    /// At the start of a message, of whose header at most `bytes_max` bytes shall be returned.
    pub fn new(bytes_max: usize) -> ReturnedHeader {
        ReturnedHeader { bytes_left: bytes_max, line_bytes: 0 }
    }

    /// Writes what belongs in the report of the next bytes of the message. True: no more of it
    /// does; the last line is whole.
    pub fn push(&mut self, out: &mut dyn Write, input: &[u8]) -> Result<bool, fmt::Error> {
        for byte in input {
            if self.bytes_left == 0 {
                break;
            }
            match byte {
                b'\r' => {}
                // The first empty line: RFC 5322 §2.1.
                b'\n' if self.line_bytes == 0 => self.bytes_left = 0,
                b'\n' => self.end_line(out)?,
                _ => self.push_text(out, *byte)?,
            }
        }
        if self.bytes_left == 0 && self.line_bytes > 0 {
            self.end_line(out)?;
        }
        Ok(self.bytes_left == 0)
    }

    /// Ends the last line, if the message ended within it.
    pub fn finish(&mut self, out: &mut dyn Write) -> fmt::Result {
        self.bytes_left = 0;
        if self.line_bytes > 0 { self.end_line(out) } else { Ok(()) }
    }

    fn end_line(&mut self, out: &mut dyn Write) -> fmt::Result {
        self.line_bytes = 0;
        self.bytes_left = self.bytes_left.saturating_sub(2);
        out.write_str("\r\n")
    }

    fn push_text(&mut self, out: &mut dyn Write, byte: u8) -> fmt::Result {
        // RFC 5321 §4.5.3.1.6: what is longer is cut.
        if self.line_bytes >= TEXT_LINE_BYTES_MAX {
            return Ok(());
        }
        // No field begins with a hyphen in earnest, but a boundary does.
        let fit = matches!(byte, b'\t' | b' '..=b'~') && !(byte == b'-' && self.line_bytes == 0);
        self.line_bytes += 1;
        self.bytes_left -= 1;
        out.write_char(if fit { char::from(byte) } else { '?' })
    }
}

/// What stands between the parts. Different in every report.
struct Boundary<'a, 'b>(&'a Report<'b>);

impl fmt::Display for Boundary<'_, '_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "=_{}_{}", Base62(self.0.id), Base62(self.0.image))
    }
}

/// Foreign text: its first so many characters; what is printable beyond ASCII as `\x{C0DE}`, all
/// else as `?`.
struct Clean<'a>(&'a str, usize);

impl fmt::Display for Clean<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each character beyond ASCII takes the room of eight.
        let mut room = self.1;
        for character in self.0.chars() {
            let length = if character.is_ascii() { 1 } else { 8 };
            room = match room.checked_sub(length) {
                Some(rest) => rest,
                None => break,
            };
            match character {
                ' '..='~' => formatter.write_char(character)?,
                other if other.is_ascii() || !is_visible(other) => formatter.write_char('?')?,
                other => write_escape(formatter, other)?,
            }
        }
        Ok(())
    }
}

/// An address beyond ASCII as RFC 6533 §3 has it, utf-8-addr-xtext.
struct InUtf8Address<'a>(&'a str);

impl fmt::Display for InUtf8Address<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().take(ORIGINAL_BYTES_MAX / 8).try_for_each(|character| match character {
            '+' | '=' | '\\' => write_escape(formatter, character),
            '!'..='~' => formatter.write_char(character),
            other if is_visible(other) => write_escape(formatter, other),
            _ => formatter.write_char('?'),
        })
    }
}

fn write_escape(formatter: &mut fmt::Formatter<'_>, character: char) -> fmt::Result {
    write!(formatter, "\\x{{{:02X}}}", u32::from(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(report: &Report<'_>, recipients: &[ReportedRecipient<'_>], header: &[u8]) -> String {
        let mut out = String::new();
        write_head(&mut out, report).unwrap();
        for recipient in recipients {
            write_explanation(&mut out, recipient).unwrap();
        }
        write_status_head(&mut out, report).unwrap();
        for recipient in recipients {
            write_status(&mut out, recipient).unwrap();
        }
        write_enclosure_head(&mut out, report).unwrap();
        let mut returned = ReturnedHeader::new(2000);
        returned.push(&mut out, header).unwrap();
        returned.finish(&mut out).unwrap();
        write_tail(&mut out, report).unwrap();
        out
    }

    fn report<'a>() -> Report<'a> {
        let unix = UnixTime { seconds: 880_127_706, trusted: true };
        Report {
            hostname: "mote.example.net",
            to: Address::parse(b"cron@example.net").unwrap(),
            id: 62,
            original_id: 61,
            image: 63,
            arrival: UnixTime::default(),
            now: Now { unix, ..Now::default() },
            tidings: Tidings::Failure,
            cause: Cause::Refused,
            enclosure: Enclosure::Header,
            envid: Some("QQ314159"),
            hold: None,
            deliver_by: None,
        }
    }

    #[test]
    fn a_report_to_the_letter() {
        let recipients = [
            ReportedRecipient {
                address: "bob@example.org",
                action: Action::Failed,
                original: Some("rfc822;bob@lists.example.net"),
                status: (5, 1, 1),
                remote: Some("mx.example.org"),
                text: "550 5.1.1 No such user",
                retry_until: None,
            },
            ReportedRecipient {
                address: "eve",
                action: Action::Failed,
                original: Some("eve"),
                status: (4, 4, 7),
                remote: None,
                text: "no relay could be reached",
                retry_until: None,
            },
        ];
        let expected = r#"From: Mail Delivery System <MAILER-DAEMON@mote.example.net>
To: <cron@example.net>
Subject: Undelivered mail returned to sender
Date: Fri, 21 Nov 1997 15:55:06 +0000
Message-ID: <10.11@mote.example.net>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="=_10_11"

--=_10_11
Content-Type: text/plain; charset=us-ascii

This is the mail system on mote.example.net.

Your mail could not be delivered to the recipients below. It will not be
tried again; other recipients, if there were any, are not concerned.

Its header is attached. It came in here on
Thu, 1 Jan 1970 00:00:00 +0000 and was number z in the queue.

<bob@example.org>
    You wrote to: <bob@lists.example.net>
    What happened: mx.example.org answered:
    550 5.1.1 No such user
    What to do: Check the address for mistakes. It is not known there.

<eve>
    What happened: no relay could be reached
    What to do: Send the mail again later. If it fails again, the other side
    or the way to it is out of order: tell its administrator, or yours.

--=_10_11
Content-Type: message/delivery-status

Original-Envelope-Id: QQ314159
Reporting-MTA: dns; mote.example.net
X-Mote-Queue-ID: z
Arrival-Date: Thu, 1 Jan 1970 00:00:00 +0000

Original-Recipient: rfc822; bob@lists.example.net
Final-Recipient: rfc822; bob@example.org
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.example.org
Diagnostic-Code: smtp; 550 5.1.1 No such user

Original-Recipient: rfc822; eve
Final-Recipient: rfc822; eve
Action: failed
Status: 4.4.7
Diagnostic-Code: x-mote; no relay could be reached

--=_10_11
Content-Type: text/rfc822-headers; charset=us-ascii

From: root
Subject: x
 y

--=_10_11--
"#;
        let header = b"From: root\r\nSubject: x\r\n y\r\n\r\nbody\r\n";
        assert_eq!(whole(&report(), &recipients, header), expected.replace('\n', "\r\n"));
    }

    #[test]
    fn tidings_of_success() {
        let base = ReportedRecipient {
            address: "jörg+x@example.org",
            action: Action::Relayed,
            original: Some("utf-8;j\\x{F6}rg@example.net"),
            status: (5, 0, 0),
            remote: Some("mx.example.org"),
            text: "250 2.0.0 Ok",
            retry_until: None,
        };
        let delivered = ReportedRecipient { action: Action::Delivered, address: "eve", ..base };
        let delivered = ReportedRecipient { original: None, remote: None, ..delivered };
        let success = Report { tidings: Tidings::Success, ..report() };
        let enclosure = Enclosure::Message;
        let both = Report { tidings: Tidings::Both, enclosure, ..report() };
        let text = whole(&success, &[base, delivered], b"");
        for words in [
            "Subject: Mail delivered\r\n",
            "<j\\x{F6}rg+x@example.org>\r\n    You wrote to: <j\\x{F6}rg@example.net>\r\n",
            "mx.example.org has taken it:\r\n    250 2.0.0 Ok\r\n",
            "\r\n<eve>\r\n    What happened: it lies in the mailbox.\r\n",
            "Original-Recipient: utf-8; j\\x{F6}rg@example.net\r\n\
             Final-Recipient: utf-8; j\\x{F6}rg\\x{2B}x@example.org\r\n\
             Action: relayed\r\nStatus: 2.0.0\r\n",
            "Final-Recipient: rfc822; eve\r\nAction: delivered\r\nStatus: 2.0.0\r\n",
            "text/rfc822-headers",
        ] {
            assert!(text.contains(words), "{words:?} in {text}");
        }
        let text = whole(&both, &[base], b"");
        for words in ["Mail delivered to some", "\r\nIt is attached.", "message/rfc822"] {
            assert!(text.contains(words), "{words:?} in {text}");
        }
    }

    #[test]
    fn nothing_foreign_gets_through_unclean() {
        for byte in 0..=255u8 {
            let foreign = format!("{}\r\n--=_10_11\r\n\r\nx;y: é", char::from(byte)).repeat(60);
            let recipient = ReportedRecipient {
                address: &foreign,
                action: Action::Failed,
                original: Some(&foreign),
                status: (u8::MAX, u16::MAX, u16::MAX),
                remote: Some(&foreign),
                text: &foreign,
                retry_until: None,
            };
            let base = report();
            let report =
                Report { hostname: &foreign, envid: Some(&foreign), cause: Cause::Expired, ..base };
            let written = whole(&report, &[recipient], foreign.as_bytes());
            assert_eq!(written.matches("\n--").count(), 4);
            assert_eq!(written.matches('\n').count(), written.matches("\r\n").count());
            assert_eq!(written.matches('\r').count(), written.matches("\r\n").count());
            for line in written.split("\r\n") {
                assert!(line.len() <= TEXT_LINE_BYTES_MAX);
                assert!(line.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')));
            }
        }
    }

    fn returned(bytes_max: usize, pieces: &[&[u8]]) -> (String, bool) {
        let mut out = String::new();
        let mut returned = ReturnedHeader::new(bytes_max);
        let mut over = false;
        for piece in pieces {
            over = returned.push(&mut out, piece).unwrap();
        }
        returned.finish(&mut out).unwrap();
        (out, over)
    }

    #[test]
    fn the_returned_header_ends_where_it_should() {
        let text = b"A: b\r\n c\r\n-: d\r\nE: \xc3\xa9\0\r\n\r\nbody\r\n";
        let expected = ("A: b\r\n c\r\n?: d\r\nE: ???\r\n".to_owned(), true);
        assert_eq!(returned(500, &[text]), expected);
        for at in 0..text.len() {
            assert_eq!(returned(500, &[&text[..at], &text[at..]]), expected);
        }
        assert_eq!(returned(500, &[b"A: b"]), ("A: b\r\n".to_owned(), false));
        assert_eq!(returned(500, &[b"\r\nbody"]), (String::new(), true));
        let long = [b"A".repeat(3000), b"\r\nB\r\n\r\n".to_vec()].concat();
        assert_eq!(returned(9000, &[&long]), (format!("{}\r\nB\r\n", "A".repeat(998)), true));
        for bytes_max in 0..30 {
            let (out, over) = returned(bytes_max, &[text]);
            assert!(
                over && out.len() <= bytes_max + 2 && (out.is_empty() || out.ends_with("\r\n"))
            );
        }
    }

    #[test]
    fn originals_with_and_without_a_type() {
        assert_eq!(split_address_type("a@b"), ("rfc822", "a@b"));
        assert_eq!(split_address_type("utf-8;a@b"), ("utf-8", "a@b"));
        assert_eq!(split_address_type("rfc822; a@b"), ("rfc822", "a@b"));
        assert_eq!(split_address_type("\"a;b\"@c"), ("rfc822", "\"a;b\"@c"));
        assert_eq!(split_address_type(";a@b"), ("rfc822", ";a@b"));
    }
}
