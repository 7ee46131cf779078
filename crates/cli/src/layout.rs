//! Columns of text.

/// Rows in columns that are as wide as they need to be, one row a line.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width_of = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width_of).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A head of columns.
pub(crate) fn head<const COUNT: usize>(names: [&str; COUNT]) -> Vec<String> {
    names.map(String::from).to_vec()
}

/// A number of milliseconds in the largest unit that fits.
pub(crate) fn duration(ms: u64) -> String {
    let units = [
        (86_400_000, "days"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1_000, "s"),
    ];
    let unit = units
        .iter()
        .find(|(size, _)| ms > 0 && ms.is_multiple_of(*size));
    unit.map_or(format!("{ms} ms"), |(size, name)| {
        format!("{} {name}", ms / size)
    })
}

/// A number of bytes in the largest unit that fits.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units
        .iter()
        .find(|(size, _)| bytes > 0 && bytes.is_multiple_of(*size));
    unit.map_or(format!("{bytes} bytes"), |(size, name)| {
        format!("{} {name}", bytes / size)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let rows = [
            head(["A", "B", "C"]),
            head(["long", "é", ""]),
            head(["x", "", ""]),
        ];
        assert_eq!(columns(&rows), "A     B  C\nlong  é\nx\n");
    }

    #[test]
    fn sizes_are_shown_in_units_that_people_use() {
        assert_eq!(duration(7 * 86_400_000), "7 days");
        assert_eq!(duration(90_000), "90 s");
        assert_eq!(duration(0), "0 ms");
        assert_eq!(bytes(4 << 30), "4 GiB");
        assert_eq!(bytes(1_500), "1500 bytes");
    }
}
