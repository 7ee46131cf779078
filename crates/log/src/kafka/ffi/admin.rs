//! Questions and orders to the cluster: topics, settings, offsets, groups.
//!
//! Every call is a request of librdkafka's admin interface with a time limit; its
//! answer arrives in a queue of its own.

use super::{
    Client, Entry, Event, Fault, Partitions, Queue, c_string, code, codes, entries_of, entry_of,
    millis, sys, text_of,
};
use crate::kafka::wake::Wake;
use headwater_core::{TimestampMs, TopicPartition};
use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;
use sys::rd_kafka_admin_op_t as Op;

/// Which records count for an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Isolation {
    /// Those of committed transactions.
    Committed,
    /// Those of open transactions too.
    Uncommitted,
}

/// Which offset of a partition is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum OffsetSpec {
    /// The first readable one.
    Earliest,
    /// The one after the last.
    Latest,
    /// That of the first record of a time or later.
    At(TimestampMs),
}

/// A topic as the cluster describes it.
pub(in super::super) struct TopicDescription {
    pub(in super::super) name: String,
    /// Its id, folded; 0 where the broker has none.
    pub(in super::super) id: u64,
    pub(in super::super) partitions: u32,
    /// Whether each partition has a leader.
    pub(in super::super) has_leaders: bool,
}

/// A topic to make.
pub(in super::super) struct NewTopic {
    pub(in super::super) name: String,
    pub(in super::super) partitions: u32,
    /// `None` leaves it to the broker.
    pub(in super::super) replicas: Option<u16>,
    pub(in super::super) settings: Vec<(&'static str, String)>,
}

/// What a group has committed for a partition.
pub(in super::super) struct GroupOffset {
    pub(in super::super) partition: TopicPartition,
    pub(in super::super) offset: u64,
    pub(in super::super) metadata: Vec<u8>,
}

/// The limit of a request to a group's coordinator, which must never be reached: we stop
/// waiting long before, and the caller gives the client up (`Cluster::ask_coordinator`).
const LATEST: Duration = Duration::from_secs(3_600);

/// Options of an admin request.
struct Options(NonNull<sys::rd_kafka_AdminOptions_t>);

impl Options {
    fn new(client: &Client, op: Op, limit: Duration) -> Options {
        let mut text = [0; 256];
        // SAFETY: the client lives; every request has a limit within the range.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(client.raw(), op);
            let is_of_coordinator = matches!(
                op,
                Op::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS
                    | Op::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS
                    | Op::RD_KAFKA_ADMIN_OP_DELETECONSUMERGROUPOFFSETS
                    | Op::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS
                    | Op::RD_KAFKA_ADMIN_OP_DELETEGROUPS
            );
            let own_limit = if is_of_coordinator { LATEST } else { limit };
            sys::rd_kafka_AdminOptions_set_request_timeout(
                options,
                millis(own_limit),
                text.as_mut_ptr(),
                text.len(),
            );
            if matches!(
                op,
                Op::RD_KAFKA_ADMIN_OP_CREATETOPICS
                    | Op::RD_KAFKA_ADMIN_OP_DELETETOPICS
                    | Op::RD_KAFKA_ADMIN_OP_CREATEPARTITIONS
            ) {
                // How long the broker may wait for the cluster to follow.
                sys::rd_kafka_AdminOptions_set_operation_timeout(
                    options,
                    millis(limit),
                    text.as_mut_ptr(),
                    text.len(),
                );
            }
            Options(NonNull::new(options).expect("librdkafka ends the process without memory"))
        }
    }

    fn raw(&self) -> *mut sys::rd_kafka_AdminOptions_t {
        self.0.as_ptr()
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: we own it.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.raw()) };
    }
}

/// Offsets that were asked for and are on their way.
pub(in super::super) struct OffsetsAsked(Queue);

/// The answer: each partition with its offset, in no order.
pub(in super::super) type Offsets = Vec<(TopicPartition, Result<u64, Fault>)>;

impl OffsetsAsked {
    /// The answer, once it is there; nothing waits.
    pub(in super::super) fn answer(&self) -> Option<Result<Offsets, Fault>> {
        self.0.poll(Duration::ZERO).map(|event| offsets(&event))
    }
}

fn offsets(event: &Event) -> Result<Offsets, Fault> {
    event.check()?;
    // SAFETY: the event lives and is of this kind (its error was checked); the result
    // and its parts live as long.
    unsafe {
        let result = sys::rd_kafka_event_ListOffsets_result(event.raw());
        let infos = items(|count| sys::rd_kafka_ListOffsets_result_infos(result, count));
        let entry =
            |info: *const _| entry_of(sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info));
        Ok(infos.map(entry).map(offset_of).collect())
    }
}

fn offset_of(entry: Entry) -> (TopicPartition, Result<u64, Fault>) {
    let offset = match (entry.code, u64::try_from(entry.offset)) {
        (0, Ok(offset)) => Ok(offset),
        // The leader was just elected and does not know it yet, or nothing is as new as
        // what was asked for.
        (0, Err(_)) => Err(Fault::of(code::NO_OFFSET_SAID)),
        (code, _) => Err(Fault::of(code)),
    };
    (TopicPartition::new(entry.topic, entry.partition), offset)
}

/// The items of an array that librdkafka returns with its length.
///
/// # Safety
/// `array` returns null or an array of the length that it sets; it outlives the items.
unsafe fn items<T>(
    array: impl FnOnce(*mut usize) -> *mut *const T,
) -> impl Iterator<Item = *const T> {
    let mut count = 0;
    let array = array(&raw mut count);
    let count = if array.is_null() { 0 } else { count };
    // SAFETY: the caller says that it has so many items.
    (0..count).map(move |index| unsafe { *array.add(index) })
}

impl Client {
    /// Sends a request and waits for its answer.
    fn ask(
        self: &Arc<Self>,
        op: Op,
        limit: Duration,
        send: impl FnOnce(&Options, *mut sys::rd_kafka_queue_t),
    ) -> Result<Event, Fault> {
        let options = Options::new(self, op, limit);
        let queue = Queue::new(self, &Arc::default());
        send(&options, queue.raw());
        self.serve_errors();
        // The request ends by its own limit; a little more lets its answer arrive.
        let Some(event) = queue.poll(limit + Duration::from_secs(1)) else {
            return Err(Fault::of(code::TIMED_OUT));
        };
        self.serve_errors();
        event.check()?;
        Ok(event)
    }

    /// Asks for offsets; the answer rings `wake`.
    pub(in super::super) fn ask_offsets(
        self: &Arc<Self>,
        partitions: &[(&TopicPartition, OffsetSpec)],
        isolation: Isolation,
        limit: Duration,
        wake: &Arc<Wake>,
    ) -> Result<OffsetsAsked, Fault> {
        let mut list = Partitions::new(partitions.len());
        for (partition, spec) in partitions {
            let spec = match spec {
                OffsetSpec::Earliest => -2,
                OffsetSpec::Latest => -1,
                OffsetSpec::At(time_ms) => *time_ms,
            };
            list.push(&partition.topic, partition.partition, spec)?;
        }
        let level = match isolation {
            Isolation::Committed => {
                sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
            }
            Isolation::Uncommitted => {
                sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
            }
        };
        let options = Options::new(self, Op::RD_KAFKA_ADMIN_OP_LISTOFFSETS, limit);
        let queue = Queue::new(self, wake);
        // SAFETY: client, list, options and queue live; the request copies the first two.
        unsafe {
            Fault::take(sys::rd_kafka_AdminOptions_set_isolation_level(
                options.raw(),
                level,
            ))?;
            sys::rd_kafka_ListOffsets(self.raw(), list.raw(), options.raw(), queue.raw());
        }
        Ok(OffsetsAsked(queue))
    }

    /// Offsets, waiting for them.
    pub(in super::super) fn offsets(
        self: &Arc<Self>,
        partitions: &[(&TopicPartition, OffsetSpec)],
        isolation: Isolation,
        limit: Duration,
    ) -> Result<Offsets, Fault> {
        let asked = self.ask_offsets(partitions, isolation, limit, &Arc::default())?;
        let event = asked.0.poll(limit + Duration::from_secs(1));
        self.serve_errors();
        offsets(&event.ok_or_else(|| Fault::of(code::TIMED_OUT))?)
    }

    /// The names of all topics.
    pub(in super::super) fn topic_names(&self, limit: Duration) -> Result<Vec<String>, Fault> {
        let mut metadata = std::ptr::null();
        // SAFETY: the client lives; a successful answer is ours until it is destroyed,
        // and has as many topics as it says.
        unsafe {
            Fault::check(codes::rd_kafka_metadata(
                self.raw(),
                1,
                std::ptr::null_mut(),
                &raw mut metadata,
                millis(limit),
            ))?;
            let topics = (*metadata).topics;
            let count = usize::try_from((*metadata).topic_cnt).unwrap_or(0);
            let names = (0..count).map(|index| text_of((*topics.add(index)).topic));
            let names = names.collect();
            sys::rd_kafka_metadata_destroy(metadata);
            Ok(names)
        }
    }

    /// Describes topics; those that do not exist are left out.
    pub(in super::super) fn describe_topics(
        self: &Arc<Self>,
        names: &[&str],
        limit: Duration,
    ) -> Result<Vec<TopicDescription>, Fault> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<CString> = names
            .iter()
            .map(|name| c_string(name))
            .collect::<Result<_, _>>()?;
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: the names live and are copied.
        let topics = unsafe {
            sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len())
        };
        let event = self.ask(
            Op::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            limit,
            |options, queue| {
                // SAFETY: all live; the request copies the collection and the options.
                unsafe { sys::rd_kafka_DescribeTopics(self.raw(), topics, options.raw(), queue) };
            },
        );
        // SAFETY: it was made above and is used no more.
        unsafe { sys::rd_kafka_TopicCollection_destroy(topics) };
        let event = event?;
        // SAFETY: the event lives and is of this kind; its parts live as long.
        unsafe {
            let result = sys::rd_kafka_event_DescribeTopics_result(event.raw());
            items(|count| sys::rd_kafka_DescribeTopics_result_topics(result, count))
                .filter_map(|topic| describe(topic).transpose())
                .collect()
        }
    }

    /// Makes a topic; `false` if it existed.
    pub(in super::super) fn create_topic(
        self: &Arc<Self>,
        topic: &NewTopic,
        limit: Duration,
    ) -> Result<bool, Fault> {
        let name = c_string(&topic.name)?;
        let mut text = [0; 256];
        // SAFETY: the name lives and is copied.
        let new = unsafe {
            sys::rd_kafka_NewTopic_new(
                name.as_ptr(),
                topic.partitions as c_int,
                topic.replicas.map_or(-1, c_int::from),
                text.as_mut_ptr(),
                text.len(),
            )
        };
        if new.is_null() {
            // SAFETY: librdkafka ends the text within the buffer.
            return Err(Fault::invalid(unsafe { text_of(text.as_ptr()) }));
        }
        for (name, value) in &topic.settings {
            if let (Ok(name), Ok(value)) = (c_string(name), c_string(value)) {
                // SAFETY: the topic and the texts live; the texts are copied.
                unsafe { sys::rd_kafka_NewTopic_set_config(new, name.as_ptr(), value.as_ptr()) };
            }
        }
        let mut topics = [new];
        let event = self.ask(
            Op::RD_KAFKA_ADMIN_OP_CREATETOPICS,
            limit,
            |options, queue| {
                // SAFETY: all live; the request copies the topics and the options.
                unsafe {
                    sys::rd_kafka_CreateTopics(
                        self.raw(),
                        topics.as_mut_ptr(),
                        1,
                        options.raw(),
                        queue,
                    );
                }
            },
        );
        // SAFETY: it was made above and is used no more.
        unsafe { sys::rd_kafka_NewTopic_destroy(new) };
        let event = event?;
        // SAFETY: the event lives and is of this kind; its parts live as long.
        let results = unsafe {
            let result = sys::rd_kafka_event_CreateTopics_result(event.raw());
            topic_results(|count| sys::rd_kafka_CreateTopics_result_topics(result, count))
        };
        match results.into_iter().next() {
            Some(fault) if fault.code == code::TOPIC_EXISTS => Ok(false),
            Some(fault) => Err(fault),
            None => Ok(true),
        }
    }

    /// Adds partitions to a topic until it has `partitions`.
    pub(in super::super) fn create_partitions(
        self: &Arc<Self>,
        topic: &str,
        partitions: u32,
        limit: Duration,
    ) -> Result<(), Fault> {
        let name = c_string(topic)?;
        let mut text = [0; 256];
        // SAFETY: the name lives and is copied.
        let new = unsafe {
            sys::rd_kafka_NewPartitions_new(
                name.as_ptr(),
                partitions as usize,
                text.as_mut_ptr(),
                text.len(),
            )
        };
        if new.is_null() {
            // SAFETY: librdkafka ends the text within the buffer.
            return Err(Fault::invalid(unsafe { text_of(text.as_ptr()) }));
        }
        let mut all = [new];
        let event = self.ask(
            Op::RD_KAFKA_ADMIN_OP_CREATEPARTITIONS,
            limit,
            |options, queue| {
                // SAFETY: all live; the request copies them.
                unsafe {
                    sys::rd_kafka_CreatePartitions(
                        self.raw(),
                        all.as_mut_ptr(),
                        1,
                        options.raw(),
                        queue,
                    );
                }
            },
        );
        // SAFETY: it was made above and is used no more.
        unsafe { sys::rd_kafka_NewPartitions_destroy(new) };
        let event = event?;
        // SAFETY: the event lives and is of this kind; its parts live as long.
        let results = unsafe {
            let result = sys::rd_kafka_event_CreatePartitions_result(event.raw());
            topic_results(|count| sys::rd_kafka_CreatePartitions_result_topics(result, count))
        };
        results.into_iter().next().map_or(Ok(()), Err)
    }

    /// Deletes a topic; `false` if there was none.
    pub(in super::super) fn delete_topic(
        self: &Arc<Self>,
        topic: &str,
        limit: Duration,
    ) -> Result<bool, Fault> {
        let name = c_string(topic)?;
        // SAFETY: the name lives and is copied.
        let deleted = unsafe { sys::rd_kafka_DeleteTopic_new(name.as_ptr()) };
        let mut all = [deleted];
        let event = self.ask(
            Op::RD_KAFKA_ADMIN_OP_DELETETOPICS,
            limit,
            |options, queue| {
                // SAFETY: all live; the request copies them.
                unsafe {
                    sys::rd_kafka_DeleteTopics(
                        self.raw(),
                        all.as_mut_ptr(),
                        1,
                        options.raw(),
                        queue,
                    );
                }
            },
        );
        // SAFETY: it was made above and is used no more.
        unsafe { sys::rd_kafka_DeleteTopic_destroy(deleted) };
        let event = event?;
        // SAFETY: the event lives and is of this kind; its parts live as long.
        let results = unsafe {
            let result = sys::rd_kafka_event_DeleteTopics_result(event.raw());
            topic_results(|count| sys::rd_kafka_DeleteTopics_result_topics(result, count))
        };
        match results.into_iter().next() {
            Some(fault) if fault.code == code::UNKNOWN_TOPIC => Ok(false),
            Some(fault) => Err(fault),
            None => Ok(true),
        }
    }

    /// Lets go of the records of a partition before an offset.
    pub(in super::super) fn delete_records(
        self: &Arc<Self>,
        partition: &TopicPartition,
        before: u64,
        limit: Duration,
    ) -> Result<(), Fault> {
        let mut list = Partitions::new(1);
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        list.push(&partition.topic, partition.partition, before)?;
        // SAFETY: the list lives and is copied.
        let order = unsafe { sys::rd_kafka_DeleteRecords_new(list.raw()) };
        let mut all = [order];
        let event = self.ask(
            Op::RD_KAFKA_ADMIN_OP_DELETERECORDS,
            limit,
            |options, queue| {
                // SAFETY: all live; the request copies them.
                unsafe {
                    sys::rd_kafka_DeleteRecords(
                        self.raw(),
                        all.as_mut_ptr(),
                        1,
                        options.raw(),
                        queue,
                    );
                }
            },
        );
        // SAFETY: it was made above and is used no more.
        unsafe { sys::rd_kafka_DeleteRecords_destroy(order) };
        let event = event?;
        // SAFETY: the event lives and is of this kind; its parts live as long.
        let entries = unsafe {
            let result = sys::rd_kafka_event_DeleteRecords_result(event.raw());
            entries_of(sys::rd_kafka_DeleteRecords_result_offsets(result))
        };
        match entries.into_iter().find(|entry| entry.code != 0) {
            Some(entry) => Err(Fault::of(entry.code)),
            None => Ok(()),
        }
    }

    /// The settings of topics that exist, by topic.
    pub(in super::super) fn topic_settings(
        self: &Arc<Self>,
        topics: &[&str],
        limit: Duration,
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, Fault> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut resources = Vec::new();
        for topic in topics {
            let name = c_string(topic)?;
            // SAFETY: the name lives and is copied.
            resources.push(unsafe {
                sys::rd_kafka_ConfigResource_new(
                    sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
                    name.as_ptr(),
                )
            });
        }
        let event = self.ask(
            Op::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS,
            limit,
            |options, queue| {
                // SAFETY: all live; the request copies them.
                unsafe {
                    sys::rd_kafka_DescribeConfigs(
                        self.raw(),
                        resources.as_mut_ptr(),
                        resources.len(),
                        options.raw(),
                        queue,
                    );
                }
            },
        );
        for resource in resources {
            // SAFETY: it was made above and is used no more.
            unsafe { sys::rd_kafka_ConfigResource_destroy(resource) };
        }
        let event = event?;
        // SAFETY: the event lives and is of this kind; its parts live as long.
        unsafe {
            let result = sys::rd_kafka_event_DescribeConfigs_result(event.raw());
            let all = items(|count| sys::rd_kafka_DescribeConfigs_result_resources(result, count));
            Ok(all
                .map(|resource| {
                    let name = text_of(sys::rd_kafka_ConfigResource_name(resource));
                    let entries =
                        items(|count| sys::rd_kafka_ConfigResource_configs(resource, count).cast());
                    let entry = |entry: *const sys::rd_kafka_ConfigEntry_t| {
                        let name = text_of(sys::rd_kafka_ConfigEntry_name(entry));
                        (name, text_of(sys::rd_kafka_ConfigEntry_value(entry)))
                    };
                    (name, entries.map(entry).collect())
                })
                .collect())
        }
    }

    /// The names of all groups.
    pub(in super::super) fn groups(
        self: &Arc<Self>,
        limit: Duration,
    ) -> Result<Vec<String>, Fault> {
        let op = Op::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS;
        let event = self.ask(op, limit, |options, queue| {
            // SAFETY: all live; the request copies the options.
            unsafe { sys::rd_kafka_ListConsumerGroups(self.raw(), options.raw(), queue) };
        })?;
        // SAFETY: the event lives and is of this kind; its parts live as long.
        unsafe {
            let result = sys::rd_kafka_event_ListConsumerGroups_result(event.raw());
            let faults =
                items(|count| sys::rd_kafka_ListConsumerGroups_result_errors(result, count));
            if let Some(fault) = faults.map(|error| Fault::read(error)).next() {
                return Err(fault);
            }
            let all = items(|count| sys::rd_kafka_ListConsumerGroups_result_valid(result, count));
            Ok(all
                .map(|group| text_of(sys::rd_kafka_ConsumerGroupListing_group_id(group)))
                .collect())
        }
    }

    /// What a group has committed, in these partitions or, without any, in all. An
    /// offset of a transaction in doubt is the fault `UNSTABLE_OFFSETS`, except that
    /// the list of all leaves out a partition that was never committed before.
    pub(in super::super) fn group_offsets(
        self: &Arc<Self>,
        group: &str,
        partitions: &[TopicPartition],
        limit: Duration,
    ) -> Result<Vec<GroupOffset>, Fault> {
        let name = c_string(group)?;
        let mut list = Partitions::new(partitions.len());
        for partition in partitions {
            list.push(&partition.topic, partition.partition, code::NO_OFFSET)?;
        }
        let list_or_all = if partitions.is_empty() {
            std::ptr::null()
        } else {
            list.raw().cast_const()
        };
        // SAFETY: name and list live and are copied; no list is all of them.
        let request =
            unsafe { sys::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), list_or_all) };
        let mut all = [request];
        let op = Op::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
        let mut refused = Ok(());
        let event = self.ask(op, limit, |options, queue| {
            // SAFETY: all live; the request copies them.
            unsafe {
                refused = Fault::take(sys::rd_kafka_AdminOptions_set_require_stable_offsets(
                    options.raw(),
                    1,
                ));
                sys::rd_kafka_ListConsumerGroupOffsets(
                    self.raw(),
                    all.as_mut_ptr(),
                    1,
                    options.raw(),
                    queue,
                );
            }
        });
        // SAFETY: it was made above and is used no more.
        unsafe { sys::rd_kafka_ListConsumerGroupOffsets_destroy(request) };
        refused?;
        let event = event?;
        // SAFETY: the event lives and is of this kind; its parts live as long.
        let entries = unsafe {
            let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event.raw());
            let groups =
                items(|count| sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, count));
            let mut entries = Vec::new();
            for group in groups {
                let error = sys::rd_kafka_group_result_error(group);
                if !error.is_null() {
                    return Err(Fault::read(error));
                }
                entries.extend(entries_of(sys::rd_kafka_group_result_partitions(group)));
            }
            entries
        };
        let offset = |entry: Entry| match (entry.code, u64::try_from(entry.offset)) {
            (0, Ok(offset)) => Some(Ok(GroupOffset {
                partition: TopicPartition::new(entry.topic, entry.partition),
                offset,
                metadata: entry.metadata,
            })),
            // A partition without a committed offset.
            (0, Err(_)) => None,
            (code, _) => Some(Err(Fault::of(code))),
        };
        entries.into_iter().filter_map(offset).collect()
    }

    /// Deletes a group with all that it has committed.
    pub(in super::super) fn delete_group(
        self: &Arc<Self>,
        group: &str,
        limit: Duration,
    ) -> Result<(), Fault> {
        let name = c_string(group)?;
        // SAFETY: the name lives and is copied.
        let deleted = unsafe { sys::rd_kafka_DeleteGroup_new(name.as_ptr()) };
        let mut all = [deleted];
        let event = self.ask(
            Op::RD_KAFKA_ADMIN_OP_DELETEGROUPS,
            limit,
            |options, queue| {
                // SAFETY: all live; the request copies them.
                unsafe {
                    sys::rd_kafka_DeleteGroups(
                        self.raw(),
                        all.as_mut_ptr(),
                        1,
                        options.raw(),
                        queue,
                    );
                }
            },
        );
        // SAFETY: it was made above and is used no more.
        unsafe { sys::rd_kafka_DeleteGroup_destroy(deleted) };
        let event = event?;
        // SAFETY: the event lives and is of this kind; its parts live as long.
        unsafe {
            let result = sys::rd_kafka_event_DeleteGroups_result(event.raw());
            let groups = items(|count| sys::rd_kafka_DeleteGroups_result_groups(result, count));
            for group in groups {
                let error = sys::rd_kafka_group_result_error(group);
                if !error.is_null() {
                    return Err(Fault::read(error));
                }
            }
        }
        Ok(())
    }
}

/// Reads a description; `None` if the topic does not exist.
///
/// # Safety
/// `topic` lives for this call.
unsafe fn describe(
    topic: *const sys::rd_kafka_TopicDescription_t,
) -> Result<Option<TopicDescription>, Fault> {
    // SAFETY: it lives, says the caller, and its parts with it.
    unsafe {
        let error = sys::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() {
            let fault = Fault::read(error);
            match fault.code {
                0 => {}
                code::UNKNOWN_TOPIC | code::UNKNOWN_TOPIC_LOCAL | code::INVALID_TOPIC => {
                    return Ok(None);
                }
                _ => return Err(fault),
            }
        }
        let mut partitions = 0;
        let mut has_leaders = true;
        for partition in items(|count| sys::rd_kafka_TopicDescription_partitions(topic, count)) {
            partitions += 1;
            let leader = sys::rd_kafka_TopicPartitionInfo_leader(partition);
            has_leaders &= !leader.is_null() && 0 <= sys::rd_kafka_Node_id(leader);
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let id = if id.is_null() {
            0
        } else {
            (sys::rd_kafka_Uuid_most_significant_bits(id)
                ^ sys::rd_kafka_Uuid_least_significant_bits(id)) as u64
        };
        Ok(Some(TopicDescription {
            name: text_of(sys::rd_kafka_TopicDescription_name(topic)),
            id,
            partitions,
            has_leaders,
        }))
    }
}

/// The faults among the results of an order about topics.
///
/// # Safety
/// As [`items`].
unsafe fn topic_results(
    array: impl FnOnce(*mut usize) -> *mut *const sys::rd_kafka_topic_result_t,
) -> Vec<Fault> {
    // SAFETY: the array and its results live, says the caller.
    unsafe {
        let fault = |result: *const _| match codes::rd_kafka_topic_result_error(result) {
            0 => None,
            code => {
                let text = text_of(sys::rd_kafka_topic_result_error_string(result));
                let text = if text.is_empty() {
                    Fault::of(code).text
                } else {
                    text
                };
                Some(Fault {
                    text,
                    ..Fault::of(code)
                })
            }
        };
        items(array).filter_map(fault).collect()
    }
}
