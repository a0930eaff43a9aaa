//! The test kit: a small world on loopback, real daemons, and what a test and its child processes agree on.

pub mod bench;
pub mod bind;
pub mod crash;
pub mod daemon;
mod guide;
pub mod knot;
pub mod nginx;
pub mod postgres;
pub mod powerdns;
pub mod world;
