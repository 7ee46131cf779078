//! What every part of the log asks the cluster: topics, bounds, what is committed.

use super::errors::{client_error, error, is_about_topic};
use super::ffi::{
    Client, Fault, GroupOffset, Isolation, Kind, NewTopic, OffsetSpec, TopicDescription, code,
};
use super::options::Options;
use super::positions;
use crate::{Bounds, Committed, TopicConfig, TopicInfo};
use headwater_core::{Class, Error, Position, Result, TimestampMs, TopicPartition};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long to wait between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// How long brokers may take until all know of a new topic, or one that comes back of all.
const METADATA_LAG_MAX: Duration = Duration::from_secs(3);

/// How late a request that was given up may still arrive, at a broker that was frozen.
const LATE_REQUEST_MAX: Duration = Duration::from_secs(120);

/// The cluster, and a client that asks it.
pub(super) struct Cluster {
    pub(super) options: Options,
    /// It has no fetch under way that would hold a question up.
    admin: Arc<Client>,
    /// The client that asks coordinators of groups, once it was needed.
    asker: Mutex<Option<Arc<Client>>>,
    /// When an opening of transactions was last given up without an answer.
    opening_lost_at: Mutex<Option<Duration>>,
}

impl Cluster {
    pub(super) fn new(options: Options) -> Result<Arc<Cluster>> {
        options.check()?;
        let admin = Cluster::client(&options, Kind::Producer, &options.settings_with(&[]))?;
        Ok(Arc::new(Cluster {
            options,
            admin,
            asker: Mutex::default(),
            opening_lost_at: Mutex::default(),
        }))
    }

    fn client(options: &Options, kind: Kind, settings: &[(String, String)]) -> Result<Arc<Client>> {
        Client::new(kind, settings, options.token.clone())
            .map_err(|fault| error("the kafka client cannot start", &fault))
    }

    /// A new client with threads and connections of its own.
    pub(super) fn start(&self, kind: Kind, settings: &[(String, String)]) -> Result<Arc<Client>> {
        Cluster::client(&self.options, kind, settings)
    }

    /// The client that asks questions.
    pub(super) fn admin(&self) -> &Arc<Client> {
        &self.admin
    }

    /// Remembers that an opening of transactions was given up: it may still arrive.
    pub(super) fn opening_was_lost(&self) {
        let mut lost_at = self
            .opening_lost_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *lost_at = Some(self.options.env.clock.monotonic());
    }

    /// Whether an opening of our own that was given up may have arrived just now.
    pub(super) fn may_fence_itself(&self) -> bool {
        let lost_at = self
            .opening_lost_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = self.options.env.clock.monotonic();
        lost_at.is_some_and(|at| now < at + LATE_REQUEST_MAX)
    }

    /// Calls until it succeeds, fails for good, or the time is up.
    fn retry<T>(&self, doing: &str, call: impl FnMut(Duration) -> Result<T, Fault>) -> Result<T> {
        self.retry_on(&self.admin, doing, call)
    }

    fn retry_on<T>(
        &self,
        client: &Client,
        doing: &str,
        mut call: impl FnMut(Duration) -> Result<T, Fault>,
    ) -> Result<T> {
        let clock = &self.options.env.clock;
        let deadline = clock.monotonic() + self.options.request_timeout;
        loop {
            let left = deadline.saturating_sub(clock.monotonic());
            let fault = match call(left.max(RETRY_PAUSE)) {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            };
            client.serve_errors();
            let error = client_error(doing, client, &fault);
            if error.class() != Class::Unavailable || left.is_zero() {
                return Err(error);
            }
            clock.sleep(RETRY_PAUSE.min(left));
        }
    }

    /// As `retry`, for a question to the coordinator of a group.
    ///
    /// Two mistakes of librdkafka (2.12.1) end the process here, so such questions have a
    /// client of their own, a consumer with a group, which joins nothing. A client without a
    /// group falls over the answer that the coordinator has moved. And a question that has
    /// reached its own limit while the coordinator is away is freed, and is sent all the same
    /// when that is back; so it gets no limit (`ffi/admin.rs`), and when we give it up its
    /// client goes with it.
    fn ask_coordinator<T>(
        &self,
        group: &str,
        doing: &str,
        mut call: impl FnMut(&Arc<Client>, Duration) -> Result<T, Fault>,
    ) -> Result<T> {
        let asker = self.asker(group)?;
        let result = self.retry_on(&asker, doing, |left| call(&asker, left));
        result.inspect_err(|error| {
            if error.class() == Class::Unavailable {
                let mut kept = self.asker.lock().unwrap_or_else(PoisonError::into_inner);
                let used_up = kept.take_if(|kept| Arc::ptr_eq(kept, &asker));
                // Its end may take a moment, and nobody has to wait for it.
                drop(kept);
                drop(used_up);
            }
        })
    }

    /// Any group's client serves for all.
    fn asker(&self, group: &str) -> Result<Arc<Client>> {
        let mut kept = self.asker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asker) = &*kept {
            return Ok(asker.clone());
        }
        let settings = self.options.settings_with(&[
            ("group.id", group.into()),
            ("enable.auto.commit", "false".into()),
        ]);
        let asker = self.start(Kind::Consumer, &settings)?;
        *kept = Some(asker.clone());
        Ok(asker)
    }

    /// A topic, if it exists. Which broker is asked is chance, and one may not know yet what
    /// another does; so a topic is missing only when it has been for a while.
    pub(super) fn describe(&self, topic: &str) -> Result<Option<TopicDescription>> {
        if !positions::is_topic_name(topic) {
            return Ok(None);
        }
        let doing = format!("describing a topic topic=`{topic}`");
        self.patiently(|| {
            let found = self.retry(&doing, |left| self.admin.describe_topics(&[topic], left))?;
            Ok(found.into_iter().next())
        })
    }

    /// A topic that some broker has said to exist, with its settings.
    pub(super) fn existing(&self, topic: &str) -> Result<Option<TopicInfo>> {
        self.patiently(|| Ok(self.topics(Some(&[topic]))?.pop()))
    }

    /// Asks until something is found, or every broker should know of it by now.
    fn patiently<T>(&self, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
        let clock = &self.options.env.clock;
        let deadline = clock.monotonic() + METADATA_LAG_MAX;
        loop {
            let found = ask()?;
            if found.is_some() || deadline <= clock.monotonic() {
                return Ok(found);
            }
            clock.sleep(RETRY_PAUSE * 5);
        }
    }

    /// The id of the topic of a partition that exists.
    ///
    /// # Errors
    /// `Invalid` if it does not.
    pub(super) fn check(&self, partition: &TopicPartition) -> Result<TopicDescription> {
        match self.describe(&partition.topic)? {
            None => Err(crate::no_such_topic(&partition.topic)),
            Some(topic) if topic.partitions <= partition.partition => {
                Err(crate::no_such_partition(partition, topic.partitions))
            }
            Some(topic) => Ok(topic),
        }
    }

    /// Topics with their settings, in the order of their names.
    pub(super) fn topics(&self, names: Option<&[&str]>) -> Result<Vec<TopicInfo>> {
        let all;
        let names: Vec<&str> = match names {
            Some(names) => names.to_vec(),
            None => {
                all = self.retry("listing topics", |left| self.admin.topic_names(left))?;
                let is_users =
                    |name: &&str| !name.starts_with("__") && !name.starts_with(positions::PREFIX);
                all.iter().map(String::as_str).filter(is_users).collect()
            }
        };
        let described = self.retry("describing topics", |left| {
            self.admin.describe_topics(&names, left)
        })?;
        let exist: Vec<&str> = described.iter().map(|topic| topic.name.as_str()).collect();
        let settings = self.retry("reading the settings of topics", |left| {
            match self.admin.topic_settings(&exist, left) {
                // One was deleted in between.
                Err(fault) if is_about_topic(&fault) => Ok(BTreeMap::new()),
                settings => settings,
            }
        })?;
        let mut topics: Vec<TopicInfo> = described
            .into_iter()
            .map(|topic| TopicInfo {
                config: config_of(&topic, settings.get(&topic.name)),
                name: topic.name,
                id: topic.id,
            })
            .collect();
        topics.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(topics)
    }

    /// Makes a topic and waits until it can be used; `false` if it existed.
    pub(super) fn create(&self, name: &str, config: &TopicConfig) -> Result<bool> {
        let retention = |value: Option<u64>| value.map_or("-1".into(), |value| value.to_string());
        let cleanup = if config.compacted {
            "compact"
        } else {
            "delete"
        };
        let mut new = NewTopic {
            name: name.into(),
            partitions: config.partitions,
            replicas: config.replicas,
            settings: vec![
                ("cleanup.policy", cleanup.into()),
                // A record that the client takes is one that the topic takes.
                ("max.message.bytes", MESSAGE_BYTES_MAX.into()),
                // The engine judges times that lie ahead; a broker would refuse the batch.
                ("message.timestamp.after.max.ms", i64::MAX.to_string()),
            ],
        };
        // A bound that the user has not asked for is the brokers' own: they count
        // retention by the records' times, and who runs them knows why.
        let unasked = TopicConfig::default();
        if config.retention_ms != unasked.retention_ms {
            let time = retention(config.retention_ms);
            new.settings.push(("retention.ms", time));
        }
        let is_asked = config.retention_bytes != unasked.retention_bytes;
        if is_asked {
            let bytes = retention(config.retention_bytes);
            new.settings.push(("retention.bytes", bytes));
        }
        if let Some(bytes) = config.retention_bytes.filter(|_| is_asked) {
            // Whole segments are deleted, and never the newest.
            let bytes = (bytes / 8).clamp(1 << 20, 1 << 30);
            new.settings.push(("segment.bytes", bytes.to_string()));
        }
        let doing = format!("making a topic topic=`{name}`");
        let is_new = self.retry(&doing, |left| match self.admin.create_topic(&new, left) {
            Err(fault) if fault.code == code::INVALID_CONFIG => {
                // Brokers before 3.6 do not know it.
                new.settings
                    .retain(|(name, _)| *name != "message.timestamp.after.max.ms");
                self.admin.create_topic(&new, left)
            }
            result => result,
        })?;
        if is_new {
            self.retry(&doing, |left| {
                let found = self.admin.describe_topics(&[name], left)?;
                match found.first() {
                    Some(topic) if topic.has_leaders => Ok(()),
                    _ => Err(Fault::of(code::TIMED_OUT)),
                }
            })?;
        }
        Ok(is_new)
    }

    /// Makes sure that an internal topic has `partitions`; it may have more.
    pub(super) fn create_internal(&self, name: &str, partitions: u32) -> Result<u32> {
        let config = TopicConfig {
            partitions,
            retention_ms: None,
            retention_bytes: None,
            compacted: false,
            replicas: None,
        };
        if self.create(name, &config)? {
            return Ok(partitions);
        }
        let existing = self.describe(name)?.map_or(0, |topic| topic.partitions);
        if existing < partitions {
            self.add_partitions(name, partitions)?;
        }
        Ok(existing.max(partitions))
    }

    /// Adds partitions to a topic until it has `partitions`, and waits until they can
    /// be used.
    pub(super) fn add_partitions(&self, name: &str, partitions: u32) -> Result<()> {
        let doing = format!("adding partitions to a topic topic=`{name}`");
        self.retry(&doing, |left| {
            self.admin.create_partitions(name, partitions, left)
        })?;
        self.retry(&doing, |left| {
            let found = self.admin.describe_topics(&[name], left)?;
            match found.first() {
                Some(topic) if partitions <= topic.partitions && topic.has_leaders => Ok(()),
                _ => Err(Fault::of(code::TIMED_OUT)),
            }
        })
    }

    /// Lets go of the records before an offset.
    pub(super) fn delete_before(&self, partition: &TopicPartition, offset: u64) -> Result<()> {
        let doing = format!(
            "deleting records topic=`{}` partition=`{}` before=`{offset}`",
            partition.topic, partition.partition
        );
        self.retry(&doing, |left| {
            self.admin.delete_records(partition, offset, left)
        })
    }

    pub(super) fn delete(&self, name: &str) -> Result<bool> {
        if !positions::is_topic_name(name) {
            return Ok(false);
        }
        let doing = format!("deleting a topic topic=`{name}`");
        let is_deleted = self.retry(&doing, |left| self.admin.delete_topic(name, left))?;
        if is_deleted {
            // The cluster follows within moments.
            self.retry(&doing, |left| {
                match self.admin.describe_topics(&[name], left)?.is_empty() {
                    true => Ok(()),
                    false => Err(Fault::of(code::TIMED_OUT)),
                }
            })?;
        }
        Ok(is_deleted)
    }

    /// One offset of a partition that exists.
    pub(super) fn offset(
        &self,
        partition: &TopicPartition,
        spec: OffsetSpec,
        isolation: Isolation,
    ) -> Result<u64> {
        let doing = format!(
            "asking for an offset topic=`{}` partition=`{}`",
            partition.topic, partition.partition
        );
        self.retry(&doing, |left| {
            let mut answer = self.admin.offsets(&[(partition, spec)], isolation, left)?;
            let (_, offset) = answer.pop().ok_or_else(|| Fault::of(code::TIMED_OUT))?;
            offset
        })
    }

    /// The first offset of a time or later in a partition that exists; `None` if
    /// nothing there is as new.
    pub(super) fn offset_at(
        &self,
        partition: &TopicPartition,
        time_ms: TimestampMs,
    ) -> Result<Option<u64>> {
        let doing = format!(
            "asking for an offset topic=`{}` partition=`{}` time=`{time_ms}`",
            partition.topic, partition.partition
        );
        let about = [(partition, OffsetSpec::At(time_ms))];
        self.retry(&doing, |left| {
            let mut answer = self.admin.offsets(&about, Isolation::Committed, left)?;
            match answer.pop() {
                Some((_, Err(fault))) if fault.code == code::NO_OFFSET_SAID => Ok(None),
                Some((_, offset)) => offset.map(Some),
                None => Err(Fault::of(code::TIMED_OUT)),
            }
        })
    }

    /// The readable range of a partition that exists.
    pub(super) fn bounds(&self, partition: &TopicPartition) -> Result<Bounds> {
        let ask = |spec| self.offset(partition, spec, Isolation::Committed);
        Ok(Bounds {
            start: Position::from_offset(ask(OffsetSpec::Earliest)?),
            end: Position::from_offset(ask(OffsetSpec::Latest)?),
        })
    }

    /// What a group has committed in `partitions`, or in all, as the broker keeps it.
    /// Waits while a transaction is in doubt.
    fn stored(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<GroupOffset>> {
        let doing = format!("reading what is committed group=`{group}`");
        let clock = &self.options.env.clock;
        // A transaction in doubt is settled by its timeout at the latest.
        let deadline = clock.monotonic() + self.options.transaction_timeout * 2;
        loop {
            let answer = self.ask_coordinator(group, &doing, |asker, left| {
                match asker.group_offsets(group, partitions, left) {
                    Err(fault) if fault.code == code::UNSTABLE_OFFSETS => Ok(None),
                    Err(fault) if fault.code == code::GROUP_NOT_FOUND => Ok(Some(Vec::new())),
                    answer => answer.map(Some),
                }
            })?;
            match answer {
                Some(offsets) => return Ok(offsets),
                None if deadline <= clock.monotonic() => {
                    return Err(self.in_doubt(&doing, group, partitions));
                }
                None => clock.sleep(RETRY_PAUSE),
            }
        }
    }

    /// The error of a transaction that is neither committed nor aborted though its time
    /// is over. A process of the application with a longer timeout may still settle it, so
    /// waiting goes on; but a broker may have lost its end (`docs/ARCHITECTURE.md`).
    fn in_doubt(&self, doing: &str, group: &str, partitions: &[TopicPartition]) -> Error {
        let is_in_doubt = |partition: &&TopicPartition| {
            let one = std::slice::from_ref(*partition);
            let answer = self.ask_coordinator(group, doing, |asker, left| {
                match asker.group_offsets(group, one, left) {
                    Err(fault) if fault.code == code::UNSTABLE_OFFSETS => Ok(true),
                    answer => answer.map(|_| false),
                }
            });
            answer.unwrap_or(false)
        };
        let places = partitions.iter().filter(is_in_doubt);
        let places: Vec<String> = places.map(TopicPartition::to_string).collect();
        Error::unavailable(format!(
            "{doing}: a transaction is still in doubt positions=`{}`\nhint: if it stays so, the \
             brokers have lost the end of a transaction: find it in topic __consumer_offsets \
             with `kafka-transactions find-hanging` and end it with `kafka-transactions abort`",
            places.join(" ")
        ))
    }

    /// Waits until no transaction is in doubt in these partitions of a group. The list
    /// of all that a group has committed leaves out a partition whose first commit is
    /// in doubt, so who reads that list waits here first.
    pub(super) fn wait_stable(&self, group: &str, partitions: &[TopicPartition]) -> Result<()> {
        if partitions.is_empty() {
            return Ok(());
        }
        self.stored(group, partitions).map(|_| ())
    }

    /// All partitions of the topics that `wanted` accepts.
    pub(super) fn partitions_of(
        &self,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<TopicPartition>> {
        let names = self.retry("listing topics", |left| self.admin.topic_names(left))?;
        let names: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|name| wanted(name))
            .collect();
        let topics = self.retry("describing topics", |left| {
            self.admin.describe_topics(&names, left)
        })?;
        let all = topics.iter().flat_map(|topic| {
            let name: Arc<str> = topic.name.as_str().into();
            (0..topic.partitions).map(move |partition| TopicPartition::new(name.clone(), partition))
        });
        Ok(all.collect())
    }

    /// What a group has committed, in order.
    pub(super) fn committed(&self, group: &str) -> Result<Vec<(TopicPartition, Committed)>> {
        let stored = self.stored(group, &[])?;
        let mut committed: Vec<_> = stored
            .iter()
            .map(|at| positions::decode(at.partition.clone(), at.offset, &at.metadata))
            .collect();
        committed.sort_by(|left, right| left.0.cmp(&right.0));
        Ok(committed)
    }

    /// The groups that have committed anything, in order.
    pub(super) fn groups(&self) -> Result<Vec<String>> {
        let mut groups = self.retry("listing groups", |left| self.admin.groups(left))?;
        groups.sort();
        let mut committed = Vec::new();
        for group in groups {
            if !self.committed(&group)?.is_empty() {
                committed.push(group);
            }
        }
        Ok(committed)
    }

    /// Forgets what a group has committed, and its internal topics.
    pub(super) fn forget(&self, group: &str) -> Result<()> {
        let internal: Vec<Arc<str>> = self
            .stored(group, &[])?
            .into_iter()
            .map(|at| at.partition.topic)
            .filter(|topic| topic.starts_with(positions::PREFIX))
            .collect();
        let doing = format!("forgetting a group group=`{group}`");
        self.ask_coordinator(group, &doing, |asker, left| {
            match asker.delete_group(group, left) {
                Err(fault) if fault.code == code::GROUP_NOT_FOUND => Ok(()),
                Err(fault) if fault.code == code::NON_EMPTY_GROUP => Err(Fault {
                    text: format!("application `{group}` is running: stop it first"),
                    ..Fault::of(code::INVALID_ARGUMENT)
                }),
                result => result,
            }
        })?;
        for topic in internal {
            self.delete(&topic)?;
        }
        Ok(())
    }
}

/// What a client and the topics that it makes take in one record or batch.
const MESSAGE_BYTES_MAX: &str = "16777216";

fn config_of(topic: &TopicDescription, settings: Option<&BTreeMap<String, String>>) -> TopicConfig {
    let setting = |name: &str| settings.and_then(|settings| settings.get(name));
    let bound = |name: &str| setting(name).and_then(|value| value.parse().ok());
    TopicConfig {
        partitions: topic.partitions,
        retention_ms: bound("retention.ms"),
        retention_bytes: bound("retention.bytes"),
        compacted: setting("cleanup.policy").is_some_and(|policy| policy.contains("compact")),
        replicas: None,
    }
}
