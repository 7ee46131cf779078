//! Inputs that are patterns: all topics whose names match.
//!
//! A topic name that begins with `^` is a regular expression, as it is for Kafka's
//! clients. When a run begins, the plan's part below it is made once for each topic that
//! matches: every topic has its own tasks, state, windows and changes of key, as if it
//! had a data frame of its own. A run looks for new topics from time to time; where
//! there are any, it commits and begins again with the plan that they make.
//!
//! What the engine itself writes is never an input by pattern: internal topics, dead
//! letters, and the topics to which the same plan writes, which would feed themselves;
//! where a row names its topic, those are all that are declared.

use crate::application::Application;
use crate::dead_letter::dead_letter_topic;
use crate::internal_topics::owner_of_topic;
use headwater_core::env::Clock;
use headwater_core::{Class, Error, Result};
use headwater_log::Log;
use headwater_plan::{LogicalPlan, Op, Target};
use regex_lite::Regex;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How often a run looks for topics that match.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Whether a topic's name is a pattern.
pub(crate) fn is_pattern(name: &str) -> bool {
    name.starts_with('^')
}

/// The patterns of a plan, and what they have matched.
pub(crate) struct Patterns {
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    all: Vec<(Arc<str>, Regex)>,
    /// The topics to which the plan writes.
    outputs: BTreeSet<Arc<str>>,
    looked_at: Cell<Duration>,
}

/// The topics that match each pattern.
pub(crate) type Matches = BTreeMap<Arc<str>, Vec<Arc<str>>>;

impl Patterns {
    /// # Errors
    /// `Invalid` for a pattern that is none.
    pub(crate) fn of(plan: &LogicalPlan, application: &Application) -> Result<Patterns> {
        let mut all = Vec::new();
        for (id, input) in plan.inputs() {
            let name = &input.topic.name;
            if plan.upstream_of(id).is_none() && is_pattern(name) {
                let pattern = Regex::new(name).map_err(|error| {
                    Error::invalid(format!(
                        "a topic's name that begins with ^ is a regular expression, and this is \
                         none: {error} pattern=`{name}`"
                    ))
                })?;
                all.push((Arc::clone(name), pattern));
            }
        }
        let mut outputs = BTreeSet::new();
        for node in plan.nodes() {
            let Op::ToTopic { target, .. } = &node.op else {
                continue;
            };
            match target {
                Target::Topic(topic) => outputs.extend([Arc::clone(&topic.name)]),
                Target::Dynamic { .. } => {
                    let declared = application.topics.iter();
                    outputs.extend(declared.map(|(topic, _)| Arc::clone(&topic.name)));
                }
            }
        }
        Ok(Patterns {
            all,
            outputs,
            looked_at: Cell::new(application.env.clock.monotonic()),
            log: Arc::clone(&application.log),
            clock: Arc::clone(&application.env.clock),
        })
    }

    /// The topics that match now.
    ///
    /// # Errors
    /// What the log reports; `Invalid` for a topic that two patterns match, or a
    /// pattern and a data frame of its own.
    pub(crate) fn matches(&self, plan: &LogicalPlan) -> Result<Matches> {
        if self.all.is_empty() {
            return Ok(Matches::new());
        }
        let mut matches = Matches::new();
        let topics = self.log.topics()?;
        let letters = dead_letter_topic("");
        let is_input = |name: &str| {
            owner_of_topic(name).is_none()
                && !name.starts_with("__")
                && !name.ends_with(&letters)
                && !self.outputs.contains(name)
        };
        let mut taken: BTreeSet<&str> =
            plan.inputs().map(|(_, input)| &*input.topic.name).collect();
        for (pattern, regex) in &self.all {
            let of_pattern = matches.entry(Arc::clone(pattern)).or_default();
            for topic in &topics {
                let name = topic.name.as_str();
                if !is_input(name) || !regex.is_match(name) {
                    continue;
                }
                if !taken.insert(name) {
                    return Err(Error::invalid(format!(
                        "a topic matches a pattern and is read by another data frame too, \
                         topic=`{name}` pattern=`{pattern}`"
                    )));
                }
                of_pattern.push(name.into());
            }
        }
        Ok(matches)
    }

    /// Whether other topics match than before; looks now and then.
    pub(crate) fn have_changed(&self, plan: &LogicalPlan, before: &Matches) -> bool {
        let now = self.clock.monotonic();
        if self.all.is_empty() || now < self.looked_at.get() + LOOK_INTERVAL {
            return false;
        }
        self.looked_at.set(now);
        match self.matches(plan) {
            Ok(matches) => matches != *before,
            // What cannot be asked now is asked again. What cannot be read is said by
            // the run that begins with it.
            Err(error) => error.class() != Class::Unavailable,
        }
    }
}
