//! How a set-point becomes registers, and registers the set-point that a device follows.

use sunspec::models::model123::Model123;
use sunspec::models::model124::Model124;
use sunspec::models::model704::Model704;
use sunspec::{Group, Point, Value};

use super::field::{Field, Image, Kind, Span, scaled};

/// One way to command a device. Powers in W, positive into the site.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    /// Model 704: a set-point in watts that ends with its reversion time.
    Set704 { data: u16, exponent: i16 },
    /// Model 704: an upper limit as a share of the rated power.
    Limit704 { data: u16, exponent: i16, rated_w: f64 },
    /// Model 124: charge and discharge rates whose window is one point.
    Window124 { data: u16, exponent: i16, charge_w: f64, discharge_w: f64 },
    /// Model 123: an upper limit as a share of the rated power.
    Limit123 { data: u16, exponent: i16, rated_w: f64 },
}

/// Registers to write together; in this order, switching on comes last.
pub(super) type Writes = Vec<(u16, Vec<u16>)>;

const BOTH_LIMITS: u16 = 3;
/// A share is rounded towards less; this keeps 29.999999… from being 29.
const ROUNDING: f64 = 1e-6;

impl Command {
    const fn data(&self) -> u16 {
        match self {
            Self::Set704 { data, .. }
            | Self::Limit704 { data, .. }
            | Self::Window124 { data, .. }
            | Self::Limit123 { data, .. } => *data,
        }
    }

    fn at<G: Group, T: Value>(&self, point: &Point<G, T>) -> u16 {
        self.data().saturating_add(point.offset)
    }

    /// The registers that tell what the device follows.
    pub(super) fn span(&self) -> Span {
        let (first, last) = match self {
            Self::Set704 { .. } => (Model704::W_SET_ENA.offset, Model704::W_SET_RVRT_TMS.offset + 2),
            Self::Limit704 { .. } => {
                (Model704::W_MAX_LIM_PCT_ENA.offset, Model704::W_MAX_LIM_PCT_RVRT_TMS.offset + 2)
            }
            Self::Window124 { .. } => {
                (Model124::STOR_CTL_MOD.offset, Model124::IN_OUT_W_RTE_RVRT_TMS.offset + 1)
            }
            Self::Limit123 { .. } => (Model123::W_MAX_LIM_PCT.offset, Model123::W_MAX_LIM_ENA.offset + 1),
        };
        Span { address: self.data().saturating_add(first), words: last - first }
    }

    /// How far the device's number may be from the one asked for, in W.
    pub(super) fn resolution(&self) -> f64 {
        match self {
            Self::Set704 { exponent, .. } => scaled(0.5, *exponent),
            Self::Limit704 { exponent, rated_w, .. } | Self::Limit123 { exponent, rated_w, .. } => {
                scaled(*rated_w, *exponent) / 100.0
            }
            Self::Window124 { exponent, charge_w, discharge_w, .. } => {
                scaled(charge_w.max(*discharge_w), *exponent) / 100.0
            }
        }
    }

    /// What to write to hold `watts` for `lease` seconds, or to release the device; `None` when the number does not
    /// fit the device's registers. `image` holds [`Self::span`].
    pub(super) fn writes(&self, watts: Option<f64>, lease: u32, image: &Image) -> Option<Writes> {
        let Some(watts) = watts.map(|watts| watts + 0.0) else { return Some(vec![self.release()]) };
        match self {
            Self::Set704 { exponent, .. } => {
                let span = self.span();
                let mut words = image.words(span.address, span.words)?.to_vec();
                let raw = whole(scaled(watts, -exponent).round(), i32::MIN + 1, i32::MAX)? as u32;
                // Enabled, in watts, this much, reverting to a disabled 0 W; the shares keep what they were.
                words[..6].copy_from_slice(&[1, 1, high(raw), raw as u16, 0, 0]);
                words[8..11].copy_from_slice(&[0, high(lease), lease as u16]);
                Some(vec![(span.address, words)])
            }
            Self::Limit704 { exponent, rated_w, .. } => {
                let share = share(watts, *rated_w, *exponent)?;
                let full = whole(scaled(100.0, -exponent), 0, 0xfffe)? as u16;
                let words = vec![1, share as u16, full, 0, high(lease), lease as u16];
                Some(vec![(self.span().address, words)])
            }
            Self::Window124 { exponent, charge_w, discharge_w, .. } => {
                // Discharging at least and at most this much: the charge rate's lower end is its negative.
                let (out, into) =
                    (share(watts, *discharge_w, *exponent)?, share(-watts, *charge_w, *exponent)?);
                let words = vec![out as u16, into as u16, 0, u16::try_from(lease).unwrap_or(u16::MAX)];
                let mode = (self.at(&Model124::STOR_CTL_MOD), vec![BOTH_LIMITS]);
                Some(vec![(self.at(&Model124::OUT_W_RTE), words), mode])
            }
            Self::Limit123 { exponent, rated_w, .. } => {
                let share = share(watts, *rated_w, *exponent)?;
                let ramp = image.word(self.at(&Model123::W_MAX_LIM_PCT_RMP_TMS))?;
                let words = vec![share as u16, 0, u16::try_from(lease).unwrap_or(u16::MAX), ramp, 1];
                Some(vec![(self.span().address, words)])
            }
        }
    }

    fn release(&self) -> (u16, Vec<u16>) {
        let switch = match self {
            Self::Set704 { .. } => self.at(&Model704::W_SET_ENA),
            Self::Limit704 { .. } => self.at(&Model704::W_MAX_LIM_PCT_ENA),
            Self::Window124 { .. } => self.at(&Model124::STOR_CTL_MOD),
            Self::Limit123 { .. } => self.at(&Model123::W_MAX_LIM_ENA),
        };
        (switch, vec![0])
    }

    /// The set-point or limit that the device follows, in W; `None` when it follows none.
    pub(super) fn followed(&self, image: &Image) -> Option<f64> {
        let value = |address, kind, exponent| Field::new(Some(address), kind, Some(exponent))?.value(image);
        match self {
            Self::Set704 { exponent, .. } => {
                let enabled = image.word(self.at(&Model704::W_SET_ENA))? == 1;
                let in_watts = image.word(self.at(&Model704::W_SET_MOD))? == 1;
                let watts = value(self.at(&Model704::W_SET), Kind::I32, *exponent);
                watts.filter(|_| enabled && in_watts)
            }
            Self::Limit704 { exponent, rated_w, .. } => {
                let enabled = image.word(self.at(&Model704::W_MAX_LIM_PCT_ENA))? == 1;
                let share = value(self.at(&Model704::W_MAX_LIM_PCT), Kind::U16, *exponent);
                share.filter(|_| enabled).map(|share| share * rated_w / 100.0)
            }
            Self::Window124 { exponent, charge_w, discharge_w, .. } => {
                let both = image.word(self.at(&Model124::STOR_CTL_MOD))? & BOTH_LIMITS == BOTH_LIMITS;
                let out = value(self.at(&Model124::OUT_W_RTE), Kind::I16, *exponent)? * discharge_w / 100.0;
                let into = value(self.at(&Model124::IN_W_RTE), Kind::I16, *exponent)? * charge_w / 100.0;
                both.then_some(if into > 0.0 { -into } else { out })
            }
            Self::Limit123 { exponent, rated_w, .. } => {
                let enabled = image.word(self.at(&Model123::W_MAX_LIM_ENA))? == 1;
                let share = value(self.at(&Model123::W_MAX_LIM_PCT), Kind::U16, *exponent);
                share.filter(|_| enabled).map(|share| share * rated_w / 100.0)
            }
        }
        .map(|watts| watts + 0.0)
        .filter(|watts| watts.is_finite())
    }
}

const fn high(word: u32) -> u16 {
    (word >> 16) as u16
}

/// A power as a share in units of 10^exponent percent, rounded towards zero; `None` beyond 100 %.
fn share(watts: f64, rated_w: f64, exponent: i16) -> Option<i16> {
    let percent = watts / rated_w * 100.0;
    // Also false for what is not a number.
    let possible = percent.abs() <= 100.0 + ROUNDING;
    if !possible {
        return None;
    }
    let raw = scaled(percent, -exponent);
    whole((raw + ROUNDING.copysign(raw)).trunc(), -32_767, 32_767).map(|raw| raw as i16)
}

fn whole(value: f64, low: i32, high: i32) -> Option<i32> {
    (value >= f64::from(low) && value <= f64::from(high)).then_some(value as i32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn apply(command: &Command, watts: Option<f64>, lease: u32, mut memory: Vec<u16>) -> Option<Image> {
        let image = |memory: &[u16]| {
            let mut image = Image::default();
            image.put(100, memory.to_vec());
            image
        };
        for (address, words) in command.writes(watts, lease, &image(&memory))? {
            let first = usize::from(address) - 100;
            memory[first..first + words.len()].copy_from_slice(&words);
        }
        Some(image(&memory))
    }

    fn commands() -> [Command; 4] {
        [
            Command::Set704 { data: 100, exponent: 0 },
            Command::Limit704 { data: 100, exponent: -2, rated_w: 5000.0 },
            Command::Window124 { data: 100, exponent: -2, charge_w: 5000.0, discharge_w: 4000.0 },
            Command::Limit123 { data: 100, exponent: -1, rated_w: 5000.0 },
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_followed(watts in 0_i32..=4000, charge in any::<bool>(), lease in 1_u32..90_000) {
            for command in commands() {
                let two_way = matches!(command, Command::Set704 { .. } | Command::Window124 { .. });
                let watts = f64::from(if charge && two_way { -watts } else { watts });
                let image = apply(&command, Some(watts), lease, vec![0; 70]).unwrap();
                let followed = command.followed(&image).unwrap();
                prop_assert!((followed - watts).abs() <= command.resolution(), "{:?}: {} for {}", command, followed, watts);
                prop_assert!(followed.abs() <= watts.abs() + ROUNDING);
                let released = apply(&command, None, lease, image.words(100, 70).unwrap().to_vec()).unwrap();
                prop_assert_eq!(command.followed(&released), None);
            }
        }

        #[test]
        fn any_registers_are_survived(memory in prop::collection::vec(any::<u16>(), 0..70), watts in any::<f64>(), exponent in -10_i16..=10) {
            let mut image = Image::default();
            image.put(100, memory);
            for mut command in commands() {
                match &mut command {
                    Command::Set704 { exponent: e, .. } | Command::Limit704 { exponent: e, .. }
                    | Command::Window124 { exponent: e, .. } | Command::Limit123 { exponent: e, .. } => *e = exponent,
                }
                prop_assert!(command.followed(&image).is_none_or(f64::is_finite));
                let _ = command.writes(Some(watts), 60, &image);
            }
        }
    }

    #[test]
    fn more_than_rated_is_not_written() {
        for command in commands() {
            let two_gigawatts = command.writes(Some(3e12), 60, &Image::default());
            assert_eq!(two_gigawatts, None, "{command:?}");
        }
    }
}
