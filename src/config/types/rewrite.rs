//! What a class changes: the fields and the prompt of requests, and headers.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Changes to the members of an object, by their names; none is there twice.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// The changes in the order of the names.
    pub fields: Vec<(Arc<str>, FieldChange)>,
}

/// What becomes of one field.
#[derive(Clone, Debug)]
pub enum FieldChange {
    /// It is taken out.
    Remove,
    /// It has this value, in JSON, whatever the client sends.
    Set(Bytes),
    /// It has this value, in JSON, where the client sends none or null; a number
    /// above `cap` is lowered to it.
    Default {
        /// The value.
        value: Bytes,
        /// The most.
        cap: Option<Cap>,
    },
    /// A number above it is lowered to it.
    Cap(Cap),
    /// What is within it changes.
    Within(Rewrite),
}

/// The most that a number may be.
#[derive(Clone, Debug)]
pub struct Cap {
    /// It.
    pub most: f64,
    /// It in JSON.
    pub text: Bytes,
}

/// A system text of the seller's.
#[derive(Clone, Debug)]
pub struct Template {
    /// The text; not empty.
    pub system: Arc<str>,
    /// Where it stands.
    pub position: Position,
}

/// Where a system text of the seller's stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Before the client's own.
    Before,
    /// In the place of the client's own.
    Replace,
}

/// Changes to headers, both ways.
#[derive(Clone, Debug, Default)]
pub struct HeaderRules {
    /// Those of requests to providers.
    pub request: HeaderChanges,
    /// Those of answers.
    pub response: HeaderChanges,
}

/// Changes to headers.
#[derive(Clone, Debug, Default)]
pub struct HeaderChanges {
    /// What is taken out, first.
    pub remove: Vec<HeaderName>,
    /// What is set then; others of the name go.
    pub set: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderChanges {
    /// Changes `headers`.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
    }
}
