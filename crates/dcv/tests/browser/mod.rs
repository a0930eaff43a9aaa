//! A headless Chromium, driven by WebDriver (W3C) over plain HTTP.

#![allow(unreachable_pub, missing_docs, reason = "a part of a test program")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What names an element in WebDriver's answers.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scripts {
    On,
    Off,
}

/// One browser with an empty profile. Ends with its value.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    http: reqwest::Client,
    _profile: TempDir,
}

impl Browser {
    pub async fn start(scripts: Scripts) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let profile = tempfile::tempdir().expect("a folder");
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts (Debian's package chromium-driver; tests/run installs it)");
        let mut lines = BufReader::new(driver.stdout.take().expect("piped")).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            line.strip_prefix("ChromeDriver was started successfully on port ")?.trim_end_matches('.').parse().ok()
        });
        let port: u16 = port.expect("chromedriver says its port");
        // What it says later has to go somewhere.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let user_data = format!("--user-data-dir={}", profile.path().display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--force-device-scale-factor=1",
            "--window-size=1280,900",
            &user_data,
        ];
        let allowed = if scripts == Scripts::On { 1 } else { 2 };
        let options = json!({
            "args": arguments,
            "prefs": { "profile.managed_default_content_settings.javascript": allowed },
        });
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut browser = Self { driver, address, session: String::new(), http, _profile: profile };
        let capabilities = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let answer = browser.send(reqwest::Method::POST, "", Some(capabilities)).await.expect("a session");
        answer["sessionId"].as_str().expect("a session").clone_into(&mut browser.session);
        browser
    }

    async fn send(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Result<Value, Value> {
        let session = if self.session.is_empty() { String::new() } else { format!("/{}", self.session) };
        let mut request = self.http.request(method, format!("http://{}/session{session}{path}", self.address));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.timeout(Duration::from_secs(60)).send().await.expect("chromedriver answers");
        let good = response.status().is_success();
        let mut answer: Value = response.json().await.expect("JSON");
        if good { Ok(answer["value"].take()) } else { Err(answer["value"].take()) }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.send(reqwest::Method::POST, path, Some(body)).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    async fn get(&self, path: &str) -> Value {
        self.send(reqwest::Method::GET, path, None).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    pub async fn url(&self) -> String {
        self.get("/url").await.as_str().expect("an address").to_owned()
    }

    pub async fn title(&self) -> String {
        self.get("/title").await.as_str().expect("a title").to_owned()
    }

    /// The elements that a CSS selector finds.
    pub async fn all(&self, css: &str) -> Vec<String> {
        let found = self.post("/elements", json!({ "using": "css selector", "value": css })).await;
        let ids = found.as_array().expect("elements").iter();
        ids.map(|element| element[ELEMENT].as_str().expect("an element").to_owned()).collect()
    }

    async fn one(&self, css: &str) -> String {
        self.all(css).await.into_iter().next().unwrap_or_else(|| panic!("nothing is `{css}`"))
    }

    /// Does something with the first element of a selector. A page that refreshes itself may have put another in its place meanwhile.
    async fn act(&self, css: &str, method: reqwest::Method, act: &str, body: Option<Value>) -> Value {
        loop {
            let element = self.one(css).await;
            match self.send(method.clone(), &format!("/element/{element}/{act}"), body.clone()).await {
                Ok(value) => return value,
                Err(error) if error["error"] == "stale element reference" => {}
                Err(error) => panic!("{css}: {act}: {error}"),
            }
        }
    }

    /// The text of the first element of a selector, as it is seen.
    pub async fn text(&self, css: &str) -> String {
        self.act(css, reqwest::Method::GET, "text", None).await.as_str().expect("text").to_owned()
    }

    pub async fn click(&self, css: &str) {
        self.act(css, reqwest::Method::POST, "click", Some(json!({}))).await;
    }

    pub async fn fill(&self, css: &str, text: &str) {
        self.act(css, reqwest::Method::POST, "value", Some(json!({ "text": text }))).await;
    }

    /// What a function body returns in the page.
    pub async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// A command of Chromium's own protocol.
    async fn chromium(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// Shows pages as those see them who prefer `light` or `dark`.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.chromium("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    pub async fn size(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.chromium("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// The whole page as a picture, in target/screenshots.
    pub async fn picture(&self, name: &str) {
        let picture =
            self.chromium("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true })).await;
        let bytes = STANDARD.decode(picture["data"].as_str().expect("a picture")).expect("base64");
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).parent().expect("target").join("screenshots");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(format!("{name}.png")), bytes).expect("a file");
    }

    /// Looks until the text of an element of a selector holds all `parts`.
    pub async fn wait_for(&self, css: &str, parts: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut last = Vec::new();
        while Instant::now() < deadline {
            last.clear();
            // What is looked at may just be replaced.
            let look = json!({ "using": "css selector", "value": css });
            let found = self.send(reqwest::Method::POST, "/elements", Some(look)).await.unwrap_or_default();
            for element in found.as_array().into_iter().flatten() {
                let id = element[ELEMENT].as_str().expect("an element");
                let text = self.send(reqwest::Method::GET, &format!("/element/{id}/text"), None).await;
                let text = text.unwrap_or_default().as_str().unwrap_or_default().to_owned();
                if parts.iter().all(|part| text.contains(part)) {
                    return;
                }
                last.push(text);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("`{css}` never held {parts:?}; last it was {last:#?}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser is chromedriver's to end; without being asked it would leave it running.
        if let Ok(mut stream) = TcpStream::connect(self.address) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let request = format!("DELETE /session/{} HTTP/1.1\r\nHost: {}\r\n\r\n", self.session, self.address);
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read(&mut [0; 512]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
