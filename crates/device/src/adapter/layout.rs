//! What a device's SunSpec models mean for an asset: where its values are and how it is commanded.
//!
//! The only file that knows models. Offsets come from the `sunspec` crate. A model of the 700 family (IEEE 1547-2018)
//! wins over the older one with the same purpose.

use sunspec::models::model1::Model1;
use sunspec::models::model103::Model103;
use sunspec::models::model120::Model120;
use sunspec::models::model123::Model123;
use sunspec::models::model124::Model124;
use sunspec::models::model203::Model203;
use sunspec::models::model213::Model213;
use sunspec::models::model701::Model701;
use sunspec::models::model702::Model702;
use sunspec::models::model704::Model704;
use sunspec::models::model713::Model713;
use sunspec::models::model802::Model802;
use sunspec::{Group, Point, Value};

use super::command::Command;
use super::field::{Field, Image, Kind, Span, merge, scaled};
use crate::protocol::{AssetType, Engine, Nameplate};

/// A model that a device has, where its data begin and how many registers they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) id: u16,
    pub(super) data: u16,
    pub(super) length: u16,
}

impl Model {
    /// Address of a point; `None` when the device's model is too short to have it.
    pub(super) fn at<G: Group, T: Value>(&self, point: &Point<G, T>) -> Option<u16> {
        (point.offset + point.length <= self.length).then(|| self.data.checked_add(point.offset))?
    }

    fn number<G: Group, T: Value>(
        &self,
        image: &Image,
        point: &Point<G, T>,
        kind: Kind,
        exponent: i16,
    ) -> Option<f64> {
        Field::new(self.at(point), kind, Some(exponent))?.value(image)
    }

    pub(super) fn scale<G: Group, T: Value>(&self, image: &Image, point: &Point<G, T>) -> Option<i16> {
        self.number(image, point, Kind::I16, 0)
            .map(|exponent| exponent as i16)
            .filter(|n| (-10..=10).contains(n))
    }

    /// A value with its scale factor, both read once.
    fn scaled<G: Group, T: Value, F: Group, S: Value>(
        &self,
        image: &Image,
        point: &Point<G, T>,
        scale: &Point<F, S>,
    ) -> Option<f64> {
        self.number(image, point, Kind::U16, self.scale(image, scale)?)
    }
}

/// Where an asset's values are on its device.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) power: Option<Field>,
    pub(super) given: Option<Field>,
    pub(super) taken: Option<Field>,
    pub(super) soc: Option<Field>,
    /// Operating state of a generator.
    pub(super) engine: Option<Field>,
    pub(super) command: Option<Command>,
    /// The models whose headers are checked at each poll.
    pub(super) checked: Vec<Model>,
    /// What a poll reads.
    pub(super) spans: Vec<Span>,
    pub(super) nameplate: Nameplate,
}

/// Models whose whole contents are worth reading once, when a device is found.
pub(super) const fn is_known(id: u16) -> bool {
    matches!(id, 1 | 101..=103 | 120 | 123 | 124 | 201..=204 | 211..=214 | 701 | 702 | 704 | 713 | 802)
}

impl Layout {
    /// Maps the models of a device to an asset. `image` holds the known models' registers.
    pub(super) fn of(kind: AssetType, models: &[Model], image: &Image) -> Self {
        let found = |ids: &[u16]| models.iter().copied().find(|model| ids.contains(&model.id));
        let mut layout = match kind {
            AssetType::Battery | AssetType::Solar | AssetType::Generator => inverter(&found, image),
            AssetType::Load => meter(&found, image, true),
            AssetType::Connection => meter(&found, image, false),
        };
        layout.nameplate = nameplate(&found, image);
        match kind {
            AssetType::Battery => {
                layout.soc = state_of_charge(&found, image);
                layout.command = battery_command(&found, image);
            }
            AssetType::Solar => layout.command = limit_command(&found, image, layout.nameplate.max_power_kw),
            AssetType::Generator => {
                layout.engine = operating_state(&found);
                layout.command = battery_command(&found, image);
            }
            AssetType::Load | AssetType::Connection => {}
        }
        layout.nameplate.controllable = layout.command.is_some();
        layout.nameplate.models = models.iter().map(|model| model.id).collect();
        layout.plan(models);
        layout
    }

    /// Decides what a poll reads: every field, and the headers of their models as a sign that the map is still it.
    fn plan(&mut self, models: &[Model]) {
        let fields = [self.power, self.given, self.taken, self.soc, self.engine];
        let mut spans: Vec<Span> = fields.iter().flatten().map(Field::span).collect();
        spans.extend(self.command.as_ref().map(Command::span));
        let inside = |model: &Model, span: &Span| {
            (model.data..model.data.saturating_add(model.length)).contains(&span.address)
        };
        let used = models.iter().filter(|model| spans.iter().any(|span| inside(model, span)));
        self.checked = used.copied().collect();
        spans.extend(self.checked.iter().map(|model| Span { address: model.data - 2, words: 2 }));
        self.spans = merge(spans);
    }
}

type Find<'a> = &'a dyn Fn(&[u16]) -> Option<Model>;

fn empty() -> Layout {
    Layout {
        power: None,
        given: None,
        taken: None,
        soc: None,
        engine: None,
        command: None,
        checked: Vec::new(),
        spans: Vec::new(),
        nameplate: Nameplate::default(),
    }
}

const KILO: i16 = 3;
const PERCENT: i16 = 2;

fn kilo(address: Option<u16>, kind: Kind, exponent: Option<i16>) -> Option<Field> {
    Field::new(address, kind, exponent).map(|field| field.in_units_of_ten_to(KILO))
}

/// A DER's power is positive when it generates (models 701 and 103), as ours.
fn inverter(found: Find<'_>, image: &Image) -> Layout {
    if let Some(model) = found(&[701]) {
        let energy = model.scale(image, &Model701::TOT_WH_SF);
        return Layout {
            power: kilo(model.at(&Model701::W), Kind::I16, model.scale(image, &Model701::W_SF)),
            given: kilo(model.at(&Model701::TOT_WH_INJ), Kind::U64, energy),
            taken: kilo(model.at(&Model701::TOT_WH_ABS), Kind::U64, energy),
            ..empty()
        };
    }
    let Some(model) = found(&[103, 102, 101]) else { return empty() };
    Layout {
        power: kilo(model.at(&Model103::W), Kind::I16, model.scale(image, &Model103::W_SF)),
        given: kilo(model.at(&Model103::WH), Kind::Acc32, model.scale(image, &Model103::WH_SF)),
        ..empty()
    }
}

/// A meter's power is positive when it imports. Import of a load is taken from the site; import of a connection is
/// given to it.
fn meter(found: Find<'_>, image: &Image, is_load: bool) -> Layout {
    let integers = found(&[203, 204, 202, 201]).map(|model| {
        let energy = model.scale(image, &Model203::TOT_WH_SF);
        let power = kilo(model.at(&Model203::W), Kind::I16, model.scale(image, &Model203::W_SF));
        let imported = kilo(model.at(&Model203::TOT_WH_IMP), Kind::Acc32, energy);
        (power, imported, kilo(model.at(&Model203::TOT_WH_EXP), Kind::Acc32, energy))
    });
    let floats = || {
        found(&[213, 214, 212, 211]).map(|model| {
            let power = kilo(model.at(&Model213::W), Kind::F32, Some(0));
            let imported = kilo(model.at(&Model213::TOT_WH_IMP), Kind::F32, Some(0));
            (power, imported, kilo(model.at(&Model213::TOT_WH_EXP), Kind::F32, Some(0)))
        })
    };
    let Some((power, imported, exported)) = integers.or_else(floats) else { return empty() };
    if is_load {
        Layout { power: power.map(Field::negated), given: exported, taken: imported, ..empty() }
    } else {
        Layout { power, given: imported, taken: exported, ..empty() }
    }
}

fn state_of_charge(found: Find<'_>, image: &Image) -> Option<Field> {
    let share =
        |address, exponent| Some(Field::new(address, Kind::U16, exponent)?.in_units_of_ten_to(PERCENT));
    if let Some(model) = found(&[713]) {
        return share(model.at(&Model713::SOC), model.scale(image, &Model713::PCT_SF));
    }
    if let Some(model) = found(&[802]) {
        return share(model.at(&Model802::SOC), model.scale(image, &Model802::SOC_SF));
    }
    let model = found(&[124])?;
    share(model.at(&Model124::CHA_STATE), model.scale(image, &Model124::CHA_STATE_SF))
}

fn operating_state(found: Find<'_>) -> Option<Field> {
    Field::new(found(&[701])?.at(&Model701::INV_ST), Kind::U16, Some(0))
}

/// What an inverter state of model 701 means for an engine.
pub(super) fn engine(state: f64) -> Option<Engine> {
    match state as u16 {
        // Off, sleeping, standby.
        0 | 1 | 7 => Some(Engine::Off),
        2 => Some(Engine::Starting),
        // Running, throttled, shutting down.
        3..=5 => Some(Engine::Running),
        6 => Some(Engine::Fault),
        _ => None,
    }
}

fn battery_command(found: Find<'_>, image: &Image) -> Option<Command> {
    if let Some(model) = found(&[704])
        && let Some(exponent) = model.scale(image, &Model704::W_SET_SF)
    {
        model.at(&Model704::W_SET_RVRT_TMS)?;
        return Some(Command::Set704 { data: model.data, exponent });
    }
    let model = found(&[124])?;
    let plate = nameplate(found, image);
    let charge_w =
        model.scaled(image, &Model124::W_CHA_MAX, &Model124::W_CHA_MAX_SF).filter(|watts| *watts > 0.0)?;
    // Model 124 has no largest discharge power of its own: the nameplate's, else the same as for charging.
    let discharge_w = plate.max_discharge_kw.map_or(charge_w, |kw| kw * 1000.0);
    let exponent = model.scale(image, &Model124::IN_OUT_W_RTE_SF)?;
    model.at(&Model124::IN_OUT_W_RTE_RVRT_TMS)?;
    Some(Command::Window124 { data: model.data, exponent, charge_w, discharge_w })
}

fn limit_command(found: Find<'_>, image: &Image, rated_kw: Option<f64>) -> Option<Command> {
    let rated_w = rated_kw? * 1000.0;
    if let Some(model) = found(&[704])
        && let Some(exponent) = model.scale(image, &Model704::W_MAX_LIM_PCT_SF)
    {
        return Some(Command::Limit704 { data: model.data, exponent, rated_w });
    }
    let model = found(&[123])?;
    let exponent = model.scale(image, &Model123::W_MAX_LIM_PCT_SF)?;
    Some(Command::Limit123 { data: model.data, exponent, rated_w })
}

fn nameplate(found: Find<'_>, image: &Image) -> Nameplate {
    let mut plate = Nameplate::default();
    if let Some(model) = found(&[1]) {
        let text = |point: &Point<Model1, String>| {
            model.at(point).map(|address| image.text(address, point.length)).unwrap_or_default()
        };
        (plate.manufacturer, plate.product, plate.serial) =
            (text(&Model1::MN), text(&Model1::MD), text(&Model1::SN));
    }
    let kilo = |value: Option<f64>| value.map(|value| scaled(value, -KILO)).filter(|value| *value > 0.0);
    if let Some(model) = found(&[702]) {
        let watts = |set, rated| {
            let get = |point| model.scaled(image, point, &Model702::W_SF);
            kilo(get(set).or_else(|| get(rated)))
        };
        plate.max_power_kw = watts(&Model702::W_MAX, &Model702::W_MAX_RTG);
        plate.max_charge_kw = watts(&Model702::W_CHA_RTE_MAX, &Model702::W_CHA_RTE_MAX_RTG);
        plate.max_discharge_kw = watts(&Model702::W_DIS_CHA_RTE_MAX, &Model702::W_DIS_CHA_RTE_MAX_RTG);
    }
    if let Some(model) = found(&[120]) {
        let or = |known: Option<f64>, value: Option<f64>| known.or_else(|| kilo(value));
        plate.max_power_kw =
            or(plate.max_power_kw, model.scaled(image, &Model120::W_RTG, &Model120::W_RTG_SF));
        plate.max_charge_kw =
            or(plate.max_charge_kw, model.scaled(image, &Model120::MAX_CHA_RTE, &Model120::MAX_CHA_RTE_SF));
        plate.max_discharge_kw = or(
            plate.max_discharge_kw,
            model.scaled(image, &Model120::MAX_DIS_CHA_RTE, &Model120::MAX_DIS_CHA_RTE_SF),
        );
        plate.capacity_kwh = kilo(model.scaled(image, &Model120::WH_RTG, &Model120::WH_RTG_SF));
    }
    if let Some(model) = found(&[802]) {
        let watts = |point| kilo(model.scaled(image, point, &Model802::W_CHA_DIS_CHA_MAX_SF));
        plate.max_charge_kw = plate.max_charge_kw.or_else(|| watts(&Model802::W_CHA_RTE_MAX));
        plate.max_discharge_kw = plate.max_discharge_kw.or_else(|| watts(&Model802::W_DIS_CHA_RTE_MAX));
        plate.capacity_kwh =
            kilo(model.scaled(image, &Model802::WH_RTG, &Model802::WH_RTG_SF)).or(plate.capacity_kwh);
    }
    if let Some(model) = found(&[713]) {
        plate.capacity_kwh =
            kilo(model.scaled(image, &Model713::WH_RTG, &Model713::WH_SF)).or(plate.capacity_kwh);
    }
    plate
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDS: [u16; 19] =
        [1, 101, 103, 120, 123, 124, 201, 203, 204, 211, 213, 701, 702, 704, 713, 802, 9999, 0, 64_000];
    const KINDS: [AssetType; 4] =
        [AssetType::Battery, AssetType::Solar, AssetType::Load, AssetType::Connection];

    proptest! {
        #[test]
        fn any_map_of_any_registers_gives_finite_numbers_or_none(
            found in prop::collection::vec((0..IDS.len(), 0_u16..160), 0..8),
            words in prop::collection::vec(any::<u16>(), 1400), zeros in any::<bool>(), kind in 0..KINDS.len(),
        ) {
            let (mut models, mut image, mut at) = (Vec::new(), Image::default(), 40_002);
            for (id, length) in found {
                let model = Model { id: IDS[id], data: at + 2, length };
                let contents = words[usize::from(at - 40_002)..].iter().take(length.into());
                // With scale factors of zero more of the fields exist.
                image.put(model.data, contents.map(|word| if zeros && word % 3 > 0 { 0 } else { *word }).collect());
                models.push(model);
                at += 2 + length;
            }
            let layout = Layout::of(KINDS[kind], &models, &image);
            for field in [layout.power, layout.given, layout.taken, layout.soc].into_iter().flatten() {
                prop_assert!(field.value(&image).is_none_or(f64::is_finite));
            }
            if let Some(command) = &layout.command {
                prop_assert!(command.followed(&image).is_none_or(f64::is_finite));
                let _ = command.writes(Some(1000.0), 60, &image);
            }
            let plate = &layout.nameplate;
            for value in [plate.capacity_kwh, plate.max_charge_kw, plate.max_discharge_kw, plate.max_power_kw] {
                prop_assert!(value.is_none_or(|value| value.is_finite() && value > 0.0));
            }
            prop_assert!(layout.spans.iter().all(|span| span.words <= crate::adapter::field::MAX_READ));
        }
    }
}
