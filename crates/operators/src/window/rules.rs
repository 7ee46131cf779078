//! Which windows a record is in, when they close, and when a key is forgotten.
//!
//! Pure functions of numbers: the rules of the module's documentation, and
//! nothing else.

use headwater_core::{Error, Result, TimestampMs};
use headwater_plan::{Closing, WindowSpec};

/// What a key remembers of time. [`Clock::NEW`] is a key that was never seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// K: the largest event time of its records.
    pub(super) latest_ms: TimestampMs,
    /// M: the larger of the watermark and K when its last record arrived.
    pub(super) moved_ms: TimestampMs,
    /// C: the largest end of a window that was closed.
    pub(super) closed_ms: TimestampMs,
}

impl Clock {
    pub(super) const NEW: Clock = Clock {
        latest_ms: TimestampMs::MIN,
        moved_ms: TimestampMs::MIN,
        closed_ms: TimestampMs::MIN,
    };

    /// The clock after a record.
    pub(super) fn moved_by(self, timestamp: TimestampMs, watermark: TimestampMs) -> Clock {
        let latest_ms = self.latest_ms.max(timestamp);
        Clock {
            latest_ms,
            moved_ms: latest_ms.max(watermark),
            ..self
        }
    }
}

/// The numbers of a [`WindowSpec`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) closing: Closing,
    pub(super) advance_ms: i64,
    pub(super) key_timeout_ms: i64,
    /// Whether records of one key come from several tasks, behind a change of key.
    pub(super) is_shared: bool,
    size_ms: i64,
    grace_ms: i64,
    key_retention_ms: i64,
}

impl Rules {
    /// Lengths up to this, and event times within twice this of 1970, can be
    /// added up without overflow: 36 million years.
    const LENGTH_MAX_MS: i64 = i64::MAX / 8;

    /// What may change while the state stays, and says when something is due.
    pub(super) fn times(&self) -> [i64; 3] {
        [self.grace_ms, self.key_timeout_ms, self.key_retention_ms]
    }

    pub(super) fn new(spec: &WindowSpec) -> Result<Rules> {
        let (size_ms, advance_ms) = (spec.length.size_ms(), spec.length.advance_ms());
        let lengths = [
            size_ms,
            spec.grace_ms,
            spec.key_timeout_ms,
            spec.key_retention_ms,
        ];
        let is_sound = 0 < advance_ms
            && advance_ms <= size_ms
            && lengths
                .iter()
                .all(|length| (0..=Self::LENGTH_MAX_MS).contains(length));
        if !is_sound {
            return Err(Error::invalid(format!(
                "the lengths of a window make no sense, size_ms=`{size_ms}` \
                 advance_ms=`{advance_ms}` grace_ms=`{}` key_timeout_ms=`{}` key_retention_ms=`{}`",
                spec.grace_ms, spec.key_timeout_ms, spec.key_retention_ms
            )));
        }
        Ok(Rules {
            closing: spec.closing,
            advance_ms,
            key_timeout_ms: spec.key_timeout_ms,
            is_shared: false,
            size_ms,
            grace_ms: spec.grace_ms,
            key_retention_ms: spec.key_retention_ms,
        })
    }

    /// Whether a record of that event time can be in windows at all.
    pub(super) fn is_in_range(timestamp: TimestampMs) -> bool {
        timestamp.unsigned_abs() <= 2 * Self::LENGTH_MAX_MS as u64
    }

    /// The end of a window, which is not in it.
    pub(super) fn end(&self, start: TimestampMs) -> TimestampMs {
        start.saturating_add(self.size_ms)
    }

    /// The first and the last window of a record: `start <= timestamp < end`.
    #[inline]
    pub(super) fn starts(&self, timestamp: TimestampMs) -> (TimestampMs, TimestampMs) {
        let last = timestamp - timestamp.rem_euclid(self.advance_ms);
        if self.advance_ms == self.size_ms {
            return (last, last);
        }
        (self.first_start_after(timestamp - self.size_ms), last)
    }

    /// The first window from `first` on that ends after `closed_end`.
    #[inline]
    pub(super) fn first_open(&self, first: TimestampMs, closed_end: TimestampMs) -> TimestampMs {
        if closed_end < self.end(first) {
            return first;
        }
        // Both bounds of time are far from every window.
        let bound = 4 * Self::LENGTH_MAX_MS;
        self.first_start_after(closed_end.clamp(-bound, bound) - self.size_ms)
    }

    fn first_start_after(&self, time: TimestampMs) -> TimestampMs {
        time - time.rem_euclid(self.advance_ms) + self.advance_ms
    }

    /// Windows that end then or before are closed for a record: it is late.
    /// `clock` is that of the record's key, before the record; `None` for a key
    /// that is not known.
    pub(super) fn closed_end(&self, clock: Option<&Clock>, watermark: TimestampMs) -> TimestampMs {
        match (self.closing, clock) {
            (Closing::Partition, _) => watermark.saturating_sub(self.grace_ms),
            (Closing::Key, Some(clock)) => self
                .passed(clock, watermark)
                .saturating_sub(self.grace_ms)
                .max(clock.closed_ms),
            (Closing::Key, None) => watermark
                .saturating_sub(self.key_retention_ms)
                .saturating_sub(self.grace_ms),
        }
    }

    /// How late a record is for windows that end at or before `closed_end`.
    pub(super) fn late_by(&self, closed_end: TimestampMs, timestamp: TimestampMs) -> i64 {
        closed_end.saturating_sub(timestamp)
    }

    /// The time that a key's own records have passed. Of one task they come in an
    /// order that means something; of several, only what all have passed.
    fn passed(&self, clock: &Clock, watermark: TimestampMs) -> TimestampMs {
        match self.is_shared {
            true => clock.latest_ms.min(watermark),
            false => clock.latest_ms,
        }
    }

    /// Whether the key's own clock has closed the window, at that watermark.
    pub(super) fn is_passed(
        &self,
        clock: &Clock,
        start: TimestampMs,
        watermark: TimestampMs,
    ) -> bool {
        self.closing == Closing::Key
            && self.end(start).saturating_add(self.grace_ms) <= self.passed(clock, watermark)
    }

    /// The watermark at which time closes an open window, where a silent key is
    /// waited for `timeout_ms`.
    pub(super) fn deadline(
        &self,
        clock: &Clock,
        start: TimestampMs,
        timeout_ms: i64,
    ) -> TimestampMs {
        let close_ms = self.end(start).saturating_add(self.grace_ms);
        if self.closing == Closing::Partition {
            return close_ms;
        }
        if self.is_shared && clock.closed_ms < self.end(start) && close_ms <= clock.latest_ms {
            return close_ms;
        }
        if close_ms <= clock.latest_ms || self.end(start) <= clock.closed_ms {
            // Closed, but its removal was lost with an at-least-once restart.
            return TimestampMs::MIN;
        }
        let silence_ms = close_ms.saturating_sub(clock.latest_ms).max(timeout_ms);
        clock.moved_ms.saturating_add(silence_ms)
    }

    /// The watermark at which a key without open windows is forgotten.
    pub(super) fn forget_at(&self, clock: &Clock) -> TimestampMs {
        clock
            .latest_ms
            .max(clock.closed_ms.saturating_add(self.grace_ms))
            .saturating_add(self.key_retention_ms)
    }
}
