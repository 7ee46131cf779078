//! Appends outside transactions: an idempotent producer, whose retries make no
//! duplicates and keep the order.

use super::cluster::Cluster;
use super::ffi::Kind;
use super::outbox::{Outbox, Queued};
use crate::Producer;
use headwater_core::{Error, Records, Result, TopicPartition};
use std::collections::VecDeque;
use std::sync::Arc;

/// See [`Producer`].
pub(super) struct KafkaProducer {
    cluster: Arc<Cluster>,
    /// `None` until it is needed, and after a fault that ended the client.
    outbox: Option<Outbox>,
    /// What the client's queue had no room for: its slot and the first record of it.
    backlog: VecDeque<(usize, Records, usize)>,
}

impl KafkaProducer {
    pub(super) fn new(cluster: Arc<Cluster>) -> KafkaProducer {
        KafkaProducer {
            cluster,
            outbox: None,
            backlog: VecDeque::new(),
        }
    }

    fn outbox(&mut self) -> Result<&mut Outbox> {
        if self.outbox.is_none() {
            let mut settings = self.cluster.options.writer(None);
            // What is queued stays queued until a broker takes it.
            if !self
                .cluster
                .options
                .settings
                .contains_key("message.timeout.ms")
            {
                settings.push(("message.timeout.ms".into(), "0".into()));
            }
            let client = self.cluster.start(Kind::Producer, &settings)?;
            self.outbox = Some(Outbox::new(self.cluster.clone(), client));
        }
        Ok(self.outbox.as_mut().expect("it was just made"))
    }

    /// Moves the backlog into the client's queue; whether all of it found room.
    fn drain(&mut self) -> Result<bool> {
        let Some(outbox) = &mut self.outbox else {
            return Ok(true);
        };
        while let Some((slot, records, start)) = self.backlog.front_mut() {
            match outbox.queue(*slot, records, *start) {
                Ok(Queued::All) => {}
                Ok(Queued::Until(next)) => {
                    *start = next;
                    return Ok(false);
                }
                Err(error) => {
                    self.backlog.pop_front();
                    return Err(error);
                }
            }
            self.backlog.pop_front();
        }
        Ok(true)
    }

    /// As `drain`, waiting for room.
    fn drain_within_limit(&mut self) -> Result<()> {
        let clock = self.cluster.options.env.clock.clone();
        let deadline = clock.monotonic() + self.cluster.options.request_timeout;
        while !self.drain()? {
            let outbox = self.outbox()?;
            if deadline <= clock.monotonic() {
                return Err(outbox.full());
            }
            outbox.serve(std::time::Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Producer for KafkaProducer {
    fn append(&mut self, partition: &TopicPartition, records: Records) -> Result<()> {
        let slot = self.outbox()?.slot(partition)?;
        self.drain_within_limit()?;
        self.backlog.push_back((slot, records, 0));
        self.drain().map(|_| ())
    }

    fn flush(&mut self) -> Result<()> {
        self.drain_within_limit()?;
        let limit = self.cluster.options.request_timeout;
        let Some(outbox) = &mut self.outbox else {
            return Ok(());
        };
        if !outbox.settle(limit) {
            let last = outbox.client().events().last_line().unwrap_or_default();
            return Err(Error::unavailable(format!(
                "the brokers have not stored what was appended; it stays queued \
                 records=`{}` last=`{last}`",
                outbox.outstanding()
            )));
        }
        match outbox.take_ends() {
            Ok(_) => Ok(()),
            Err(error) => {
                if outbox.client().ended().is_some() {
                    // Its identity is used up: the next append starts anew.
                    self.outbox = None;
                    self.backlog.clear();
                }
                Err(error)
            }
        }
    }
}
