//! ynetd's command line, read as Go's `flag` package reads one: `-x`, `--x`, `-x=VALUE`, `-x VALUE`;
//! the first word that is none of these begins the command.

use std::path::PathBuf;

use super::{Findings, Place, Refused, Said, service::Service};
use crate::config::lines::shorten;

/// What the options say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arguments {
    config: Option<String>,
    proxy: Option<String>,
    proxy_sep: Option<String>,
    auto_start: Option<bool>,
    stop_after: Option<String>,
    stop_signal: Option<String>,
    timeout: Option<String>,
    wait_after_start: Option<String>,
    command: Vec<String>,
}

/// An option.
struct Flag<'a> {
    name: &'a str,
    /// What follows its `=`.
    value: Option<&'a str>,
}

impl Arguments {
    /// Reads what follows the name of the program.
    ///
    /// # Errors
    /// The first option that ynetd does not have, or that lacks its value.
    pub fn read(words: &[String]) -> Result<Self, Refused> {
        let mut arguments = Self::default();
        match arguments.take_all(words) {
            Ok(()) => Ok(arguments),
            Err((option, message)) => {
                let mut findings = Findings::new(None);
                findings.error(Place::Argument(option), message);
                Err(Refused {
                    diagnostics: findings.report.finish([].iter()),
                })
            }
        }
    }

    /// The file that it names.
    #[must_use]
    pub fn config(&self) -> Option<PathBuf> {
        let path = self.config.as_ref().filter(|path| !path.is_empty());
        path.map(PathBuf::from)
    }

    fn take_all(&mut self, words: &[String]) -> Result<(), (&'static str, String)> {
        let mut rest = words.iter();
        while let Some(word) = rest.as_slice().first() {
            let Some(after) = word.strip_prefix('-').filter(|after| !after.is_empty()) else {
                break;
            };
            rest.next();
            let name = after.strip_prefix('-').unwrap_or(after);
            if name.is_empty() {
                break;
            }
            self.take(&Flag::of(name), &mut rest)?;
        }
        self.command = rest.cloned().collect();
        Ok(())
    }

    fn take(
        &mut self,
        flag: &Flag<'_>,
        rest: &mut std::slice::Iter<'_, String>,
    ) -> Result<(), (&'static str, String)> {
        let (option, place) = match flag.name {
            "c" | "config" => ("-config", &mut self.config),
            "p" | "proxy" => ("-proxy", &mut self.proxy),
            "ps" | "proxy-sep" => ("-proxy-sep", &mut self.proxy_sep),
            "stop-after" => ("-stop-after", &mut self.stop_after),
            "stop-signal" => ("-stop-signal", &mut self.stop_signal),
            "t" | "timeout" => ("-timeout", &mut self.timeout),
            "wait-after-start" => ("-wait-after-start", &mut self.wait_after_start),
            "auto-start" => {
                self.auto_start = Some(truth(flag.value.unwrap_or("true"))?);
                return Ok(());
            }
            other => return Err(("ynetd", none_of(other))),
        };
        let value = match flag.value {
            Some(value) => Some(value.to_owned()),
            None => rest.next().cloned(),
        };
        *place = Some(value.ok_or((option, "needs a value after it".to_owned()))?);
        Ok(())
    }

    /// The service of the command line, if there is one. A file alone is enough for ynetd.
    pub(super) fn service(&self, has_file: bool, findings: &mut Findings<'_>) -> Option<Service> {
        let place = Place::Argument("-proxy");
        let Some(proxy) = self.proxy.as_ref().filter(|proxy| !proxy.is_empty()) else {
            if !self.command.is_empty() || !has_file {
                findings.error(place, self.without_proxy());
            } else if self.speaks_of_a_service() {
                let message = "it is missing, so ynetd has no service to which the other options \
                               belong; they are left out";
                findings.warning(place, message.to_owned());
            }
            return None;
        };
        let mut service = Service::new(place);
        self.lead(proxy, &mut service, findings);
        let argument = |text: &Option<String>, option: &'static str| {
            text.as_ref().map(|text| Said {
                text: text.clone(),
                place: Place::Argument(option),
            })
        };
        service.command = (!self.command.is_empty())
            .then(|| (self.command.clone(), Place::Argument("the command")));
        service.auto_start = self
            .auto_start
            .map(|yes| (yes, Place::Argument("-auto-start")));
        service.stop_after = argument(&self.stop_after, "-stop-after");
        service.stop_signal = argument(&self.stop_signal, "-stop-signal");
        service.timeout = argument(&self.timeout, "-timeout");
        service.wait_after_start = argument(&self.wait_after_start, "-wait-after-start");
        Some(service)
    }

    fn lead(&self, proxy: &str, service: &mut Service, findings: &mut Findings<'_>) {
        let separator = self.proxy_sep.as_deref().unwrap_or(" ");
        if separator.is_empty() {
            let message = "it is empty, and takes the addresses apart letter by letter";
            findings.error(Place::Argument("-proxy-sep"), message.to_owned());
            return;
        }
        let addresses: Vec<&str> = proxy.split(separator).collect();
        if addresses.len() % 2 != 0 {
            let message = format!(
                "'{}' has an odd number of addresses ({}), and must have pairs: FROM TO FROM TO",
                shorten(proxy),
                addresses.len()
            );
            findings.error(service.place, message);
            return;
        }
        for pair in addresses.chunks_exact(2) {
            let said = |text: &str| Said {
                text: text.to_owned(),
                place: Place::Argument("-proxy"),
            };
            if service.lead(said(pair[0]), said(pair[1])).is_some() {
                let message = format!("'{}' is here twice; the last one counts", shorten(pair[0]));
                findings.warning(service.place, message);
            }
        }
    }

    fn without_proxy(&self) -> String {
        let own_name = |word: &String| word.rsplit('/').next() == Some("ynetd");
        let hint = match self.command.first().is_some_and(own_name) {
            true => "; leave out the name of the program itself",
            false => "",
        };
        format!("it is missing, and ynetd does nothing without it{hint}")
    }

    fn speaks_of_a_service(&self) -> bool {
        let of_files = Self {
            config: self.config.clone(),
            ..Self::default()
        };
        *self != of_files
    }
}

impl<'a> Flag<'a> {
    fn of(text: &'a str) -> Self {
        match text.split_once('=') {
            Some((name, value)) => Self {
                name,
                value: Some(value),
            },
            None => Self {
                name: text,
                value: None,
            },
        }
    }
}

fn none_of(name: &str) -> String {
    match name {
        "l" | "listen" => "it has no option -listen any more; write -proxy \"FROM TO\"".to_owned(),
        "version" => "with -version it does nothing else; there is nothing to import".to_owned(),
        _ => format!("it has no option '-{}'", shorten(name)),
    }
}

fn truth(text: &str) -> Result<bool, (&'static str, String)> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err((
            "-auto-start",
            format!("'{}' is neither true nor false", shorten(other)),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Arguments, Refused> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        Arguments::read(&words)
    }

    #[test]
    fn options_are_read_as_go_reads_them_and_end_with_the_command() {
        let long = read(&["--proxy", "a b", "-t=1s", "-auto-start", "run", "-t", "2s"]).unwrap();
        assert_eq!(long.proxy.as_deref(), Some("a b"));
        assert_eq!(long.timeout.as_deref(), Some("1s"));
        assert_eq!(long.auto_start, Some(true));
        assert_eq!(long.command, ["run", "-t", "2s"]);
        let short = read(&[
            "-p=a b",
            "-ps",
            "+",
            "-c",
            "x.yml",
            "-auto-start=f",
            "--",
            "-x",
        ]);
        let short = short.unwrap();
        assert_eq!(short.proxy_sep.as_deref(), Some("+"));
        assert_eq!(short.config(), Some("x.yml".into()));
        assert_eq!(short.auto_start, Some(false));
        assert_eq!(short.command, ["-x"]);
        // A single dash is a word like any other.
        assert_eq!(read(&["-", "-t"]).unwrap().command, ["-", "-t"]);
    }

    #[test]
    fn what_is_no_option_of_ynetd_is_named() {
        for (words, said) in [
            (&["-x"][..], "ynetd: it has no option '-x'"),
            (&["---proxy"], "ynetd: it has no option '--proxy'"),
            (&["-=1"], "ynetd: it has no option '-'"),
            (&["-listen", ":1"], "no option -listen any more"),
            (&["-version"], "nothing to import"),
            (&["-timeout"], "-timeout: needs a value"),
            (&["-auto-start=maybe"], "-auto-start: 'maybe' is neither"),
        ] {
            let error = read(words).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
