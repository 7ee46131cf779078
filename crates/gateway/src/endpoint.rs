//! The port that answers.

use crate::exposition::{Form, text_of};
use crate::liveness::{Liveness, STUCK_AFTER};
use headwater::core::env::{Clock, Env};
use headwater::log::Log;
use headwater::{Error, Metrics, Phase, Result};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// The longest that one client may take to ask, and then to listen.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a port at which nobody can be let in is left alone.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// The longest request.
const REQUEST_BYTES_MAX: usize = 8 << 10;
const HEADERS_MAX: usize = 64;
/// How much more than its request a client may say, in KiB.
const HEARD_KIB_MAX: usize = 64;
/// How often the log is asked how many records wait.
const LAG_INTERVAL: Duration = Duration::from_secs(5);

/// Answers `/livez`, `/readyz` and `/metrics` on the loopback interface until it is
/// dropped.
///
/// # Examples
///
/// ```
/// use headwater::{Application, Settings, core::env::Env, log::memory::MemoryLog};
/// use headwater_gateway::Endpoint;
///
/// # fn main() -> headwater::Result<()> {
/// let log = MemoryLog::new(Env::system());
/// let application = Application::in_process(log.clone(), Settings::new("alerts"));
/// let endpoint = Endpoint::open(0, application.metrics(), log)?;
/// assert!(endpoint.address().ip().is_loopback());
/// // application.run(...) meanwhile
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    is_closing: Arc<AtomicBool>,
    answers: Option<JoinHandle<()>>,
    /// Dropped to end the thread that asks for lags; nobody waits for it, because a log
    /// that is gone may keep it for seconds.
    _asks: Sender<()>,
}

impl Endpoint {
    /// Begins to answer on a port; 0 takes a free one.
    ///
    /// # Errors
    /// `Invalid` if the port cannot be had.
    pub fn open(port: u16, metrics: Metrics, log: Arc<dyn Log>) -> Result<Endpoint> {
        let refused = |error: std::io::Error| {
            Error::invalid(format!(
                "the metrics port cannot be opened; take another one, or 0 for any: {error} \
                 port=`{port}`"
            ))
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let is_closing = Arc::new(AtomicBool::new(false));
        let (closing, own) = (Arc::clone(&is_closing), metrics.clone());
        let answers = std::thread::Builder::new()
            .name("headwater-endpoint".into())
            .spawn(move || serve(&listener, &own, &closing))?;
        let (asks, ended) = channel::<()>();
        std::thread::Builder::new()
            .name("headwater-lag".into())
            .spawn(move || {
                // What cannot be looked up is not shown; the run says what is wrong.
                let _ = metrics.look_up_lag(&*log);
                while ended.recv_timeout(LAG_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    let _ = metrics.look_up_lag(&*log);
                }
            })?;
        Ok(Endpoint {
            address,
            is_closing,
            answers: Some(answers),
            _asks: asks,
        })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.is_closing.store(true, Ordering::Release);
        // Wakes the thread that waits for a client.
        let is_awake = TcpStream::connect_timeout(&self.address, CLIENT_TIMEOUT).is_ok();
        if let Some(answers) = self.answers.take().filter(|_| is_awake) {
            // It has panicked or ended; either way it is over.
            let _ = answers.join();
        }
    }
}

fn serve(listener: &TcpListener, metrics: &Metrics, is_closing: &AtomicBool) {
    let clock = Env::system().clock;
    let mut liveness = Liveness::default();
    for client in listener.incoming() {
        if is_closing.load(Ordering::Acquire) {
            return;
        }
        let Ok(mut client) = client else {
            // It went away, or the process has no descriptor left for it.
            clock.sleep(REFUSED_PAUSE);
            continue;
        };
        let until = clock.monotonic() + CLIENT_TIMEOUT;
        if let Some(asked) = read_request(&mut client, &*clock, until) {
            let response = answer(&asked, metrics, &mut liveness, clock.monotonic());
            let until = clock.monotonic() + CLIENT_TIMEOUT;
            if client.write_all(&response.into_bytes()).is_ok() {
                hang_up(&mut client, &*clock, until);
            }
        }
    }
}

/// Reads what a client says next; 0 bytes if it has nothing more to say, or says nothing
/// until then. However slowly it speaks, the others are kept waiting for no longer.
fn listen(client: &mut TcpStream, part: &mut [u8], clock: &dyn Clock, until: Duration) -> usize {
    let left = until.saturating_sub(clock.monotonic());
    if left.is_zero() || client.set_read_timeout(Some(left)).is_err() {
        return 0;
    }
    client.read(part).unwrap_or(0)
}

/// Closes a connection so that the answer arrives: what a client still says is heard
/// first, because a system takes back what it has sent if something was never read.
fn hang_up(client: &mut TcpStream, clock: &dyn Clock, until: Duration) {
    let mut part = [0; 1 << 10];
    let mut is_open = client.shutdown(Shutdown::Write).is_ok();
    for _ in 0..HEARD_KIB_MAX {
        is_open = is_open && 0 < listen(client, &mut part, clock, until);
    }
}

/// What a client asks for.
#[derive(Debug)]
struct Asked {
    method: String,
    path: String,
    accept: String,
}

/// Reads a request; `None` if none comes in time. One that is malformed asks for nothing.
fn read_request(client: &mut TcpStream, clock: &dyn Clock, until: Duration) -> Option<Asked> {
    client.set_write_timeout(Some(CLIENT_TIMEOUT)).ok()?;
    let (mut bytes, mut part) = (Vec::new(), [0; 1 << 10]);
    loop {
        let count = listen(client, &mut part, clock, until);
        if count == 0 {
            return None;
        }
        bytes.extend_from_slice(&part[..count]);
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&bytes) {
            Ok(httparse::Status::Partial) if bytes.len() < REQUEST_BYTES_MAX => {}
            Ok(httparse::Status::Complete(_)) => {
                let accept = request.headers.iter();
                let accept = accept.filter(|header| header.name.eq_ignore_ascii_case("accept"));
                let accept = accept.map(|header| String::from_utf8_lossy(header.value));
                let path = request.path.unwrap_or_default();
                return Some(Asked {
                    method: request.method.unwrap_or_default().to_owned(),
                    path: path.split('?').next().unwrap_or_default().to_owned(),
                    accept: accept.collect::<Vec<_>>().join(","),
                });
            }
            _ => {
                return Some(Asked {
                    method: String::new(),
                    path: String::new(),
                    accept: String::new(),
                });
            }
        }
    }
}

/// An answer: its status, what it is, and its text.
struct Response {
    status: &'static str,
    content_type: &'static str,
    body: String,
    is_head: bool,
}

impl Response {
    fn plain(status: &'static str, body: impl Into<String>) -> Response {
        Response {
            status,
            content_type: "text/plain; charset=utf-8",
            body: body.into() + "\n",
            is_head: false,
        }
    }

    fn into_bytes(self) -> Vec<u8> {
        let body = if self.is_head { "" } else { &self.body };
        format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\
             Cache-Control: no-store\r\n\r\n{body}",
            self.status,
            self.content_type,
            self.body.len()
        )
        .into_bytes()
    }
}

fn answer(asked: &Asked, metrics: &Metrics, liveness: &mut Liveness, now: Duration) -> Response {
    let mut response = match (asked.method.as_str(), asked.path.as_str()) {
        ("", _) => Response::plain("400 Bad Request", "this is no request"),
        ("GET" | "HEAD", "/livez") => livez(metrics, liveness, now),
        ("GET" | "HEAD", "/readyz") => readyz(metrics),
        ("GET" | "HEAD", "/metrics") => {
            let form = Form::of(&asked.accept);
            Response {
                status: "200 OK",
                content_type: form.content_type(),
                body: text_of(metrics.snapshot(), form),
                is_head: false,
            }
        }
        ("GET" | "HEAD", _) => {
            Response::plain("404 Not Found", "there are /livez, /readyz and /metrics")
        }
        _ => Response::plain("405 Method Not Allowed", "there is only GET"),
    };
    response.is_head = asked.method == "HEAD";
    response
}

fn livez(metrics: &Metrics, liveness: &mut Liveness, now: Duration) -> Response {
    let snapshot = metrics.snapshot();
    match liveness.stuck(&snapshot, now) {
        None => Response::plain("200 OK", snapshot.phase.name()),
        Some(worker) => Response::plain(
            "503 Service Unavailable",
            format!(
                "a worker has not moved for {} s worker=`{worker}`",
                STUCK_AFTER.as_secs()
            ),
        ),
    }
}

fn readyz(metrics: &Metrics) -> Response {
    let snapshot = metrics.snapshot();
    match snapshot.phase {
        Phase::Running => Response::plain("200 OK", "running"),
        phase => Response::plain("503 Service Unavailable", phase.name()),
    }
}
