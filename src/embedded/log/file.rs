//! The file of one partition's log: whole batches, one after another, as in a Kafka segment.
//! Written by the log after a batch passed every check, read once when the topic is opened.
//!
//! One rule: the file ends at a batch's end, or it is cut back to one. Nothing is fsynced on append: what was answered
//! survives the process (`kill -9`), not the machine.

use crate::embedded::batch::{self, HEADER_BYTES, Header};
use bytes::Bytes;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// How a write is to go: really, or as a test wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::embedded) enum Disk {
    #[default]
    Works,
    /// Half of the bytes reach the file, then it fails.
    Full,
}

#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    path: PathBuf,
    /// Bytes of whole batches; the file is never longer between two calls.
    len: u64,
    /// A partial write could not be taken back: nothing may follow it.
    is_torn: bool,
}

impl LogFile {
    /// Opens or creates the file and hands every whole batch to `each`, in order. What follows the last whole batch, a
    /// write that a crash cut, is dropped.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub(super) fn open(path: &Path, each: impl FnMut(Header, Bytes)) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)?;
        let stored = file.metadata()?.len();
        let len = scan(BufReader::new(&file), stored, each)?;
        if len < stored {
            tracing::warn!(path = %path.display(), kept_bytes = len, dropped_bytes = stored - len, "log tail is torn: cut");
            file.set_len(len)?;
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            len,
            is_torn: false,
        })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Appends one whole batch, or nothing.
    ///
    /// # Errors
    /// The write's error. The partial write has been taken back, or else every later append fails as well, until the
    /// file is opened again.
    pub(super) fn append(&mut self, batch: &[u8], disk: Disk) -> io::Result<()> {
        if self.is_torn {
            return Err(io::Error::other(
                "an earlier partial write could not be taken back",
            ));
        }
        match write(&mut self.file, batch, disk) {
            Ok(()) => {
                self.len += batch.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.is_torn = self.file.set_len(self.len).is_err();
                Err(error)
            }
        }
    }

    /// Replaces the file's content by `batches`, all or nothing, also over a crash.
    ///
    /// # Errors
    /// Whatever the file system says; the old content is then still there and still appended to.
    pub(super) fn replace<'a>(
        &mut self,
        batches: impl Iterator<Item = &'a Bytes>,
    ) -> io::Result<()> {
        let swap = self.path.with_extension("swap");
        // A crash may have left one behind.
        let _ = fs::remove_file(&swap);
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&swap)?;
        let mut writer = BufWriter::new(file);
        let mut len = 0;
        for batch in batches {
            writer.write_all(batch)?;
            len += batch.len() as u64;
        }
        let file = writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        // Without this, a power cut after the rename could leave an empty file where a whole log was.
        file.sync_data()?;
        fs::rename(&swap, &self.path)?;
        (self.file, self.len, self.is_torn) = (file, len, false);
        Ok(())
    }
}

fn write(file: &mut File, bytes: &[u8], disk: Disk) -> io::Result<()> {
    match disk {
        Disk::Works => file.write_all(bytes),
        Disk::Full => {
            file.write_all(&bytes[..bytes.len() / 2])?;
            Err(io::ErrorKind::StorageFull.into())
        }
    }
}

/// Reads whole batches until the end or the first bytes that are none; returns how many bytes were whole.
fn scan(
    mut reader: impl Read,
    stored: u64,
    mut each: impl FnMut(Header, Bytes),
) -> io::Result<u64> {
    let mut len = 0;
    let mut next_offset = 0;
    while stored - len >= HEADER_BYTES as u64 {
        let mut bytes = vec![0; HEADER_BYTES];
        reader.read_exact(&mut bytes)?;
        let Some(header) = Header::read(&bytes) else {
            break;
        };
        if header.size as u64 > stored - len || header.base_offset < next_offset {
            break;
        }
        bytes.resize(header.size, 0);
        reader.read_exact(&mut bytes[HEADER_BYTES..])?;
        if !batch::checksum_matches(&bytes) {
            break;
        }
        len += header.size as u64;
        let Some(next) = header
            .base_offset
            .checked_add(i64::from(header.last_offset_delta) + 1)
        else {
            break;
        };
        next_offset = next;
        each(header, Bytes::from(bytes));
    }
    Ok(len)
}
