//! What the tests stand on: a real provider, a real client, and a gateway
//! between them.

pub(crate) mod anthropic;
pub(crate) mod binary;
pub(crate) mod client;
pub(crate) mod door;
pub(crate) mod eventually;
pub(crate) mod gate;
pub(crate) mod gateway;
pub(crate) mod gemini;
pub(crate) mod h2_client;
pub(crate) mod h2_provider;
pub(crate) mod openai;
pub(crate) mod plan;
pub(crate) mod provider;
pub(crate) mod reply;
pub(crate) mod sdk;
mod selftest;
pub(crate) mod setup;
pub(crate) mod tls;
pub(crate) mod websocket;
pub(crate) mod wire;
