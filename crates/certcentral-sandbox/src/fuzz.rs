//! What the fuzz targets (`tests/fuzz`) reach of the inside, without sockets. No part of the API.

use std::net::SocketAddr;

use crate::{ApiKey, Config, Role, api, assemble, dns, state::State, va};

/// A call of the API: method, path below `/services/v2`, body.
pub type Call = (String, String, Vec<u8>);

const KEY: &str = "fuzz";

/// The API of one sandbox, which forgets everything between inputs. It looks for proofs where nobody answers.
pub struct Counter {
    runtime: tokio::runtime::Runtime,
    shared: std::sync::Arc<crate::Shared>,
}

impl Counter {
    /// Opens it.
    ///
    /// # Panics
    /// When the system has no threads or no randomness.
    pub fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        let config = Config {
            keys: vec![ApiKey::new(KEY, Role::Administrator)],
            va: va::Config::with_dns(vec![nobody]),
            rate: Vec::new(),
            ..Config::default()
        };
        let shared = {
            let _guard = runtime.enter();
            assemble(config, None, State::default(), nobody).expect("a sandbox")
        };
        Self { runtime, shared: shared.into() }
    }

    /// What is answered to these calls, one after the other: status and body. Those that would call other servers are left out.
    pub fn answers(&self, calls: Vec<Call>) -> Vec<(String, (u16, Vec<u8>))> {
        *self.shared.state.lock().expect("no panic while held") = State::default().prepare(&self.shared.config);
        self.shared.seen.lock().expect("no panic while held").clear();
        let away = |path: &str| ["/test-endpoint", "-challenge", "/activate"].iter().any(|part| path.contains(part));
        let calls = calls.into_iter().filter(|(_, path, _)| !path.contains("/webhook") || !away(path));
        self.runtime.block_on(async {
            let mut answers = Vec::new();
            for (method, path, body) in calls {
                let name = format!("{method} {path}");
                if let Some(answer) = api::answer(&self.shared, KEY, &method, &path, body).await {
                    answers.push((name, answer));
                }
            }
            answers
        })
    }
}

/// A message to the name server: whatever it is, it is answered or dropped, and the zone stays one.
pub fn name_server(message: &[u8], client: SocketAddr) {
    dns::answer_once(message, client);
}

/// An answer to a question of the validation authority.
pub fn validation(message: &[u8]) {
    va::read_once(message);
}
