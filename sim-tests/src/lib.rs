//! Simulations of chime.

mod check;
mod clients;
mod network;
mod picture;
mod run;
pub mod scenario;
mod shrink;
mod situation;
mod swarm;
pub mod trace;
mod world;

pub use check::{Failure, check, check_against};
pub use picture::draw;
pub use run::run;
pub use shrink::{Scenarios, Shrinking, shrink};
pub use situation::Situation;
