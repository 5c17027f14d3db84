//! A password, read from a terminal that does not show it, or from a pipe.
//!
//! The terminal's echo is off only while somebody types. So are its signals, as in getpass(3): a ^C
//! would leave the terminal without echo; now it is a character like others, and no password has
//! it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use zeroize::Zeroizing;

/// One line, without its end.
pub type Line = Zeroizing<Vec<u8>>;

/// What may be typed or piped in; a longer line is an error, and nothing of it is kept.
const LINE_BYTES_MAX: usize = 1024;

/// True when a person sits at stdin.
pub fn is_at_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Reads a line from stdin; a pipe's, as it comes.
pub fn read_line() -> io::Result<Line> {
    take_line(&mut io::stdin().lock())
}

/// Asks at the terminal of this process, and reads a line that is not shown.
pub fn ask(question: &str) -> io::Result<Line> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let mut out = &terminal;
    // First: what is typed ahead would be shown, and what came before this would be thrown away.
    let before = hide(&terminal)?;
    out.write_all(question.as_bytes())?;
    let read = take_line(&mut BufReader::with_capacity(1, &terminal));
    show(&terminal, &before)?;
    out.write_all(b"\n")?;
    read
}

fn take_line(from: &mut impl io::BufRead) -> io::Result<Line> {
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_BYTES_MAX + 2));
    from.take(LINE_BYTES_MAX as u64 + 2).read_until(b'\n', &mut line)?;
    if line.ends_with(b"\n") {
        line.pop();
    }
    if line.ends_with(b"\r") {
        line.pop();
    }
    if line.len() > LINE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the line is too long"));
    }
    Ok(line)
}

/// Switches the echo off; gives how the terminal was.
#[allow(unsafe_code)]
fn hide(terminal: &File) -> io::Result<libc::termios> {
    // SAFETY: termios is numbers; zeros are valid, and the call fills them in.
    let mut state: libc::termios = unsafe { core::mem::zeroed() };
    // SAFETY: the descriptor is open, the pointer is to a live termios.
    if unsafe { libc::tcgetattr(terminal.as_raw_fd(), &mut state) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let before = state;
    state.c_lflag &= !(libc::ECHO | libc::ISIG);
    show(terminal, &state)?;
    Ok(before)
}

#[allow(unsafe_code)]
fn show(terminal: &File, state: &libc::termios) -> io::Result<()> {
    // SAFETY: the descriptor is open, the pointer is to a live termios.
    match unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSAFLUSH, state) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let line = |text: &[u8]| take_line(&mut &text[..]).map(|line| line.to_vec()).ok();
        for text in [&b"secret"[..], b"secret\n", b"secret\r\n", b"secret\nmore\n"] {
            assert_eq!(line(text).as_deref(), Some(&b"secret"[..]));
        }
        assert_eq!(line(b"").as_deref(), Some(&b""[..]));
        assert_eq!(line(b" a \n").as_deref(), Some(&b" a "[..]));
        assert!(line(&[b'x'; LINE_BYTES_MAX]).is_some());
        assert!(line(&[b'x'; LINE_BYTES_MAX + 1]).is_none());
    }
}
