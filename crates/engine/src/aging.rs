//! Warns of records that a broker is about to delete.
//!
//! On a cluster a record's age counts from its own time, not from when it was stored.
//! Who replays last year's data into a topic that keeps seven days finds it empty
//! minutes later, and no error tells. So the times of what is read and written are
//! compared with the topic's retention, and a topic that has such records is named
//! once.

use headwater_core::TimestampMs;
use headwater_log::Log;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// How long the topics of a run keep their records.
#[derive(Debug, Default)]
pub(crate) struct Aging {
    retention_ms: BTreeMap<String, i64>,
    warned: Mutex<BTreeSet<String>>,
}

impl Aging {
    /// Asks how long topics keep their records; nothing where their age counts from
    /// the append.
    pub(crate) fn of<'a>(log: &dyn Log, topics: impl Iterator<Item = &'a String>) -> Aging {
        if !log.is_remote() {
            return Aging::default();
        }
        let kept_for = |topic: &'a String| {
            // A topic that cannot be looked at now is told by whoever uses it.
            let config = log.topic(topic).ok().flatten()?.config;
            let retention_ms = config.retention_ms.filter(|_| !config.compacted)?;
            Some((topic.clone(), i64::try_from(retention_ms).ok()?))
        };
        Aging {
            retention_ms: topics.filter_map(kept_for).collect(),
            warned: Mutex::default(),
        }
    }

    /// What to say of records with these times, once for each topic.
    pub(crate) fn warning(
        &self,
        topic: &str,
        times: &[TimestampMs],
        wall_ms: TimestampMs,
    ) -> Option<String> {
        let retention_ms = *self.retention_ms.get(topic)?;
        let oldest = *times.first()?;
        let age_ms = wall_ms.saturating_sub(oldest);
        if age_ms <= retention_ms {
            return None;
        }
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        warned.insert(topic.to_owned()).then(|| {
            format!(
                "records are older than their topic keeps them, so the brokers delete them, perhaps \
                 within minutes: a record's age counts from its own time there; set `retention.ms` \
                 of the topic to -1, topic=`{topic}` retention_ms=`{retention_ms}` \
                 age_ms=`{age_ms}`"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_named_once_and_only_for_records_that_are_too_old() {
        let aging = Aging {
            retention_ms: [("t".to_owned(), 1_000)].into(),
            warned: Mutex::default(),
        };
        assert_eq!(aging.warning("t", &[9_000], 10_000), None);
        assert_eq!(aging.warning("other", &[0], 10_000), None);
        assert_eq!(aging.warning("t", &[], 10_000), None);
        let text = aging.warning("t", &[8_999], 10_000).expect("it is too old");
        assert!(
            text.contains("topic=`t`") && text.contains("retention_ms=`1000`"),
            "{text}"
        );
        assert_eq!(aging.warning("t", &[0], 10_000), None);
    }
}
