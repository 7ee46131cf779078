//! The accumulator of one aggregate, whichever it is.

use super::count::Count;
use super::earliest::Earliest;
use super::first::First;
use super::fold::{Fault, Fold};
use super::held::{Held, unknown};
use super::last::Last;
use super::latest::Latest;
use super::max::Max;
use super::mean::Mean;
use super::min::Min;
use super::sum::Sum;
use super::variance::{Std, Variance};
use headwater_core::{Result, TimestampMs, Value, ValueRef};
use headwater_state::{ValueReader, ValueWriter};

/// See the file of each variant. Cloning one copies no text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Accumulator {
    Count(Count),
    Sum(Sum),
    Mean(Mean),
    Min(Min),
    Max(Max),
    First(First),
    Last(Last),
    Earliest(Earliest),
    Latest(Latest),
    Std(Std),
    Variance(Variance),
    /// What a user's function made, or nothing before its first value.
    User(Option<Held>),
}

/// Runs `$body` with the built-in aggregator's own type.
macro_rules! with_fold {
    ($accumulator:expr, $fold:ident => $body:expr, $user:ident => $other:expr) => {
        match $accumulator {
            Accumulator::Count($fold) => $body,
            Accumulator::Sum($fold) => $body,
            Accumulator::Mean($fold) => $body,
            Accumulator::Min($fold) => $body,
            Accumulator::Max($fold) => $body,
            Accumulator::First($fold) => $body,
            Accumulator::Last($fold) => $body,
            Accumulator::Earliest($fold) => $body,
            Accumulator::Latest($fold) => $body,
            Accumulator::Std($fold) => $body,
            Accumulator::Variance($fold) => $body,
            Accumulator::User($user) => $other,
        }
    };
}

impl Accumulator {
    /// As [`Fold::check`]. Null and what a user's function takes always pass.
    #[inline]
    pub(super) fn check(&self, value: ValueRef<'_>) -> Result<(), Fault> {
        if value.is_null() {
            return Ok(());
        }
        with_fold!(self, fold => fold.check(value), _user => Ok(()))
    }

    /// As [`Fold::add`]; null is skipped.
    #[inline]
    pub(super) fn add(&mut self, value: ValueRef<'_>, timestamp: TimestampMs) {
        if !value.is_null() {
            with_fold!(self, fold => fold.add(value, timestamp), _user => ());
        }
    }

    /// As [`Fold::result`]; a user's accumulator as it is.
    pub(super) fn result(&self) -> Value {
        with_fold!(self, fold => fold.result(), user => {
            user.as_ref().map_or(Value::Null, Held::to_value)
        })
    }

    /// What it is called, for people.
    fn name(&self) -> &'static str {
        match self {
            Accumulator::Count(_) => "count",
            Accumulator::Sum(_) => "sum",
            Accumulator::Mean(_) => "mean",
            Accumulator::Min(_) => "min",
            Accumulator::Max(_) => "max",
            Accumulator::First(_) => "first",
            Accumulator::Last(_) => "last",
            Accumulator::Earliest(_) => "earliest",
            Accumulator::Latest(_) => "latest",
            Accumulator::Std(_) => "std",
            Accumulator::Variance(_) => "variance",
            Accumulator::User(_) => "user",
        }
    }

    /// The name and the result so far of each accumulator that a window has stored.
    ///
    /// # Errors
    /// `Internal` if they are damaged.
    pub(crate) fn stored_results(
        input: &mut ValueReader<'_>,
    ) -> Result<Vec<(&'static str, Value)>> {
        // Where the collected items begin.
        input.varint()?;
        let mut results = Vec::new();
        for _ in 0..input.varint()? {
            // The id is a hash of the output's name.
            input.varint()?;
            let stored = Accumulator::read(input)?;
            results.push((stored.name(), stored.result()));
        }
        Ok(results)
    }

    fn tag(&self) -> u64 {
        match self {
            Accumulator::Count(_) => 0,
            Accumulator::Sum(_) => 1,
            Accumulator::Mean(_) => 2,
            Accumulator::Min(_) => 3,
            Accumulator::Max(_) => 4,
            Accumulator::First(_) => 5,
            Accumulator::Last(_) => 6,
            Accumulator::Earliest(_) => 7,
            Accumulator::Latest(_) => 8,
            Accumulator::Std(_) => 9,
            Accumulator::Variance(_) => 10,
            Accumulator::User(None) => 11,
            Accumulator::User(Some(_)) => 12,
        }
    }

    pub(super) fn write(&self, out: &mut ValueWriter) {
        out.varint(self.tag());
        with_fold!(self, fold => fold.write(out), user => {
            if let Some(held) = user {
                held.write(out);
            }
        });
    }

    pub(super) fn read(input: &mut ValueReader<'_>) -> Result<Accumulator> {
        Ok(match input.varint()? {
            0 => Accumulator::Count(Fold::read(input)?),
            1 => Accumulator::Sum(Fold::read(input)?),
            2 => Accumulator::Mean(Fold::read(input)?),
            3 => Accumulator::Min(Fold::read(input)?),
            4 => Accumulator::Max(Fold::read(input)?),
            5 => Accumulator::First(Fold::read(input)?),
            6 => Accumulator::Last(Fold::read(input)?),
            7 => Accumulator::Earliest(Fold::read(input)?),
            8 => Accumulator::Latest(Fold::read(input)?),
            9 => Accumulator::Std(Fold::read(input)?),
            10 => Accumulator::Variance(Fold::read(input)?),
            11 => Accumulator::User(None),
            12 => Accumulator::User(Some(Held::read(input)?)),
            tag => return Err(unknown("accumulator", tag)),
        })
    }
}
