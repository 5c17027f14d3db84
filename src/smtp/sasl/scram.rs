//! What both sides of SCRAM-SHA-256 share: reading its messages, and its signatures.
//!
//! Messages are read strictly and in place; none of this copies. Not here: the order of messages
//! ([`super::server`], [`super::client`]). Channel binding (`-PLUS`) is not spoken, and names are
//! taken as they are: without SASLprep (RFC 4013), whose tables are larger than this program, equal
//! looking names and passwords beyond ASCII may be unequal.
//!
//! Read first: RFC 5802 §5, §7.

use super::{Crypto, Hash};

/// The longest nonce of the other side that is taken.
pub(super) const NONCE_BYTES_MAX: usize = 128;

/// `client-first-message`, taken apart.
pub(super) struct ClientFirst<'a> {
    /// The GS2 header, which the client's second message repeats.
    pub(super) gs2: &'a [u8],
    /// Whom it wants to act as, if it says so; still escaped.
    pub(super) acts_as: Option<&'a [u8]>,
    /// `client-first-message-bare`.
    pub(super) bare: &'a [u8],
    /// Who it is, still escaped.
    pub(super) name: &'a [u8],
    /// Its half of the nonce.
    pub(super) nonce: &'a [u8],
}

impl<'a> ClientFirst<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Option<ClientFirst<'a>> {
        let mut commas = message.iter().enumerate().filter(|(_, byte)| **byte == b',');
        let (flag_end, _) = commas.next()?;
        let (header_end, _) = commas.next()?;
        // `p=…` asks for channel binding, which is not offered; `y` fears that it was taken away.
        if !matches!(message.get(..flag_end)?, b"n" | b"y") {
            return None;
        }
        let acts_as = match message.get(flag_end + 1..header_end)? {
            b"" => None,
            name => Some(name.strip_prefix(b"a=")?),
        };
        let (gs2, bare) = message.split_at_checked(header_end + 1)?;
        let mut fields = bare.split(|byte| *byte == b',');
        // `m=…` in the first place is an extension that must be understood: none is.
        let name = fields.next()?.strip_prefix(b"n=")?;
        let nonce = fields.next()?.strip_prefix(b"r=")?;
        is_nonce(nonce).then_some(ClientFirst { gs2, acts_as, bare, name, nonce })
    }
}

/// `client-final-message`, taken apart.
pub(super) struct ClientFinal<'a> {
    /// Base64 of the GS2 header.
    pub(super) binding: &'a [u8],
    /// Both halves of the nonce.
    pub(super) nonce: &'a [u8],
    /// Base64 of the proof.
    pub(super) proof: &'a [u8],
    /// All before the proof, without the comma.
    pub(super) without_proof: &'a [u8],
}

impl<'a> ClientFinal<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Option<ClientFinal<'a>> {
        let comma = message.iter().rposition(|byte| *byte == b',')?;
        let (without_proof, last) = message.split_at_checked(comma)?;
        let mut fields = without_proof.split(|byte| *byte == b',');
        Some(ClientFinal {
            binding: fields.next()?.strip_prefix(b"c=")?,
            nonce: fields.next()?.strip_prefix(b"r=")?,
            proof: last.strip_prefix(b",p=")?,
            without_proof,
        })
    }
}

/// `server-first-message`, taken apart.
pub(super) struct ServerFirst<'a> {
    /// Both halves of the nonce.
    pub(super) nonce: &'a [u8],
    /// Base64.
    pub(super) salt: &'a [u8],
    /// Decimal.
    pub(super) iterations: &'a [u8],
}

impl<'a> ServerFirst<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Option<ServerFirst<'a>> {
        let mut fields = message.split(|byte| *byte == b',');
        Some(ServerFirst {
            nonce: fields.next()?.strip_prefix(b"r=")?,
            salt: fields.next()?.strip_prefix(b"s=")?,
            iterations: fields.next()?.strip_prefix(b"i=")?,
        })
    }
}

/// Printable ASCII but the comma, RFC 5802 §7.
fn is_nonce(text: &[u8]) -> bool {
    let fits = (1..=NONCE_BYTES_MAX).contains(&text.len());
    fits && text.iter().all(|byte| byte.is_ascii_graphic() && *byte != b',')
}

/// The parts of `AuthMessage`, whose signature each side proves itself with.
pub(super) struct Signed<'a> {
    pub(super) client_first_bare: &'a [u8],
    pub(super) server_first: &'a [u8],
    pub(super) without_proof: &'a [u8],
}

impl Signed<'_> {
    /// The signature with `key`.
    pub(super) fn by(&self, key: &Hash, crypto: &dyn Crypto) -> Hash {
        let Signed { client_first_bare, server_first, without_proof } = self;
        crypto.hmac(key, &[client_first_bare, b",", server_first, b",", without_proof])
    }
}

/// `one` with `other` laid over it.
pub(super) fn xor(one: &Hash, other: &Hash) -> Hash {
    let mut mixed = *one;
    mixed.iter_mut().zip(other).for_each(|(mixed, other)| *mixed ^= other);
    mixed
}

/// Hands the bytes of an escaped name to `each`; none if it is malformed.
pub(super) fn unescape(text: &[u8], mut each: impl FnMut(u8)) -> Option<()> {
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return Some(()),
            [b'=', b'2', b'C', rest @ ..] => {
                each(b',');
                rest
            }
            [b'=', b'3', b'D', rest @ ..] => {
                each(b'=');
                rest
            }
            [b'=', ..] => return None,
            [byte, rest @ ..] => {
                each(*byte);
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_messages() {
        let first = ClientFirst::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!((first.gs2, first.name), (&b"n,,"[..], &b"user"[..]));
        assert_eq!(first.bare, b"n=user,r=rOprNGfwEbeRWgbNEkqO");
        assert_eq!((first.nonce, first.acts_as), (&b"rOprNGfwEbeRWgbNEkqO"[..], None));
        let first = ClientFirst::parse(b"y,a=me,n=u,r=x,ext=1").unwrap();
        assert_eq!((first.gs2, first.acts_as), (&b"y,a=me,"[..], Some(&b"me"[..])));
        let long = [&b"n,,n=u,r="[..], &[b'x'; NONCE_BYTES_MAX + 1]].concat();
        for bad in [
            &b""[..],
            b"n",
            b"n,",
            b"n,,",
            b"n,,n=u",
            b"n,,r=x,n=u",
            b"n,,m=1,n=u,r=x",
            b"n,,n=u,r=",
            b"n,,n=u,r=a b",
            b"n,,n=u,r=a\0",
            b"n,b=c,n=u,r=x",
            b"p=tls-unique,,n=u,r=x",
            b"x,,n=u,r=x",
            b"N,,n=u,r=x",
            &long,
        ] {
            assert!(ClientFirst::parse(bad).is_none(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn final_messages() {
        let last = ClientFinal::parse(b"c=biws,r=abc,ext=1,p=AAAA").unwrap();
        assert_eq!((last.binding, last.nonce), (&b"biws"[..], &b"abc"[..]));
        assert_eq!((last.proof, last.without_proof), (&b"AAAA"[..], &b"c=biws,r=abc,ext=1"[..]));
        for bad in
            [&b""[..], b",", b"c=,r=", b"r=abc,c=biws,p=A", b"c=biws,p=A", b"c=a,r=b,p=A,x=1"]
        {
            assert!(ClientFinal::parse(bad).is_none(), "{}", bad.escape_ascii());
        }
        let first = ServerFirst::parse(b"r=abc,s=AAAA,i=4096,x=1").unwrap();
        assert_eq!((first.nonce, first.salt), (&b"abc"[..], &b"AAAA"[..]));
        assert_eq!(first.iterations, b"4096");
        assert!(ServerFirst::parse(b"e=other-error").is_none());
    }

    #[test]
    fn escaped_names() {
        let back = |text: &[u8]| {
            let mut name = Vec::new();
            unescape(text, |byte| name.push(byte)).map(|()| name)
        };
        assert_eq!(back(b"a=3Db=2Cc").as_deref(), Some(&b"a=b,c"[..]));
        for bad in [&b"="[..], b"a=", b"=2", b"=2c", b"=41"] {
            assert_eq!(back(bad), None);
        }
    }
}
