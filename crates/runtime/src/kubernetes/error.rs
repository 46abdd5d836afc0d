//! What can go wrong with a cluster, and what to do about it.

use std::path::PathBuf;

use jiff::Timestamp;
use thiserror::Error;

use super::ReplicaOwner;

/// Why something could not be done with a cluster. No message holds a secret or the content of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KubernetesError {
    /// The kubeconfig cannot be used.
    #[error("{}: {why}", if file.is_empty() { "kubeconfig".into() } else { format!("kubeconfig {file}") })]
    Kubeconfig {
        /// The file, or the files; empty where none is named.
        file: String,
        /// What is wrong, where.
        why: String,
        /// What to do.
        advice: String,
    },
    /// Nothing answers.
    #[error("the cluster at {server} cannot be reached: {why}")]
    Unreachable {
        /// Address of the API server.
        server: String,
        /// Why.
        why: String,
    },
    /// The server's certificate was not signed by the authority of the kubeconfig.
    #[error("the server at {server} is not the cluster of this kubeconfig: {why}")]
    OtherCluster {
        /// Address of the API server.
        server: String,
        /// What the check of the certificate said.
        why: String,
    },
    /// Something else than a Kubernetes API server answered.
    #[error("the server at {server} does not answer as Kubernetes does: {why}")]
    NotKubernetes {
        /// Address of the API server.
        server: String,
        /// What it answered.
        why: String,
    },
    /// The credentials are not accepted.
    #[error("the cluster at {server} does not accept the credentials of the kubeconfig{}",
        .expired_at.map(|at| format!(": its token expired at {at}")).unwrap_or_default())]
    Unauthorized {
        /// Address of the API server.
        server: String,
        /// When its token expired, where that can be seen.
        expired_at: Option<Timestamp>,
    },
    /// The role-based access control of the cluster does not allow it.
    #[error("not allowed to {what}: {why}")]
    Denied {
        /// Verb and resource.
        what: String,
        /// What the cluster said.
        why: String,
    },
    /// It does not exist.
    #[error("{0} does not exist")]
    Missing(String),
    /// Someone else decides about the number of replicas.
    #[error("the replicas of {workload} are not ours to set: {owner}")]
    Owned {
        /// `Kind NAMESPACE/NAME`.
        workload: String,
        /// Who decides.
        owner: Box<ReplicaOwner>,
    },
    /// It was changed by somebody else at the same time, again and again.
    #[error("{0} is changed by somebody else all the time")]
    Conflict(String),
    /// The cluster refuses what was asked for, or it cannot be asked for.
    #[error("{what}: {why}")]
    Refused {
        /// What was asked for.
        what: String,
        /// Why not.
        why: String,
    },
    /// The cluster is overloaded or failing.
    #[error("the cluster could not {what} now: {why}")]
    Busy {
        /// What was tried.
        what: String,
        /// What it said.
        why: String,
    },
    /// More than is looked at.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: String,
        /// The bound.
        limit: usize,
    },
    /// No answer in time.
    #[error("the cluster took longer than {seconds} s to {what}")]
    TimedOut {
        /// What was tried.
        what: String,
        /// How long was waited.
        seconds: u64,
    },
    /// An answer that cannot be understood.
    #[error("the answer to {what} cannot be read: {why}")]
    Answer {
        /// What was asked.
        what: String,
        /// Where it is wrong.
        why: String,
    },
}

impl KubernetesError {
    /// A word for the condition of a service.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Kubeconfig { .. } => "KubeconfigUnusable",
            Self::Unreachable { .. } | Self::TimedOut { .. } => "ClusterUnreachable",
            Self::OtherCluster { .. } => "OtherCluster",
            Self::NotKubernetes { .. } => "NotKubernetes",
            Self::Unauthorized { .. } => "CredentialsRefused",
            Self::Denied { .. } => "PermissionDenied",
            Self::Missing(_) => "NotFound",
            Self::Owned { .. } => "ReplicasOwned",
            Self::Conflict(_) => "Conflict",
            Self::Refused { .. } => "Refused",
            Self::Busy { .. } => "ClusterBusy",
            Self::TooMany { .. } => "TooMany",
            Self::Answer { .. } => "AnswerUnreadable",
        }
    }

    /// What to do about it, for people.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Kubeconfig { advice, .. } => advice.clone(),
            Self::Unreachable { .. } | Self::TimedOut { .. } => {
                "look whether the cluster runs and this machine may reach it (network, VPN, firewall), and whether the \
                 right context of the kubeconfig is used"
                    .into()
            }
            Self::OtherCluster { .. } => {
                "the address was given to another cluster, or the cluster was made anew: fetch its kubeconfig again".into()
            }
            Self::NotKubernetes { .. } => {
                "check the server of the kubeconfig's cluster; a proxy or a log-in page may stand before it".into()
            }
            Self::Unauthorized { expired_at: Some(_), .. } => {
                "make a new token (kubectl create token ACCOUNT --duration …) and put it into the kubeconfig".into()
            }
            Self::Unauthorized { expired_at: None, .. } => {
                "its token or client certificate has expired, was revoked, or is of another cluster: fetch a new kubeconfig"
                    .into()
            }
            Self::Denied { .. } => {
                "give the account of the kubeconfig the role that sos prints for this namespace".into()
            }
            Self::Missing(_) => "check the name, the kind and the namespace".into(),
            Self::Owned { owner, .. } => owner.advice(),
            Self::Conflict(_) => "look which controllers write to it, and leave one".into(),
            Self::Refused { .. } => "change what is declared".into(),
            Self::Busy { .. } => "it is tried again".into(),
            Self::TooMany { .. } => "take a smaller namespace, or a selector of labels".into(),
            Self::Answer { .. } => "the server may be of a version that is not known yet; supported is Kubernetes 1.33 and newer"
                .into(),
        }
    }

    /// Whether the same call can succeed later without anybody changing anything.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Busy { .. } | Self::Conflict(_)
        )
    }

    pub(super) fn kubeconfig(file: &[PathBuf], why: impl Into<String>, advice: impl Into<String>) -> Self {
        let file = file.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        Self::Kubeconfig { file, why: why.into(), advice: advice.into() }
    }
}

/// An error with its causes, each once, at most 500 characters.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    shortened(&text, 500)
}

/// The beginning of a text without control characters, at most `most` characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.chars().map(clean).take(most).collect();
    if text.chars().nth(most).is_some() {
        short.push('…');
    }
    short
}
