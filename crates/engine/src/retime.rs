//! Time below a `set_timestamp`: its own watermark.
//!
//! The watermark of a task is that of its records' timestamps. Where a step
//! gives rows other times, what lies below it is judged by those: recordings of
//! last year that were produced today are not late. Such an operator keeps a
//! clock: the largest event time that it has set, less `max_out_of_orderness`.
//! A tick moves it by as much as it moves the task's watermark; the end of the
//! input closes everything below too. It is committed beside the watermark.

use headwater_core::arrow::buffer::ScalarBuffer;
use headwater_core::{Batch, Cause, TimestampMs};
use headwater_operators::StepTimes;

/// The times below one operator while a step passes.
#[derive(Debug)]
pub(crate) struct Retimed {
    pub(crate) times: StepTimes,
    /// The clock after the step; the end of the input is not a time.
    pub(crate) clock: TimestampMs,
}

/// How the inputs of a step move clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moves {
    pub(crate) is_tick: bool,
    pub(crate) max_out_of_orderness_ms: i64,
}

/// The times that an operator has set.
#[derive(Clone, Debug, Default)]
pub(crate) struct SetTimes {
    causes: ScalarBuffer<u64>,
    timestamps: ScalarBuffer<TimestampMs>,
}

impl SetTimes {
    /// Those of its rows.
    pub(crate) fn of(rows: &Batch) -> SetTimes {
        SetTimes {
            causes: rows.causes.clone(),
            timestamps: rows.timestamps.clone(),
        }
    }

    /// Those of the rows that descend from input number `at`.
    pub(crate) fn at(&self, at: usize) -> SetTimes {
        let from = self.causes.partition_point(|&cause| Cause(cause).at() < at);
        let to = self
            .causes
            .partition_point(|&cause| Cause(cause).at() <= at);
        SetTimes {
            causes: self.causes.slice(from, to - from),
            timestamps: self.timestamps.slice(from, to - from),
        }
    }
}

impl Retimed {
    /// The times below an operator whose clock stands at `clock` and that has set
    /// the times of `rows`.
    pub(crate) fn new(
        clock: TimestampMs,
        base: &StepTimes,
        rows: &SetTimes,
        moves: Moves,
    ) -> Retimed {
        let mut now = clock;
        let mut row = 0;
        let after = (0..base.after.len())
            .map(|at| {
                if base.after(at) == TimestampMs::MAX {
                    return TimestampMs::MAX;
                }
                if moves.is_tick && now != TimestampMs::MIN && base.before(at) != TimestampMs::MIN {
                    now = now.saturating_add(base.after(at).saturating_sub(base.before(at)));
                }
                while row < rows.causes.len() && Cause(rows.causes[row]).at() <= at {
                    let time = rows.timestamps[row];
                    now = now.max(time.saturating_sub(moves.max_out_of_orderness_ms));
                    row += 1;
                }
                now
            })
            .collect();
        Retimed {
            times: StepTimes {
                before: clock,
                after,
            },
            clock: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headwater_core::RecordsBuilder;

    #[test]
    fn rows_and_ticks_move_the_clock_and_the_end_does_not() {
        let mut records = RecordsBuilder::default();
        for time in [50, 40, 70] {
            records.push(None, Some(b"{}"), time, None);
        }
        let batch = Batch::from_records(&records.finish());
        let base = StepTimes {
            before: 1_000,
            after: vec![1_000, 1_001, 1_002, TimestampMs::MAX],
        };
        let moves = Moves {
            is_tick: false,
            max_out_of_orderness_ms: 0,
        };
        let retimed = Retimed::new(TimestampMs::MIN, &base, &SetTimes::of(&batch), moves);
        assert_eq!(retimed.times.after, [50, 50, 70, TimestampMs::MAX]);
        assert_eq!(retimed.clock, 70);
        let base = StepTimes {
            before: 1_002,
            after: vec![1_502],
        };
        let tick = Moves {
            is_tick: true,
            ..moves
        };
        assert_eq!(
            Retimed::new(70, &base, &SetTimes::default(), tick)
                .times
                .after,
            [570]
        );
    }
}
