//! How the connection to a relay is protected: the scheme of its URL, and what its certificate is
//! held to.
//!
//! Part of the draft. `smtp://` is the explicit word for clear text (decisions 18); with the other
//! schemes nothing is ever sent in the clear, and a next hop without TLS, or with a certificate
//! that is not trusted, holds the mail. What contradicts itself is found when all is known: keys
//! about TLS beside a scheme without it, a certificate without its key.

use super::draft::{Draft, Given};
use super::{Certificate, Fault};
use core::fmt::Write as _;

/// Pins of one relay: one in use, and the next ones.
const PINS_MAX: usize = 8;

/// How a relay is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// In clear text.
    Smtp,
    /// By TLS behind STARTTLS (RFC 3207).
    Starttls,
    /// By TLS from the first byte on (RFC 8314).
    Smtps,
}

impl Scheme {
    /// As it stands in a URL.
    pub fn word(self) -> &'static str {
        match self {
            Scheme::Smtp => "smtp",
            Scheme::Starttls => "starttls",
            Scheme::Smtps => "smtps",
        }
    }

    /// Where such servers are.
    pub fn port(self) -> u16 {
        match self {
            Scheme::Smtp => 25,
            Scheme::Starttls => 587,
            Scheme::Smtps => 465,
        }
    }
}

/// What a relay's TLS is held to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RelayTls {
    /// The file of CAs, if it is not the one for all.
    pub ca: Option<String>,
    /// Keys or certificates, by their SHA-256, one of which it must be.
    pub pins: Vec<[u8; 32]>,
    /// What this machine shows of itself.
    pub client: Option<Certificate>,
    /// The oldest TLS that is spoken.
    pub least: TlsVersion,
}

/// A version of TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TlsVersion {
    /// 1.2.
    #[default]
    V12,
    /// 1.3.
    V13,
}

impl TlsVersion {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            TlsVersion::V12 => "1.2",
            TlsVersion::V13 => "1.3",
        }
    }
}

/// What a relay's draft knows of TLS.
#[derive(Default)]
pub(super) struct ProtectionDraft {
    tls: RelayTls,
    cert: Option<String>,
    key: Option<String>,
    /// The first key about TLS, and its line.
    given: Option<(&'static str, u32)>,
}

impl ProtectionDraft {
    /// What holds for a relay that is spoken to like that.
    pub(super) fn finish(self, scheme: Scheme, faults: &mut Vec<Fault>) -> RelayTls {
        let ProtectionDraft { mut tls, cert, key, given } = self;
        let Some((name, line)) = given else { return tls };
        let mut complain = |message: String| faults.push(Fault { line, message });
        tls.client = match (cert, key) {
            (Some(cert), Some(key)) => Some(Certificate { cert, key }),
            (None, None) => None,
            (Some(_), None) => {
                complain("client-cert needs its key; add a line client-key = /PATH".into());
                None
            }
            (None, Some(_)) => {
                complain("client-key needs its certificate; add a line client-cert = /PATH".into());
                None
            }
        };
        if scheme == Scheme::Smtp {
            complain(format!(
                "{name}: there is no TLS with smtp://; write smtps:// or starttls:// in url"
            ));
        }
        tls
    }
}

impl Draft {
    fn protect(
        &mut self,
        given: &Given<'_>,
        set: impl FnOnce(&mut ProtectionDraft) -> Result<(), String>,
    ) -> Result<(), String> {
        let Some(relay) = self.relays.get_mut(self.current) else { return Ok(()) };
        relay.protection.given.get_or_insert((given.key.name, given.line));
        set(&mut relay.protection)
    }

    /// `ca` of the current relay.
    pub(super) fn set_relay_ca(&mut self, given: &Given<'_>) -> Result<(), String> {
        self.protect(given, |draft| given.path().map(|path| draft.tls.ca = Some(path)))
    }

    /// `pin` of the current relay.
    pub(super) fn set_pin(&mut self, given: &Given<'_>) -> Result<(), String> {
        self.protect(given, |draft| pins(given.text).map(|pins| draft.tls.pins = pins))
    }

    /// `client-cert` of the current relay.
    pub(super) fn set_client_cert(&mut self, given: &Given<'_>) -> Result<(), String> {
        self.protect(given, |draft| given.path().map(|path| draft.cert = Some(path)))
    }

    /// `client-key` of the current relay.
    pub(super) fn set_client_key(&mut self, given: &Given<'_>) -> Result<(), String> {
        self.protect(given, |draft| given.path().map(|path| draft.key = Some(path)))
    }

    /// `tls-min` of the current relay.
    pub(super) fn set_tls_min(&mut self, given: &Given<'_>) -> Result<(), String> {
        self.protect(given, |draft| {
            let word = given.word()?;
            draft.tls.least = if word == "1.3" { TlsVersion::V13 } else { TlsVersion::V12 };
            Ok(())
        })
    }
}

fn pins(text: &str) -> Result<Vec<[u8; 32]>, String> {
    let pins = super::value::parts(text).map(pin).collect::<Result<Vec<_>, _>>()?;
    if pins.is_empty() || pins.len() > PINS_MAX {
        return Err(format!("expected 1 to {PINS_MAX} pins like sha256:…"));
    }
    Ok(pins)
}

/// `sha256:` and 64 hexadecimal digits, with colons between or without, as openssl prints them.
fn pin(text: &str) -> Result<[u8; 32], String> {
    let wrong = || {
        format!(
            "'{text}' is no pin; expected sha256: and the 64 hexadecimal digits of the SHA-256 of \
             a certificate or of its public key"
        )
    };
    let digits = text.strip_prefix("sha256:").ok_or_else(wrong)?;
    let digits: Vec<u8> = digits.bytes().filter(|byte| *byte != b':').collect();
    let mut pin = [0; 32];
    if digits.len() != 2 * pin.len() {
        return Err(wrong());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    for (place, pair) in pin.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return Err(wrong()) };
        *place = digit(*high).ok_or_else(wrong)? << 4 | digit(*low).ok_or_else(wrong)?;
    }
    Ok(pin)
}

/// `pins` as they are read.
pub(super) fn write_pins(pins: &[[u8; 32]]) -> String {
    let mut text = String::new();
    for pin in pins {
        text += if text.is_empty() { "sha256:" } else { " sha256:" };
        for byte in pin {
            // Writing into a String does not fail.
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_there_and_back() {
        let digits = "0123456789abcdef".repeat(4);
        let one = format!("sha256:{digits}");
        let colons: Vec<&str> = (0..32).map(|at| &digits[2 * at..2 * at + 2]).collect();
        for text in [
            one.clone(),
            format!("sha256:{}", digits.to_uppercase()),
            format!("sha256:{}", colons.join(":")),
        ] {
            assert_eq!(write_pins(&pins(&text).unwrap()), one);
        }
        let two = format!("{one}, {one}");
        assert_eq!(write_pins(&pins(&two).unwrap()), format!("{one} {one}"));
        for bad in ["", "sha256:", &digits, &one[..70], &format!("{one}0"), "sha1:aa"] {
            assert!(pins(bad).is_err(), "{bad}");
        }
        assert!(pins(&format!("{one} ").repeat(9)).is_err());
    }
}
