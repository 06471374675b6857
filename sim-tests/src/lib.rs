//! Simulations of chime.

mod check;
mod clients;
mod network;
mod picture;
mod run;
mod situation;
mod swarm;
pub mod scenario;
pub mod trace;
mod world;

pub use check::{Failure, check, check_against};
pub use picture::draw;
pub use run::run;
pub use situation::Situation;
