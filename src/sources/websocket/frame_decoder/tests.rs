//! Tests against an oracle: for any bytes, cut anywhere, the decoder and tungstenite return the same
//! messages and reject the same streams.

use std::io::{self, Cursor, Read, Write};

use proptest::collection::vec;
use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use super::*;

const MAX_MESSAGE_BYTES: u64 = 1_000;

/// The content of a stream up to its first error or its close frame.
#[derive(Debug, PartialEq, Eq)]
struct DecodedStream {
    /// Text messages, and binary messages that are text.
    messages: Vec<Vec<u8>>,
    pings: Vec<Vec<u8>>,
    closed: bool,
    refused: bool,
}

/// A socket that reads the server's bytes and discards what is written to it.
struct ReadOnlySocket(Cursor<Vec<u8>>);

impl Read for ReadOnlySocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for ReadOnlySocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn decode_with_tungstenite(bytes: &[u8]) -> DecodedStream {
    let limit = usize::try_from(MAX_MESSAGE_BYTES).ok();
    let config = WebSocketConfig::default().max_message_size(limit).max_frame_size(limit);
    let wire = ReadOnlySocket(Cursor::new(bytes.to_vec()));
    let mut socket = WebSocket::from_raw_socket(wire, Role::Client, Some(config));
    let mut read =
        DecodedStream { messages: Vec::new(), pings: Vec::new(), closed: false, refused: false };
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => read.messages.push(text.as_bytes().to_vec()),
            Ok(Message::Binary(bytes)) => {
                if std::str::from_utf8(&bytes).is_ok() {
                    read.messages.push(bytes.to_vec());
                }
            }
            Ok(Message::Ping(payload)) => read.pings.push(payload.to_vec()),
            Ok(Message::Close(_)) => {
                read.closed = true;
                return read;
            }
            Ok(_) => {}
            // The end of the bytes is not an error of the server.
            Err(Error::Io(_) | Error::ConnectionClosed) => return read,
            Err(Error::Protocol(error)) if error.to_string().contains("without closing") => {
                return read;
            }
            Err(_) => {
                read.refused = true;
                return read;
            }
        }
    }
}

fn decode_with_ours(bytes: &[u8], cuts: &[usize], batch: usize) -> DecodedStream {
    let decoder = FrameDecoder::new(
        FrameLimits { max_message_bytes: MAX_MESSAGE_BYTES, max_batch_messages: batch },
        BinaryEncoding::None,
    );
    decode_in_pieces(decoder, bytes, cuts, batch)
}

fn decode_in_pieces(
    mut decoder: FrameDecoder,
    bytes: &[u8],
    cuts: &[usize],
    batch: usize,
) -> DecodedStream {
    let mut read =
        DecodedStream { messages: Vec::new(), pings: Vec::new(), closed: false, refused: false };
    let mut cuts = cuts.iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() && !read.closed && !read.refused {
        let size = cuts.next().map_or(rest.len(), |cut| cut % rest.len() + 1);
        let mut piece = &rest[..size];
        while !piece.is_empty() && !read.closed && !read.refused {
            match decoder.feed(piece) {
                Ok(progress) => {
                    piece = &piece[progress.consumed..];
                    match progress.control {
                        Some(ControlFrame::Ping(payload)) => read.pings.push(payload),
                        Some(ControlFrame::Close(_)) => read.closed = true,
                        _ => {}
                    }
                }
                Err(_) => read.refused = true,
            }
            let mut taken = Batch::new();
            decoder.drain_into(&mut taken);
            assert!(taken.len() <= batch);
            read.messages.extend(taken.records().map(|record| record.payload.to_vec()));
        }
        rest = &rest[size..];
    }
    read
}

/// Folds the line feeds, which the oracle does not do.
fn with_folded_newlines(mut read: DecodedStream) -> DecodedStream {
    for message in &mut read.messages {
        fold_newlines(message);
    }
    read
}

/// Compares two results for a stream that is cut short: the decoder may reject the header of a frame
/// of which the oracle awaits the rest.
fn is_equivalent(ours: &DecodedStream, oracles: &DecodedStream) -> bool {
    ours.messages == oracles.messages
        && ours.pings == oracles.pings
        && ours.closed == oracles.closed
        && (ours.refused || !oracles.refused)
}

fn frame(first: u8, mask: bool, payload: Vec<u8>) -> Vec<u8> {
    let flag = if mask { 0x80 } else { 0 };
    let mut frame = vec![first];
    if let Ok(short @ 0..126) = u8::try_from(payload.len()) {
        frame.push(short | flag);
    } else {
        frame.push(0x7E | flag);
        frame.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
    }
    if mask {
        frame.extend_from_slice(&[0; 4]);
    }
    frame.extend(payload);
    frame
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => "[ -~\n]{0,40}".prop_map(String::into_bytes),
        4 => "\\PC{0,20}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..8),
        1 => vec(Just(b'x'), 120..1_100),
    ]
}

/// Generates mostly valid frames, and some of every invalid kind.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        20 => Just(0x81),
        4 => Just(0x82),
        6 => Just(0x01),
        2 => Just(0x02),
        6 => Just(0x00),
        6 => Just(0x80),
        4 => Just(0x89),
        4 => Just(0x8A),
        1 => Just(0x88),
        1 => any::<u8>(),
    ];
    (first, prop::bool::weighted(0.01), payload()).prop_map(|(first, mask, mut payload)| {
        if first & 0x08 != 0 {
            payload.truncate(130);
        }
        frame(first, mask, payload)
    })
}

fn any_cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![Just(0_usize), 0..5_usize, 0..100_usize, Just(usize::MAX - 1)], 1..20)
}

/// The state of a server's compressor from one message to the next (RFC 7692, 7.1.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ContextTakeover {
    Keep,
    Reset,
}

/// Returns a message as a compressing server sends it. `context_takeover` says whether one stream
/// holds all messages.
fn compressed_message(
    packer: &mut flate2::Compress,
    context_takeover: ContextTakeover,
    text: &str,
    parts: usize,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 100);
    packer.compress_vec(text.as_bytes(), &mut bytes, flate2::FlushCompress::Sync).unwrap();
    if text.is_empty() {
        // A second flush writes nothing; an empty message is an empty block (RFC 7692, 7.2.3.6).
        bytes = vec![0, 0, 0, 0xFF, 0xFF];
    }
    assert!(bytes.ends_with(&[0, 0, 0xFF, 0xFF]));
    bytes.truncate(bytes.len() - 4);
    if context_takeover == ContextTakeover::Reset {
        packer.reset();
    }
    let size = bytes.len().div_ceil(parts).max(1);
    let last = bytes.len().div_ceil(size) - 1;
    let frames = bytes.chunks(size).enumerate().map(|(index, part)| {
        let opcode = if index == 0 { 0x41 } else { 0 };
        let end = if index == last { 0x80 } else { 0 };
        // A control frame may come between any two.
        [frame(0x89, false, vec![b'p']), frame(opcode | end, false, part.to_vec())].concat()
    });
    frames.collect::<Vec<_>>().concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn compressed_messages_round_trip(
        messages in vec(("[a-c\u{e9} ]{0,300}", 1..4_usize, any::<bool>()), 1..12),
        fresh: bool,
        cuts in any_cuts(),
        batch in 1..6_usize,
    ) {
        let takeover = if fresh { ContextTakeover::Reset } else { ContextTakeover::Keep };
        let mut packer = flate2::Compress::new(flate2::Compression::default(), false);
        let frames = messages.iter().map(|(text, parts, plain)| match plain {
            true => frame(0x81, false, text.clone().into_bytes()),
            false => compressed_message(&mut packer, takeover, text, *parts),
        });
        let bytes = frames.collect::<Vec<_>>().concat();
        let limits = FrameLimits { max_message_bytes: MAX_MESSAGE_BYTES, max_batch_messages: batch };
        let decoder = FrameDecoder::new(limits, BinaryEncoding::None).with_deflate();
        let read = decode_in_pieces(decoder, &bytes, &cuts, batch);
        let texts: Vec<_> = messages.into_iter().map(|(text, ..)| text.into_bytes()).collect();
        prop_assert!(!read.refused);
        prop_assert_eq!(read.messages, texts);
    }

    #[test]
    fn inflating_arbitrary_bytes_never_panics(
        payload in vec(any::<u8>(), 0..100),
        cuts in any_cuts(),
    ) {
        let decoder = FrameDecoder::new(FrameLimits { max_message_bytes: MAX_MESSAGE_BYTES, max_batch_messages: 3 }, BinaryEncoding::None);
        let bytes = frame(0xC1, false, payload);
        let read = decode_in_pieces(decoder.with_deflate(), &bytes, &cuts, 3);
        prop_assert!(read.messages.iter().all(|message| message.len() as u64 <= MAX_MESSAGE_BYTES));
    }
}

#[test]
fn rsv1_is_rejected_where_compression_is_not_allowed() {
    let plain = || {
        FrameDecoder::new(
            FrameLimits { max_message_bytes: MAX_MESSAGE_BYTES, max_batch_messages: 3 },
            BinaryEncoding::None,
        )
    };
    let compressed = frame(0xC1, false, vec![0]);
    assert_eq!(plain().feed(&compressed), Err(FrameError::ReservedBits(0xC1)));
    let mut decoder = plain().with_deflate();
    assert!(decoder.feed(&compressed).is_ok());
    let continued = [frame(0x01, false, vec![b'a']), frame(0xC0, false, vec![0])].concat();
    assert_eq!(decoder.feed(&continued), Err(FrameError::ReservedBits(0xC0)));
    for first in [0xC9, 0xA1, 0xD1] {
        let mut decoder = plain().with_deflate();
        let refused = decoder.feed(&frame(first, false, vec![0]));
        assert_eq!(refused, Err(FrameError::ReservedBits(first)), "{first:#x}");
    }
    for (first, words) in [
        (0xC0, "a continuation frame is marked as compressed"),
        (0xC9, "a control frame is marked as compressed"),
        (0xC1, "though no compression was agreed on"),
        (0xA1, "no extension uses that was agreed on"),
        (0xD1, "no extension uses that was agreed on"),
    ] {
        let shown = FrameError::ReservedBits(first).to_string();
        assert!(shown.contains(words) && shown.contains(&format!("{first:#x}")), "{shown}");
    }
    let mut decoder = plain().with_deflate();
    assert_eq!(decoder.feed(&frame(0xC1, false, vec![0xFF; 9])), Err(FrameError::InvalidDeflate));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn frames_decode_as_tungstenite_decodes_them(
        frames in vec(any_frame(), 1..20),
        cut_short in any::<prop::sample::Index>(),
        cuts in any_cuts(),
        batch in 1..6_usize,
    ) {
        let mut bytes = frames.concat();
        if cut_short.index(4) == 0 {
            bytes.truncate(cut_short.index(bytes.len() + 1));
        }
        let ours = decode_with_ours(&bytes, &cuts, batch);
        let oracles = with_folded_newlines(decode_with_tungstenite(&bytes));
        if bytes.len() == frames.concat().len() {
            prop_assert_eq!(ours, oracles);
        } else {
            prop_assert!(is_equivalent(&ours, &oracles), "{ours:?}\n{oracles:?}");
        }
    }

    #[test]
    fn arbitrary_bytes_decode_as_tungstenite_decodes_them(
        bytes in vec(any::<u8>(), 0..300),
        cuts in any_cuts(),
    ) {
        let ours = decode_with_ours(&bytes, &cuts, 3);
        let oracles = with_folded_newlines(decode_with_tungstenite(&bytes));
        prop_assert!(is_equivalent(&ours, &oracles), "{ours:?}\n{oracles:?}");
    }
}

#[test]
fn messages_before_an_invalid_frame_are_kept() {
    let mut decoder = FrameDecoder::new(
        FrameLimits { max_message_bytes: MAX_MESSAGE_BYTES, max_batch_messages: 10 },
        BinaryEncoding::None,
    );
    let bytes = [frame(0x81, false, b"good".to_vec()), frame(0x81, false, vec![0xFF])].concat();
    assert_eq!(decoder.feed(&bytes), Err(FrameError::InvalidUtf8));
    let mut batch = Batch::new();
    decoder.drain_into(&mut batch);
    assert_eq!(batch.as_lines(), b"good\n");
}

#[test]
fn a_frame_header_alone_allocates_no_payload_memory() {
    let limits = FrameLimits { max_message_bytes: 1 << 30, max_batch_messages: 10 };
    let mut decoder = FrameDecoder::new(limits, BinaryEncoding::None);
    let header = [&[0x81, 127][..], &(1_u64 << 30).to_be_bytes()].concat();
    decoder.feed(&header).unwrap();
    assert!(decoder.lines.capacity() < 1_000);
}
