//! Who may come in, and what an error shows of a secret.

use crate::brokers::Brokers;
use crate::{at, numbers, open, partitions, read_all};
use headwater_core::Class;
use headwater_log::Log;
use headwater_log::kafka::Options;

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
