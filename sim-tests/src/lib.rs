//! Simulations of chime.

mod check;
mod clients;
mod network;
mod run;
pub mod scenario;
pub mod trace;
mod world;

pub use check::Failure;
pub use run::run;
