//! Where a daemon may be found: its sockets, and the spool with its drop directory.
//!
//! A named config file decides alone. Else, in this order: `$MOTE_SOCKET` (the submit socket; the
//! control socket lies beside it), a home named by `$MOTE_HOME`, the system's `/run/mote` and
//! `/var/spool/mote`, `$XDG_RUNTIME_DIR/mote`, the user's own home, and the home of a root that
//! runs without a config file. Whoever listens there, or owns the directory, must be root, the user
//! `mote` or the caller: anybody else could take the mail and say 250
//! ([`process::is_trusted_owner`]).
//!
//! Not here: reading config files ([`super::configuration`]), making any of these places.

use crate::os::process;
use crate::os::world::{control_path, submit_path};
use std::env;
use std::path::{Path, PathBuf};

const SYSTEM_RUN: &str = "/run/mote";
const SYSTEM_SPOOL: &str = "/var/spool/mote";
const ROOT_HOME: &str = "/var/lib/mote";

/// Directories in the order they are tried.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Places {
    /// Submit sockets.
    pub submit: Vec<PathBuf>,
    /// Control sockets.
    pub control: Vec<PathBuf>,
    /// Spool directories: each may hold an image and a drop directory.
    pub spools: Vec<PathBuf>,
}

impl Places {
    /// The places of the daemon whose config names these directories.
    pub fn configured(run: &Path, spool: &Path) -> Places {
        let mut places = Places::default();
        places.add_run(run);
        places.spools.push(spool.to_owned());
        places
    }

    /// The places to try without a config file. `trust_home`: whether `$MOTE_HOME` counts.
    pub fn usual(trust_home: bool) -> Places {
        let variable = |name| env::var_os(name).map(PathBuf::from);
        Places::from_environment(trust_home, process::user_id(), variable)
    }

    fn from_environment(
        trust_home: bool,
        uid: u32,
        variable: impl Fn(&'static str) -> Option<PathBuf>,
    ) -> Places {
        let mut places = Places::default();
        let variable = |name| variable(name).filter(|path| *path != Path::new(""));
        // The standard of these says that anything else is to be ignored.
        let absolute = |name| variable(name).filter(|path| path.is_absolute());
        if let Some(socket) = variable("MOTE_SOCKET") {
            places.control.push(socket.with_file_name("control"));
            places.submit.push(socket);
        }
        if let Some(home) = variable("MOTE_HOME").filter(|_| trust_home) {
            places.add_home(&home);
        }
        places.add_run(Path::new(SYSTEM_RUN));
        places.spools.push(SYSTEM_SPOOL.into());
        if let Some(run) = absolute("XDG_RUNTIME_DIR") {
            places.add_run(&run.join("mote"));
        }
        let state = || Some(absolute("HOME")?.join(".local/state"));
        let state = absolute("XDG_STATE_HOME").or_else(state).filter(|_| uid != 0);
        if let Some(state) = state {
            places.add_home(&state.join("mote"));
        }
        places.add_home(Path::new(ROOT_HOME));
        places
    }

    fn add_home(&mut self, home: &Path) {
        self.add_run(&home.join("run"));
        self.spools.push(home.join("spool"));
    }

    fn add_run(&mut self, run: &Path) {
        self.submit.push(submit_path(run));
        self.control.push(control_path(run));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(uid: u32, variables: &[(&str, &str)]) -> Vec<String> {
        let variable = |name: &'static str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| PathBuf::from(value))
        };
        let submit = Places::from_environment(true, uid, variable).submit;
        submit.iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn in_order() {
        let variables =
            [("MOTE_SOCKET", "/s/x"), ("XDG_RUNTIME_DIR", "/run/user/7"), ("HOME", "/h")];
        let expected = [
            "/s/x",
            "/run/mote/submit",
            "/run/user/7/mote/submit",
            "/h/.local/state/mote/run/submit",
            "/var/lib/mote/run/submit",
        ];
        assert_eq!(places(7, &variables), expected);
        assert_eq!(places(0, &variables[2..]), ["/run/mote/submit", "/var/lib/mote/run/submit"]);
        let homes = [("MOTE_HOME", "target/run"), ("XDG_STATE_HOME", "/st")];
        let found = places(7, &homes);
        assert_eq!(found[0], "target/run/run/submit");
        assert_eq!(found[2], "/st/mote/run/submit");
    }

    #[test]
    fn the_control_socket_lies_beside() {
        let variable = |name| (name == "MOTE_SOCKET").then(|| PathBuf::from("/s/submit"));
        let places = Places::from_environment(false, 0, variable);
        assert_eq!(places.control[0], Path::new("/s/control"));
        assert_eq!(places.spools[0], Path::new("/var/spool/mote"));
    }
}
