//! Messages as bytes: how a batch is packed before the writer sees it, and read again.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::NewMessage;
use crate::error::{Result, StoreError};

/// Messages of one append share blocks up to about this size; a larger message has one of its own. Reading one message
/// reads its block.
const BLOCK_BYTES: usize = 64 << 10;
/// Numbers in front of each message: lengths of id, key and body, seconds, nanoseconds.
const HEADER: usize = 2 + 2 + 4 + 8 + 4;
const NO_KEY: u16 = u16::MAX;
/// Longest id and key in bytes.
pub(super) const MAX_NAME: usize = 1024;
/// Most messages and bytes of one append.
pub(super) const MAX_BATCH: usize = 100_000;
const MAX_BATCH_BYTES: usize = 64 << 20;

/// Messages that are ready to be stored.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    pub(super) ids: Vec<u128>,
    keys: Vec<u64>,
    /// Length of the longest body.
    pub(super) largest: usize,
}

/// Some messages of a batch that become one row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block<'a> {
    pub(super) count: usize,
    /// 64 bits for each message, 0 for none; nothing when no message has a key.
    pub(super) keys: Option<Vec<u8>>,
    pub(super) payload: std::borrow::Cow<'a, [u8]>,
}

impl Batch {
    /// # Errors
    /// [`StoreError::Invalid`] naming the message whose id, key or number is not accepted.
    pub(super) fn new(messages: &[NewMessage]) -> Result<Self> {
        if messages.len() > MAX_BATCH {
            let what =
                format!("{} messages at once; at most {MAX_BATCH} are stored together", messages.len());
            return Err(StoreError::invalid(what));
        }
        let total: usize = messages.iter().map(size).fold(0, usize::saturating_add);
        if total > MAX_BATCH_BYTES {
            let what = format!("{total} bytes at once; at most {MAX_BATCH_BYTES} are stored together");
            return Err(StoreError::invalid(what));
        }
        let mut batch = Self { bytes: Vec::with_capacity(total), ..Self::default() };
        for (index, message) in messages.iter().enumerate() {
            check(message).map_err(|what| StoreError::invalid(format!("message {index}: {what}")))?;
            encode(&mut batch.bytes, message);
            batch.ends.push(batch.bytes.len());
            batch.ids.push(hash(message.id.as_bytes()));
            batch.keys.push(message.key.as_deref().map_or(0, key_hash));
            batch.largest = batch.largest.max(message.body.len());
        }
        Ok(batch)
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    fn message(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    /// Bytes of these messages.
    pub(super) fn bytes_of(&self, wanted: &[usize]) -> u64 {
        wanted.iter().map(|index| self.message(*index).len() as u64).sum()
    }

    /// These messages (indices in order) as blocks.
    pub(super) fn blocks<'a>(&'a self, wanted: &'a [usize]) -> impl Iterator<Item = Block<'a>> {
        let mut rest = wanted;
        std::iter::from_fn(move || {
            let mut bytes = 0;
            let fits = |index: &&usize| {
                bytes += self.message(**index).len();
                bytes <= BLOCK_BYTES
            };
            let count = rest.iter().take_while(fits).count().max(1).min(rest.len());
            let (head, tail) = rest.split_at(count);
            rest = tail;
            (count > 0).then(|| self.block(head))
        })
    }

    fn block(&self, wanted: &[usize]) -> Block<'_> {
        let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else {
            return Block { count: 0, keys: None, payload: (&[] as &[u8]).into() };
        };
        let whole = last - first + 1 == wanted.len();
        let payload = if whole {
            let start = first.checked_sub(1).map_or(0, |before| self.ends[before]);
            self.bytes[start..self.ends[*last]].into()
        } else {
            wanted.iter().flat_map(|index| self.message(*index)).copied().collect::<Vec<_>>().into()
        };
        let any = wanted.iter().any(|index| self.keys[*index] != 0);
        let keys = any.then(|| wanted.iter().flat_map(|index| self.keys[*index].to_le_bytes()).collect());
        Block { count: wanted.len(), keys, payload }
    }
}

fn check(message: &NewMessage) -> std::result::Result<(), String> {
    let key = message.key.as_ref().map_or(0, String::len);
    for (what, length) in [("id", message.id.len()), ("key", key)] {
        if length > MAX_NAME {
            return Err(format!("its {what} has {length} bytes; at most {MAX_NAME} are accepted"));
        }
    }
    if message.id.is_empty() {
        Err("it has no id, by which a repeated one is known".to_owned())
    } else {
        Ok(())
    }
}

fn size(message: &NewMessage) -> usize {
    HEADER + message.id.len() + message.key.as_ref().map_or(0, String::len) + message.body.len()
}

/// One message as the dead letters keep it; long ids and keys are cut, because nothing checked them.
pub(super) fn alone(message: &NewMessage) -> Vec<u8> {
    let cut = |text: &str| text[..text.floor_char_boundary(MAX_NAME)].to_owned();
    let mut bytes = Vec::with_capacity(size(message));
    if message.id.len() <= MAX_NAME && message.key.as_ref().is_none_or(|key| key.len() <= MAX_NAME) {
        encode(&mut bytes, message);
    } else {
        let key = message.key.as_deref().map(cut);
        encode(&mut bytes, &NewMessage { id: cut(&message.id), key, ..message.clone() });
    }
    bytes
}

fn encode(out: &mut Vec<u8>, message: &NewMessage) {
    let key = message.key.as_deref();
    let short = |n: usize| u16::try_from(n).unwrap_or(NO_KEY);
    out.extend_from_slice(&short(message.id.len()).to_le_bytes());
    out.extend_from_slice(&key.map_or(NO_KEY, |key| short(key.len())).to_le_bytes());
    out.extend_from_slice(&u32::try_from(message.body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&message.time.as_second().to_le_bytes());
    out.extend_from_slice(&message.time.subsec_nanosecond().to_le_bytes());
    out.extend_from_slice(message.id.as_bytes());
    out.extend_from_slice(key.unwrap_or_default().as_bytes());
    out.extend_from_slice(&message.body);
}

/// Reads the messages of a payload one after the other.
pub(super) struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    /// # Errors
    /// [`StoreError::Corrupt`] when the bytes are not those that were stored.
    pub(super) fn new(payload: &'a [u8], sum: u32) -> Result<Self> {
        if checksum(payload) == sum { Ok(Self(payload)) } else { Err(damaged()) }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or_else(damaged)?;
        self.0 = rest;
        Ok(*head)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(head)
    }

    /// The next message when `wanted`; otherwise it is passed over.
    pub(super) fn next(&mut self, wanted: bool) -> Result<Option<NewMessage>> {
        let id = usize::from(u16::from_le_bytes(self.take()?));
        let key = u16::from_le_bytes(self.take()?);
        let body = u32::from_le_bytes(self.take()?) as usize;
        let (seconds, nanos) = (i64::from_le_bytes(self.take()?), i32::from_le_bytes(self.take()?));
        let id = self.slice(id)?;
        let key = if key == NO_KEY { None } else { Some(self.slice(usize::from(key))?) };
        let body = self.slice(body)?;
        if !wanted {
            return Ok(None);
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| damaged());
        let time = Timestamp::new(seconds, nanos).map_err(|_| damaged())?;
        Ok(Some(NewMessage { id: text(id)?, key: key.map(text).transpose()?, time, body: body.to_vec() }))
    }
}

fn damaged() -> StoreError {
    StoreError::corrupt("messages of a channel are not those that were stored")
}

pub(super) fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

fn hash(bytes: &[u8]) -> u128 {
    let digest = Sha256::digest(bytes);
    digest.iter().take(16).fold(0, |n, byte| n << 8 | u128::from(*byte))
}

/// Never 0, which stands for no key. Two keys that share it are only kept in order together.
pub(super) fn key_hash(key: &str) -> u64 {
    (hash(key.as_bytes()) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message() -> impl Strategy<Value = NewMessage> {
        let time = (-9_000_000_000_i64..9_000_000_000, 0..1_000_000_000_i32);
        let time = time.prop_map(|(s, n)| Timestamp::new(s, if s < 0 { -n } else { n }).unwrap());
        let body = prop_oneof![
            9 => prop::collection::vec(any::<u8>(), 0..300),
            1 => (60_000..140_000_usize).prop_map(|n| vec![7; n]),
        ];
        let key = prop::option::of("[a-c]{0,3}");
        ("\\PC{1,20}", key, time, body).prop_map(|(id, key, time, body)| NewMessage { id, key, time, body })
    }

    proptest! {
        #[test]
        fn what_is_packed_is_read_again(
            messages in prop::collection::vec(message(), 0..60),
            dropped in prop::collection::btree_set(0..60_usize, 0..30),
        ) {
            let batch = Batch::new(&messages).unwrap();
            let wanted: Vec<usize> = (0..messages.len()).filter(|i| !dropped.contains(i)).collect();
            let mut read = Vec::new();
            for block in batch.blocks(&wanted) {
                prop_assert!(block.payload.len() <= BLOCK_BYTES || block.count == 1);
                let mut all = Messages::new(&block.payload, checksum(&block.payload)).unwrap();
                for index in 0..block.count {
                    let message = all.next(true).unwrap().unwrap();
                    let stored = block.keys.as_ref().map_or(0, |keys| {
                        u64::from_le_bytes(keys[index * 8..][..8].try_into().unwrap())
                    });
                    prop_assert_eq!(stored, message.key.as_deref().map_or(0, key_hash));
                    read.push(message);
                }
                prop_assert!(all.next(true).is_err());
            }
            let kept: Vec<_> = wanted.iter().map(|i| messages[*i].clone()).collect();
            prop_assert_eq!(read, kept);
        }
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let message =
            NewMessage { id: "a".into(), key: None, time: Timestamp::UNIX_EPOCH, body: vec![1; 99] };
        let mut bytes = alone(&message);
        let sum = checksum(&bytes);
        bytes[40] ^= 1;
        assert!(matches!(Messages::new(&bytes, sum), Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn what_cannot_be_stored_is_named() {
        let time = Timestamp::UNIX_EPOCH;
        let of = |id: &str, key: Option<String>| NewMessage { id: id.into(), key, time, body: vec![] };
        let told = |messages: &[NewMessage]| Batch::new(messages).unwrap_err().to_string();
        assert!(told(&[of("a", None), of("", None)]).contains("message 1: it has no id"));
        assert!(told(&[of("a", Some("k".repeat(2000)))]).contains("its key has 2000 bytes"));
        assert!(told(&vec![of("a", None); MAX_BATCH + 1]).contains("100001 messages"));
        let cut = alone(&of(&"é".repeat(800), Some("k".repeat(2000))));
        let read = Messages::new(&cut, checksum(&cut)).unwrap().next(true).unwrap().unwrap();
        assert_eq!((read.id.len(), read.key.map(|key| key.len())), (1024, Some(1024)));
    }
}
