//! Version 3: channels have names, and operations refer to them.

use std::ptr;

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
        return Err(bad("/channels", "expected channels by their name"));
    }
    let actions = actions(set, root)?;
    let described = channels.entries().map(|(name, spot)| {
        let spot = set.follow(spot)?;
        let mut channel = channel(set, name, spot, &servers, default_type)?;
        for (of, action) in &actions {
            if ptr::eq(of.value, spot.value) && !channel.actions.contains(action) {
                channel.actions.push(*action);
            }
        }
        Ok(channel)
    });
    described.collect()
}

/// Servers with where they stand, by which channels refer to them.
fn servers<'s>(set: &'s Set, root: Spot<'s>) -> Result<Vec<(Spot<'s>, ServerDescription)>, CallError> {
    let Some(servers) = set.get(root, "servers")? else { return Ok(vec![]) };
    let described = servers.entries().map(|(name, spot)| {
        let spot = set.follow(spot)?;
        let host = spot.text("host").unwrap_or_default();
        Ok((spot, server(set, name, spot, host)?))
    });
    described.collect()
}

/// What operations do with which channel.
fn actions<'s>(set: &'s Set, root: Spot<'s>) -> Result<Vec<(Spot<'s>, Action)>, CallError> {
    let Some(operations) = set.get(root, "operations")? else { return Ok(vec![]) };
    let mut actions = vec![];
    for (name, spot) in operations.entries() {
        let spot = set.follow(spot)?;
        let action = match spot.text("action") {
            Some("send") => Action::Send,
            Some("receive") => Action::Receive,
            other => {
                let found = super::super::error::shown(other.unwrap_or_default());
                let message = format!("expected send or receive, found \"{found}\"");
                return Err(bad(format!("/operations/{name}/action"), message));
            }
        };
        if let Some(channel) = set.get(spot, "channel")? {
            actions.push((channel, action));
        }
    }
    Ok(actions)
}

fn channel(
    set: &Set,
    name: &str,
    spot: Spot<'_>,
    servers: &[(Spot<'_>, ServerDescription)],
    default_type: &str,
) -> Result<ChannelDescription, CallError> {
    let mut described = ChannelDescription {
        name: name.to_owned(),
        address: spot.text("address").unwrap_or_default().to_owned(),
        summary: summary(spot),
        servers: vec![],
        messages: vec![],
        actions: vec![],
    };
    match set.get(spot, "servers")? {
        Some(list) => {
            for item in list.items() {
                let target = set.follow(item)?;
                let found = servers.iter().find(|(known, _)| ptr::eq(known.value, target.value));
                described.servers.extend(found.map(|(_, server)| server.clone()));
            }
        }
        None => described.servers.extend(servers.iter().map(|(_, server)| server.clone())),
    }
    if let Some(messages) = set.get(spot, "messages")? {
        for (name, message) in messages.entries() {
            described.messages.push(describe(set, set.follow(message)?, name, default_type)?);
        }
    }
    Ok(described)
}
