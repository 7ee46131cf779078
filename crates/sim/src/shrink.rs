//! Makes a script that fails shorter.

use crate::bug::Bug;
use crate::script::Script;
use crate::simulation::run;

/// How many runs are spent on it.
const RUNS_MAX: usize = 300;

/// The shortest script found that still fails: by leaving out parts of its lists, by
/// halves, quarters and so on (delta debugging).
pub fn shrink(script: &Script, bug: Option<Bug>) -> Script {
    let mut runs = 0;
    let kind = run(script, bug).failure.map(|failure| kind_of(&failure));
    let mut fails = |candidate: &Script| {
        runs += 1;
        let failure = || run(candidate, bug).failure;
        runs <= RUNS_MAX && failure().map(|failure| kind_of(&failure)) == kind
    };
    let mut best = script.clone();
    best.faults = shorter(&best.faults, &mut |faults| {
        let candidate = Script {
            faults: faults.to_vec(),
            ..best.clone()
        };
        fails(&candidate)
    });
    best.inputs = shorter(&best.inputs, &mut |inputs| {
        let candidate = Script {
            inputs: inputs.to_vec(),
            ..best.clone()
        };
        fails(&candidate)
    });
    best
}

/// The first words of a failure: a shorter script must fail in the same way.
fn kind_of(failure: &str) -> String {
    let words: Vec<&str> = failure.split_whitespace().take(3).collect();
    words.join(" ")
}

fn shorter<T: Clone>(list: &[T], fails: &mut dyn FnMut(&[T]) -> bool) -> Vec<T> {
    let mut best = list.to_vec();
    let mut parts = 1;
    while parts <= best.len().max(1) && !best.is_empty() {
        let size = best.len().div_ceil(parts);
        let mut at = 0;
        let mut is_shorter = false;
        while at < best.len() {
            let mut candidate = best.clone();
            candidate.drain(at..(at + size).min(candidate.len()));
            if fails(&candidate) {
                best = candidate;
                is_shorter = true;
            } else {
                at += size;
            }
        }
        if size <= 1 && !is_shorter {
            break;
        }
        parts = if is_shorter { parts } else { parts * 2 };
    }
    best
}

/// A script as a reader can follow it.
pub fn describe(script: &Script) -> String {
    let mut text = format!("seed {}\n", script.seed);
    for pipeline in &script.topology.pipelines {
        text += &format!("  pipeline {pipeline:?}\n");
    }
    for program in &script.topology.programs {
        text += &format!("  program {program:?}\n");
    }
    text += &format!(
        "  topics {:?}\n  {:?}\n",
        script.topology.topics, script.nature
    );
    for input in &script.inputs {
        text += &format!("  input {input:?}\n");
    }
    for fault in &script.faults {
        text += &format!("  fault {fault:?}\n");
    }
    text
}
