//! Emulators that set a condition on the fixture's link.

use std::process::Command;

use model::Condition;

use crate::fixture::{BINARY, Fixture, Running};

pub(crate) enum Emulator {
    /// Unshaped link, with which the emulators are compared.
    Unshaped,
    Shaper {
        name: String,
        program: String,
    },
    Netem,
}

/// Condition on the link, removed when dropped.
pub(crate) enum InForce<'a> {
    Unshaped,
    Shaper(Running),
    Netem(&'a Fixture),
}

impl Emulator {
    /// Returns the available emulators, the unshaped link first, and a note if netem is not available.
    pub(crate) fn all(fixture: &Fixture, other_build: Option<String>) -> (Vec<Self>, String) {
        let mut all = vec![Self::Unshaped];
        all.extend(other_build.map(|program| Self::Shaper { name: format!("shaper, {program}"), program }));
        all.push(Self::Shaper { name: "shaper".to_owned(), program: BINARY.to_owned() });
        let note = match tc(fixture, "qdisc add dev eth0 root netem delay 1ms") {
            Ok(()) => {
                tc(fixture, "qdisc del dev eth0 root").unwrap();
                all.push(Self::Netem);
                String::new()
            }
            Err(reason) => format!("netem is not available: {reason}. tools/netem/boot starts a kernel with netem.\n"),
        };
        (all, note)
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Unshaped => "unshaped link",
            Self::Shaper { name, .. } => name,
            Self::Netem => "netem",
        }
    }

    pub(crate) fn is_unshaped(&self) -> bool {
        matches!(self, Self::Unshaped)
    }

    /// Returns whether it is the shaper built with this bench.
    pub(crate) fn is_this_build(&self) -> bool {
        matches!(self, Self::Shaper { program, .. } if program == BINARY)
    }

    /// Sets a condition, except on the unshaped link.
    pub(crate) fn impose<'a>(&self, fixture: &'a Fixture, condition: &str, seed: u64) -> InForce<'a> {
        let condition: Condition = serde_json::from_str(condition).unwrap();
        match self {
            Self::Unshaped => InForce::Unshaped,
            Self::Shaper { program, .. } => {
                InForce::Shaper(fixture.start_program(program, &format!("--seed {seed}{}", options(&condition))))
            }
            Self::Netem => {
                // The queue must not be the bottleneck, as with the shaper.
                tc(fixture, &format!("qdisc add dev eth0 root netem limit 100000{}", netem_options(&condition)))
                    .unwrap();
                InForce::Netem(fixture)
            }
        }
    }
}

impl InForce<'_> {
    /// Returns the CPU time of the shaper's process in seconds; `None` without a shaper.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        let Self::Shaper(shaper) = self else { return None };
        let tasks = std::fs::read_dir(format!("/proc/{}/task", shaper.pid())).unwrap();
        // The first field is nanoseconds on a CPU (kernel documentation, scheduler/sched-stats).
        let nanoseconds = tasks.map(|task| {
            let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse::<u64>().unwrap()
        });
        Some(nanoseconds.sum::<u64>() as f64 / 1e9)
    }
}

impl Drop for InForce<'_> {
    fn drop(&mut self) {
        if let Self::Netem(fixture) = self {
            tc(fixture, "qdisc del dev eth0 root").unwrap();
        }
        if let Self::Shaper(shaper) = self {
            shaper.signal(nix::sys::signal::Signal::SIGTERM);
            assert_eq!(shaper.wait().0, Some(0));
        }
    }
}

pub(crate) fn options(condition: &Condition) -> String {
    let Condition { delay, loss, rate, queue_limit, .. } = condition;
    let rate = rate.map(|rate| format!(" --rate {rate}")).unwrap_or_default();
    let limit = queue_limit.map(|limit| format!(" --queue-limit {limit}")).unwrap_or_default();
    format!(" --delay {delay} --loss {loss}{rate}{limit}")
}

fn netem_options(condition: &Condition) -> String {
    let Condition { delay, loss, rate, .. } = condition;
    let rate = rate.map(|rate| format!(" rate {}bit", rate.bits_per_second())).unwrap_or_default();
    format!(" delay {}us loss {loss}{rate}", delay.as_duration().as_micros())
}

/// Runs `tc` in the near namespace; the error is its first line on stderr.
pub(crate) fn tc(fixture: &Fixture, arguments: &str) -> Result<(), String> {
    let output = Command::new("tc").args(["-n", &fixture.near]).args(arguments.split(' ')).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("tc failed").to_owned()),
        Err(error) => Err(format!("cannot run tc: {error}")),
    }
}
