//! What the port answers, before, while and after a job runs.

#![expect(clippy::unwrap_used, reason = "a failure ends the test")]

use headwater::core::env::Env;
use headwater::log::Log;
use headwater::log::memory::MemoryLog;
use headwater::{
    Application, DataFrame, Host, Metrics, Phase, Result, RunOptions, Settings, StreamHost, col,
};
use headwater_gateway::Endpoint;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Status line and body of an answer.
fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.lines().next().unwrap_or_default().to_owned();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .expect("a length");
    if !request.starts_with("HEAD") {
        assert_eq!(length, body.len().to_string());
    }
    (status, body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
}

/// The samples of a text in Prometheus' format, held against its rules: every sample
/// belongs to a family that was announced before it, with help and type, once.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut families: BTreeMap<String, String> = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            let before = families.insert(name.to_owned(), kind.to_owned());
            assert_eq!(before, None, "twice: {line}");
        } else if line.starts_with("# HELP ") {
            assert!(line.starts_with("# HELP headwater_"), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let name = series.split('{').next().unwrap_or_default();
            let suffixes = ["_bucket", "_sum", "_count"];
            let family = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
            let is_known = families.contains_key(name)
                || family.is_some_and(|name| families.get(name).is_some_and(|k| k == "histogram"));
            assert!(is_known, "of no family: {line}");
            assert!(series.contains("application=\"job\""), "{line}");
            let before = samples.insert(series.to_owned(), value.parse().unwrap());
            assert_eq!(before, None, "twice: {line}");
        }
    }
    samples
}

/// Looks at the port when the run looks at its signals, and ends it then.
struct Looking {
    address: SocketAddr,
    looks: Mutex<u32>,
    seen: Mutex<Vec<(String, String)>>,
}

impl Host for Looking {
    fn check(&self) -> Result<bool> {
        let mut looks = self.looks.lock().unwrap();
        *looks += 1;
        if *looks < 20 {
            return Ok(false);
        }
        let mut seen = self.seen.lock().unwrap();
        for path in ["/livez", "/readyz", "/metrics"] {
            seen.push(get(self.address, path));
        }
        Ok(true)
    }
    fn print(&self, _text: &str) {}
    fn log(&self, _text: &str) {}
    fn spawn(
        &self,
        name: &str,
        work: Box<dyn FnOnce() + Send>,
    ) -> Result<Box<dyn FnOnce() + Send>> {
        StreamHost.spawn(name, work)
    }
}

#[test]
fn a_job_is_watched_while_it_runs() -> Result<()> {
    let log = MemoryLog::new(Env::system());
    let rows = [("k", r#"{"x":1}"#, 1_000), ("k", r#"{"x":2}"#, 2_500)];
    headwater::produce(&*log, "in", rows)?;
    let log: Arc<dyn Log> = log;
    let metrics = Metrics::default();
    let endpoint = Endpoint::open(0, metrics.clone(), Arc::clone(&log))?;
    let address = endpoint.address();
    assert_eq!(
        get(address, "/livez"),
        ("HTTP/1.1 200 OK".into(), "stopped\n".into())
    );
    let unready = (
        "HTTP/1.1 503 Service Unavailable".into(),
        "stopped\n".into(),
    );
    assert_eq!(get(address, "/readyz"), unready);

    let host = Arc::new(Looking {
        address,
        looks: Mutex::new(0),
        seen: Mutex::new(Vec::new()),
    });
    let settings = Settings {
        workers: Some(1),
        commit_interval: Some(Duration::from_millis(1)),
        ..Settings::new("job")
    };
    let shared = Arc::clone(&host) as Arc<dyn Host>;
    let mut application = Application::new(log, Env::system(), settings, shared);
    application.set_metrics(metrics.clone());
    // The operator's name has characters that the text must escape.
    let frame = DataFrame::topic("in").filter(col("x").eq("a\"\\\n") | col("x").gt(1));
    application.run_frames(&[frame], &RunOptions::default())?;
    let seen = host.seen.lock().unwrap();
    let running = ("HTTP/1.1 200 OK".to_owned(), "running\n".to_owned());
    assert_eq!(seen[..2], [running.clone(), running]);
    let found = samples(&seen[2].1);
    let of = |name: &str, labels: &str| {
        let series = format!("headwater_{name}{{application=\"job\"{labels}}}");
        *found
            .get(&series)
            .unwrap_or_else(|| panic!("no {series} in {}", seen[2].1))
    };
    let place = ",topic=\"in\",partition=\"0\"";
    assert_eq!(of("records_total", place), 2.0);
    assert_eq!(of("watermark_timestamp_seconds", place), 2.5);
    assert_eq!(of("committed_offset", place), 2.0);
    assert_eq!(of("phase", ",phase=\"running\""), 1.0);
    assert_eq!(of("phase", ",phase=\"stopped\""), 0.0);
    assert_eq!(
        of("operator_rows_in_total", ",node=\"0\",operator=\"read in\""),
        2.0
    );
    let commits = of("checkpoint_duration_seconds_count", "");
    assert_eq!(
        of("checkpoint_duration_seconds_bucket", ",le=\"+Inf\""),
        commits
    );
    assert!(2.0 <= commits);
    let filtered: Vec<_> = found
        .iter()
        .filter(|(series, _)| {
            series.contains("rows_filtered_total{") && series.contains("operator=\"filter")
        })
        .collect();
    assert_eq!(filtered.len(), 1);
    assert_eq!(*filtered[0].1, 1.0);
    assert!(filtered[0].0.contains(r#"\""#), "{filtered:?}");
    drop(seen);

    // After the run counts stay, and what is true of a moment goes.
    assert_eq!(metrics.snapshot().phase, Phase::Stopped);
    let after = samples(&get(address, "/metrics").1);
    assert!(
        after
            .keys()
            .any(|series| series.starts_with("headwater_records_total"))
    );
    assert!(
        !after
            .keys()
            .any(|series| series.starts_with("headwater_watermark"))
    );
    drop(endpoint);
    assert!(TcpStream::connect(address).is_err(), "the port is closed");
    Ok(())
}

#[test]
fn what_is_no_question_is_told_so() -> Result<()> {
    let log = MemoryLog::new(Env::system());
    let endpoint = Endpoint::open(0, Metrics::default(), log.clone())?;
    let address = endpoint.address();
    let status = |request: &str| ask(address, request).0;
    assert_eq!(
        status("GET /metric HTTP/1.1\r\n\r\n"),
        "HTTP/1.1 404 Not Found"
    );
    assert_eq!(
        status("POST /livez HTTP/1.1\r\n\r\n"),
        "HTTP/1.1 405 Method Not Allowed"
    );
    assert_eq!(status("\u{1}\u{2}\r\n\r\n"), "HTTP/1.1 400 Bad Request");
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(20_000));
    assert_eq!(status(&long), "HTTP/1.1 400 Bad Request");
    assert_eq!(
        status("GET /livez?verbose HTTP/1.1\r\n\r\n"),
        "HTTP/1.1 200 OK"
    );
    let head = ask(address, "HEAD /livez HTTP/1.1\r\n\r\n");
    assert_eq!(head, ("HTTP/1.1 200 OK".into(), String::new()));
    let accept =
        "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n";
    assert!(ask(address, accept).1.ends_with("# EOF\n"));
    // A client that says nothing keeps the others waiting for a moment only.
    let silent = TcpStream::connect(address)?;
    assert_eq!(status("GET /livez HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 OK");
    drop(silent);
    let taken = Endpoint::open(address.port(), Metrics::default(), log).unwrap_err();
    assert!(
        taken
            .to_string()
            .contains(&format!("port=`{}`", address.port())),
        "{taken}"
    );
    Ok(())
}
