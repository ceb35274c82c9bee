//! Trades that look like a market's, made from their number.

use std::fmt::Write as _;
use std::ops::Range;

/// Trades whose price walk is computed; then they repeat, but for their numbers.
const CYCLE_LENGTH: usize = 4096;
/// Digits of a trade's number in its message.
const NUMBER_DIGITS: usize = 12;
/// The time of the first trade, Unix milliseconds.
const FIRST_TIME_MILLIS: u64 = 1_700_000_000_000;

/// The trades of some topics, which take turns.
#[derive(Debug)]
pub struct Market {
    /// WebSocket frames, one after the other, with zeros for the numbers.
    frames: Vec<u8>,
    /// Where each frame begins, and past the last the end.
    frame_starts: Vec<usize>,
}

impl Market {
    /// The market of `publicTrade.<symbol>`.
    pub fn new(topic: &str) -> Self {
        Self::from_topics(&[topic])
    }

    /// The market of several such topics: trade *n* is of topic *n* mod 4096 mod their number.
    pub fn from_topics<T: AsRef<str>>(topics: &[T]) -> Self {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut price, mut time) = (4_325_010_u64, FIRST_TIME_MILLIS);
        let mut market = Self { frames: Vec::new(), frame_starts: vec![0] };
        for topic in topics.iter().cycle().take(CYCLE_LENGTH) {
            let topic = topic.as_ref();
            let symbol = topic.rsplit('.').next().unwrap_or(topic);
            let topic = serde_json::Value::from(topic);
            let symbol = serde_json::Value::from(symbol);
            let before = price;
            price = price.saturating_add_signed(random.i64(-40..=40)).max(100_000);
            time += random.u64(0..30);
            let side = if random.bool() { "Buy" } else { "Sell" };
            let tick = match price.cmp(&before) {
                std::cmp::Ordering::Less => "MinusTick",
                std::cmp::Ordering::Equal => "ZeroPlusTick",
                std::cmp::Ordering::Greater => "PlusTick",
            };
            let volume = random.u64(1..2_000);
            let id = random.u128(..);
            let mut text = String::new();
            // Writing to a String cannot fail.
            let _infallible = write!(
                text,
                r#"{{"topic":{topic},"type":"snapshot","ts":{time},"data":[{{"T":{time},"s":{symbol},"S":"{side}","v":"{}.{:03}","p":"{}.{:02}","L":"{tick}","i":"{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}","BT":false,"seq":1{:0NUMBER_DIGITS$}}}]}}"#,
                volume / 1_000,
                volume % 1_000,
                price / 100,
                price % 100,
                id >> 96,
                id >> 80 & 0xFFFF,
                id >> 68 & 0xFFF,
                id >> 52 & 0xFFF,
                id & 0xFFFF_FFFF_FFFF,
                0,
            );
            market.push_frame(text.as_bytes());
        }
        market
    }

    fn push_frame(&mut self, payload: &[u8]) {
        // An unmasked final text frame with a 7-bit or a 16-bit length (RFC 6455, 5.2).
        self.frames.push(0x81);
        match u8::try_from(payload.len()) {
            Ok(short) if short < 126 => self.frames.push(short),
            _ => {
                self.frames.push(126);
                let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
                self.frames.extend_from_slice(&length.to_be_bytes());
            }
        }
        self.frames.extend_from_slice(payload);
        self.frame_starts.push(self.frames.len());
    }

    /// Appends the WebSocket frames of trades.
    pub fn append_frames(&self, trades: Range<u64>, out: &mut Vec<u8>) {
        for trade in trades {
            let index = usize::try_from(trade % CYCLE_LENGTH as u64).unwrap_or(0);
            let frame = match self.frame_starts.get(index..index + 2) {
                Some(&[start, end]) => self.frames.get(start..end).unwrap_or_default(),
                _ => &[],
            };
            out.extend_from_slice(frame);
            // The number is followed by `}]}`.
            let end = out.len().saturating_sub(3);
            let mut number = trade;
            for digit in
                out.get_mut(end.saturating_sub(NUMBER_DIGITS)..end).into_iter().flatten().rev()
            {
                *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
                number /= 10;
            }
        }
    }

    /// Trades as lines, the way they are recorded.
    pub fn lines(&self, trades: Range<u64>) -> Vec<u8> {
        let mut lines = Vec::new();
        let mut frame = Vec::new();
        for trade in trades {
            frame.clear();
            self.append_frames(trade..trade + 1, &mut frame);
            let header = if frame.get(1) == Some(&126) { 4 } else { 2 };
            lines.extend_from_slice(frame.get(header..).unwrap_or_default());
            lines.push(b'\n');
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trade_is_json_and_carries_its_number() {
        let market = Market::new("publicTrade.BTCUSDT");
        let lines = market.lines(5_000..5_003);
        let lines: Vec<&[u8]> = lines.split(|&byte| byte == b'\n').collect();
        for (line, number) in lines.iter().zip(5_000..5_003_u64) {
            let trade: serde_json::Value = serde_json::from_slice(line).unwrap();
            assert_eq!(trade["topic"], "publicTrade.BTCUSDT");
            assert_eq!(trade["data"][0]["seq"], 1_000_000_000_000 + number);
        }
    }

    #[test]
    fn trades_depend_on_topic_and_number_alone() {
        let (a, b) = (Market::new("publicTrade.A"), Market::new("publicTrade.A"));
        assert_eq!(a.lines(0..10_000), [b.lines(0..7_000), b.lines(7_000..10_000)].concat());
        assert_ne!(a.lines(0..1), Market::new("publicTrade.B").lines(0..1));
    }
}
