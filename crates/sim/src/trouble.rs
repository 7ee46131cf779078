//! What goes wrong, and when.
//!
//! A script lists its faults. Each names the call at which it fires: the nth call
//! of a kind by a process, counted over all its lives. So a fault can be left out
//! and the rest stays as it is, which is what makes a failure reducible.

use crate::seed::Seed;

/// Kinds of calls from a process to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Any call at all.
    Any,
    /// A reader polls.
    Poll,
    /// A transactor appends.
    Append,
    /// A transactor commits.
    Commit,
    /// A commit takes its steps.
    InCommit,
    /// A process joins a group, or asks for its assignment.
    Join,
    /// A member asks what is committed.
    Committed,
    /// A transactor is opened.
    Open,
    /// Topics and bounds are asked for.
    Look,
    /// A file is opened.
    OpenFile,
    /// A file is read.
    ReadFile,
    /// A file is written or cut.
    WriteFile,
    /// A file is synced.
    SyncFile,
    /// A process waits.
    Sleep,
}

/// What goes wrong at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// The process dies; what it wrote to files stays with the system.
    Kill,
    /// The machine loses power: all processes die, and unsynced bytes with them.
    PowerCut,
    /// The process stands still for so many milliseconds.
    Stall(u64),
    /// The process stands still while another one takes its place.
    Zombie(u64),
    /// The log does not answer, and nothing happened.
    Unavailable,
    /// The log does what was asked, and the answer is lost.
    ReplyLost,
    /// The request is lost, and so is the answer.
    RequestLost,
    /// The answer is lost, and the request arrives so many milliseconds later.
    RequestLate(u64),
    /// The coordinator of groups and transactions does not answer for so long.
    CoordinatorLost(u64),
    /// The group is shared out anew.
    Rebalance,
    /// Superseded changelog records are removed.
    Compact,
    /// Records before the committed positions are removed.
    Retention,
    /// The disk reports an error, and does nothing.
    IoError,
    /// The disk is full: a part of the bytes is written.
    DiskFull,
    /// The sync fails and drops what was not synced.
    SyncFails,
    /// A bit flips in a file of a state store.
    BitFlip,
}

impl Trouble {
    /// Whether nobody knows whether a commit has happened.
    pub(crate) fn is_doubt(self) -> bool {
        matches!(
            self,
            Trouble::ReplyLost | Trouble::RequestLost | Trouble::RequestLate(_)
        )
    }

    /// Whether it happens in the log, whoever called.
    pub(crate) fn is_of_the_log(self) -> bool {
        matches!(
            self,
            Trouble::CoordinatorLost(_)
                | Trouble::Rebalance
                | Trouble::Compact
                | Trouble::Retention
        )
    }
}

/// One fault of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The process at whose call it fires.
    pub process: usize,
    /// The kind of the call.
    pub call: Call,
    /// The number of the call, from 0, among those of the process and kind.
    pub nth: u64,
    /// What happens.
    pub trouble: Trouble,
}

impl Fault {
    /// A group is shared out anew, at some call.
    pub fn rebalance(seed: &mut Seed, processes: usize) -> Fault {
        Fault {
            process: seed.below(processes as u64) as usize,
            call: Call::Any,
            nth: seed.below(500),
            trouble: Trouble::Rebalance,
        }
    }

    /// A random fault in one of the first `processes` processes, the applications.
    pub fn random(seed: &mut Seed, processes: usize) -> Fault {
        use Call::{Any, Append, Commit, Committed, InCommit, Join, Look, Open, OpenFile, Poll};
        use Call::{ReadFile, SyncFile, WriteFile};
        let magnitude = seed.below(15);
        let stall = seed.below(1 << magnitude);
        let (call, nth_max, trouble) = match seed.below(32) {
            0..=3 => (Any, 300, Trouble::Kill),
            4 | 27 => (*seed.pick(&[Commit, InCommit]), 16, Trouble::Kill),
            5 => (Any, 300, Trouble::PowerCut),
            6 => (WriteFile, 12, Trouble::PowerCut),
            7 => (Any, 300, Trouble::Stall(stall)),
            8 => (Commit, 12, Trouble::Stall(stall)),
            9 => (Any, 250, Trouble::Zombie(200 + stall)),
            10 => (Commit, 12, Trouble::Zombie(200 + stall)),
            11 => (Commit, 12, Trouble::Unavailable),
            12 | 13 => (Commit, 12, Trouble::ReplyLost),
            14 => (Commit, 12, Trouble::RequestLost),
            15 | 16 => (Commit, 12, Trouble::RequestLate(stall)),
            17 => (
                *seed.pick(&[Poll, Append, Join, Committed, Open, Look]),
                20,
                Trouble::Unavailable,
            ),
            18 => (Any, 300, Trouble::CoordinatorLost(stall)),
            19..=21 => (Any, 300, Trouble::Rebalance),
            22 => (Any, 300, Trouble::Compact),
            23 => (Any, 300, Trouble::Retention),
            29 | 30 => (Poll, *seed.pick(&[20, 80]), Trouble::Kill),
            24 => (
                *seed.pick(&[OpenFile, WriteFile]),
                *seed.pick(&[12, 200]),
                *seed.pick(&[Trouble::IoError, Trouble::DiskFull]),
            ),
            25 | 28 => (
                SyncFile,
                *seed.pick(&[6, 12, 80]),
                *seed.pick(&[Trouble::SyncFails, Trouble::Kill, Trouble::PowerCut]),
            ),
            _ => (
                *seed.pick(&[OpenFile, ReadFile]),
                *seed.pick(&[30, 300]),
                *seed.pick(&[Trouble::BitFlip, Trouble::BitFlip, Trouble::IoError]),
            ),
        };
        Fault {
            process: seed.below(processes as u64) as usize,
            call,
            nth: seed.below(nth_max),
            trouble,
        }
    }
}
