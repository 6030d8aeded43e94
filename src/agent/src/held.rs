//! Files of the kernel's that are read again and again.

use std::fmt::{Arguments, Write as _};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::{Errno, pread, read};

/// A file that stays open: each read makes the kernel write it anew.
#[derive(Debug)]
pub struct Held(OwnedFd);

impl Held {
    /// Opens `path` under `dir`, which may be the application's to change: what is no file, as a pipe that nobody
    /// writes to, is not waited for.
    ///
    /// # Errors
    /// What the kernel says, and [`Errno::INVAL`] for what is no regular file.
    pub fn open(dir: impl AsFd, path: &str) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = openat(dir, path, flags, Mode::empty())?;
        let kind = FileType::from_raw_mode(fstat(&file)?.st_mode);
        kind.is_file().then_some(Self(file)).ok_or(Errno::INVAL)
    }

    /// What the file says now, as far as it fits into `buffer`.
    ///
    /// # Errors
    /// What the kernel says; the file is of no use after that.
    pub fn read<'a>(&self, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
        let length = loop {
            match pread(&self.0, &mut *buffer, 0) {
                Err(Errno::INTR) => {}
                outcome => break outcome?,
            }
        };
        Ok(buffer.get(..length).unwrap_or_default())
    }
}

/// Reads the file at `path` under `dir`, as far as it fits into `buffer`, which must hold the path first.
///
/// # Errors
/// What the kernel says.
pub fn read_once<'a>(dir: impl AsFd, path: &Path, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(dir, path.as_str(), flags, Mode::empty())?;
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match read(&file, rest) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(Errno::INTR) => {}
            Err(why) => return Err(why),
        }
    }
    Ok(buffer.get(..length).unwrap_or_default())
}

/// A short path that is made without allocation.
#[derive(Debug)]
pub struct Path {
    bytes: [u8; 96],
    length: usize,
}

impl Path {
    /// The path that `text` makes, cut at 96 bytes; ours have 60 at the most.
    pub fn of(text: Arguments<'_>) -> Self {
        let mut path = Self {
            bytes: [0; 96],
            length: 0,
        };
        // It fails where the path is too long, and such a path leads nowhere.
        let _ = path.write_fmt(text);
        path
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl std::fmt::Write for Path {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        let end = self.length + part.len();
        let place = self.bytes.get_mut(self.length..end);
        place
            .ok_or(std::fmt::Error)?
            .copy_from_slice(part.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// The number after `name` and a space, in a file of lines of `NAME NUMBER`.
pub fn field(text: &[u8], name: &str) -> Option<u64> {
    number(value(text, name)?)
}

/// What stands there, whatever it is.
pub fn value<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut lines = text.split(|byte| *byte == b'\n');
    lines.find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b" "))
}

/// A decimal number and nothing else.
pub fn number(digits: &[u8]) -> Option<u64> {
    let known = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    known.then_some(())?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, mknodat};

    #[test]
    fn a_held_file_is_written_anew_for_each_read() {
        let file = Held::open(CWD, "/proc/self/schedstat").unwrap();
        let mut buffer = [0; 128];
        let runs = |text: &[u8]| number(text.split(|b| *b == b' ').next().unwrap()).unwrap();
        let before = runs(file.read(&mut buffer).unwrap());
        let begin = std::time::Instant::now();
        while begin.elapsed().as_millis() < 30 {}
        std::thread::yield_now();
        assert!(runs(file.read(&mut buffer).unwrap()) >= before);
        assert!(Held::open(CWD, "/proc/self/nothing").is_err());
    }

    #[test]
    fn what_is_put_in_a_file_s_place_holds_nobody_up() {
        let dir = std::env::temp_dir().join(format!("mbcas-held-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let pipe = dir.join("cpu.stat");
        let (kind, mode) = (FileType::Fifo, Mode::RUSR | Mode::WUSR);
        mknodat(CWD, &pipe, kind, mode, 0).unwrap();
        let paths = [pipe, dir.clone(), "/dev/zero".into()];
        let (send, outcomes) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for path in paths {
                let is_refused = Held::open(CWD, path.to_str().unwrap()).is_err();
                send.send(is_refused).unwrap();
            }
        });
        let most = std::time::Duration::from_secs(10);
        let seen: Vec<_> = (0..3).map(|_| outcomes.recv_timeout(most)).collect();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(seen, [Ok(true); 3]);
    }

    #[test]
    fn what_is_no_number_is_none() {
        let text = b"nr_periods 12\nnr_throttled 3\nthrottled_usec x\n";
        assert_eq!(field(text, "nr_periods"), Some(12));
        assert_eq!(field(text, "nr_throttled"), Some(3));
        for absent in ["throttled_usec", "nr", "usage_usec"] {
            assert_eq!(field(text, absent), None, "{absent}");
        }
        for bad in ["", "-1", "+1", "1.5", "18446744073709551616", "\u{ff11}"] {
            assert_eq!(number(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_path_that_is_too_long_leads_nowhere() {
        assert_eq!(Path::of(format_args!("{}/task", 7)).as_str(), "7/task");
        let long = Path::of(format_args!("{:100}/task", 7));
        assert!(read_once(CWD, &long, &mut [0; 8]).is_err());
    }
}
