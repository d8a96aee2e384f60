//! Choices at random that can be made again.

/// A small generator: the same seed gives the same choices.
pub struct Choices(u64);

impl Choices {
    /// One of several series of the same seed.
    pub fn new(seed: u64, series: u64) -> Self {
        Self(seed.wrapping_mul(1_000_003).wrapping_add(series))
    }

    /// A number below this.
    pub fn below(&mut self, limit: u64) -> u64 {
        // Knuth's constants for a 64-bit linear congruential generator.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// One of these, which must not be empty.
    pub fn of<'a, T>(&mut self, these: &'a [T]) -> &'a T {
        let which = self.below(these.len() as u64);
        &these[usize::try_from(which).unwrap_or_default()]
    }
}
