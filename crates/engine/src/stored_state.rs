//! What an application's stores hold, read from outside while it runs.
//!
//! A store is the newest record of each key of its changelog. It is read to exactly the
//! end that the application's commit names, as a [restore](crate::restore) would: what
//! stands after it belongs to no committed epoch. Nothing is locked, joined or written.

use crate::metadata::TaskMetadata;
use crate::restore::changelog_prefix;
use headwater_core::{Error, Position, Result, TopicPartition};
use headwater_log::{Log, each_record};
use headwater_operators::stored_window;
use headwater_state::StoredEntry;
use std::collections::BTreeMap;

/// A store of an application, as its last commit names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredStore {
    /// Its name: the stream and the operation.
    pub id: String,
    /// Whether it is a window's; else record functions keep it.
    pub is_window: bool,
    /// Where the committed part of each partition of its changelog ends.
    pub ends: BTreeMap<TopicPartition, Position>,
}

/// The stores that an application has committed, by name.
///
/// # Errors
/// `Invalid` if nothing is known of the application.
pub fn stored_stores(log: &dyn Log, application: &str) -> Result<Vec<StoredStore>> {
    let committed = log.committed(application)?;
    if committed.is_empty() {
        return Err(Error::invalid(format!(
            "nothing is known of this application application=`{application}`"
        )));
    }
    let prefix = changelog_prefix(application);
    let mut stores: BTreeMap<String, StoredStore> = BTreeMap::new();
    for (partition, known) in &committed {
        if let Some(id) = partition.topic.strip_prefix("store:")
            && !known.metadata.is_empty()
        {
            let store = StoredStore {
                id: id.to_owned(),
                is_window: known.metadata.starts_with(b"window"),
                ends: BTreeMap::new(),
            };
            stores.insert(id.to_owned(), store);
        }
    }
    let tasks = committed
        .iter()
        .filter(|(partition, _)| !partition.topic.contains(':'));
    for (partition, known) in tasks {
        if known.metadata.is_empty() {
            // A consumer of that group, or a tool, has committed it.
            continue;
        }
        for (changelog, end) in TaskMetadata::decode(&known.metadata)?.changelog_ends {
            let id = changelog.strip_prefix(&prefix).unwrap_or_default();
            if let Some(store) = stores.get_mut(id) {
                let changelog = TopicPartition::new(changelog, partition.partition);
                store.ends.insert(changelog, end);
            }
        }
    }
    Ok(stores.into_values().collect())
}

impl StoredStore {
    /// Visits what the store holds, of one key if it is given, partition by partition
    /// and in the order of the stored keys; until `visit` says `false`.
    ///
    /// # Errors
    /// What the log reports, `Unavailable` if it does not show what is committed, and
    /// what `visit` reports.
    pub fn scan(
        &self,
        log: &dyn Log,
        key: Option<&[u8]>,
        visit: &mut dyn FnMut(u32, StoredEntry) -> Result<bool>,
    ) -> Result<()> {
        for (changelog, &end) in &self.ends {
            for (stored_key, value) in newest(log, changelog, end)? {
                let entry = match self.is_window {
                    true => stored_window(&stored_key, &value)?,
                    false => StoredEntry::of_keyed(&stored_key, &value)?,
                };
                if key.is_some() && entry.key.as_deref() != key {
                    continue;
                }
                if !visit(changelog.partition, entry)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The newest value of each key before `end`.
fn newest(
    log: &dyn Log,
    changelog: &TopicPartition,
    end: Position,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut newest = BTreeMap::new();
    let start = log.bounds(changelog)?.start;
    each_record(log, changelog, (start, end), &mut |fetched, index| {
        let key = fetched.records.key(index).unwrap_or_default();
        match fetched.records.value(index) {
            Some(value) => newest.insert(key.to_vec(), value.to_vec()),
            None => newest.remove(key),
        };
        Ok(true)
    })?;
    Ok(newest)
}
