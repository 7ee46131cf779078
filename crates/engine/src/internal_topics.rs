//! Topics that the engine makes for itself, and whose they are.

use headwater_core::Result;
use headwater_log::Log;
use std::collections::BTreeSet;

/// The beginnings of their names; the application's name and `--` follow.
const PREFIXES: [&str; 3] = ["changelog__", "repartition__", "headwater__"];

/// The application to which an internal topic belongs; `None` for other topics.
pub fn owner_of_topic(topic: &str) -> Option<&str> {
    let mut prefixes = PREFIXES.iter();
    let rest = prefixes.find_map(|prefix| topic.strip_prefix(prefix))?;
    rest.split_once("--").map(|(application, _)| application)
}

/// Internal topics of applications that have committed nothing: they were forgotten, or
/// their brokers have. One that is about to make its first commit is among them for a
/// moment.
///
/// # Errors
/// What the log reports.
pub fn orphaned_topics(log: &dyn Log) -> Result<Vec<String>> {
    let known: BTreeSet<String> = log.groups()?.into_iter().collect();
    let topics = log.topics()?.into_iter().map(|topic| topic.name);
    let is_orphan = |name: &String| owner_of_topic(name).is_some_and(|own| !known.contains(own));
    Ok(topics.filter(is_orphan).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_topics_name_their_application() {
        assert_eq!(owner_of_topic("changelog__a-b--in--default"), Some("a-b"));
        assert_eq!(owner_of_topic("repartition__app--in--city"), Some("app"));
        assert_eq!(owner_of_topic("headwater__app--sink"), Some("app"));
        assert_eq!(owner_of_topic("changelog__app"), None);
        assert_eq!(owner_of_topic("in"), None);
    }
}
