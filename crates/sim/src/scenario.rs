//! A scenario as a file, for the model in Python.
//!
//! A program of one pipeline, its input, and what the model here says must come out.
//! `python/tests/test_scenarios.py` runs the same program through the Python package
//! and computes the same in a model of its own: so two models, written in two
//! languages, and two faces of the engine are held against each other.

use crate::oracle::{Model, Record};
use crate::script::{Loading, Script, probes};
use crate::topology::Step;
use crate::world::WALL_MS;
use serde_json::{Value as Json, json};

/// The scenario of a script, if its program can be told in a file: one pipeline without
/// side outputs.
pub fn scenario(script: &Script) -> Option<Json> {
    let segments = script.topology.segments();
    let [segment] = segments.as_slice() else {
        return None;
    };
    let steps: Option<Vec<Json>> = segment.steps.iter().map(step).collect();
    let inputs = script
        .inputs
        .iter()
        .filter(|input| input.batch.1 != Loading::Aborted)
        .cloned()
        .chain(probes(|_| 0, 1));
    let mut model = Model::new(segment, 0);
    let mut records = Vec::new();
    for input in inputs {
        let record = Record {
            key: input.key.as_deref().map(str::as_bytes),
            value: input.value.as_deref().map(str::as_bytes),
            timestamp: input.timestamp,
        };
        model.take(record, WALL_MS);
        records.push(json!([input.key, input.value, input.timestamp]));
    }
    let rows: Vec<Json> = model
        .rows()
        .iter()
        .map(|(_, row)| json!([row.key, row.timestamp, row.value]))
        .collect();
    Some(json!({
        "seed": script.seed,
        "steps": steps?,
        "records": records,
        "rows": rows,
        "failed": model.dead().len(),
    }))
}

fn step(step: &Step) -> Option<Json> {
    Some(match step {
        Step::FilterAbove(field, bound) => json!({"filter_above": [field, bound]}),
        Step::Double(field) => json!({"double": field}),
        Step::FailSome(divisor) => json!({"fail_some": divisor}),
        Step::Count(None) => json!({"count": null}),
        Step::Window(rules, field) => json!({"window": {
            "field": field,
            "size": rules.size,
            "advance": rules.advance,
            "grace": rules.grace,
            "is_by_key": rules.is_by_key,
            "is_final": rules.is_final,
            "key_timeout": rules.key_timeout,
            "key_retention": rules.key_retention,
        }}),
        Step::Count(Some(_)) | Step::Tee(_) | Step::GroupBy(_) => return None,
    })
}
