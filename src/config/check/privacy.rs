//! The keys of what is kept.

use super::common::{entries, visible, visible_secret};
use crate::base::secret::Key;
use crate::config::field::Field;
use crate::config::raw::RawPrivacy;
use crate::config::report::Report;
use crate::config::types::MasterKeys;

/// Below this length a text that is no key by itself may be guessed, in characters.
const GUESSED: usize = 32;

/// Checks the master keys of `privacy`.
pub(super) fn master_keys(raw: &Field<RawPrivacy>, report: &mut Report) -> MasterKeys {
    let none = RawPrivacy::default();
    let raw = raw.value().unwrap_or(&none);
    let secret = visible_secret(&raw.master_key, "a master key", report);
    let current = read(secret.expose());
    if current.is_some() && secret.expose().len() < GUESSED {
        report.warn(
            "privacy.master_key is short, so it may be guessed by who has the keyring: \
             `openssl rand -hex 32` makes a good one.",
        );
    }
    let (good, _) = entries(&raw.retired_keys, "an earlier master key", report);
    let retired = good
        .into_iter()
        .filter_map(|(mark, text)| read(visible(mark, text, "a retired key", report).expose()));
    MasterKeys { current, retired: retired.collect() }
}

/// The key that `text` is, or that is derived from it.
fn read(text: &str) -> Option<Key> {
    (!text.is_empty()).then(|| Key::parse(text).unwrap_or_else(|| Key::derive(text)))
}
