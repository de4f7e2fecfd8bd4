//! Behaviour at the limits of the host: errors.

use crate::lab::lab;

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
