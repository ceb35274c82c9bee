//! The exchange in a process of its own.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use streamer::exchange::{Exchange, ExchangeOptions};
use tokio_util::sync::CancellationToken;

#[derive(Args)]
pub(crate) struct ServeArgs {
    /// Trades a second; 0 for as fast as they are taken
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Trades in all; then the connection is closed
    #[arg(long)]
    count: u64,
    /// Directory with cert.pem and key.pem: speak TLS
    #[arg(long)]
    tls: Option<PathBuf>,
}

/// Prints the endpoint and serves until it is killed.
#[expect(clippy::print_stdout, reason = "the endpoint is what the parent reads")]
pub(crate) fn serve(args: &ServeArgs) -> Result<()> {
    let tls = match &args.tls {
        None => None,
        Some(dir) => {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = rustls::ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_single_cert(
                    vec![CertificateDer::from_pem_file(dir.join("cert.pem"))?],
                    PrivateKeyDer::from_pem_file(dir.join("key.pem"))?,
                )?;
            Some(Arc::new(config))
        }
    };
    let options = ExchangeOptions {
        rate: args.rate,
        count: Some(args.count),
        close_at_end: true,
        tls,
        ..ExchangeOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let exchange = Exchange::bind("127.0.0.1:0", options).await?;
        println!("{}", exchange.url()?);
        exchange.serve(&CancellationToken::new()).await;
        Ok(())
    })
}
