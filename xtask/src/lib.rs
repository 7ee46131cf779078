//! What the chores do. A library, so that the tests run them too.

pub mod tidy;
