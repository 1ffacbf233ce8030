//! The process as the system sees it, under the names that every Prometheus client uses. Linux
//! only; elsewhere absent.

use std::fs;

/// Clock ticks per second in `/proc`: 100, whatever the kernel uses inside.
const TICKS_PER_SECOND: f64 = 100.0;

/// The process, from `/proc`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) resident_memory_bytes: u64,
    pub(super) virtual_memory_bytes: u64,
    pub(super) cpu_seconds: f64,
    pub(super) start_time_seconds: f64,
    pub(super) threads: u64,
    pub(super) open_fds: u64,
    pub(super) max_fds: Option<u64>,
}

impl Process {
    /// Takes well below a millisecond.
    pub(super) fn read() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let booted = fs::read_to_string("/proc/stat").ok()?;
        let mut process = parse(&status, &stat, &booted)?;
        process.open_fds = count_descriptors()?;
        process.max_fds = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Some(process)
    }
}

fn parse(status: &str, stat: &str, booted: &str) -> Option<Process> {
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    // The second field is the name of the program in parentheses, which may contain anything. So
    // fields are counted after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // Numbered as in proc(5), where the first field behind the name is the third.
    let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let boot_seconds: f64 = booted
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    Some(Process {
        resident_memory_bytes: kib("VmRSS:")? * 1_024,
        virtual_memory_bytes: kib("VmSize:")? * 1_024,
        cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS_PER_SECOND,
        start_time_seconds: boot_seconds + ticks(22)? / TICKS_PER_SECOND,
        threads: kib("Threads:")?,
        open_fds: 0,
        max_fds: None,
    })
}

/// Open descriptors. Kernels from 6.2 give the number as the size of the directory. Counting a
/// hundred thousand takes long.
fn count_descriptors() -> Option<u64> {
    const DIRECTORY: &str = "/proc/self/fd";
    match fs::metadata(DIRECTORY).ok()?.len() {
        0 => fs::read_dir(DIRECTORY).ok().map(|entries| entries.count() as u64),
        known => Some(known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_the_kernel_writes() {
        let status = "Name:\tx\nVmSize:\t  200 kB\nVmRSS:\t  100 kB\nThreads:\t7\n";
        let mut fields = vec!["0"; 50];
        (fields[0], fields[11], fields[12], fields[19]) = ("S", "250", "50", "1000");
        let stat = format!("1 (a) b) {}", fields.join(" "));
        let process = parse(status, &stat, "cpu 1 2\nbtime 1700000000\n").unwrap();
        assert_eq!(
            (process.resident_memory_bytes, process.virtual_memory_bytes),
            (102_400, 204_800)
        );
        assert_eq!(
            (process.cpu_seconds, process.start_time_seconds),
            (3.0, 1_700_000_010.0)
        );
        assert_eq!(process.threads, 7);
        assert_eq!(parse("", "", ""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_descriptors_and_began_before_now() {
        let process = Process::read().unwrap();
        assert!(process.resident_memory_bytes > 1 << 20 && process.open_fds >= 3 && process.threads >= 1);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        assert!(process.start_time_seconds <= now && process.start_time_seconds > now - 86_400.0);
    }
}
