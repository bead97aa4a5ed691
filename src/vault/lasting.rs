//! What is kept as long as its owner: no retention ends it, the owner's end does.

use super::{Day, Owner, SealError, Vault};

/// The day whose key seals it, 2070-01-01: the key of a later day can be made of
/// any earlier one that is left, so it is there as long as the owner's chain.
const LASTING: Day = Day(36_524);

impl Vault {
    /// Seals `plain` as `owner`'s until [`Vault::forget`]; otherwise as
    /// [`Vault::seal`]. `today` is the day that a new owner's chain begins.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal_lasting(
        &self,
        owner: Owner<'_>,
        today: Day,
        context: &[u8],
        plain: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        // A chain that began on the lasting day could seal nothing of today.
        self.seal(owner, today, b"lasting", b"")?;
        self.seal(owner, LASTING, context, plain)
    }

    /// What [`Self::seal_lasting`] sealed with the same owner and context; `None` as
    /// in [`Vault::open`].
    pub fn open_lasting(&self, owner: Owner<'_>, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        self.open(owner, LASTING, context, sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers A2 and I3.
    #[test]
    fn it_outlives_every_retention_and_ends_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::load(dir.path(), None, &[]).unwrap();
        let (owner, today) = (Owner::Account("a"), Day(20_780));
        let sealed = vault.seal_lasting(owner, today, b"c", b"secret").unwrap();
        let personal = vault.seal(owner, today, b"c", b"text").unwrap();
        vault.expire(Day(20_880)).unwrap();
        assert_eq!(vault.open(owner, today, b"c", &personal), None);
        let opened = |vault: &Vault| vault.open_lasting(owner, b"c", &sealed);
        assert_eq!(opened(&vault).as_deref(), Some(&b"secret"[..]));
        assert_eq!(opened(&Vault::load(dir.path(), None, &[]).unwrap()), opened(&vault));
        assert_eq!(vault.open_lasting(owner, b"d", &sealed), None);
        vault.forget(owner).unwrap();
        assert_eq!(opened(&vault), None);
    }
}
