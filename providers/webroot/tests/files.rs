//! What happens below a document root.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use dcv_provider::{DcvProvider, ErrorKind, Proof};
use dcv_webroot::{Config, DESCRIPTOR, Webroot};
use tempfile::TempDir;

const PATH: &str = "/.well-known/pki-validation/fileauth.txt";

fn proof(host: &str, body: &str) -> Proof {
    Proof::File { host: host.to_owned(), path: PATH.to_owned(), body: body.to_owned() }
}

fn root() -> (TempDir, Webroot) {
    let dir = tempfile::tempdir().unwrap();
    let webroot = Webroot::new(Config::new(dir.path())).unwrap();
    (dir, webroot)
}

fn content(root: &Path) -> Option<String> {
    fs::read_to_string(root.join(&PATH[1..])).ok()
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Every name below a folder, hidden ones too.
fn everything(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.strip_prefix(root).unwrap().display().to_string());
        if path.is_dir() {
            let below = everything(&path);
            found
                .extend(below.into_iter().map(|name| format!("{}/{name}", path.strip_prefix(root).unwrap().display())));
        }
    }
    found
}

#[tokio::test]
async fn a_value_comes_and_goes_without_a_trace() {
    let (dir, webroot) = root();
    let proofs = [proof("example.com", "token-1")];
    let places = webroot.preflight(&proofs).await.unwrap();
    assert_eq!(places.len(), 1);
    assert!(places[0].target.ends_with(PATH) && dir.path().to_str() == Some(&places[0].within));
    assert!(everything(dir.path()).is_empty(), "preflight changes nothing");

    webroot.retract(&proofs).await.unwrap();
    webroot.present(&proofs).await.unwrap();
    webroot.present(&proofs).await.unwrap();
    assert_eq!(content(dir.path()).as_deref(), Some("token-1"));
    assert_eq!(everything(dir.path()).len(), 3);
    assert_eq!(mode(dir.path().join(&PATH[1..])), 0o644);
    assert_eq!(mode(dir.path().join(".well-known/pki-validation")), 0o755);
    webroot.preflight(&proofs).await.unwrap();

    webroot.retract(&proofs).await.unwrap();
    webroot.retract(&proofs).await.unwrap();
    assert!(everything(dir.path()).is_empty(), "{:?}", everything(dir.path()));
}

#[tokio::test]
async fn values_share_the_file_and_leave_alone() {
    let (dir, webroot) = root();
    let (a, b, c) = ([proof("a.com", "aaa")], [proof("b.com", "bbb")], [proof("a.com", "ccc\n")]);
    webroot.present(&a).await.unwrap();
    webroot.present(&b).await.unwrap();
    webroot.present(&c).await.unwrap();
    assert_eq!(content(dir.path()).as_deref(), Some("ccc\nbbb\naaa"));
    webroot.retract(&b).await.unwrap();
    assert_eq!(content(dir.path()).as_deref(), Some("ccc\naaa"));
    webroot.retract(&[proof("a.com", "cc")]).await.unwrap();
    assert_eq!(content(dir.path()).as_deref(), Some("ccc\naaa"), "part of a value is not the value");
    webroot.retract(&a).await.unwrap();
    webroot.retract(&c).await.unwrap();
    assert!(everything(dir.path()).is_empty());
}

#[tokio::test]
async fn what_others_wrote_survives_to_the_octet() {
    for theirs in ["theirs", "theirs\n", "theirs\r\nmore\r\n", "\n\n", "a\n\nb", "\u{feff}theirs"] {
        let (dir, webroot) = root();
        let folder = dir.path().join(".well-known/pki-validation");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("fileauth.txt"), theirs).unwrap();
        fs::set_permissions(folder.join("fileauth.txt"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::write(folder.join("other.txt"), "x").unwrap();
        let proofs = [proof("example.com", "ours")];
        webroot.present(&proofs).await.unwrap();
        let both = content(dir.path()).unwrap();
        assert_eq!(both, format!("ours\n{theirs}"), "ours is first: the CA reads the beginning only");
        webroot.retract(&proofs).await.unwrap();
        assert_eq!(content(dir.path()).as_deref(), Some(theirs));
        assert_eq!(mode(folder.join("fileauth.txt")), 0o640);
        assert_eq!(everything(dir.path()).len(), 4);
    }
}

#[tokio::test]
async fn a_value_that_is_there_with_windows_line_ends_is_known() {
    let (dir, webroot) = root();
    fs::create_dir_all(dir.path().join(".well-known/pki-validation")).unwrap();
    fs::write(dir.path().join(&PATH[1..]), "other\r\nours\r\n").unwrap();
    webroot.present(&[proof("example.com", "ours")]).await.unwrap();
    assert_eq!(content(dir.path()).as_deref(), Some("other\r\nours\r\n"));
    webroot.retract(&[proof("example.com", "ours")]).await.unwrap();
    assert_eq!(content(dir.path()).as_deref(), Some("other\r\n"));
}

#[tokio::test]
async fn folders_made_by_others_stay() {
    let (dir, webroot) = root();
    let folder = dir.path().join(".well-known");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o2775)).unwrap();
    let proofs = [proof("example.com", "token")];
    webroot.retract(&proofs).await.unwrap();
    webroot.present(&proofs).await.unwrap();
    webroot.retract(&proofs).await.unwrap();
    assert_eq!(everything(dir.path()), [".well-known"]);
    assert_eq!(mode(&folder), 0o2775);
}

#[tokio::test]
async fn what_a_dead_writer_left_is_cleaned_up() {
    let (dir, webroot) = root();
    let proofs = [proof("example.com", "token")];
    webroot.present(&proofs).await.unwrap();
    let folder = dir.path().join(".well-known/pki-validation");
    for purpose in ["dcv-lock", "dcv-new"] {
        fs::write(folder.join(format!(".fileauth.txt.{purpose}")), "half").unwrap();
    }
    webroot.present(&[proof("example.com", "second")]).await.unwrap();
    assert_eq!(content(dir.path()).as_deref(), Some("second\ntoken"));
    fs::write(folder.join(".fileauth.txt.dcv-new"), "half").unwrap();
    fs::remove_file(folder.join("fileauth.txt")).unwrap();
    webroot.retract(&proofs).await.unwrap();
    assert!(everything(dir.path()).is_empty(), "{:?}", everything(dir.path()));
}

#[tokio::test]
async fn every_root_gets_the_file_and_hosts_have_their_own() {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["all", "a.com", "b.com"] {
        fs::create_dir(dir.path().join(folder)).unwrap();
    }
    let text = format!(
        "root = [{:?}, {:?}]\nfile_mode = \"0604\"",
        dir.path().join("all").display().to_string(),
        dir.path().join("{host}").display().to_string()
    );
    let webroot = Webroot::new(toml::from_str(&text).unwrap()).unwrap();
    let proofs = [proof("a.com", "aaa"), proof("b.com", "bbb")];
    webroot.preflight(&proofs).await.unwrap();
    webroot.present(&proofs).await.unwrap();
    assert_eq!(content(&dir.path().join("all")).as_deref(), Some("bbb\naaa"));
    assert_eq!(content(&dir.path().join("a.com")).as_deref(), Some("aaa"));
    assert_eq!(content(&dir.path().join("b.com")).as_deref(), Some("bbb"));
    assert_eq!(mode(dir.path().join("a.com").join(&PATH[1..])), 0o604);

    // One host has no root: the error names it and the proof, and the others are still taken back.
    let error = webroot.preflight(&[proof("c.com", "ccc")]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotServed);
    assert!(error.to_string().contains("/c.com`"), "{error}");
    let error = webroot.present(&[proof("c.com", "ccc")]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotServed);
    assert!(error.subjects.iter().any(|subject| subject == "http://c.com/.well-known/pki-validation/fileauth.txt"));
    webroot.retract(&[proof("c.com", "ccc"), proofs[0].clone(), proofs[1].clone()]).await.unwrap();
    for folder in ["all", "a.com", "b.com"] {
        assert!(everything(&dir.path().join(folder)).is_empty());
    }
}

#[tokio::test]
async fn nothing_leads_out_of_the_root() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("inner")).unwrap();
    let webroot = Webroot::new(Config::new(dir.path().join("inner/{host}"))).unwrap();
    let paths = ["/../x", "/a/../../x", "x", "", "/", "//x", "/a//x", "/a/./x", "/a\0b", "/..\\x", "/.."];
    let hosts = ["..", ".", "", "a/b", "a/../..", "../x", "a\0b", "a\\b", "-/.."];
    let by_path = paths.iter().map(|path| ("a.com", *path));
    let by_host = hosts.iter().map(|host| (*host, "/x"));
    for (host, path) in by_path.chain(by_host) {
        let proofs = [Proof::File { host: host.into(), path: path.into(), body: "x".into() }];
        for error in [
            webroot.preflight(&proofs).await.unwrap_err(),
            webroot.present(&proofs).await.unwrap_err(),
            webroot.retract(&proofs).await.unwrap_err(),
        ] {
            assert_eq!(error.kind, ErrorKind::Rejected, "{host} {path}: {error}");
            assert!(!error.message.contains('\0'));
        }
    }
    assert_eq!(everything(dir.path()), ["inner"]);
    let txt = Proof::Txt { name: "example.com".into(), value: "x".into() };
    assert_eq!(webroot.present(&[txt]).await.unwrap_err().kind, ErrorKind::Unsupported);
}

#[tokio::test]
async fn links_to_folders_are_followed_and_a_link_as_file_is_refused() {
    let (dir, webroot) = root();
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), dir.path().join(".well-known")).unwrap();
    let proofs = [proof("example.com", "token")];
    webroot.preflight(&proofs).await.unwrap();
    webroot.present(&proofs).await.unwrap();
    assert_eq!(fs::read_to_string(elsewhere.path().join("pki-validation/fileauth.txt")).unwrap(), "token");
    webroot.retract(&proofs).await.unwrap();
    assert!(everything(elsewhere.path()).is_empty());
    assert!(dir.path().join(".well-known").is_symlink(), "the link is not ours");

    let secret = elsewhere.path().join("secret");
    fs::write(&secret, "s").unwrap();
    fs::create_dir(elsewhere.path().join("pki-validation")).unwrap();
    symlink(&secret, elsewhere.path().join("pki-validation/fileauth.txt")).unwrap();
    for error in [webroot.preflight(&proofs).await.unwrap_err(), webroot.present(&proofs).await.unwrap_err()] {
        assert_eq!(error.kind, ErrorKind::Rejected);
        assert!(error.to_string().contains("symbolic link"), "{error}");
    }
    assert_eq!(fs::read_to_string(&secret).unwrap(), "s");
}

#[tokio::test]
async fn obstacles_are_named() {
    let (dir, webroot) = root();
    let proofs = [proof("example.com", "token")];
    fs::write(dir.path().join(".well-known"), "a file").unwrap();
    assert!(webroot.preflight(&proofs).await.is_err());
    let error = webroot.present(&proofs).await.unwrap_err();
    assert!(error.to_string().contains(PATH), "{error}");
    webroot.retract(&proofs).await.unwrap();
    fs::remove_file(dir.path().join(".well-known")).unwrap();
    fs::create_dir_all(dir.path().join(&PATH[1..])).unwrap();
    assert_eq!(webroot.preflight(&proofs).await.unwrap_err().kind, ErrorKind::Rejected);
    assert!(webroot.present(&proofs).await.unwrap_err().to_string().contains("a folder is in its place"));

    let missing = Webroot::new(Config::new(dir.path().join("none"))).unwrap();
    assert_eq!(missing.preflight(&proofs).await.unwrap_err().kind, ErrorKind::NotServed);
    assert_eq!(missing.present(&proofs).await.unwrap_err().kind, ErrorKind::NotServed);
    missing.retract(&proofs).await.unwrap();
}

#[tokio::test]
async fn a_folder_without_write_permission_is_found_before_anything_is_ordered() {
    let (dir, webroot) = root();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
    // Root may write everywhere; then there is no such folder to be found.
    if fs::write(dir.path().join("probe"), "").is_ok() {
        return;
    }
    let error = webroot.preflight(&[proof("example.com", "token")]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Credentials);
    assert!(error.to_string().contains("right to write"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_lose_nothing_and_readers_see_whole_files() {
    let (dir, webroot) = root();
    let lasting = [proof("example.com", "lasting-value-that-must-always-be-there")];
    webroot.present(&lasting).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (stop, file) = (Arc::clone(&stop), dir.path().join(&PATH[1..]));
        std::thread::spawn(move || {
            let mut reads = 0;
            while !stop.load(Ordering::Relaxed) || reads == 0 {
                let text = fs::read_to_string(&file).expect("the file is always there");
                assert!(text.lines().any(|line| line == "lasting-value-that-must-always-be-there"), "{text}");
                reads += 1;
            }
        })
    };
    // Instances of their own, as in several processes: they share nothing but the filesystem.
    let writers = (0..16).map(|writer| {
        let webroot = Webroot::new(Config::new(dir.path())).unwrap();
        tokio::spawn(async move {
            for round in 0..20 {
                let mine = [proof("example.com", &format!("writer-{writer}-round-{round}"))];
                webroot.present(&mine).await.unwrap();
                if round % 2 == 0 {
                    webroot.retract(&mine).await.unwrap();
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    reader.join().unwrap();
    let text = content(dir.path()).unwrap();
    assert_eq!(text.lines().count(), 1 + 16 * 10);
    let left: Vec<Proof> = text.lines().map(|line| proof("example.com", line)).collect();
    webroot.retract(&left).await.unwrap();
    assert!(everything(dir.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_one_out_and_the_next_one_in_do_not_trip_over_each_other() {
    let (dir, _) = root();
    let writers = (0..8).map(|writer| {
        let webroot = Webroot::new(Config::new(dir.path())).unwrap();
        let root = dir.path().to_owned();
        tokio::spawn(async move {
            let mine = [proof("example.com", &format!("writer-{writer}"))];
            for _ in 0..50 {
                webroot.present(&mine).await.unwrap();
                assert!(content(&root).unwrap().contains(mine[0].value()));
                webroot.retract(&mine).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert!(everything(dir.path()).is_empty(), "{:?}", everything(dir.path()));
}

#[test]
fn the_configuration_is_read_strictly() {
    let read = |text: &str| toml::from_str::<Config>(text).map_err(|e| e.to_string());
    assert_eq!(read("root = \"/a\"").unwrap(), Config::new("/a"));
    assert_eq!(read("roots = [\"/a\", \"/b\"]").unwrap().root.len(), 2);
    assert_eq!(read("root = \"/a\"\nfile_mode = \"0640\"").unwrap().file_mode, 0o640);
    assert_eq!(read("root = \"/a\"\nfile_mode = 0o600").unwrap().file_mode, 0o600);
    for (text, expected) in [
        ("", "missing field"),
        ("root = 1", "a path or a list of paths"),
        ("root = \"/a\"\nmode = 1", "unknown field"),
        ("root = \"/a\"\nfile_mode = \"rw\"", "not octal"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let refused = |config: Config| Webroot::new(config).unwrap_err().to_string();
    assert!(refused(Config::new("relative")).contains("absolute"));
    assert!(refused(Config { root: vec![], ..Config::new("/") }).contains("none"));
    assert!(refused(Config { file_mode: 0o755, ..Config::new("/") }).contains("file_mode"));
    assert!(refused(Config { file_mode: 0o044, ..Config::new("/") }).contains("file_mode"));

    let example: toml::Table = toml::from_str(DESCRIPTOR.example).unwrap();
    assert_eq!(example["type"].as_str(), Some(DESCRIPTOR.id));
    let options: Vec<_> = DESCRIPTOR.options.iter().map(|option| option.name).collect();
    assert!(example.keys().all(|key| key == "type" || options.contains(&key.as_str())));
}
