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

use std::process::Command;

/// Takes out of a command's environment what cargo has told this test of its package. Build scripts watch it (ring's), so a cargo started with it would
/// build everything again, and the next one without it once more.
pub fn unmarked(command: &mut Command) -> &mut Command {
    let of_cargo = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(of_cargo) {
            command.env_remove(name);
        }
    }
    command
}
