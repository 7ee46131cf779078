//! The disk tier of a store.

use headwater_core::Position;
use headwater_core::env::Env;
use headwater_state::{MemoryBudget, Tier, TierSettings, Written};

/// Found by the simulation: the beginning of time stood for no hint, so that what had
/// long been due was never found.
#[test]
fn a_hint_at_either_end_of_time_is_that_of_its_entry() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = TierSettings {
        env: Env::system(),
        folder: folder.path().to_owned(),
        budget: MemoryBudget::new(1),
        changelog_id: 1,
    };
    let mut tier = Tier::open(settings.clone()).expect("opens");
    let due = |key: &[u8]| match key {
        b"first" => i64::MIN,
        _ => i64::MAX,
    };
    let mut value_of = |key: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(b"value");
        Written::Value {
            due_ms: Some(due(key)),
            hint_ms: None,
        }
    };
    let keys = vec![b"first".as_slice(), b"last".as_slice()];
    tier.write(keys, &mut value_of, Position::from_offset(2), Vec::new())
        .expect("writes");
    drop(tier);
    let mut tier = Tier::open(settings).expect("opens");
    let hints = tier.take_due(i64::MAX, 10).expect("reads");
    assert_eq!(hints.len(), 2);
    for (hint_ms, key) in hints {
        let stored = tier.get(&key).expect("reads").expect("is there");
        assert_eq!(stored.hint_ms, Some(hint_ms));
    }
}
