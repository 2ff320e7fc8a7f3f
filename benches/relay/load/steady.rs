//! Messages at fixed moments. How long one took counts from its moment, not from when it could at
//! last be sent: what stands still is seen by every message that was due meanwhile.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use nix::{
    sys::{prctl::set_timerslack, time::TimeSpec},
    time::{ClockId, ClockNanosleepFlags, clock_nanosleep},
};

use super::{line, window::Samples};
use crate::{
    Result,
    backend::Purpose,
    common::clock::now,
    order::{Order, Report},
};

/// When which message is due.
#[derive(Clone, Copy)]
struct Schedule {
    begins: Duration,
    rate: u32,
}

/// One thread sends when it is time, one reads what comes.
pub fn play(order: &Order, size: usize, rate: u32) -> Result<Report> {
    let mut stream = line::open(order.front, Purpose::Echo)?;
    let sending = stream.try_clone()?;
    let schedule = Schedule {
        begins: now(),
        rate,
    };
    let counts_from = schedule.begins + order.warm_up;
    let all = (order.warm_up + order.window).as_secs_f64() * f64::from(rate);
    let all = all as u32;
    let sender = thread::spawn(move || send_all(sending, schedule, size, all));
    let mut answer = vec![0; size];
    let (mut samples, mut count) = (Samples::default(), 0);
    for number in 0..all {
        stream.read_exact(&mut answer)?;
        let due = schedule.moment(number);
        if due >= counts_from {
            samples.add(now() - due);
            count += 1;
        }
    }
    sender.join().map_err(|_| "the sender panicked")??;
    Ok(Report {
        seconds: order.window.as_secs_f64(),
        count,
        latency: samples.latency(),
        cpu: None,
    })
}

fn send_all(mut stream: TcpStream, schedule: Schedule, size: usize, all: u32) -> Result<()> {
    // Of this thread alone: to be woken at the moment, and not within the 50 us after it.
    set_timerslack(1)?;
    let message = vec![0x55; size];
    for number in 0..all {
        let due = TimeSpec::from_duration(schedule.moment(number));
        let absolute = ClockNanosleepFlags::TIMER_ABSTIME;
        clock_nanosleep(ClockId::CLOCK_MONOTONIC, absolute, &due)?;
        stream.write_all(&message)?;
    }
    Ok(())
}

// === impl Schedule ===

impl Schedule {
    fn moment(self, number: u32) -> Duration {
        self.begins + Duration::from_secs(1) * number / self.rate
    }
}
