//! What a service of ynetd asks for, in our words.

use std::time::Duration;

use super::{
    Findings, Place, Said, address,
    address::Unfit,
    durations,
    service::Service,
    shell::{self, Written},
};
use crate::config::lines::shorten;

/// How long ynetd tries to reach a destination where nobody says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// A section to be written.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Where the service begins.
    pub(super) place: Place,
    /// PORT and TARGET of each pair. With none there is no section.
    pub(super) pairs: Vec<(String, String)>,
    /// COMMAND, and what there is only with one.
    pub(super) command: Option<Command>,
    /// WAKE_TIMEOUT.
    pub(super) wake: Duration,
    /// What could not be had.
    pub(super) notes: Vec<String>,
}

/// A command that is the backend.
#[derive(Debug)]
pub(super) struct Command {
    /// Its program, as it was written.
    pub(super) program: String,
    /// COMMAND.
    pub(super) written: Written,
    /// AUTO_START.
    pub(super) auto_start: bool,
    /// IDLE_TIME; `None` is never.
    pub(super) idle: Option<Duration>,
    /// STOP_SIGNAL.
    pub(super) signal: &'static str,
    /// WAIT_AFTER_START.
    pub(super) pause: Duration,
}

/// Collects what could not be had of one service.
struct Reader<'a, 'b> {
    findings: &'a mut Findings<'b>,
    notes: Vec<String>,
}

impl Wanted {
    pub(super) fn of(service: Service, findings: &mut Findings<'_>) -> Self {
        let mut reader = Reader {
            findings,
            notes: Vec::new(),
        };
        if service.proxy.is_empty() && !reader.findings.refused {
            let message = "this service has no proxy, which says where to listen".to_owned();
            reader.findings.error(service.place, message);
        }
        let pairs = service.proxy.iter();
        let pairs = pairs
            .filter_map(|(from, to)| reader.pair(from, to))
            .collect();
        let timeout = reader.timeout(service.timeout.as_ref());
        let command = reader.command(&service);
        let pause = command.as_ref().map_or(Duration::ZERO, |one| one.pause);
        Self {
            place: service.place,
            pairs,
            command,
            // ynetd begins to count when the pause is over, and we when the client comes.
            wake: timeout.saturating_add(pause),
            notes: reader.notes,
        }
    }
}

impl Reader<'_, '_> {
    /// Something is left out.
    fn without(&mut self, place: Place, message: &str) {
        self.notes.push(place.told(message));
        self.findings.warning(place, message.to_owned());
    }

    fn pair(&mut self, from: &Said, to: &Said) -> Option<(String, String)> {
        let listener = self.address(from, address::listener(&from.text));
        let destination = self.address(to, address::destination(&to.text));
        listener.zip(destination)
    }

    fn address(&mut self, said: &Said, read: Result<String, Unfit>) -> Option<String> {
        match read {
            Ok(written) => return Some(written),
            Err(Unfit::Refused(why)) => self.findings.error(said.place, why),
            Err(Unfit::Unknown(why)) => self.without(said.place, &format!("{why}; left out")),
        }
        None
    }

    fn command(&mut self, service: &Service) -> Option<Command> {
        let idle = self.idle(service.stop_after.as_ref());
        let pause = self.pause(service.wait_after_start.as_ref());
        let Some((words, place)) = &service.command else {
            self.of_no_command(service);
            return None;
        };
        let signal = self.signal(service.stop_signal.as_ref());
        let written = match shell::write(words) {
            Ok(written) => written,
            Err(why) => {
                self.findings.error(*place, why.to_owned());
                return None;
            }
        };
        let program = words.first().cloned().unwrap_or_default();
        if program.contains('/') && !program.starts_with('/') {
            let message = format!(
                "'{}' is found from where ynetd was started; here commands run in /, so give \
                 WORKING_DIRECTORY",
                shorten(&program)
            );
            self.without(*place, &message);
        }
        Some(Command {
            program,
            written,
            auto_start: service.auto_start.is_some_and(|(yes, _)| yes),
            idle,
            signal,
            pause,
        })
    }

    /// What belongs to a command and stands alone.
    fn of_no_command(&mut self, service: &Service) {
        let of = |said: &Option<Said>| said.as_ref().map(|said| said.place);
        let places = [
            service
                .auto_start
                .and_then(|(yes, place)| yes.then_some(place)),
            of(&service.stop_after),
            of(&service.stop_signal),
            of(&service.wait_after_start),
        ];
        for place in places.into_iter().flatten() {
            self.without(place, "this does nothing without a command; left out");
        }
    }

    /// Blank is the default. A negative duration is `Some(None)`.
    fn duration(&mut self, said: Option<&Said>) -> Option<Option<Duration>> {
        let said = said.filter(|said| !is_default(said))?;
        match durations::read(&said.text) {
            Ok(duration) => Some(duration),
            Err(why) => {
                let message = format!("'{}' {why}", shorten(&said.text));
                self.findings.error(said.place, message);
                None
            }
        }
    }

    fn timeout(&mut self, said: Option<&Said>) -> Duration {
        match (self.duration(said), said) {
            (Some(Some(Duration::ZERO) | None), Some(said)) => {
                let message = "with this ynetd gives up at once, which cannot be had; 5 minutes \
                               hold instead";
                self.without(said.place, message);
                DEFAULT_TIMEOUT
            }
            (Some(Some(timeout)), _) => timeout,
            _ => DEFAULT_TIMEOUT,
        }
    }

    /// Nothing, zero and less are never.
    fn idle(&mut self, said: Option<&Said>) -> Option<Duration> {
        let read = self.duration(said).flatten();
        read.filter(|after| !after.is_zero())
    }

    fn pause(&mut self, said: Option<&Said>) -> Duration {
        self.duration(said).flatten().unwrap_or_default()
    }

    fn signal(&mut self, said: Option<&Said>) -> &'static str {
        match said.map(|said| (said.text.as_str(), said.place)) {
            None | Some(("" | "TERM", _)) => "TERM",
            Some(("INT", _)) => "INT",
            Some((other, place)) => {
                let message = format!("'{}' is not one of INT, TERM", shorten(other));
                self.findings.error(place, message);
                "TERM"
            }
        }
    }
}

/// An empty value is none in a file. On the command line it is a duration that is wrong.
fn is_default(said: &Said) -> bool {
    said.text.is_empty() && !matches!(said.place, Place::Argument(_))
}
