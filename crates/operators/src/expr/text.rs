//! Functions of texts, by Python's rules.

/// A float as Python's `repr` writes it: the fewest digits that give it back.
pub(super) fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific
        .split_once('e')
        .expect("scientific notation has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is an integer");
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

/// `str.strip()`: what Python holds for white space.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(|character: char| {
        character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
    })
}

/// `text[start:end]` in characters; negative counts from the end.
pub(super) fn slice(text: &str, start: Option<i64>, end: Option<i64>) -> &str {
    let needs_length = [start, end].into_iter().flatten().any(|index| index < 0);
    let length = if needs_length {
        text.chars().count() as i64
    } else {
        0
    };
    let from_start = |index: i64| {
        let index = if index < 0 {
            (length + index).max(0)
        } else {
            index
        };
        usize::try_from(index).unwrap_or(usize::MAX)
    };
    let byte_at = |index: usize| match text.char_indices().nth(index) {
        Some((byte, _)) => byte,
        None => text.len(),
    };
    let start = start.map_or(0, |start| byte_at(from_start(start)));
    let end = end.map_or(text.len(), |end| byte_at(from_start(end)));
    &text[start..end.max(start)]
}
