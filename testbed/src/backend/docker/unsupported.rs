//! Devices and sysctls that a Docker host lacks, detected from its errors: a remote host cannot be inspected. Pure.

use std::collections::{BTreeMap, BTreeSet};

use bollard::models::ContainerCreateBody;

use crate::backend::EnvironmentSpec;
use crate::backend::docker::specs::TUN;

/// Features to omit on one Docker host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct UnsupportedFeatures {
    /// The host has no TUN device. The shaper reports this if it is used.
    no_tun: bool,
    /// Sysctls that the kernel does not support.
    missing_sysctls: BTreeSet<String>,
}

impl UnsupportedFeatures {
    /// Records missing features that an error at a container's start mentions.
    pub(super) fn record_missing(&mut self, error: &str, spec: &EnvironmentSpec) {
        self.no_tun |= error.contains(TUN);
        let is_named = |name: &&String| {
            let path = name.replace('.', "/");
            error.contains(&format!("net.{name}")) || error.contains(&format!("net/{path}"))
        };
        self.missing_sysctls.extend(spec.optional_sysctls.keys().filter(is_named).cloned());
    }

    /// Returns the sysctls that are not known to be missing.
    pub(super) fn without_missing(&self, mut sysctls: BTreeMap<String, String>) -> BTreeMap<String, String> {
        sysctls.retain(|name, _| !self.missing_sysctls.contains(name));
        sysctls
    }

    /// Removes missing devices from a specification.
    pub(super) fn adapt(&self, body: &mut ContainerCreateBody) {
        if let Some(host) = &mut body.host_config
            && self.no_tun
        {
            host.devices = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::docker::specs::tests::spec;

    #[test]
    fn features_that_an_error_mentions_are_omitted_once() {
        let mut unsupported = UnsupportedFeatures::default();
        let no_tun = "error gathering device information while adding custom device \"/dev/net/tun\": no such file";
        let no_sysctl = "open /proc/sys/net/ipv4/tcp_syn_linear_timeouts: no such file or directory";
        for error in [no_tun, no_sysctl] {
            let before = unsupported.clone();
            unsupported.record_missing(error, &spec());
            assert_ne!(unsupported, before, "{error}");
        }
        let before = unsupported.clone();
        unsupported.record_missing(no_tun, &spec());
        unsupported.record_missing("pull access denied", &spec());
        assert_eq!(unsupported, before, "a repeated or other error changes nothing");
        assert_eq!(unsupported.without_missing(spec().all_sysctls()), spec().sysctls);
    }
}
