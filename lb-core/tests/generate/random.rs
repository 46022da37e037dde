//! Where decisions come from: a seed, for tests that are the same each time, or a script, for a fuzzer that steers them.

/// A source of numbers. A copy of it says the same once more.
#[derive(Clone)]
pub struct Random<'s> {
    source: Source<'s>,
}

#[derive(Clone)]
enum Source<'s> {
    /// State of xorshift64*.
    Seed(u64),
    /// Bytes that are left; zeros when they are used up.
    Script(&'s [u8]),
}

impl<'s> Random<'s> {
    pub fn seeded(seed: u64) -> Random<'s> {
        Random { source: Source::Seed(seed | 1) }
    }

    pub fn scripted(script: &'s [u8]) -> Random<'s> {
        Random { source: Source::Script(script) }
    }

    /// Whether the script has been used up. A seed never is.
    pub fn is_over(&self) -> bool {
        matches!(self.source, Source::Script([]))
    }

    pub fn number(&mut self) -> u32 {
        self.bits(4)
    }

    /// A number in `0..end`; 0 when that is empty.
    pub fn below(&mut self, end: usize) -> usize {
        let bytes = match end {
            0 | 1 => return 0,
            2..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 4,
        };
        self.bits(bytes) as usize % end
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// So many bytes; of a script, what is left of it.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        match &mut self.source {
            Source::Seed(_) => (0..count).map(|_| self.bits(1) as u8).collect(),
            Source::Script(left) => {
                let (bytes, rest) = left.split_at(count.min(left.len()));
                *left = rest;
                bytes.to_vec()
            }
        }
    }

    /// A number of so many bytes, at most 4.
    fn bits(&mut self, bytes: usize) -> u32 {
        match &mut self.source {
            Source::Seed(state) => {
                *state ^= *state >> 12;
                *state ^= *state << 25;
                *state ^= *state >> 27;
                let mixed = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
                (mixed >> (64 - 8 * bytes)) as u32
            }
            Source::Script(left) => {
                let (taken, rest) = left.split_at(bytes.min(left.len()));
                *left = rest;
                taken.iter().fold(0, |number, &byte| number << 8 | u32::from(byte))
            }
        }
    }
}
