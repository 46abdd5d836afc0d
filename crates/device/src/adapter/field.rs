//! From registers to numbers, and nothing but numbers: what is not implemented, out of range or not finite is absent.

/// Decimal exponents that SunSpec allows in a scale factor.
const EXPONENTS: std::ops::RangeInclusive<i16> = -10..=10;

/// The type of a point, which also names its "not implemented" marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    U16,
    I16,
    I32,
    U64,
    /// A 32-bit accumulator; 0 means that it does not accumulate, or has not yet: either way 0 so far.
    Acc32,
    F32,
}

impl Kind {
    const fn words(self) -> u16 {
        match self {
            Self::U16 | Self::I16 => 1,
            Self::I32 | Self::Acc32 | Self::F32 => 2,
            Self::U64 => 4,
        }
    }

    fn decode(self, words: &[u16]) -> Option<f64> {
        let raw = words.iter().fold(0_u64, |sum, word| sum << 16 | u64::from(*word));
        match self {
            Self::U16 => (raw != 0xffff).then_some(raw as f64),
            Self::I16 => (raw != 0x8000).then(|| f64::from(raw as u16 as i16)),
            Self::I32 => (raw != 0x8000_0000).then(|| f64::from(raw as u32 as i32)),
            // A counter that stands at 0 must be told: the next value of a device that was away is compared with it.
            Self::Acc32 => Some(raw as f64),
            Self::U64 => (raw != u64::MAX).then_some(raw as f64),
            Self::F32 => Some(f64::from(f32::from_bits(raw as u32))).filter(|value| value.is_finite()),
        }
    }
}

/// Where a value is on a device and how its words become a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) address: u16,
    pub(super) kind: Kind,
    /// Power of ten that the raw number is multiplied by.
    exponent: i16,
    /// Multiplies the result: −1 turns consumption into our sign.
    sign: f64,
}

impl Field {
    /// A field whose scale is known; `None` when the device's scale factor is none.
    pub(super) fn new(address: Option<u16>, kind: Kind, scale_factor: Option<i16>) -> Option<Self> {
        let exponent = scale_factor.filter(|exponent| EXPONENTS.contains(exponent))?;
        Some(Self { address: address?, kind, exponent, sign: 1.0 })
    }

    /// In a unit that is 10ⁿ times larger.
    pub(super) const fn in_units_of_ten_to(mut self, n: i16) -> Self {
        self.exponent -= n;
        self
    }

    pub(super) const fn negated(mut self) -> Self {
        self.sign = -self.sign;
        self
    }

    pub(super) const fn span(&self) -> Span {
        Span { address: self.address, words: self.kind.words() }
    }

    /// What a counter counts before it begins again at zero; none for one that is wide enough never to.
    pub(super) fn range(&self) -> Option<f64> {
        (self.kind == Kind::Acc32).then(|| scaled(f64::from(u32::MAX) + 1.0, self.exponent))
    }

    pub(super) fn value(&self, image: &Image) -> Option<f64> {
        let words = image.words(self.address, self.kind.words())?;
        let value = scaled(self.kind.decode(words)?, self.exponent) * self.sign;
        // Adding zero turns −0 into 0.
        Some(value + 0.0).filter(|value| value.is_finite())
    }
}

/// `number × 10^exponent`; divided where that is exact to the last digit.
pub(super) fn scaled(number: f64, exponent: i16) -> f64 {
    let power = 10_f64.powi(i32::from(exponent.abs()));
    if exponent < 0 { number / power } else { number * power }
}

/// Registers that are read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) address: u16,
    pub(super) words: u16,
}

impl Span {
    const fn end(self) -> u32 {
        self.address as u32 + self.words as u32
    }
}

/// The most registers in one request (Modbus application protocol, 6.3).
pub(super) const MAX_READ: u16 = 125;

/// Joins spans into as few reads as possible.
pub(super) fn merge(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.end() - u32::from(last.address) <= u32::from(MAX_READ) => {
                last.words = (span.end().max(last.end()) - u32::from(last.address)) as u16;
            }
            _ => merged.push(span),
        }
    }
    merged
}

/// What was read from a device: blocks of registers with their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    blocks: Vec<(u16, Vec<u16>)>,
}

impl Image {
    /// Adds a block, replacing one at the same address.
    pub(super) fn put(&mut self, address: u16, words: Vec<u16>) {
        match self.blocks.iter_mut().find(|(at, _)| *at == address) {
            Some(block) => block.1 = words,
            None => self.blocks.push((address, words)),
        }
    }

    pub(super) fn words(&self, address: u16, count: u16) -> Option<&[u16]> {
        self.blocks.iter().rev().find_map(|(at, words)| {
            let first = usize::from(address.checked_sub(*at)?);
            words.get(first..first + usize::from(count))
        })
    }

    pub(super) fn word(&self, address: u16) -> Option<u16> {
        self.words(address, 1).map(|words| words[0])
    }

    /// Text of a string point, without padding.
    pub(super) fn text(&self, address: u16, count: u16) -> String {
        let words = self.words(address, count).unwrap_or_default();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let text = String::from_utf8_lossy(&bytes);
        text.chars()
            .take_while(|c| *c != '\0')
            .filter(|c| !c.is_control())
            .collect::<String>()
            .trim()
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [Kind; 6] = [Kind::U16, Kind::I16, Kind::I32, Kind::U64, Kind::Acc32, Kind::F32];

    fn read(kind: Kind, words: &[u16], exponent: i16) -> Option<f64> {
        let mut image = Image::default();
        image.put(7, words.to_vec());
        Field::new(Some(7), kind, Some(exponent))?.value(&image)
    }

    #[test]
    fn markers_of_missing_values_are_no_numbers() {
        assert_eq!(read(Kind::I16, &[0x8000], 0), None);
        assert_eq!(read(Kind::U16, &[0xffff], 0), None);
        assert_eq!(read(Kind::I32, &[0x8000, 0], 0), None);
        assert_eq!(read(Kind::U64, &[0xffff; 4], 0), None);
        assert_eq!(read(Kind::F32, &[0x7fc0, 0], 0), None);
        assert_eq!(read(Kind::I16, &[1], i16::MIN), None, "a scale factor that is not implemented");
        assert_eq!(read(Kind::I32, &[1], 0), None, "too few words");
    }

    #[test]
    fn a_short_counter_tells_where_it_begins_again() {
        let field = |kind, exponent| Field::new(Some(7), kind, Some(exponent)).unwrap().in_units_of_ten_to(3);
        // In Wh and in mWh.
        assert_eq!(field(Kind::Acc32, 0).range(), Some(4_294_967.296));
        assert_eq!(field(Kind::Acc32, -3).range(), Some(4_294.967_296));
        assert_eq!(field(Kind::U64, 0).range(), None);
    }

    #[test]
    fn scale_factors_are_powers_of_ten() {
        assert_eq!(read(Kind::I16, &[0xfb2e], -3), Some(-1.234));
        assert_eq!(read(Kind::U64, &[0, 0, 1, 0], -1), Some(6553.6));
        assert_eq!(read(Kind::I16, &[15], 2), Some(1500.0));
    }

    #[test]
    fn near_registers_are_read_together() {
        let span = |address, words| Span { address, words };
        assert_eq!(merge(vec![span(200, 4), span(100, 2), span(104, 1)]), [span(100, 104)]);
        assert_eq!(merge(vec![span(300, 1), span(100, 2)]), [span(100, 2), span(300, 1)]);
        assert_eq!(merge(vec![span(u16::MAX, 1), span(u16::MAX - 1, 2)]), [span(u16::MAX - 1, 2)]);
    }

    proptest! {
        #[test]
        fn any_registers_give_a_finite_number_or_none(
            words in prop::collection::vec(any::<u16>(), 0..6), exponent in any::<i16>(), kind in 0..KINDS.len(),
        ) {
            prop_assert!(read(KINDS[kind], &words, exponent).is_none_or(f64::is_finite));
        }
    }
}
