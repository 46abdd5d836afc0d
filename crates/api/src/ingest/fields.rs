//! Protobuf messages field by field: borrowed from the request, nothing copied, strictly within each message.

use quick_protobuf::BytesReader;

use super::batch::Wrong;

/// Most messages within each other.
pub(super) const MAX_DEPTH: usize = 16;

/// The value of a field, by the way in which it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl Value<'_> {
    pub(super) fn double(bits: u64) -> f64 {
        f64::from_bits(bits)
    }
}

/// The fields of one message: number and value.
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    reader: BytesReader,
    /// What the message is, for the error.
    what: &'static str,
}

impl<'a> Fields<'a> {
    pub(super) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { bytes, reader: BytesReader::from_bytes(bytes), what }
    }

    fn read(&mut self) -> quick_protobuf::Result<Option<(u32, Value<'a>)>> {
        let tag = self.reader.next_tag(self.bytes)?;
        let value = match tag & 7 {
            0 => Value::Varint(self.reader.read_varint64(self.bytes)?),
            1 => Value::Fixed64(self.reader.read_fixed64(self.bytes)?),
            2 => Value::Bytes(self.reader.read_bytes(self.bytes)?),
            5 => Value::Fixed32(self.reader.read_fixed32(self.bytes)?),
            _ => return Ok(None),
        };
        Ok((tag >> 3 != 0).then_some((tag >> 3, value)))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Wrong>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_eof() {
            return None;
        }
        let at = self.bytes.len() - self.reader.len();
        let why = match self.read() {
            Ok(Some(field)) => return Some(Ok(field)),
            Ok(None) => "a field of unknown form".to_owned(),
            Err(error) => error.to_string(),
        };
        self.reader.read_to_end();
        Some(Err(Wrong::malformed(format!("malformed protobuf in {} at its byte {at}: {why}", self.what))))
    }
}

/// A text, which has to be UTF-8.
pub(super) fn text<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a str, Wrong> {
    std::str::from_utf8(bytes).map_err(|_| Wrong::malformed(format!("{what} is not UTF-8")))
}

/// Numbers that are packed one after the other.
pub(super) fn packed_varints(
    what: &'static str,
    bytes: &[u8],
    mut each: impl FnMut(u64),
) -> Result<(), Wrong> {
    let mut reader = BytesReader::from_bytes(bytes);
    while !reader.is_eof() {
        let number = reader.read_varint64(bytes);
        each(number.map_err(|error| Wrong::malformed(format!("malformed protobuf in {what}: {error}")))?);
    }
    Ok(())
}

/// Numbers of eight bytes that are packed one after the other.
pub(super) fn packed_fixed64<'a>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<impl Iterator<Item = u64> + 'a, Wrong> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(Wrong::malformed(format!("malformed protobuf in {what}: numbers of 8 bytes expected")));
    }
    Ok(numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_all_forms() {
        let bytes = [8, 150, 1, 18, 2, 104, 105, 25, 1, 0, 0, 0, 0, 0, 0, 0, 37, 2, 0, 0, 0];
        let fields: Vec<_> = Fields::new("a message", &bytes).map(Result::unwrap).collect();
        assert_eq!(
            fields,
            [
                (1, Value::Varint(150)),
                (2, Value::Bytes(b"hi")),
                (3, Value::Fixed64(1)),
                (4, Value::Fixed32(2))
            ]
        );
    }

    #[test]
    fn malformed_messages_give_one_error_and_end() {
        let wrong: [&[u8]; 7] = [
            &[8],
            &[18, 5, 1],
            &[18, 255, 255, 255, 255, 15],
            &[25, 0],
            &[11],
            &[0, 0],
            &[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
        ];
        for bytes in wrong {
            let fields: Vec<_> = Fields::new("a message", bytes).collect();
            let [Err(Wrong::Malformed(text))] = fields.as_slice() else { panic!("{bytes:?}: {fields:?}") };
            assert!(text.contains("a message at its byte 0"), "{text}");
        }
        assert!(packed_fixed64("numbers", &[0; 9]).is_err());
        assert!(packed_varints("numbers", &[128], |_| ()).is_err());
    }
}
