//! What is needed of the world to log in at a next hop: passwords and tokens, and arithmetic.
//!
//! Before the connection is made the key is asked for ([`Keyring::unlock`]): what cannot be had
//! costs no connection, and a program that has to be run keeps no next hop waiting. When the next
//! hop wants to see it, it is lent for the length of a call ([`Keyring::lend`]). Nothing in this
//! room keeps a key.
//!
//! A next hop that refuses a key holds its lane (decisions 6, 7). The key may be mended meanwhile:
//! of those in files [`Keyring::has_changed`] tells, and the lane is tried at once.

use crate::config::KeySource;
use crate::smtp::sasl::Crypto;

/// Why a key cannot be had, and what to change: printable.
pub type KeyError = String;

/// What [`Keyring::unlock`] came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unlock {
    /// It can be lent.
    Ready,
    /// An event tells when to ask again.
    Pending,
    /// It cannot be had.
    Failed(KeyError),
}

/// Who gets to see a key.
pub type Borrower<'a> = &'a mut dyn FnMut(&[u8], &dyn Crypto);

/// Keys. A world in which nobody logs in has none.
pub trait Keyring {
    /// Gets the key in `source` ready. [`Unlock::Pending`]: `ticket` comes with the event.
    fn unlock(&mut self, ticket: u32, source: &KeySource) -> Unlock {
        let _ = (ticket, source);
        Unlock::Ready
    }

    /// Lends it, and forgets what can be got again.
    fn lend(&mut self, source: &KeySource, to: Borrower<'_>) -> Result<(), KeyError> {
        let _ = (source, to);
        Err("there are no keys".into())
    }

    /// A next hop has refused it. True: it was an old one, and a new one can be had.
    fn refused(&mut self, source: &KeySource) -> bool {
        let _ = source;
        false
    }

    /// True if it is not what it was when it was lent, or could not be had; as far as the file
    /// system tells.
    fn has_changed(&mut self, source: &KeySource) -> bool {
        let _ = source;
        false
    }
}
