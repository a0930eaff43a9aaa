//! What the program tells those who watch over it: lines of the log, spans of a trace, and systemd.

mod bench;

use std::{os::unix::net::UnixDatagram, time::Duration};

use bench::{Bench, run};
use serde_json::Value;

fn each_line(stderr: &str) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    stderr.lines().map(parse).collect()
}

/// What a line says of the spans it stands in.
fn of_spans<'l>(line: &'l Value, field: &str) -> Option<&'l Value> {
    line["spans"].as_array()?.iter().rev().find_map(|span| span.get(field))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_a_run_says_which_run_and_which_order_it_belongs_to() {
    let bench = Bench::start().await;
    let ran = bench.run("--log-format json -vv --quiet --json issue shop.example.com www.example.com --out new").await;
    assert!(ran.code == 2, "--verbose and --quiet exclude each other: {}", ran.all());
    let mut command = bench.dcv("--json --log-format json -vv issue shop.example.com www.example.com --out new");
    let ran = run(&mut command).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    let event = ran.json().into_iter().find(|line| line["event"] == "placed").expect("it was placed");
    let (run, order) = (event["run"].as_str().expect("a run"), event["order_id"].as_u64().expect("an order"));
    let lines = each_line(&ran.stderr);
    let mut placed = false;
    let mut with_order = 0;
    for line in &lines {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "{field} in {line}");
        }
        let Some(of_run) = of_spans(line, "run") else { continue };
        assert_eq!(of_run, run, "{line}");
        // From the answer to the order on, every line says the order.
        match of_spans(line, "order") {
            Some(found) => {
                assert_eq!(found.as_u64(), Some(order), "{line}");
                placed = true;
                with_order += 1;
            }
            None => assert!(!placed, "the order is lost again: {line}"),
        }
    }
    assert!(with_order >= 8, "{with_order} lines say the order, in\n{}", ran.stderr);
    // What is not of the run is what comes before it.
    let first = lines.iter().position(|line| of_spans(line, "run").is_some()).expect("lines of the run");
    for line in &lines[first..] {
        assert!(of_spans(line, "run").is_some(), "a line of no run: {line}");
    }
    let present = lines.iter().find(|line| of_spans(line, "verb").is_some_and(|verb| verb == "present"));
    assert!(present.is_none_or(|line| of_spans(line, "provider").is_some_and(|name| name == "corp")), "{present:?}");
    for secret in [bench::API_KEY, &String::from_utf8_lossy(bench::TSIG)] {
        assert!(!ran.stderr.contains(secret), "a secret is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_that_the_keeper_is_ready_and_lives_and_ends() {
    let bench = Bench::start().await;
    let text = format!("{}[certificate.shop]\nnames = [\"shop.example.com\"]\nout = \"shop\"\n", bench.configuration());
    bench.write("dcv.toml", &text);
    let socket = UnixDatagram::bind(bench.path("notify")).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    let mut command = bench.dcv("run");
    command.env("NOTIFY_SOCKET", bench.path("notify")).env("WATCHDOG_USEC", "200000");
    let mut child = command.spawn().expect("it starts");
    let hear = async || {
        let socket = socket.try_clone().expect("a socket");
        let heard = tokio::task::spawn_blocking(move || {
            let mut buffer = [0; 256];
            let length = socket.recv(&mut buffer).expect("systemd is told");
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        });
        heard.await.expect("heard")
    };
    assert_eq!(hear().await, "READY=1");
    assert_eq!(hear().await, "WATCHDOG=1");
    let pid =
        i32::try_from(child.id().expect("it runs")).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told");
    while hear().await != "STOPPING=1" {}
    assert_eq!(child.wait().await.expect("ended").code(), Some(130));
}

#[cfg(feature = "otel")]
mod traces {
    use std::{
        collections::BTreeMap,
        sync::{Arc, Mutex},
    };

    use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};

    use super::*;

    /// A field of a protobuf message: its number, and what it holds.
    enum Field<'b> {
        Number(u64),
        Bytes(&'b [u8]),
    }

    /// Reads a message of the wire format, as far as OTLP uses it.
    fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
        fn varint(bytes: &mut &[u8]) -> u64 {
            let mut number = 0;
            for shift in (0..64).step_by(7) {
                let (byte, rest) = bytes.split_first().expect("a whole number");
                *bytes = rest;
                number |= u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    return number;
                }
            }
            panic!("no number is that long");
        }
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let field = match tag & 7 {
                0 => Field::Number(varint(&mut bytes)),
                1 | 5 => {
                    let (fixed, rest) = bytes.split_at(if tag & 7 == 1 { 8 } else { 4 });
                    bytes = rest;
                    Field::Bytes(fixed)
                }
                2 => {
                    let length = usize::try_from(varint(&mut bytes)).expect("a length");
                    let (inner, rest) = bytes.split_at(length);
                    bytes = rest;
                    Field::Bytes(inner)
                }
                other => panic!("no wire type is {other}"),
            };
            found.push((tag >> 3, field));
        }
        found
    }

    fn messages(bytes: &[u8], number: u64) -> Vec<&[u8]> {
        let of_number = fields(bytes).into_iter().filter(|(found, _)| *found == number);
        of_number.filter_map(|(_, field)| if let Field::Bytes(inner) = field { Some(inner) } else { None }).collect()
    }

    fn text(bytes: &[u8], number: u64) -> String {
        messages(bytes, number).first().map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
    }

    #[derive(Clone, Debug)]
    struct Span {
        trace: Vec<u8>,
        id: Vec<u8>,
        parent: Vec<u8>,
        name: String,
        attributes: BTreeMap<String, String>,
    }

    /// `KeyValue`s: texts and whole numbers.
    fn attributes(bytes: &[u8], number: u64) -> BTreeMap<String, String> {
        let value = |value: &[u8]| match fields(value).into_iter().next() {
            Some((1, Field::Bytes(text))) => String::from_utf8_lossy(text).into_owned(),
            Some((3, Field::Number(number))) => number.to_string(),
            _ => String::new(),
        };
        let pairs = messages(bytes, number).into_iter();
        pairs
            .map(|pair| (text(pair, 1), messages(pair, 2).first().map(|found| value(found)).unwrap_or_default()))
            .collect()
    }

    /// The spans of `ExportTraceServiceRequest`s, and the names of services.
    fn spans(bodies: &[Bytes]) -> (Vec<Span>, Vec<String>) {
        let mut found = Vec::new();
        let mut services = Vec::new();
        for body in bodies {
            for of_resource in messages(body, 1) {
                services.extend(messages(of_resource, 1).iter().map(|one| attributes(one, 1)["service.name"].clone()));
                let scopes = messages(of_resource, 2);
                let all = scopes.iter().flat_map(|scope| messages(scope, 2));
                found.extend(all.map(|span| Span {
                    trace: messages(span, 1)[0].to_vec(),
                    id: messages(span, 2)[0].to_vec(),
                    parent: messages(span, 4).first().map(|id| id.to_vec()).unwrap_or_default(),
                    name: text(span, 5),
                    attributes: attributes(span, 9),
                }));
            }
        }
        (found, services)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_run_is_one_trace_with_a_span_for_each_step() {
        type Got = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;
        let got = Got::default();
        let take = async |State(got): State<Got>, headers: HeaderMap, body: Bytes| {
            got.lock().expect("unharmed").push((headers, body));
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let app = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&got));
        let receiver = tokio::spawn(async move { axum::serve(listener, app).await });

        let bench = Bench::start().await;
        let mut command = bench.dcv("--json issue shop.example.com www.example.com --out new");
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"));
        command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=ours");
        let ran = run(&mut command).await;
        assert_eq!(ran.code, 0, "{}", ran.all());
        let placed = ran.json().into_iter().find(|line| line["event"] == "placed").expect("it was placed");

        let got = std::mem::take(&mut *got.lock().expect("unharmed"));
        assert!(!got.is_empty(), "nothing was sent: {}", ran.stderr);
        for (headers, _) in &got {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            assert_eq!(headers["x-tenant"], "ours");
        }
        let bodies: Vec<Bytes> = got.into_iter().map(|(_, body)| body).collect();
        let (spans, services) = spans(&bodies);
        assert!(services.iter().all(|service| service == "dcv"), "{services:?}");
        let roots: Vec<&Span> = spans.iter().filter(|span| span.parent.is_empty()).collect();
        let [root] = roots[..] else { panic!("not one root: {roots:?}") };
        assert_eq!(root.name, "run");
        assert_eq!(Value::from(root.attributes["run"].as_str()), placed["run"]);
        assert_eq!(root.attributes["order"], placed["order_id"].to_string());
        assert_eq!(root.attributes["outcome"], "issued");
        assert!(spans.iter().all(|span| span.trace == root.trace), "one trace");
        let find = |name: &str| {
            spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no `{name}`: {spans:#?}"))
        };
        for step in ["order", "challenge", "proof", "propagation", "check", "download", "store", "retract"] {
            assert_eq!(find(step).parent, root.id, "{step}");
        }
        let of_proof = find("proof");
        let call = spans.iter().find(|span| span.name == "provider" && span.parent == of_proof.id).expect("a call");
        assert_eq!((call.attributes["provider"].as_str(), call.attributes["verb"].as_str()), ("corp", "present"));
        let all: Vec<u8> = bodies.concat();
        let holds = |part: &[u8]| all.windows(part.len()).any(|window| window == part);
        assert!(!holds(bench::API_KEY.as_bytes()) && !holds(bench::TSIG), "a secret is in the trace");
        receiver.abort();

        // Where nobody listens, the run is none the worse.
        let mut command = bench.dcv("--json issue mail.example.com --out other");
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"));
        let ran = run(&mut command).await;
        assert_eq!(ran.code, 0, "{}", ran.all());
    }
}
