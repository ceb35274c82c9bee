//! The steps of the receive path, each alone: decoding frames, the batch, the sink.

use std::sync::Arc;

use divan::Bencher;
use divan::counter::BytesCount;
use streamer::exchange::Market;
use streamer::metrics::PipelineStats;
use streamer::sinks::jsonl::JsonlConfig;
use streamer::sources::websocket::BinaryEncoding;
use streamer::sources::websocket::frame_decoder::{FrameDecoder, FrameLimits};
use streamer::time::UnixNanos;
use streamer::{Batch, BuildContext, SinkConfig};

/// The number of trades in a block, which is about one read of the recorder at full speed.
const TRADES: u64 = 500;

fn main() {
    divan::main();
}

fn frames() -> Vec<u8> {
    let mut frames = Vec::new();
    Market::new("publicTrade.BTCUSDT").append_frames(0..TRADES, &mut frames);
    frames
}

fn batch() -> Batch {
    let mut batch = Batch::new();
    for line in Market::new("publicTrade.BTCUSDT").lines(0..TRADES).split_inclusive(|b| *b == b'\n')
    {
        batch.push(line.strip_suffix(b"\n").unwrap_or(line));
    }
    batch.set_received(UnixNanos::from_seconds(1_700_000_000));
    batch
}

#[divan::bench]
fn unframe(bencher: Bencher) {
    let frames = frames();
    let mut unframer = FrameDecoder::new(
        FrameLimits { max_message_bytes: 64 << 20, max_batch_messages: 10_000 },
        BinaryEncoding::None,
    );
    let mut batch = Batch::new();
    bencher.counter(BytesCount::new(frames.len())).bench_local(|| {
        unframer.feed(&frames).expect("the frames are valid");
        unframer.drain_into(&mut batch);
        batch.len()
    });
}

/// Decodes trades that a server compressed (permessage-deflate), each alone or with reference to the
/// earlier ones.
#[divan::bench(args = [true, false])]
fn unframe_compressed(bencher: Bencher, keeps_context: bool) {
    let mut frames = Vec::new();
    let mut packer = flate2::Compress::new(flate2::Compression::default(), false);
    for line in Market::new("publicTrade.BTCUSDT").lines(0..TRADES).split_inclusive(|b| *b == b'\n')
    {
        let mut packed = Vec::with_capacity(1024);
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let sync = flate2::FlushCompress::Sync;
        packer.compress_vec(text, &mut packed, sync).expect("there is room");
        // RFC 7692, 7.2.1 omits these bytes at the end of each message.
        packed.truncate(packed.len() - 4);
        if !keeps_context {
            packer.reset();
        }
        match u8::try_from(packed.len()).expect("a trade is short") {
            length @ 126.. => frames.extend_from_slice(&[0xC1, 126, 0, length]),
            length => frames.extend_from_slice(&[0xC1, length]),
        }
        frames.extend_from_slice(&packed);
    }
    let limits = FrameLimits { max_message_bytes: 64 << 20, max_batch_messages: 10_000 };
    let mut batch = Batch::new();
    // The rate counts bytes on the wire.
    bencher.counter(BytesCount::new(frames.len())).bench_local(|| {
        let plain = FrameDecoder::new(limits, BinaryEncoding::None);
        let mut unframer = plain.with_deflate();
        unframer.feed(&frames).expect("the frames are valid");
        unframer.drain_into(&mut batch);
        batch.len()
    });
}

#[divan::bench]
fn batch_retain_half(bencher: Bencher) {
    bencher.counter(BytesCount::new(batch().as_lines().len())).with_inputs(batch).bench_values(
        |mut batch| {
            let mut odd = false;
            batch.retain(|_| {
                odd = !odd;
                odd
            });
            batch
        },
    );
}

#[divan::bench]
fn jsonl_sink_write(bencher: Bencher) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let stats = Arc::new(PipelineStats::new());
    let context = BuildContext::new(vec!["t".to_owned()], stats, 10_000);
    let config = JsonlConfig { output_dir: dir.path().to_owned(), ..JsonlConfig::default() };
    let mut sink = config.build(&context).expect("the configuration is valid");
    sink.open().expect("the directory is ours");
    let batch = batch();
    bencher.counter(BytesCount::new(batch.as_lines().len())).bench_local(|| {
        sink.write(&batch).expect("there is room");
    });
}
