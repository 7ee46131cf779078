//! How to reach a cluster, and the settings of every client.
//!
//! Settings have librdkafka's names. What a user sets is passed on as it is; what
//! Headwater's promises stand on is set by Headwater, and a user's other value for
//! it is refused rather than ignored. Secrets are never shown.

use super::ffi::TokenSource;
use super::instance::Instance;
use headwater_core::env::Env;
use headwater_core::{Error, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How the members of a group agree on who reads what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum GroupProtocol {
    /// Members agree among themselves, partition by partition (cooperative-sticky):
    /// every broker knows it.
    #[default]
    Classic,
    /// The broker decides (KIP-848): Kafka 4.0 and newer.
    Consumer,
}

/// What a commit promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Guarantee {
    /// Outputs, changelogs and positions become visible in one transaction.
    #[default]
    ExactlyOnce,
    /// Outputs are stored first, then changelogs, then positions: nothing is lost,
    /// and what was in flight in a crash is repeated.
    AtLeastOnce,
}

/// How to reach a cluster and how to behave there.
#[derive(Clone)]
pub struct Options {
    /// The brokers to begin with, `host:port,host:port`.
    pub brokers: String,
    /// Settings of the client by librdkafka's names: `security.protocol`,
    /// `sasl.username`, `client.id` and so on.
    pub settings: BTreeMap<String, String>,
    /// Gets bearer tokens for SASL OAUTHBEARER.
    pub token: Option<Arc<TokenSource>>,
    /// How groups share partitions out.
    pub group_protocol: GroupProtocol,
    /// Makes the membership static: a member of this name that comes back within
    /// the session timeout gets its partitions back without a rebalance.
    pub group_instance_id: Option<String>,
    /// Names this process among those of its group, and stays the same after a
    /// restart: it makes the identities of its transactions.
    pub instance: Instance,
    /// What a commit promises.
    pub guarantee: Guarantee,
    /// After this long an open transaction is aborted by the broker.
    pub transaction_timeout: Duration,
    /// How long the owner has to end its work when partitions are taken away.
    pub revoke_timeout: Duration,
    /// How long one request may take, retries included.
    pub request_timeout: Duration,
    /// Time.
    pub env: Env,
    /// Gets warnings for people.
    pub warn: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Options {
    /// The defaults for a cluster at `brokers`.
    pub fn new(brokers: impl Into<String>) -> Options {
        Options {
            brokers: brokers.into(),
            settings: BTreeMap::new(),
            token: None,
            group_protocol: GroupProtocol::default(),
            group_instance_id: None,
            instance: Instance::Named("0".into()),
            guarantee: Guarantee::default(),
            transaction_timeout: Duration::from_secs(10),
            revoke_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(10),
            env: Env::system(),
            warn: Arc::new(|warning| eprintln!("warning: {warning}")),
        }
    }

    /// # Errors
    /// `Invalid` for a setting that Headwater sets itself, or one that would run a
    /// program or load a library.
    pub(super) fn check(&self) -> Result<()> {
        if self.brokers.trim().is_empty() {
            return Err(Error::invalid("the address of the brokers is empty"));
        }
        for (name, value) in &self.settings {
            if DANGEROUS.contains(&name.as_str()) {
                return Err(Error::invalid(format!(
                    "this setting would run a program or load a library setting=`{name}`"
                )));
            }
            if name == "message.timeout.ms" && self.guarantee == Guarantee::ExactlyOnce {
                return Err(Error::invalid(
                    "the transaction's own timeout bounds how long a message may take under \
                     exactly-once setting=`message.timeout.ms`",
                ));
            }
            let ours = OURS.iter().find(|(ours, _)| *ours == name);
            if let Some((_, what)) = ours.filter(|(_, fixed)| *fixed != Some(value.as_str())) {
                let instead = match what {
                    Some(fixed) => format!("it is always `{fixed}`"),
                    None => "it has an option of its own".into(),
                };
                return Err(Error::invalid(format!(
                    "headwater sets this itself: {instead} setting=`{name}`"
                )));
            }
        }
        Ok(())
    }

    /// The settings of a client: the user's, then ours for all clients, then `own`.
    pub(super) fn settings_with(&self, own: &[(&str, String)]) -> Vec<(String, String)> {
        let mut settings: BTreeMap<&str, &str> = DEFAULTS.iter().copied().collect();
        let users = self.settings.iter();
        settings.extend(users.map(|(name, value)| (name.as_str(), value.as_str())));
        settings.insert("bootstrap.servers", &self.brokers);
        settings.extend(own.iter().map(|(name, value)| (*name, value.as_str())));
        let owned = |(name, value): (&str, &str)| (name.to_string(), value.to_string());
        settings.into_iter().map(owned).collect()
    }

    /// Settings of a client that reads partitions.
    pub(super) fn reader(&self) -> Vec<(String, String)> {
        self.settings_with(&[
            ("isolation.level", "read_committed".into()),
            ("enable.auto.commit", "false".into()),
            ("auto.commit.enable", "false".into()),
            ("enable.auto.offset.store", "false".into()),
            // A position that does not exist is an error of the reader's, never a jump.
            ("auto.offset.reset", "error".into()),
            ("enable.partition.eof", "true".into()),
            // With its default of a second, a full queue stops a partition that long.
            ("fetch.queue.backoff.ms", "1".into()),
        ])
    }

    /// Settings of a client that writes.
    pub(super) fn writer(&self, transactional_id: Option<&str>) -> Vec<(String, String)> {
        let mut own = vec![
            ("enable.idempotence", "true".to_string()),
            ("acks", "all".into()),
        ];
        if let Some(id) = transactional_id {
            let timeout = self.transaction_timeout.as_millis().to_string();
            own.push(("transactional.id", id.to_string()));
            own.push(("transaction.timeout.ms", timeout.clone()));
            own.push(("message.timeout.ms", timeout));
        }
        self.settings_with(&own)
    }

    /// Settings of a client that is a member of `group`.
    pub(super) fn member(&self, group: &str) -> Vec<(String, String)> {
        let mut own = vec![
            ("group.id", group.to_string()),
            ("enable.auto.commit", "false".into()),
            ("enable.auto.offset.store", "false".into()),
            ("auto.offset.reset", "error".into()),
            // It is a member only; what it might fetch before it is told not to is little.
            ("queued.min.messages", "1".into()),
            ("fetch.message.max.bytes", "1".into()),
        ];
        match self.group_protocol {
            GroupProtocol::Classic => {
                own.push(("group.protocol", "classic".into()));
                own.push(("partition.assignment.strategy", "cooperative-sticky".into()));
            }
            GroupProtocol::Consumer => own.push(("group.protocol", "consumer".into())),
        }
        if let Some(id) = &self.group_instance_id {
            own.push(("group.instance.id", id.clone()));
        }
        self.settings_with(&own)
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(name, value): (&String, &String)| {
            let value = if is_secret(name) {
                "…".into()
            } else {
                value.clone()
            };
            (name.clone(), value)
        };
        out.debug_struct("Options")
            .field("brokers", &self.brokers)
            .field(
                "settings",
                &self.settings.iter().map(shown).collect::<BTreeMap<_, _>>(),
            )
            .field("group_protocol", &self.group_protocol)
            .field("group_instance_id", &self.group_instance_id)
            .field("instance", &self.instance)
            .field("guarantee", &self.guarantee)
            .finish_non_exhaustive()
    }
}

/// Whether a setting's value must never be shown. A name that is not known to be
/// harmless counts as a secret if it looks like one.
fn is_secret(name: &str) -> bool {
    const PARTS: [&str; 7] = [
        "password",
        "secret",
        "key",
        "token",
        "oauthbearer",
        "assertion",
        "pem",
    ];
    PARTS.iter().any(|part| name.contains(part)) && name != "ssl.key.location"
}

/// They run programs or load libraries.
const DANGEROUS: [&str; 3] = [
    "plugin.library.paths",
    "sasl.kerberos.kinit.cmd",
    "ssl.engine.location",
];

/// What a user may not set otherwise: the value that it always has, or `None` where
/// an option of ours says it.
const OURS: [(&str, Option<&str>); 19] = [
    ("bootstrap.servers", None),
    ("metadata.broker.list", None),
    ("group.id", None),
    ("group.protocol", None),
    ("group.instance.id", None),
    ("partition.assignment.strategy", Some("cooperative-sticky")),
    ("transactional.id", None),
    ("transaction.timeout.ms", None),
    ("enable.idempotence", Some("true")),
    ("acks", Some("all")),
    ("request.required.acks", Some("all")),
    ("isolation.level", Some("read_committed")),
    ("enable.auto.commit", Some("false")),
    ("auto.commit.enable", Some("false")),
    ("enable.auto.offset.store", Some("false")),
    ("auto.offset.reset", None),
    ("enable.partition.eof", Some("true")),
    ("partitioner", Some("murmur2_random")),
    ("delivery.report.only.error", Some("false")),
];

/// Settings that a user may change.
const DEFAULTS: [(&str, &str); 15] = [
    ("client.id", "headwater"),
    ("allow.auto.create.topics", "false"),
    ("enable.metrics.push", "false"),
    ("partitioner", "murmur2_random"),
    // A topic is looked up before it is used: a missing one is no reason to wait.
    ("topic.metadata.propagation.max.ms", "1000"),
    // Partitions that are added are noticed so.
    ("topic.metadata.refresh.interval.ms", "10000"),
    ("reconnect.backoff.ms", "20"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.nagle.disable", "true"),
    ("fetch.wait.max.ms", "100"),
    ("queued.min.messages", "20000"),
    ("queued.max.messages.kbytes", "16384"),
    ("queue.buffering.max.messages", "100000"),
    // A batch fills up behind those that are on their way; waiting longer gains nothing.
    ("linger.ms", "1"),
    // Changelogs keep what users keep, and brokers have the last word.
    ("message.max.bytes", "16777216"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Options {
        let mut options = Options::new("localhost:9092");
        options.settings.insert(name.into(), value.into());
        options
    }

    #[test]
    fn secrets_are_never_shown() {
        for name in [
            "sasl.password",
            "ssl.key.password",
            "ssl.key.pem",
            "ssl.keystore.password",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.assertion.private.key.pem",
        ] {
            let text = format!("{:?}", with(name, "hush-hush"));
            assert!(text.contains(name) && !text.contains("hush"), "{text}");
        }
        assert!(format!("{:?}", with("sasl.username", "ada")).contains("ada"));
    }

    #[test]
    fn what_promises_stand_on_cannot_be_changed() {
        for (name, value) in [
            ("isolation.level", "read_uncommitted"),
            ("enable.auto.commit", "true"),
            ("acks", "1"),
            ("group.id", "other"),
            ("plugin.library.paths", "/tmp/evil"),
            ("sasl.kerberos.kinit.cmd", "sh"),
        ] {
            let error = with(name, value).check().expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
        }
        with("isolation.level", "read_committed").check().unwrap();
        with("security.protocol", "SASL_SSL").check().unwrap();
    }
}
