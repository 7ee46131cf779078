//! Warns of records that a broker is about to delete.
//!
//! On a cluster a record's age counts from its own time, not from when it was stored.
//! Who replays last year's data into a topic that keeps seven days finds it empty
//! minutes later, and no error tells. So the times of what is read and written are
//! compared with the topic's retention, and a topic that has such records is named
//! once.

use crate::input::is_control;
use headwater_core::{Records, TimestampMs};
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

    /// What to say of records that are so old, once for each topic.
    pub(crate) fn warning(
        &self,
        topic: &str,
        records: &Records,
        wall_ms: TimestampMs,
    ) -> Option<String> {
        let retention_ms = *self.retention_ms.get(topic)?;
        let kept_from_ms = wall_ms.saturating_sub(retention_ms);
        let times = records.timestamps.iter().enumerate();
        let old = times.filter(|(_, time_ms)| **time_ms < kept_from_ms);
        let rows = old.filter(|(index, _)| !is_control(records.headers(*index)));
        let oldest = rows.map(|(_, time_ms)| *time_ms).min()?;
        let age_ms = wall_ms.saturating_sub(oldest);
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
    use crate::input::{CONTROL_END, CONTROL_HEADER};
    use headwater_core::{Header, RecordsBuilder};

    fn at(times: &[TimestampMs]) -> Records {
        let mut records = RecordsBuilder::default();
        for &time in times {
            records.push(None, None, time, None);
        }
        records.finish()
    }

    /// The end of a source has no time of its own.
    #[test]
    fn records_of_the_engine_have_no_age() {
        let aging = Aging {
            retention_ms: [("t".to_owned(), 1_000)].into(),
            warned: Mutex::default(),
        };
        let header = Header {
            name: CONTROL_HEADER.into(),
            value: Some(CONTROL_END.into()),
        };
        let mut records = RecordsBuilder::default();
        records.push(None, None, 0, Some([header].into()));
        assert_eq!(aging.warning("t", &records.finish(), 10_000), None);
        let out_of_order = at(&[9_500, 8_999, 9_700]);
        assert!(aging.warning("t", &out_of_order, 10_000).is_some());
    }

    #[test]
    fn a_topic_is_named_once_and_only_for_records_that_are_too_old() {
        let aging = Aging {
            retention_ms: [("t".to_owned(), 1_000)].into(),
            warned: Mutex::default(),
        };
        assert_eq!(aging.warning("t", &at(&[9_000]), 10_000), None);
        assert_eq!(aging.warning("other", &at(&[0]), 10_000), None);
        assert_eq!(aging.warning("t", &at(&[]), 10_000), None);
        let text = aging.warning("t", &at(&[8_999]), 10_000);
        let text = text.expect("it is too old");
        assert!(
            text.contains("topic=`t`") && text.contains("retention_ms=`1000`"),
            "{text}"
        );
        assert_eq!(aging.warning("t", &at(&[0]), 10_000), None);
    }
}
