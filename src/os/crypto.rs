//! The arithmetic of logging in, by ring.
//!
//! Not here: TLS, and what any of it is for ([`crate::smtp::sasl`]). The source of random bytes is
//! the kernel's, which [`super::random`] has tried at the start; should it fail all the same the
//! process aborts, since a nonce that can be guessed is worse than a restart.

use crate::smtp::sasl::{Crypto, Hash};
use core::num::NonZeroU32;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac, pbkdf2};

/// Stateless: there may be any number of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RingCrypto;

impl Crypto for RingCrypto {
    fn hmac(&self, key: &[u8], parts: &[&[u8]]) -> Hash {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
        parts.iter().for_each(|part| context.update(part));
        hash(context.sign().as_ref())
    }

    fn digest(&self, bytes: &[u8]) -> Hash {
        hash(digest::digest(&digest::SHA256, bytes).as_ref())
    }

    fn pbkdf2(&self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Hash {
        let mut key = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password, &mut key);
        key
    }

    fn random(&self, bytes: &mut [u8]) {
        if SystemRandom::new().fill(bytes).is_err() {
            ::log::error!("no random numbers");
            std::process::abort();
        }
    }
}

/// What a SHA-256 gives always has 32 bytes.
fn hash(bytes: &[u8]) -> Hash {
    bytes.try_into().unwrap_or_default()
}
