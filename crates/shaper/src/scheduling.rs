//! How the packet thread gets a core when all of them are busy.
//!
//! Measured on two cores with four busy loops beside it, delay 50 ms: as an ordinary thread packets leave up to 10 ms
//! late, niceness changes nothing, and with real-time priority they are at most 0.7 ms late.

use serde::{Deserialize, Serialize};

/// The packet thread's scheduling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheduling {
    /// It gets a core whenever it has work (SCHED_FIFO, the lowest of the real-time priorities).
    Realtime,
    /// It shares the cores with everything else: on a busy host packets leave late.
    Shared,
}

/// Asks for real-time scheduling of the calling thread; without CAP_SYS_NICE it stays as it is.
pub(crate) fn ask_for_realtime() -> Scheduling {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: 0 is the calling thread, and the kernel only reads the parameter, which outlives the call.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest) } {
        0 => Scheduling::Realtime,
        _ => Scheduling::Shared,
    }
}
