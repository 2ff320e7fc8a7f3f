//! From the keys of one service to its definition, and what is wrong with them taken together.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use super::{
    clashes::overlap,
    diagnostic::Severity,
    keys::{self, KeyInfo},
    lines::Problem,
    ready_made::{self, ReadyMade},
    sections::Values,
    supervised,
};
use crate::model::{
    Access, Account, CidrList, CommandTimeouts, Definition, Destination, Environment, IdleOn,
    IdlePolicy, Limits, ListenAddr, Mode, Origin, Policy, ProxyProtocol, Recipe, Scope,
    ServiceName, Slug, Timeouts, TrustedSources,
};

/// Part of the names of files, units and descriptors, all of which end at 255 bytes.
const MAX_NAME: usize = 128;

/// A service about to be defined.
pub(super) struct Draft<'a> {
    /// Its name.
    pub(super) name: &'a ServiceName,
    /// Its name, made safe.
    pub(super) slug: Slug,
    /// Where it begins.
    pub(super) origin: Origin,
    /// What holds for it.
    pub(super) values: Values<'a>,
    /// Whose units it means.
    pub(super) scope: Scope,
}

/// The slug of a name, or what is wrong with the name.
pub(super) fn slug(name: &ServiceName) -> Result<Slug, String> {
    let text = name.as_str();
    if text.len() > MAX_NAME {
        return Err(format!(
            "'{text}' is too long for a name: at most {MAX_NAME} bytes"
        ));
    }
    if text.contains(char::is_control) {
        return Err(format!("'{text}' has control characters in it"));
    }
    name.slug()
        .ok_or_else(|| format!("'{text}' has no letter or digit of ASCII to name files by"))
}

/// Whether sockets are certain to be found: by its own words, or by its name.
pub(super) fn listens(values: Values<'_>, name: &ServiceName, inherited: &[String]) -> bool {
    let named = |socket: &String| {
        socket == name.as_str() || name.slug().is_some_and(|slug| socket == slug.as_str())
    };
    !values.list(&keys::PORT).is_empty()
        || !values.list(&keys::SOCKET).is_empty()
        || inherited.iter().any(named)
}

// === impl Draft ===

impl Draft<'_> {
    /// The definition, as far as it can be said. It is sound only if no error was found here, nor
    /// in the values.
    pub(super) fn finish(self, inherited: &[String]) -> (Definition, Vec<Problem>) {
        let mut problems = Vec::new();
        let values = self.values;
        let missing = !listens(values, self.name, inherited);
        let definition = self.definition(&mut problems);
        let unknown = |of: &[&KeyInfo]| values.is_faulty() || of.iter().any(|k| values.is_bad(k));
        let ports = [&keys::PORT.info, &keys::SOCKET.info, &keys::PROXY.info];
        if missing && !unknown(&ports) {
            problems.push(listens_nowhere(&definition, inherited));
        }
        let ways = [
            &keys::TARGET.info,
            &keys::START_CMD.info,
            &keys::CHECK_CMD.info,
            &keys::PROXY.info,
            &keys::COMMAND.info,
            &keys::UNIT.info,
            &keys::CONTAINER.info,
        ];
        if !unknown(&ways) {
            problems.extend(destination(&definition, values));
            problems.extend(ready_made::problems(values, &definition));
            problems.extend(supervised::problems(values, &definition));
            problems.extend(auto_start(&definition, values));
        }
        problems.extend(own_listeners(&definition, values));
        problems.extend(idle(&definition, values));
        (definition, problems)
    }

    fn definition(self, problems: &mut Vec<Problem>) -> Definition {
        let values = self.values;
        let mut listen = Vec::new();
        for address in values.list(&keys::PORT) {
            if listen.contains(&address) {
                let message = format!("PORT: {address} is there twice");
                problems.push(warning(values.line(&keys::PORT.info), message));
            } else {
                listen.push(address);
            }
        }
        let mut sockets = values.list(&keys::SOCKET);
        let mut seen = std::collections::HashSet::new();
        sockets.retain(|name| seen.insert(name.clone()));
        let targets = values.list(&keys::TARGET);
        let (mut recipe, mut policy) = (recipe(values), policy(values));
        if let Some(backend) = ReadyMade::of(values, self.scope) {
            backend.fill(&mut recipe, targets.is_empty());
            let settle = backend.settle_time();
            if let (Some(settle), None) = (settle, values.one(&keys::SETTLE_TIME)) {
                policy.timeouts.settle = settle;
            }
        }
        Definition {
            name: self.name.clone(),
            slug: self.slug,
            origin: self.origin,
            listen,
            sockets,
            targets,
            auto_start: values.one(&keys::AUTO_START).unwrap_or(false),
            recipe: Arc::new(recipe),
            policy: Arc::new(policy),
        }
    }
}

fn recipe(values: Values<'_>) -> Recipe {
    let path = |key, default: &str| values.one(key).unwrap_or_else(|| PathBuf::from(default));
    Recipe {
        start: values.one(&keys::START_CMD).flatten(),
        stop: values.one(&keys::STOP_CMD).flatten(),
        check: values.one(&keys::CHECK_CMD).flatten(),
        idle: values.one(&keys::IDLE_CMD).flatten(),
        ready: values.one(&keys::READY_CMD).flatten(),
        command: supervised::of(values),
        ready_url: values.one(&keys::READY_URL).flatten(),
        account: Account {
            user: values.one(&keys::USER).flatten(),
            group: values.one(&keys::GROUP).flatten(),
        },
        shell: path(&keys::SHELL, keys::SHELL.info.default),
        working_directory: path(
            &keys::WORKING_DIRECTORY,
            keys::WORKING_DIRECTORY.info.default,
        ),
        attached: false,
        environment: Environment {
            variables: values.list(&keys::ENVIRONMENT),
            files: values.list(&keys::ENVIRONMENT_FILE),
        },
    }
}

fn policy(values: Values<'_>) -> Policy {
    let general = values.one(&keys::EXEC_CMD_TIMEOUT).flatten();
    Policy {
        command_timeouts: CommandTimeouts {
            start: values.one(&keys::START_CMD_TIMEOUT).unwrap_or(general),
            stop: values.one(&keys::STOP_CMD_TIMEOUT).unwrap_or(general),
            check: values.one(&keys::CHECK_CMD_TIMEOUT).unwrap_or(general),
            idle: values.one(&keys::IDLE_CMD_TIMEOUT).unwrap_or(general),
            ready: general,
        },
        idle: IdlePolicy {
            after: values.one(&keys::IDLE_TIME).flatten(),
            check_interval: values.one(&keys::IDLE_CHECK_INTERVAL).flatten(),
            on: values.one(&keys::IDLE_ON).unwrap_or_default(),
            min_uptime: values.one(&keys::MIN_UPTIME).unwrap_or_default(),
        },
        timeouts: timeouts(values),
        limits: limits(values),
        access: Access {
            allow: CidrList::new(values.list(&keys::ALLOW)),
            deny: CidrList::new(values.list(&keys::DENY)),
            ignore: CidrList::new(values.list(&keys::IGNORE)),
        },
        proxy: ProxyProtocol {
            send: values.one(&keys::SEND_PROXY).flatten(),
            accept: TrustedSources::new(values.list(&keys::ACCEPT_PROXY)),
        },
        wake_on: values.one(&keys::WAKE_ON).unwrap_or_default(),
        balance: values.one(&keys::BALANCE).unwrap_or_default(),
    }
}

fn timeouts(values: Values<'_>) -> Timeouts {
    let default = Timeouts::default();
    Timeouts {
        wake: values.one(&keys::WAKE_TIMEOUT).unwrap_or(default.wake),
        connect: values
            .one(&keys::CONNECT_TIMEOUT)
            .unwrap_or(default.connect),
        after_start: values
            .one(&keys::WAIT_AFTER_START)
            .unwrap_or(default.after_start),
        settle: values.one(&keys::SETTLE_TIME).unwrap_or(default.settle),
        stop: values.one(&keys::STOP_TIMEOUT).unwrap_or(default.stop),
        client: values.one(&keys::CLIENT_TIMEOUT).unwrap_or(default.client),
        half_close: values
            .one(&keys::HALF_CLOSE_TIMEOUT)
            .unwrap_or(default.half_close),
        user: values.one(&keys::USER_TIMEOUT).unwrap_or(default.user),
        proxy: values.one(&keys::PROXY_TIMEOUT).unwrap_or(default.proxy),
        drain: values.one(&keys::DRAIN_TIMEOUT).unwrap_or(default.drain),
    }
}

fn limits(values: Values<'_>) -> Limits {
    let default = Limits::default();
    Limits {
        connections: values
            .one(&keys::MAX_CONNECTIONS)
            .unwrap_or(default.connections),
        waiting: values.one(&keys::MAX_WAITING).unwrap_or(default.waiting),
        per_source: values
            .one(&keys::MAX_CONNECTIONS_PER_SOURCE)
            .unwrap_or(default.per_source),
    }
}

// === checks of several keys together ===

fn error(line: usize, message: String) -> Problem {
    Problem {
        severity: Severity::Error,
        line,
        message,
    }
}

fn warning(line: usize, message: String) -> Problem {
    Problem {
        severity: Severity::Warning,
        line,
        message,
    }
}

fn listens_nowhere(definition: &Definition, inherited: &[String]) -> Problem {
    let (name, slug) = (definition.name.as_str(), definition.slug.as_str());
    let named = if name == slug {
        format!("'{name}'")
    } else {
        format!("'{name}' or '{slug}'")
    };
    // Without any, the files may be meant for systemd and checked by hand.
    let message = if inherited.is_empty() {
        format!(
            "'{name}' listens nowhere: it has neither PORT nor SOCKET, unless systemd hands over \
             a socket named {named}; check with --socket {slug}"
        )
    } else {
        format!(
            "'{name}' listens nowhere: it has neither PORT nor SOCKET, and no inherited socket is \
             named {named}"
        )
    };
    error(definition.origin.line, message)
}

fn destination(definition: &Definition, values: Values<'_>) -> Option<Problem> {
    let recipe = &definition.recipe;
    let told = recipe.start.is_some() || recipe.check.is_some();
    // Of a COMMAND without TARGET there is more to say, see `supervised`.
    if definition.targets.is_empty() && !told && recipe.command.is_none() {
        let message = format!(
            "'{}' can never reach a destination: it has no TARGET, no START_CMD and no CHECK_CMD",
            definition.name
        );
        return Some(error(definition.origin.line, message));
    }
    let own = |t: &&Destination| definition.listen.iter().any(|l| leads_to(l, t));
    definition.targets.iter().find(own).map(|target| {
        let message = format!(
            "TARGET: {target} is where '{}' listens itself, so it would connect to itself for ever",
            definition.name
        );
        error(values.line(&keys::TARGET.info), message)
    })
}

/// Whether a connect to the destination is certain to end at this listener.
pub(super) fn leads_to(listener: &ListenAddr, target: &Destination) -> bool {
    match (listener, target) {
        (ListenAddr::Unix(a), Destination::Unix(b)) => a == b,
        (ListenAddr::Tcp(a), Destination::Tcp(b)) if a == b => true,
        (ListenAddr::Any(_) | ListenAddr::Tcp(_), Destination::Tcp(to)) => {
            // Whether another address is this machine's is not known here.
            let here = to.ip().is_loopback() || to.ip().is_unspecified();
            here && overlap(listener, &ListenAddr::Tcp(*to))
        }
        (_, Destination::Host { name, port }) if name.eq_ignore_ascii_case("localhost") => {
            let loopback = ListenAddr::Tcp(SocketAddr::from(([127, 0, 0, 1], *port)));
            overlap(listener, &loopback)
        }
        _ => false,
    }
}

fn own_listeners(definition: &Definition, values: Values<'_>) -> Option<Problem> {
    let listen = &definition.listen;
    listen.iter().enumerate().find_map(|(i, a)| {
        let b = listen[..i].iter().find(|b| overlap(a, b))?;
        Some(error(
            values.line(&keys::PORT.info),
            format!("PORT: {a} and {b} overlap"),
        ))
    })
}

fn auto_start(definition: &Definition, values: Values<'_>) -> Option<Problem> {
    (definition.auto_start && definition.mode() == Mode::PerConnection).then(|| {
        let message = "AUTO_START does nothing here: START_CMD runs for every connection, as \
                       there is neither TARGET nor CHECK_CMD";
        warning(values.line(&keys::AUTO_START.info), message.to_owned())
    })
}

fn idle(definition: &Definition, values: Values<'_>) -> Option<Problem> {
    let (recipe, idle) = (&definition.recipe, &definition.policy.idle);
    let of = |info: &KeyInfo, message: &str| Some(warning(values.line(info), message.to_owned()));
    if idle.on == IdleOn::Command && recipe.idle.is_none() && !values.is_bad(&keys::IDLE_CMD.info) {
        let message = "IDLE_ON=command needs an IDLE_CMD to decide".to_owned();
        return Some(error(values.line(&keys::IDLE_ON.info), message));
    }
    if recipe.idle.is_some() && idle.after.is_none() && !values.is_bad(&keys::IDLE_TIME.info) {
        return of(
            &keys::IDLE_CMD.info,
            "IDLE_CMD does nothing without IDLE_TIME: the service is never put to sleep",
        );
    }
    idle.after?;
    // A default for many sections is no mistake in the one that has nothing to stop.
    let meant = values.is_own(&keys::IDLE_TIME.info) || recipe.start.is_some();
    let can_stop = recipe.stop.is_some() || recipe.command.is_some();
    let stop_unknown = values.is_bad(&keys::STOP_CMD.info)
        || [&keys::COMMAND.info, &keys::UNIT.info, &keys::CONTAINER.info]
            .iter()
            .any(|info| values.is_bad(info));
    if !can_stop && meant && !stop_unknown {
        return of(
            &keys::IDLE_TIME.info,
            "IDLE_TIME does nothing without STOP_CMD: there is no way to put the backend to sleep",
        );
    }
    let interval_unknown = values.is_bad(&keys::IDLE_CHECK_INTERVAL.info);
    if recipe.idle.is_some() && idle.check_interval.is_none() && !interval_unknown {
        return of(
            &keys::IDLE_CMD.info,
            "IDLE_CMD without IDLE_CHECK_INTERVAL switches idle sleep off: the service is never \
             put to sleep",
        );
    }
    None
}
