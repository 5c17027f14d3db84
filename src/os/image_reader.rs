//! An image opened to be read and by no way to be written: for `spool check` and `spool salvage`,
//! and for looking at the queue while no daemon runs.
//!
//! It may be a file, or a partition, of any length; links are followed, since a person named it.
//! The lock is shared (`lock`): readers do not mind each other, a daemon that works on the image
//! minds them all ([`ImageError::Busy`]), and one that starts waits a little for them. Reads are
//! plain ones: on a medium that is dying, what the cache still has is welcome.

use super::disk::{ImageError, failed, judge_length, offset};
use super::lock::{is_wanted, lock_to_read};
use crate::queue::disk::{BLOCK_BYTES, Block, Disk, DiskError};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// See the module's head.
pub struct ImageReader {
    file: File,
    blocks: u32,
}

impl ImageReader {
    /// Opens the image at `path`.
    pub fn open(path: &Path) -> Result<ImageReader, ImageError> {
        // A fifo must not hang whoever asks.
        let mut options = OpenOptions::new();
        let opened = options.read(true).custom_flags(libc::O_NONBLOCK).open(path);
        let mut file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ImageError::Missing(path.to_owned()));
            }
            result => result.map_err(failed(path, "open it"))?,
        };
        let found = file.metadata().map_err(failed(path, "examine it"))?;
        if !found.is_file() && !found.file_type().is_block_device() {
            let error = io::Error::other("neither a file nor a partition");
            return Err(ImageError::Io { path: path.to_owned(), action: "use it", error });
        }
        lock_to_read(&file, path)?;
        judge_length(&file, path)?;
        let bytes = file.seek(SeekFrom::End(0)).map_err(failed(path, "examine it"))?;
        let blocks = u32::try_from(bytes / BLOCK_BYTES as u64).unwrap_or(u32::MAX);
        Ok(ImageReader { file, blocks })
    }
}

impl ImageReader {
    /// True if a writer waits for its readers to be done.
    pub fn is_wanted(&self) -> bool {
        is_wanted(&self.file)
    }
}

impl Disk for ImageReader {
    fn blocks(&self) -> u32 {
        self.blocks
    }

    fn read(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        self.file.read_exact_at(into, offset(number)).or(Err(DiskError::Io))
    }

    fn read_medium(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        self.read(number, into)
    }

    fn write(&mut self, _: u32, _: &Block) -> Result<(), DiskError> {
        Err(DiskError::ReadOnly)
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        Err(DiskError::ReadOnly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::disk::ImageFile;
    use crate::queue::disk::new_block;

    #[test]
    fn it_reads_and_never_writes_and_shares_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue");
        assert!(matches!(ImageReader::open(&path), Err(ImageError::Missing(_))));
        let image = ImageFile::create(&path, 4, |image| image.write(1, &[7; BLOCK_BYTES])).unwrap();
        assert!(matches!(ImageReader::open(&path), Err(ImageError::Busy { .. })));
        drop(image);
        let mut one = ImageReader::open(&path).unwrap();
        let other = ImageReader::open(&path).unwrap();
        assert!(!one.is_wanted());
        assert_eq!((one.blocks(), other.blocks()), (4, 4));
        assert!(matches!(ImageFile::open(&path), Err(ImageError::Read { .. })));
        let mut block = new_block();
        one.read_medium(1, &mut block).unwrap();
        assert_eq!(*block, [7; BLOCK_BYTES]);
        assert_eq!(one.write(1, &block), Err(DiskError::ReadOnly));
        assert_eq!(one.sync(), Err(DiskError::ReadOnly));
        assert_eq!(one.read(4, &mut block), Err(DiskError::Io));
        assert!(matches!(ImageReader::open(directory.path()), Err(ImageError::Io { .. })));
        assert!(matches!(ImageReader::open(Path::new("/dev/null")), Err(ImageError::Io { .. })));
    }
}
