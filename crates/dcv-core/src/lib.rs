//! Everything that decides: from a list of names to a certificate in a folder, with nothing left behind.
//!
//! An order is a state machine over an append-only journal. [`state`] holds the machine itself, as pure functions;
//! [`flow`] acts on what it says, one step at a time, writing the intent before each act and the result after it.
//! A process that dies is continued by the next one from the journal.
//!
//! ```no_run
//! # async fn demo(dns_host: impl dcv_provider::DcvProvider + 'static) -> Result<(), Box<dyn std::error::Error>> {
//! use dcv_core::{Dcv, Outcome, Request, key::{KeyKind, PrivateKey}, name::DnsName};
//!
//! let client = certcentral::Client::builder(std::env::var("DIGICERT_API_KEY")?.into()).build()?;
//! let dcv = Dcv::builder(client).provider(dns_host).journal_at("dcv.sqlite").build().await?;
//!
//! let names = vec![DnsName::parse("shop.example.com")?, DnsName::parse("www.example.com")?];
//! let key = PrivateKey::generate(KeyKind::EcdsaP256)?;
//! let request = Request::new("ssl_basic", 123_456, names, &key)?;
//! match dcv.issue(request).await? {
//!     Outcome::Issued(issued) => println!("{}", issued.chain.fullchain_pem()),
//!     other => println!("{other}; go on with dcv.resume(…)"),
//! }
//! # Ok(()) }
//! ```
//!
//! The crate knows no DNS host and no web server: those come in as [`dcv_provider::DcvProvider`]s, chosen by name
//! through a [`Router`].

pub mod certificate;
pub mod doctor;
mod error;
mod event;
pub mod flow;
mod follow;
#[doc(hidden)]
pub mod fuzz;
pub mod journal;
pub mod keeper;
pub mod key;
pub mod limits;
pub mod name;
pub mod placement;
pub mod propagation;
mod request;
mod route;
pub mod state;

pub use error::{Error, Result};
pub use event::{Event, Meter, Observer, ProviderCall, Verb};
pub use flow::{Dcv, DcvBuilder, Issued, Outcome, Plan, Settings};
pub use follow::Follower;
pub use placement::{CnameRule, Method, Placement, TxtOwner};
pub use request::{Deploy, Output, Purpose, Request, TokenSource};
pub use route::{Route, Router};
pub use state::{Actor, RunId, Waiting};
