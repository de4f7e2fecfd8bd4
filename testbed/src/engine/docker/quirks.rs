//! What an engine's host turns out not to have, learnt from what it complains about: an engine elsewhere can't be looked
//! into. Pure.

use std::collections::{BTreeMap, BTreeSet};

use bollard::models::ContainerCreateBody;

use super::container::TUN;
use crate::engine::LabPlan;

/// What is left out on one engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Quirks {
    /// It has no TUN device: the shaper will say so when it is wanted.
    no_tun: bool,
    /// Settings that its kernel doesn't have.
    missing_sysctls: BTreeSet<String>,
}

impl Quirks {
    /// Takes in why a container could not be started; false when nothing can be learnt from it that is not known.
    pub(super) fn learn(&mut self, complaint: &str, plan: &LabPlan) -> bool {
        if complaint.contains(TUN) && !self.no_tun {
            self.no_tun = true;
            return true;
        }
        let is_named = |name: &&String| {
            let path = name.replace('.', "/");
            complaint.contains(&format!("net.{name}")) || complaint.contains(&format!("net/{path}"))
        };
        let missing = plan.optional_sysctls.keys().find(is_named);
        missing.is_some_and(|name| self.missing_sysctls.insert(name.clone()))
    }

    /// The settings that there are.
    pub(super) fn without_missing(&self, mut sysctls: BTreeMap<String, String>) -> BTreeMap<String, String> {
        sysctls.retain(|name, _| !self.missing_sysctls.contains(name));
        sysctls
    }

    /// Takes devices away that there are not.
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
    use crate::engine::docker::container::tests::plan;

    #[test]
    fn what_the_engine_complains_about_is_left_out_once() {
        let mut quirks = Quirks::default();
        let no_tun = "error gathering device information while adding custom device \"/dev/net/tun\": no such file";
        assert!(quirks.learn(no_tun, &plan()));
        assert!(!quirks.learn(no_tun, &plan()), "the same complaint again is no news");
        let no_sysctl = "open /proc/sys/net/ipv4/tcp_syn_linear_timeouts: no such file or directory";
        assert!(quirks.learn(no_sysctl, &plan()));
        assert!(!quirks.learn("pull access denied", &plan()));
        assert_eq!(quirks.without_missing(plan().all_sysctls()), plan().sysctls);
    }
}
