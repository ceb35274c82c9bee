//! The trades that the simulated exchange sends, one after the other.

use crate::exchange::Market;

/// Number of trades that are generated at a time.
const TRADES_PER_BLOCK: u64 = 10_000;

/// The trades of a market as lines, in the order in which the exchange sends them.
pub(super) struct ExpectedTrades {
    market: Market,
    matched: u64,
    block: Vec<u8>,
    /// Start of the next trade in the block.
    offset: usize,
}

impl ExpectedTrades {
    pub(super) fn new(market: Market) -> Self {
        Self { market, matched: 0, block: Vec::new(), offset: 0 }
    }

    /// Returns the number of trades that were compared.
    pub(super) fn count(&self) -> u64 {
        self.matched
    }

    /// Compares the next trade with a line, and returns whether they are equal.
    pub(super) fn match_next(&mut self, line: &[u8]) -> bool {
        if self.offset >= self.block.len() {
            self.block = self.market.lines(self.matched..self.matched + TRADES_PER_BLOCK);
            self.offset = 0;
        }
        let rest = self.block.get(self.offset..).unwrap_or_default();
        let is_equal = rest.starts_with(line) && rest.get(line.len()) == Some(&b'\n');
        self.offset += line.len() + 1;
        self.matched += 1;
        is_equal
    }
}
