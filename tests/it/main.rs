//! Every integration test, one module per capability, in one binary.

#[cfg(test)]
mod harness;
