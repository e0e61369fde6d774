//! What the figures depend on: the machine, its disk, and what a process costs it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How often the disk is asked.
const PROBES: usize = 200;

/// The unit of processor time in /proc; Linux has never shown another one to programs.
const TICK: Duration = Duration::from_millis(10);

/// The processors this process may use.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The machine in one line.
pub(crate) fn describe() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim());
    format!("{} x {processor}, Linux {}", cores(), kernel.trim())
}

/// How many processes wanted a processor over the last minute. Well above zero before a run, it
/// says that the machine was not ours alone, and that the figures are worth little.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown").to_owned()
}

/// The date of today (UTC), or what hinders telling it.
pub(crate) fn date() -> String {
    first_line(Command::new("date").args(["-u", "+%Y-%m-%d"]))
}

/// The first line a program prints, on whichever stream.
pub(crate) fn first_line(command: &mut Command) -> String {
    match command.output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").to_owned()
        }
        Err(error) => format!("unknown ({error})"),
    }
}

/// The median of one appended 4 KiB block and its `fdatasync`, in `folder`.
///
/// What a build has left in memory is written first, so that the disk has nothing else to do. On
/// a machine whose processors are busy this is a figure of its scheduler, not of its disk.
pub(crate) fn fdatasync(folder: &Path) -> io::Result<Duration> {
    Command::new("sync").status()?;
    let path = folder.join("probe");
    let mut file = File::create(&path)?;
    let block = [0x5a_u8; 4096];
    let mut times = Vec::with_capacity(PROBES);
    for _ in 0..PROBES {
        let start = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    fs::remove_file(&path)?;
    times.sort();
    Ok(times[PROBES / 2])
}

/// The processor time (user and system) that a process and its children have used so far, those
/// that have ended included: PostgreSQL's processes come and go.
pub(crate) fn processor_time(pid: u32) -> io::Result<Duration> {
    let mut ticks = 0;
    for each in family(pid)? {
        if let Some(stat) = Stat::read(each) {
            ticks += stat.ticks + if each == pid { stat.ended_ticks } else { 0 };
        }
    }
    Ok(TICK * ticks)
}

/// The memory a process and its children occupy, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> io::Result<u64> {
    let mut bytes = 0;
    for pid in family(pid)? {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let kibibytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        bytes += kibibytes.unwrap_or(0_u64) * 1024;
    }
    Ok(bytes)
}

/// A process and its direct children: nginx and PostgreSQL do their work in those.
fn family(pid: u32) -> io::Result<Vec<u32>> {
    let mut family = vec![pid];
    for entry in fs::read_dir("/proc")? {
        let Some(other) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if Stat::read(other).is_some_and(|stat| stat.parent == pid) {
            family.push(other);
        }
    }
    Ok(family)
}

/// The little of /proc/PID/stat that is needed.
struct Stat {
    /// Of children that have ended and were waited for.
    ended_ticks: u32,
    parent: u32,
    ticks: u32,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before the bracket may hold anything; after it the fields are plain.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u32>().ok();
        let ended_ticks = number(13)? + number(14)?;
        Some(Self { ended_ticks, parent: number(1)?, ticks: number(11)? + number(12)? })
    }
}
