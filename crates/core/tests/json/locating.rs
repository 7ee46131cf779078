//! `Locator`: what it accepts, what it finds, and that learning changes nothing.

use crate::{generate, oracle};
use headwater_core::{
    FieldPath, Span,
    json::{Locator, find},
};
use proptest::prelude::*;

/// Checks one text: accepted or not as by the oracle, and the same values.
pub(crate) fn check(locator: &mut Locator, text: &[u8]) -> Result<(), TestCaseError> {
    let paths = locator.paths().to_vec();
    let shown = String::from_utf8_lossy(text);
    // Left over from another row.
    let mut spans = vec![Span { start: 7, len: 7 }; paths.len()];
    let located = locator.locate(text, &mut spans);
    prop_assert_eq!(
        located.is_ok(),
        oracle::accepts(text),
        "{:?} of {}",
        located,
        shown
    );
    if let Err(error) = located {
        prop_assert!(error.at <= text.len(), "{:?} of {}", error, shown);
        prop_assert!(spans.iter().all(|span| span.is_null()));
        return Ok(());
    }
    let text = std::str::from_utf8(text).expect("serde_json accepted it");
    let value = oracle::value(text);
    for (path, span) in paths.iter().zip(&spans) {
        let located = span
            .of(text.as_bytes())
            .map(|part| std::str::from_utf8(part).expect("cut at ASCII"));
        prop_assert_eq!(located, find(text, path), "path {} of {}", path, shown);
        let Some(value) = &value else { continue };
        let located = located.and_then(oracle::value);
        prop_assert_eq!(
            located.as_ref(),
            oracle::find(value, path),
            "path {} of {}",
            path,
            shown
        );
    }
    Ok(())
}

/// Every path of up to two steps over a few names, for fixed texts.
pub(crate) fn check_text(text: &[u8]) {
    use headwater_core::Step::{Index, Name};
    let steps = [Name("a".into()), Name("b".into()), Index(0), Index(-1)];
    let mut paths = vec![FieldPath(vec![])];
    for first in &steps {
        paths.push(FieldPath(vec![first.clone()]));
        paths.extend(
            steps
                .iter()
                .map(|second| FieldPath(vec![first.clone(), second.clone()])),
        );
    }
    for paths in [&paths[..], &paths[..1], &[]] {
        let mut locator = Locator::new(paths);
        for _ in 0..3 {
            if let Err(error) = check(&mut locator, text) {
                panic!("{error}");
            }
        }
    }
}

proptest! {
    #![proptest_config(generate::config())]

    #[test]
    fn documents_are_accepted_and_their_fields_found(
        text in generate::document(),
        paths in generate::paths(),
    ) {
        let mut locator = Locator::new(&paths);
        check(&mut locator, text.as_bytes())?;
        check(&mut locator, text.as_bytes())?;
    }

    #[test]
    fn broken_documents_are_refused_as_serde_json_refuses_them(
        text in generate::document(),
        paths in generate::paths(),
        mutations in prop::collection::vec(generate::mutations(), 8),
    ) {
        let mut locator = Locator::new(&paths);
        check(&mut locator, text.as_bytes())?;
        for mutations in mutations {
            let mut mutant = text.clone().into_bytes();
            mutations.iter().for_each(|mutation| mutation.apply(&mut mutant));
            check(&mut locator, &mutant)?;
            check(&mut Locator::new(&paths), &mutant)?;
        }
    }

    #[test]
    fn every_prefix_of_a_document_is_judged_as_serde_json_judges_it(
        text in generate::row(),
        paths in generate::paths(),
    ) {
        let mut locator = Locator::new(&paths);
        for len in (0..=text.len()).rev() {
            check(&mut locator, &text.as_bytes()[..len])?;
        }
    }

    #[test]
    fn a_learned_key_order_changes_no_result(
        rows in prop::collection::vec(generate::row(), 1..6),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..24),
        paths in generate::paths(),
        mutations in generate::mutations(),
    ) {
        let mut learned = Locator::new(&paths);
        for (turn, index) in order.iter().enumerate() {
            let mut row = index.get(&rows).clone().into_bytes();
            if turn % 4 == 3 {
                mutations.iter().for_each(|mutation| mutation.apply(&mut row));
            }
            let mut spans = vec![Span::NULL; paths.len()];
            let mut fresh_spans = spans.clone();
            let located = learned.locate(&row, &mut spans);
            let fresh = Locator::new(&paths).locate(&row, &mut fresh_spans);
            let shown = String::from_utf8_lossy(&row);
            prop_assert_eq!(located, fresh, "{}", shown);
            prop_assert_eq!(spans, fresh_spans, "{}", shown);
            check(&mut learned, &row)?;
        }
    }
}
