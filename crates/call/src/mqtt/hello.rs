//! How a connection begins and ends.

use mqtt_protocol_core::mqtt::Version;
use mqtt_protocol_core::mqtt::packet::{
    MaximumPacketSize, Packet, Property, ReceiveMaximum, SessionExpiryInterval, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode as Code, ConnectReturnCode};

use super::Made;
use crate::secret::Login;

/// Who connects, and for how long it is remembered.
#[derive(Clone, Copy)]
pub(crate) struct Hello<'a> {
    pub(crate) client_id: &'a str,
    /// Whether what the broker knows of this client is forgotten first.
    pub(crate) clean: bool,
    /// Seconds for which the broker keeps subscriptions and messages after the connection; MQTT 5 only, 3.1.1 keeps
    /// them for as long as the broker likes.
    pub(crate) session_expiry: u32,
    /// Seconds after which a silent connection is checked; 0 never.
    pub(crate) keep_alive: u16,
    pub(crate) login: Option<&'a Login>,
}

/// What a broker said when it took the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Welcome {
    /// Whether it still knew the client's session.
    pub(crate) session_present: bool,
    /// Messages that may be sent before one is acknowledged.
    pub(crate) receive_maximum: u16,
    /// Bytes that a packet may have; `None` without a limit.
    pub(crate) maximum_packet: Option<u32>,
}

/// Why a broker did not take the connection.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Whether it does not speak this version.
    pub(crate) version: bool,
    /// Whether it may take it later.
    pub(crate) temporary: bool,
    /// Whether the login is what it does not like.
    pub(crate) login: bool,
    pub(crate) message: String,
}

/// The first packet; with the messages that may be out at once and the bytes of a packet, where they are told.
pub(super) fn hello(version: Version, who: &Hello<'_>, limits: Option<(u16, u32)>) -> Made {
    if version == Version::V3_1_1 {
        let mut packet = v3_1_1::Connect::builder().client_id(who.client_id)?.clean_session(who.clean);
        if let Some(login) = who.login {
            packet = packet.user_name(login.user.as_str())?.password(login.password.expose())?;
        }
        return packet.keep_alive(who.keep_alive).build().map(Packet::from);
    }
    let mut packet = v5_0::Connect::builder().client_id(who.client_id)?.clean_start(who.clean);
    if let Some(login) = who.login {
        packet = packet.user_name(login.user.as_str())?.password(login.password.expose())?;
    }
    let mut properties: Vec<Property> = vec![];
    if who.session_expiry > 0 {
        properties.push(SessionExpiryInterval::new(who.session_expiry)?.into());
    }
    if let Some((count, bytes)) = limits {
        properties.push(ReceiveMaximum::new(count)?.into());
        properties.push(MaximumPacketSize::new(bytes)?.into());
    }
    packet.props(properties).keep_alive(who.keep_alive).build().map(Packet::from)
}

/// What a broker's first packet means.
pub(crate) fn connected(answer: &Packet) -> Result<Welcome, Refused> {
    let refused = |version, temporary, login, message| Err(Refused { version, temporary, login, message });
    match answer {
        Packet::V5_0Connack(connack) => match connack.reason_code() {
            Code::Success => Ok(welcome(connack)),
            Code::UnsupportedProtocolVersion => {
                refused(true, false, false, "does not speak MQTT 5".to_owned())
            }
            code => {
                let temporary = matches!(
                    code,
                    Code::UnspecifiedError
                        | Code::ImplementationSpecificError
                        | Code::ServerUnavailable
                        | Code::ServerBusy
                        | Code::QuotaExceeded
                        | Code::ConnectionRateExceeded
                );
                let login = matches!(
                    code,
                    Code::BadUserNameOrPassword | Code::NotAuthorized | Code::BadAuthenticationMethod
                );
                refused(false, temporary, login, format!("refused the connection: {code}"))
            }
        },
        Packet::V3_1_1Connack(connack) => match connack.return_code() {
            ConnectReturnCode::Accepted => Ok(Welcome {
                session_present: connack.session_present(),
                receive_maximum: u16::MAX,
                maximum_packet: None,
            }),
            code => {
                let temporary = code == ConnectReturnCode::ServerUnavailable;
                let login = matches!(
                    code,
                    ConnectReturnCode::BadUserNameOrPassword | ConnectReturnCode::NotAuthorized
                );
                refused(false, temporary, login, format!("refused the connection: {code}"))
            }
        },
        other => {
            let message = format!("answered with {} instead of CONNACK", other.packet_type());
            refused(false, true, false, message)
        }
    }
}

fn welcome(connack: &v5_0::Connack) -> Welcome {
    let mut welcome = Welcome {
        session_present: connack.session_present(),
        receive_maximum: u16::MAX,
        maximum_packet: None,
    };
    for property in connack.props() {
        match property {
            Property::ReceiveMaximum(count) => welcome.receive_maximum = count.val(),
            Property::MaximumPacketSize(bytes) => welcome.maximum_packet = Some(bytes.val()),
            _ => {}
        }
    }
    welcome
}

pub(crate) fn farewell(version: Version) -> Made {
    match version {
        Version::V3_1_1 => v3_1_1::Disconnect::builder().build().map(Packet::from),
        _ => v5_0::Disconnect::builder().build().map(Packet::from),
    }
}
