//! Behaviour at the limits of the host: errors.

use crate::lab::{FAR, ip, lab};
use crate::traffic::transfer_to;

#[test]
fn an_accept_that_fails_does_not_end_the_shaper() {
    let Some(lab) = lab() else { return };
    let mut shaper = lab.start("--delay 50ms");
    let usual = shaper.limit_open_files(3);
    std::thread::scope(|scope| {
        let show = scope.spawn(|| lab.status("show"));
        let line = shaper.complaint();
        assert!(line.contains("cannot accept a command: Too many open files"), "{line}");
        shaper.limit_open_files(usual);
        assert_eq!(show.join().unwrap().pid, shaper.pid());
    });
    shaper.stop();
}

#[test]
fn gso_packets_leave_whole_on_the_link_and_by_a_gateway() {
    let Some(lab) = lab() else { return };
    let behind = [10, 99, 0, 1].into();
    ip(&format!("-n {} addr add {behind}/32 dev lo", lab.far));
    for address in [FAR, behind] {
        let _shaper = lab.start("--delay 5ms");
        let before = lab.packets_sent();
        transfer_to(&lab, address, 40_000_000, || ());
        let (wire, device) = (lab.status("show").counters.sent, lab.packets_sent() - before);
        assert!(device < wire / 2, "{address}: {wire} packets of the wire left in {device}");
    }
}
