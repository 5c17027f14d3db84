//! Passwords and tokens for next hops, read when they are needed and wiped when they have served.
//!
//! What is in a file, a credential or the environment is read anew each time. What a program prints
//! is kept until a next hop refuses it, since a token may cost a journey over the network; then it
//! is asked for once more, and if that is refused too the lane waits (decisions 6, 7). Of a
//! password that SCRAM has been done with the salted key is kept, which takes a slow processor
//! 40 ms to make, under a keyed hash of what it was made from.
//!
//! A program runs on a thread of its own, without a shell (threats 5): an absolute path, fixed
//! words, PATH, HOME and LANG for an environment, nothing on its standard input. After
//! half a minute, or with more than [`KEY_BYTES_MAX`] bytes of output, it is killed with its
//! whole process group. The daemon, which is in a sandbox, has it run by a child that was forked
//! before (`spawner`, decisions 7); commands run it themselves.
//!
//! Files are secrets by the rules of [`super::secret_file`] (threats 19). The first line counts.
//!
//! Failure is a sentence that names the place and the cure; it never holds what was read.

use super::secret_file;
use super::spawner::Spawner;
use super::vault::{Stamp, stamp};
use crate::config::KeySource;
use crate::limits::KEY_BYTES_MAX;
use crate::os::reactor::Bell;
use crate::os::world::World;
use crate::relay::keyring::{Borrower, KeyError, Keyring, Unlock};
use std::io::Read;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs, io};
use zeroize::Zeroizing;

/// How long a program may take.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long its failure is told to all who wait for it.
const FAILURE_TOLD: Duration = Duration::from_secs(5);
/// What is looked at of what it says on standard error.
const COMPLAINT_BYTES_MAX: usize = 1024;
/// Characters of a failure.
const WORDS_MAX: usize = 200;
const STACK_BYTES: usize = 128 * 1024;
/// What a program has of the environment.
const VARIABLES: [&str; 3] = ["PATH", "HOME", "LANG"];

pub(super) type Key = Zeroizing<Vec<u8>>;

/// See the module's head.
pub struct Keys {
    shared: Arc<Shared>,
    /// What files were like when they were last read.
    stamps: Vec<(KeySource, Option<Stamp>)>,
    salted: salted::Memory,
    timeout: Duration,
    /// Who runs programs; none: threads of this process.
    spawner: Option<Arc<Spawner>>,
}

struct Shared {
    bell: Bell,
    runs: Mutex<Vec<Run>>,
}

/// A program, by its words, and what came of it.
struct Run {
    words: Vec<String>,
    state: State,
    /// Who is to be told.
    waiting: Vec<u32>,
    told: Vec<u32>,
}

enum State {
    Running,
    Done(Printed),
    Failed(KeyError, Instant),
}

struct Printed {
    key: Key,
    /// Nobody has asked since it was printed.
    is_new: bool,
    /// It was printed for the login that is under way.
    is_fresh: bool,
}

impl Keys {
    /// None yet; `bell` wakes the loop when a program has ended.
    pub(crate) fn new(bell: Bell) -> Keys {
        let shared = Shared { bell, runs: Mutex::new(Vec::new()) };
        Keys {
            shared: Arc::new(shared),
            stamps: Vec::new(),
            salted: salted::Memory::default(),
            timeout: COMMAND_TIMEOUT,
            spawner: None,
        }
    }

    /// From now on `spawner` runs the programs.
    pub(crate) fn use_spawner(&mut self, spawner: Spawner) -> io::Result<()> {
        let spawner = Arc::new(spawner);
        let (shared, answers) = (Arc::clone(&self.shared), Arc::clone(&spawner));
        let work = move || {
            while let Some((words, printed)) = answers.answer() {
                shared.ended(words, printed);
            }
            shared.fail_all("the process that runs programs is gone: restart needed");
        };
        thread::Builder::new().name("key".to_owned()).stack_size(STACK_BYTES).spawn(work)?;
        self.spawner = Some(spawner);
        Ok(())
    }

    /// The ticket of the next one whose program has ended.
    pub(crate) fn take(&mut self) -> Option<u32> {
        let mut runs = self.shared.lock();
        runs.iter_mut().find_map(|run| run.told.pop())
    }

    fn note(&mut self, source: &KeySource) {
        let Some(path) = path_of(source) else { return };
        let now = stamp(&path);
        match self.stamps.iter_mut().find(|(known, _)| known == source) {
            Some((_, before)) => *before = now,
            None => self.stamps.push((source.clone(), now)),
        }
    }

    fn run(&mut self, ticket: u32, words: &[String]) -> Unlock {
        let mut runs = self.shared.lock();
        if let Some(run) = runs.iter_mut().find(|run| run.words == words) {
            match &mut run.state {
                State::Running => {
                    run.waiting.push(ticket);
                    return Unlock::Pending;
                }
                State::Done(printed) => {
                    printed.is_fresh = core::mem::take(&mut printed.is_new);
                    return Unlock::Ready;
                }
                State::Failed(words, when) if when.elapsed() < FAILURE_TOLD => {
                    return Unlock::Failed(words.clone());
                }
                State::Failed(..) => (),
            }
        }
        runs.retain(|run| run.words != words);
        let run = Run {
            words: words.to_vec(),
            state: State::Running,
            waiting: vec![ticket],
            told: Vec::new(),
        };
        runs.push(run);
        drop(runs);
        if let Some(spawner) = &self.spawner {
            return match spawner.run(words) {
                Ok(()) => Unlock::Pending,
                Err(what) => {
                    let program = words.first().map_or("", |word| word);
                    let told = words_of(format_args!("cmd:{program}: {what}"));
                    self.shared.lock().retain(|run| run.words != words);
                    Unlock::Failed(told)
                }
            };
        }
        let (shared, words, timeout) = (Arc::clone(&self.shared), words.to_vec(), self.timeout);
        let work = move || {
            let printed = ask(&words, timeout);
            shared.ended(&words, printed);
        };
        let name = "key".to_owned();
        match thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(work) {
            Ok(_) => Unlock::Pending,
            Err(error) => {
                let told = words_of(format_args!("no thread to run a program: {error}"));
                self.shared.lock().clear();
                Unlock::Failed(told)
            }
        }
    }
}

impl Shared {
    /// No invariant spans a panic, so a poisoned lock is as good.
    fn lock(&self) -> MutexGuard<'_, Vec<Run>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, words: &[String], printed: Result<Key, KeyError>) {
        let mut runs = self.lock();
        let Some(run) = runs.iter_mut().find(|run| run.words == words) else { return };
        run.state = match printed {
            Ok(key) => State::Done(Printed { key, is_new: true, is_fresh: false }),
            Err(words) => State::Failed(words, Instant::now()),
        };
        run.told.append(&mut run.waiting);
        drop(runs);
        self.bell.ring();
    }

    /// Nobody will answer any more.
    fn fail_all(&self, why: &str) {
        for run in self.lock().iter_mut().filter(|run| matches!(run.state, State::Running)) {
            run.state = State::Failed(words_of(format_args!("{why}")), Instant::now());
            run.told.append(&mut run.waiting);
        }
        self.bell.ring();
    }
}

impl Keyring for Keys {
    fn unlock(&mut self, ticket: u32, source: &KeySource) -> Unlock {
        if let KeySource::Command(words) = source {
            return self.run(ticket, words);
        }
        self.note(source);
        match read(source) {
            Ok(_) => Unlock::Ready,
            Err(words) => Unlock::Failed(words),
        }
    }

    fn lend(&mut self, source: &KeySource, to: Borrower<'_>) -> Result<(), KeyError> {
        if let KeySource::Command(words) = source {
            let runs = self.shared.lock();
            let run = runs.iter().find(|run| run.words == *words);
            let Some(State::Done(printed)) = run.map(|run| &run.state) else {
                return Err(words_of(format_args!("{source}: what it printed is gone")));
            };
            self.salted.lend(&printed.key, to);
            return Ok(());
        }
        self.note(source);
        let key = read(source)?;
        self.salted.lend(&key, to);
        Ok(())
    }

    fn refused(&mut self, source: &KeySource) -> bool {
        let KeySource::Command(words) = source else { return false };
        let mut runs = self.shared.lock();
        let Some(at) = runs.iter().position(|run| run.words == *words) else { return true };
        match runs.get(at).map(|run| &run.state) {
            Some(State::Done(printed)) => {
                let is_old = !printed.is_fresh;
                runs.remove(at);
                is_old
            }
            _ => false,
        }
    }

    fn has_changed(&mut self, source: &KeySource) -> bool {
        let known = self.stamps.iter().find(|(known, _)| known == source);
        let (Some((_, before)), Some(path)) = (known, path_of(source)) else { return false };
        stamp(&path) != *before
    }
}

impl Keyring for World {
    fn unlock(&mut self, ticket: u32, source: &KeySource) -> Unlock {
        self.keys.unlock(ticket, source)
    }

    fn lend(&mut self, source: &KeySource, to: Borrower<'_>) -> Result<(), KeyError> {
        self.keys.lend(source, to)
    }

    fn refused(&mut self, source: &KeySource) -> bool {
        self.keys.refused(source)
    }

    fn has_changed(&mut self, source: &KeySource) -> bool {
        self.keys.has_changed(source)
    }
}

/// Whether the key in `source` can be had, without running anything: else what is wrong.
pub fn examine(source: &KeySource) -> Result<(), String> {
    let KeySource::Command(words) = source else {
        return read(source).map(drop);
    };
    let program = words.first().map_or("", |word| word);
    let is_runnable = fs::metadata(program).map(|about| {
        use std::os::unix::fs::PermissionsExt as _;
        about.is_file() && about.permissions().mode() & 0o111 != 0
    });
    match is_runnable {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{program} is no program that can be run")),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// The file that a key stands in, if it does.
fn path_of(source: &KeySource) -> Option<PathBuf> {
    match source {
        KeySource::File(path) => Some(PathBuf::from(path)),
        KeySource::Credential(name) => Some(Path::new(&credentials()?).join(name)),
        _ => None,
    }
}

fn credentials() -> Option<std::ffi::OsString> {
    env::var_os("CREDENTIALS_DIRECTORY").filter(|path| Path::new(path).is_absolute())
}

/// Reads it, from where no program has to be run.
fn read(source: &KeySource) -> Result<Key, KeyError> {
    let bytes = match source {
        KeySource::Literal(literal) => Zeroizing::new(literal.expose().as_bytes().to_vec()),
        KeySource::Environment(name) => {
            use std::os::unix::ffi::OsStringExt as _;
            let value = env::var_os(name)
                .ok_or_else(|| words_of(format_args!("the environment has no {name}")))?;
            Zeroizing::new(value.into_vec())
        }
        _ => {
            let path = path_of(source).ok_or_else(|| {
                words_of(format_args!(
                    "{source}: there are no credentials (LoadCredential= in a systemd unit)"
                ))
            })?;
            secret_file::read(&path, KEY_BYTES_MAX)
                .map_err(|error| words_of(format_args!("{}: {error}", path.display())))?
        }
    };
    first_line(&bytes).map_err(|what| words_of(format_args!("{source}: {what}")))
}

/// What counts of it.
fn first_line(bytes: &[u8]) -> Result<Key, &'static str> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err("its first line is empty");
    }
    if line.len() > KEY_BYTES_MAX || line.iter().any(u8::is_ascii_control) {
        return Err("its first line is no password");
    }
    Ok(Zeroizing::new(line.to_vec()))
}

/// One line that can stand in a log.
fn words_of(text: core::fmt::Arguments<'_>) -> KeyError {
    let text = text.to_string();
    text.chars().take(WORDS_MAX).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Runs the program, to its end or `timeout`.
pub(super) fn ask(words: &[String], timeout: Duration) -> Result<Key, KeyError> {
    let (program, arguments) = words.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
    let fail = |what: core::fmt::Arguments<'_>| words_of(format_args!("cmd:{program}: {what}"));
    let mut command = Command::new(program);
    command.args(arguments).env_clear().current_dir("/").process_group(0);
    command.envs(VARIABLES.iter().filter_map(|name| Some((name, env::var_os(name)?))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| fail(format_args!("{error}")))?;
    let end = Instant::now() + timeout;
    // One byte more tells that it was too much. All at once, so that no half stays behind.
    let mut printed = Zeroizing::new(Vec::with_capacity(KEY_BYTES_MAX + 1));
    let mut complaint = Vec::with_capacity(COMPLAINT_BYTES_MAX);
    let listened = listen(&mut child, &mut printed, &mut complaint, end);
    if let Err(what) = listened {
        kill(&mut child);
        return Err(fail(format_args!("{what}")));
    }
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(10)),
            _ => {
                kill(&mut child);
                return Err(fail(format_args!("it took longer than {} s", timeout.as_secs())));
            }
        }
    };
    if !status.success() {
        let text = String::from_utf8_lossy(&complaint);
        let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(match (status.code(), status.signal()) {
            (Some(code), _) => fail(format_args!("exit {code}: {line}")),
            (_, signal) => fail(format_args!("killed by signal {}: {line}", signal.unwrap_or(0))),
        });
    }
    first_line(&printed).map_err(|what| fail(format_args!("{what}")))
}

/// Takes what it prints on both channels, until it has closed the first.
#[allow(unsafe_code)]
fn listen(
    child: &mut Child,
    printed: &mut Vec<u8>,
    complaint: &mut Vec<u8>,
    end: Instant,
) -> Result<(), String> {
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    while let Some(stdout) = &mut out {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("it took too long".into());
        }
        let descriptor = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let err_fd = err.as_ref().map_or(-1, |err| err.as_raw_fd());
        let mut polled = [descriptor(stdout.as_raw_fd()), descriptor(err_fd)];
        let millis = i32::try_from(left.as_millis()).unwrap_or(i32::MAX).max(1);
        // SAFETY: the pointer is to as many live, writable records as are named.
        if unsafe { libc::poll(polled.as_mut_ptr(), 2, millis) } < 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error.to_string());
        }
        let [on_out, on_err] = polled.map(|one| one.revents != 0);
        if on_out && take(stdout, printed, KEY_BYTES_MAX)? == 0 {
            out = None;
        }
        if let Some(stderr) = err.as_mut().filter(|_| on_err) {
            // Beyond that it is read and forgotten, so that nothing stops.
            let mut rest = Vec::new();
            let is_full = complaint.len() >= COMPLAINT_BYTES_MAX;
            let into = if is_full { &mut rest } else { &mut *complaint };
            if take(stderr, into, usize::MAX)? == 0 {
                err = None;
            }
        }
    }
    Ok(())
}

/// Reads once; more than `most` in all is an error.
fn take(from: &mut impl Read, into: &mut Vec<u8>, most: usize) -> Result<usize, String> {
    let mut piece = Zeroizing::new([0; 512]);
    let count = match from.read(piece.as_mut_slice()) {
        Ok(count) => count,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(1),
        Err(error) => return Err(error.to_string()),
    };
    if into.len() + count > most {
        return Err(format!("it printed more than {most} bytes"));
    }
    into.extend_from_slice(piece.get(..count).unwrap_or_default());
    Ok(count)
}

/// With all that it has started.
#[allow(unsafe_code)]
fn kill(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        // SAFETY: it takes numbers only; the group is that of a child which was not waited for yet,
        // so nobody else has the number.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// SCRAM's salted keys, kept.
#[cfg(feature = "tls")]
mod salted {
    use crate::os::crypto::RingCrypto;
    use crate::relay::keyring::Borrower;
    use crate::smtp::sasl::{Crypto, Hash, is_equal};
    use core::cell::RefCell;
    use core::num::NonZeroU32;
    use zeroize::{Zeroize as _, Zeroizing};

    /// As many as relays that are worth it.
    const MOST: usize = 8;

    /// Each under a keyed hash of password, salt and rounds; the oldest is forgotten first.
    pub(super) struct Memory {
        key: Zeroizing<Hash>,
        known: RefCell<Vec<(Hash, Zeroizing<Hash>)>>,
    }

    impl Default for Memory {
        fn default() -> Memory {
            let mut key = Zeroizing::new([0; 32]);
            RingCrypto.random(key.as_mut_slice());
            Memory { key, known: RefCell::new(Vec::with_capacity(MOST)) }
        }
    }

    impl Memory {
        pub(super) fn lend(&self, key: &[u8], to: Borrower<'_>) {
            to(key, self);
        }

        #[cfg(test)]
        pub(super) fn count(&self) -> usize {
            self.known.borrow().len()
        }
    }

    impl Crypto for Memory {
        fn hmac(&self, key: &[u8], parts: &[&[u8]]) -> Hash {
            RingCrypto.hmac(key, parts)
        }

        fn digest(&self, bytes: &[u8]) -> Hash {
            RingCrypto.digest(bytes)
        }

        fn pbkdf2(&self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Hash {
            // Lengths before parts, so that no two questions look the same.
            let lengths = [password.len(), salt.len()].map(|len| (len as u64).to_le_bytes());
            let [first, second] = &lengths;
            let rounds = iterations.get().to_le_bytes();
            let parts = [first, password, second, salt, &rounds];
            let name = RingCrypto.hmac(self.key.as_slice(), &parts);
            let mut known = self.known.borrow_mut();
            if let Some((_, salted)) = known.iter().find(|(known, _)| is_equal(known, &name)) {
                return **salted;
            }
            let mut salted = RingCrypto.pbkdf2(password, salt, iterations);
            if known.len() >= MOST {
                known.remove(0);
            }
            known.push((name, Zeroizing::new(salted)));
            let lent = salted;
            salted.zeroize();
            lent
        }

        fn random(&self, bytes: &mut [u8]) {
            RingCrypto.random(bytes);
        }
    }
}

/// Without arithmetic nobody logs in; the config refuses the keys.
#[cfg(not(feature = "tls"))]
mod salted {
    use crate::relay::keyring::Borrower;

    #[derive(Default)]
    pub(super) struct Memory;

    impl Memory {
        pub(super) fn lend(&self, _: &[u8], _: Borrower<'_>) {}
    }
}

#[cfg(test)]
#[cfg(feature = "tls")]
mod tests {
    use super::*;
    use crate::os::reactor::Reactor;
    use crate::smtp::sasl::Crypto;
    use core::num::NonZeroU32;
    use std::os::unix::fs::PermissionsExt as _;

    fn keys() -> (Reactor, Keys) {
        let reactor = Reactor::new(1).unwrap();
        let keys = Keys::new(reactor.bell().unwrap());
        (reactor, keys)
    }

    fn lent(keys: &mut Keys, source: &KeySource) -> Result<String, KeyError> {
        let mut seen = String::new();
        keys.lend(source, &mut |key, _| seen = String::from_utf8_lossy(key).into_owned())?;
        Ok(seen)
    }

    fn shell(script: &str) -> KeySource {
        KeySource::Command(["/bin/sh", "-c", script].map(String::from).to_vec())
    }

    /// Asks until there is an answer.
    fn unlock(keys: &mut Keys, source: &KeySource) -> Unlock {
        let mut unlocked = keys.unlock(7, source);
        let end = Instant::now() + Duration::from_secs(20);
        while unlocked == Unlock::Pending {
            assert!(Instant::now() < end);
            match keys.take() {
                Some(7) => unlocked = keys.unlock(7, source),
                _ => thread::sleep(Duration::from_millis(5)),
            }
        }
        unlocked
    }

    fn failure(keys: &mut Keys, source: &KeySource) -> String {
        match unlock(keys, source) {
            Unlock::Failed(words) => words,
            other => panic!("{source}: {other:?}"),
        }
    }

    #[test]
    fn files_are_read_each_time_and_changes_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let source = KeySource::File(path.display().to_string());
        let (_reactor, mut keys) = keys();
        assert!(failure(&mut keys, &source).contains("secret: "));
        assert!(!keys.has_changed(&source));
        secret_file::replace(&path, b"one\r\nmore\n").unwrap();
        assert!(keys.has_changed(&source));
        assert_eq!(keys.unlock(1, &source), Unlock::Ready);
        assert_eq!(lent(&mut keys, &source).unwrap(), "one");
        assert!(!keys.has_changed(&source) && !keys.refused(&source));
        secret_file::replace(&path, b"two").unwrap();
        assert!(keys.has_changed(&source));
        assert_eq!(lent(&mut keys, &source).unwrap(), "two");
        for bad in [&b""[..], b"\n", b"a\0b", &[b'x'; KEY_BYTES_MAX + 1]] {
            secret_file::replace(&path, bad).unwrap();
            assert!(lent(&mut keys, &source).is_err() && examine(&source).is_err());
        }
        secret_file::replace(&path, b"three").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(lent(&mut keys, &source).unwrap_err().contains("others can read"));
    }

    #[test]
    fn what_a_program_prints_is_kept_until_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let count = folder.path().join("count");
        let source = shell(&format!("echo x >>{0}; wc -l <{0}", count.display()));
        let (_reactor, mut keys) = keys();
        assert_eq!(unlock(&mut keys, &source), Unlock::Ready);
        assert_eq!(lent(&mut keys, &source).unwrap().trim(), "1");
        // Just printed and refused: another would be refused as well.
        assert!(!keys.refused(&source));
        assert_eq!(unlock(&mut keys, &source), Unlock::Ready);
        assert_eq!(unlock(&mut keys, &source), Unlock::Ready);
        assert_eq!(lent(&mut keys, &source).unwrap().trim(), "2");
        assert!(keys.refused(&source));
        assert!(lent(&mut keys, &source).is_err());
        assert_eq!(unlock(&mut keys, &source), Unlock::Ready);
        assert_eq!(lent(&mut keys, &source).unwrap().trim(), "3");
    }

    #[test]
    fn programs_end_in_time_with_all_they_have_started() {
        let (_reactor, mut keys) = keys();
        keys.timeout = Duration::from_millis(300);
        for script in ["sleep 1000", "exec >&-; sleep 1000", "sleep 1000 & wait", "yes >&2"] {
            let before = Instant::now();
            let words = failure(&mut keys, &shell(script));
            assert!(words.starts_with("cmd:/bin/sh: it took "), "{words}");
            assert!(before.elapsed() < Duration::from_secs(10));
        }
        keys.timeout = COMMAND_TIMEOUT;
        for (source, words) in [
            (shell("echo a; printf 'not\tso' >&2; exit 9"), "cmd:/bin/sh: exit 9: not?so"),
            (shell("yes"), "cmd:/bin/sh: it printed more than 4096 bytes"),
            (KeySource::Command(vec!["/no/such".into()]), "cmd:/no/such: No such file"),
        ] {
            let told = failure(&mut keys, &source);
            assert!(told.starts_with(words), "{told}");
        }
    }

    #[test]
    fn a_salted_key_is_made_once() {
        let (_reactor, mut keys) = keys();
        let rounds = NonZeroU32::new(4096).unwrap();
        let fresh = crate::os::crypto::RingCrypto.pbkdf2(b"pencil", b"salt", rounds);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        secret_file::replace(&path, b"pencil").unwrap();
        let source = KeySource::File(path.display().to_string());
        for _ in 0..3 {
            let make = &mut |key: &[u8], crypto: &dyn Crypto| {
                assert_eq!(crypto.pbkdf2(key, b"salt", rounds), fresh);
                assert_ne!(crypto.pbkdf2(key, b"pepper", rounds), fresh);
            };
            keys.lend(&source, make).unwrap();
        }
        assert_eq!(keys.salted.count(), 2);
    }
}
