//! Rows that leave: encoded for a topic, or handed over for everything else.
//!
//! Encoding happens here, while the row can still fail with its cause. What is
//! in [`Outputs`](crate::Outputs) afterwards can be sent as it is.

mod deliver;
mod encode;
mod repartition;
mod to_topic;

pub use deliver::Deliver;
pub use repartition::Repartition;
pub use to_topic::{ToTopic, TopicRoute};
