//! The manifests of `k8s/` as they are built, and as they run.
//!
//! [`Manifests`] is what kustomize makes of an overlay. [`Cluster`] runs it: podman plays the pods,
//! and what podman does not know (how many pods a Deployment has, which of them a Service sends to,
//! what a Job is) is a few lines of translation in `cluster.rs`.

mod cluster;
mod containers;
mod ingress;
mod manifests;

pub use cluster::Cluster;
pub use containers::{Containers, podman, python};
pub use ingress::Ingress;
pub use manifests::{Manifests, Workload};
