//! Invoices against an independent computation, and through their life.

mod damage;
mod life;
mod property;
mod world;
mod zones;
