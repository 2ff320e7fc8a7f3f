//! One service that a command line says instead of a file: `sleepingd forward`.
//!
//! Every option is a key and its value, and goes the same way as a line of a file would. What is
//! wrong is told by the name of the option.

use std::{path::PathBuf, sync::Arc};

use super::{
    Loaded, Source, SourceFile,
    diagnostic::{Diagnostic, Report},
    finish,
    keys::{self, KeyInfo, Place},
    lines::{Block, Entry, Value},
    sections::{Settings, Values},
    validate,
};
use crate::model::{CommandLine, Definition, Scope, ServiceName};

/// An option that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// As it is written: `--listen`.
    pub option: &'static str,
    /// The key of a file that says the same.
    pub key: &'static str,
    /// Its value.
    pub value: String,
}

/// The one service of a command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forward {
    /// The options, in their order.
    pub said: Vec<Said>,
    /// What follows `--`: the backend and its arguments, run without a shell. Empty: there is none.
    pub command: Vec<String>,
}

/// What the service is called where it has no command.
const NAME: &str = "forward";

impl Forward {
    /// The configuration that it stands for, with these names of inherited sockets: the service
    /// takes all of them.
    ///
    /// # Errors
    /// All that is wrong, a line for each, by the names of the options.
    pub fn load(&self, inherited: &[String]) -> Result<Loaded, Vec<String>> {
        self.complete(inherited)
            .map_err(|why| vec![why.to_owned()])?;
        let mut report = Report::default();
        let file = SourceFile {
            path: PathBuf::new(),
            text: String::new(),
        };
        let source = Source {
            file: &file,
            inherited,
            scope: Scope::System,
        };
        let head = Settings::new(self.block("", |key| key.place == Place::Head), Place::Head);
        let name = self.name();
        let mut block = self.block(name.as_str(), |key| key.place == Place::Anywhere);
        block.entries.extend(self.implied(inherited));
        let own = Settings::new(block, Place::Anywhere);
        let mut candidates = vec![source.section(&own, &head, &mut report)];
        if let Some(definition) = candidates.iter_mut().find_map(|c| c.definition.as_mut()) {
            self.attach(definition);
        }
        let about_daemon = super::AboutDaemon::of(Values::of_head(&head));
        for problem in &head.problems {
            let at = Some(source.origin(problem.line));
            report.push(Diagnostic::new(
                problem.severity,
                at,
                None,
                &problem.message,
            ));
        }
        let loaded = finish(
            candidates,
            about_daemon,
            report,
            std::slice::from_ref(&file),
        );
        let wrong: Vec<String> = loaded.errors().map(|error| self.in_words(error)).collect();
        if wrong.is_empty() {
            Ok(loaded)
        } else {
            Err(wrong)
        }
    }

    /// Whether the ends are there; what else is missing, the keys tell.
    fn complete(&self, inherited: &[String]) -> Result<(), &'static str> {
        let has = |key: &KeyInfo| self.said.iter().any(|said| said.key == key.name);
        if has(&keys::PROXY.info) {
            return Ok(());
        }
        if inherited.is_empty() && !has(&keys::PORT.info) {
            return Err(
                "nobody says where to listen; add --listen ADDRESS, or start it by a socket",
            );
        }
        if !has(&keys::TARGET.info) {
            return Err("nobody says where to forward to; add --target HOST:PORT");
        }
        Ok(())
    }

    /// After what is run: that is what its lines in the log are about.
    fn name(&self) -> ServiceName {
        let program = self.command.first();
        let base = program.and_then(|program| program.rsplit('/').next());
        let name = base.map(ServiceName::new);
        name.filter(|name| validate::slug(name).is_ok())
            .unwrap_or_else(|| ServiceName::new(NAME))
    }

    /// The options whose keys are there. The line of each is its number, from 1.
    fn block(&self, name: &str, is_there: impl Fn(&KeyInfo) -> bool) -> Block {
        let entries = self.said.iter().enumerate().map(|(index, said)| Entry {
            key: said.key.to_owned(),
            value: Value::plain(&said.value),
            line: index + 1,
        });
        Block {
            name: name.to_owned(),
            entries: entries
                .filter(|entry| keys::find(&entry.key).is_some_and(&is_there))
                .collect(),
            ..Block::default()
        }
    }

    /// What nobody has said.
    fn implied(&self, inherited: &[String]) -> Vec<Entry> {
        let entry = |key: &str, value: &str| Entry {
            key: key.to_owned(),
            value: Value::plain(value),
            line: 0,
        };
        let mut implied = Vec::new();
        if !self.command.is_empty() {
            // What is run is words, and put in its place later.
            implied.push(entry(keys::COMMAND.info.name, "true"));
            // It is told to end as soon as we are, and finishes what is open. This is for clients
            // that take their time with the last of it.
            implied.push(entry(keys::DRAIN_TIMEOUT.info.name, "5s"));
        } else {
            // Nobody is waited for at the end, as with other forwarders.
            implied.push(entry(keys::DRAIN_TIMEOUT.info.name, "0"));
        }
        implied.extend(
            inherited
                .iter()
                .map(|name| entry(keys::SOCKET.info.name, &quoted(name))),
        );
        implied
    }

    /// Its command is words, and runs as what a person runs: with our output and environment.
    fn attach(&self, definition: &mut Definition) {
        let recipe = Arc::make_mut(&mut definition.recipe);
        recipe.attached = true;
        recipe.working_directory = PathBuf::new();
        let words: Vec<&str> = self.command.iter().map(String::as_str).collect();
        if let Some(supervised) = &mut recipe.command {
            supervised.command = CommandLine::words(&words);
        }
    }

    fn in_words(&self, wrong: &Diagnostic) -> String {
        let line = wrong.origin.as_ref().map_or(0, |origin| origin.line);
        let said = line.checked_sub(1).and_then(|index| self.said.get(index));
        match said {
            Some(said) => {
                let key = format!("{}: ", said.key);
                let why = wrong.message.strip_prefix(&key).unwrap_or(&wrong.message);
                format!("{}: {why}", said.option)
            }
            None => wrong.message.clone(),
        }
    }
}

/// As SOCKET takes a name with blanks in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Destination, Execution, ListenAddr};

    fn said(options: &[(&'static str, &'static str, &str)]) -> Vec<Said> {
        let said = |(option, key, value): &(&'static str, &'static str, &str)| Said {
            option,
            key,
            value: (*value).to_owned(),
        };
        options.iter().map(said).collect()
    }

    const LISTEN: (&str, &str, &str) = ("--listen", "PORT", "127.0.0.1:8080");
    const TARGET: (&str, &str, &str) = ("--target", "TARGET", "127.0.0.1:8081");

    #[test]
    fn a_command_is_words_and_is_named_after_its_program() {
        let forward = Forward {
            said: said(&[LISTEN, TARGET]),
            command: ["/usr/bin/my server", "a b", "$HOME", "#c"]
                .map(str::to_owned)
                .to_vec(),
        };
        let loaded = forward.load(&[]).unwrap();
        let [definition] = &loaded.definitions[..] else {
            panic!("{loaded:?}");
        };
        assert_eq!(definition.name.as_str(), "my server");
        assert_eq!(
            definition.listen,
            ["127.0.0.1:8080".parse().map(ListenAddr::Tcp).unwrap()]
        );
        assert_eq!(
            definition.targets,
            ["127.0.0.1:8081".parse::<Destination>().unwrap()]
        );
        let command = &definition.recipe.command.as_ref().unwrap().command;
        let words = vec!["/usr/bin/my server", "a b", "$HOME", "#c"];
        assert_eq!(command.execution(), Execution::Program(words));
        assert!(definition.recipe.attached);
        assert_eq!(definition.policy.idle.after, None);
    }

    #[test]
    fn without_a_command_it_only_forwards_and_is_idle_at_once() {
        let forward = Forward {
            said: said(&[
                LISTEN,
                TARGET,
                ("--exit-idle-time", "EXIT_IDLE_TIME", "10s"),
            ]),
            command: Vec::new(),
        };
        let loaded = forward.load(&[]).unwrap();
        assert_eq!(loaded.exit_idle, Some(Duration::from_secs(10)));
        assert_eq!(loaded.definitions[0].name.as_str(), "forward");
        assert_eq!(loaded.definitions[0].recipe.command, None);
    }

    #[test]
    fn sockets_that_were_inherited_are_its_own_whatever_they_are_called() {
        let forward = Forward {
            said: said(&[TARGET]),
            command: Vec::new(),
        };
        let names = ["web.socket", "a \"b\" \\c"].map(str::to_owned);
        let loaded = forward.load(&names).unwrap();
        assert_eq!(loaded.definitions[0].sockets, names);
        let wrong = forward.load(&[]).unwrap_err();
        assert!(wrong[0].contains("add --listen"), "{wrong:?}");
        let nowhere = Forward::default().load(&names).unwrap_err();
        assert!(nowhere[0].contains("add --target"), "{nowhere:?}");
    }

    #[test]
    fn what_is_wrong_is_told_by_the_name_of_its_option() {
        type Option = (&'static str, &'static str, &'static str);
        let table: &[(&[Option], &str)] = &[
            (
                &[("--listen", "PORT", "nonsense:80x"), TARGET],
                "--listen: '80x' is not a port",
            ),
            (&[LISTEN, ("--target", "TARGET", "nowhere")], "--target: "),
            (
                &[
                    LISTEN,
                    TARGET,
                    ("--exit-idle-time", "EXIT_IDLE_TIME", "soon"),
                ],
                "--exit-idle-time: 'soon' is not a duration",
            ),
            (
                &[LISTEN, TARGET, ("--stop-signal", "STOP_SIGNAL", "SIGFOO")],
                "--stop-signal: ",
            ),
        ];
        for (options, expected) in table {
            let options = options.iter().map(|(a, b, c)| Said {
                option: a,
                key: b,
                value: (*c).to_owned(),
            });
            let forward = Forward {
                said: options.collect(),
                command: vec!["true".to_owned()],
            };
            let wrong = forward.load(&[]).unwrap_err();
            assert!(wrong[0].starts_with(expected), "{wrong:?}");
        }
    }
}
