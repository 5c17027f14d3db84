//! How bad the world is at the moment, in thousandths of the cases.

use super::rng::Rng;

/// All zero: nothing fails.
#[derive(Clone, Default, Debug)]
pub struct Weather {
    /// Disk.
    pub write_full: u32,
    pub write_error: u32,
    pub sync_error: u32,
    pub sync_slow: u32,
    pub read_error: u32,
    pub medium_error: u32,
    /// Sockets.
    pub accept_exhausted: u32,
    pub connect_error: u32,
    pub short: u32,
    pub reset: u32,
    pub spurious: u32,
    /// Names.
    pub resolve_error: u32,
    pub resolve_busy: u32,
    /// Mailboxes and the drop directory.
    pub mailbox_error: u32,
    pub drop_error: u32,
    /// Next hops.
    pub server_trouble: u32,
    pub server_down: u32,
}

impl Weather {
    /// A new spell of it: most kinds of trouble are absent at one time, some are bad.
    pub fn draw(rng: &mut Rng, kinds: Kinds) -> Weather {
        let mut level = |is_on: bool, bad: u32| {
            if !is_on {
                return 0;
            }
            match rng.below(10) {
                0 => bad,
                1 | 2 => bad / 8,
                3 | 4 => 5,
                _ => 0,
            }
        };
        Weather {
            write_full: level(kinds.disk, 1000),
            write_error: level(kinds.disk, 300),
            sync_error: level(kinds.disk, 1000),
            sync_slow: level(kinds.disk, 300),
            read_error: level(kinds.disk, 300),
            medium_error: level(kinds.medium, 20),
            accept_exhausted: level(kinds.net, 1000),
            connect_error: level(kinds.net, 700),
            short: level(kinds.net, 900),
            reset: level(kinds.net, 30),
            spurious: level(kinds.net, 200),
            resolve_error: level(kinds.net, 900),
            resolve_busy: level(kinds.net, 800),
            mailbox_error: level(kinds.mailbox, 900),
            drop_error: level(kinds.mailbox, 500),
            server_trouble: level(kinds.servers, 500),
            server_down: level(kinds.servers, 1000),
        }
    }
}

/// Which kinds of trouble a run has at all.
#[derive(Clone, Copy, Default, Debug)]
pub struct Kinds {
    pub disk: bool,
    pub medium: bool,
    pub net: bool,
    pub mailbox: bool,
    pub servers: bool,
    pub clock: bool,
    /// Power cuts and kills.
    pub cuts: bool,
    /// Peers that do not behave.
    pub hostile: bool,
    /// An administrator at the control socket.
    pub admin: bool,
}

impl Kinds {
    pub fn has_weather(&self) -> bool {
        self.disk || self.medium || self.net || self.mailbox || self.servers
    }
}
