//! Which log a command works on.

use crate::flags::{Command, Flags, GroupsCommand, parse_setting};
use headwater::core::env::Env;
use headwater::log::Log;
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::log::kafka::{Guarantee, KafkaLog, Options as KafkaOptions};
use headwater::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A log, and the directory that it is in if it is on this host.
pub(crate) struct Place {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) directory: Option<PathBuf>,
}

impl Place {
    /// The log that the flags or the environment name; one that is missing is made only
    /// if `may_create`.
    ///
    /// # Errors
    /// `Invalid` if there is none, or for a setting that cannot be.
    pub(crate) fn of(flags: &Flags, may_create: bool) -> Result<Place> {
        if let Some(brokers) = brokers(flags) {
            return Ok(Place {
                log: KafkaLog::new(kafka_options(&brokers, flags)?)?,
                directory: None,
            });
        }
        if !flags.config.is_empty() || flags.config_file.is_some() {
            return Err(Error::invalid(
                "settings of a client are for a cluster\n\
                 hint: name it with --broker or HEADWATER_BROKER",
            ));
        }
        let directory = directory(flags);
        if !may_create && !directory.join("log.db").exists() {
            return Err(Error::invalid(format!(
                "there is no log in this directory directory=`{}`\n\
                 hint: go to the folder where the job runs, or name its directory with --directory \
                 or HEADWATER_DIR, or a cluster with --broker or HEADWATER_BROKER",
                directory.display()
            )));
        }
        Ok(Place {
            log: EmbeddedLog::open(&directory, Options::new(Env::system()))?,
            directory: Some(directory),
        })
    }
}

/// An explicit directory is meant even where the environment names a cluster.
fn brokers(flags: &Flags) -> Option<String> {
    let variable = || match flags.directory {
        None => std::env::var("HEADWATER_BROKER").ok(),
        Some(_) => None,
    };
    let brokers = flags.broker.clone().or_else(variable);
    brokers.filter(|brokers| !brokers.is_empty())
}

fn directory(flags: &Flags) -> PathBuf {
    let given = flags.directory.clone();
    let variable = || std::env::var_os("HEADWATER_DIR").filter(|value| !value.is_empty());
    given
        .or_else(|| variable().map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(".headwater"))
}

fn kafka_options(brokers: &str, flags: &Flags) -> Result<KafkaOptions> {
    let is_encrypted = brokers.starts_with("kafka+ssl://");
    let plain = ["kafka://", "kafka+ssl://"]
        .iter()
        .find_map(|prefix| brokers.strip_prefix(prefix))
        .map_or(brokers, |rest| rest.trim_end_matches('/'));
    if let Some((scheme, _)) = plain.split_once("://") {
        return Err(Error::invalid(format!(
            "brokers are named as HOST:PORT[,HOST:PORT], kafka://HOST:PORT or kafka+ssl://HOST:PORT \
             scheme=`{scheme}`"
        )));
    }
    let mut options = KafkaOptions::new(plain);
    if is_encrypted {
        options
            .settings
            .insert("security.protocol".into(), "ssl".into());
    }
    if let Some(file) = &flags.config_file {
        options.settings.extend(settings_of(file)?);
    }
    options.settings.extend(flags.config.iter().cloned());
    let is_move = |command: &Option<GroupsCommand>| {
        let Some(GroupsCommand::Reset(what)) = command else {
            return false;
        };
        what.to.is_some()
    };
    if matches!(&flags.command, Command::Groups { command } if is_move(command)) {
        // See `headwater::move_positions`.
        options.guarantee = Guarantee::AtLeastOnce;
    }
    Ok(options)
}

/// The settings of a file: `name=value` lines, empty ones, and comments behind `#`.
fn settings_of(file: &Path) -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Error::invalid(format!(
            "the file of settings cannot be read: {error} file=`{}`",
            file.display()
        ))
    })?;
    let lines = text.lines().map(str::trim).enumerate();
    let meant = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    meant
        .map(|(number, line)| {
            parse_setting(line).map_err(|expected| {
                Error::invalid(format!(
                    "a line is no setting: {expected} file=`{}` line=`{}`",
                    file.display(),
                    number + 1
                ))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn flags(args: &[&str]) -> Flags {
        let args = ["headwater"].iter().chain(args).chain(&["groups"]);
        Flags::try_parse_from(args).unwrap()
    }

    #[test]
    fn a_cluster_is_named_as_an_application_names_it() {
        let named = |address: &str| kafka_options(address, &flags(&[])).unwrap();
        assert_eq!(named("a:1,b:2").brokers, "a:1,b:2");
        assert_eq!(named("kafka://a:1/").brokers, "a:1");
        let encrypted = named("kafka+ssl://a:1");
        assert_eq!(encrypted.brokers, "a:1");
        assert_eq!(encrypted.settings["security.protocol"], "ssl");
        let error = kafka_options("http://a:1", &flags(&[])).unwrap_err();
        assert!(error.to_string().contains("scheme=`http`"), "{error}");
    }

    #[test]
    fn settings_come_from_a_file_and_from_flags() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("client.properties");
        std::fs::write(
            &file,
            "  # ours\nsasl.username = ada\n\nsasl.password=a=b\n",
        )
        .unwrap();
        let file = file.to_str().unwrap();
        let flags = flags(&["--config-file", file, "--config", "sasl.username=bob"]);
        let options = kafka_options("a:1", &flags).unwrap();
        assert_eq!(options.settings["sasl.username"], "bob");
        assert_eq!(options.settings["sasl.password"], "a=b");
        std::fs::write(file, "hush-hush\n").unwrap();
        let error = kafka_options("a:1", &flags).unwrap_err().to_string();
        assert!(
            error.contains("line=`1`") && !error.contains("hush"),
            "{error}"
        );
    }
}
