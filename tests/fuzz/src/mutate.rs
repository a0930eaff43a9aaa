//! Small changes to inputs, the same ones for the same seed of the generator.

/// A generator that any stable Rust repeats: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// One that begins here.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `end`; 0 when that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % end).unwrap_or(0)
    }
}

/// The largest input: mutations grow, and parsers of texts this long are no slower per octet.
const LONGEST: usize = 16 * 1024;
const TELLING: &[u8] = &[0, 1, 0x7f, 0x80, 0xc0, 0xff, b'"', b'\\', b'\n', b'.', b'-', b'{', b'['];

/// A changed `input`: a few octets, a piece, a word, or a piece of `other`.
#[must_use]
pub fn mutate(input: &[u8], other: &[u8], words: &[&str], random: &mut Random) -> Vec<u8> {
    let mut made = input.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(made.len() + 1);
        let end = (at + 1 + random.below(16)).min(made.len());
        match random.below(9) {
            0 if at < made.len() => made[at] ^= 1 << random.below(8),
            1 if at < made.len() => made[at] = TELLING[random.below(TELLING.len())],
            2 if at < made.len() => made[at] = made[at].wrapping_add(if random.below(2) == 0 { 1 } else { 0xff }),
            3 if at < end => drop(made.drain(at..end)),
            4 if at < end => {
                let piece = made[at..end].to_vec();
                made.splice(at..at, piece);
            }
            5 => made.truncate(at),
            6 if !other.is_empty() => {
                let from = random.below(other.len());
                let to = (from + 1 + random.below(64)).min(other.len());
                made.splice(at..at, other[from..to].iter().copied());
            }
            // A piece many times: what grows faster than its input shows.
            7 if at < end && random.below(8) == 0 => {
                let piece = made[at..end].repeat(1 + random.below(200));
                made.splice(at..at, piece);
            }
            _ if !words.is_empty() => {
                let word = words[random.below(words.len())].bytes();
                let until = if random.below(2) == 0 { at } else { end.max(at) };
                made.splice(at..until, word);
            }
            _ => made.push(TELLING[random.below(TELLING.len())]),
        }
    }
    made.truncate(LONGEST);
    made
}
