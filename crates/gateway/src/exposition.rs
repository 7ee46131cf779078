//! Metrics as text: names and units by Prometheus' conventions.

use headwater::{COMMIT_BUCKETS, OperatorMetrics, PartitionMetrics, Phase, Snapshot};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;

/// The two forms that collectors read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Prometheus,
    OpenMetrics,
}

impl Form {
    /// The form that a request asks for.
    pub(crate) fn of(accept: &str) -> Form {
        match accept.contains("application/openmetrics-text") {
            true => Form::OpenMetrics,
            false => Form::Prometheus,
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Form::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The text of a snapshot.
pub(crate) fn text_of(snapshot: Snapshot, form: Form) -> String {
    let application = ("application".into(), snapshot.application.clone().into());
    let labels = std::iter::once(application);
    let mut registry = Registry::with_prefix_and_labels("headwater", labels);
    registry.register_collector(Box::new(Shown(snapshot)));
    let mut text = String::new();
    let written = match form {
        Form::Prometheus => prometheus_text::encode(&mut text, &registry),
        Form::OpenMetrics => text::encode(&mut text, &registry),
    };
    written.expect("writing to a string does not fail");
    text
}

#[derive(Debug)]
struct Shown(Snapshot);

type OperatorCount = (&'static str, &'static str, fn(&OperatorMetrics) -> u64);
const OPERATOR_COUNTS: [OperatorCount; 8] = [
    ("rows_in", "Rows that came in", |known| known.rows_in),
    ("rows_out", "Rows that went on", |known| known.rows_out),
    ("rows_filtered", "Rows left out on purpose", |known| {
        known.filtered
    }),
    (
        "rows_expanded",
        "Rows made beyond one for each that came in",
        |known| known.expanded,
    ),
    (
        "rows_absorbed",
        "Rows that became part of a window or left for a repartition topic",
        |known| known.absorbed,
    ),
    ("rows_emitted", "Results of windows", |known| known.emitted),
    ("rows_late", "Rows late for all their windows", |known| {
        known.late
    }),
    ("rows_failed", "Rows that could not be processed", |known| {
        known.failed
    }),
];

type PartitionCount = (&'static str, &'static str, fn(&PartitionMetrics) -> u64);
const PARTITION_COUNTS: [PartitionCount; 4] = [
    ("records", "Records read", |known| known.records_in),
    (
        "records_late",
        "Records late for all their windows",
        |known| known.late,
    ),
    (
        "records_skipped",
        "Records left out because they could not be processed",
        |known| known.skipped,
    ),
    (
        "records_dead_lettered",
        "Records sent to the dead-letter topic",
        |known| known.dead_lettered,
    ),
];

type PartitionGauge = (
    &'static str,
    &'static str,
    Option<Unit>,
    fn(&PartitionMetrics) -> Option<f64>,
);
const PARTITION_GAUGES: [PartitionGauge; 3] = [
    (
        "lag_records",
        "Records between the committed position and the end of the partition",
        None,
        |known| Some(known.lag? as f64),
    ),
    (
        "committed_offset",
        "The offset from which reading resumes after a restart",
        None,
        |known| Some(known.position?.offset()? as f64),
    ),
    (
        "watermark_timestamp",
        "The event time before which no more records are expected",
        Some(Unit::Seconds),
        |known| Some(known.watermark_ms? as f64 / 1_000.0),
    ),
];

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        self.encode_run(out)?;
        self.encode_operators(out)?;
        self.encode_partitions(out)?;
        self.encode_restores(out)
    }
}

impl Shown {
    fn encode_run(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let run = &self.0;
        let mut phases = gauge(out, "phase", "What the run is doing", None)?;
        for phase in Phase::ALL {
            let value = i64::from(phase == run.phase);
            each(
                &mut phases,
                &[("phase", phase.name())],
                &ConstGauge::new(value),
            )?;
        }
        counter(out, "records_appended", "Records appended to topics")?
            .encode_counter::<NoLabelSet, _, u64>(&run.records_out, None)?;
        counter(
            out,
            "restarts",
            "Times that the run began again because of trouble",
        )?
        .encode_counter::<NoLabelSet, _, u64>(&run.restarts, None)?;
        let mut turns = counter(out, "worker_turns", "Turns of a worker: polls and steps")?;
        for (worker, count) in run.turns.iter().enumerate() {
            let worker = worker.to_string();
            each(
                &mut turns,
                &[("worker", worker.as_str())],
                &ConstCounter::new(*count),
            )?;
        }
        let bounds = COMMIT_BUCKETS.iter().map(|bound| bound.as_secs_f64());
        let mut buckets: Vec<(f64, u64)> = bounds.zip(run.commits.buckets).collect();
        let in_buckets: u64 = run.commits.buckets.iter().sum();
        buckets.push((f64::INFINITY, run.commits.count - in_buckets));
        let help = "How long a checkpoint took";
        let kind = MetricType::Histogram;
        out.encode_descriptor("checkpoint_duration", help, Some(&Unit::Seconds), kind)?
            .encode_histogram::<NoLabelSet>(
                run.commits.total.as_secs_f64(),
                run.commits.count,
                &buckets,
                None,
            )
    }

    fn encode_operators(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, count) in OPERATOR_COUNTS {
            let name = format!("operator_{name}");
            let mut family = counter(out, &name, help)?;
            for operator in &self.0.operators {
                let node = operator.node.to_string();
                let labels = [
                    ("node", node.as_str()),
                    ("operator", operator.name.as_str()),
                ];
                each(&mut family, &labels, &ConstCounter::new(count(operator)))?;
            }
        }
        Ok(())
    }

    fn encode_partitions(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, count) in PARTITION_COUNTS {
            let mut family = counter(out, name, help)?;
            for known in &self.0.partitions {
                let number = known.partition.partition.to_string();
                let labels = [("topic", &*known.partition.topic), ("partition", &number)];
                each(&mut family, &labels, &ConstCounter::new(count(known)))?;
            }
        }
        for (name, help, unit, value) in &PARTITION_GAUGES {
            let mut family = gauge(out, name, help, unit.as_ref())?;
            let assigned = self.0.partitions.iter().filter(|known| known.is_assigned);
            for known in assigned {
                let number = known.partition.partition.to_string();
                let labels = [("topic", &*known.partition.topic), ("partition", &number)];
                if let Some(value) = value(known) {
                    each(&mut family, &labels, &ConstGauge::new(value))?;
                }
            }
        }
        Ok(())
    }

    fn encode_restores(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for is_remaining in [false, true] {
            let (name, help) = match is_remaining {
                false => (
                    "restored_records",
                    "Changelog records applied by this restore",
                ),
                true => (
                    "restore_remaining_records",
                    "Changelog offsets that this restore has still to read",
                ),
            };
            let mut family = gauge(out, name, help, None)?;
            for restore in &self.0.restores {
                let number = restore.changelog.partition.to_string();
                let labels = [("topic", &*restore.changelog.topic), ("partition", &number)];
                let value = match is_remaining {
                    false => Some(restore.records),
                    true => restore.remaining,
                };
                if let Some(value) = value {
                    each(&mut family, &labels, &ConstGauge::new(value as f64))?;
                }
            }
        }
        Ok(())
    }
}

fn counter<'s>(
    out: &'s mut DescriptorEncoder<'_>,
    name: &'s str,
    help: &str,
) -> Result<MetricEncoder<'s>, fmt::Error> {
    out.encode_descriptor(name, help, None, MetricType::Counter)
}

fn gauge<'s>(
    out: &'s mut DescriptorEncoder<'_>,
    name: &'s str,
    help: &str,
    unit: Option<&'s Unit>,
) -> Result<MetricEncoder<'s>, fmt::Error> {
    out.encode_descriptor(name, help, unit, MetricType::Gauge)
}

/// One number of a family.
fn each(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str)],
    value: &impl EncodeMetric,
) -> fmt::Result {
    value.encode(family.encode_family(&labels)?)
}
