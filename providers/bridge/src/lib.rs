//! Providers that pass proofs on to what people have already: programs, scripts and servers written for other clients.
//!
//! - [`command`]: a program of one's own, which gets all proofs of a call at once as JSON. Records and files.
//! - [`exec`]: a script for lego's `exec` provider.
//! - [`httpreq`]: a server for lego's `httpreq` provider.
//! - [`acmesh`]: a `dns_*.sh` script of acme.sh.
//!
//! The last three know one text record at a time. What they do not promise by themselves (that a value which is there is not
//! added again, that removing one leaves the others) is seen to here, by asking the zone's name servers. This
//! crate decides which program is run with which words, and what its end means; what happens in the zone is the program's.

pub mod acmesh;
pub mod command;
pub mod exec;
#[doc(hidden)]
pub mod fuzz;
pub mod httpreq;
mod run;
mod texts;

pub use texts::Mode;
