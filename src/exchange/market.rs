//! Trades that look like those of a market and follow from their numbers.

use std::fmt::Write as _;
use std::ops::Range;

/// Number of trades until they repeat, apart from their numbers.
const CYCLE_LENGTH: usize = 4096;
/// Number of digits of a trade's number in its message.
const NUMBER_DIGITS: usize = 12;
/// Time of the first trade, in Unix milliseconds.
const FIRST_TIME_MILLIS: u64 = 1_700_000_000_000;
/// Bytes that follow the number in a message.
const AFTER_NUMBER: &str = "}]}";

/// The trades of one or more topics in turn.
#[derive(Debug)]
pub struct Market {
    /// One cycle of WebSocket frames, with zeros for the numbers.
    frames: Vec<u8>,
    /// Position of each frame in `frames`, and the end of the last.
    frame_starts: Vec<usize>,
}

impl Market {
    /// Returns the market of a topic such as `publicTrade.BTCUSDT`.
    pub fn new(topic: &str) -> Self {
        Self::from_topics(&[topic])
    }

    /// Returns the market of several topics. Trade *n* is of topic *n* mod 4096 mod the number of
    /// topics.
    ///
    /// # Panics
    /// Without a topic.
    pub fn from_topics<T: AsRef<str>>(topics: &[T]) -> Self {
        assert!(!topics.is_empty(), "a market has at least one topic");
        let mut random = fastrand::Rng::with_seed(7);
        let mut price = 4_325_010_u64;
        let mut time = FIRST_TIME_MILLIS;
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
                r#"{{"topic":{topic},"type":"snapshot","ts":{time},"data":[{{"T":{time},"s":{symbol},"S":"{side}","v":"{}.{:03}","p":"{}.{:02}","L":"{tick}","i":"{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}","BT":false,"seq":1{:0NUMBER_DIGITS$}{AFTER_NUMBER}"#,
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
        // An unmasked final text frame (RFC 6455, 5.2), with the shortest form of the length.
        self.frames.push(0x81);
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(length @ ..126), _) => self.frames.push(length),
            (_, Ok(length)) => {
                self.frames.push(126);
                self.frames.extend_from_slice(&length.to_be_bytes());
            }
            _ => {
                self.frames.push(127);
                self.frames.extend_from_slice(&(payload.len() as u64).to_be_bytes());
            }
        }
        self.frames.extend_from_slice(payload);
        self.frame_starts.push(self.frames.len());
    }

    /// Returns the frame of the trade, with zeros for its number.
    fn frame(&self, trade: u64) -> &[u8] {
        let index = usize::try_from(trade % CYCLE_LENGTH as u64).expect("a cycle is short");
        let bound = |index: usize| {
            *self.frame_starts.get(index).expect("the cycle has a frame for each index")
        };
        self.frames.get(bound(index)..bound(index + 1)).expect("frames end within the buffer")
    }

    /// Appends the WebSocket frames of the trades.
    pub fn append_frames(&self, trades: Range<u64>, out: &mut Vec<u8>) {
        for trade in trades {
            out.extend_from_slice(self.frame(trade));
            let end = out.len() - AFTER_NUMBER.len();
            let zeros = out.get_mut(end - NUMBER_DIGITS..end).expect("a frame has a number");
            let mut number = trade;
            for digit in zeros.iter_mut().rev() {
                *digit = b'0' + u8::try_from(number % 10).expect("a digit is less than 10");
                number /= 10;
            }
        }
    }

    /// Returns the trades as lines, the way they are recorded.
    pub fn lines(&self, trades: Range<u64>) -> Vec<u8> {
        let mut lines = Vec::new();
        let mut frame = Vec::new();
        for trade in trades {
            frame.clear();
            self.append_frames(trade..trade + 1, &mut frame);
            lines.extend_from_slice(frame.get(header_length(&frame)..).unwrap_or_default());
            lines.push(b'\n');
        }
        lines
    }
}

/// Returns the number of bytes before the payload of an unmasked frame.
fn header_length(frame: &[u8]) -> usize {
    match frame.get(1) {
        Some(127) => 10,
        Some(126) => 4,
        _ => 2,
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
        let a = Market::new("publicTrade.A");
        let b = Market::new("publicTrade.A");
        assert_eq!(a.lines(0..10_000), [b.lines(0..7_000), b.lines(7_000..10_000)].concat());
        assert_ne!(a.lines(0..1), Market::new("publicTrade.B").lines(0..1));
    }

    #[test]
    fn a_frame_has_the_shortest_length_that_holds_its_payload() {
        for (payload_bytes, header_bytes) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)]
        {
            let mut market = Market { frames: Vec::new(), frame_starts: vec![0] };
            market.push_frame(&vec![b'x'; payload_bytes]);
            let frame = market.frame(0);
            assert_eq!(frame.len(), header_bytes + payload_bytes);
            assert_eq!(header_length(frame), header_bytes);
        }
    }
}
