//! What would be deployed, for those who want to look at it before: nothing is asked and nothing is kept.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kubernetes::objects_of;
use crate::{
    Deployment, DescribeError, DriverError, Metadata, ReplicaConfig, ServiceConfig, assign_ports,
    describe_deployment, load_configuration,
};

/// The description of a service's first replica on this machine. Ports that are not declared are ones that are free now;
/// the version of the program and its log are found out when it is deployed.
///
/// # Errors
/// What is declared wrongly, or a declared port that is taken.
pub fn preview(service: &ServiceConfig) -> Result<Deployment, DriverError> {
    let config = load_configuration(service, 0, 1, None)?;
    let ports = assign_ports(&config.replica, &service.ports, &BTreeMap::new(), &BTreeMap::new())?;
    Ok(described(&config, ports)?)
}

/// The objects of a cluster for a service: its Deployment, the Service, what protects them. Values of secrets are put into a
/// Secret when it is deployed.
///
/// # Errors
/// What is declared wrongly, or cannot be there in a cluster.
pub fn preview_objects(
    service: &ServiceConfig,
    namespace: &str,
    replicas: u32,
) -> Result<Vec<Value>, DriverError> {
    let config = load_configuration(service, 0, 1, None)?;
    objects_of(&config, namespace, replicas, |ports| described(&config, ports))
}

fn described(config: &ReplicaConfig, ports: BTreeMap<String, u16>) -> Result<Deployment, DescribeError> {
    let service = &config.service;
    let metadata = Metadata {
        ports,
        program: service.program.clone().into(),
        version: service.container.as_ref().map(|one| one.image.shown()).unwrap_or_default(),
        log: std::path::PathBuf::new(),
        labels: service.labels.clone(),
    };
    describe_deployment(config, &metadata)
}
