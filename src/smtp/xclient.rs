//! XCLIENT: a mail proxy tells whom it speaks for, by a command (Postfix's `XCLIENT_README`).
//!
//! All of Postfix's attributes are read; those that nothing here depends on (NAME, PROTO, DESTADDR,
//! DESTPORT) are checked, and that is all. Values are xtext and hold printable ASCII, so no control
//! byte comes out of one (threats 4). `[UNAVAILABLE]` and `[TEMPUNAVAIL]` say that the proxy does
//! not know.
//!
//! A session begins anew with it, from the greeting on ([`Server::anew`]). Who may say so, and what
//! becomes of it, is `intake::told`'s part.

use super::command::CommandError;
use super::parameter::Xtext;
use super::reply::Reply;
use super::server::{Event, Server};
use super::state::State;
use crate::base::ascii::parse_decimal;
use crate::base::buffer::{Buffer, Text};
use core::fmt::Write as _;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest address there is, and `IPV6:`.
const ADDRESS_BYTES_MAX: usize = 64;

/// What is told of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ToldClient<'a> {
    /// Where it is; an inner none: nobody knows.
    pub address: Option<Option<IpAddr>>,
    /// Its port.
    pub port: Option<u16>,
    /// What it calls itself.
    pub hello: Option<Xtext<'a>>,
    /// Who it has logged in as.
    pub login: Option<Xtext<'a>>,
}

impl Server {
    /// XCLIENT.
    pub(super) fn hear_of<'a>(&mut self, told: ToldClient<'a>, out: &mut Buffer) -> Event<'a> {
        if self.transaction.is_some() {
            return self.blame(Reply::NOT_WITHIN_MAIL, out);
        }
        self.enter(State::AwaitConnection);
        Event::Xclient(told)
    }

    /// The same connection with another peer at its end, who is not greeted yet, and may have
    /// logged in elsewhere.
    pub const fn anew(&self, is_local: bool, is_logged_in: bool) -> Server {
        let mut server = Server::new(is_local);
        (server.is_secure, server.is_logged_in) = (self.is_secure, is_logged_in);
        server.bad_commands = self.bad_commands;
        server
    }
}

/// A word that stands for what is not known.
fn is_unavailable(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"[UNAVAILABLE]") || value.eq_ignore_ascii_case(b"[TEMPUNAVAIL]")
}

/// Reads what stands behind XCLIENT.
pub(super) fn parse(argument: &[u8]) -> Result<ToldClient<'_>, CommandError> {
    const NAMES: [&[u8]; 8] =
        [b"NAME", b"ADDR", b"PORT", b"PROTO", b"HELO", b"LOGIN", b"DESTADDR", b"DESTPORT"];
    let mut told = ToldClient::default();
    let mut seen = [false; NAMES.len()];
    for word in argument.split(|byte| *byte == b' ').filter(|word| !word.is_empty()) {
        let equals = memchr::memchr(b'=', word).ok_or(CommandError::Parameter)?;
        let (name, value) = word.split_at_checked(equals).ok_or(CommandError::Parameter)?;
        let value = value.get(1..).unwrap_or_default();
        let place = NAMES.iter().position(|known| known.eq_ignore_ascii_case(name));
        let seen = place.and_then(|place| seen.get_mut(place)).ok_or(CommandError::Parameter)?;
        if core::mem::replace(seen, true) {
            return Err(CommandError::RepeatedParameter);
        }
        let known = (!is_unavailable(value)).then_some(value);
        let text = known.map(read_text).transpose()?;
        match place {
            Some(1) => told.address = Some(text.map(read_address).transpose()?),
            Some(2) => told.port = text.map(read_port).transpose()?,
            Some(3) => text.map_or(Ok(()), check_protocol)?,
            Some(4) => told.hello = text,
            Some(5) => told.login = text,
            Some(6) => text.map_or(Ok(()), |text| read_address(text).map(drop))?,
            Some(7) => text.map_or(Ok(()), |text| read_port(text).map(drop))?,
            _ => (),
        }
    }
    if seen.contains(&true) { Ok(told) } else { Err(CommandError::NoArgument) }
}

fn read_text(value: &[u8]) -> Result<Xtext<'_>, CommandError> {
    Xtext::parse(value).filter(|_| !value.is_empty()).ok_or(CommandError::Parameter)
}

/// The text decoded; what is longer than any address is none when it was cut.
fn decoded(text: Xtext<'_>) -> Text<ADDRESS_BYTES_MAX> {
    let mut plain = Text::new();
    // A Text cuts what is too long, it never fails.
    let _ = write!(plain, "{text}");
    plain
}

fn read_address(text: Xtext<'_>) -> Result<IpAddr, CommandError> {
    let text = decoded(text);
    let address = match text.as_str().split_at_checked("IPV6:".len()) {
        Some((tag, v6)) if tag.eq_ignore_ascii_case("IPV6:") => {
            v6.parse::<Ipv6Addr>().map(IpAddr::V6)
        }
        _ => text.as_str().parse::<Ipv4Addr>().map(IpAddr::V4),
    };
    address.map_err(|_| CommandError::Parameter)
}

fn read_port(text: Xtext<'_>) -> Result<u16, CommandError> {
    let number = parse_decimal(decoded(text).as_str().as_bytes());
    number.and_then(|number| u16::try_from(number).ok()).ok_or(CommandError::Parameter)
}

fn check_protocol(text: Xtext<'_>) -> Result<(), CommandError> {
    let text = decoded(text);
    let is_one = ["SMTP", "ESMTP"].iter().any(|word| word.eq_ignore_ascii_case(text.as_str()));
    if is_one { Ok(()) } else { Err(CommandError::Parameter) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<Option<IpAddr>> {
        Some(Some(text.parse().unwrap()))
    }

    #[test]
    fn what_postfix_and_nginx_say() {
        let told = parse(b"NAME=spike.example ADDR=192.0.2.7").unwrap();
        assert_eq!(told, ToldClient { address: address("192.0.2.7"), ..ToldClient::default() });
        let told =
            parse(b"ADDR=IPV6:2001:db8::7 PORT=12345 LOGIN=al+40ice NAME=[UNAVAILABLE]").unwrap();
        assert_eq!((told.address, told.port), (address("2001:db8::7"), Some(12345)));
        assert_eq!(told.login.unwrap().to_string(), "al@ice");
        let told = parse(b"proto=ESMTP helo=my+20printer destaddr=10.0.0.1 destport=25 ").unwrap();
        assert_eq!(told.hello.unwrap().to_string(), "my printer");
        assert_eq!((told.address, told.login), (None, None));
        let told = parse(b"ADDR=[TEMPUNAVAIL] PORT=[unavailable] LOGIN=[UNAVAILABLE]").unwrap();
        assert_eq!(told, ToldClient { address: Some(None), ..ToldClient::default() });
    }

    #[test]
    fn what_is_malformed() {
        for bad in [
            &b""[..],
            b" ",
            b"ADDR",
            b"ADDR=",
            b"ADDR=1.2.3",
            b"ADDR=1.2.3.4.5",
            b"ADDR=2001:db8::1",
            b"ADDR=IPV6:1.2.3.4",
            b"ADDR=IPV6:",
            b"ADDR=1.2.3.4 ADDR=1.2.3.4",
            b"PORT=65536",
            b"PORT=x",
            b"PROTO=LMTP",
            b"HELO=",
            b"HELO=a+0Db",
            b"HELO=a+0",
            b"HELO=a\xe4",
            b"NAME=a=b",
            b"DESTADDR=here",
            b"WHAT=1",
            b"=1",
            b"ADDR=1.2.3.4\tPORT=1",
        ] {
            let found = parse(bad).map_err(|error| error.reply().code);
            assert_eq!(found, Err(501), "{}", bad.escape_ascii());
        }
        let long = [&b"ADDR=1.2.3.4"[..], &[b'4'; 100]].concat();
        assert!(parse(&long).is_err());
    }

    /// Threats 4: whatever byte stands at whatever place, no control byte comes out.
    #[test]
    fn no_control_byte_gets_through() {
        let line = b"NAME=a.example ADDR=192.0.2.7 HELO=a+20b LOGIN=user";
        for at in 0..line.len() {
            for byte in 0..=255 {
                let mut line = line.to_vec();
                line[at] = byte;
                let Ok(told) = parse(&line) else { continue };
                for text in [told.hello, told.login].into_iter().flatten() {
                    assert!(text.to_string().bytes().all(|byte| (b' '..=b'~').contains(&byte)));
                }
            }
        }
    }
}
