//! A plugin in a process of its own: JSON lines on its standard input and output, one call at a time.
//!
//! The process is started when it is needed, and again after it has died. A call that takes longer than its deadline ends with
//! the process. What the plugin writes to standard error goes where ours goes.

use std::{ffi::OsString, path::Path, process::Stdio, time::Duration};

use dcv_provider::{Descriptor, ErrorKind, Proof, ProviderError, Result, secret::withhold};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
    time::timeout,
};

use crate::{
    host::{Plugin, PluginError},
    wire::{Reply, Request, Verb, WireDescriptor, provider_by_verb},
};

/// How long a call may take, unless set.
const DEADLINE: Duration = Duration::from_secs(50);

/// The longest answer: enough for the places of a thousand proofs, and too little to fill our memory.
const LONGEST_REPLY: u64 = 4 << 20;

/// A provider whose plugin runs in a process of its own.
#[derive(Debug)]
pub struct Isolated {
    command: Vec<OsString>,
    config: Value,
    deadline: Duration,
    descriptor: &'static Descriptor,
    process: Mutex<Option<Process>>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Isolated {
    /// Starts the host process, by a command that ends up in [`serve`], and has it open the plugin.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when that cannot be done.
    pub async fn start(command: Vec<OsString>, config: Value) -> Result<Self> {
        let (process, descriptor) = Process::start(&command, &config, DEADLINE).await?;
        let process = Mutex::new(Some(process));
        Ok(Self { command, config, deadline: DEADLINE, descriptor: descriptor.leak(), process })
    }

    /// Sets how long a call may take.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    pub(crate) fn descriptor_of_plugin(&self) -> &'static Descriptor {
        self.descriptor
    }

    pub(crate) async fn call(&self, verb: Verb, proofs: &[Proof]) -> Result<Reply> {
        let mut running = self.process.lock().await;
        // Taken out: a call that is given up half-way takes its process with it, whose next line would answer the wrong call.
        let mut process = match running.take() {
            Some(process) => process,
            None => Process::start(&self.command, &self.config, self.deadline).await?.0,
        };
        let request = Request { verb, proofs: proofs.to_vec() };
        let request = serde_json::to_value(request).map_err(|e| broken(&e.to_string()))?;
        let reply = process.exchange(&request, self.deadline).await?;
        *running = Some(process);
        Ok(reply)
    }
}

fn broken(message: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Unavailable, message.to_owned())
}

impl Process {
    async fn start(command: &[OsString], config: &Value, deadline: Duration) -> Result<(Self, WireDescriptor)> {
        let host = |message: String| ProviderError::from(PluginError::Host(message));
        let (program, arguments) = command.split_first().ok_or_else(|| host("no program is given".to_owned()))?;
        let mut child = Command::new(program);
        // A plugin's secrets are in its configuration.
        let mut child = withhold(&mut child)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| host(format!("{}: {e}", Path::new(program).display())))?;
        let (Some(requests), Some(replies)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(host("it has no pipes".to_owned()));
        };
        let mut process = Self { child, requests, replies: BufReader::new(replies) };
        let descriptor = process.exchange(config, deadline).await?.into_result()?;
        Ok((process, descriptor))
    }

    /// Sends a line and waits for one.
    async fn exchange(&mut self, request: &Value, deadline: Duration) -> Result<Reply> {
        let mut line = Vec::new();
        let conversation = async {
            self.requests.write_all(format!("{request}\n").as_bytes()).await?;
            self.requests.flush().await?;
            (&mut self.replies).take(LONGEST_REPLY).read_until(b'\n', &mut line).await
        };
        match timeout(deadline, conversation).await {
            Err(_) => Err(broken(&format!("the plugin has not answered in {deadline:?}; its process was ended"))),
            Ok(Ok(_)) if line.len() as u64 >= LONGEST_REPLY => {
                Err(broken("the plugin's answer does not end; its process was ended"))
            }
            Ok(Ok(1..)) => Reply::read(&line),
            Ok(_) => {
                let how = match timeout(Duration::from_millis(500), self.child.wait()).await {
                    Ok(Ok(status)) => status.to_string(),
                    _ => "it has closed its output".to_owned(),
                };
                Err(broken(&format!("the plugin's process has ended in the middle of a call ({how})")))
            }
        }
    }
}

provider_by_verb!(Isolated);

/// The child's side, for those who only want to know what a plugin is: one line for the first line of standard input.
///
/// # Errors
/// What the system says about the pipes.
pub fn describe(path: &Path) -> std::io::Result<()> {
    use std::io::{BufRead, Write};
    std::io::stdin().lock().read_line(&mut String::new())?;
    let described = Plugin::load(path, None).map_err(ProviderError::from);
    let reply = Reply::of(described.map(|plugin| WireDescriptor::from(plugin.descriptor())));
    writeln!(std::io::stdout().lock(), "{}", serde_json::to_string(&reply)?)
}

/// The child's side: loads a plugin, reads its configuration from the first line of standard input, and answers one line for
/// each. Ends with its input.
///
/// # Errors
/// What the system says about the pipes.
pub fn serve(path: &Path, sha256: Option<&str>) -> std::io::Result<()> {
    use std::io::{BufRead, Write};
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut say = |reply: &Reply| -> std::io::Result<()> {
        let line = serde_json::to_string(reply)?;
        writeln!(output, "{line}")?;
        output.flush()
    };
    let mut line = String::new();
    input.read_line(&mut line)?;
    let opened = (|| {
        let plugin = Plugin::load(path, sha256)?;
        let config =
            serde_json::from_str(&line).map_err(|e| broken(&format!("the configuration is not understood: {e}")))?;
        Ok((plugin.descriptor(), plugin.open_now(&config)?))
    })();
    let provider = match opened {
        Ok((descriptor, provider)) => {
            say(&Reply::of(Ok(WireDescriptor::from(descriptor))))?;
            provider
        }
        Err(error) => return say(&Reply::of::<Value>(Err(error))),
    };
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let reply = serde_json::from_str::<Request>(&line)
            .map_err(|e| broken(&format!("the request is not understood: {e}")))
            .and_then(|request| provider.call_now(&request));
        say(&reply.unwrap_or_else(|error| Reply::Error(error.into())))?;
    }
}
