//! The service, as it is configured.

use std::{sync::Arc, time::Duration};

use sleepingd::model::{
    Access, Balance, Cidr, CidrList, CommandLine, CommandTimeouts, Definition, IdleOn, IdlePolicy,
    Limits, Mode, Origin, Policy, ProxyProtocol, Recipe, ServiceName, StopPlan, Supervised,
    Timeouts, WakeOn,
};

use super::{ms, target};
use crate::{choices::Choices, promises::Terms};

/// A service as it may be configured.
pub(super) fn random_definition(choices: &mut Choices) -> Definition {
    let fixed = choices.chance(50);
    let recipe = recipe(choices, fixed);
    let two = choices.chance(30);
    let policy = policy(choices, recipe.idle.is_some());
    let targets = match (fixed, two) {
        (false, _) => vec![],
        (true, false) => vec![target(1, 1)],
        (true, true) => vec![target(1, 1), target(1, 2)],
    };
    let name = ServiceName::new("simulated");
    Definition {
        slug: name.slug().expect("it has letters"),
        name,
        origin: Origin {
            file: "simulation".into(),
            line: 1,
        },
        listen: vec![],
        sockets: vec![],
        targets,
        auto_start: choices.chance(15),
        recipe: Arc::new(recipe),
        policy: Arc::new(policy),
    }
}

fn recipe(choices: &mut Choices, fixed: bool) -> Recipe {
    let command = |name: &str| CommandLine::new(name);
    let mut chance = |percent: u32| choices.chance(percent);
    let check = if fixed { chance(40) } else { chance(60) };
    let start = !fixed || chance(85);
    let idle = chance(35);
    Recipe {
        start: start.then(|| command("start")).flatten(),
        stop: chance(80).then(|| command("stop")).flatten(),
        check: check.then(|| command("check")).flatten(),
        idle: idle.then(|| command("idle")).flatten(),
        ready: chance(20).then(|| command("ready")).flatten(),
        ready_url: chance(10).then(|| "http://localhost/".to_owned()),
        ..Recipe::default()
    }
}

/// The same with a COMMAND.
pub(super) fn supervised(definition: &mut Definition) {
    let recipe = Recipe {
        command: CommandLine::new("server").map(|command| Supervised {
            command,
            stop: StopPlan::default(),
        }),
        start: None,
        stop: None,
        check: None,
        ..(*definition.recipe).clone()
    };
    definition.recipe = Arc::new(recipe);
}

fn policy(choices: &mut Choices, has_idle_command: bool) -> Policy {
    let on = match choices.u32(0..4) {
        0 => IdleOn::Bytes,
        1 if has_idle_command => IdleOn::Command,
        _ => IdleOn::Connections,
    };
    let mut chance = |percent: u32| choices.chance(percent);
    Policy {
        command_timeouts: CommandTimeouts::default(),
        idle: IdlePolicy {
            after: chance(85).then(|| ms(3_000)),
            check_interval: chance(85).then(|| ms(700)),
            on,
            min_uptime: if chance(30) {
                ms(5_000)
            } else {
                Duration::ZERO
            },
        },
        timeouts: timeouts(&mut chance),
        limits: Limits {
            connections: chance(30).then_some(5),
            waiting: if chance(30) { Some(3) } else { Some(1024) },
            per_source: chance(30).then_some(2),
        },
        access: Access {
            deny: CidrList::new(vec!["10.0.0.9".parse::<Cidr>().expect("an address")]),
            ignore: CidrList::new(vec!["10.0.0.8".parse::<Cidr>().expect("an address")]),
            ..Access::default()
        },
        wake_on: if chance(25) {
            WakeOn::Data
        } else {
            WakeOn::Connect
        },
        proxy: ProxyProtocol::default(),
        balance: Balance::Random,
    }
}

fn timeouts(chance: &mut impl FnMut(u32) -> bool) -> Timeouts {
    Timeouts {
        wake: Some(if chance(50) { ms(2_000) } else { ms(60_000) }),
        settle: if chance(30) { ms(20) } else { Duration::ZERO },
        after_start: if chance(20) { ms(50) } else { Duration::ZERO },
        stop: Some(ms(2_000)),
        drain: Some(if chance(50) { ms(1_000) } else { ms(20_000) }),
        ..Timeouts::default()
    }
}

/// What of it promises depend on.
pub(super) fn terms(definition: &Definition) -> Terms {
    let policy = &definition.policy;
    Terms {
        shared: definition.mode() != Mode::PerConnection,
        wake_timeout: policy.timeouts.wake,
        stop_timeout: policy.timeouts.stop,
        idle: policy.idle.after,
        idle_on: policy.idle.on,
        min_uptime: policy.idle.min_uptime,
        max_connections: policy.limits.connections,
        max_waiting: policy.limits.waiting,
        per_source: policy.limits.per_source,
        on_data: policy.wake_on == WakeOn::Data,
    }
}
