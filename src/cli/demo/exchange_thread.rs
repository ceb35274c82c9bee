//! The simulated exchange on a thread with a runtime of its own.

use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::{Context, anyhow, bail};
use tokio_util::sync::CancellationToken;

use crate::exchange::{Exchange, ExchangeOptions};

/// The simulated exchange on a thread with a runtime of its own.
pub(super) struct ExchangeThread {
    pub(super) url: String,
    stop: CancellationToken,
    thread: JoinHandle<io::Result<u64>>,
}

impl ExchangeThread {
    /// Starts the exchange on a free port of the loopback interface, and waits until it listens.
    pub(super) fn start(options: ExchangeOptions) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (send_url, receive_url) = mpsc::channel();
        let thread = std::thread::Builder::new().name("exchange".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let exchange = Exchange::bind("127.0.0.1:0", options).await?;
                // The receiver waits below until the URL arrives or the thread ends.
                drop(send_url.send(exchange.url()?));
                Ok(exchange.serve(&stopped).await)
            })
        })?;
        match receive_url.recv() {
            Ok(url) => Ok(Self { url, stop, thread }),
            Err(_) => match thread.join() {
                Ok(Err(error)) => Err(error).context("cannot start an exchange on loopback"),
                _ => bail!("the thread of the exchange panicked"),
            },
        }
    }

    /// Stops the exchange and returns the number of trades that it sent.
    pub(super) fn stop(self) -> anyhow::Result<u64> {
        self.stop.cancel();
        let sent =
            self.thread.join().map_err(|_| anyhow!("the thread of the exchange panicked"))?;
        sent.context("the exchange failed")
    }
}
