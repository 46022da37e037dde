//! The kernel's settings of ports, `net.ipv4.ip_local_reserved_ports` and `net.ipv4.ip_local_port_range`, which serve IPv6 as well.
//!
//! Read by the control thread, and by the doctor; written by [`crate::reserved_ports`] alone.

use std::{
    error::Error,
    fs::{self, File},
    io::{self, Read},
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use lb_ctl::port_set::PortSet;

/// The settings, as files.
pub(crate) struct Settings {
    /// `net.ipv4.ip_local_reserved_ports`
    pub(crate) reserved: PathBuf,
    /// `net.ipv4.ip_local_port_range`
    pub(crate) ephemeral: PathBuf,
}

impl Settings {
    /// Those of the process's network namespace.
    pub(crate) fn of_this_namespace() -> Settings {
        Settings { reserved: RESERVED.into(), ephemeral: EPHEMERAL.into() }
    }

    /// Ports that the kernel does not choose.
    pub(crate) fn reserved(&self) -> Result<PortSet, Box<dyn Error>> {
        Ok(read(&self.reserved)?.parse().map_err(|error| format!("{}: {error}", self.reserved.display()))?)
    }

    /// Has the kernel choose none of `ports`, where those of `before` were reserved. On an error these are so again, or it says not.
    pub(crate) fn change_reserved(&self, before: &PortSet, ports: &PortSet) -> Result<(), Box<dyn Error>> {
        let Err(error) = self.write_reserved(ports) else { return Ok(()) };
        let restored = match self.reserved() {
            Ok(now) if now == *before => Ok(()),
            _ => self.write_reserved(before),
        };
        let lost =
            restored.err().map(|error| format!("; what was reserved before, {before}, is lost: {error}"));
        let lost = lost.unwrap_or_default();
        Err(format!(
            "cannot keep ports of source NAT from the host's own connections ({}: {error}{lost}): do it by hand, by \
             sysctl -w {RESERVED_NAME}={ports}, or give source_nat.addresses addresses that the host does not have",
            self.reserved.display()
        )
        .into())
    }

    /// Refuses what the kernel has not taken in wholly: it takes a page at a time, and versions before 5.2 misread a number that
    /// lies on two.
    fn write_reserved(&self, ports: &PortSet) -> Result<(), Box<dyn Error>> {
        fs::write(&self.reserved, format!("{ports}\n"))?;
        match self.reserved()? {
            taken if taken == *ports => Ok(()),
            taken => Err(format!("the kernel has taken {taken}").into()),
        }
    }

    /// Ports that it chooses from.
    pub(crate) fn ephemeral(&self) -> Result<RangeInclusive<u16>, Box<dyn Error>> {
        let text = read(&self.ephemeral)?;
        let bounds: Option<Vec<u16>> = text.split_ascii_whitespace().map(|word| word.parse().ok()).collect();
        match bounds.as_deref() {
            Some([first, last]) => Ok(*first..=*last),
            _ => Err(format!("{}: {text:?} is not a range of ports", self.ephemeral.display()).into()),
        }
    }
}

/// A setting by one read(2): of a list of ports the kernel gives what fits into the first read, and nothing to any other.
fn read(path: &Path) -> Result<String, String> {
    let whole = || {
        let mut text = vec![0; LONGEST_BYTES + 1];
        let length = File::open(path)?.read(&mut text)?;
        text.truncate(length);
        match length {
            0..=LONGEST_BYTES => String::from_utf8(text).map_err(io::Error::other),
            _ => Err(io::Error::other(format!("is longer than {LONGEST_BYTES} bytes"))),
        }
    };
    whole().map_err(|error| format!("{}: {error}", path.display()))
}

/// No list of ports is longer: at its worst, as in `10001-10002,10004-10005,`, twelve bytes tell of two ports in three.
const LONGEST_BYTES: usize = 65_536 / 3 * 12;

const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
/// The name of the setting of ports that the kernel does not choose.
pub(crate) const RESERVED_NAME: &str = "net.ipv4.ip_local_reserved_ports";
const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// The name of the setting of ports that it chooses from.
pub(crate) const EPHEMERAL_NAME: &str = "net.ipv4.ip_local_port_range";

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(path: &str) -> Settings {
        Settings { reserved: path.into(), ephemeral: path.into() }
    }

    fn ports(text: &str) -> PortSet {
        text.parse().unwrap()
    }

    fn refusal(settings: &Settings, before: &PortSet, wanted: &str) -> String {
        settings.change_reserved(before, &ports(wanted)).unwrap_err().to_string()
    }

    /// The name of this thread is a setting of which the kernel takes 15 bytes, and says nothing of the rest.
    #[test]
    fn what_was_reserved_is_so_again_when_a_change_was_taken_in_part() {
        let settings = settings("/proc/thread-self/comm");
        let before = ports("2500,8080");
        settings.write_reserved(&before).unwrap();
        let refusal = refusal(&settings, &before, "2500,8080,10001,10003");
        assert!(refusal.contains("comm: the kernel has taken 2500,8080,10001): do it by hand"), "{refusal}");
        assert_eq!(settings.reserved().unwrap(), before);
    }

    /// This process's timer slack is a number to the kernel, and no list.
    #[test]
    fn what_was_reserved_stays_when_a_change_is_refused() {
        let settings = settings("/proc/self/timerslack_ns");
        let before = settings.reserved().unwrap();
        let refusal = refusal(&settings, &before, "2500,8080");
        assert!(
            refusal.contains("timerslack_ns: Invalid argument (os error 22)): do it by hand"),
            "{refusal}"
        );
        assert_eq!(settings.reserved().unwrap(), before);
    }

    #[test]
    fn what_was_reserved_is_told_when_it_cannot_be_so_again() {
        let refusal = refusal(&settings("/dev/full"), &ports("2500,8080"), "2000-2999");
        let lost = "/dev/full: No space left on device (os error 28); what was reserved before, 2500,8080, is lost: \
                    No space left on device (os error 28)): do it by hand";
        assert!(refusal.contains(lost), "{refusal}");
    }

    #[test]
    fn the_longest_list_is_read_and_no_longer_text() {
        let path = std::env::temp_dir().join(format!("lbd-port-settings-{}", std::process::id()));
        let settings = settings(&path.to_string_lossy());
        let pairs = (0..=u16::MAX).filter(|port| port % 3 != 0).map(|port| PortSet::of(port..=port));
        let longest = pairs.fold(PortSet::default(), |set, port| set.union(&port));
        settings.change_reserved(&PortSet::default(), &longest).unwrap();
        assert_eq!(settings.reserved().unwrap(), longest);
        fs::write(&path, " ".repeat(LONGEST_BYTES + 1)).unwrap();
        let refusal = settings.reserved().unwrap_err().to_string();
        fs::remove_file(&path).unwrap();
        assert!(refusal.ends_with("is longer than 262140 bytes"), "{refusal}");
    }
}
