//! Where a request runs: from the model's public name to a provider that fares well.

pub mod breaker;
pub mod budget;
pub mod catalog;
pub mod choice;
pub mod health;
pub mod rest;
