//! Sets reverse-path filtering from strict to loose. While policy routing is active, strict filtering drops every
//! incoming packet: the kernel looks up the reverse route by the same rules, and the result is the TUN device. Loose
//! filtering accepts any device.

use std::fs;
use std::io;
use std::path::PathBuf;

/// Values of the setting (networking/ip-sysctl, `rp_filter`).
const STRICT: u8 = 1;
const LOOSE: u8 = 2;

/// Keeps filtering loose. Restores the previous setting when dropped.
#[derive(Debug)]
pub(crate) struct RpFilterGuard {
    changed: Option<Setting>,
}

#[derive(Debug)]
struct Setting {
    file: PathBuf,
    before: u8,
}

/// Reason for which reverse-path filtering could not be made loose.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RpFilterError {
    #[error("cannot read {file}: {source}; it states whether reverse-path filtering is strict")]
    Read { file: String, source: io::Error },
    #[error(
        "cannot write {file}: {source}; \
         strict reverse-path filtering of {device} (1) would drop incoming packets while the shaper is active: \
         set net.ipv4.conf.all.rp_filter=2 (in Docker: --sysctl net.ipv4.conf.all.rp_filter=2)"
    )]
    Write { device: String, file: String, source: io::Error },
}

/// Makes filtering on `device` loose if it is strict.
///
/// After a shaper was killed, it stays loose.
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

/// The kernel uses the larger of the setting for all devices and the device's own.
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
            // The device may have been deleted, and its setting with it.
            let _deleted = fs::write(file, before.to_string());
        }
    }
}
