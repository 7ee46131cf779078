//! Transactions of a worker.
//!
//! # States
//!
//! ```text
//!             open (init_transactions: fences)          begin, at the first append
//! (no client) ───────────────────────────────▶ Idle ───────────────────────▶ Open
//!     ▲                                          ▲                             │
//!     │                                          ├── committed, nothing lost ──┤
//!     │                                          ├── aborted ──────────────────┤
//!     └── in doubt, fenced, a lost reply, a failed abort ◀─────────────────────┘
//! ```
//!
//! # What a commit does, and what ends it
//!
//! | step | what fails | outcome |
//! |---|---|---|
//! | 1 every record is delivered | one was refused | aborted, its error |
//! | | the time is up | the client goes, `Unavailable` |
//! | 2 `positions` of the ends | they fail | aborted, their error |
//! | 3 the group's offsets join the transaction | a stale generation | aborted, `Unavailable` |
//! | | another took the identity | the client goes, `Fenced` |
//! | | anything else | the client goes, `Unavailable` |
//! | 4 the end of the transaction | another took the identity¹ | the client goes, `Fenced` |
//! | | it must be aborted | the client goes, `Unavailable` |
//! | | anything else | the client goes, **unknown** |
//!
//! ¹ Brokers say the same to a transaction that took longer than its timeout, and where
//! an opening of our own, given up without an answer, arrives late. Then it is
//! `Unavailable`.
//!
//! Before step 4 nothing can have been committed: a client that goes leaves an open
//! transaction, which the next one of its identity aborts, or the broker in time.
//!
//! librdkafka repeats a request to end a transaction whose reply was lost, and says
//! nothing; a request that arrives late may then end the *next* transaction. So a
//! client that lost a connection or a reply during a transaction is never used for
//! another: the next begins with a client of its own, whose initialisation makes
//! late requests stale.

use super::errors;
use super::ffi::{Fault, Kind, code};
use super::member::Membership;
use super::outbox::Outbox;
use crate::{CommitOutcome, Ends, PositionsOf, Transactor};
use headwater_core::{Class, Error, Records, Result, TopicPartition};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long an abort may take before its client is given up.
const ABORT_WAIT_MAX: Duration = Duration::from_secs(5);

/// See [`Transactor`].
pub(super) struct KafkaTransactor {
    membership: Arc<Membership>,
    worker: usize,
    /// `None` once its client is used up.
    outbox: Option<Outbox>,
    is_open: bool,
    /// What the client had lost when the transaction began.
    losses_at_begin: u64,
    began_at: Duration,
    pending_bytes: usize,
    /// The partitions that this writer has committed to before.
    known: BTreeSet<TopicPartition>,
}

/// Why a commit did not succeed.
enum Ending {
    /// It did not happen, and the client can abort it.
    Refused(Error),
    /// It did not happen, and the client is used up.
    Broken(Error),
    /// It may have happened.
    InDoubt(String),
}

impl KafkaTransactor {
    pub(super) fn open(membership: Arc<Membership>, worker: usize) -> Result<KafkaTransactor> {
        let mut transactor = KafkaTransactor {
            membership,
            worker,
            outbox: None,
            is_open: false,
            losses_at_begin: 0,
            began_at: Duration::ZERO,
            pending_bytes: 0,
            known: BTreeSet::new(),
        };
        transactor.outbox()?;
        Ok(transactor)
    }

    fn limit(&self) -> Duration {
        self.membership.cluster.options.request_timeout
    }

    /// The outbox, with a client whose identity is initialised.
    fn outbox(&mut self) -> Result<&mut Outbox> {
        if self.outbox.is_none() {
            self.membership.check()?;
            let cluster = &self.membership.cluster;
            let options = &cluster.options;
            let membership = &self.membership;
            let instance = &membership.identity.name;
            // Stable, so that whoever takes it over settles what was left open.
            let id = format!("{}-{instance}-{}", membership.group, self.worker);
            let client = cluster.start(Kind::Producer, &options.writer(Some(&id)))?;
            // A predecessor's transaction may have to be settled first.
            let limit = options.transaction_timeout + options.request_timeout;
            client.init_transactions(limit).map_err(|fault| {
                if errors::class_of(&fault) == Class::Unavailable {
                    cluster.opening_was_lost();
                }
                let doing = format!("opening transactions transactional.id=`{id}`");
                errors::client_error(&doing, &client, &fault)
            })?;
            self.outbox = Some(Outbox::new(cluster.clone(), client));
        }
        Ok(self.outbox.as_mut().expect("it was just made"))
    }

    fn begin(&mut self) -> Result<&mut Outbox> {
        if !self.is_open {
            let outbox = self.outbox()?;
            let losses = outbox.client().events().losses();
            if let Err(fault) = outbox.client().begin_transaction() {
                let error = errors::error("beginning a transaction", &fault);
                self.outbox = None;
                return Err(error);
            }
            self.losses_at_begin = losses;
            self.began_at = self.membership.cluster.options.env.clock.monotonic();
            self.is_open = true;
        }
        self.outbox()
    }

    fn try_commit(&mut self, positions: &mut PositionsOf<'_>) -> Result<(), Ending> {
        use Ending::{Broken, InDoubt, Refused};
        self.membership.check().map_err(Refused)?;
        let limit = self.limit();
        let ends = match &mut self.outbox {
            Some(outbox) if self.is_open => {
                if !outbox.settle(limit) {
                    return Err(Broken(Error::unavailable(format!(
                        "the brokers have not stored a transaction's records in time \
                         records=`{}` last=`{}`",
                        outbox.outstanding(),
                        outbox.client().events().last_line().unwrap_or_default()
                    ))));
                }
                let ended = outbox.take_ends();
                ended.map_err(|error| match error.class() {
                    Class::Fenced => Broken(error),
                    _ => Refused(error),
                })?
            }
            _ => Ends::new(),
        };
        let committed = positions(&ends).map_err(Refused)?;
        let offsets = self.membership.offsets(&committed).map_err(Refused)?;
        if offsets.is_empty() && !self.is_open {
            return Ok(());
        }
        // After this look the generation guards: it is a part of the request.
        let group = self.membership.metadata().map_err(Refused)?;
        self.membership.check().map_err(Refused)?;
        let client = self.begin().map_err(Refused)?.client().clone();
        if !offsets.is_empty() {
            client
                .send_offsets(&offsets, &group, limit)
                .map_err(|fault| offsets_ending(&fault))?;
        }
        match client.commit_transaction(limit) {
            Ok(()) => {
                self.wait_listed(offsets);
                Ok(())
            }
            Err(fault) if errors::class_of(&fault) == Class::Fenced => {
                Err(Broken(errors::error("committing a transaction", &fault)))
            }
            Err(fault) if fault.requires_abort => Err(Broken(Error::unavailable(format!(
                "a transaction had to be aborted: {} code=`{}`",
                fault.text, fault.code
            )))),
            Err(fault) => Err(InDoubt(format!("{} code=`{}`", fault.text, fault.code))),
        }
    }

    /// Whether a broker that calls this identity fenced need not mean that another
    /// has it: it aborts a transaction that takes too long in the same way, and an
    /// opening of our own that was given up may have arrived late.
    fn is_own_doing(&self) -> bool {
        let cluster = &self.membership.cluster;
        let options = &cluster.options;
        let open_for = options.env.clock.monotonic().saturating_sub(self.began_at);
        let is_late = self.is_open && options.transaction_timeout.mul_f64(0.8) <= open_for;
        is_late || cluster.may_fence_itself()
    }

    /// What a fenced identity means for the caller.
    fn fenced(&self, error: Error) -> Error {
        if error.class() != Class::Fenced || !self.is_own_doing() {
            return error;
        }
        Error::unavailable(format!("a transaction was aborted by the brokers: {error}"))
    }

    /// Waits until the first commit of a partition can be listed. The next owner might
    /// be given the partition before the end of the transaction reaches the group's
    /// offsets, and a list leaves out what was never committed before.
    fn wait_listed(&mut self, offsets: Vec<(TopicPartition, u64, String)>) {
        let places = offsets.into_iter().map(|(place, ..)| place);
        let new: Vec<_> = places.filter(|place| !self.known.contains(place)).collect();
        let group = &self.membership.group;
        // It is committed, whatever comes of this.
        if self.membership.cluster.wait_stable(group, &new).is_ok() {
            self.known.extend(new);
        }
    }

    /// Ends the open transaction without a trace; a client that cannot is given up.
    fn roll_back(&mut self) {
        self.pending_bytes = 0;
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        let Some(outbox) = &mut self.outbox else {
            return;
        };
        let is_settled = outbox.settle(ABORT_WAIT_MAX);
        let _ = is_settled.then(|| outbox.take_ends());
        if !is_settled || outbox.client().abort_transaction(ABORT_WAIT_MAX).is_err() {
            self.outbox = None;
        }
        self.leave_if_lossy();
    }

    /// Gives up a client that lost a connection or a reply since the transaction began.
    fn leave_if_lossy(&mut self) {
        let losses = self
            .outbox
            .as_ref()
            .map(|outbox| outbox.client().events().losses());
        if losses.is_some_and(|losses| losses != self.losses_at_begin) {
            self.outbox = None;
        }
    }
}

/// What a refusal of the group's offsets means for the transaction.
fn offsets_ending(fault: &Fault) -> Ending {
    let doing = "committing positions";
    match fault.code {
        code::ILLEGAL_GENERATION
        | code::UNKNOWN_MEMBER
        | code::STALE_MEMBER_EPOCH
        | code::FENCED_MEMBER_EPOCH => Ending::Refused(Error::unavailable(format!(
            "{doing}: the group has moved on without this member: {} code=`{}`",
            fault.text, fault.code
        ))),
        _ if errors::class_of(fault) == Class::Fenced => {
            Ending::Broken(errors::error(doing, fault))
        }
        _ if fault.requires_abort => Ending::Refused(errors::error(doing, fault)),
        _ => Ending::Broken(Error::unavailable(format!(
            "{doing}: {} code=`{}`",
            fault.text, fault.code
        ))),
    }
}

impl Transactor for KafkaTransactor {
    fn append(&mut self, partition: &TopicPartition, records: Records) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let limit = self.limit();
        // A partition that does not exist is found out before a transaction begins.
        self.outbox()?.slot(partition)?;
        let queued = self.begin()?.queue_all(partition, &records, limit);
        queued.map_err(|error| self.fenced(error))?;
        self.pending_bytes += byte_count(&records);
        Ok(())
    }

    fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    fn commit(&mut self, positions: &mut PositionsOf<'_>) -> Result<CommitOutcome> {
        let result = self.try_commit(positions);
        self.pending_bytes = 0;
        match result {
            Ok(()) => {
                self.is_open = false;
                self.leave_if_lossy();
                Ok(CommitOutcome::Committed)
            }
            Err(Ending::Refused(error)) => {
                self.roll_back();
                Err(error)
            }
            Err(Ending::Broken(error)) => {
                let error = self.fenced(error);
                (self.outbox, self.is_open) = (None, false);
                Err(error)
            }
            Err(Ending::InDoubt(reason)) => {
                (self.outbox, self.is_open) = (None, false);
                Ok(CommitOutcome::Unknown { reason })
            }
        }
    }

    fn abort(&mut self) -> Result<()> {
        self.roll_back();
        Ok(())
    }
}

impl Drop for KafkaTransactor {
    /// An open transaction would hold every reader up until its timeout.
    fn drop(&mut self) {
        self.roll_back();
    }
}

/// The bytes of keys and values.
pub(super) fn byte_count(records: &Records) -> usize {
    let spans = records.keys.iter().chain(&records.values);
    spans.map(|span| span.len as usize).sum()
}
