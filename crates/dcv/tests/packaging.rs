//! How the program is installed: systemd's own judgement of the units, the Debian package taken apart, and the bill of materials.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging");
const PROGRAM: &str = env!("CARGO_BIN_EXE_dcv");

fn run(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str], dir: &Path) -> Output {
    let program = program.as_ref();
    let mut command = Command::new(program);
    // A package that is thrown away is not worth packing.
    command.args(arguments).current_dir(dir).env("DPKG_DEB_COMPRESSOR_TYPE", "none");
    command.output().unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

fn good(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}{}", output.status, String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[test]
fn systemd_takes_the_units_and_finds_them_safe() {
    let dir = tempfile::tempdir().expect("a folder");
    for name in ["dcv.service", "dcv-once.service", "dcv-once.timer"] {
        let text = fs::read_to_string(Path::new(PACKAGING).join("systemd").join(name)).expect("a unit");
        fs::write(dir.path().join(name), text.replace("/usr/bin/dcv", PROGRAM)).expect("a file");
    }
    for name in ["dcv.service", "dcv-once.service", "dcv-once.timer"] {
        let judged = run("systemd-analyze", &["verify", "--man=no", &format!("./{name}")], dir.path());
        good(&judged);
        assert!(judged.stderr.is_empty(), "{name}: {}", String::from_utf8_lossy(&judged.stderr));
    }
    for name in ["dcv.service", "dcv-once.service"] {
        // 1.5 of 10: all but the network and what writing certificates takes.
        let unit = format!("./{name}");
        good(&run(
            "systemd-analyze",
            &["security", "--offline=yes", "--no-pager", "--threshold=15", &unit],
            dir.path(),
        ));
        // Every option that the unit gives is one that the program has.
        let text = fs::read_to_string(dir.path().join(name)).expect("a unit");
        let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("what is started");
        let arguments: Vec<&str> = start.split(' ').skip(1).chain(["--help"]).collect();
        good(&run(PROGRAM, &arguments, dir.path()));
    }
}

#[test]
fn the_debian_package_has_everything_in_its_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let programs = Path::new(PROGRAM).parent().expect("a folder").display().to_string();
    let into = dir.path().display().to_string();
    let script = format!("{PACKAGING}/deb/build");
    let built = good(&run(script, &["--programs", &programs, "--into", &into], dir.path()));
    let package = built.trim();
    let control = good(&run("dpkg-deb", &["--info", package], dir.path()));
    for part in ["Package: dcv", concat!("Version: ", env!("CARGO_PKG_VERSION")), "Depends: libc6 (>= 2.", "libgcc-s1"]
    {
        assert!(control.contains(part), "{part} in {control}");
    }
    // What it depends on is all that it is linked with.
    for line in good(&run("ldd", &[PROGRAM], dir.path())).lines() {
        let library = line.split_whitespace().next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        let known = ["linux-vdso", "ld-linux", "libc.", "libm.", "libgcc_s."];
        assert!(known.iter().any(|known| library.starts_with(known)), "{library} is of another package");
    }
    let root = dir.path().join("root");
    good(&run("dpkg-deb", &["--raw-extract", package, &root.display().to_string()], dir.path()));
    let mode = |path: &str| {
        let path = root.join(path);
        fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
    };
    for (path, expected) in [
        ("usr/bin/dcv", 0o755),
        ("usr/lib/systemd/system/dcv.service", 0o644),
        ("usr/lib/systemd/system/dcv-once.timer", 0o644),
        ("usr/lib/sysusers.d/dcv.conf", 0o644),
        ("etc/dcv/dcv.toml", 0o644),
        ("usr/share/man/man1/dcv.1.gz", 0o644),
        ("usr/share/man/man1/dcv-run.1.gz", 0o644),
        ("usr/share/bash-completion/completions/dcv", 0o644),
        ("usr/share/zsh/vendor-completions/_dcv", 0o644),
        ("usr/share/doc/dcv/copyright", 0o644),
        ("usr/share/doc/dcv/changelog.gz", 0o644),
        ("usr/share/doc/dcv/sbom.cdx.json", 0o644),
        ("usr/share/doc/dcv/third-party.md", 0o644),
        ("DEBIAN/postinst", 0o755),
        ("DEBIAN/prerm", 0o755),
    ] {
        assert_eq!(mode(path), expected, "{path}");
    }
    assert_eq!(fs::read_to_string(root.join("DEBIAN/conffiles")).expect("a list"), "/etc/dcv/dcv.toml\n");
    for script in ["postinst", "prerm"] {
        good(&run("sh", &["-n", &root.join("DEBIAN").join(script).display().to_string()], dir.path()));
    }
    // The program of the package takes the configuration of the package, but for the key, which is not there yet.
    let text = fs::read_to_string(root.join("etc/dcv/dcv.toml")).expect("a configuration");
    let config = dir.path().join("dcv.toml").display().to_string();
    // Not of this machine, which may have a journal of its own.
    fs::write(&config, text.replace("/var/lib/", &format!("{into}/")).replace("/etc/", &format!("{into}/")))
        .expect("a file");
    let planned = run(root.join("usr/bin/dcv"), &["--config", &config, "plan"], dir.path());
    let said = String::from_utf8_lossy(&planned.stderr).into_owned();
    assert!(planned.status.code() == Some(2) && said.contains("ca.key"), "{said}");
}

#[test]
fn the_bill_names_all_that_is_linked_with_its_license() {
    let dir = tempfile::tempdir().expect("a folder");
    let (sbom, licenses): (PathBuf, PathBuf) = (dir.path().join("sbom.json"), dir.path().join("licenses.md"));
    let arguments = ["--sbom", &sbom.display().to_string(), "--licenses", &licenses.display().to_string()];
    good(&run(format!("{PACKAGING}/bill"), &arguments, dir.path()));
    let bill: Value = serde_json::from_slice(&fs::read(&sbom).expect("a file")).expect("JSON");
    assert_eq!((bill["bomFormat"].as_str(), bill["specVersion"].as_str()), (Some("CycloneDX"), Some("1.6")));
    let components = bill["components"].as_array().expect("components");
    let refs: BTreeSet<&str> = components
        .iter()
        .chain([&bill["metadata"]["component"]])
        .map(|component| component["bom-ref"].as_str().expect("a reference"))
        .collect();
    assert_eq!(refs.len(), components.len() + 1, "no two of one reference");
    for component in components {
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
        let ours =
            ["dcv", "certcentral"].iter().any(|ours| component["name"].as_str().is_some_and(|n| n.starts_with(ours)));
        assert!(ours || component["hashes"][0]["content"].as_str().is_some_and(|sum| sum.len() == 64), "{component}");
    }
    for dependency in bill["dependencies"].as_array().expect("dependencies") {
        for one in dependency["dependsOn"].as_array().expect("a list").iter().chain([&dependency["ref"]]) {
            assert!(refs.contains(one.as_str().expect("text")), "{one} is no component");
        }
    }
    // The same as cargo's own tree.
    let tree =
        ["tree", "--locked", "--offline", "-e", "normal", "--target", "x86_64-unknown-linux-gnu", "--prefix", "none"];
    let tree = good(&run(env!("CARGO"), &tree, Path::new(env!("CARGO_MANIFEST_DIR"))));
    let linked: BTreeSet<String> = tree
        .lines()
        .filter_map(|line| line.split_once(" v"))
        .map(|(name, rest)| format!("pkg:cargo/{name}@{}", rest.split(' ').next().unwrap_or_default()))
        .collect();
    assert_eq!(refs.iter().map(ToString::to_string).collect::<BTreeSet<_>>(), linked);
    let report = fs::read_to_string(&licenses).expect("a report");
    assert!(report.contains("- ring 0.") && !report.contains("openssl-sys") && !report.contains("aws-lc"), "{report}");
}
