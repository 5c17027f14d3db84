//! Unpredictable bytes from the kernel: getrandom(2), or /dev/urandom where the kernel is too old.
//!
//! Not a generator of its own. [`SystemRandom::open`] waits until the kernel's pool is ready and
//! fails if there is no source at all; the daemon then does not start. After that the source cannot
//! fail; should it do so all the same, the process aborts, since a guessable key or name is worse
//! than a restart (and stopping is crashing).

use crate::daemon::world::Random;
use std::fs::File;
use std::io::{self, Read as _};

/// The kernel's source.
pub struct SystemRandom {
    /// Only where getrandom(2) is missing (Linux before 3.17).
    device: Option<File>,
}

impl SystemRandom {
    /// The source, tried once.
    pub fn open() -> io::Result<SystemRandom> {
        let mut random = SystemRandom { device: None };
        let mut probe = [0; 16];
        match random.try_fill(&mut probe) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                random.device = Some(File::open("/dev/urandom")?);
                random.try_fill(&mut probe)?;
            }
            result => result?,
        }
        Ok(random)
    }

    fn try_fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        if let Some(device) = &mut self.device {
            return device.read_exact(bytes);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match get_random(rest) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => rest = rest.get_mut(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Random for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        if let Err(error) = self.try_fill(bytes) {
            ::log::error!("no random numbers: {error}");
            std::process::abort();
        }
    }
}

#[allow(unsafe_code)]
fn get_random(into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and the length are those of one live, writable slice.
    let count = unsafe { libc::getrandom(into.as_mut_ptr().cast(), into.len(), 0) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_all_of_it_and_never_the_same() {
        let mut random = SystemRandom::open().unwrap();
        let (mut one, mut other) = ([0; 1000], [0; 1000]);
        random.fill(&mut one);
        random.fill(&mut other);
        assert_ne!(one, other);
        assert_ne!(one[984..], [0; 16]);
    }

    #[test]
    fn the_device_serves_old_kernels() {
        let mut random = SystemRandom { device: Some(File::open("/dev/urandom").unwrap()) };
        let mut bytes = [0; 32];
        random.fill(&mut bytes);
        assert_ne!(bytes, [0; 32]);
    }
}
