//! Version 2: a channel is its address, and says what may be published to it and subscribed to.

use super::message::describe;
use super::{Action, ChannelDescription, ServerDescription, bad, server, summary};
use crate::document::{Set, Spot};
use crate::error::CallError;

pub(super) fn read(set: &Set) -> Result<Vec<ChannelDescription>, CallError> {
    let root = set.root();
    let servers = servers(set, root)?;
    let default_type = root.text("defaultContentType").unwrap_or_default();
    let Some(channels) = set.get(root, "channels")? else { return Ok(vec![]) };
    if !channels.value.is_object() {
        return Err(bad("/channels", "expected channels by their address"));
    }
    channels.entries().map(|(address, spot)| channel(set, address, spot, &servers, default_type)).collect()
}

fn servers(set: &Set, root: Spot<'_>) -> Result<Vec<ServerDescription>, CallError> {
    let Some(servers) = set.get(root, "servers")? else { return Ok(vec![]) };
    let described = servers.entries().map(|(name, spot)| {
        let spot = set.follow(spot)?;
        let url = spot.text("url").unwrap_or_default();
        let host = url.split_once("://").map_or(url, |(_, rest)| rest);
        server(set, name, spot, host.trim_end_matches('/'))
    });
    described.collect()
}

fn channel(
    set: &Set,
    address: &str,
    spot: Spot<'_>,
    servers: &[ServerDescription],
    default_type: &str,
) -> Result<ChannelDescription, CallError> {
    let spot = set.follow(spot)?;
    let mut described = ChannelDescription {
        name: address.to_owned(),
        address: address.to_owned(),
        summary: summary(spot),
        servers: servers.to_vec(),
        messages: vec![],
        actions: vec![],
    };
    let named: Vec<&str> = set
        .get(spot, "servers")?
        .map_or_else(Vec::new, |list| list.items().filter_map(|item| item.value.as_str()).collect());
    if let Some(unknown) = named.iter().find(|name| !servers.iter().any(|server| server.name == **name)) {
        let place = format!("/channels/{}/servers", address.replace('~', "~0").replace('/', "~1"));
        return Err(bad(place, format!("there is no server `{}`", super::super::error::shown(unknown))));
    }
    if !named.is_empty() {
        described.servers.retain(|server| named.contains(&server.name.as_str()));
    }
    // What others may subscribe to is sent by the application that is described.
    for (word, action) in [("subscribe", Action::Send), ("publish", Action::Receive)] {
        let Some(operation) = set.get(spot, word)? else { continue };
        described.actions.push(action);
        let Some(message) = set.get(operation, "message")? else { continue };
        let all: Vec<Spot<'_>> = match set.get(message, "oneOf")? {
            Some(list) => list.items().collect(),
            None => vec![message],
        };
        for each in all {
            let name = format!("message{}", described.messages.len() + 1);
            let message = describe(set, set.follow(each)?, &name, default_type)?;
            if !described.messages.contains(&message) {
                described.messages.push(message);
            }
        }
    }
    Ok(described)
}
