//! What stands on invoices, but for what was sold.

use serde::{Deserialize, Serialize};

use crate::base::currency::Currency;

/// `billing`, but for its time zone.
#[derive(Clone, Debug)]
pub struct Invoicing {
    /// The currency of every amount of the configuration.
    pub currency: Currency,
    /// The tax, if there is any.
    pub tax: Option<Tax>,
    /// Who sells.
    pub seller: Option<Seller>,
}

/// Tax on invoices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tax {
    /// Millionths of a percent.
    pub rate: u32,
    /// Its name.
    pub name: String,
    /// Whether prices and fees contain it.
    pub inclusive: bool,
}

/// Who sells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seller {
    /// Its name.
    pub name: String,
    /// Its address, line by line.
    pub address: Vec<String>,
    /// What stands at the end of every invoice, line by line.
    pub footer: Vec<String>,
}
