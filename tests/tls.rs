//! Endpoints with TLS (`wss://`).

use std::fs;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;
use serde_json::json;
use streamer::exchange::{ExchangeOptions, Market};

use crate::harness::{RunningExchange, TOPIC, Test};

/// An authority, and the certificates that it signed for the server and for a client.
struct Certificates {
    authority: CertifiedIssuer<'static, KeyPair>,
    server: (rcgen::Certificate, KeyPair),
    client: (rcgen::Certificate, KeyPair),
}

impl Certificates {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let signed = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &authority).unwrap(), key)
        };
        let server = signed("localhost");
        let client = signed("recorder");
        Self { authority, server, client }
    }

    fn server_config(&self, requires_client: bool) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if requires_client {
            let mut roots = RootCertStore::empty();
            roots.add(self.authority.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(self.server.1.serialize_der()).unwrap();
        Arc::new(builder.with_single_cert(vec![self.server.0.der().clone()], key).unwrap())
    }
}

fn start_exchange(certificates: &Certificates, requires_client: bool) -> RunningExchange {
    RunningExchange::start(ExchangeOptions {
        count: Some(20_000),
        tls: Some(certificates.server_config(requires_client)),
        ..ExchangeOptions::default()
    })
}

fn assert_all_recorded(exchange: RunningExchange, tls: serde_json::Value, write: impl Fn(&Test)) {
    let url = exchange.url.replace("127.0.0.1", "localhost");
    let test = Test::new(&url);
    write(&test);
    let mut tls = tls;
    for (_, file) in tls.as_object_mut().unwrap() {
        *file = json!(test.path(file.as_str().unwrap()));
    }
    let source = json!({ "type": "websocket", "url": url, "topics": [TOPIC], "tls": tls });
    let test = test.without("topic").without("ws_url").set("source", source);
    let recorder = test.start();
    recorder.wait_for_messages(20_001);
    recorder.stop();
    exchange.stop();
    let recorded = test.recorded();
    let answer = recorded.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    assert!(recorded[answer..] == Market::new(TOPIC).lines(0..20_000));
}

#[test]
fn an_authority_from_a_file_is_trusted() {
    let certificates = Certificates::new();
    assert_all_recorded(
        start_exchange(&certificates, false),
        json!({ "ca_file": "ca.pem" }),
        |test| {
            fs::write(test.path("ca.pem"), certificates.authority.pem()).unwrap();
        },
    );
}

#[test]
fn a_client_certificate_is_sent_to_a_server_that_requests_it() {
    let certificates = Certificates::new();
    let keys = json!({ "ca_file": "ca.pem", "client_cert": "c.pem", "client_key": "k.pem" });
    assert_all_recorded(start_exchange(&certificates, true), keys, |test| {
        fs::write(test.path("ca.pem"), certificates.authority.pem()).unwrap();
        fs::write(test.path("c.pem"), certificates.client.0.pem()).unwrap();
        fs::write(test.path("k.pem"), certificates.client.1.serialize_pem()).unwrap();
    });
}

#[test]
fn an_untrusted_certificate_is_refused_and_the_connect_is_retried() {
    let certificates = Certificates::new();
    let exchange = start_exchange(&certificates, false);
    let test = Test::new(&exchange.url.replace("127.0.0.1", "localhost"));
    let recorder = test.start();
    let line = recorder.wait_for(&["disconnected"]);
    assert!(line.contains("cause=\"tls\"") && line.contains("UnknownIssuer"), "{line}");
    recorder.wait_for(&["disconnected"]);
    recorder.stop();
    assert_eq!(test.gaps(), ["down tls exact"]);
}

#[test]
fn a_server_without_tls_is_a_tls_error() {
    let exchange = RunningExchange::start(ExchangeOptions::default());
    let test = Test::new(&exchange.url.replace("ws://127.0.0.1", "wss://localhost"));
    let recorder = test.start();
    let line = recorder.wait_for(&["disconnected"]);
    assert!(line.contains("cause=\"tls\""), "{line}");
    recorder.stop();
}
