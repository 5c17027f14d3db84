//! `sendmail -bs`: SMTP on stdin and stdout, for programs that keep a conversation with `sendmail`
//! (symfony, alpine), for people, and for inetd.
//!
//! The conversation is the daemon's: what the caller says goes to its submit socket, with the line
//! ends that [`super::ends`] gives it, and what comes back goes to the caller. Deadlines are the
//! daemon's too; one that does not even keep those is given up. While there is none, the same
//! machine answers here and leaves the mail in the drop directory ([`super::deputy`]).
//!
//! When stdin is a network connection, as inetd starts its servers (`nowait`), the client is no
//! user of this machine: the daemon is told its address by XCLIENT first, and treats it as one that
//! has connected to itself. It believes only root and its own user in that, and without it nothing
//! goes on: everybody would have a local user's rights. Nor is there a drop directory for such a
//! client, nor a word on stderr, which is that connection again.
//!
//! Exit 0: the conversation ended as the caller wanted, each mail has had its answer. 75: it broke
//! off, or there is no daemon; the caller was told 421. 77: see above. A caller who goes without
//! QUIT is told by the code how the last answer was: somebody who pipes in a message instead of a
//! conversation shall not believe that it was taken.

use super::deputy::Deputy;
use super::ends::Ends;
use super::submission::Session;
use super::{Context, Exit, Failure, drop_room, leave_reason};
use crate::os::local;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const BUFFER_BYTES: usize = 16 * 1024;
/// The longest that a daemon says nothing and takes nothing: no deadline of its own can be longer
/// than an hour.
const SILENCE_MAX: Duration = Duration::from_secs(65 * 60);

/// Holds the conversation.
pub fn run(context: &Context) -> Result<Exit, Failure> {
    let client = local::remote(std::io::stdin().as_fd());
    let result = converse(context, client);
    match result {
        Err(failure) if local::remote(std::io::stderr().as_fd()).is_some() => Ok(failure.exit),
        result => result,
    }
}

fn converse(context: &Context, client: Option<SocketAddr>) -> Result<Exit, Failure> {
    let places = context.places()?;
    let mut caller = io::stdout().lock();
    let (mut session, greeting) = match Session::first(&places.submit) {
        Ok(found) => found,
        Err(reason) => {
            // What lies in the drop directory is a local user's.
            if client.is_none()
                && let Some((directory, bytes_max)) = drop_room(&places)
            {
                return Deputy::new(io::stdin(), caller, bytes_max).serve(&directory);
            }
            return Err(sorry(&mut caller, Exit::TEMPORARY, leave_reason(&reason)));
        }
    };
    if let Some(address) = client
        && let Err(reply) = session.introduce(address)
    {
        let text = format!(
            "the daemon does not want to hear that this is {}: {reply}; run this as root or as the \
             daemon's user",
            address.ip()
        );
        return Err(sorry(&mut caller, Exit::PERMISSION, text));
    }
    let hello = caller.write_all(format!("{greeting}\r\n").as_bytes());
    hello.and_then(|()| caller.flush()).map_err(|error| unwritable(&error))?;
    carry(session.into_stream(), &mut caller)
}

/// Tells the caller that nothing will come of it.
fn sorry(caller: &mut impl Write, exit: Exit, text: String) -> Failure {
    let told = caller.write_all(b"421 4.3.2 No mail is taken now; try again later\r\n");
    // If the caller is not there any more, the exit code is all that is left to say.
    let _ = told.and_then(|()| caller.flush());
    Failure::new(exit, text)
}

fn unwritable(error: &io::Error) -> Failure {
    Failure::new(Exit::SYSTEM, format!("cannot write to stdout: {error}"))
}

/// Carries bytes both ways until one side ends.
fn carry(daemon: UnixStream, caller: &mut impl Write) -> Result<Exit, Failure> {
    let broken = |error: io::Error| Failure::new(Exit::TEMPORARY, format!("the daemon: {error}"));
    daemon.set_read_timeout(Some(SILENCE_MAX)).map_err(broken)?;
    daemon.set_write_timeout(Some(SILENCE_MAX)).map_err(broken)?;
    let has_ended = Arc::new(AtomicBool::new(false));
    let (ended, mut towards) = (Arc::clone(&has_ended), daemon.try_clone().map_err(broken)?);
    let given = Arc::new(AtomicUsize::new(0));
    let giving = Arc::clone(&given);
    // It ends with the process, at the latest.
    std::thread::spawn(move || {
        let (mut ends, mut mended) = (Ends::new(), Vec::new());
        let copied = copy(&mut io::stdin(), |bytes| {
            mended.clear();
            ends.mend(bytes, &mut mended);
            towards.write_all(&mended)?;
            giving.fetch_add(1, Ordering::Release);
            Ok(())
        });
        ended.store(copied.is_ok(), Ordering::Release);
        // What it says to that still comes.
        let _ = towards.shutdown(Shutdown::Write);
    });
    let mut codes = Codes::default();
    let mut listening = Listening { daemon: &daemon, given: &given, before: 0 };
    let carried = copy(&mut listening, |bytes| {
        codes.see(bytes);
        caller.write_all(bytes).and_then(|()| caller.flush())
    });
    match carried {
        // The daemon has gone without a word, as when it is killed.
        Err(Broken::Reading) | Ok(()) => {}
        Err(Broken::Writing(error)) => return Err(unwritable(&error)),
    }
    match codes.last() {
        221 => Ok(Exit::OK),
        421 => Err(Failure::new(Exit::TEMPORARY, "the daemon has closed the conversation")),
        _ if has_ended.load(Ordering::Acquire) => codes.parting(),
        _ => Err(sorry(caller, Exit::TEMPORARY, "lost the daemon".to_owned())),
    }
}

/// The daemon's side, which is there as long as it speaks or takes what it is given.
struct Listening<'a> {
    daemon: &'a UnixStream,
    /// Pieces that it has taken.
    given: &'a AtomicUsize,
    /// As many as there were when it was last waited for in vain.
    before: usize,
}

impl Read for Listening<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut daemon = self.daemon;
            let read = daemon.read(into);
            let is_late = |error: &io::Error| {
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
            };
            let given = self.given.load(Ordering::Acquire);
            if !read.as_ref().is_err_and(is_late) || given == self.before {
                return read;
            }
            self.before = given;
        }
    }
}

enum Broken {
    Reading,
    Writing(io::Error),
}

/// Until the end of `from`.
fn copy(
    from: &mut impl Read,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return Err(Broken::Reading),
        };
        write(buffer.get(..count).unwrap_or_default()).map_err(Broken::Writing)?;
    }
}

/// The code at the beginning of the last line that was said to the caller.
#[derive(Default)]
pub(super) struct Codes {
    last: u16,
    line: u16,
    column: usize,
}

impl Codes {
    /// More of what was said.
    pub(super) fn see(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match (self.column, byte) {
                (_, b'\n') => {
                    self.last = self.line;
                    (self.line, self.column) = (0, 0);
                    continue;
                }
                (0..3, b'0'..=b'9') => self.line = self.line * 10 + u16::from(byte - b'0'),
                _ => {}
            }
            self.column += 1;
        }
    }

    /// Of the last line that was whole.
    fn last(&self) -> u16 {
        self.last
    }

    /// The caller has gone without QUIT.
    pub(super) fn parting(&self) -> Result<Exit, Failure> {
        let exit = match self.last {
            354 => {
                let text = "the message did not end, and is not kept";
                return Err(Failure::new(Exit::TEMPORARY, text));
            }
            400..=499 => Exit::TEMPORARY,
            500.. => Exit::UNAVAILABLE,
            _ => return Ok(Exit::OK),
        };
        let text = format!("no QUIT came, and the last answer was {}", self.last);
        Err(Failure::new(exit, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_in_any_pieces() {
        let text = b"220 a\r\n250-b 354\r\n250 c\r\n354 go\r\n22";
        for cut in 0..text.len() {
            let mut codes = Codes::default();
            codes.see(&text[..cut]);
            codes.see(&text[cut..]);
            assert_eq!(codes.last(), 354);
        }
        let mut codes = Codes::default();
        assert_eq!(codes.last(), 0);
        codes.see(b"\n221 bye\n");
        assert_eq!(codes.last(), 221);
    }
    #[test]
    fn a_daemon_that_neither_speaks_nor_takes_anything_is_given_up() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let given = AtomicUsize::new(0);
        let mut listening = Listening { daemon: &ours, given: &given, before: 0 };
        let mut into = [0; 8];
        (&theirs).write_all(b"220 x").unwrap();
        assert_eq!(listening.read(&mut into).unwrap(), 5);
        assert!(listening.read(&mut into).is_err());
        // It takes something, and so is waited for once more.
        given.fetch_add(1, Ordering::Release);
        assert!(listening.read(&mut into).is_err());
        assert_eq!(listening.before, 1);
    }
}
