//! Runs the programs that print keys (`cmd:`) for a daemon that cannot, since it has given up
//! making processes (`sandbox`). A child is forked before anything is opened, becomes the daemon's
//! user as the daemon does, and waits for numbers: each names one of the programs that the config
//! had at the start, and no byte of a peer can name another (decisions 7). It ends when the daemon
//! does. What it runs gets no more rights than it has (`no_new_privs`): no sudo.
//!
//! On a pair of local sockets: the number there; the number, whether it went well, and what was
//! printed or why not, with its length before it, back. Programs run side by side.
//!
//! Not here: running one (`keyring::ask`), what a key means.
//! Limits: `PROGRAMS_MAX` programs, [`KEY_BYTES_MAX`] bytes of an answer.

use crate::limits::KEY_BYTES_MAX;
use crate::os::keyring::{Key, ask};
use crate::os::process::{self, User};
use crate::os::sandbox;
use crate::relay::keyring::KeyError;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use zeroize::Zeroizing;

/// Programs that one config may name.
const PROGRAMS_MAX: usize = 64;
/// Descriptors that the daemon may have been started with.
const DESCRIPTORS_MAX: RawFd = 256;
const STACK_BYTES: usize = 128 * 1024;

/// The daemon's side.
#[derive(Debug)]
pub struct Spawner {
    socket: UnixStream,
    programs: Vec<Vec<String>>,
}

/// What came of a program: which, and what it printed or why it did not.
pub(super) type Answer<'a> = (&'a [String], Result<Key, KeyError>);

impl Spawner {
    /// Forks the child, which becomes `user` if there is one. The caller has one thread, and has
    /// opened nothing.
    #[allow(unsafe_code)]
    pub fn start(
        programs: Vec<Vec<String>>,
        user: Option<&User>,
        timeout: Duration,
    ) -> io::Result<Spawner> {
        if programs.len() > PROGRAMS_MAX {
            return Err(io::Error::other(format!("more than {PROGRAMS_MAX} programs")));
        }
        let (ours, theirs) = UnixStream::pair()?;
        // SAFETY: this process has one thread, so the child's memory is whole, and it never leaves
        // this function.
        match unsafe { libc::fork() } {
            0 => {
                drop(ours);
                let served = prepare(&theirs, user).and_then(|()| serve(theirs, programs, timeout));
                // SAFETY: ends the process, and nothing of the daemon's that was copied with it.
                unsafe { libc::_exit(i32::from(served.is_err())) }
            }
            ..0 => Err(io::Error::last_os_error()),
            _ => Ok(Spawner { socket: ours, programs }),
        }
    }

    /// Has the program with those words run. Err: it was not in the config at the start, or there
    /// is nobody to run it.
    pub(super) fn run(&self, words: &[String]) -> Result<(), &'static str> {
        let number = self.programs.iter().position(|program| program == words);
        let number = number.ok_or("it was not in the config when mote started: restart needed")?;
        (&self.socket)
            .write_all(&[number as u8])
            .map_err(|_| "the process that runs programs is gone: restart needed")
    }

    /// Waits for the next answer; None: there will be no more.
    pub(super) fn answer(&self) -> Option<Answer<'_>> {
        let mut head = [0; 4];
        (&self.socket).read_exact(&mut head).ok()?;
        let [number, went_well, low, high] = head;
        let length = usize::from(u16::from_le_bytes([low, high]));
        let mut text = Zeroizing::new(vec![0; length]);
        (&self.socket).read_exact(&mut text).ok()?;
        let printed = match went_well {
            1 => Ok(text),
            _ => Err(String::from_utf8_lossy(&text).into_owned()),
        };
        Some((self.programs.get(usize::from(number))?, printed))
    }
}

/// Leaves everything behind that the daemon was started with, but for its standard error.
#[allow(unsafe_code)]
fn prepare(socket: &UnixStream, user: Option<&User>) -> io::Result<()> {
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    let kept = [socket.as_raw_fd(), nothing.as_raw_fd(), libc::STDERR_FILENO];
    // SAFETY: nobody in this process uses the descriptors that are closed or replaced here.
    unsafe {
        for descriptor in (0..DESCRIPTORS_MAX).filter(|descriptor| !kept.contains(descriptor)) {
            libc::close(descriptor);
        }
        for standard in [libc::STDIN_FILENO, libc::STDOUT_FILENO] {
            if libc::dup2(nothing.as_raw_fd(), standard) < 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    if let Some(user) = user {
        process::become_user(user, false)?;
    }
    sandbox::no_new_privileges()
}

/// Runs what is asked for, until nobody asks any more.
fn serve(socket: UnixStream, programs: Vec<Vec<String>>, timeout: Duration) -> io::Result<()> {
    let answers = Arc::new(Mutex::new(socket.try_clone()?));
    let mut number = [0];
    while (&socket).read(&mut number)? > 0 {
        let [number] = number;
        let Some(words) = programs.get(usize::from(number)).cloned() else { continue };
        let sink = Arc::clone(&answers);
        let work = move || tell(&sink, number, ask(&words, timeout));
        let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(work);
        if let Err(error) = thread {
            tell(&answers, number, Err(format!("no thread to run a program: {error}")));
        }
    }
    Ok(())
}

fn tell(socket: &Mutex<UnixStream>, number: u8, printed: Result<Key, KeyError>) {
    let (text, went_well) = match &printed {
        Ok(key) => (key.as_slice(), 1),
        Err(words) => (words.as_bytes(), 0),
    };
    let text = text.get(..KEY_BYTES_MAX).unwrap_or(text);
    let [low, high] = (text.len() as u16).to_le_bytes();
    // No invariant spans a panic. And if the daemon is gone, there is nobody to tell.
    let mut socket = socket.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = socket.write_all(&[number, went_well, low, high]).and_then(|()| socket.write_all(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the order in which they end.
    #[test]
    fn programs_run_side_by_side_and_no_others_do() {
        let shell = |script: &str| ["/bin/sh", "-c", script].map(String::from).to_vec();
        let programs = [shell("sleep 1; echo late"), shell("echo early"), shell("exit 3")];
        let timeout = Duration::from_secs(20);
        let spawner = Spawner::start(programs.to_vec(), None, timeout).unwrap();
        for program in &programs {
            spawner.run(program).unwrap();
        }
        assert!(spawner.run(&shell("echo other")).unwrap_err().contains("restart needed"));
        let mut told: Vec<(Vec<String>, Result<String, String>)> = (0..3)
            .map(|_| {
                let (words, printed) = spawner.answer().unwrap();
                let text = printed.map(|key| String::from_utf8(key.to_vec()).unwrap());
                (words.to_vec(), text)
            })
            .collect();
        let [late, early, failed] = programs;
        assert_eq!(told.pop(), Some((late, Ok("late".to_owned()))));
        assert!(told.contains(&(early, Ok("early".to_owned()))));
        assert!(told.contains(&(failed, Err("cmd:/bin/sh: exit 3: ".to_owned()))), "{told:?}");
    }
}
