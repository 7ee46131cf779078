//! libFuzzer's driver: `HEADWATER_FUZZ` names the target; see `scripts/fuzz`.

#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("HEADWATER_FUZZ").unwrap_or_default();
    headwater_fuzz::target(&name).unwrap_or_else(|| {
        let known: Vec<&str> = headwater_fuzz::TARGETS
            .iter()
            .map(|target| target.0)
            .collect();
        eprintln!(
            "HEADWATER_FUZZ=`{name}` is no target, known=`{}`",
            known.join(" ")
        );
        std::process::exit(2)
    })
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET(bytes));
