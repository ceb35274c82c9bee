//! Each stage alone, and finding a value in a message by our scanner and by `serde_json`. Items are
//! messages: trades of 272 bytes.

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use serde_json::{Value, json};
use streamer::exchange::Market;
use streamer::json::{Pointer, Selector};
use streamer::metrics::PipelineStats;
use streamer::plugin::batch::TopicLabeler;
use streamer::stages::{dedup, exec, filter, jq, sample, stamp, validate};
use streamer::time::UnixNanos;
use streamer::{Batch, BuildContext, StageConfig};

const TRADES: u64 = 500;

fn main() {
    divan::main();
}

fn batch() -> Batch {
    let topics: Vec<String> = (0..100).map(|n| format!("publicTrade.C{n}USDT")).collect();
    let mut batch = Batch::new();
    for line in Market::from_topics(&topics).lines(0..TRADES).split_inclusive(|b| *b == b'\n') {
        batch.push(line.strip_suffix(b"\n").unwrap_or(line));
    }
    batch.set_received(UnixNanos::from_seconds(1_700_000_000));
    batch
}

fn stage<C: StageConfig>(bencher: Bencher, keys: Value) {
    let config: C = serde_json::from_value(keys).expect("the keys are valid");
    let context = BuildContext::new(Vec::new(), Arc::new(PipelineStats::new()), 10_000);
    let mut stage = config.build(&context).expect("the configuration is valid");
    bencher.counter(ItemsCount::new(TRADES)).with_inputs(batch).bench_local_values(|mut batch| {
        stage.process(&mut batch).expect("the stage works");
        batch
    });
}

#[divan::bench]
fn filter_all_pass(bencher: Bencher) {
    stage::<filter::FilterConfig>(bencher, json!({ "pointer": "/data/0/s", "matches": "USDT$" }));
}

#[divan::bench]
fn filter_equals(bencher: Bencher) {
    stage::<filter::FilterConfig>(bencher, json!({ "pointer": "/data/0/s", "equals": "C7USDT" }));
}

#[divan::bench]
fn jq_select(bencher: Bencher) {
    let program = r#"select(.data[0].S == "Buy")"#;
    stage::<jq::JqConfig>(bencher, json!({ "program": program }));
}

#[divan::bench]
fn jq_reshape(bencher: Bencher) {
    stage::<jq::JqConfig>(bencher, json!({ "program": ".data[] | {s, p, v}" }));
}

#[divan::bench]
fn stamp_wrap(bencher: Bencher) {
    stage::<stamp::StampConfig>(bencher, json!({}));
}

#[divan::bench]
fn stamp_key(bencher: Bencher) {
    stage::<stamp::StampConfig>(bencher, json!({ "key": "recv_ns" }));
}

#[divan::bench]
fn dedup_bytes(bencher: Bencher) {
    stage::<dedup::DedupConfig>(bencher, json!({}));
}

#[divan::bench]
fn dedup_key(bencher: Bencher) {
    stage::<dedup::DedupConfig>(bencher, json!({ "key": "{/topic} {/data/0/i}" }));
}

#[divan::bench]
fn validate_json(bencher: Bencher) {
    stage::<validate::ValidateConfig>(bencher, json!({}));
}

#[divan::bench]
fn sample_every_10(bencher: Bencher) {
    stage::<sample::SampleConfig>(bencher, json!({ "every": 10 }));
}

#[divan::bench]
fn exec_cat(bencher: Bencher) {
    stage::<exec::ExecStageConfig>(bencher, json!({ "command": ["cat"] }));
}

#[divan::bench]
fn label_topics(bencher: Bencher) {
    let mut labeler = TopicLabeler::new(Selector::parse("/topic").expect("a pointer"), 1_000);
    let batch = batch();
    let mut labels = Vec::new();
    bencher.counter(ItemsCount::new(TRADES)).bench_local(|| labeler.label(&batch, &mut labels));
}

/// Measures `find` over every message.
fn find(bencher: Bencher, mut find: impl FnMut(&[u8]) -> usize) {
    let batch = batch();
    bencher
        .counter(ItemsCount::new(TRADES))
        .bench_local(|| batch.records().map(|record| find(record.payload)).sum::<usize>());
}

#[divan::bench(args = ["/topic", "/data/0/s", "/data/0/seq"])]
fn find_own(bencher: Bencher, pointer: &str) {
    let pointer = Pointer::parse(pointer).expect("a pointer");
    find(bencher, |json| pointer.find(json).map_or(0, <[u8]>::len));
}

#[divan::bench]
fn find_serde_value(bencher: Bencher) {
    find(bencher, |json| {
        let value: Value = serde_json::from_slice(json).expect("JSON");
        value.pointer("/topic").and_then(Value::as_str).map_or(0, str::len)
    });
}
