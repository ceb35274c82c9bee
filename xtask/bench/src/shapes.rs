//! Generated feeds of three shapes that venues send: trades, order-book changes, and a mixture
//! over several symbols.

use std::fmt::Write as _;

/// A shape of feed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// One trade a message.
    Trades,
    /// Changes of an order book, some levels a message.
    Book,
    /// Trades, books, tickers and heartbeats of six symbols.
    Mixed,
}

impl Shape {
    pub(crate) const ALL: [Self; 3] = [Self::Trades, Self::Book, Self::Mixed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Trades => "trades",
            Self::Book => "order book",
            Self::Mixed => "mixed",
        }
    }

    /// Returns lines of at least `bytes` bytes in all.
    pub(crate) fn lines(self, bytes: usize) -> Vec<u8> {
        let mut lines = String::with_capacity(bytes + 4096);
        let mut feed = Feed { random: fastrand::Rng::with_seed(7), millis: 1_763_942_400_000 };
        let mut symbols = ["BTC", "ETH", "SOL", "XRP", "ADA", "DOGE"].map(|name| Symbol {
            name: format!("{name}USDT"),
            ticks: 900_000 / (name.len() * name.len()) as u64,
            update: 10_000,
        });
        while lines.len() < bytes {
            feed.millis += feed.random.u64(0..20);
            let which = feed.random.usize(0..symbols.len());
            let which = if let Self::Mixed = self { which } else { 0 };
            let Some(symbol) = symbols.get_mut(which) else { continue };
            let kind = feed.random.u8(0..100);
            match self {
                Self::Trades => feed.trade(symbol, &mut lines),
                Self::Book => feed.book(symbol, &mut lines),
                Self::Mixed if kind < 55 => feed.book(symbol, &mut lines),
                Self::Mixed if kind < 85 => feed.trade(symbol, &mut lines),
                Self::Mixed if kind < 99 => feed.ticker(symbol, &mut lines),
                Self::Mixed => {
                    lines.push_str("{\"success\":true,\"ret_msg\":\"pong\",\"op\":\"ping\"}\n");
                }
            }
        }
        lines.into_bytes()
    }
}

struct Symbol {
    name: String,
    /// The price, in hundredths.
    ticks: u64,
    update: u64,
}

struct Feed {
    random: fastrand::Rng,
    millis: u64,
}

impl Feed {
    fn step(&mut self, symbol: &mut Symbol) {
        symbol.ticks = (symbol.ticks + self.random.u64(0..21)).saturating_sub(10).max(100);
        symbol.update += self.random.u64(1..4);
    }

    fn price(ticks: u64) -> String {
        format!("{}.{:02}", ticks / 100, ticks % 100)
    }

    fn size(&mut self) -> String {
        // Most sizes are small, some are large, and some levels become empty.
        let digits = self.random.u64(1..20);
        let size = self.random.u64(0..1 << digits);
        format!("{}.{:03}", size / 1000, size % 1000)
    }

    fn levels(&mut self, from: u64) -> String {
        let mut levels = String::new();
        for _ in 0..self.random.usize(0..8) {
            let ticks = from + self.random.u64(0..400);
            let comma = if levels.is_empty() { "" } else { "," };
            let size = self.size();
            // Writing to a String cannot fail.
            let _infallible = write!(levels, "{comma}[\"{}\",\"{size}\"]", Self::price(ticks));
        }
        levels
    }

    fn book(&mut self, symbol: &mut Symbol, lines: &mut String) {
        self.step(symbol);
        let (bids, asks) =
            (self.levels(symbol.ticks.saturating_sub(400)), self.levels(symbol.ticks));
        let name = &symbol.name;
        let update = symbol.update;
        let ts = self.millis;
        let _infallible = writeln!(
            lines,
            "{{\"topic\":\"orderbook.50.{name}\",\"type\":\"delta\",\"ts\":{ts},\"data\":{{\"s\":\"{name}\",\"b\":[{bids}],\"a\":[{asks}],\"u\":{update},\"seq\":{}}},\"cts\":{}}}",
            80_000_000_000 + update * 7,
            ts - 3
        );
    }

    fn trade(&mut self, symbol: &mut Symbol, lines: &mut String) {
        self.step(symbol);
        let side = if self.random.bool() { "Buy" } else { "Sell" };
        let (name, ts, price, size) =
            (&symbol.name, self.millis, Self::price(symbol.ticks), self.size());
        let a = self.random.u64(..);
        let b = self.random.u64(..);
        let _infallible = writeln!(
            lines,
            "{{\"topic\":\"publicTrade.{name}\",\"type\":\"snapshot\",\"ts\":{ts},\"data\":[{{\"T\":{},\"s\":\"{name}\",\"S\":\"{side}\",\"v\":\"{size}\",\"p\":\"{price}\",\"i\":\"{:08x}-{:04x}-5{:03x}-{:04x}-{:012x}\",\"BT\":false}}]}}",
            ts - 1,
            a >> 32,
            a & 0xffff,
            b & 0xfff,
            b >> 48,
            a.rotate_left(17) & 0xffff_ffff_ffff
        );
    }

    fn ticker(&mut self, symbol: &mut Symbol, lines: &mut String) {
        self.step(symbol);
        let name = &symbol.name;
        let ts = self.millis;
        let bid = Self::price(symbol.ticks);
        let ask = Self::price(symbol.ticks + 1);
        let bid_size = self.size();
        let ask_size = self.size();
        let _infallible = writeln!(
            lines,
            "{{\"topic\":\"tickers.{name}\",\"type\":\"delta\",\"data\":{{\"symbol\":\"{name}\",\"bid1Price\":\"{bid}\",\"bid1Size\":\"{bid_size}\",\"ask1Price\":\"{ask}\",\"ask1Size\":\"{ask_size}\"}},\"cs\":{},\"ts\":{ts}}}",
            symbol.update
        );
    }
}
