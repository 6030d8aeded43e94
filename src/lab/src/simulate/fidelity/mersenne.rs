//! Python's random numbers: MT19937, seeded as `random.Random(seed)` is.

const WORDS: usize = 624;

/// The generator, by Matsumoto's and Nishimura's reference.
pub(super) struct Mersenne {
    words: [u32; WORDS],
    next: usize,
}

impl Mersenne {
    /// `random.Random(seed)`.
    pub(super) fn new(seed: u32) -> Self {
        let mut words = [19_650_218_u32; WORDS];
        for (place, index) in (1..WORDS).zip(1u32..) {
            words[place] = mixed(words[place - 1], 1_812_433_253).wrapping_add(index);
        }
        // The key has one word, the seed.
        let mut place = 1;
        for _ in 0..WORDS {
            words[place] = (words[place] ^ mixed(words[place - 1], 1_664_525)).wrapping_add(seed);
            place = following(place, &mut words);
        }
        for _ in 1..WORDS {
            let own = u32::try_from(place).unwrap();
            words[place] =
                (words[place] ^ mixed(words[place - 1], 1_566_083_941)).wrapping_sub(own);
            place = following(place, &mut words);
        }
        words[0] = 0x8000_0000;
        Self { words, next: WORDS }
    }

    /// `random()`: from 0 to 1, in 53 bits.
    pub(super) fn next(&mut self) -> f64 {
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    fn word(&mut self) -> u32 {
        if self.next == WORDS {
            self.twist();
        }
        let mut word = self.words[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn twist(&mut self) {
        for place in 0..WORDS {
            let joined =
                (self.words[place] & 0x8000_0000) | (self.words[(place + 1) % WORDS] & 0x7fff_ffff);
            let odd = (joined & 1) * 0x9908_b0df;
            self.words[place] = self.words[(place + 397) % WORDS] ^ (joined >> 1) ^ odd;
        }
        self.next = 0;
    }
}

fn mixed(word: u32, factor: u32) -> u32 {
    (word ^ (word >> 30)).wrapping_mul(factor)
}

fn following(place: usize, words: &mut [u32; WORDS]) -> usize {
    if place + 1 < WORDS {
        return place + 1;
    }
    words[0] = words[WORDS - 1];
    1
}

/// `r = random.Random(7); r.random(), r.random()` in CPython 3.
#[test]
#[allow(clippy::float_cmp)] // to the last bit
fn as_python_draws_them() {
    let mut random = Mersenne::new(7);
    let drawn = [random.next(), random.next()];
    assert_eq!(drawn, [0.323_832_764_833_162_37, 0.150_849_173_924_501_92]);
}
