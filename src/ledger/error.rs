//! What can go wrong with the ledger.

use std::io;
use std::path::{Path, PathBuf};

/// Why the ledger of a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// A later version of the product wrote it.
    #[error(
        "{} has format {found}, and this version of tollgate reads formats up to {supported}: \
         use the version that wrote it, or a later one",
        path.display()
    )]
    Newer {
        /// The segment.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this version reads.
        supported: u32,
    },
    /// The file system refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The calls that were in flight when the last process ended cannot be closed.
    #[error("the calls in flight at the last end cannot be closed: {0}")]
    Recovery(#[source] StorageError),
}

impl OpenError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// What stands in the way of reading a segment.
    pub(super) fn reading(error: StorageError) -> Self {
        match error {
            StorageError::Unreadable { path, source } => Self::Io { path, source },
            other => Self::Recovery(other),
        }
    }
}

/// Why the ledger cannot do what was asked. Nothing of it is lost.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A frame cannot be written, for example because the disk is full. What was
    /// written before stays readable, and the next write tries again.
    #[error("the journal cannot be written: {0}")]
    Unavailable(#[source] io::Error),
    /// The kernel has the frame, but not the disk: it survives the end of the
    /// process, not a power loss.
    #[error("the journal cannot be synced to the disk")]
    NotDurable,
    /// A segment cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The segment.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
}

impl StorageError {
    pub(super) fn unreadable(path: &Path, source: io::Error) -> Self {
        Self::Unreadable { path: path.to_owned(), source }
    }
}
