//! How a connection to a next hop was lost, in words, with the cure where there is one.
//!
//! What TLS itself has found has words of its own, which come from outside; and so has a login.

use crate::base::buffer::Text;
use crate::limits::REMOTE_TEXT_BYTES_MAX;
use crate::smtp::client::Loss;
use core::fmt::Write as _;

/// See the module's head.
pub(super) fn words(loss: &Loss) -> Text<REMOTE_TEXT_BYTES_MAX> {
    let mut text = Text::new();
    // A Text cuts what is too long, it never fails.
    let _ = match loss {
        Loss::Greeting(reply) => write!(text, "refused us: {reply}"),
        Loss::ServiceClosing(reply) => write!(text, "{reply}"),
        Loss::Garbage => write!(text, "does not speak SMTP"),
        Loss::Closed => write!(text, "closed the connection"),
        Loss::TimedOut => write!(text, "did not answer in time"),
        Loss::Silent => write!(
            text,
            "did not greet us in time; if it waits for TLS, as on port 465, write smtps:// in url"
        ),
        Loss::NoTls(None) => write!(
            text,
            "offers no STARTTLS, and nothing is sent without; if TLS begins with the first byte \
             there, write smtps:// in url"
        ),
        Loss::NoTls(Some(reply)) => {
            write!(text, "refuses STARTTLS, and nothing is sent without: {reply}")
        }
        Loss::Injected => write!(
            text,
            "says more before TLS than it was asked: somebody between may have put it there"
        ),
        Loss::Tls => write!(text, "closed the connection in the middle of the TLS handshake"),
        Loss::TlsTooSlow => write!(text, "does not bring the TLS handshake to its end"),
        // Told otherwise.
        Loss::Login(_) => Ok(()),
    };
    text
}
