//! A file of the keyring: the wrapped keys of the owners whose id begins with
//! the same byte, so that a new owner writes a small file however many there
//! are.
//!
//! `TGKR`, a version, the id of the master key, the number of owners; then each
//! owner's id and the sealed first day and key. All numbers are big-endian.

use std::io;
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::seal::{self, ADDED};
use super::{Chain, Chains};
use crate::base::keyfile;
use crate::base::secret::Key;

/// Files of the keyring: one for each first byte.
pub(super) const SHARDS: usize = 256;
/// What a file begins with; the last byte is its version.
const MAGIC: &[u8; 5] = b"TGKR\x01";
/// Bytes of an owner's id.
const ID: usize = 32;
/// Bytes of an owner's first day and key.
const CHAIN: usize = 4 + 32;
/// Bytes of an owner in the file.
const RECORD: usize = ID + CHAIN + ADDED;

/// Why a file cannot be read.
#[derive(Debug)]
pub(super) enum ReadError {
    Io(io::Error),
    /// None of the keys wrote it.
    Unknown,
    Damaged,
}

/// The chains in `path` and which of `known` wrapped them; `None` if there is no
/// such file.
pub(super) fn read<'k>(
    path: &Path,
    known: &[&'k Key],
) -> Result<Option<(Chains, &'k Key)>, ReadError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReadError::Io(error)),
    };
    let rest = bytes.strip_prefix(MAGIC).ok_or(ReadError::Damaged)?;
    let (master, rest) = rest.split_first_chunk::<8>().ok_or(ReadError::Damaged)?;
    let (count, rest) = rest.split_first_chunk::<4>().ok_or(ReadError::Damaged)?;
    let key = known.iter().find(|key| id(key) == *master).ok_or(ReadError::Unknown)?;
    let records = rest.chunks_exact(RECORD);
    let count = usize::try_from(u32::from_be_bytes(*count)).unwrap_or(usize::MAX);
    if !records.remainder().is_empty() || records.len() != count {
        return Err(ReadError::Damaged);
    }
    let wrapping = wrapping(key);
    let chains = records.map(|record| {
        let (owner, sealed) = record.split_first_chunk::<ID>()?;
        let chain = Zeroizing::new(seal::open(&wrapping, owner, sealed)?);
        let (base, rest) = chain.split_first_chunk::<4>()?;
        let key = Zeroizing::new(<[u8; 32]>::try_from(rest).ok()?);
        Some((*owner, Arc::new(Chain { base: u32::from_be_bytes(*base), key })))
    });
    let chains = chains.collect::<Option<Chains>>().ok_or(ReadError::Damaged)?;
    Ok(Some((chains, key)))
}

/// Replaces the file with `chains`, wrapped under `master`. It is on the disk,
/// and what it was before is not, once this returns.
///
/// # Errors
/// Those of the file system; the file is as it was, or as it should be.
pub(super) fn write(path: &Path, master: &Key, chains: &Chains) -> io::Result<()> {
    let wrapping = wrapping(master);
    let count = u32::try_from(chains.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(MAGIC.len() + 12 + chains.len() * RECORD);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&id(master));
    bytes.extend_from_slice(&count.to_be_bytes());
    for (owner, chain) in chains {
        let mut plain = Zeroizing::new([0; CHAIN]);
        let (base, key) = plain.split_at_mut(4);
        base.copy_from_slice(&chain.base.to_be_bytes());
        key.copy_from_slice(&*chain.key);
        let sealed = seal::seal(&wrapping, owner, &*plain);
        bytes.extend_from_slice(owner);
        bytes.extend(sealed.ok_or_else(|| io::Error::other("a key cannot be sealed"))?);
    }
    keyfile::replace(path, &bytes)
}

/// What a file says of its master key: which one it is, and nothing else.
fn id(master: &Key) -> [u8; 8] {
    let hash = blake3::derive_key("tollgate 2026-11 vault master id", master.expose());
    hash.first_chunk().copied().unwrap_or_default()
}

fn wrapping(master: &Key) -> Zeroizing<[u8; 32]> {
    let derived = blake3::derive_key("tollgate 2026-11 vault master wrap", master.expose());
    Zeroizing::new(derived)
}
