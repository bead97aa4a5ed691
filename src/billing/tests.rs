//! Invoices against an independent computation, and through their life.

mod all;
mod damage;
mod life;
mod property;
mod sold;
mod world;
mod zones;
