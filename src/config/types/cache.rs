//! The response cache's room.

/// How much of answers is kept (`cache`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheRoom {
    /// Bytes in memory.
    pub memory: u64,
    /// Bytes on the disk; 0 is no disk tier.
    pub disk: u64,
}
