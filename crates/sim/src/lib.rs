//! Deterministic simulation: the real engine in a world that goes wrong.
//!
//! One seed decides everything: the program that runs, the records that it gets, who
//! has the processor when, what the log and the disk do wrong and when processes die.
//! So a failure comes back as often as its seed is run, hours of waiting take
//! milliseconds, and two runs of a seed are the same to the last call.
//!
//! The key decision: the engine runs unchanged. Only what it takes from outside is
//! simulated: its clock, its chance, its log, its files.
//!
//! ```text
//! script      what a seed decides: topology, inputs, faults       `script`, `topology`, `trouble`
//! world       time, turns, lives of processes                     `world`
//! log, disk   what is outside, and what it does wrong             `log`, `disk`
//! simulation  one run: chaos, calm, check                         `simulation`
//! oracle      what must come out                                  `naive`, `oracle`, `check`, `at_least_once`
//! shrink      a failing script made short                         `shrink`
//! scenario    a program and its results as a file, for Python     `scenario`
//! bug         what is planted to see whether the oracle is good   `bug`
//! ```

mod at_least_once;
mod bug;
mod check;
mod disk;
mod functions;
mod log;
mod naive;
mod oracle;
mod scenario;
mod script;
mod seed;
mod shrink;
mod simulation;
mod topology;
mod trouble;
mod world;

pub use bug::Bug;
pub use disk::SimDisk;
pub use functions::{Body, Registry, add_to};
pub use log::{Nature, SimLog, SimLogHandle, Stored};
pub use naive::{Num, Operand, Row, Rules, Windows, canonical, canonical_text};
pub use oracle::{Counted, Model, Record};
pub use scenario::scenario;
pub use script::{Input, Loading, Script};
pub use seed::Seed;
pub use shrink::{describe, shrink};
pub use simulation::{Outcome, run};
pub use topology::{Pipeline, Program, Segment, Step, Topology, count_rows, fail_some};
pub use trouble::{Call, Fault, Trouble};
pub use world::{NO_END, WALL_MS, World};
