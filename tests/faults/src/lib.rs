//! Faults under traffic, and a judge of what Natter did meanwhile: clients with several devices do
//! random work and write down what they saw ([`client`], [`crowd`]), a nemesis strikes processes,
//! servers, links and disks ([`nemesis`], [`disk`]), and when all is mended everything is read from both
//! sides and held against the promises ([`checker`]).

pub mod checker;
pub mod client;
pub mod crowd;
pub mod disk;
pub mod fuzz;
pub mod nemesis;
pub mod record;
pub mod run;
pub mod soak;
pub mod stalls;
mod subscriber;
mod visits;
