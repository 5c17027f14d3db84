//! The devices that have come lately, for `status`: who is that, does its mail get in, and if not,
//! which line of the config would help.
//!
//! A row for each address (each IPv6 /64, as everywhere: an IPv6 device may have another address
//! tomorrow). What a device calls itself is printable, cut, and not to be trusted; what is told of
//! its trouble are our own words. Nothing here decides anything.
//!
//! Limit: [`DEVICES_MAX`] rows, made at the start. When all are taken, the one goes that has been
//! away for longest among those who have never handed in a mail, else among all: so those who only
//! knock do not push out those who work.

use super::peer::Source;
use crate::base::buffer::Text;
use crate::base::time::Instant;
use crate::config::{ClientPolicy, Config};
use crate::limits::DEVICES_MAX;
use crate::mail::address::AddressError;
use crate::smtp::reply::Reply;
use core::fmt;
use core::net::IpAddr;

/// See the module's head.
pub struct Devices {
    rows: Vec<Device>,
    /// Counts visits, for an order that no clock gives.
    visits: u64,
}

/// What is known of one.
pub struct Device {
    /// Where it came from last.
    pub address: IpAddr,
    /// What it calls itself; empty: it has not said so.
    pub hello: Text<HELLO_BYTES_MAX>,
    /// Mails of it that were taken.
    pub mails: u32,
    /// The last of them.
    pub last_mail: Option<Instant>,
    /// What went wrong last.
    pub complaint: Option<(Complaint, Instant)>,
    source: Source,
    last_visit: u64,
}

/// What is kept of a name.
pub const HELLO_BYTES_MAX: usize = 48;

/// What went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Complaint {
    /// It was told this.
    Reply(Reply),
    /// It began TLS, and did not bring it to an end.
    Handshake,
    /// It did not begin with the PROXY header that it must send.
    NoHeader,
}

/// What a session has to tell of its peer.
#[derive(Clone, Copy, Default, Debug)]
pub struct News {
    /// It has said its name.
    pub is_named: bool,
    /// So many mails were taken.
    pub mails: u32,
    /// What went wrong.
    pub complaint: Option<Complaint>,
}

impl News {
    /// True if there is something to tell.
    pub const fn is_any(&self) -> bool {
        self.is_named || self.mails > 0 || self.complaint.is_some()
    }
}

impl Devices {
    /// Nobody has come.
    pub fn new() -> Devices {
        Devices { rows: Vec::with_capacity(DEVICES_MAX), visits: 0 }
    }

    /// Something new of the device at `address`.
    pub fn note(&mut self, address: IpAddr, hello: Option<&str>, news: &News, now: Instant) {
        self.visits += 1;
        let place = self.place(address);
        let Some(device) = self.rows.get_mut(place) else { return };
        (device.address, device.last_visit) = (address, self.visits);
        if let Some(hello) = hello {
            device.hello = Text::from(hello);
        }
        if news.mails > 0 {
            device.mails = device.mails.saturating_add(news.mails);
            device.last_mail = Some(now);
        }
        // How a session was closed says less than what was wrong before.
        let is_news = |complaint: &Complaint| device.trouble().is_none() || !complaint.is_a_close();
        if let Some(complaint) = news.complaint.filter(is_news) {
            device.complaint = Some((complaint, now));
        }
    }

    /// All of them, in the order they were first seen.
    pub fn iter(&self) -> impl Iterator<Item = &Device> {
        self.rows.iter()
    }

    /// The row of `address`, made if there is none.
    fn place(&mut self, address: IpAddr) -> usize {
        let source = Source::of(address);
        if let Some(known) = self.rows.iter().position(|device| device.source == source) {
            return known;
        }
        if self.rows.len() >= DEVICES_MAX {
            let key = |device: &Device| (device.mails > 0, device.last_visit);
            let oldest = (0..).zip(&self.rows).min_by_key(|(_, device)| key(device));
            let oldest = oldest.map_or(0, |(place, _)| place);
            self.rows.remove(oldest);
        }
        self.rows.push(Device {
            address,
            hello: Text::new(),
            mails: 0,
            last_mail: None,
            complaint: None,
            source,
            last_visit: 0,
        });
        self.rows.len() - 1
    }
}

impl Default for Devices {
    fn default() -> Self {
        Self::new()
    }
}

impl Device {
    /// What is wrong now: it has handed in no mail since.
    pub fn trouble(&self) -> Option<Complaint> {
        let (complaint, when) = self.complaint?;
        (self.last_mail <= Some(when)).then_some(complaint)
    }

    /// What to change in the config so that it does not go wrong again, as far as that can be told.
    pub fn advice(&self, config: &Config) -> Option<Advice> {
        let (complaint, _) = self.complaint?;
        let policy = config.client(self.address);
        let change = complaint.change(&policy)?;
        Some(Advice { address: self.address, policy, change })
    }
}

/// A key to change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    Lenient,
    NoStartTls,
    ClearAuth,
    Relay,
    /// A higher value of this one.
    More(&'static str),
}

impl Complaint {
    /// It tells only that, and how, a session was ended.
    fn is_a_close(&self) -> bool {
        let closes = [
            Reply::TIMED_OUT,
            Reply::TOO_SLOW,
            Reply::TOO_MANY_ERRORS,
            Reply::TOO_MANY_IDLE,
            Reply::BUSY,
            Reply::SHUTTING_DOWN,
        ];
        closes.iter().any(|reply| *self == Complaint::Reply(*reply))
    }

    fn change(self, policy: &ClientPolicy) -> Option<Change> {
        const BRACKETS: &str = AddressError::Brackets.text();
        match self {
            Complaint::Handshake if policy.starttls => Some(Change::NoStartTls),
            Complaint::Handshake | Complaint::NoHeader => None,
            Complaint::Reply(reply) => match reply {
                Reply::LINE_BARE
                | Reply::BARE_IN_MESSAGE
                | Reply::BAD_HELLO
                | Reply::BAD_MAIL
                | Reply::BAD_RCPT
                | Reply { code: 501, text: BRACKETS, .. }
                    if !policy.lenient =>
                {
                    Some(Change::Lenient)
                }
                Reply::NO_RELAYING if !policy.relay => Some(Change::Relay),
                Reply::LOGIN_NEEDS_TLS if !policy.clear_auth => Some(Change::ClearAuth),
                Reply::TOO_MANY_CONNECTIONS => Some(Change::More("connections")),
                Reply::TOO_MANY_MESSAGES => Some(Change::More("rate")),
                Reply::TOO_BIG if policy.size.is_some() => Some(Change::More("size")),
                Reply::TOO_BIG => Some(Change::More("message-size")),
                _ => None,
            },
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Complaint::Reply(reply) => reply.fmt(out),
            Complaint::Handshake => out.write_str("TLS did not come to be; the log says why"),
            Complaint::NoHeader => out.write_str("it sends no PROXY header, as it must"),
        }
    }
}

/// A line of config that would help, with the keys that hold for the device now: its own section
/// has only what it says.
#[derive(Clone, Copy, Debug)]
pub struct Advice {
    address: IpAddr,
    policy: ClientPolicy,
    change: Change,
}

impl fmt::Display for Advice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut policy = self.policy;
        match self.change {
            Change::Lenient => policy.lenient = true,
            Change::NoStartTls => policy.starttls = false,
            Change::ClearAuth => policy.clear_auth = true,
            Change::Relay => policy.relay = true,
            Change::More("message-size") => return out.write_str("a larger message-size"),
            Change::More(key) => {
                return write!(out, "a larger {key} in [clients …] of {}", self.address);
            }
        }
        write!(out, "[clients {}] {policy}", self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Host, parse};

    const NOW: Instant = Instant::from_millis(1000);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn said(reply: Reply) -> News {
        News { complaint: Some(Complaint::Reply(reply)), ..News::default() }
    }

    const MAIL: News = News { is_named: false, mails: 1, complaint: None };

    #[test]
    fn who_only_knocks_pushes_out_nobody_who_works() {
        let mut devices = Devices::new();
        let printer = address("192.168.1.20");
        devices.note(printer, Some("printer"), &MAIL, NOW);
        for number in 0..3 * DEVICES_MAX as u32 {
            let stranger = IpAddr::V4((0x0808_0000 + number).into());
            devices.note(stranger, None, &said(Reply::NO_RELAYING), NOW);
        }
        assert_eq!(devices.iter().count(), DEVICES_MAX);
        let first = devices.iter().next().unwrap();
        assert_eq!((first.address, first.hello.as_str(), first.mails), (printer, "printer", 1));
        // Of those who work the one goes that has been away for longest.
        for number in 0..DEVICES_MAX as u32 {
            devices.note(IpAddr::V4((0x0A00_0000 + number).into()), None, &MAIL, NOW);
        }
        assert!(devices.iter().all(|device| device.address != printer && device.mails == 1));
    }

    #[test]
    fn addresses_of_one_network_are_one_device() {
        let mut devices = Devices::new();
        for text in ["2001:db8::1", "2001:db8::2", "192.0.2.1", "::ffff:192.0.2.1"] {
            devices.note(address(text), Some(text), &MAIL, NOW);
        }
        let seen: Vec<&str> = devices.iter().map(|device| device.hello.as_str()).collect();
        assert_eq!(seen, ["2001:db8::2", "::ffff:192.0.2.1"]);
    }

    #[test]
    fn trouble_is_over_with_the_next_mail() {
        let mut devices = Devices::new();
        let printer = address("192.168.1.20");
        devices.note(printer, None, &said(Reply::LINE_BARE), NOW);
        devices.note(printer, None, &said(Reply::TIMED_OUT), NOW + core::time::Duration::MAX);
        let device = devices.iter().next().unwrap();
        assert_eq!(device.trouble(), Some(Complaint::Reply(Reply::LINE_BARE)));
        devices.note(printer, None, &MAIL, NOW + core::time::Duration::from_secs(1));
        let device = devices.iter().next().unwrap();
        assert!(device.trouble().is_none() && device.complaint.is_some());
    }

    #[test]
    fn what_to_change() {
        let host = Host { hostname: "pi", home: "/home", is_embedded: false, run: None };
        let text = b"[clients lan]\nrelay = yes\nrate = 60\n[clients 10.9.9.9]\nlenient = yes\n";
        let config = parse(text, &host).unwrap();
        let brackets = Reply::BAD_SENDER.with_text(AddressError::Brackets.text());
        let handshake = News { complaint: Some(Complaint::Handshake), ..News::default() };
        for (at, news, advice) in [
            ("10.0.0.1", said(Reply::LINE_BARE), "relay = yes, lenient = yes, rate = 60"),
            ("10.0.0.1", said(brackets), "relay = yes, lenient = yes, rate = 60"),
            ("10.0.0.1", handshake, "relay = yes, starttls = no, rate = 60"),
            ("8.8.8.8", said(Reply::NO_RELAYING), "relay = yes"),
            (
                "10.0.0.1",
                said(Reply::TOO_MANY_MESSAGES),
                "a larger rate in [clients …] of 10.0.0.1",
            ),
            ("10.0.0.1", said(Reply::TOO_BIG), "a larger message-size"),
            ("10.0.0.1", said(Reply::NO_RELAYING), ""),
            ("10.9.9.9", said(Reply::LINE_BARE), ""),
            ("10.0.0.1", said(Reply::UNKNOWN_COMMAND), ""),
        ] {
            let mut devices = Devices::new();
            devices.note(address(at), None, &news, NOW);
            let found = devices.iter().next().unwrap().advice(&config);
            let found = found.map_or(String::new(), |advice| advice.to_string());
            let section = format!("[clients {at}] ");
            assert_eq!(found.strip_prefix(&section).unwrap_or(&found), advice, "{at} {news:?}");
        }
    }
}
