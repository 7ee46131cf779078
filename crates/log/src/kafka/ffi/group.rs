//! A consuming client as a member of a group.

use super::{Client, Event, Fault, Partitions, Queue, code, codes, entries_of, sys, text_of};
use crate::kafka::wake::Wake;
use headwater_core::TopicPartition;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

/// The identity of a member in one generation of its group.
pub(in super::super) struct GroupMetadata(NonNull<sys::rd_kafka_consumer_group_metadata_t>);

// SAFETY: it is plain data of our own.
unsafe impl Send for GroupMetadata {}

impl GroupMetadata {
    pub(super) fn raw(&self) -> *const sys::rd_kafka_consumer_group_metadata_t {
        self.0.as_ptr()
    }

    /// The generation, or -1 outside any.
    pub(in super::super) fn generation(&self) -> i32 {
        // SAFETY: it lives.
        unsafe { sys::rd_kafka_consumer_group_metadata_generation_id(self.raw()) }
    }
}

impl Drop for GroupMetadata {
    fn drop(&mut self) {
        // SAFETY: we own it.
        unsafe { sys::rd_kafka_consumer_group_metadata_destroy(self.0.as_ptr()) };
    }
}

/// What a group's member is told.
pub(in super::super) enum GroupEvent {
    /// These are its own now.
    Assign(Vec<TopicPartition>),
    /// These are to be given up.
    Revoke(Vec<TopicPartition>),
    /// These are another's already.
    Lost(Vec<TopicPartition>),
    /// It could not be done, or not yet.
    Failed(Fault),
}

/// The events of a member.
pub(in super::super) struct GroupEvents(Queue);

impl GroupEvents {
    pub(in super::super) fn new(client: &Arc<Client>, wake: &Arc<Wake>) -> GroupEvents {
        // SAFETY: the client is a consumer with a group.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(client.raw()) };
        GroupEvents(Queue::own(client, queue, wake))
    }

    /// The next event, waiting so long. The group takes the member for alive while
    /// this is called.
    pub(in super::super) fn next(&self, wait: Duration) -> Option<GroupEvent> {
        let event = self.0.poll(wait)?;
        match event.kind() {
            sys::RD_KAFKA_EVENT_REBALANCE => Some(self.rebalance(&event)),
            sys::RD_KAFKA_EVENT_ERROR => event.check().err().map(GroupEvent::Failed),
            // A message, of a partition that was not paused yet: other readers read it.
            _ => None,
        }
    }

    fn rebalance(&self, event: &Event) -> GroupEvent {
        // SAFETY: the event lives and is of this kind; its list lives as long.
        let (code, entries, is_lost) = unsafe {
            (
                codes::rd_kafka_event_error(event.raw()),
                entries_of(sys::rd_kafka_event_topic_partition_list(event.raw())),
                sys::rd_kafka_assignment_lost(self.0.client.raw()) != 0,
            )
        };
        let partitions = entries
            .into_iter()
            .map(|entry| TopicPartition::new(entry.topic, entry.partition))
            .collect();
        match code {
            code::ASSIGN_PARTITIONS => GroupEvent::Assign(partitions),
            code::REVOKE_PARTITIONS if is_lost => GroupEvent::Lost(partitions),
            code::REVOKE_PARTITIONS => GroupEvent::Revoke(partitions),
            code => GroupEvent::Failed(Fault::of(code)),
        }
    }

    /// Begins to leave the group; `next` tells what is left to give up until
    /// `has_left`.
    pub(in super::super) fn leave(&self) -> Result<(), Fault> {
        // SAFETY: client and queue live.
        unsafe {
            Fault::take(sys::rd_kafka_consumer_close_queue(
                self.0.client.raw(),
                self.0.raw(),
            ))
        }
    }

    /// Whether the group has been left.
    pub(in super::super) fn has_left(&self) -> bool {
        // SAFETY: the client lives.
        unsafe { sys::rd_kafka_consumer_closed(self.0.client.raw()) != 0 }
    }
}

impl Client {
    /// Becomes a member of the client's group for these topics.
    pub(in super::super) fn subscribe(&self, topics: &[Arc<str>]) -> Result<(), Fault> {
        let mut list = Partitions::new(topics.len());
        for topic in topics {
            list.push(topic, u32::MAX, code::NO_OFFSET)?;
        }
        // SAFETY: client and list live; the list is copied.
        Fault::check(unsafe { codes::rd_kafka_subscribe(self.raw(), list.raw()) })
    }

    /// Confirms that partitions are ours. None of their records is fetched: readers
    /// of their own do that.
    pub(in super::super) fn confirm_assign(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<(), Fault> {
        let list = list_of(partitions)?;
        // SAFETY: client and list live; the list is copied.
        unsafe {
            if self.is_cooperative() {
                Fault::take(sys::rd_kafka_incremental_assign(self.raw(), list.raw()))?;
            } else {
                Fault::check(codes::rd_kafka_assign(self.raw(), list.raw()))?;
            }
            Fault::check(codes::rd_kafka_pause_partitions(self.raw(), list.raw()))
        }
    }

    /// Confirms that partitions are given up.
    pub(in super::super) fn confirm_revoke(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<(), Fault> {
        let list = list_of(partitions)?;
        // SAFETY: client and list live; the list is copied. No list is all of them.
        unsafe {
            if self.is_cooperative() {
                Fault::take(sys::rd_kafka_incremental_unassign(self.raw(), list.raw()))
            } else {
                Fault::check(codes::rd_kafka_assign(self.raw(), std::ptr::null()))
            }
        }
    }

    fn is_cooperative(&self) -> bool {
        // SAFETY: the client lives; the text is a constant.
        unsafe { text_of(sys::rd_kafka_rebalance_protocol(self.raw())) == "COOPERATIVE" }
    }

    /// Commits offsets, each with metadata, as the member that this client is.
    pub(in super::super) fn commit_offsets(
        self: &Arc<Self>,
        offsets: &[(TopicPartition, u64, String)],
        limit: Duration,
    ) -> Result<(), Fault> {
        let mut list = Partitions::new(offsets.len());
        for (partition, offset, metadata) in offsets {
            list.push_with_metadata(partition, *offset as i64, metadata)?;
        }
        let queue = Queue::new(self, &Arc::default());
        // SAFETY: client, list and queue live; the list is copied. The answer is an
        // event of the queue.
        Fault::check(unsafe {
            codes::rd_kafka_commit_queue(
                self.raw(),
                list.raw(),
                queue.raw(),
                None,
                std::ptr::null_mut(),
            )
        })?;
        let event = queue.poll(limit);
        let event = event.ok_or_else(|| Fault::of(code::TIMED_OUT))?;
        event.check()?;
        // SAFETY: the event lives and is of this kind; its list lives as long.
        let entries = unsafe { entries_of(sys::rd_kafka_event_topic_partition_list(event.raw())) };
        let refused = entries.iter().find(|entry| entry.code != 0);
        refused.map_or(Ok(()), |entry| Err(Fault::of(entry.code)))
    }

    /// Who we are in the group now; `None` before the first assignment.
    pub(in super::super) fn group_metadata(&self) -> Option<GroupMetadata> {
        // SAFETY: the client lives; what is returned is ours.
        let metadata = unsafe { sys::rd_kafka_consumer_group_metadata(self.raw()) };
        NonNull::new(metadata).map(GroupMetadata)
    }
}

/// Where paused partitions are said to stand: any place needs no question to a broker.
const ANY_OFFSET: i64 = 0;

fn list_of(partitions: &[TopicPartition]) -> Result<Partitions, Fault> {
    let mut list = Partitions::new(partitions.len());
    for partition in partitions {
        list.push(&partition.topic, partition.partition, ANY_OFFSET)?;
    }
    Ok(list)
}
