//! Why the world could not be opened: what, the system's reason, and whose matter that is.

use crate::os::disk::ImageError;
use crate::os::tls;
use core::fmt;
use std::io;
use std::path::PathBuf;

/// Why the world could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// No image, or somebody else's.
    Image(ImageError),
    /// A listener could not be made.
    Listen {
        /// Address, interface or path.
        place: String,
        /// The system's reason.
        error: io::Error,
    },
    /// A directory could not be made or used.
    Directory {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// A certificate or its key cannot be used.
    Certificate {
        /// The listener's name.
        listener: String,
        /// Which file, and why not.
        unusable: tls::Unusable,
    },
    /// The slots that are configured need more descriptors than there may be.
    Descriptors {
        /// So many are needed.
        needed: u64,
        /// So many there may be.
        limit: u64,
    },
    /// The system refused something basic.
    System {
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        error: io::Error,
    },
}

impl OpenError {
    /// True when another process works on the image: it can be had when that has ended.
    pub fn is_busy(&self) -> bool {
        matches!(self, OpenError::Image(ImageError::Busy { .. } | ImageError::Read { .. }))
    }

    /// True when it is the config that must be changed, or a file that it names.
    pub fn is_config(&self) -> bool {
        matches!(self, OpenError::Certificate { .. })
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Image(error) => write!(formatter, "{error}"),
            OpenError::Listen { place, error } => {
                write!(formatter, "cannot listen on {place}: {error}")
            }
            OpenError::Directory { path, error } => {
                write!(formatter, "{}: cannot use the directory: {error}", path.display())
            }
            OpenError::Certificate { listener, unusable } => {
                write!(formatter, "[listen {listener}]: {unusable}")
            }
            OpenError::Descriptors { needed, limit } => write!(
                formatter,
                "{needed} open files are needed and {limit} allowed: raise the limit (ulimit -n), \
                 or lower 'sessions' and 'senders'"
            ),
            OpenError::System { action, error } => {
                write!(formatter, "cannot {action}: {error}")
            }
        }
    }
}
