//! What is told of an image that cannot be opened: which file, what is wrong with it, and the cure.

use super::exit::{Exit, Failure};
use crate::limits::SPOOL_BYTES_MAX;
use crate::os::disk::ImageError;
use crate::queue::block::Foreign;
use crate::queue::disk::BLOCK_BYTES;
use crate::queue::recovery::RecoverError;
use std::io;
use std::path::Path;

/// Why an image cannot be looked at.
pub(super) fn closed(error: ImageError) -> Failure {
    let exit = match &error {
        ImageError::Busy { .. } | ImageError::Read { .. } => Exit::TEMPORARY,
        ImageError::Stranger { .. } => Exit::PERMISSION,
        ImageError::Missing(_) => Exit::NO_INPUT,
        ImageError::Stump { .. } => Exit::DATA,
        ImageError::Io { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
            Exit::PERMISSION
        }
        ImageError::Io { .. } | ImageError::Format { .. } => Exit::SYSTEM,
    };
    Failure::new(exit, error.to_string())
}

/// Why an image cannot be recovered.
pub(super) fn unopened(path: &Path, error: RecoverError) -> Failure {
    let text = match error {
        RecoverError::Disk(error) => {
            format!("the disk fails ({error:?}); look at the kernel's log")
        }
        RecoverError::Foreign(Foreign::NotAnImage) => {
            "not a spool of mote's, or spoiled; move it away to begin anew".to_owned()
        }
        RecoverError::Foreign(Foreign::Later { version, incompat }) => format!(
            "written by a later mote (format {version}, features {incompat:#x}); use that one \
             until the spool is empty"
        ),
        RecoverError::Short { wanted, found } => {
            format!("cut short: {found} of {wanted} blocks; restore it, or move it away")
        }
        RecoverError::Long { found } => long(found),
        RecoverError::Memory { blocks, bytes } => memory(blocks, bytes),
    };
    Failure::new(Exit::SYSTEM, format!("{}: {text}", path.display()))
}

/// Why there is nothing to be seen of an image that is only looked at.
pub(super) fn unreadable(path: &Path, error: RecoverError) -> Failure {
    let text = match error {
        RecoverError::Foreign(Foreign::NotAnImage) => {
            "not a spool of mote's, or its identity and both superblocks are spoiled, and with \
             them the key to all else"
                .to_owned()
        }
        RecoverError::Foreign(Foreign::Later { version, incompat }) => format!(
            "written by a later mote (format {version}, features {incompat:#x}); use that one"
        ),
        RecoverError::Short { wanted, found } => {
            format!("{found} blocks are left of {wanted}: too few to hold a message")
        }
        RecoverError::Disk(_) => "the disk does not give it back".to_owned(),
        RecoverError::Long { found } => long(found),
        RecoverError::Memory { blocks, bytes } => memory(blocks, bytes),
    };
    let exit = match error {
        RecoverError::Disk(_) | RecoverError::Memory { .. } => Exit::SYSTEM,
        _ => Exit::DATA,
    };
    Failure::new(exit, format!("{}: {text}", path.display()))
}

fn long(found: u32) -> String {
    format!(
        "the file has {} GiB, a spool at most {}, and both superblocks, which would tell how much \
         of it is the spool, are spoiled: cut a copy to the spool's size, and look at that",
        (u64::from(found) * BLOCK_BYTES as u64) >> 30,
        SPOOL_BYTES_MAX >> 30
    )
}

fn memory(blocks: u32, bytes: u64) -> String {
    format!(
        "a spool of {} MiB needs {} MiB of memory, which cannot be had: raise the limit (ulimit \
         -v), or use a larger machine",
        (u64::from(blocks) * BLOCK_BYTES as u64) >> 20,
        bytes.div_ceil(1 << 20)
    )
}
