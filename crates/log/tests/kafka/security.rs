//! Who may come in, and what an error shows of a secret.

use crate::brokers::Brokers;
use crate::{at, numbers, open, partitions, read_all};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use headwater_core::Class;
use headwater_core::env::Env;
use headwater_log::Log;
use headwater_log::kafka::{Options, Token};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn a_password_lets_in_or_is_refused_and_is_never_shown() {
    let login = "org.apache.kafka.common.security.plain.PlainLoginModule required \
                 username=\"admin\" password=\"admin-word\" user_admin=\"admin-word\" \
                 user_ada=\"lovelace\";";
    let jaas = format!("listener.name.plaintext.plain.sasl.jaas.config={login}");
    let brokers = Brokers::start_with(&[
        "--property",
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_PLAINTEXT",
        "--property",
        "sasl.enabled.mechanisms=PLAIN",
        "--property",
        "sasl.mechanism.inter.broker.protocol=PLAIN",
        "--property",
        &jaas,
    ]);
    let options = |password: &str| {
        let mut options = Options::new(&brokers.addresses);
        for (name, value) in [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "ada"),
            ("sasl.password", password),
        ] {
            options.settings.insert(name.into(), value.into());
        }
        options
    };
    let log = open(options("lovelace"));
    log.create_topic("t", &partitions(1)).unwrap();
    let mut producer = log.producer().unwrap();
    producer.append(&at("t", 0), numbers(0..3)).unwrap();
    producer.flush().unwrap();
    assert_eq!(read_all(&*log, &at("t", 0)), [0, 1, 2]);

    let wrong = open(options("hush-hush"));
    let error = wrong.topics().unwrap_err();
    assert_eq!(error.class(), Class::Invalid, "{error}");
    let shown = format!("{error} {error:?} {wrong:?}");
    assert!(!shown.contains("hush"), "{shown}");
}

const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required \
                     username=\"admin\" password=\"admin-word\" user_admin=\"admin-word\";";
const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
const OAUTH: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                     unsecuredLoginStringClaim_sub=\"admin\";";

/// A broker whose only listener for clients encrypts, with a certificate that was just
/// made, and takes SCRAM and bearer tokens (and PLAIN, for itself).
fn secured(certificate: &Path, with_key: &Path) -> Brokers {
    let mut properties = vec![
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_SSL".to_owned(),
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,OAUTHBEARER".to_owned(),
        "sasl.mechanism.inter.broker.protocol=PLAIN".to_owned(),
        "ssl.keystore.type=PEM".to_owned(),
        format!("ssl.keystore.location={}", with_key.display()),
        "ssl.truststore.type=PEM".to_owned(),
        format!("ssl.truststore.location={}", certificate.display()),
    ];
    let logins = [
        ("plain", PLAIN),
        ("scram-sha-256", SCRAM),
        ("oauthbearer", OAUTH),
    ];
    for (mechanism, login) in logins {
        let name = format!("listener.name.plaintext.{mechanism}.sasl.jaas.config");
        properties.push(format!("{name}={login}"));
    }
    let mut arguments = vec!["--scram", "ada:lovelace"];
    for property in &properties {
        arguments.extend(["--property", property]);
    }
    Brokers::start_with(&arguments)
}

/// Makes a certificate for 127.0.0.1 that vouches for itself, and a file with its key.
fn make_certificate(directory: &Path, name: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    let certificate = directory.join(format!("{name}.pem"));
    let key = directory.join(format!("{name}-key.pem"));
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args(["-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null())
        .status()
        .expect("openssl makes certificates for this test");
    assert!(made.success());
    let both = directory.join(format!("{name}-with-key.pem"));
    let text = |path| std::fs::read_to_string(path).unwrap();
    std::fs::write(&both, text(&key) + &text(&certificate)).unwrap();
    (certificate, both)
}

/// A token that nobody has signed, for a broker that takes such.
fn token(subject: &str) -> Token {
    let now_ms = Env::system().clock.wall_ms();
    let expires_ms = now_ms + 600_000;
    let part = |json: String| URL_SAFE_NO_PAD.encode(json);
    let claims = format!(
        r#"{{"sub":"{subject}","iat":{},"exp":{}}}"#,
        now_ms / 1_000,
        expires_ms / 1_000
    );
    Token {
        value: format!("{}.{}.", part(r#"{"alg":"none"}"#.into()), part(claims)),
        expires_ms,
        principal: subject.into(),
    }
}

#[test]
fn tls_with_scram_and_bearer_tokens_lets_in_or_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, with_key) = make_certificate(directory.path(), "broker");
    let (stranger, _) = make_certificate(directory.path(), "stranger");
    let brokers = secured(&certificate, &with_key);
    let options = |mechanism: &str, authority: &Path| {
        let mut options = Options::new(&brokers.addresses);
        options.request_timeout = Duration::from_secs(20);
        for (name, value) in [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", mechanism),
            ("ssl.ca.location", authority.to_str().unwrap()),
        ] {
            options.settings.insert(name.into(), value.into());
        }
        options
    };
    let scram = |password: &str, authority: &Path| {
        let mut options = options("SCRAM-SHA-256", authority);
        let login = [("sasl.username", "ada"), ("sasl.password", password)];
        let login = login.map(|(name, value)| (name.to_owned(), value.to_owned()));
        options.settings.extend(login);
        options
    };
    let mut bearer = options("OAUTHBEARER", &certificate);
    bearer.token = Some(Arc::new(|| Ok(token("grace"))));

    for (topic, options) in [
        ("scram", scram("lovelace", &certificate)),
        ("bearer", bearer),
    ] {
        let log = open(options);
        log.create_topic(topic, &partitions(1)).unwrap();
        let mut producer = log.producer().unwrap();
        producer.append(&at(topic, 0), numbers(0..3)).unwrap();
        producer.flush().unwrap();
        assert_eq!(read_all(&*log, &at(topic, 0)), [0, 1, 2]);
        // A group and its transactions come in too.
        let mut member = log.join(topic, &[topic.into()]).unwrap();
        assert_eq!(member.assignment().unwrap(), [at(topic, 0)]);
        member.transactor(0).unwrap();
    }
    let mut expired = options("OAUTHBEARER", &certificate);
    expired.token = Some(Arc::new(|| Err("the issuer is closed".into())));
    for (mut options, word) in [
        (scram("hush-hush", &certificate), "authentication failed"),
        (scram("lovelace", &stranger), "certificate verify failed"),
        (expired, "the issuer is closed"),
    ] {
        options.request_timeout = Duration::from_secs(5);
        let log = open(options);
        let error = log.topics().unwrap_err();
        let shown = format!("{error} {error:?} {log:?}").to_lowercase();
        assert_eq!(error.class(), Class::Invalid, "{shown}");
        assert!(
            !shown.contains("lovelace") && !shown.contains("hush"),
            "{shown}"
        );
        assert!(shown.contains(word), "{shown}");
    }
}
