//! Currencies by their ISO 4217 code.

use serde_json::{Value as Json, json};

use crate::field::{Cx, Field, scalar_schema};
use crate::node::Node;
use crate::problem::{did_you_mean, shown};
use crate::schema::Schema;

/// Alphabetic codes of currencies in use (ISO 4217), without funds, metals and test codes.
const CODES: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD \
    CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD \
    HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD \
    MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG \
    QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD \
    TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG";

/// A currency, by its ISO 4217 code of three capital letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The currency with this code, when there is one.
    #[must_use]
    pub fn new(code: &str) -> Option<Self> {
        let known = Self::codes().any(|known| known == code);
        known.then(|| code.as_bytes().try_into().ok().map(Self)).flatten()
    }

    /// All known codes.
    pub fn codes() -> impl Iterator<Item = &'static str> {
        CODES.split_ascii_whitespace()
    }

    /// The code, such as `USD`.
    #[must_use]
    pub fn code(&self) -> &str {
        // Only ASCII codes from the list are ever constructed.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Display for Currency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.code())
    }
}

impl std::fmt::Debug for Currency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl Field for Currency {
    fn schema() -> Schema {
        let json = json!({"type": "string", "pattern": "^[A-Z]{3}$"});
        scalar_schema("currency", "an ISO 4217 code, such as USD", json)
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.scalar::<Self>(node)?;
        let currency = Self::new(text);
        if currency.is_none() {
            let help = format!("{}expected an ISO 4217 code, such as USD", did_you_mean(text, Self::codes()));
            cx.report(node.position, format!("unknown currency \"{}\"", shown(text)), help);
        }
        currency
    }
    fn write(&self) -> Json {
        json!(self.code())
    }
}
