//! The file of a stream, plain or compressed, read line by line.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use indicatif::ProgressBar;
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The longest line, in bytes: 24 MiB. It has room for the largest payload and key.
pub const LINE_BYTES_MAX: usize = 24 << 20;
/// The largest window of a compressed file, in bytes: 16 MiB.
pub const WINDOW_BYTES_MAX: u64 = 16 << 20;

/// The lines of a file. A `.zst` is known by its first bytes, not by its name.
pub struct Input {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    number: u64,
}

impl Input {
    /// Opens a file and moves `progress` by the bytes that are read of it.
    ///
    /// # Errors
    /// If there is no such file, it is no plain file, or it cannot be read.
    pub fn open(path: &Path, progress: &ProgressBar) -> Result<Self> {
        let doing = || format!("open recorded game {}", path.display());
        // Order matters: opening a pipe would wait for who writes to it.
        let metadata = path.metadata().with_context(doing)?;
        if !metadata.is_file() {
            bail!("{}: is not a file; it is read more than once", doing());
        }
        let file = File::open(path).with_context(doing)?;
        progress.set_length(metadata.len());
        let mut reader = BufReader::new(progress.wrap_read(file));
        let compressed = reader.fill_buf().with_context(doing)?.starts_with(&MAGIC);
        let reader: Box<dyn BufRead> = if compressed {
            Box::new(BufReader::new(Frames::new(reader)))
        } else {
            Box::new(reader)
        };
        Ok(Self {
            path: path.to_owned(),
            reader,
            line: Vec::new(),
            number: 0,
        })
    }

    /// The next line without its end, or `None` after the last.
    ///
    /// # Errors
    /// If the file cannot be read or decompressed, or the line is longer than [`LINE_BYTES_MAX`].
    pub fn next_line(&mut self) -> Result<Option<&[u8]>> {
        self.line.clear();
        self.number += 1;
        let mut limited = (&mut self.reader).take(LINE_BYTES_MAX as u64 + 1);
        let read = limited.read_until(b'\n', &mut self.line);
        if read.map_err(|error| self.at_line(error.into()))? == 0 {
            return Ok(None);
        }
        if self.line.pop_if(|byte| *byte == b'\n').is_none() && self.line.len() > LINE_BYTES_MAX {
            return Err(self.at_line(anyhow!("is longer than {LINE_BYTES_MAX} bytes")));
        }
        Ok(Some(&self.line))
    }

    /// Says of an error where in the file it is.
    #[must_use]
    pub fn at_line(&self, error: anyhow::Error) -> anyhow::Error {
        error.context(format!("{}, line {}", self.path.display(), self.number))
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at line {}", self.path.display(), self.number)
    }
}

/// The first bytes of a zstd frame.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The content of zstd frames that stand one behind the other.
struct Frames<R> {
    decoder: FrameDecoder,
    source: R,
}

impl<R: BufRead> Frames<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_BYTES_MAX);
        Self { decoder, source }
    }

    /// Begins the next frame; `false` if there is none.
    fn next_frame(&mut self) -> io::Result<bool> {
        let (stored, found) = (
            self.decoder.get_checksum_from_data(),
            self.decoder.get_calculated_checksum(),
        );
        if stored.is_some() && stored != found {
            return Err(broken("the checksum is wrong; the file is damaged"));
        }
        if self.source.fill_buf()?.is_empty() {
            return Ok(false);
        }
        self.decoder.reset(&mut self.source).map_err(explain)?;
        Ok(true)
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            if !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                let decoded = self.decoder.decode_blocks(&mut self.source, one);
                decoded.map_err(explain)?;
            } else if !self.next_frame()? {
                return Ok(0);
            }
        }
    }
}

fn explain(error: FrameDecoderError) -> io::Error {
    match error {
        FrameDecoderError::WindowSizeTooBig { requested, max } => broken(&format!(
            "needs a window of {requested} bytes, at most {max} are allowed; compress the file \
             with `zstd --long=24` or without `--long`"
        )),
        error => broken(&error.to_string()),
    }
}

fn broken(matter: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("zstd: {matter}"))
}

#[cfg(test)]
mod tests {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn lines(content: &[u8]) -> Result<Vec<String>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("stream");
        std::fs::write(&path, content)?;
        let mut input = Input::open(&path, &ProgressBar::hidden())?;
        let mut lines = Vec::new();
        while let Some(line) = input.next_line()? {
            lines.push(String::from_utf8(line.to_vec())?);
        }
        Ok(lines)
    }

    fn frame(text: &str) -> Vec<u8> {
        compress_to_vec(text.as_bytes(), CompressionLevel::Fastest)
    }

    #[test]
    fn plain_and_compressed_text_read_alike() {
        assert_eq!(lines(b"").unwrap(), [""; 0]);
        assert_eq!(lines(b"a\n\nb").unwrap(), ["a", "", "b"]);
        let frames = [frame("a\n"), frame(""), frame("\nb")].concat();
        assert_eq!(lines(&frames).unwrap(), ["a", "", "b"]);
    }

    #[test]
    fn a_frame_that_breaks_off_is_an_error_at_a_line() {
        let whole = frame(&"line\n".repeat(9));
        let error = lines(&whole[..whole.len() - 2]).unwrap_err();
        let said = format!("{error:#}");
        assert!(said.contains("stream, line 1: zstd: "), "{said}");
    }

    #[test]
    fn a_checksum_that_is_wrong_is_an_error() {
        let mut damaged = frame("line\n");
        *damaged.last_mut().unwrap() ^= 1;
        let said = format!("{:#}", lines(&damaged).unwrap_err());
        assert!(said.contains("the checksum is wrong"), "{said}");
    }
}
