//! libFuzzer's program: it hands every input to one of the [`targets`], named by the environment
//! variable `LINECAST_FUZZ_TARGET`, and measures the memory that is taken meanwhile.
//!
//! With `LINECAST_FUZZ_SEEDS` it first writes the target's seeds to that folder; with a target of no
//! name it tells all names and ends. `./run` knows how.
#![no_main]

mod memory;
mod targets;

use std::path::Path;
use std::sync::LazyLock;
use std::{env, fs, process};

use libfuzzer_sys::fuzz_target;
use targets::{TARGETS, Target};

fuzz_target!(
    init: {
        LazyLock::force(&TARGET);
    },
    |data: &[u8]| memory::bounded(data, TARGET.run)
);

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = env::var("LINECAST_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        println!("{}", TARGETS.map(|target| target.name).join("\n"));
        process::exit(if name.is_empty() { 0 } else { 64 });
    };
    if let Some(folder) = env::var_os("LINECAST_FUZZ_SEEDS") {
        for (number, seed) in (target.seeds)().iter().enumerate() {
            let path = Path::new(&folder).join(format!("seed-{number}"));
            fs::write(path, seed).expect("a seed is written");
        }
    }
    target
});
