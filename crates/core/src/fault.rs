//! Named points at which a test plants a bug, to see whether its oracle finds it.
//!
//! ```
//! # use headwater_core::fault;
//! if !fault!("skip-the-sync") {
//!     // what a correct program does
//! }
//! ```
//!
//! Without the feature `faults`, which only the simulation's tests turn on, a point is
//! the constant `false` and nothing of it is left.

#[cfg(feature = "faults")]
mod planted {
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// Plants a bug in what this thread runs from now on, or none.
    pub fn plant(name: Option<&'static str>) {
        PLANTED.set(name);
    }

    /// Whether that bug is planted on this thread.
    pub fn is_planted(name: &str) -> bool {
        PLANTED.get() == Some(name)
    }
}

#[cfg(feature = "faults")]
pub use planted::{is_planted, plant};

/// Whether that bug is planted: never, in a product.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub const fn is_planted(_name: &str) -> bool {
    false
}

/// Whether the bug of that name is planted; see [`fault`](crate::fault).
#[macro_export]
macro_rules! fault {
    ($name:literal) => {
        $crate::fault::is_planted($name)
    };
}
