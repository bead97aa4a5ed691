//! Where segments are written to: the file system, or in tests one that fails.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// A segment that is open for writing.
pub(in crate::ledger) trait Sink: Send + Sync {
    /// Hands all of `bytes` to the kernel, for the place `offset`.
    ///
    /// # Errors
    /// What the kernel says; a part may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts the file to `length` bytes.
    ///
    /// # Errors
    /// What the kernel says.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Waits until the disk has everything written (`fdatasync`).
    ///
    /// # Errors
    /// What the kernel says. What was written since the last success may then
    /// never reach the disk, whatever a later call says.
    fn sync(&self) -> io::Result<()>;
}

/// Creates segments.
pub(in crate::ledger) trait Media: Send + Sync {
    /// A new file, readable by its owner only.
    ///
    /// # Errors
    /// `AlreadyExists`, or what the kernel says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn Sink>>;

    /// Waits until the disk has the names of all files in `directory`.
    ///
    /// # Errors
    /// What the kernel says.
    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }
}

/// The file system.
#[derive(Debug)]
pub(in crate::ledger) struct Disk;

impl Media for Disk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn Sink>> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Arc::new(file))
    }
}

impl Sink for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
