//! An offline CertCentral: real validation, real certificates, no account. What Pebble is to ACME.
//!
//! [`Sandbox::start`] opens the Services API (version 2) on a loopback port: orders, domains, organizations, requests
//! and certificates behave as the vendor documents them, proofs of domain control are looked up in real DNS and over
//! real HTTP, and a private CA signs what is issued. Any CertCentral client can be pointed at
//! [`Sandbox::base_url`]; nothing here is shared with the client of this project, so that a wrong field name cannot
//! cancel itself out.
//!
//! The rooms are named by what a CA does: [`account`] is what it starts with, `api` the counter, `state` the files and
//! the decisions, [`va`] looks for proofs, [`ca`] signs, `store` keeps, [`clock`], [`limits`] and [`faults`] make a
//! test's weather. [`dns`] is a small name server to put proofs into.
//!
//! ```no_run
//! # async fn example() -> Result<(), certcentral_sandbox::Error> {
//! use certcentral_sandbox::{Config, Sandbox};
//!
//! let sandbox = Sandbox::start(Config::default()).await?;
//! println!("{} with X-DC-DEVKEY: sandbox", sandbox.base_url());
//! sandbox.shutdown().await;
//! # Ok(())
//! # }
//! ```

pub mod account;
mod api;
pub mod ca;
pub mod clock;
pub mod dns;
pub mod faults;
#[doc(hidden)]
pub mod fuzz;
mod hooks;
pub mod limits;
mod names;
mod state;
mod store;
pub mod va;
mod validity;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use jiff::Timestamp;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

pub use account::{ApiKey, Config, Organization, Role};
pub use api::Seen;

use clock::Clock;
use state::{State, life::Shared};
use store::Store;

/// Why a sandbox cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address of the configuration.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The state directory cannot be read or written.
    #[error("cannot use the state directory: {0}")]
    Store(#[from] io::Error),
    /// The CA has no keys.
    #[error("cannot set up the certificate authority: {0}")]
    Authority(String),
    /// A fault of the configuration is none.
    #[error("{0}")]
    Fault(String),
    /// The validation authority cannot look at the network.
    #[error("cannot set up validation: {0}")]
    Validation(String),
}

/// A running sandbox. It ends when it is dropped; [`Sandbox::shutdown`] also waits for requests under way.
pub struct Sandbox {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
    schedule: JoinHandle<()>,
}

impl Sandbox {
    /// Opens the API. With [`Config::state_dir`] it goes on where the directory ends.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let (store, state) = match &config.state_dir {
            Some(dir) => {
                let (store, state) = Store::open(dir)?;
                (Some(store), state)
            }
            None => (None, State::default()),
        };
        let listen = |source| Error::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let shared = Arc::new(assemble(config, store, state, address)?);
        let (stop, stopped) = oneshot::channel::<()>();
        let tls = if shared.config.tls {
            let config = shared.authority.server(address.ip(), shared.clock.now());
            Some(config.map_err(|error| Error::Authority(error.to_string()))?)
        } else {
            None
        };
        let server = tokio::spawn(api::serve(listener, tls, Arc::clone(&shared), async {
            // A dropped sandbox is a stopped one.
            let _ = stopped.await;
        }));
        let schedule = tokio::spawn(Arc::clone(&shared).run());
        Ok(Self { address, shared, stop: Some(stop), server: Some(server), schedule })
    }

    /// Where clients go: `http://127.0.0.1:PORT/services/v2`, with https where [`Config::tls`] says so.
    pub fn base_url(&self) -> String {
        self.shared.control.replace("/sandbox", "/services/v2")
    }

    /// Where the control endpoints are: `http://127.0.0.1:PORT/sandbox`.
    pub fn control_url(&self) -> String {
        self.shared.control.clone()
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The root certificate to trust.
    pub fn root_pem(&self) -> String {
        self.shared.authority.root_pem().to_owned()
    }

    /// Every request answered so far, in order; the control endpoints' own are left out.
    pub fn requests_seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no panic while held").clone()
    }

    /// The mails of the DCV method `email` that were sent so far: to whom, for which domain, and the link.
    pub fn mails(&self) -> Vec<(String, String, String)> {
        let link = |mail: &state::mail::Mail| format!("{}/mails/{}", self.shared.control, mail.link);
        self.shared
            .read(|state, _| state.mails.iter().map(|mail| (mail.to.clone(), mail.name.clone(), link(mail))).collect())
    }

    /// The events that the webhook was told of: name, data, and the status that the endpoint answered.
    pub fn deliveries(&self) -> Vec<(String, serde_json::Value, Option<u16>)> {
        let one = |one: &hooks::Delivery| (one.event.clone(), one.data.clone(), one.status);
        self.shared.read(|state, _| state.deliveries.iter().map(one).collect())
    }

    /// What the validation authority asked, and what it heard: the last few thousand look-ups.
    pub fn lookups(&self) -> Vec<va::Lookup> {
        self.shared.validator.lookups()
    }

    /// How many orders there are.
    pub fn orders(&self) -> usize {
        self.shared.read(|state, _| state.orders.len())
    }

    /// The sandbox's time.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Takes no more requests, waits for those under way, saves, and ends.
    pub async fn shutdown(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(mut server) = self.server.take()
            && tokio::time::timeout(std::time::Duration::from_secs(2), &mut server).await.is_err()
        {
            server.abort();
        }
        self.shared.save().await;
    }
}

/// Everything but the listener, for one at this address.
fn assemble(config: Config, store: Option<Store>, state: State, address: SocketAddr) -> Result<Shared, Error> {
    let clock = Clock::with_offset(state.clock_offset).hurried(config.speed);
    if let Some(now) = config.now.filter(|_| state.clock_offset == 0) {
        clock.advance(now.as_second() - Timestamp::now().as_second());
    }
    let authority = match &config.state_dir {
        Some(dir) => ca::Authority::load_or_create(dir, clock.now()),
        None => ca::Authority::generate(clock.now()),
    };
    let authority = authority.map_err(|error| Error::Authority(error.to_string()))?;
    let validator = va::Validator::new(config.va.clone()).map_err(|error| Error::Validation(error.to_string()))?;
    Ok(Shared {
        state: Mutex::new(state.prepare(&config)),
        clock,
        store,
        authority,
        validator,
        limiter: limits::Limiter::new(config.rate.clone()),
        faults: faults::Faults::new(config.faults.clone()).map_err(Error::Fault)?,
        seen: Mutex::default(),
        control: format!("{}://{address}/sandbox", if config.tls { "https" } else { "http" }),
        wake: tokio::sync::Notify::new(),
        config,
    })
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.schedule.abort();
    }
}
