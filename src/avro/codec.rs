//! Block compression of container files: `null`, `zstandard`, `deflate` (F2, F3).
//!
//! Owns: names, compressing, decompressing within a limit, and the *stored* form of each codec, in which a block's bytes
//! lie in the file as they are, cut into pieces by a few bytes of framing. A segment's SEAL block is stored, so that its
//! footer can be read from the end of the file without a decompressor (RFC 8878 section 3.1.1 for raw zstd blocks,
//! RFC 1951 section 3.2.4 for stored deflate blocks).

use std::io::Read as _;
use std::ops::Range;

use bytes::Bytes;

/// The compression of a file's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// None.
    Null,
    /// Zstandard (RFC 8878). The level matters when writing only.
    Zstandard {
        /// 1 (fast) to 22 (small).
        level: i32,
    },
    /// Deflate (RFC 1951) without any wrapper. The level matters when writing only.
    Deflate {
        /// 0 (stored) to 9 (small).
        level: u32,
    },
}

/// Why a block cannot be compressed or decompressed.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// A codec that this program does not know.
    #[error("unknown codec: avro.codec=`{name}`, known=`null, zstandard, deflate`")]
    Unknown {
        /// As found in the file.
        name: String,
    },
    /// More bytes than the caller allows.
    #[error("a block decompresses to more than it may: limit=`{limit}`")]
    TooLarge {
        /// The most bytes allowed.
        limit: usize,
    },
    /// Bytes that the codec did not write.
    #[error("a block is not what its codec writes: codec=`{codec}`")]
    Broken {
        /// The codec's name.
        codec: &'static str,
        /// What the library said.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The compressor failed.
    #[error("cannot compress a block: codec=`{codec}`")]
    Compress {
        /// The codec's name.
        codec: &'static str,
        /// What the library said.
        #[source]
        source: std::io::Error,
    },
}

impl Codec {
    /// Zstandard at level 1: on logs as small as level 3, and nearly twice as fast.
    pub const DEFAULT: Self = Self::Zstandard { level: 1 };

    /// The value of `avro.codec`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Zstandard { .. } => "zstandard",
            Self::Deflate { .. } => "deflate",
        }
    }

    /// The codec of a file, by the value of its `avro.codec`, at a common level.
    ///
    /// # Errors
    /// [`CodecError::Unknown`], by name (F3).
    pub fn from_name(name: &str) -> Result<Self, CodecError> {
        match name {
            "null" => Ok(Self::Null),
            "zstandard" => Ok(Self::DEFAULT),
            "deflate" => Ok(Self::Deflate { level: 6 }),
            _ => Err(CodecError::Unknown { name: name.to_owned() }),
        }
    }

    /// Decompresses one block. `limit` is the most bytes it may have, known from elsewhere: what `stored` itself says is
    /// not trusted. Without compression the result is `stored`, not copied.
    ///
    /// # Errors
    /// [`CodecError::TooLarge`] beyond `limit`, [`CodecError::Broken`] for bytes that are no block.
    pub fn decompress(self, stored: &Bytes, limit: usize) -> Result<Bytes, CodecError> {
        match self {
            Self::Null if stored.len() > limit => Err(CodecError::TooLarge { limit }),
            Self::Null => Ok(stored.clone()),
            Self::Zstandard { .. } => unzstd(stored, limit).map(Bytes::from),
            Self::Deflate { .. } => inflate(stored, limit).map(Bytes::from),
        }
    }

    /// How `len` bytes lie when stored uncompressed, with the last `tail` of them in one piece.
    #[must_use]
    pub fn stored(self, len: usize, tail: usize) -> Stored {
        let piece_bytes_max = match self {
            Self::Null => len.max(1),
            Self::Zstandard { .. } => 128 << 10,
            Self::Deflate { .. } => u16::MAX as usize,
        };
        debug_assert!(tail <= piece_bytes_max && tail <= len);
        let mut pieces = Vec::new();
        let mut at = 0;
        while len - at > piece_bytes_max {
            // The piece before the last gives way, so that the tail is not cut.
            let end = (at + piece_bytes_max).min(len - tail.max(1));
            pieces.push(at..end);
            at = end;
        }
        pieces.push(at..len);
        Stored { codec: self, pieces }
    }
}

/// A block stored without compression: where its pieces are.
#[derive(Clone, Debug)]
pub struct Stored {
    codec: Codec,
    /// Ranges of the content, without a gap.
    pieces: Vec<Range<usize>>,
}

impl Stored {
    /// Bytes before the first piece's header: for zstandard magic number, descriptor, and a content size of 8 bytes.
    const fn frame_header_bytes(&self) -> usize {
        if matches!(self.codec, Codec::Zstandard { .. }) { 13 } else { 0 }
    }

    const fn piece_header_bytes(&self) -> usize {
        match self.codec {
            Codec::Null => 0,
            Codec::Zstandard { .. } => 3,
            Codec::Deflate { .. } => 5,
        }
    }

    /// Bytes of the block as stored.
    #[must_use]
    pub fn len(&self) -> usize {
        let content = self.pieces.last().map_or(0, |last| last.end);
        self.frame_header_bytes() + self.pieces.len() * self.piece_header_bytes() + content
    }

    /// Whether nothing is stored at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the content's byte `at` lies in the block.
    #[must_use]
    pub fn position(&self, at: usize) -> usize {
        let before = self.pieces.partition_point(|piece| piece.end <= at).min(self.pieces.len() - 1);
        self.frame_header_bytes() + (before + 1) * self.piece_header_bytes() + at
    }

    /// Appends `content`, which has the length that was planned for.
    pub fn write(&self, out: &mut Vec<u8>, content: &[u8]) {
        debug_assert_eq!(self.pieces.last().map(|last| last.end), Some(content.len()));
        out.reserve(self.len());
        if matches!(self.codec, Codec::Zstandard { .. }) {
            out.extend_from_slice(&[0x28, 0xb5, 0x2f, 0xfd]);
            // A content size of 8 bytes (flag 3), one segment, no checksum, no dictionary.
            out.push(3 << 6 | 1 << 5);
            out.extend_from_slice(&(content.len() as u64).to_le_bytes());
        }
        for (number, piece) in self.pieces.iter().enumerate() {
            let last = number + 1 == self.pieces.len();
            let len = piece.len();
            match self.codec {
                Codec::Null => {}
                // Little-endian over three bytes: last, type 0 (raw), size.
                Codec::Zstandard { .. } => {
                    out.extend_from_slice(&((len as u32) << 3 | u32::from(last)).to_le_bytes()[..3]);
                }
                // Last, type 00 (stored), padding to the byte; length and its complement.
                Codec::Deflate { .. } => {
                    out.push(u8::from(last));
                    out.extend_from_slice(&(len as u16).to_le_bytes());
                    out.extend_from_slice(&(!(len as u16)).to_le_bytes());
                }
            }
            out.extend_from_slice(&content[piece.clone()]);
        }
    }
}

/// Compresses blocks one after another, and keeps what the library needs between them.
pub struct Compressor {
    codec: Codec,
    state: State,
}

enum State {
    Null,
    Zstandard(Box<zstd::bulk::Compressor<'static>>),
    Deflate(Box<flate2::Compress>),
}

impl Compressor {
    /// For blocks of one file.
    ///
    /// # Errors
    /// [`CodecError::Compress`] where the library refuses, as it does for a level that it does not have.
    pub fn new(codec: Codec) -> Result<Self, CodecError> {
        let refused = |source| CodecError::Compress { codec: codec.name(), source };
        let state = match codec {
            Codec::Null => State::Null,
            Codec::Zstandard { level } if !(1..=22).contains(&level) => {
                return Err(refused(std::io::Error::other(format!("no such level: level=`{level}`, levels=`1..=22`"))));
            }
            Codec::Zstandard { level } => {
                State::Zstandard(Box::new(zstd::bulk::Compressor::new(level).map_err(refused)?))
            }
            Codec::Deflate { level } if level > 9 => {
                return Err(refused(std::io::Error::other(format!("no such level: level=`{level}`, levels=`0..=9`"))));
            }
            Codec::Deflate { level } => {
                State::Deflate(Box::new(flate2::Compress::new(flate2::Compression::new(level), false)))
            }
        };
        Ok(Self { codec, state })
    }

    /// Which codec.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// The stored form of `block`, in `scratch` unless it is `block` itself.
    ///
    /// # Errors
    /// [`CodecError::Compress`].
    pub fn compress<'a>(&mut self, block: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        let codec = self.codec.name();
        scratch.clear();
        match &mut self.state {
            State::Null => return Ok(block),
            State::Zstandard(zstd) => {
                scratch.reserve(zstd::zstd_safe::compress_bound(block.len()));
                zstd.compress_to_buffer(block, scratch).map_err(|source| CodecError::Compress { codec, source })?;
            }
            State::Deflate(deflate) => {
                deflate.reset();
                loop {
                    scratch.reserve((block.len() / 2).max(4096));
                    let at = usize::try_from(deflate.total_in()).expect("counts bytes of a slice");
                    let status = deflate
                        .compress_vec(&block[at..], scratch, flate2::FlushCompress::Finish)
                        .map_err(|error| CodecError::Compress { codec, source: error.into() })?;
                    if status == flate2::Status::StreamEnd {
                        break;
                    }
                }
            }
        }
        Ok(scratch)
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Compressor").field(&self.codec).finish()
    }
}

fn unzstd(stored: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    let broken = |source| CodecError::Broken { codec: "zstandard", source };
    // The size in the frame is a hint only: a lie makes the decompressor fail, and costs at most `limit`.
    let hint = zstd::zstd_safe::get_frame_content_size(stored).map_err(|_| broken(None))?;
    match hint.map(usize::try_from) {
        Some(Ok(size)) if size <= limit => {
            let mut out = Vec::with_capacity(size);
            let mut zstd = zstd::bulk::Decompressor::new().map_err(|source| broken(Some(source)))?;
            zstd.decompress_to_buffer(stored, &mut out).map_err(|source| broken(Some(source)))?;
            Ok(out)
        }
        Some(_) => Err(CodecError::TooLarge { limit }),
        None => {
            let mut out = Vec::new();
            let zstd = zstd::stream::read::Decoder::with_buffer(stored).map_err(|source| broken(Some(source)))?;
            zstd.take((limit as u64).saturating_add(1)).read_to_end(&mut out).map_err(|source| broken(Some(source)))?;
            if out.len() > limit { Err(CodecError::TooLarge { limit }) } else { Ok(out) }
        }
    }
}

fn inflate(stored: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    let broken = |source| CodecError::Broken { codec: "deflate", source };
    let mut inflate = flate2::Decompress::new(false);
    // One byte of room beyond the limit tells a block that fills it from one that goes on.
    let most = limit.saturating_add(1);
    let mut out = Vec::with_capacity(most.min(stored.len().saturating_mul(4).max(4096)));
    loop {
        let at = usize::try_from(inflate.total_in()).expect("counts bytes of a slice");
        let status = inflate
            .decompress_vec(&stored[at..], &mut out, flate2::FlushDecompress::Finish)
            .map_err(|error| broken(Some(error.into())))?;
        if out.len() > limit {
            return Err(CodecError::TooLarge { limit });
        }
        match status {
            flate2::Status::StreamEnd if inflate.total_in() == stored.len() as u64 => return Ok(out),
            flate2::Status::StreamEnd => return Err(broken(None)),
            _ if out.len() < out.capacity() => return Err(broken(Some(std::io::ErrorKind::UnexpectedEof.into()))),
            _ => out.reserve_exact(out.len().max(4096).min(most - out.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Codec; 3] = [Codec::Null, Codec::DEFAULT, Codec::Deflate { level: 6 }];

    fn compress(codec: Codec, block: &[u8]) -> Bytes {
        let mut scratch = Vec::new();
        Bytes::copy_from_slice(Compressor::new(codec).unwrap().compress(block, &mut scratch).unwrap())
    }

    #[test]
    fn unknown_codecs_are_refused_by_name() {
        for codec in ALL {
            assert_eq!(Codec::from_name(codec.name()).unwrap(), codec);
        }
        assert!(Codec::from_name("snappy").unwrap_err().to_string().contains("avro.codec=`snappy`"));
        assert!(Compressor::new(Codec::Deflate { level: 10 }).is_err());
        assert!(Compressor::new(Codec::Zstandard { level: 0 }).is_err());
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        for codec in ALL {
            let stored = compress(codec, &vec![0; 1 << 20]);
            assert_eq!(codec.decompress(&stored, 1 << 20).unwrap().len(), 1 << 20);
            for limit in [0, 1, 1000, (1 << 20) - 1] {
                let error = codec.decompress(&stored, limit).unwrap_err();
                assert!(matches!(error, CodecError::TooLarge { .. }), "{codec:?} {limit}: {error:?}");
            }
        }
        // A frame that does not tell its size, as a streaming writer makes it.
        let mut stream = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        std::io::Write::write_all(&mut stream, &vec![7; 1 << 20]).unwrap();
        let stored = Bytes::from(stream.finish().unwrap());
        assert_eq!(Codec::DEFAULT.decompress(&stored, 1 << 20).unwrap().len(), 1 << 20);
        assert!(matches!(Codec::DEFAULT.decompress(&stored, 1 << 19), Err(CodecError::TooLarge { .. })));
    }

    #[test]
    fn cut_and_padded_blocks_are_broken() {
        for codec in [Codec::DEFAULT, Codec::Deflate { level: 6 }] {
            let stored = compress(codec, b"the quick brown fox jumps over the lazy dog");
            for cut in 0..stored.len() {
                assert!(codec.decompress(&stored.slice(..cut), 100).is_err(), "{codec:?} cut at {cut}");
            }
            let padded = Bytes::from([&stored[..], b"x"].concat());
            assert!(codec.decompress(&padded, 100).is_err(), "{codec:?}");
        }
    }

    #[test]
    fn stored_blocks_lie_verbatim_and_every_decoder_reads_them() {
        let content: Vec<u8> = (0..400_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for codec in ALL {
            for len in [48, 49, 65_535, 65_536, 65_580, 131_072, 131_073, 131_119, 131_121, 262_144, 400_000] {
                let content = &content[..len];
                let plan = codec.stored(len, 48);
                let mut stored = Vec::new();
                plan.write(&mut stored, content);
                assert_eq!(stored.len(), plan.len(), "{codec:?} {len}");
                assert_eq!(
                    &stored[stored.len() - 48..],
                    &content[len - 48..],
                    "{codec:?} {len}: the tail is in one piece"
                );
                for at in (0..len).step_by(1009).chain([0, len - 48, len - 1]) {
                    assert_eq!(stored[plan.position(at)], content[at], "{codec:?} {len}: byte {at}");
                }
                let mut decoded = Vec::new();
                match codec {
                    Codec::Null => decoded.extend_from_slice(&stored),
                    Codec::Zstandard { .. } => decoded = zstd::stream::decode_all(&stored[..]).unwrap(),
                    Codec::Deflate { .. } => {
                        flate2::read::DeflateDecoder::new(&stored[..]).read_to_end(&mut decoded).unwrap();
                    }
                }
                assert!(decoded == content, "{codec:?} {len}");
                assert!(codec.decompress(&Bytes::from(stored), len).unwrap() == content, "{codec:?} {len}");
            }
        }
    }

    proptest! {
        #[test]
        fn blocks_round_trip(block in proptest::collection::vec(0_u8..8, 0..5000), noise: Vec<u8>) {
            for codec in ALL.into_iter().chain([Codec::Deflate { level: 0 }, Codec::Zstandard { level: 19 }]) {
                for block in [&block, &noise] {
                    let stored = compress(codec, block);
                    prop_assert_eq!(&codec.decompress(&stored, block.len()).unwrap()[..], &block[..]);
                }
            }
        }

        #[test]
        fn any_bytes_decompress_or_err(bytes: Vec<u8>) {
            for codec in ALL {
                let _ = codec.decompress(&Bytes::from(bytes.clone()), 1 << 16);
            }
        }
    }
}
