//! What can put a condition on the environment's link.

use std::process::Command;

use model::Condition;

use crate::fixture::{BINARY, Fixture, Running};

pub(crate) enum Emulator {
    /// Nothing: the unshaped link, that all else is compared with.
    Bare,
    Shaper {
        name: String,
        program: String,
    },
    Netem,
}

/// A condition on the link, until dropped.
pub(crate) enum InForce<'a> {
    Bare,
    Shaper(Running),
    Netem(&'a Fixture),
}

impl Emulator {
    /// All that there are here, the unshaped link first; and a sentence on netem where there is none.
    pub(crate) fn all(fixture: &Fixture, compare_with: Option<String>) -> (Vec<Self>, String) {
        let mut all = vec![Self::Bare];
        all.extend(compare_with.map(|program| Self::Shaper { name: format!("shaper, {program}"), program }));
        all.push(Self::Shaper { name: "shaper".to_owned(), program: BINARY.to_owned() });
        let remark = match tc(fixture, "qdisc add dev eth0 root netem delay 1ms") {
            Ok(()) => {
                tc(fixture, "qdisc del dev eth0 root").unwrap();
                all.push(Self::Netem);
                String::new()
            }
            Err(reason) => format!("No netem here: {reason}. See tools/netem/boot for a kernel that has it.\n"),
        };
        (all, remark)
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Bare => "unshaped link",
            Self::Shaper { name, .. } => name,
            Self::Netem => "netem",
        }
    }

    pub(crate) fn is_bare(&self) -> bool {
        matches!(self, Self::Bare)
    }

    /// Whether it is the shaper built with this bench.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Shaper { program, .. } if program == BINARY)
    }

    /// Puts a condition in force; the unshaped link stays bare.
    pub(crate) fn impose<'a>(&self, fixture: &'a Fixture, condition: &str, seed: u64) -> InForce<'a> {
        let condition: Condition = serde_json::from_str(condition).unwrap();
        match self {
            Self::Bare => InForce::Bare,
            Self::Shaper { program, .. } => {
                InForce::Shaper(fixture.start_program(program, &format!("--seed {seed}{}", options(&condition))))
            }
            Self::Netem => {
                // Room enough that the queue is never the bottleneck, as with the shaper.
                tc(fixture, &format!("qdisc add dev eth0 root netem limit 100000{}", netem_options(&condition)))
                    .unwrap();
                InForce::Netem(fixture)
            }
        }
    }
}

impl InForce<'_> {
    /// CPU time that the shaper's process has used, in seconds; none where there is no process.
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

/// Runs `tc` in the near namespace; says why when it does not work.
pub(crate) fn tc(fixture: &Fixture, arguments: &str) -> Result<(), String> {
    let output = Command::new("tc").args(["-n", &fixture.near]).args(arguments.split(' ')).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("tc failed").to_owned()),
        Err(error) => Err(format!("cannot run tc: {error}")),
    }
}
