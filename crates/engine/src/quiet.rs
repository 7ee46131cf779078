//! Time that passes without records.
//!
//! A partition is quiet only while fetches confirm that its position is the end
//! of the log. Once it has been quiet for `idle_timeout`, ticks set the watermark
//! to `S + q`: `S` is where it stood when quiet began, `q` how long it has been
//! quiet, where the gap between two confirming fetches counts as at most one
//! second. So a broker that cannot be reached, a pipeline stopped at a
//! breakpoint and a suspended laptop are not quiet, and a file of 2013 makes
//! nothing late: the wall clock never enters.

use headwater_core::TimestampMs;
use std::time::Duration;

/// The longest that the gap between two confirming fetches counts.
const GAP_MAX: Duration = Duration::from_secs(1);
/// The shortest time between two ticks of a task.
const TICK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a partition has been quiet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quiet {
    since_watermark: TimestampMs,
    last_confirmed: Duration,
    quiet_for: Duration,
    last_tick: Duration,
}

impl Quiet {
    /// Quiet begins: a fetch confirmed the end of the log at `now`, while the
    /// watermark stood at `watermark`.
    pub(crate) fn begin(now: Duration, watermark: TimestampMs) -> Quiet {
        Quiet {
            since_watermark: watermark,
            last_confirmed: now,
            quiet_for: Duration::ZERO,
            last_tick: Duration::ZERO,
        }
    }

    /// Where the watermark stood when it became quiet.
    pub(crate) fn since_watermark(&self) -> TimestampMs {
        self.since_watermark
    }

    /// Another fetch confirmed it.
    pub(crate) fn confirm(&mut self, now: Duration) {
        self.quiet_for += now.saturating_sub(self.last_confirmed).min(GAP_MAX);
        self.last_confirmed = now;
    }

    /// Whether it has been quiet for that many milliseconds.
    pub(crate) fn is_longer_than(&self, timeout_ms: i64) -> bool {
        self.quiet_for.as_millis() as i64 >= timeout_ms
    }

    /// The watermark of a tick that is due now, if one is.
    pub(crate) fn tick(&mut self, idle_timeout: Duration) -> Option<TimestampMs> {
        let is_due = self.quiet_for >= idle_timeout
            && self.quiet_for >= self.last_tick + TICK_INTERVAL
            && self.since_watermark != TimestampMs::MIN
            && self.since_watermark != TimestampMs::MAX;
        is_due.then(|| {
            self.last_tick = self.quiet_for;
            self.since_watermark
                .saturating_add(self.quiet_for.as_millis() as TimestampMs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn ticks_follow_the_quiet_time_and_never_the_wall_clock() {
        let mut quiet = Quiet::begin(SECOND * 100, 5_000);
        for second in 101..110 {
            quiet.confirm(SECOND * second);
            assert_eq!(quiet.tick(SECOND * 10), None);
        }
        quiet.confirm(SECOND * 110);
        assert_eq!(quiet.tick(SECOND * 10), Some(15_000));
        quiet.confirm(SECOND * 110 + SECOND / 2);
        assert_eq!(quiet.tick(SECOND * 10), None, "at most one tick a second");
        quiet.confirm(SECOND * 111);
        assert_eq!(quiet.tick(SECOND * 10), Some(16_000));
    }

    #[test]
    fn a_long_gap_between_fetches_is_not_quiet() {
        let mut quiet = Quiet::begin(SECOND, 0);
        quiet.confirm(SECOND * 1_000);
        assert_eq!(quiet.tick(SECOND * 10), None);
    }

    #[test]
    fn without_a_watermark_there_is_nothing_to_move() {
        let mut quiet = Quiet::begin(SECOND, TimestampMs::MIN);
        for second in 2..30 {
            quiet.confirm(SECOND * second);
        }
        assert_eq!(quiet.tick(SECOND * 10), None);
    }
}
