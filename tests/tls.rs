//! Endpoints with TLS (`wss://`).

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Stdio};
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

/// Makes a certificate for `localhost` with OpenSSL, with these arguments for its key and more.
fn openssl_pair(arguments: &[&str]) -> Option<PemPair> {
    let common =
        "req -x509 -nodes -days 30 -subj /O=Test/CN=localhost -keyout key.pem -out cert.pem";
    let names = ["-addext", "subjectAltName=DNS:localhost"];
    let common: Vec<_> = common.split(' ').chain(names).collect();
    PemPair::from_openssl(&[&common, arguments].concat())
}

const EC: [&str; 3] = ["-newkey", "ec", "-pkeyopt"];

#[test]
fn a_certificate_that_is_of_no_use_is_named_at_the_start() {
    let curve = |name| [&EC[..], &[name]].concat();
    for (arguments, words) in [
        (curve("ec_paramgen_curve:P-521"), "an ECDSA key with the curve P-521"),
        (curve("ec_paramgen_curve:secp256k1"), "an ECDSA key with the curve secp256k1"),
        (vec!["-newkey", "rsa:1024"], "an RSA key of 1024 bits"),
        (vec!["-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"], "a key for RSA-PSS alone"),
        (vec!["-newkey", "ed448"], "an Ed448 key"),
    ] {
        let Some(pair) = openssl_pair(&arguments) else { return };
        let test = Test::with_source("wss://localhost:1", json!({}));
        let ca_file = test.path("ca.pem");
        let mut source = test.source();
        source["tls"] = json!({ "ca_file": ca_file });
        let test = test.set("source", source);
        fs::write(&ca_file, &pair.certificate).unwrap();
        let printed = String::from_utf8(test.run_refused().stderr).unwrap();
        let subject = "certificate 1 (`O=Test, CN=localhost`) in `";
        assert!(printed.contains(subject) && printed.contains(words), "{printed}");
        // One of several is no reason not to start.
        let usable = PemPair::self_signed(authority_for(&["localhost"]));
        fs::write(&ca_file, format!("{}{}", usable.certificate, pair.certificate)).unwrap();
        let exchange = usable.serve();
        let mut source = test.source();
        source["url"] = json!(exchange.url.replace("127.0.0.1", "localhost"));
        let test = test.set("source", source);
        let recorder = test.start();
        recorder.wait_for_messages(11);
        recorder.stop();
        exchange.stop();
        let log = test.log();
        assert!(log.contains("certificate 2 (`O=Test, CN=localhost`)"), "{log}");
        assert!(log.contains(words), "{log}");
    }
}

#[test]
fn files_of_any_format_are_taken_if_they_hold_a_certificate() {
    let pair = PemPair::self_signed(authority_for(&["localhost"]));
    let pem = &pair.certificate;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
    let indented: String = pem.lines().map(|line| format!("    {line}\t\r\n")).collect();
    let utf16: Vec<u8> =
        format!("\u{feff}{pem}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    for content in [
        pem.as_bytes().to_vec(),
        format!("\u{feff}{pem}").into_bytes(),
        format!("\u{feff}{indented}").into_bytes(),
        format!("Subject: b\u{fc}ro\n{pem}").into_bytes(),
        format!("{}{pem}", pair.key).into_bytes(),
        utf16,
        der,
    ] {
        let exchange = pair.serve();
        let url = exchange.url.replace("127.0.0.1", "localhost");
        let test = Test::with_source(&url, json!({}));
        fs::write(test.path("ca.pem"), &content).unwrap();
        let mut source = test.source();
        source["tls"] = json!({ "ca_file": test.path("ca.pem") });
        let test = test.set("source", source);
        let recorder = test.start();
        recorder.wait_for_messages(11);
        recorder.stop();
        exchange.stop();
    }
}

#[test]
fn a_file_that_holds_something_else_is_refused_with_what_to_do() {
    let pair = PemPair::self_signed(authority_for(&["localhost"]));
    let section = |label: &str| format!("-----BEGIN {label}-----\nMAA=\n-----END {label}-----\n");
    let damaged = pair.certificate.replacen('M', "*", 1);
    let cut = pair.certificate.replace("-----END CERTIFICATE-----", "");
    let bad_second =
        format!("{}{}", pair.certificate, section("CERTIFICATE").replace("MAA=", "M*A="));
    for (key, content, words) in [
        ("ca_file", "", "is empty"),
        ("ca_file", " \r\n", "is empty"),
        ("ca_file", "<html>", "holds no certificate in PEM format"),
        (
            "ca_file",
            &pair.key,
            "it holds `PRIVATE KEY`, a key, which belongs into `tls.client_key`",
        ),
        ("ca_file", &section("RSA PRIVATE KEY"), "it holds `RSA PRIVATE KEY`, a key"),
        ("ca_file", &section("CERTIFICATE REQUEST"), "an authority has to sign first"),
        ("ca_file", &section("TRUSTED CERTIFICATE"), "`openssl x509 -in"),
        ("ca_file", &section("PKCS7"), "`openssl pkcs7 -print_certs"),
        ("ca_file", &section("CERTIFICATE"), "certificate 1 in `"),
        ("ca_file", "0\u{82}\0", "certificate 1 in `"),
        ("ca_file", &damaged, "its certificate 1 is not Base64"),
        ("ca_file", &cut, "its certificate 1 has no line `-----END"),
        ("ca_file", &bad_second, "its certificate 2 is not Base64"),
        ("client_cert", &pair.key, "it holds `PRIVATE KEY`"),
        ("client_key", &pair.certificate, "holds no private key"),
        ("client_key", &section("ENCRYPTED PRIVATE KEY"), "`openssl pkey -in"),
        ("client_key", "", "is empty"),
    ] {
        let test = Test::with_source("wss://localhost:1", json!({}));
        let mut source = test.source();
        source["tls"] = match key {
            "ca_file" => json!({ "ca_file": test.path("bad.pem") }),
            _ => json!({ "client_cert": test.path("c.pem"), "client_key": test.path("k.pem") }),
        };
        if key != "ca_file" {
            source["tls"][key] = json!(test.path("bad.pem"));
        }
        let test = test.set("source", source);
        fs::write(test.path("c.pem"), &pair.certificate).unwrap();
        fs::write(test.path("k.pem"), &pair.key).unwrap();
        // Latin-1, so that a file may begin as one in DER format does.
        let bytes: Vec<u8> = content.chars().map(|char| char as u8).collect();
        fs::write(test.path("bad.pem"), bytes).unwrap();
        let printed = String::from_utf8(test.run_refused().stderr).unwrap();
        assert!(printed.contains(words) && printed.contains("bad.pem"), "{words}: {printed}");
    }
}

/// A TLS server of OpenSSL, which is killed when this is dropped.
struct OpensslServer {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl OpensslServer {
    fn start(pair: &PemPair) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cert.pem"), &pair.certificate).unwrap();
        fs::write(dir.path().join("key.pem"), &pair.key).unwrap();
        // The port was free a moment ago. The recorder retries until the server listens.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut openssl = tool("openssl")?;
        openssl.args(["s_server", "-quiet", "-cert", "cert.pem", "-key", "key.pem", "-cipher"]);
        openssl.args(["ALL:@SECLEVEL=0", "-accept", &port.to_string()]).current_dir(&dir);
        openssl.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Some(Self { child: openssl.spawn().unwrap(), port, _dir: dir })
    }
}

impl Drop for OpensslServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_server_whose_certificate_cannot_be_verified_is_told_in_words() {
    let usable = PemPair::self_signed(authority_for(&["localhost"])).certificate;
    let extension = ["-newkey", "rsa:2048", "-addext", "1.2.3.4=critical,DER:0500"];
    let curve = [&EC[..], &["ec_paramgen_curve:P-521"]].concat();
    for (arguments, words) in [
        (&extension[..], "has a critical extension that is unknown here"),
        (&["-newkey", "rsa:1024"], "has an RSA key of 1024 bits"),
        (&curve, "no certificate that suits; supported keys are RSA"),
    ] {
        let Some(pair) = openssl_pair(arguments) else { return };
        let server = OpensslServer::start(&pair).unwrap();
        let test = Test::with_source(&format!("wss://localhost:{}", server.port), json!({}));
        fs::write(test.path("ca.pem"), format!("{usable}{}", pair.certificate)).unwrap();
        let mut source = test.source();
        source["tls"] = json!({ "ca_file": test.path("ca.pem") });
        let recorder = test.set("source", source).start();
        recorder.wait_for(&["disconnected", "cause=\"tls\"", words]);
    }
}
