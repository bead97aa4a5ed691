//! Where a request runs: from the model's public name to a provider.

pub mod catalog;
