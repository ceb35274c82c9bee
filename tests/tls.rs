//! Endpoints with TLS (`wss://`).

use std::fs;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use streamer::exchange::{ExchangeOptions, Market};

use crate::harness::{Recorder, RunningExchange, TOPIC, Test, tool};

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

/// A certificate and its private key, both in PEM format.
struct PemPair {
    certificate: String,
    key: String,
}

impl PemPair {
    /// Makes a certificate that is signed by itself.
    fn self_signed(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, key: key.serialize_pem() }
    }

    /// Runs a command of OpenSSL that writes `key.pem` and `cert.pem`.
    fn from_openssl(arguments: &[&str]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut openssl = tool("openssl")?;
        let output = openssl.args(arguments).current_dir(&dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        Some(Self { certificate: read("cert.pem"), key: read("key.pem") })
    }

    /// Starts an exchange that sends the certificate and nothing with it.
    fn serve(&self) -> RunningExchange {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = vec![CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let tls = Some(Arc::new(config));
        RunningExchange::start(ExchangeOptions {
            count: Some(10),
            tls,
            ..ExchangeOptions::default()
        })
    }
}

/// Returns the parameters of a certificate for `localhost` whose CA:TRUE is set.
fn authority_for(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// Starts a recorder that connects to `localhost` and has these certificates in `tls.ca_file`.
fn start_with_ca_file(exchange: &RunningExchange, ca_file: &str) -> (Test, Recorder) {
    let url = exchange.url.replace("127.0.0.1", "localhost");
    let test = Test::with_source(&url, json!({}));
    fs::write(test.path("ca.pem"), ca_file).unwrap();
    let mut source = test.source();
    source["tls"] = json!({ "ca_file": test.path("ca.pem") });
    let test = test.set("source", source);
    let recorder = test.start();
    (test, recorder)
}

#[test]
fn a_certificate_that_is_byte_for_byte_in_the_ca_file_is_trusted() {
    let leaf_of_another = {
        let authority = Certificates::new();
        PemPair { certificate: authority.server.0.pem(), key: authority.server.1.serialize_pem() }
    };
    let mut pairs = vec![
        PemPair::self_signed(authority_for(&["localhost"])),
        PemPair::self_signed(CertificateParams::new(vec!["localhost".to_owned()]).unwrap()),
        leaf_of_another,
    ];
    // As most instructions have it, which gives CA:TRUE.
    pairs.extend(PemPair::from_openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "30",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    ]));
    for pair in &pairs {
        let exchange = pair.serve();
        let other = PemPair::self_signed(authority_for(&["other"])).certificate;
        let (_test, recorder) = start_with_ca_file(&exchange, &(other + &pair.certificate));
        recorder.wait_for_messages(11);
        recorder.stop();
        exchange.stop();
    }
}

#[test]
fn the_documented_command_makes_a_certificate_that_is_trusted_as_an_authority_too() {
    let manual = include_str!("../docs/websocket.md").replace("\\\n", "");
    let command = manual.lines().find(|line| line.starts_with("openssl req")).unwrap();
    let command = command.replace("feed.example", "localhost");
    let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
    let Some(pair) = PemPair::from_openssl(&arguments) else { return };
    let exchange = pair.serve();
    let (_test, recorder) = start_with_ca_file(&exchange, &pair.certificate);
    recorder.wait_for_messages(11);
    recorder.stop();
    exchange.stop();
}

#[test]
fn a_certificate_in_the_ca_file_is_trusted_for_its_names_and_dates_only() {
    let dated = |from: i32, to: i32, is_ca: bool| {
        let mut params = authority_for(&["localhost"]);
        if !is_ca {
            params.is_ca = IsCa::NoCa;
        }
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        PemPair::self_signed(params)
    };
    let mut common_name_only = authority_for(&[]);
    common_name_only.distinguished_name.push(DnType::CommonName, "localhost");
    let other_key = PemPair::self_signed(authority_for(&["localhost"]));
    for (pair, in_ca_file, words) in [
        (
            PemPair::self_signed(authority_for(&["feed.example"])),
            None,
            "is for `feed.example`, not",
        ),
        (
            PemPair::self_signed(CertificateParams::new(vec!["feed.example".to_owned()]).unwrap()),
            None,
            "not for `localhost`",
        ),
        (PemPair::self_signed(common_name_only), None, "needs `subjectAltName=DNS:localhost`"),
        (dated(2001, 2002, true), None, "expired at 2002-01-01T00:00:00"),
        (dated(2001, 2002, false), None, "expired at 2002-01-01T00:00:00"),
        (dated(2101, 2102, true), None, "valid only from 2101-01-01T00:00:00"),
        // Another certificate for the same name is not this one.
        (
            PemPair::self_signed(authority_for(&["localhost"])),
            Some(&other_key),
            "only if `tls.ca_file` holds exactly it",
        ),
        (
            PemPair::self_signed(CertificateParams::new(vec!["localhost".to_owned()]).unwrap()),
            Some(&other_key),
            "has another key",
        ),
    ] {
        let exchange = pair.serve();
        let ca_file = &in_ca_file.unwrap_or(&pair).certificate;
        let (_test, recorder) = start_with_ca_file(&exchange, ca_file);
        let line = recorder.wait_for(&["disconnected"]);
        assert!(line.contains("cause=\"tls\"") && line.contains(words), "{words}: {line}");
        recorder.stop();
        exchange.stop();
    }
}
