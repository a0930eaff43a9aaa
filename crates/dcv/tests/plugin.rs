//! Plugins as the program uses them: listed, called by hand, and in an order from end to end.

mod bench;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use axum::{Router, extract::State, http::Uri};
use bench::{API_KEY, Bench, check_files, run};
use certcentral_sandbox::{dns, va};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The example in C.
fn c_plugin(dir: &Path) -> PathBuf {
    let library = dir.join("libledger.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-I"]).arg(format!("{ROOT}/crates/dcv-plugin/include")).arg("-o").arg(&library);
    assert!(
        cc.arg(format!("{ROOT}/examples/plugin-c/plugin.c")).status().expect("cc; tests/run installs it").success()
    );
    library
}

/// The example in Rust: the webroot provider.
fn webroot_plugin() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_dcv"));
    let profile = program.parent().expect("target/PROFILE");
    let mut cargo = Command::new(env!("CARGO"));
    dcv_tests::unmarked(&mut cargo).args(["build", "--quiet", "--offline", "-p", "dcv-example-plugin", "--target-dir"]);
    assert!(cargo.arg(profile.parent().expect("target")).current_dir(ROOT).status().expect("cargo runs").success());
    profile.join("libdcv_example_plugin.so")
}

/// A web server on loopback for the files of a folder.
async fn serve(root: PathBuf) -> u16 {
    async fn file(State(root): State<PathBuf>, uri: Uri) -> Result<Vec<u8>, axum::http::StatusCode> {
        let path = root.join(uri.path().trim_start_matches('/'));
        std::fs::read(path).map_err(|_| axum::http::StatusCode::NOT_FOUND)
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let app = Router::new().fallback(file).with_state(root);
    tokio::spawn(async move { axum::serve(listener, app).await });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_comes_home_through_a_plugin_of_either_form() {
    let library = webroot_plugin();
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let names = dns::Server::start(dns::Config { web_addr: Some([127, 0, 0, 1].into()), ..dns::Config::default() });
    let names = names.await.expect("a name server");
    let folder = tempfile::tempdir().expect("a folder");
    let port = serve(folder.path().to_owned()).await;
    let va = va::Config { http_port: port, https_port: free.port(), ..va::Config::with_dns(vec![names.addr()]) };
    let bench = Bench::with(|account| account.va = va).await;
    for isolation in ["process", "none"] {
        let toml = format!(
            "[ca]\nurl = \"{}\"\nkey = {{ env = \"MY_KEY\" }}\n[dns]\nresolvers = [\"{dns}\"]\nauthority_port = {}\n\
             [propagation]\nhttp_port = {port}\nhttps_port = {}\n[provider.web]\ntype = \"plugin\"\npath = {library:?}\n\
             isolation = \"{isolation}\"\nconfig = {{ root = {root:?} }}\n",
            bench.sandbox.base_url(),
            names.addr().port(),
            free.port(),
            dns = names.addr(),
            root = folder.path(),
        );
        bench.write("plugin.toml", &toml);
        let arguments = format!(
            "issue {isolation}.example.com --config plugin.toml --method http-token --product ssl_basic --organization 10001 --wait 20s"
        );
        let ran = run(bench.dcv(&arguments).env("MY_KEY", API_KEY)).await;
        assert_eq!(ran.code, 0, "{isolation}: {}", ran.all());
        let name = format!("{isolation}.example.com");
        check_files(&bench.path(&format!("certificates/{name}")), &bench.sandbox.root_pem(), &[&name]);
        assert!(!folder.path().join(".well-known").exists(), "{isolation}: the file is gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashing_plugin_fails_its_proof_and_nothing_else() {
    let bench = Bench::start().await;
    let library = c_plugin(&bench.path("."));
    let ledger = bench.path("ledger");
    let toml = format!(
        "{}[provider.bad]\ntype = \"plugin\"\npath = {library:?}\nconfig = {{ file = {ledger:?}, mode = \"crash\" }}\n",
        bench.configuration(),
    );
    bench.write("dcv.toml", &toml);
    let began = Instant::now();
    let ran = bench.run("--json issue a.example.com --provider bad --out bad").await;
    assert_eq!(ran.code, 4, "{}", ran.all());
    assert!(ran.stderr.contains("bad") && ran.stderr.contains("signal: 11"), "{}", ran.all());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    // The same program, the same configuration, another provider.
    assert_eq!(bench.run("issue a.example.com --out good").await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_are_listed_checked_and_called_by_hand() {
    let bench = Bench::start().await;
    std::fs::create_dir(bench.path("plugins")).expect("a folder");
    let library = c_plugin(&bench.path("plugins"));
    std::fs::write(bench.path("plugins/libtext.so"), "no library").expect("a file");
    let pinned = |sum: &str| {
        let own = format!("[provider.mine]\ntype = \"plugin\"\npath = {library:?}\nsha256 = \"{sum}\"\n");
        bench.write("dcv.toml", &format!("{}{own}", bench.configuration()));
    };
    pinned(&"0".repeat(64));
    let ran = bench.run("--json plugin list plugins").await;
    assert_eq!(ran.code, 2, "one cannot be loaded, one is not the pinned one: {}", ran.all());
    let plugins = ran.last()["plugins"].clone();
    assert_eq!((&plugins[0]["provider"], &plugins[0]["trust"]), (&"mine".into(), &"not the pinned one".into()));
    assert!(plugins[1]["error"].as_str().is_some_and(|error| error.contains("cannot be loaded")), "{plugins}");
    pinned(plugins[0]["sha256"].as_str().expect("a sum"));
    std::fs::remove_file(bench.path("plugins/libtext.so")).expect("removed");
    let ran = bench.run("plugin list plugins").await;
    assert!(ran.code == 0 && ran.stdout.contains("ledger") && ran.stdout.contains("pinned"), "{}", ran.all());

    let config = format!("{{\"file\":{:?}}}", bench.path("ledger"));
    for verb in ["preflight", "present", "retract"] {
        let mut command = bench.dcv(&format!("plugin run {} {verb} --txt _dnsauth.example.com=v1", library.display()));
        let ran = run(command.args(["--plugin-config", &config])).await;
        assert_eq!(ran.code, 0, "{}", ran.all());
    }
    let ledger = std::fs::read_to_string(bench.path("ledger")).expect("a ledger");
    assert_eq!(ledger.lines().count(), 2, "{ledger}");
    let ran = bench.run(&format!("plugin run {} present", library.display())).await;
    assert!(ran.code == 2 && ran.stderr.contains("--txt"), "{}", ran.all());
}
