//! Brokers for tests: `scripts/kafka run` as a child process that obeys commands.
//!
//! It kills its brokers when its input ends, so however a test ends, nothing stays.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A cluster of brokers on loopback; dropping it stops them.
pub(crate) struct Brokers {
    child: Child,
    /// `None` once it is to end.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// Where clients connect.
    pub(crate) addresses: String,
    /// Where the brokers listen, behind a proxy.
    pub(crate) listening: String,
}

impl Brokers {
    /// One broker.
    pub(crate) fn start() -> Brokers {
        Brokers::start_with(&[])
    }

    /// Brokers with options of `scripts/kafka run`.
    ///
    /// # Panics
    /// If they cannot start: Java is missing, or the jars cannot be fetched.
    pub(crate) fn start_with(options: &[&str]) -> Brokers {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka");
        let mut child = Command::new("python3")
            .arg(script)
            .arg("run")
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs `scripts/kafka`");
        let commands = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        answers.read_line(&mut line).expect("it answers");
        let mut words = line.split_whitespace();
        let (Some("ready"), Some(addresses), Some(listening)) =
            (words.next(), words.next(), words.next())
        else {
            let _ = child.wait();
            panic!("no broker could be started; the reason stands above");
        };
        Brokers {
            addresses: addresses.into(),
            listening: listening.into(),
            child,
            commands,
            answers,
        }
    }

    /// Gives a command: `kill 1`, `stop 1`, `start 1`, `freeze 1`, `thaw 1`.
    ///
    /// # Panics
    /// If it is refused.
    pub(crate) fn tell(&mut self, command: &str) {
        let commands = self.commands.as_mut().expect("it has not ended");
        writeln!(commands, "{command}").expect("it listens");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        assert_eq!(line.trim(), "ok", "{command}");
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        drop(self.commands.take());
        let _ = self.child.wait();
    }
}
