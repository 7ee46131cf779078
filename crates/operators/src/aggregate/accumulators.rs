//! What one window keeps.

use super::accumulator::Accumulator;
use super::collect::Items;

/// The state of all aggregates of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Accumulators {
    pub(super) folds: Folds,
    /// The items of collectors. Without collectors only a window that an older
    /// plan collected in has some, so that they can be removed with it.
    pub(super) items: Option<Box<Items>>,
}

/// One accumulator for each aggregate that isn't a collector. One is the usual
/// number, and costs no allocation.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Folds {
    One(Accumulator),
    Many(Box<[Accumulator]>),
}

impl Folds {
    #[inline]
    pub(super) fn as_slice(&self) -> &[Accumulator] {
        match self {
            Folds::One(accumulator) => std::slice::from_ref(accumulator),
            Folds::Many(accumulators) => accumulators,
        }
    }

    #[inline]
    pub(super) fn as_mut_slice(&mut self) -> &mut [Accumulator] {
        match self {
            Folds::One(accumulator) => std::slice::from_mut(accumulator),
            Folds::Many(accumulators) => accumulators,
        }
    }
}

impl FromIterator<Accumulator> for Folds {
    fn from_iter<I: IntoIterator<Item = Accumulator>>(accumulators: I) -> Self {
        let mut all: Vec<Accumulator> = accumulators.into_iter().collect();
        match (all.len(), all.pop()) {
            (1, Some(only)) => Folds::One(only),
            (_, last) => {
                all.extend(last);
                Folds::Many(all.into())
            }
        }
    }
}

/// A copy to go back to. Items are only ever appended, so their number is enough.
#[derive(Debug)]
pub(crate) struct SavedAccumulators {
    folds: Folds,
    items: usize,
}

impl Accumulators {
    #[inline]
    pub(crate) fn save(&self) -> SavedAccumulators {
        let items = self.items.as_ref().map_or(0, |items| items.len());
        SavedAccumulators {
            folds: self.folds.clone(),
            items,
        }
    }

    pub(crate) fn go_back(&mut self, saved: SavedAccumulators) {
        self.folds = saved.folds;
        if let Some(items) = &mut self.items {
            items.truncate(saved.items);
        }
    }

    /// Whether there is one accumulator.
    #[inline]
    pub(crate) fn is_single(&self) -> bool {
        matches!(self.folds, Folds::One(_))
    }

    pub(crate) fn items(&self) -> Option<&Items> {
        self.items.as_deref()
    }

    pub(crate) fn items_mut(&mut self) -> Option<&mut Items> {
        self.items.as_deref_mut()
    }
}
