//! Requirements of tests on their host.

use std::fs::File;
use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Checks one requirement of a test.
///
/// # Errors
///
/// The reason for which the host does not meet it, and the remedy; printed with the skipped test.
pub type Requirement = fn() -> Result<(), String>;

/// Checks that the effective user id is 0.
///
/// # Errors
///
/// The user is not root.
pub fn root() -> Result<(), String> {
    nix::unistd::geteuid().is_root().then_some(()).ok_or_else(|| "needs root: run as root".to_owned())
}

/// Checks that this process may open a TUN device.
///
/// # Errors
///
/// `/dev/net/tun` is missing or not accessible.
pub fn tun() -> Result<(), String> {
    let opened = File::options().read(true).write(true).open("/dev/net/tun");
    opened.map(|_| ()).map_err(|error| format!("needs /dev/net/tun ({error}): run 'modprobe tun', or run as root"))
}

/// Checks for named network namespaces: root, the program `ip`, and the permission to create them, which root may lack in a
/// container.
///
/// # Errors
///
/// One of these is missing.
pub fn named_namespaces() -> Result<(), String> {
    root()?;
    program("ip", &["-V"], "iproute2")?;
    program("unshare", &["--net", "true"], "util-linux")
        .map_err(|reason| format!("needs network namespaces ({reason}): run with CAP_SYS_ADMIN"))
}

/// Checks that a program succeeds with `arguments`; `package` is the package to install.
///
/// # Errors
///
/// The program cannot be started, or fails.
pub fn program(name: &str, arguments: &[&str], package: &str) -> Result<(), String> {
    let status =
        Command::new(name).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(format!("needs the program '{name}', but '{name} {}' failed ({status})", arguments.join(" ")))
        }
        Err(error) => Err(format!("needs the program '{name}' ({error}): install package {package}")),
    }
}

/// Checks that each process may open `count` files. Raises this process's limit to the hard limit; child processes inherit
/// it.
///
/// # Errors
///
/// The hard limit is lower, or the limit cannot be read or raised.
pub fn open_files(count: u64) -> Result<(), String> {
    let (_, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| format!("cannot read RLIMIT_NOFILE: {error}"))?;
    if hard < count {
        return Err(format!("needs {count} open files, the hard limit is {hard}: raise 'ulimit -Hn'"));
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(|error| format!("cannot raise RLIMIT_NOFILE: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_requirement_is_reported_with_what_to_do() {
        let missing = program("no-such-program", &["--version"], "no-such-package").unwrap_err();
        assert!(
            missing.contains("'no-such-program'") && missing.contains("install package no-such-package"),
            "{missing}"
        );
        let failing = program("false", &["--version"], "coreutils").unwrap_err();
        assert!(failing.contains("failed"), "{failing}");
        let few = open_files(u64::MAX).unwrap_err();
        assert!(few.contains("18446744073709551615 open files") && few.contains("ulimit -Hn"), "{few}");
        assert_eq!((program("true", &["-V"], "coreutils"), open_files(1)), (Ok(()), Ok(())));
    }
}
