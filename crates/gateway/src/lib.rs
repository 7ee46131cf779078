//! What answers over HTTP about a running application: whether it lives, whether it is
//! ready, and its metrics.
//!
//! ```text
//! GET /livez     200 while every worker moves, else 503        for restarts
//! GET /readyz    200 once assigned, restored and running       for traffic and rollouts
//! GET /metrics   text for Prometheus, or OpenMetrics if asked  for dashboards
//! ```
//!
//! The key decision: **this is no web server.** It answers one small request at a time
//! on the loopback interface, on a thread of its own, and touches the application only
//! through its [`Metrics`]; so it can neither slow a worker down nor wait for one.
//! Requests are parsed by `httparse`, text is written by `prometheus-client`.
//!
//! How many records wait is for the log to say, which may be gone for minutes: a second
//! thread asks it now and then, and `/metrics` shows the last answer.

mod endpoint;
mod exposition;
mod liveness;

pub use endpoint::Endpoint;
#[doc(no_inline)]
pub use headwater::Metrics;
