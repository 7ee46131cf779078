//! Rows per second of the JSON functions, next to `serde_json`.
//!
//! ```text
//! cargo run --release -p headwater-core --example json_bench
//! ```
//!
//! The row is that of the design brief: 260 bytes, 15 fields, one nested object.
//! Each figure is the best of several runs, because other work on the machine
//! can only make a run slower.

use headwater_core::{
    FieldPath, Span, Step, ValueRef,
    json::{Edit, Locator, decode, splice},
};
use std::hint::black_box;

const ROWS: usize = 20_000;
const RUNS: usize = 15;

fn main() {
    let (rows, mixed) = (rows(false), rows(true));
    let bytes: usize = rows.iter().map(String::len).sum();
    println!(
        "{ROWS} rows of {} bytes, best of {RUNS} runs, M rows/s",
        bytes / ROWS
    );
    let nested = FieldPath(vec![Step::Name("tyre".into()), Step::Name("fl".into())]);
    let paths = [FieldPath::name("driver"), FieldPath::name("speed"), nested];
    measure("locate 3 fields, UTF-8 included", || {
        locate_bytes(&paths, &rows)
    });
    measure("locate 3 fields, UTF-8 checked before", || {
        locate(&paths, &rows)
    });
    measure("locate 3 fields, two shapes in turn", || {
        locate(&paths, &mixed)
    });
    measure("locate and decode 3 fields", || {
        locate_and_decode(&paths, &rows)
    });
    measure("validate only", || locate(&[], &rows));
    measure("serde_json Value, 3 fields", || serde_values(&rows));
    let mut located = Vec::with_capacity(ROWS);
    let mut locator = Locator::new(&[FieldPath::name("speed")]);
    for row in &rows {
        let mut spans = [Span::NULL];
        locator.locate_str(row, &mut spans).expect("valid JSON");
        located.push(spans[0]);
    }
    measure("splice: append one field", || {
        splice_each(&rows, |_| Span::NULL)
    });
    measure("splice: replace one field", || {
        splice_each(&rows, |row| located[row])
    });
    measure("splice: remove one field", || {
        splice_edit(&rows, |_| Edit::Remove { name: "speed" })
    });
}

/// Times `run`, which says how many rows it did.
#[expect(clippy::disallowed_methods, reason = "a benchmark needs the clock")]
fn measure(name: &str, mut run: impl FnMut() -> usize) {
    let mut best = f64::INFINITY;
    let mut count = 0;
    for _ in 0..RUNS {
        let start = std::time::Instant::now();
        count = run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{:7.2}  {name}", count as f64 / best / 1e6);
}

/// Rows with random numbers; with `alternate`, every other row lacks fields.
fn rows(alternate: bool) -> Vec<String> {
    let mut state = 42u64;
    let mut random = |bound: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let row = |index: usize| {
        let is_short = alternate && index % 2 == 1;
        let position = format!(
            r#""lat":{}.{},"lon":{}.{},"alt":{}.{},"#,
            random(90),
            100_000 + random(99_999),
            random(180),
            100_000 + random(99_999),
            random(900),
            random(10)
        );
        format!(
            r#"{{"ts":{},"driver":"driver-{}","lap":{},"speed":{}.{},"rpm":{},"gear":{},"throttle":0.{},"brake":{},{}"drs":false,"tyre":{{"fl":{}.{},"fr":{}.{},"rl":{}.{},"rr":{}.{}}},"session":"race-{}","flag":"green","note":null}}"#,
            1_729_850_000_000 + index,
            random(10_000),
            random(70),
            random(350),
            random(10),
            5_000 + random(10_000),
            random(8),
            10 + random(90),
            random(2),
            if is_short { "" } else { &position },
            70 + random(40),
            random(10),
            70 + random(40),
            random(10),
            70 + random(40),
            random(10),
            70 + random(40),
            random(10),
            random(20),
        )
    };
    (0..ROWS).map(row).collect()
}

fn locate_bytes(paths: &[FieldPath], rows: &[String]) -> usize {
    let mut locator = Locator::new(paths);
    let mut spans = vec![Span::NULL; paths.len()];
    for row in rows {
        locator
            .locate(row.as_bytes(), &mut spans)
            .expect("valid JSON");
        black_box(&spans);
    }
    rows.len()
}

fn locate(paths: &[FieldPath], rows: &[String]) -> usize {
    let mut locator = Locator::new(paths);
    let mut spans = vec![Span::NULL; paths.len()];
    for row in rows {
        locator.locate_str(row, &mut spans).expect("valid JSON");
        black_box(&spans);
    }
    rows.len()
}

fn locate_and_decode(paths: &[FieldPath], rows: &[String]) -> usize {
    let mut locator = Locator::new(paths);
    let mut spans = vec![Span::NULL; paths.len()];
    let mut scratch = String::new();
    for row in rows {
        locator.locate_str(row, &mut spans).expect("valid JSON");
        for span in &spans {
            let text = &row[span.start as usize..][..span.len as usize];
            black_box(decode(text, &mut scratch).expect("valid JSON"));
        }
    }
    rows.len()
}

fn serde_values(rows: &[String]) -> usize {
    for row in rows {
        let value: serde_json::Value = serde_json::from_str(row).expect("valid JSON");
        black_box((
            &value["driver"],
            value["speed"].as_f64(),
            value["tyre"]["fl"].as_f64(),
        ));
    }
    rows.len()
}

fn splice_each(rows: &[String], span: impl Fn(usize) -> Span) -> usize {
    splice_edit(rows, |row| Edit::Set {
        name: "speed_kmh",
        span: span(row),
        value: ValueRef::Float(row as f64 * 0.36),
    })
}

fn splice_edit<'a>(rows: &[String], edit: impl Fn(usize) -> Edit<'a>) -> usize {
    let mut out = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        // As a batch does: rows follow each other in one buffer.
        if index % 500 == 0 {
            out.clear();
        }
        splice(row, &[edit(index)], &mut out).expect("an object");
        black_box(&out);
    }
    rows.len()
}
