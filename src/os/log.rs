//! The log's way out: one line an event, one write a line, to stderr.
//!
//! `mote[431]: text`, at most [`LOG_LINE_BYTES_MAX`] bytes, with `<N>` before it where the reader
//! (journald, procd) turns that into a priority. What peers have said is escaped by whoever logs
//! it; controls are masked here once more, so one event is one line whatever happens (threats 20).
//!
//! A log that nobody reads never stops mail: before each write stderr is asked whether it takes one
//! without blocking (it is never set to non-blocking: it is shared with others). If not, the line
//! waits in a ring of [`LINES_MAX`]; beyond that lines are counted and the count is logged when
//! there is room. [`drain`] writes what waits; the world calls it on every turn. Nothing here
//! allocates, in any line.

use crate::base::buffer::Text;
use crate::limits::LOG_LINE_BYTES_MAX;
use ::log::{Level, LevelFilter, Record};
use core::fmt::{self, Write as _};
use core::sync::atomic::{AtomicBool, Ordering};
use std::fs::{File, Metadata};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, PoisonError};

/// Lines that wait for a reader.
pub const LINES_MAX: usize = 64;

type Line = Text<LOG_LINE_BYTES_MAX>;

static RING: Mutex<Ring> = Mutex::new(Ring::new());
static IS_WAITING: AtomicBool = AtomicBool::new(false);
/// Stderr is a regular file, as it was at the start.
static IS_FILE: AtomicBool = AtomicBool::new(false);

/// Starts logging what is of `level` or worse. `with_priorities`: also if the reader does not say
/// that it is journald. A second call changes nothing.
pub fn start(level: LevelFilter, with_priorities: bool) {
    let with_priorities = with_priorities || is_read_by_journal();
    let process = std::process::id();
    IS_FILE.store(stderr_metadata().is_some_and(|found| found.is_file()), Ordering::Relaxed);
    // What is logged is decided before it comes here, so that `set_level` works both ways.
    let started = env_logger::Builder::new()
        .filter_level(LevelFilter::Trace)
        .format(move |_, record| {
            put(&line(record, process, with_priorities));
            Ok(())
        })
        .try_init();
    // Err: somebody has started already; the level is theirs.
    if started.is_ok() {
        set_level(level);
    }
}

/// Changes from which level on is logged.
pub fn set_level(level: LevelFilter) {
    ::log::set_max_level(level);
}

/// Writes what waits, as far as stderr takes it.
pub fn drain() {
    if is_waiting() {
        let mut ring = RING.lock().unwrap_or_else(PoisonError::into_inner);
        ring.drain(&mut Stderr);
        IS_WAITING.store(!ring.is_empty(), Ordering::Relaxed);
    }
}

/// True while lines wait for [`drain`].
pub fn is_waiting() -> bool {
    IS_WAITING.load(Ordering::Relaxed)
}

fn put(line: &Line) {
    let mut ring = RING.lock().unwrap_or_else(PoisonError::into_inner);
    ring.put(line, &mut Stderr);
    IS_WAITING.store(!ring.is_empty(), Ordering::Relaxed);
}

fn line(record: &Record<'_>, process: u32, with_priorities: bool) -> Line {
    let mut masked = Masked(Text::new());
    // Text takes what is written and cuts the rest; a Display that fails leaves what it has said.
    let _ = match with_priorities {
        true => write!(masked, "<{}>mote[{process}]: ", priority(record.level())),
        false => write!(masked, "mote[{process}]: "),
    };
    let _ = write!(masked, "{}", record.args());
    let mut line = Line::from(masked.0.as_str());
    let _ = line.write_str("\n");
    line
}

/// syslog(3)'s numbers.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Leaves room for the line's end.
struct Masked(Text<{ LOG_LINE_BYTES_MAX - 1 }>);

impl fmt::Write for Masked {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Nearly always, and by the byte it costs a quarter of what it does by the character.
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return self.0.write_str(text);
        }
        for piece in text.split_inclusive(char::is_control) {
            let plain = piece.strip_suffix(char::is_control);
            self.0.write_str(plain.unwrap_or(piece))?;
            if plain.is_some() {
                self.0.write_str("?")?;
            }
        }
        Ok(())
    }
}

/// journald says in the environment which stream is its own; another stderr may be set since.
fn is_read_by_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let found = stderr_metadata();
    found.is_some_and(|found| stream == format!("{}:{}", found.dev(), found.ino()))
}

fn stderr_metadata() -> Option<Metadata> {
    let copy = io::stderr().as_fd().try_clone_to_owned().ok()?;
    File::from(copy).metadata().ok()
}

/// Where lines go.
trait Outlet {
    /// True when a line's write will not block.
    fn is_ready(&self) -> bool;
    /// One write.
    fn write(&mut self, line: &[u8]) -> io::Result<()>;
}

struct Stderr;

impl Outlet for Stderr {
    fn is_ready(&self) -> bool {
        // poll(2) says so of every regular file.
        IS_FILE.load(Ordering::Relaxed) || is_writable(io::stderr().as_raw_fd())
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        // Std's stderr has no buffer: this is one write(2).
        io::stderr().write_all(line)
    }
}

/// True when a write of a line does not block: pipes and sockets are told ready when they have at
/// least a page of room, files and terminals always.
#[allow(unsafe_code)]
fn is_writable(file: RawFd) -> bool {
    let mut asked = libc::pollfd { fd: file, events: libc::POLLOUT, revents: 0 };
    // SAFETY: the pointer is to one live pollfd, and one is what is said.
    let count = unsafe { libc::poll(&mut asked, 1, 0) };
    count == 1
}

/// Lines in the order they came, and how many did not fit.
struct Ring {
    lines: [Line; LINES_MAX],
    first: usize,
    len: usize,
    lost: u32,
}

impl Ring {
    const fn new() -> Ring {
        Ring { lines: [const { Text::new() }; LINES_MAX], first: 0, len: 0, lost: 0 }
    }

    fn is_empty(&self) -> bool {
        self.len == 0 && self.lost == 0
    }

    fn put(&mut self, line: &Line, outlet: &mut impl Outlet) {
        self.drain(outlet);
        if self.is_empty() && outlet.is_ready() {
            self.write(line.as_str().as_bytes(), outlet);
            return;
        }
        // Once lines are lost, none may overtake the count of them.
        let place = (self.first + self.len) % LINES_MAX;
        match self.lines.get_mut(place) {
            Some(place) if self.len < LINES_MAX && self.lost == 0 => {
                *place = *line;
                self.len += 1;
            }
            _ => self.lost = self.lost.saturating_add(1),
        }
    }

    fn drain(&mut self, outlet: &mut impl Outlet) {
        while self.len > 0 && outlet.is_ready() {
            let line = self.lines.get(self.first).copied().unwrap_or_default();
            self.first = (self.first + 1) % LINES_MAX;
            self.len -= 1;
            self.write(line.as_str().as_bytes(), outlet);
        }
        if self.len == 0 && self.lost > 0 && outlet.is_ready() {
            let mut line = Line::new();
            let _ = writeln!(line, "mote[{}]: {} lines lost", std::process::id(), self.lost);
            self.lost = 0;
            self.write(line.as_str().as_bytes(), outlet);
        }
    }

    fn write(&mut self, line: &[u8], outlet: &mut impl Outlet) {
        if outlet.write(line).is_err() {
            self.lost = self.lost.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    /// Takes so many lines, then is full; none breaks the write.
    struct Reader {
        room: usize,
        breaks: bool,
        seen: Vec<String>,
    }

    impl Reader {
        fn new(room: usize) -> Reader {
            Reader { room, breaks: false, seen: Vec::new() }
        }
    }

    impl Outlet for Reader {
        fn is_ready(&self) -> bool {
            self.room > 0
        }

        fn write(&mut self, line: &[u8]) -> io::Result<()> {
            self.room -= 1;
            if self.breaks {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.seen.push(String::from_utf8(line.to_vec()).unwrap());
            Ok(())
        }
    }

    fn made(text: &str, with_priorities: bool) -> String {
        let args = format_args!("{text}");
        let record = Record::builder().level(Level::Warn).args(args).build();
        line(&record, 431, with_priorities).as_str().to_owned()
    }

    #[test]
    fn one_event_is_one_line() {
        assert_eq!(made("to=<a@b>", false), "mote[431]: to=<a@b>\n");
        assert_eq!(made("to=<a@b>", true), "<4>mote[431]: to=<a@b>\n");
        let masked = made("a\r\n<0>mote[1]: forged\x1b[2J\u{85}é\0", false);
        assert_eq!(masked, "mote[431]: a??<0>mote[1]: forged?[2J?é?\n");
        assert_eq!(made("", false), "mote[431]: \n");
    }

    #[test]
    fn long_lines_are_cut_and_end() {
        for text in ["x".repeat(1000), "é".repeat(1000), "\n".repeat(1000)] {
            let line = made(&text, true);
            assert!(line.len() <= LOG_LINE_BYTES_MAX && line.len() >= LOG_LINE_BYTES_MAX - 1);
            assert!(line.ends_with('\n') && line.lines().count() == 1);
        }
    }

    #[test]
    fn what_does_not_fit_waits_in_order_then_is_counted() {
        let mut ring = Ring::new();
        let mut reader = Reader::new(1);
        for number in 0..LINES_MAX + 6 {
            ring.put(&Line::from(format!("{number}\n").as_str()), &mut reader);
        }
        assert_eq!(reader.seen, ["0\n"]);
        assert_eq!((ring.len, ring.lost), (LINES_MAX, 5));
        reader.room = 10;
        ring.drain(&mut reader);
        assert_eq!(reader.seen.len(), 11);
        // Room in the ring, but a line there would overtake those that are lost.
        ring.put(&Line::from("late\n"), &mut reader);
        assert_eq!((ring.len, ring.lost), (LINES_MAX - 10, 6));
        reader.room = 1000;
        ring.put(&Line::from("last\n"), &mut reader);
        assert!(ring.is_empty());
        assert_eq!(reader.seen.len(), 1 + LINES_MAX + 2);
        assert_eq!(reader.seen.get(LINES_MAX), Some(&format!("{LINES_MAX}\n")));
        let process = std::process::id();
        let end = [format!("mote[{process}]: 6 lines lost\n"), "last\n".to_owned()];
        assert_eq!(reader.seen[LINES_MAX + 1..], end);
    }

    #[test]
    fn a_reader_that_is_gone_costs_lines_only() {
        let mut ring = Ring::new();
        let mut reader = Reader { room: 5, breaks: true, seen: Vec::new() };
        for _ in 0..10 {
            ring.put(&Line::from("x\n"), &mut reader);
        }
        assert!(ring.lost > 0);
        reader = Reader::new(100);
        ring.drain(&mut reader);
        assert!(ring.is_empty());
    }

    #[test]
    fn a_stuck_reader_is_noticed_before_the_write() {
        let (mut one, _other) = UnixStream::pair().unwrap();
        assert!(is_writable(one.as_raw_fd()));
        one.set_nonblocking(true).unwrap();
        while one.write(&[b'x'; 4096]).is_ok() {}
        assert!(!is_writable(one.as_raw_fd()));
        assert!(is_writable(std::fs::File::create("/dev/null").unwrap().as_raw_fd()));
    }
}
