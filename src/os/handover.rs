//! From whoever starts the daemon to the user that it runs as (threats 21, decisions 7).
//!
//! What has to be that user's is given to him while this process can: the image, the spool with
//! the directories in it, and Maildirs that are not there yet. Only what is root's is given away,
//! and only what nobody but root can have put there: a link or a directory in somebody's home leads
//! nobody to a foreign file. What belongs to another stays his; then mail cannot be written there,
//! which is told with the place.
//!
//! Sockets stay root's, whom every local program trusts; the one for administration is the
//! user's group's as well.

use crate::os::disk::ImageFile;
use crate::os::folder::{Folder, make_directory, parent};
use crate::os::mailbox;
use crate::os::process::{self, User};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::{Path, PathBuf};

/// What lies in a spool directory.
const OF_THE_SPOOL: [&str; 5] = ["queue", "queue.new", "drop", "rejected", "lost+found"];

/// Who the daemon is to become, and with what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heir {
    /// Who.
    pub user: User,
    /// Listeners are bound to interfaces.
    pub keeps_interfaces: bool,
    /// Maildirs to be made.
    pub maildirs: Vec<PathBuf>,
}

/// Gives `heir` what is his: the image, which is open, the spool directory, the drop directory in
/// it, and the control socket. Then this process is `heir`. Err: what could not be given, and why.
pub(super) fn hand_over(
    heir: &Heir,
    image: &ImageFile,
    spool: &Path,
    control: &Path,
) -> Result<(), (PathBuf, io::Error)> {
    let user = &heir.user;
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| (path, error)
    };
    let rejected = spool.join("rejected");
    make_directory(&rejected, 0o700).map_err(at(&rejected))?;
    image.give(user).map_err(at(spool))?;
    let folder = Folder::open(spool).map_err(at(spool))?;
    for name in ["drop", "rejected"] {
        let path = spool.join(name);
        folder.open_folder(name).and_then(|folder| folder.give(user)).map_err(at(&path))?;
    }
    if is_roots(&folder.metadata().map_err(at(spool))?) {
        if !holds_nothing_else(spool).map_err(at(spool))? {
            let words = format!(
                "it belongs to root and holds other files, so it is not given to {}: name a \
                 directory that is for mote alone",
                user.name
            );
            return Err((spool.to_owned(), io::Error::other(words)));
        }
        folder.give(user).map_err(at(spool))?;
    }
    lchown(control, None, Some(user.gid)).map_err(at(control))?;
    for maildir in &heir.maildirs {
        // If it cannot be made, its mail waits, and the log tells why.
        if let Err(error) = make_maildir(maildir, user) {
            ::log::warn!("maildir {}: cannot be made: {error}", maildir.display());
        }
    }
    process::become_user(user, heir.keeps_interfaces).map_err(at(spool))
}

fn is_roots(about: &Metadata) -> bool {
    about.uid() == 0
}

/// True if `directory` has nothing in it that is not a spool's.
fn holds_nothing_else(directory: &Path) -> io::Result<bool> {
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        if OF_THE_SPOOL.iter().all(|known| *known != name) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes a Maildir that is not there, in a directory that only root can write into.
fn make_maildir(path: &Path, user: &User) -> io::Result<()> {
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    let Ok(above) = parent(path).metadata() else { return Ok(()) };
    if !is_roots(&above) || above.mode() & 0o022 != 0 {
        return Ok(());
    }
    let folder = mailbox::make_whole(path)?;
    for name in ["tmp", "new", "cur"] {
        folder.open_folder(name)?.give(user)?;
    }
    folder.give(user)
}
