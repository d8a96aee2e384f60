//! The manifests of `k8s/` as they are written, and as they run.

mod arrows;
mod cluster;
mod compose;
mod manifests;
mod nats;
mod policy;
