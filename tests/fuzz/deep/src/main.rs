//! One target, named by `DCV_FUZZ_TARGET`, under libFuzzer. Half of the mutations are libFuzzer's own, half are those of the
//! tests, which know the target's words.

#![no_main]

use std::sync::LazyLock;

use dcv_tests_fuzz::{Target, find, mutate};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("DCV_FUZZ_TARGET").expect("DCV_FUZZ_TARGET names a target");
    find(&name).unwrap_or_else(|| panic!("there is no target {name}"))
});

fuzz_target!(|input: &[u8]| (TARGET.run)(input));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 2 == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let mut random = mutate::Random::new(u64::from(seed));
    let made = mutate::mutate(&data[..size], &data[..size], TARGET.words, &mut random);
    let length = made.len().min(max_size);
    data[..length].copy_from_slice(&made[..length]);
    length
});
