//! Names of state stores that survive a change of the program.
//!
//! An id is the user's name, else what the store means: stream, operation, size
//! and advance. It never holds a tree position or a running number, nor grace,
//! emit strategy or aggregated columns: adding or moving a stateless step, or
//! another aggregate, keeps the state.

use crate::{NodeId, WindowLength, WindowSpec};
use std::fmt;

/// The name of a state store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub String);

impl StoreId {
    /// The store of stateful record functions over one stream.
    pub fn keyed(stream: &str) -> StoreId {
        StoreId(format!("{stream}--default"))
    }

    /// The store of a window over one stream.
    pub fn window(stream: &str, spec: &WindowSpec) -> StoreId {
        let kind = match spec.length {
            WindowLength::Tumbling { size_ms } => format!("tumbling_window_{size_ms}"),
            WindowLength::Hopping {
                size_ms,
                advance_ms,
            } => {
                format!("hopping_window_{size_ms}_{advance_ms}")
            }
        };
        match &spec.name {
            Some(name) => StoreId(format!("{stream}--{name}_{kind}")),
            None => StoreId(format!("{stream}--{kind}")),
        }
    }

    /// The changelog topic of the store in an application.
    pub fn changelog_topic(&self, application: &str) -> String {
        format!("changelog__{application}--{}", self.0)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A store and what must stay the same for its state to be usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUse {
    /// The store.
    pub id: StoreId,
    /// The operation that owns it; for the keyed store, the first one.
    pub node: NodeId,
    /// What must not change under the same id, one `name=value` each.
    pub signature: Vec<String>,
}
