//! A typed, tolerant client of the DigiCert CertCentral Services API, version 2.
//!
//! It knows orders, domains, organizations, requests and certificates, and nothing of DNS, providers or files. It is
//! liberal in what it reads (ids as numbers or text, `{}` for an empty list, dates with and without a time, unknown
//! statuses) and exact in what it sends. What it takes care of, so that nobody else has to:
//!
//! - **the rate limit**: one [`Budget`] for each API key, shared by all clones of a [`Client`]. Where others use the key up, calls are sent again
//!   for longer than the longest window;
//! - **what may be repeated**: reads and harmless writes are tried again after 429, 5xx and lost connections; an order
//!   never is once its bytes may have been read. [`Error::outcome_unknown`] says when that happened;
//! - **the API key**: it is sent to the base URL, in a header, and shows up nowhere else.
//!
//! ```no_run
//! # async fn demo() -> certcentral::Result<()> {
//! use certcentral::{Client, NewOrder};
//!
//! let client = Client::builder("an API key".into()).build()?;
//! let order = NewOrder::new("www.example.com", "-----BEGIN CERTIFICATE REQUEST-----…", 123_456);
//! let placed = client.place_order("ssl_basic", &order).await?;
//! let open = client.order_validation(placed.id).await?;
//! for domain in open.dns_name_validations {
//!     println!("{:?}: {}", domain.name_scope, domain.status);
//! }
//! # Ok(()) }
//! ```

mod budget;
mod client;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod lenient;
mod types;

pub use budget::{Budget, Usage, Window};
pub use client::{Client, ClientBuilder, EU, Retries, US};
pub use error::{ApiError, Error, ErrorCode, Result, Sent};
pub use types::*;
