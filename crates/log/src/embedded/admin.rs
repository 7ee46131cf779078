//! The embedded log behind the [`Log`] trait: topics and groups by name.

use super::group::{self, EmbeddedMember};
use super::open::EmbeddedLog;
use super::producer::EmbeddedProducer;
use super::reader::EmbeddedReader;
use super::retention;
use super::schema::{PartitionId, first_offset};
use super::shared::Shared;
use crate::{Bounds, Committed, Log, Member, Producer, Reader, TopicConfig, TopicInfo};
use headwater_core::{Position, Result, TimestampMs, TopicPartition};
use rusqlite::{OptionalExtension, Row};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

const TOPIC_COLUMNS: &str = "name, id, partitions, retention_ms, retention_bytes, compacted";

impl Log for EmbeddedLog {
    fn describe(&self) -> String {
        format!("embedded log at {}", self.shared.directory.display())
    }

    fn directory(&self) -> Option<&Path> {
        Some(&self.shared.directory)
    }

    fn create_topic(&self, name: &str, config: &TopicConfig) -> Result<bool> {
        crate::check_topic(name, config)?;
        if let Some(topic) = self.topic(name)? {
            return crate::check_same_partitions(&topic, config).map(|()| false);
        }
        self.shared.write_once(|sqlite| {
            if let Some(topic) = find_topic(&self.shared, sqlite, name)? {
                // Another process was faster.
                return crate::check_same_partitions(&topic, config).map(|()| false);
            }
            self.insert_topic(sqlite, name, config)?;
            Ok(true)
        })
    }

    fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        self.shared
            .read(|sqlite| find_topic(&self.shared, sqlite, name))
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.shared.read(|sqlite| {
            let sql = format!("SELECT {TOPIC_COLUMNS} FROM topics ORDER BY name");
            let mut select = self.shared.sql(sqlite.prepare_cached(&sql))?;
            let rows = select.query_map([], topic_of);
            self.shared.sql(rows.and_then(Iterator::collect))
        })
    }

    fn delete_topic(&self, name: &str) -> Result<bool> {
        let deleted = self.shared.write_once(|sqlite| {
            let Some(topic) = find_topic(&self.shared, sqlite, name)? else {
                return Ok(false);
            };
            let shared = &self.shared;
            shared.sql(sqlite.execute("DELETE FROM topics WHERE name = ?", [name]))?;
            shared.sql(sqlite.execute("DELETE FROM positions WHERE topic = ?", [name]))?;
            shared.sql(sqlite.execute(
                "UPDATE partitions SET topic_id = 0 WHERE topic_id = ?",
                [topic.id as i64],
            ))?;
            Ok(true)
        })?;
        // Housekeeping removes the records, a few at a time.
        self.shared.signal.wake();
        Ok(deleted)
    }

    fn bounds(&self, partition: &TopicPartition) -> Result<Bounds> {
        let (start, end) = self.offsets(partition)?;
        Ok(Bounds {
            start: Position::from_offset(start),
            end: Position::from_offset(end),
        })
    }

    fn position_at(&self, partition: &TopicPartition, time_ms: TimestampMs) -> Result<Position> {
        let (start, end) = self.offsets(partition)?;
        let found: Option<i64> = self.shared.read(|sqlite| {
            let place = self.shared.place(sqlite, partition)?;
            let sql = "SELECT id FROM batches WHERE id BETWEEN ? AND ? AND timestamp_max >= ?
                       ORDER BY id LIMIT 1";
            let range = (place.id.batch(0), place.id.last_batch(), time_ms);
            let mut select = self.shared.sql(sqlite.prepare_cached(sql))?;
            self.shared
                .sql(select.query_row(range, |row| row.get(0)).optional())
        })?;
        match found {
            Some(row) => {
                let from = Position::from_offset(first_offset(row).max(start));
                crate::first_at(self, partition, from, time_ms)
            }
            None => Ok(Position::from_offset(end)),
        }
    }

    fn add_partitions(&self, topic: &str, partitions: u32) -> Result<bool> {
        self.shared.write_once(|sqlite| {
            let shared = &self.shared;
            let found = find_topic(shared, sqlite, topic)?;
            let found = found.ok_or_else(|| crate::no_such_topic(topic))?;
            let has = found.config.partitions;
            if !crate::check_more_partitions(topic, has, partitions)? {
                return Ok(false);
            }
            self.insert_partitions(sqlite, found.id as i64, has..partitions)?;
            let sql = "UPDATE topics SET partitions = ? WHERE id = ?";
            shared.sql(sqlite.execute(sql, (partitions, found.id as i64)))?;
            Ok(true)
        })
    }

    fn delete_before(&self, partition: &TopicPartition, position: Position) -> Result<()> {
        let offset = crate::offset_of(partition, position)?;
        let place = self
            .shared
            .read(|sqlite| self.shared.place(sqlite, partition))?;
        retention::delete_before(&self.shared, place, partition, offset)
    }

    fn waiting(&self, partition: &TopicPartition, from: Position) -> Result<u64> {
        let (start, end) = self.offsets(partition)?;
        Ok(end.saturating_sub(crate::offset_of(partition, from)?.max(start)))
    }

    fn reader(&self, from: &[(TopicPartition, Position)]) -> Result<Box<dyn Reader>> {
        Ok(Box::new(EmbeddedReader::new(self.shared.clone(), from)?))
    }

    fn producer(&self) -> Result<Box<dyn Producer>> {
        Ok(Box::new(EmbeddedProducer::new(self.shared.clone())?))
    }

    fn join(&self, group: &str, leads: &[Arc<str>]) -> Result<Box<dyn Member>> {
        let member = EmbeddedMember::join(self.shared.clone(), group, leads)?;
        Ok(Box::new(member))
    }

    fn committed(&self, group: &str) -> Result<Vec<(TopicPartition, Committed)>> {
        self.shared
            .read(|sqlite| group::committed(&self.shared, sqlite, group))
    }

    fn groups(&self) -> Result<Vec<String>> {
        self.shared.read(|sqlite| {
            let sql = "SELECT DISTINCT group_name FROM positions ORDER BY group_name";
            let mut select = self.shared.sql(sqlite.prepare_cached(sql))?;
            let rows = select.query_map([], |row| row.get(0));
            self.shared.sql(rows.and_then(Iterator::collect))
        })
    }

    fn forget_group(&self, group: &str) -> Result<()> {
        group::forget(&self.shared, group)
    }
}

impl EmbeddedLog {
    fn insert_topic(
        &self,
        sqlite: &rusqlite::Connection,
        name: &str,
        config: &TopicConfig,
    ) -> Result<()> {
        // Positive and not 0, which stands for a deleted topic.
        let id = (self.shared.options.env.random.next_u64() >> 1).max(1) as i64;
        self.shared.sql(sqlite.execute(
            "INSERT INTO topics (id, name, partitions, retention_ms, retention_bytes, compacted)
             VALUES (?, ?, ?, ?, ?, ?)",
            (
                id,
                name,
                config.partitions,
                config.retention_ms.map(as_stored),
                config.retention_bytes.map(as_stored),
                config.compacted,
            ),
        ))?;
        self.insert_partitions(sqlite, id, 0..config.partitions)
    }

    fn insert_partitions(
        &self,
        sqlite: &rusqlite::Connection,
        topic_id: i64,
        numbers: Range<u32>,
    ) -> Result<()> {
        let sql = "INSERT INTO partitions (topic_id, number, start_offset) VALUES (?, ?, 0)";
        let mut insert = self.shared.sql(sqlite.prepare_cached(sql))?;
        for number in numbers {
            PartitionId::new(self.shared.sql(insert.insert((topic_id, number)))?)?;
        }
        Ok(())
    }

    fn offsets(&self, partition: &TopicPartition) -> Result<(u64, u64)> {
        self.shared.read(|sqlite| {
            let place = self.shared.place(sqlite, partition)?;
            let offsets = self.shared.offsets(sqlite, place)?;
            offsets.ok_or_else(|| crate::topic_deleted(&partition.topic))
        })
    }
}

pub(super) fn find_topic(
    shared: &Shared,
    sqlite: &rusqlite::Connection,
    name: &str,
) -> Result<Option<TopicInfo>> {
    let sql = format!("SELECT {TOPIC_COLUMNS} FROM topics WHERE name = ?");
    let mut select = shared.sql(sqlite.prepare_cached(&sql))?;
    shared.sql(select.query_row([name], topic_of).optional())
}

/// SQLite's integers are signed.
fn as_stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn topic_of(row: &Row<'_>) -> rusqlite::Result<TopicInfo> {
    Ok(TopicInfo {
        name: row.get(0)?,
        id: row.get::<_, i64>(1)? as u64,
        config: TopicConfig {
            partitions: row.get(2)?,
            retention_ms: row.get::<_, Option<i64>>(3)?.map(|number| number as u64),
            retention_bytes: row.get::<_, Option<i64>>(4)?.map(|number| number as u64),
            compacted: row.get(5)?,
            replicas: None,
        },
    })
}
