use std::thread::JoinHandle;

use streamer::exchange::{Exchange, ExchangeOptions};
use tokio_util::sync::CancellationToken;

/// The demo exchange, which runs on a thread of its own.
pub struct RunningExchange {
    pub url: String,
    stop: CancellationToken,
    thread: JoinHandle<u64>,
}

impl RunningExchange {
    pub fn start(options: ExchangeOptions) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let exchange = Exchange::bind("127.0.0.1:0", options).await.unwrap();
                sender.send(exchange.url().unwrap()).unwrap();
                exchange.serve(&stopped).await
            })
        });
        Self { url: receiver.recv().unwrap(), stop, thread }
    }

    /// Stops the exchange and returns the number of trades that it sent.
    pub fn stop(self) -> u64 {
        self.stop.cancel();
        self.thread.join().unwrap()
    }
}

/// Returns the recorded lines without the exchange's answers, and the number of these answers.
pub fn split_answers(recorded: &[u8]) -> (Vec<u8>, usize) {
    let mut answers = 0;
    let mut trades = Vec::with_capacity(recorded.len());
    for line in recorded.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"{\"success\":") {
            answers += 1;
        } else {
            trades.extend_from_slice(line);
        }
    }
    (trades, answers)
}
