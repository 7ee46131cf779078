//! The promises of a state store, kept by the store of a window.

mod window_support;

use headwater_core::env::Env;
use headwater_core::{Batch, RecordsBuilder, Rows, TimestampMs, TopicPartition};
use headwater_operators::{Functions, Operator, Step, StepTimes, Window};
use headwater_plan::AggregateFunction;
use headwater_state::StateStore;
use headwater_state::conformance::{Seed, Setup, Subject, run_seeds};
use window_support::{aggregate, hopping};

struct Windows {
    window: Window,
}

impl Subject for Windows {
    fn new() -> Self {
        let mut spec = hopping(20, 10);
        (spec.key_timeout_ms, spec.key_retention_ms, spec.grace_ms) = (60, 200, 5);
        spec.aggregates
            .push(aggregate("all", AggregateFunction::Collect));
        let window = Window::new(&spec, &Functions::default(), "telemetry");
        Windows {
            window: window.expect("the window is sound"),
        }
    }

    fn store(&mut self) -> &mut dyn StateStore {
        self.window.store().expect("a window has a store")
    }

    fn act(&mut self, seed: &mut Seed, now: TimestampMs) -> String {
        let mut records = RecordsBuilder::default();
        for _ in 0..1 + seed.below(3) {
            let key = format!("key-{}", seed.below(12));
            let value = format!("{{\"v\":{}}}", seed.below(9));
            let time = now - seed.below(30) as i64;
            records.push(Some(key.as_bytes()), Some(value.as_bytes()), time, None);
        }
        let batch = Batch::from_records(&records.finish());
        let times = StepTimes {
            before: now,
            after: vec![now; batch.len()],
        };
        let (mut keyed, partition) = (Default::default(), TopicPartition::new("t", 0));
        let mut step = Step::new(&times, &mut keyed, &partition);
        let mut words = String::new();
        for out in [
            self.window.process(batch, &mut step).expect("goes on"),
            self.window.advance(&mut step).expect("goes on"),
        ]
        .into_iter()
        .flatten()
        {
            let Rows::Json(mut rows) = out.rows else {
                panic!("results are JSON rows")
            };
            rows.prepare_to_write();
            for row in 0..out.keys.len() {
                let mut text = Vec::new();
                rows.write_row(row, &mut text).expect("writes");
                words += &format!("{:?} {}\n", out.keys.get(row), text.escape_ascii());
            }
        }
        words
    }
}

fn check(memory_max: Option<usize>, first: u64, count: u64) {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let folder = folder.expect("a folder");
    let setup = Setup {
        env: &Env::system(),
        folder: folder.path(),
        memory_max,
        epochs: 40,
    };
    run_seeds::<Windows>(&setup, first, count);
}

#[test]
fn a_window_store_in_memory_keeps_its_promises() {
    check(None, 0, 60);
}

#[test]
fn a_window_store_that_spills_some_keeps_its_promises() {
    check(Some(3_000), 1_000, 60);
}

#[test]
fn a_window_store_with_hardly_any_memory_keeps_its_promises() {
    check(Some(1), 2_000, 60);
}
