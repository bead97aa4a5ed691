//! Models and providers of accounts' own (the feature `custom_models`): checked,
//! sealed, kept, then in force.

use super::{Refused, Registry};
use crate::base::secret::Secret;
use crate::config::{self, BaseUrl, CUSTOM_MODELS};
use crate::store::StoreError;
use crate::store::custom::{Own, OwnModel, OwnProvider, Spoken};
use crate::vault::{Day, Owner};

/// Most providers of one account.
const PROVIDERS: usize = 32;
/// Most models of one account.
const MODELS: usize = 256;

/// What accounts have of their own, in force.
pub trait InForce: Send + Sync {
    /// Puts what `account` has in the place of what it had.
    fn put(&self, account: &str, own: &Own);
}

/// A provider to be kept.
#[derive(Clone, Debug)]
pub struct NewProvider {
    /// Its name among the account's.
    pub name: String,
    /// What it speaks.
    pub spoken: Spoken,
    /// Its base URL.
    pub base_url: String,
    /// Its key; empty where it needs none.
    pub api_key: Secret,
}

/// A model to be kept.
#[derive(Clone, Debug)]
pub struct NewModel {
    /// The name that the account uses.
    pub name: String,
    /// The account's provider that it runs on; `None` makes it another name of one
    /// of the seller's models.
    pub provider: Option<String>,
    /// The provider's name of it, or the seller's.
    pub model: String,
}

impl Registry {
    /// What `account` has of its own. Blocks.
    ///
    /// # Errors
    /// [`Refused::NoAccount`], [`Refused::Store`].
    pub fn own(&self, account: &str) -> Result<Own, Refused> {
        self.account(account)?;
        Ok(self.custom.own(account)?)
    }

    /// Keeps a provider of `account`'s own, in the place of one of this name. Its
    /// key is sealed, and shown to nobody again. Blocks.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed then.
    pub fn put_provider(&self, account: &str, new: NewProvider) -> Result<OwnProvider, Refused> {
        let state = self.state.lock();
        let mut own = self.own_to_change(&state, account)?;
        let base = config::base_url(&new.base_url).map_err(Refused::BadAddress)?;
        let allowed = state.config.custom_models.allows(&base);
        if !(allowed || base.tls && may_be_public(&base)) {
            return Err(Refused::PrivateAddress);
        }
        let id = format!("own_{:016x}", rand::random::<u64>());
        let now = self.clock.wall();
        let sealed = match new.api_key.is_empty() {
            true => Vec::new(),
            false => self
                .vault
                .seal_lasting(
                    Owner::Account(account),
                    Day::of(now),
                    id.as_bytes(),
                    new.api_key.expose().as_bytes(),
                )
                .map_err(|error| Refused::Sealing(error.to_string()))?,
        };
        let NewProvider { name, spoken, base_url, .. } = new;
        let provider = OwnProvider { id, name, base_url, sealed, created_at: now, allowed, spoken };
        own.providers.retain(|held| held.name != provider.name);
        if own.providers.len() >= PROVIDERS {
            return Err(Refused::TooMany("32 providers"));
        }
        own.providers.push(provider.clone());
        self.keep(account, &own)?;
        Ok(provider)
    }

    /// Removes a provider of `account`'s own that no model runs on. Blocks.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed then.
    pub fn remove_provider(&self, account: &str, name: &str) -> Result<(), Refused> {
        let _state = self.state.lock();
        let mut own = self.own(account)?;
        if own.models.iter().any(|model| model.provider.as_deref() == Some(name)) {
            return Err(Refused::ProviderInUse);
        }
        let before = own.providers.len();
        own.providers.retain(|provider| provider.name != name);
        if own.providers.len() == before {
            return Err(Refused::NoOwnProvider);
        }
        self.keep(account, &own)
    }

    /// Keeps a model of `account`'s own, in the place of one of this name. Blocks.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed then.
    pub fn put_model(&self, account: &str, new: NewModel) -> Result<OwnModel, Refused> {
        let state = self.state.lock();
        let mut own = self.own_to_change(&state, account)?;
        let NewModel { name, provider, model } = new;
        match &provider {
            Some(named) if !own.providers.iter().any(|held| held.name == *named) => {
                return Err(Refused::NoSuchProvider);
            }
            // A name of a name would be looked for without end.
            None if model == name => return Err(Refused::NoSuchModel),
            None if !state.config.serves(&model) => return Err(Refused::NoSuchModel),
            Some(_) | None => {}
        }
        let model = OwnModel { name, provider, model, created_at: self.clock.wall() };
        own.models.retain(|held| held.name != model.name);
        if own.models.len() >= MODELS {
            return Err(Refused::TooMany("256 models"));
        }
        own.models.push(model.clone());
        self.keep(account, &own)?;
        Ok(model)
    }

    /// Removes a model of `account`'s own. Blocks.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed then.
    pub fn remove_model(&self, account: &str, name: &str) -> Result<(), Refused> {
        let _state = self.state.lock();
        let mut own = self.own(account)?;
        let before = own.models.len();
        own.models.retain(|model| model.name != name);
        if own.models.len() == before {
            return Err(Refused::NoOwnModel);
        }
        self.keep(account, &own)
    }

    /// Puts everything that is kept in force, at the start. Blocks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn recall_own(&self) -> Result<(), StoreError> {
        for (account, own) in self.custom.all()? {
            self.in_force.put(&account, &own);
        }
        Ok(())
    }

    /// Removes all that `account` has of its own; its state is held.
    pub(super) fn remove_own(&self, account: &str) -> Result<(), Refused> {
        self.custom.replace(account, &Own::default())?;
        self.in_force.put(account, &Own::default());
        Ok(())
    }

    /// What `account` has, if its plan lets it have more.
    fn own_to_change(&self, state: &super::State, account: &str) -> Result<Own, Refused> {
        let held = self.account(account)?;
        let plan = state.plan(&held.plan);
        if !plan.is_some_and(|plan| plan.has_feature(CUSTOM_MODELS)) {
            return Err(Refused::NoFeature(CUSTOM_MODELS));
        }
        Ok(self.custom.own(account)?)
    }

    fn keep(&self, account: &str, own: &Own) -> Result<(), Refused> {
        self.custom.replace(account, own)?;
        self.custom.flush()?;
        self.in_force.put(account, own);
        Ok(())
    }
}

/// Whether the host's own spelling leaves open that it is a public one. What its
/// name resolves to is looked at when it is called.
fn may_be_public(base: &BaseUrl) -> bool {
    let host = base.host.to_ascii_lowercase();
    let host = host.trim_end_matches('.');
    match host.parse() {
        Ok(address) => crate::base::network::is_public(address),
        Err(_) => {
            let local = ["localhost", "local", "internal", "lan"];
            let Some((_, last)) = host.rsplit_once('.') else { return false };
            !host.ends_with(".home.arpa") && !local.contains(&last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_host_is_known_by_its_spelling() {
        let public = |url: &str| may_be_public(&config::base_url(url).unwrap());
        for url in ["https://api.example.com/v1", "https://8.8.8.8", "https://[2606:4700::1]/v1"] {
            assert!(public(url), "{url}");
        }
        for url in [
            "https://localhost/v1",
            "https://LOCALHOST./v1",
            "https://db.internal",
            "https://metadata.google.internal.",
            "https://intranet",
            "https://10.0.0.1",
            "https://169.254.169.254",
            "https://[::1]",
            "https://[::ffff:127.0.0.1]",
            "https://[fd00::1]",
        ] {
            assert!(!public(url), "{url}");
        }
    }
}
