//! The file that grows while a download arrives: `FILE.part`, with `FILE.part.json` beside it that says of which
//! version of which URL it is a part. It becomes `FILE` by one rename when everything is right.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use http::HeaderValue;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// Bytes read at once when an old part is hashed.
const READ_BYTES: usize = 256 * 1024;

/// What a part is a part of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    url: String,
    /// A strong validator; without one a part cannot be continued.
    validator: Option<String>,
    length: Option<u64>,
}

/// A growing file and the hash of what it has.
pub(super) struct PartFile {
    target: PathBuf,
    file: File,
    hash: Context,
    bytes: u64,
    origin: Origin,
}

impl PartFile {
    /// Continues a part of the same URL or begins anew.
    pub(super) fn open(target: &Path, url: &str) -> io::Result<Self> {
        let path = beside(target, ".part");
        let found: Option<Origin> = fs::read(beside(target, ".part.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .filter(|found: &Origin| found.url == url && found.validator.is_some());
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let fresh = Origin { url: url.to_owned(), ..Origin::default() };
        let hash = Context::new(&SHA256);
        let mut part = Self { target: target.to_owned(), file, hash, bytes: 0, origin: fresh };
        match found {
            Some(origin) => {
                part.origin = origin;
                part.take_in()?;
            }
            None => part.restart()?,
        }
        Ok(part)
    }

    fn take_in(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = self.file.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            self.hash.update(&buffer[..count]);
            self.bytes += count as u64;
        }
    }

    /// Bytes it has.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Length of the whole, when it was told.
    pub(super) fn length(&self) -> Option<u64> {
        self.origin.length
    }

    /// Where to go on and what `If-Range` to send; nothing when it has to begin at the start.
    pub(super) fn resume_point(&self) -> Option<(u64, HeaderValue)> {
        let validator = HeaderValue::from_str(self.origin.validator.as_deref()?).ok()?;
        (self.bytes > 0).then_some((self.bytes, validator))
    }

    /// Throws away what it has.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hash = Context::new(&SHA256);
        self.bytes = 0;
        self.origin.validator = None;
        self.origin.length = None;
        self.forget()
    }

    /// Remembers which version arrives, so that a later run can go on.
    pub(super) fn bind(&mut self, validator: Option<&HeaderValue>, length: Option<u64>) -> io::Result<()> {
        self.origin.validator = validator.and_then(|value| value.to_str().ok()).map(str::to_owned);
        self.origin.length = length;
        let text = serde_json::to_vec(&self.origin).map_err(io::Error::other)?;
        fs::write(beside(&self.target, ".part.json"), text)
    }

    /// Adds bytes at the end.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// The sha-256 of what it has.
    pub(super) fn sha256(&self) -> [u8; 32] {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.hash.clone().finish().as_ref());
        digest
    }

    /// Makes it the file that was asked for, at once and for good.
    pub(super) fn finish(self) -> io::Result<PathBuf> {
        self.file.sync_all()?;
        fs::rename(beside(&self.target, ".part"), &self.target)?;
        self.forget()?;
        Ok(self.target)
    }

    /// Throws everything away: what came was wrong.
    pub(super) fn discard(self) -> io::Result<()> {
        fs::remove_file(beside(&self.target, ".part"))?;
        self.forget()
    }

    fn forget(&self) -> io::Result<()> {
        match fs::remove_file(beside(&self.target, ".part.json")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn beside(target: &Path, suffix: &str) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://example.com/a";

    fn part_with(target: &Path, bytes: &[u8], validator: Option<&'static str>) {
        let mut part = PartFile::open(target, URL).expect("opened");
        part.bind(validator.map(HeaderValue::from_static).as_ref(), Some(10)).expect("bound");
        part.write(bytes).expect("written");
    }

    #[test]
    fn a_part_with_a_validator_goes_on_where_it_ended() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("a");
        part_with(&target, b"01234", Some("\"v1\""));
        let mut part = PartFile::open(&target, URL).expect("opened again");
        assert_eq!(part.resume_point(), Some((5, HeaderValue::from_static("\"v1\""))));
        assert_eq!(part.length(), Some(10));
        part.write(b"56789").expect("written");
        assert_eq!(part.sha256(), ring::digest::digest(&SHA256, b"0123456789").as_ref());
        part.finish().expect("renamed");
        assert_eq!(fs::read(&target).expect("there"), b"0123456789");
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_part_of_something_else_or_unknown_version_begins_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("a");
        part_with(&target, b"01234", None);
        assert_eq!(PartFile::open(&target, URL).expect("opened").bytes(), 0);
        part_with(&target, b"01234", Some("\"v1\""));
        let part = PartFile::open(&target, "http://example.com/b").expect("opened");
        assert_eq!((part.bytes(), part.resume_point()), (0, None));
        part.discard().expect("removed");
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 0);
    }
}
