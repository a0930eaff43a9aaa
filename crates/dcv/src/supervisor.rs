//! What systemd is told: that the keeper is ready, that it lives, that it ends. One datagram each, to where `NOTIFY_SOCKET` says
//! (`sd_notify(3)`); without that, nothing.

use std::{
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

/// Tells that the keeper lives, until dropped; then that it ends.
pub(crate) struct Supervised(Option<tokio::task::JoinHandle<()>>);

impl Supervised {
    /// The keeper is ready. From here on systemd is told that it lives, as often as it wants to know.
    pub(crate) fn ready() -> Self {
        tell("READY=1");
        let wanted = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        let Some(within) = wanted.map(Duration::from_micros).filter(|within| !within.is_zero()) else {
            return Self(None);
        };
        // On the runtime that does the work: where that stands still, nothing is told.
        Self(Some(tokio::spawn(async move {
            let mut tick = tokio::time::interval(within / 2);
            loop {
                tick.tick().await;
                tell("WATCHDOG=1");
            }
        })))
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
        tell("STOPPING=1");
    }
}

fn tell(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| {
        // A socket without a file, by an `@`.
        let address = match path.to_str().and_then(|path| path.strip_prefix('@')) {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&path)?,
        };
        socket.set_nonblocking(true)?;
        socket.send_to_addr(state.as_bytes(), &address)
    });
    if let Err(error) = sent {
        tracing::debug!(%error, state, "systemd is not told");
    }
}
