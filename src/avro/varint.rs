//! Avro's primitive encodings: zig-zag `long`, `bytes`, `string`, `fixed` (Avro 1.12 specification, "Binary encoding").

use super::AvroError;

/// The most bytes that a `long` takes.
pub const LONG_BYTES_MAX: usize = 10;

/// Appends a `long`.
#[inline]
pub fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    if rest < 0x80 {
        out.push(rest as u8);
        return;
    }
    let mut bytes = [0; LONG_BYTES_MAX];
    let mut len = 0;
    while rest >= 0x80 {
        bytes[len] = rest as u8 | 0x80;
        rest >>= 7;
        len += 1;
    }
    bytes[len] = rest as u8;
    out.extend_from_slice(&bytes[..=len]);
}

/// How many bytes [`put_long`] appends.
#[must_use]
pub const fn long_len(value: i64) -> usize {
    let rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    (70 - (rest | 1).leading_zeros() as usize) / 7
}

/// Appends a `long` in exactly `len` bytes, at least [`long_len`] of it.
pub fn put_long_in(out: &mut Vec<u8>, value: i64, len: usize) {
    debug_assert!(len >= long_len(value) && len <= LONG_BYTES_MAX);
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    for left in (0..len).rev() {
        out.push((rest & 0x7f) as u8 | if left > 0 { 0x80 } else { 0 });
        rest >>= 7;
    }
}

/// Appends a number that is known to fit a `long`.
#[inline]
pub fn put_unsigned(out: &mut Vec<u8>, value: u64) {
    debug_assert!(i64::try_from(value).is_ok());
    put_long(out, value.cast_signed());
}

/// Appends `bytes` or a `string`: its length, then itself.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

/// Reads Avro primitives from the front of a slice. Never panics, whatever the bytes are.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    /// Starts at the front of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes have been read.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// The bytes not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Reads a `long`.
    ///
    /// # Errors
    /// [`AvroError::Truncated`] at the end, [`AvroError::LongTooLong`] for more than ten bytes or 64 bits.
    #[inline]
    pub fn long(&mut self) -> Result<i64, AvroError> {
        let mut value = 0_u64;
        for shift in 0..LONG_BYTES_MAX {
            let byte = *self.bytes.get(self.at).ok_or(AvroError::Truncated)?;
            self.at += 1;
            if shift == LONG_BYTES_MAX - 1 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * shift);
            if byte < 0x80 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(AvroError::LongTooLong)
    }

    /// Reads a `long` that must not be negative.
    ///
    /// # Errors
    /// As [`long`](Self::long), and [`AvroError::Negative`].
    #[inline]
    pub fn unsigned(&mut self) -> Result<u64, AvroError> {
        u64::try_from(self.long()?).map_err(|_| AvroError::Negative)
    }

    /// Reads `bytes`.
    ///
    /// # Errors
    /// As [`unsigned`](Self::unsigned), for the length and for the bytes themselves.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], AvroError> {
        let len = self.unsigned()?;
        let len = usize::try_from(len).map_err(|_| AvroError::Truncated)?;
        self.take(len)
    }

    /// Reads a `string`.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and [`AvroError::NotUtf8`].
    pub fn string(&mut self) -> Result<&'a str, AvroError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| AvroError::NotUtf8)
    }

    /// Reads a `fixed` of `N` bytes.
    ///
    /// # Errors
    /// [`AvroError::Truncated`].
    #[inline]
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], AvroError> {
        let mut fixed = [0; N];
        fixed.copy_from_slice(self.take(N)?);
        Ok(fixed)
    }

    /// Reads the index of a `[null, T]` union; whether a `T` follows.
    ///
    /// # Errors
    /// As [`long`](Self::long), and [`AvroError::BadUnion`].
    #[inline]
    pub fn is_some(&mut self) -> Result<bool, AvroError> {
        match self.long()? {
            0 => Ok(false),
            1 => Ok(true),
            index => Err(AvroError::BadUnion { index }),
        }
    }

    /// Reads `len` bytes as they are.
    ///
    /// # Errors
    /// [`AvroError::Truncated`].
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], AvroError> {
        let end = self.at.checked_add(len).ok_or(AvroError::Truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(AvroError::Truncated)?;
        self.at = end;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn longs_match_the_specification() {
        for (value, bytes) in
            [(0, &[0x00][..]), (-1, &[0x01]), (1, &[0x02]), (-2, &[0x03]), (-64, &[0x7f]), (64, &[0x80, 0x01])]
        {
            let mut out = Vec::new();
            put_long(&mut out, value);
            assert_eq!(out, bytes);
        }
        assert_eq!(Decoder::new(&[0xff; 11]).long(), Err(AvroError::LongTooLong));
        assert_eq!(Decoder::new(&[0x80]).long(), Err(AvroError::Truncated));
        assert_eq!(Decoder::new(&[0x03]).bytes(), Err(AvroError::Negative));
    }

    proptest! {
        #[test]
        fn longs_round_trip(value: i64, small in -100_000_i64..100_000) {
            for value in [value, small, i64::MIN, i64::MAX] {
                let mut out = Vec::new();
                put_long(&mut out, value);
                prop_assert_eq!(out.len(), long_len(value));
                let mut decoder = Decoder::new(&out);
                prop_assert_eq!(decoder.long(), Ok(value));
                prop_assert!(decoder.rest().is_empty());
            }
        }

        #[test]
        fn any_bytes_decode_or_err(bytes: Vec<u8>) {
            let mut decoder = Decoder::new(&bytes);
            while decoder.bytes().is_ok() && !decoder.rest().is_empty() {}
        }
    }
}
