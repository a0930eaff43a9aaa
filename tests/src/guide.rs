//! The Rust of the guide, compiled and run as documentation tests. `tests/guide.rs` runs everything else in it, and sees to it that no page
//! is missing here.

#[doc = include_str!("../../docs/src/cookbook.md")]
#[cfg(doctest)]
pub struct Cookbook;

#[doc = include_str!("../../docs/src/plugins.md")]
#[cfg(doctest)]
pub struct Plugins;
