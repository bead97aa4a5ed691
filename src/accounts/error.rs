//! Why a change of accounts or keys is refused.

use crate::store::StoreError;

/// Why a change is refused. Nothing has been changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The account does not exist.
    #[error("there is no account with this id")]
    NoAccount,
    /// The key does not exist.
    #[error("there is no key with this id")]
    NoKey,
    /// The id is another account's.
    #[error("there is an account with this id already")]
    Taken,
    /// The plan does not exist; those that do.
    #[error("there is no plan of this name; there are {0}")]
    NoPlan(String),
    /// A class that a price is given for does not exist; its name.
    #[error("there is no class of this name")]
    NoClass(String),
    /// The account would be back at the next start.
    #[error(
        "the account is given by `keys` of the configuration: take it out there and reload, or \
         suspend it"
    )]
    ConfiguredAccount,
    /// The key would be back at the next start.
    #[error("the key is given by `keys` of the configuration: change it there and reload")]
    ConfiguredKey,
    /// The key is revoked or its grace is over.
    #[error("the key is not in force any more")]
    KeyEnded,
    /// The plan lacks a feature; its name.
    #[error("the account's plan does not have the feature {0}")]
    NoFeature(&'static str),
    /// The account has no such provider.
    #[error("the account has no provider of this name")]
    NoOwnProvider,
    /// The account has no such model.
    #[error("the account has no model of this name")]
    NoOwnModel,
    /// A model is to run on a provider that the account has not.
    #[error("the account has no provider of this name: give it one first")]
    NoSuchProvider,
    /// A model is to be another name of one that is not there.
    #[error("there is no model of this public name")]
    NoSuchModel,
    /// Models run on the provider.
    #[error("models of the account run on this provider: remove them first")]
    ProviderInUse,
    /// The account has as many as it may have.
    #[error("an account has at most {0}")]
    TooMany(&'static str),
    /// A base URL is none; why.
    #[error("expected a URL such as https://api.example.com/v1: {0}")]
    BadAddress(&'static str),
    /// A base URL leads to where accounts may not go.
    #[error(
        "the server must be public and https, or among custom_models.allow of the configuration"
    )]
    PrivateAddress,
    /// A key cannot be sealed; why.
    #[error("the key cannot be sealed: {0}")]
    Sealing(String),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key of what was kept of the account cannot be destroyed; why.
    #[error("the account's key cannot be destroyed: {0}")]
    Vault(String),
}
