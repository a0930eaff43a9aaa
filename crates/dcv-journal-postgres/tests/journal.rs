//! The suite of all journals on a real PostgreSQL, and what is special about this one: who may connect, and how.

use std::sync::Arc;

use dcv_core::{
    RunId,
    journal::{Journal, Which, conformance},
};
use dcv_journal_postgres::PostgresJournal;
use dcv_tests::postgres::{PASSWORD, Postgres};
use futures_util::{FutureExt, future::join_all};
use jiff::Timestamp;

async fn begin_one(journal: &PostgresJournal) -> RunId {
    let run = RunId::new(Timestamp::now());
    journal.begin(&run, &conformance::planned(None, None)).await.expect("begun");
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn it_behaves_as_every_journal_does() {
    let server = Postgres::start();
    let url = server.url();
    let open = || {
        let url = url.clone();
        async move { Arc::new(PostgresJournal::connect(&url).await.expect("it connects")) as Arc<dyn Journal> }.boxed()
    };
    conformance::run(&open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_workers_that_start_at_once_make_the_tables_once() {
    let server = Postgres::start();
    let url = server.url();
    let journals = join_all((0..10).map(|_| PostgresJournal::connect(&url))).await;
    let runs: Vec<RunId> =
        join_all(journals.iter().map(|journal| begin_one(journal.as_ref().expect("it connects")))).await;
    assert_eq!(server.psql("SELECT count(*), max(version) FROM dcv_journal"), Ok("1|1".to_owned()));
    assert_eq!(server.psql("SELECT count(*) FROM dcv_run"), Ok(runs.len().to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn later_workers_need_only_read_and_write() {
    let server = Postgres::start();
    PostgresJournal::connect(&server.url()).await.expect("the first makes the tables");
    server
        .psql(
            "CREATE USER worker; REVOKE ALL ON SCHEMA public FROM public; GRANT USAGE ON SCHEMA public TO worker;
             GRANT SELECT ON dcv_journal TO worker; GRANT SELECT, INSERT, UPDATE ON dcv_run, dcv_entry TO worker;",
        )
        .expect("a user");
    let journal = PostgresJournal::connect(&server.url().replace("dcv@", "worker@")).await.expect("it connects");
    let run = begin_one(&journal).await;
    journal.settle().await;
    journal.claim(&run).await.expect("claimed");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_a_newer_version_and_tables_of_others_are_left_alone() {
    let server = Postgres::start();
    PostgresJournal::connect(&server.url()).await.expect("it connects");
    server.psql("UPDATE dcv_journal SET version = 99").expect("changed");
    let error = PostgresJournal::connect(&server.url()).await.expect_err("it is newer").to_string();
    assert!(error.contains("written by a newer dcv") && error.contains("99"), "{error}");
    server.psql("DELETE FROM dcv_journal").expect("changed");
    let error = PostgresJournal::connect(&server.url()).await.expect_err("it is none").to_string();
    assert!(error.contains("no journal of dcv"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_its_own_is_a_parameter_of_the_url() {
    let server = Postgres::start();
    server.psql("CREATE SCHEMA elsewhere").expect("a schema");
    let url = format!("{}?options=-c%20search_path%3Delsewhere", server.url());
    begin_one(&PostgresJournal::connect(&url).await.expect("it connects")).await;
    assert_eq!(server.psql("SELECT count(*) FROM elsewhere.dcv_run"), Ok("1".to_owned()));
    let elsewhere = PostgresJournal::connect(&server.url()).await.expect("it connects");
    assert!(elsewhere.runs(Which::All).await.expect("listed").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_opens_and_is_never_shown() {
    let server = Postgres::start();
    let good = server.url_with_password();
    let journal = PostgresJournal::connect(&good).await.expect("it connects");
    assert!(!format!("{journal:?}").contains(PASSWORD));
    let without = good.replace(&format!(":{PASSWORD}"), "");
    let options = PostgresJournal::at(&without).expect("a URL");
    assert!(!options.has_password());
    options.password(&PASSWORD.into()).connect().await.expect("it connects");

    let wrong = good.replace(PASSWORD, "planted-wrong");
    let gone = good.replace(&server.port().to_string(), "1");
    for (url, part) in [(wrong, "password authentication failed"), (without, "password"), (gone, "refused")] {
        let error = PostgresJournal::connect(&url).await.expect_err(part).to_string();
        assert!(error.contains(part) && error.contains("postgres://127.0.0.1:"), "{error}");
        assert!(!error.contains("planted"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_reach_the_disk_whatever_the_servers_default_is() {
    let server = Postgres::with(&["fsync=off", "synchronous_commit=off"]);
    let journal = PostgresJournal::connect(&server.url()).await.expect("it connects");
    server
        .psql(
            "CREATE TABLE seen (setting text);
             CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$;
             CREATE TRIGGER see BEFORE INSERT ON dcv_entry FOR EACH ROW EXECUTE FUNCTION see();",
        )
        .expect("a witness");
    begin_one(&journal).await;
    assert_eq!(server.psql("SELECT setting FROM seen"), Ok("on".to_owned()));
}

struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: rcgen::Issuer::new(params, key), pem }
    }

    fn issue(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        (params.signed_by(&key, &self.issuer).expect("a certificate").pem(), key.serialize_pem())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_verified() {
    let server = Postgres::start();
    let (ours, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let (trusted, untrusted) = (file("ours.pem", &ours.pem), file("other.pem", &other.pem));
    let base = server.url_with_password().replace("127.0.0.1", "localhost");
    let connect = async |parameters: &str| {
        let journal = PostgresJournal::connect(&format!("{base}?{parameters}")).await.map_err(|e| e.to_string())?;
        begin_one(&journal).await;
        Ok::<_, String>(journal)
    };

    let refused = connect(&format!("sslmode=require&sslrootcert={trusted}")).await.expect_err("it speaks no TLS");
    assert!(refused.to_lowercase().contains("tls"), "{refused}");
    let speak = |name: &str| {
        let (certificate, key) = ours.issue(name);
        server.give("server.crt", &certificate);
        server.give("server.key", &key);
        let folder = server.path("").display().to_string();
        for setting in [
            "ssl = on".to_owned(),
            format!("ssl_cert_file = '{folder}server.crt'"),
            format!("ssl_key_file = '{folder}server.key'"),
        ] {
            server.psql(&format!("ALTER SYSTEM SET {setting}")).expect("set");
        }
        // A reload is told by a signal and done later; a new start has read it all.
        server.stop(dcv_tests::postgres::Stop::Fast);
        server.go_on();
    };
    speak("localhost");
    let journal = connect(&format!("sslmode=require&sslrootcert={trusted}")).await.expect("it is trusted");
    assert_ne!(server.psql("SELECT count(*) FROM pg_stat_ssl WHERE ssl"), Ok("0".to_owned()));
    drop(journal);
    for mode in ["require", "verify-ca", "verify-full"] {
        let error = connect(&format!("sslmode={mode}&sslrootcert={untrusted}")).await.expect_err("not trusted");
        assert!(error.contains("certificate") && !error.contains(PASSWORD), "{error}");
        let error = connect(&format!("sslmode={mode}")).await.expect_err("the system does not trust it either");
        assert!(error.contains("certificate"), "{error}");
    }
    connect("sslmode=disable").await.expect("without");
    speak("elsewhere.example.com");
    let error = connect(&format!("sslmode=verify-full&sslrootcert={trusted}")).await.expect_err("another's name");
    assert!(error.contains("certificate"), "{error}");
}
