//! `testbed clean`: removes what killed drivers left. Namespaces need no cleaning: they end with their driver.

use crate::engine::docker::{Site, leftovers};
use crate::host;
use crate::run_id::{Life, life, remove_dead_folders};

/// How sure one has to be that a driver is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// Its lock is there and free.
    BeforeARun,
    /// Its lock may also be missing: the user has asked.
    WhenAsked,
}

/// What came of cleaning, in words.
#[derive(Debug, Default)]
pub(crate) struct Cleaned {
    /// What is gone.
    pub(crate) removed: Vec<String>,
    /// What is still there, and why.
    pub(crate) failures: Vec<String>,
}

/// Removes temporary folders and, on these engines, services, containers and networks of this host's dead runs.
pub(crate) async fn clean(sites: &[Site], care: Care, mut cleaned: Cleaned) -> Cleaned {
    for site in sites {
        // Containers first: a run is dead when its lock is free, and the folder with the lock goes last.
        let is_dead = |folder: &std::path::Path| match life(folder) {
            Life::Alive => false,
            Life::Dead => true,
            Life::Unknown => care == Care::WhenAsked,
        };
        leftovers::remove(site, &host::name(), is_dead, &mut cleaned).await;
    }
    let looked_at: Vec<&str> = sites.iter().map(Site::url).collect();
    let (removed, failures) = remove_dead_folders(&looked_at);
    cleaned.removed.extend(removed);
    if care == Care::WhenAsked {
        cleaned.failures.extend(failures);
    }
    cleaned
}
