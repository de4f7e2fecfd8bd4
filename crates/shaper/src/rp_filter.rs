//! Strict reverse-path filtering would drop every packet that comes in while the shaper is in the way: the kernel asks
//! the same rules where an answer would go, and hears "the TUN device". Loose filtering is content with that.

use std::fs;
use std::io;
use std::path::PathBuf;

/// The kernel's names for the settings (networking/ip-sysctl, `rp_filter`).
const STRICT: u8 = 1;
const LOOSE: u8 = 2;

/// Filtering that the shaper can live with; what it changed comes back when this is dropped.
#[derive(Debug)]
pub(crate) struct RpFilterGuard {
    changed: Option<Setting>,
}

#[derive(Debug)]
struct Setting {
    file: PathBuf,
    before: u8,
}

/// Why incoming packets would be dropped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RpFilterError {
    #[error("cannot read {file}: {source}; the shaper must know whether strict reverse-path filtering is on")]
    Read { file: String, source: io::Error },
    #[error(
        "reverse-path filtering of {device} is strict (1), which drops what comes in while the shaper is in the way, and {file} cannot be written: {source}; \
         set net.ipv4.conf.all.rp_filter=2 from outside (in Docker: --sysctl net.ipv4.conf.all.rp_filter=2)"
    )]
    Write { device: String, file: String, source: io::Error },
}

/// Makes filtering on `device` loose if it is strict.
///
/// A shaper that is killed (not stopped) leaves it loose.
pub(crate) fn loosen(device: &str) -> Result<RpFilterGuard, RpFilterError> {
    let own = file_of(device);
    let before = read(own.clone())?;
    if effective(read(file_of("all"))?, before) != STRICT {
        return Ok(RpFilterGuard { changed: None });
    }
    fs::write(&own, LOOSE.to_string()).map_err(|source| RpFilterError::Write {
        device: device.to_owned(),
        file: own.display().to_string(),
        source,
    })?;
    Ok(RpFilterGuard { changed: Some(Setting { file: own, before }) })
}

/// The larger of the setting for all devices and the device's own counts.
fn effective(all: u8, own: u8) -> u8 {
    all.max(own)
}

fn file_of(device: &str) -> PathBuf {
    PathBuf::from(format!("/proc/sys/net/ipv4/conf/{device}/rp_filter"))
}

fn read(file: PathBuf) -> Result<u8, RpFilterError> {
    let parse = |text: String| text.trim().parse().map_err(io::Error::other);
    fs::read_to_string(&file)
        .and_then(parse)
        .map_err(|source| RpFilterError::Read { file: file.display().to_string(), source })
}

impl Drop for RpFilterGuard {
    fn drop(&mut self) {
        if let Some(Setting { file, before }) = &self.changed {
            // The device may be gone, and its setting with it.
            let _gone = fs::write(file, before.to_string());
        }
    }
}
