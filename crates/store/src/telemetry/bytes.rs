//! Bytes of compressed telemetry: numbers of variable length, and a reader that ends in errors, never in a panic.

use crate::error::{Result, StoreError};

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Small magnitudes of either sign become short.
pub(crate) fn put_signed(out: &mut Vec<u8>, n: i64) {
    put_varint(out, ((n << 1) ^ (n >> 63)).cast_unsigned());
}

pub(crate) fn refused(error: pco::errors::PcoError) -> StoreError {
    StoreError::corrupt(format!("telemetry cannot be compressed: {error}"))
}

pub(crate) fn damaged(error: pco::errors::PcoError) -> StoreError {
    StoreError::corrupt(format!("a telemetry chunk cannot be decompressed: {error}"))
}

pub(crate) fn checked<T>(values: Vec<T>, expected: usize) -> Result<Vec<T>> {
    if values.len() == expected {
        return Ok(values);
    }
    Err(StoreError::corrupt(format!("a telemetry chunk holds {} values, expected {expected}", values.len())))
}

/// Reads what the functions above wrote.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, rest) =
            self.0.split_at_checked(n).ok_or_else(|| StoreError::corrupt("telemetry ends early"))?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| StoreError::corrupt("telemetry ends early"))
    }

    pub(crate) fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn varint(&mut self) -> Result<u64> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(StoreError::corrupt("a number in telemetry is too long"))
    }

    pub(crate) fn signed(&mut self) -> Result<i64> {
        let n = self.varint()?;
        Ok((n >> 1).cast_signed() ^ -((n & 1).cast_signed()))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8]> {
        let n = usize::try_from(self.varint()?).map_err(|_| StoreError::corrupt("telemetry ends early"))?;
        self.take(n)
    }
}
