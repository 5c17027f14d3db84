//! CRAM-MD5, for devices that know nothing else; offered and taken only with the feature
//! `cram-md5`, which is off.
//!
//! What is kept of a password is HMAC-MD5 half done: the state of MD5 behind the key's inner block
//! and behind its outer one. That is enough to log in by this mechanism, but does not show the
//! password. As text it is 64 hex digits, outer state first, as Dovecot writes it.
//!
//! MD5 is here because nothing else in the program has it, and libraries keep the state that is
//! needed to themselves. It is broken for signatures; what is left of its strength in HMAC is what
//! RFC 6151 says: not for anything new.
//!
//! Read first: RFC 2195, RFC 2104, RFC 1321 §3, RFC 6151.

use super::{Hash, is_equal};
use core::fmt;

const BLOCK_BYTES: usize = 64;

/// What is kept of a password.
#[derive(Clone, Copy)]
pub struct CramKey {
    inner: State,
    outer: State,
}

/// The state of MD5 between two blocks.
type State = [u32; 4];

const START: State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

impl CramKey {
    /// What is kept of `password`.
    pub fn of(password: &[u8]) -> CramKey {
        let mut key = [0; BLOCK_BYTES];
        match key.get_mut(..password.len()) {
            Some(room) => room.copy_from_slice(password),
            // RFC 2104 §2: a key longer than a block is hashed first.
            None => {
                key.iter_mut().zip(finish(START, 0, password)).for_each(|(to, from)| *to = from)
            }
        }
        let laid_over = |pad: u8| block(&key.map(|byte| byte ^ pad));
        CramKey {
            inner: compress(START, &laid_over(0x36)),
            outer: compress(START, &laid_over(0x5c)),
        }
    }

    /// The digest of a challenge, in hex.
    pub fn digest(&self, challenge: &[u8]) -> [u8; 32] {
        let inner = finish(self.inner, BLOCK_BYTES, challenge);
        let outer = finish(self.outer, BLOCK_BYTES, &inner);
        let mut hex = [0; 32];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(outer) {
            pair.copy_from_slice(&hex_digits(byte));
        }
        hex
    }

    /// Whether `digest` is that of `challenge`. The digits may be of either case.
    pub fn is_digest(&self, challenge: &[u8], digest: &[u8]) -> bool {
        let own: Hash = self.digest(challenge);
        let lower =
            Hash::try_from(digest).map(|digest| digest.map(|byte| byte.to_ascii_lowercase()));
        lower.is_ok_and(|digest| is_equal(&own, &digest))
    }

    /// Reads 64 hex digits.
    pub fn parse(text: &str) -> Option<CramKey> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut words = digits.chunks_exact(8).map(|word| {
            let mut bytes = [0; 4];
            for (byte, pair) in bytes.iter_mut().zip(word.chunks_exact(2)) {
                let pair = core::str::from_utf8(pair).ok()?;
                *byte = u8::from_str_radix(pair, 16).ok().filter(|_| !pair.starts_with('+'))?;
            }
            Some(u32::from_le_bytes(bytes))
        });
        let mut state = || Some([words.next()??, words.next()??, words.next()??, words.next()??]);
        let outer = state()?;
        let inner = state()?;
        Some(CramKey { inner, outer })
    }

    /// Writes what [`CramKey::parse`] reads.
    pub fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let words = self.outer.iter().chain(&self.inner);
        words.flat_map(|word| word.to_le_bytes()).try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

fn hex_digits(byte: u8) -> [u8; 2] {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
    [digit(byte >> 4), digit(byte & 15)]
}

/// A block as words.
fn block(bytes: &[u8; BLOCK_BYTES]) -> [u32; 16] {
    let mut words = [0; 16];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = bytes.try_into().map_or(0, u32::from_le_bytes);
    }
    words
}

/// The hash of `before` bytes that led to `state`, and of `message` behind them.
fn finish(mut state: State, before: usize, message: &[u8]) -> [u8; 16] {
    let mut blocks = message.chunks_exact(BLOCK_BYTES);
    for bytes in blocks.by_ref() {
        state = bytes.try_into().map_or(state, |bytes| compress(state, &block(bytes)));
    }
    let rest = blocks.remainder();
    let mut last = [0; 2 * BLOCK_BYTES];
    last.iter_mut().zip(rest.iter().chain(&[0x80])).for_each(|(to, from)| *to = *from);
    // The mark and the length of the whole must fit behind the rest.
    let used = if rest.len() + 9 <= BLOCK_BYTES { BLOCK_BYTES } else { 2 * BLOCK_BYTES };
    let bits = ((before + message.len()) as u64).wrapping_mul(8).to_le_bytes();
    if let Some(room) = last.get_mut(used - 8..used) {
        room.copy_from_slice(&bits);
    }
    for bytes in last.chunks_exact(BLOCK_BYTES).take(used / BLOCK_BYTES) {
        state = bytes.try_into().map_or(state, |bytes| compress(state, &block(bytes)));
    }
    let mut hash = [0; 16];
    for (to, word) in hash.chunks_exact_mut(4).zip(state) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    hash
}

/// RFC 1321 §3.4: four rounds of sixteen steps.
fn compress(state: State, words: &[u32; 16]) -> State {
    const TURNS: [[u32; 4]; 4] =
        [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let [mut a, mut b, mut c, mut d] = state;
    for (step, sine) in SINES.iter().enumerate() {
        let round = step / 16;
        let (mixed, place) = match round {
            0 => ((b & c) | (!b & d), step),
            1 => ((d & b) | (!d & c), 5 * step + 1),
            2 => (b ^ c ^ d, 3 * step + 5),
            _ => (c ^ (b | !d), 7 * step),
        };
        let word = words.get(place % 16).copied().unwrap_or(0);
        let turn = TURNS.get(round).and_then(|turns| turns.get(step % 4)).copied().unwrap_or(0);
        let sum = a.wrapping_add(mixed).wrapping_add(*sine).wrapping_add(word);
        (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(turn)));
    }
    let [e, f, g, h] = state;
    [e.wrapping_add(a), f.wrapping_add(b), g.wrapping_add(c), h.wrapping_add(d)]
}

/// The whole part of 2³² times the sine of 1 to 64, without its sign.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_of_rfc_1321() {
        let hex = |message: &[u8]| {
            let hash = finish(START, 0, message);
            hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        for (message, hash) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ] {
            assert_eq!(hex(message.as_bytes()), hash);
        }
        // Around the end of a block; of 55, 56, 63, 64 and 65 times the letter a.
        assert_eq!(hex(&[b'a'; 55]), "ef1772b6dff9a122358552954ad0df65");
        assert_eq!(hex(&[b'a'; 56]), "3b0c8ac703f828b04c6c197006d17218");
        assert_eq!(hex(&[b'a'; 64]), "014842d480b571495a4a0363793f7367");
    }

    #[test]
    fn digests_of_rfc_2195_and_rfc_2202() {
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        let key = CramKey::of(b"tanstaaftanstaaf");
        assert_eq!(&key.digest(challenge), b"b913a602c7eda7a495b4e6e7334d3890");
        let long = CramKey::of(&[0xaa; 80]);
        let message = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(&long.digest(message), b"6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd");
    }

    #[test]
    fn keys_there_and_back() {
        let mut text = String::new();
        CramKey::of(b"secret").write(&mut text).unwrap();
        let back = CramKey::parse(&text).unwrap();
        assert_eq!(back.digest(b"x"), CramKey::of(b"secret").digest(b"x"));
        for bad in ["", "00", &"0".repeat(63), &"+0".repeat(32), &"g0".repeat(32)] {
            assert!(CramKey::parse(bad).is_none(), "{bad}");
        }
    }
}
