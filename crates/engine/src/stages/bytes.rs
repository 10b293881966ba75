//! A staged file's bytes, decompressed as they come, in bounded memory.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore};
use zstd::stream::raw::{Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

use super::format::Compression;
use super::shape::Fault;
use crate::storage::is_same_version;

/// Asked of the store at once; the next is on its way while one is read.
const WINDOW_BYTES: u64 = 4 << 20;
const WINDOWS_AHEAD: usize = 2;
/// Given to the decompressor at once: gzip makes at most a thousand times as much of it.
const COMPRESSED_BYTES: usize = 16 << 10;
/// Made by the decompressor at once.
const DECOMPRESSED_BYTES: usize = 1 << 20;

pub struct ByteReader {
    windows: BoxStream<'static, Result<Bytes, Fault>>,
    pending: Bytes,
    decoder: Decoder,
}

enum Decoder {
    /// The first bytes decide.
    Unknown,
    Plain,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    /// Whether it is in the middle of a frame.
    Zstd(Box<ZstdDecoder<'static>>, bool),
}

impl ByteReader {
    pub fn open(store: Arc<dyn ObjectStore>, meta: ObjectMeta, compression: Compression) -> Result<Self, Fault> {
        let decoder = match compression {
            Compression::Auto | Compression::Snappy => Decoder::Unknown,
            Compression::None => Decoder::Plain,
            Compression::Gzip => Decoder::gzip(),
            Compression::Zstd => Decoder::zstd()?,
        };
        let starts = (0..meta.size).step_by(WINDOW_BYTES as usize);
        let windows = futures::stream::iter(starts).map(move |start| {
            let (store, meta) = (store.clone(), meta.clone());
            async move { window(store.as_ref(), &meta, start).await }
        });
        Ok(Self { windows: windows.buffered(WINDOWS_AHEAD).boxed(), pending: Bytes::new(), decoder })
    }

    /// Appends what comes next. False: there is no more.
    pub async fn more(&mut self, to: &mut Vec<u8>) -> Result<bool, Fault> {
        let before = to.len();
        while to.len() == before {
            if self.pending.is_empty() {
                match self.windows.next().await {
                    Some(window) => self.pending = window?,
                    None => return self.decoder.finish(to).map(|()| to.len() > before),
                }
            }
            if let Decoder::Unknown = self.decoder {
                self.decoder = Decoder::by_first_bytes(&self.pending)?;
            }
            self.decoder.decode(&mut self.pending, to)?;
        }
        Ok(true)
    }
}

impl Decoder {
    fn gzip() -> Self {
        Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new())))
    }

    fn zstd() -> Result<Self, Fault> {
        let decoder = ZstdDecoder::new().map_err(|error| Fault::of_file(format!("zstd: {error}")))?;
        Ok(Self::Zstd(Box::new(decoder), false))
    }

    fn by_first_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        match bytes {
            [0x1f, 0x8b, ..] => Ok(Self::gzip()),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::zstd(),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, ..] => {
                Err(Fault::of_file("it is compressed with bzip2, which is not supported"))
            }
            _ => Ok(Self::Plain),
        }
    }

    fn decode(&mut self, from: &mut Bytes, to: &mut Vec<u8>) -> Result<(), Fault> {
        match self {
            Self::Unknown | Self::Plain => {
                let piece = from.split_to(from.len().min(DECOMPRESSED_BYTES));
                to.extend_from_slice(&piece);
            }
            Self::Gzip(decoder) => {
                let piece = from.split_to(from.len().min(COMPRESSED_BYTES));
                decoder.write_all(&piece).and_then(|()| decoder.flush()).map_err(|error| not_gzip(&error))?;
                to.append(decoder.get_mut());
            }
            Self::Zstd(decoder, in_frame) => {
                let before = to.len();
                to.resize(before + DECOMPRESSED_BYTES, 0);
                let mut input = InBuffer::around(from);
                let mut output = OutBuffer::around(&mut to[before..]);
                let hint = decoder.run(&mut input, &mut output).map_err(|error| not_zstd(&error.to_string()))?;
                *in_frame = hint != 0;
                let (read, written) = (input.pos(), output.pos());
                to.truncate(before + written);
                let _ = from.split_to(read);
                if read == 0 && written == 0 {
                    return Err(not_zstd("it does not go on"));
                }
            }
        }
        Ok(())
    }

    /// What is left in the decompressor; fails if the file ends before its data do.
    fn finish(&mut self, to: &mut Vec<u8>) -> Result<(), Fault> {
        match self {
            Self::Unknown | Self::Plain => Ok(()),
            Self::Gzip(decoder) => {
                decoder.try_finish().map_err(|error| not_gzip(&error))?;
                to.append(decoder.get_mut());
                *self = Self::Plain;
                Ok(())
            }
            Self::Zstd(_, true) => Err(not_zstd("it breaks off")),
            Self::Zstd(_, false) => Ok(()),
        }
    }
}

fn not_gzip(error: &std::io::Error) -> Fault {
    let why = match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "it breaks off".to_owned(),
        _ => error.to_string(),
    };
    Fault::of_file(format!("it cannot be decompressed as gzip: {why}"))
}

fn not_zstd(why: &str) -> Fault {
    Fault::of_file(format!("it cannot be decompressed as zstd: {why}"))
}

/// Of the file as it was when the statement began: pieces of two files are no file.
async fn window(store: &dyn ObjectStore, meta: &ObjectMeta, start: u64) -> Result<Bytes, Fault> {
    let range = start..(start + WINDOW_BYTES).min(meta.size);
    let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
    let got = store.get_opts(&meta.location, options).await.map_err(|error| Fault::unreadable(&error))?;
    if !is_same_version(meta, &got.meta) {
        return Err(Fault::of_file("it was changed while it was being loaded"));
    }
    let bytes = got.bytes().await.map_err(|error| Fault::unreadable(&error))?;
    match bytes.len() as u64 == range.end - range.start {
        true => Ok(bytes),
        false => Err(Fault::of_file("it is shorter than its store says")),
    }
}
