//! The client of the control socket: one request line out, JSON lines back.
//!
//! The last line is `{"end":"ok"}` or `{"end":"error","exit":N,"message":"…"}`; without one of
//! them the daemon died in between, and the answer does not count. A line may have any length that
//! one message's recipients need, but not more than `LINE_BYTES_MAX`; a daemon that says nothing
//! for `PATIENCE` is given up. Where nobody listens the image is asked instead ([`Offline`]), until
//! a daemon that starts wants it.

use super::exit::{Exit, Failure};
use super::json::{self, Object};
use super::offline::Offline;
use super::{Context, configuration};
use crate::os::local;
use crate::os::process::is_trusted_owner;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The longest silence of a daemon that is busy with a sync on slow flash.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a daemon that starts takes until it listens, at most, and how often it is looked for.
const STARTING: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(20);
/// 112 recipients, each with its address and the last reply to it, escaped.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// Sends `request` and gives `each` every line of the answer, as it came and as it was understood.
pub fn ask(
    context: &Context,
    request: &str,
    each: impl FnMut(&str, &Object),
) -> Result<(), Failure> {
    Asker::new(context)?.ask(request, each)
}

/// Like [`ask`], but never of the image; none: no daemon is there, or it is not for this user.
pub fn ask_daemon(
    context: &Context,
    request: &str,
    each: impl FnMut(&str, &Object),
) -> Option<Result<(), Failure>> {
    let places = context.control_places().ok()?;
    let (path, stream) = find(&places.control).ok()??;
    Some(converse(path, &stream, request, each))
}

/// Whom the requests of one command go to: to the daemon, a connection each; or to the image, which
/// is opened once for all of them.
pub struct Asker<'a> {
    context: &'a Context,
    candidates: Vec<PathBuf>,
    image: Option<Offline>,
}

impl Asker<'_> {
    /// Looks for nobody yet.
    pub fn new(context: &Context) -> Result<Asker<'_>, Failure> {
        Ok(Asker { context, candidates: context.control_places()?.control, image: None })
    }

    /// Like [`ask`].
    pub fn ask(&mut self, request: &str, each: impl FnMut(&str, &Object)) -> Result<(), Failure> {
        let end = Instant::now() + STARTING;
        let is_giving_way = self.image.as_ref().is_some_and(Offline::is_wanted);
        if is_giving_way {
            self.image = None;
        }
        loop {
            if self.image.is_none()
                && let Some((path, stream)) = find(&self.candidates)?
            {
                return converse(path, &stream, request, each);
            }
            match self.without_daemon(request) {
                // It has the image now, and will listen soon.
                Err(failure)
                    if is_giving_way && failure.exit == Exit::TEMPORARY && Instant::now() < end => {
                }
                result => return result?.ask(request, each),
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// Nobody listens: the image may answer.
    fn without_daemon(&mut self, request: &str) -> Result<&mut Offline, Failure> {
        let before = self.image.take().filter(|image| image.can(request));
        let opened = match before {
            Some(image) => Some(image),
            None => Offline::open(configuration::load(self.context)?, request)?,
        };
        match opened {
            Some(image) => Ok(self.image.insert(image)),
            None => {
                let looked = self.candidates.first();
                let looked = looked.map(|path| path.display().to_string()).unwrap_or_default();
                let text = format!("daemon is not running (no answer at {looked})");
                Err(Failure::new(Exit::TEMPORARY, text))
            }
        }
    }
}

fn converse(
    path: &Path,
    mut stream: &UnixStream,
    request: &str,
    each: impl FnMut(&str, &Object),
) -> Result<(), Failure> {
    let lost = |error: std::io::Error| {
        let path = path.display();
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                let text = format!("the daemon at {path} does not answer");
                Failure::new(Exit::TEMPORARY, text)
            }
            _ => Failure::new(Exit::TEMPORARY, format!("lost the daemon at {path}: {error}")),
        }
    };
    stream.write_all(format!("{request}\n").as_bytes()).map_err(lost)?;
    read_answer(BufReader::new(stream), each).map_err(|trouble| match trouble {
        Trouble::Io(error) => lost(error),
        Trouble::Told(failure) => failure,
    })
}

/// Lets a daemon, if there is one, look for what has changed: it does so whenever somebody comes.
pub fn wake(context: &Context) {
    if let Ok(places) = context.control_places() {
        // Whoever may not, or finds nobody, has nothing to wake.
        let _ = find(&places.control);
    }
}

/// Who listens, if anybody does.
fn find(candidates: &[PathBuf]) -> Result<Option<(&Path, UnixStream)>, Failure> {
    let mut refusal = None;
    for path in candidates {
        match local::connect(path, PATIENCE) {
            Ok(stream) if local::peer_uid(&stream).is_ok_and(is_trusted_owner) => {
                return Ok(Some((path, stream)));
            }
            Ok(_) => {
                let text = format!("{} belongs to somebody else", path.display());
                refusal.get_or_insert(Failure::new(Exit::PERMISSION, text));
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let text =
                    format!("{}: permission denied (try as root or user mote)", path.display());
                refusal.get_or_insert(Failure::new(Exit::PERMISSION, text));
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                let text = format!("the daemon at {} does not answer", path.display());
                refusal.get_or_insert(Failure::new(Exit::TEMPORARY, text));
            }
            // Not there, or nobody listens.
            Err(_) => {}
        }
    }
    refusal.map_or(Ok(None), Err)
}

/// Why an answer does not count.
pub(super) enum Trouble {
    /// It did not come to its end.
    Io(std::io::Error),
    /// It is a refusal, or makes no sense.
    Told(Failure),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        Trouble::Io(error)
    }
}

/// Reads an answer to its last line.
pub(super) fn read_answer(
    mut answer: impl BufRead,
    mut each: impl FnMut(&str, &Object),
) -> Result<(), Trouble> {
    let nonsense = || {
        let text =
            "the daemon's answer is not understood; are daemon and command the same version?";
        Trouble::Told(Failure::new(Exit::SOFTWARE, text))
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        answer.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        let Some(text) = line.strip_suffix(b"\n") else {
            return Err(match line.len() as u64 {
                LINE_BYTES_MAX => nonsense(),
                _ => Trouble::Io(ErrorKind::UnexpectedEof.into()),
            });
        };
        let text = core::str::from_utf8(text).map_err(|_| nonsense())?;
        let object = json::parse(text).ok_or_else(nonsense)?;
        match object.text("end") {
            "" => each(text, &object),
            "ok" => return Ok(()),
            _ => {
                let code = object.number("exit").and_then(|code| u8::try_from(code).ok());
                let exit = code.filter(|code| *code != 0).map_or(Exit::SOFTWARE, Exit);
                return Err(Trouble::Told(Failure::new(exit, object.text("message"))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> (usize, Result<(), Trouble>) {
        let mut count = 0;
        let result = read_answer(text.as_bytes(), |_, _| count += 1);
        (count, result)
    }

    #[test]
    fn the_end_decides() {
        let (count, result) =
            answer("{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"end\":\"ok\"}\n{\"id\":\"c\"}\n");
        assert!(count == 2 && result.is_ok());
        let (_, result) = answer("{\"end\":\"error\",\"exit\":67,\"message\":\"no such\"}\n");
        let expected = Failure::new(Exit::NO_USER, "no such");
        assert!(matches!(result, Err(Trouble::Told(failure)) if failure == expected));
        for cut in ["", "{\"id\":\"a\"}\n", "{\"end\":\"ok\"}"] {
            assert!(matches!(answer(cut).1, Err(Trouble::Io(_))), "{cut}");
        }
        for bad in ["x\n", "\n", "{\"end\":\"error\"}\n", "{\"end\":\"error\",\"exit\":0}\n"] {
            let result = answer(bad).1;
            assert!(matches!(result, Err(Trouble::Told(f)) if f.exit == Exit::SOFTWARE), "{bad}");
        }
    }
}
