//! Fixtures and properties.
